/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Mounts, each put into its place from inside its namespace; and whole namespaces but process
 * 1's. */
#include "base/macro.h"
#include "base/path.h"
#include "checkpoint/enter.h"
#include "checkpoint/image.pb-c.h"
#include "checkpoint/restore_mounts.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/syscall.h>

struct placing {
	struct mounting *m;
	uint32_t id;
};

static int attach(void *arg, struct err *e)
{
	struct placing *p = arg;
	struct mounting *m = p->m;
	const Ckpt__Mount *k = restore_mount_of(m, p->id);
	cleanup_close int at = -EBADF;
	int parent;

	if (!k->parent) {
		at = open(WORKSHOP_STAGE "/root", O_PATH | O_CLOEXEC);
	} else {
		parent = m->fd[k->parent - 1];
		at = k->at[0] ? path_open_no_links(parent, k->at + 1, O_PATH, 0, true) :
				fcntl(parent, F_DUPFD_CLOEXEC, 3);
	}
	if (at < 0)
		return err_code(e, at, "find the place of a mount, %s", k->at);
	if (move_mount(m->fd[p->id - 1], "", at, "",
		       MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH) < 0)
		return err_sys(e, "mount %s on %s", m->tree->supers[k->super - 1]->type,
			       k->at[0] ? k->at : "/");
	return 0;
}

/* Makes the file system that it shows if need be. */
static int mount_one(struct mounting *m, uint32_t id, const struct mount_target *to, struct err *e)
{
	const Ckpt__Mount *k = restore_mount_of(m, id);
	struct placing p = { m, id };
	int in[2] = { to->space, to->user };
	int n = m->anchor[k->super - 1] < 0 ? workshop_add(m, k->super, to, e) :
					      restore_hop(m->shop, e);

	if (n == 0)
		n = m->fd[id - 1] = workshop_copy(m, id, e);
	if (n < 0)
		return n;
	if (to->user >= 0) {
		n = ckpt_within(in, 2, attach, &p, e);
	} else {
		n = restore_hop(to->space, e);
		n = n == 0 ? attach(&p, e) : n;
	}
	return n == 0 ? restore_hidden(m, id, e) : n;
}

/* An overlay's layers are paths that are looked up when it is made. */
static bool has_to_wait(const struct mounting *m, uint32_t id)
{
	uint32_t super = restore_mount_of(m, id)->super;

	return m->anchor[super - 1] < 0 && STREQ(m->tree->supers[super - 1]->type, "overlay");
}

int restore_mount_range(struct mounting *m, uint32_t first, uint32_t end, struct mount_target *to,
			struct err *e)
{
	for (int pass = 0; pass < 2; pass++)
		for (uint32_t i = first; i < end; i++) {
			const Ckpt__Mount *k = restore_mount_of(m, i);
			int n;

			if (m->fd[i - 1] >= 0 || m->later[i - 1] ||
			    (k->parent && m->fd[k->parent - 1] < 0) ||
			    (pass == 0 && has_to_wait(m, i)))
				continue;
			to->root = m->fd[first - 1];
			n = mount_one(m, i, to, e);
			if (n < 0)
				return n;
		}
	return 0;
}

void restore_mount_range_of(const struct mounting *m, uint32_t space, uint32_t *first,
			    uint32_t *end)
{
	for (*first = 1;
	     *first <= m->tree->mount_count && restore_mount_of(m, *first)->space != space;)
		++*first;
	for (*end = *first;
	     *end <= m->tree->mount_count && restore_mount_of(m, *end)->space == space;)
		++*end;
}

/* From the workshop's mounts to those of the image alone. */
static int pivot(void *arg, struct err *e)
{
	const int *root = arg;

	if (fchdir(*root) < 0 || syscall(SYS_pivot_root, ".", ".") < 0 ||
	    umount2(".", MNT_DETACH) < 0)
		return err_sys(e, "change the root of a mount namespace");
	return 0;
}

static int build(struct mounting *m, uint32_t first, uint32_t end, struct mount_target *to,
		 struct err *e)
{
	int in[2] = { to->space, to->user }, n = restore_mount_range(m, first, end, to, e);

	return n == 0 ? ckpt_within(in, 2, pivot, &m->fd[first - 1], e) : n;
}

static int own_space(const struct mounting *m, struct err *e)
{
	int fd = openat(m->proc, "thread-self/ns/mnt", O_RDONLY | O_CLOEXEC);

	return fd < 0 ? err_sys(e, "open a mount namespace") : fd;
}

/* A copy of the workshop, to become the image's. */
static int begin(struct mounting *m, struct err *e)
{
	int n = restore_hop(m->shop, e);

	if (n < 0)
		return n;
	return unshare(CLONE_NEWNS) < 0 ? err_sys(e, "make a mount namespace") : own_space(m, e);
}

struct below {
	const struct mounting *m;
	int fd;
};

static int copy_here(void *arg, struct err *e)
{
	struct below *b = arg;

	if (unshare(CLONE_NEWNS) < 0)
		return err_sys(e, "make a mount namespace");
	b->fd = own_space(b->m, e);
	return b->fd < 0 ? b->fd : 0;
}

/* A copy that belongs to a nested user namespace: what it begins with is locked
 * (mount_namespaces(7)). */
static int descend(struct mounting *m, int from, int user, struct err *e)
{
	struct below b = { m, -EBADF };
	int in[2] = { from, user }, n = ckpt_within(in, 2, copy_here, &b, e);

	return n < 0 ? n : b.fd;
}

static bool same_path(const struct mounting *m, uint32_t a, uint32_t b)
{
	char one[4096] = "", two[4096] = "";

	return ckpt_mount_path(m->tree, a, one, sizeof(one)) == 0 &&
	       ckpt_mount_path(m->tree, b, two, sizeof(two)) == 0 && STREQ(one, two);
}

/* It began with this mount: as far as can be told, since process 1 has the same in the same
 * place. */
static bool is_inherited(const struct mounting *m, uint32_t id)
{
	const Ckpt__Mount *k = restore_mount_of(m, id);

	if (k->parent && m->later[k->parent - 1])
		return false;
	for (uint32_t i = 1; i <= m->tree->mount_count; i++) {
		const Ckpt__Mount *other = restore_mount_of(m, i);

		if (other->space == m->main && other->super == k->super && other->ghost == k->ghost &&
		    STREQ(other->root, k->root) && same_path(m, i, id))
			return true;
	}
	return false;
}

/* The mounts of a copy are others than those that were built: found again by their paths. */
static int reopen(struct mounting *m, uint32_t first, uint32_t end, struct err *e)
{
	char path[4096];

	for (uint32_t i = first; i < end; i++) {
		if (m->later[i - 1])
			continue;
		path[0] = '\0';
		close(m->fd[i - 1]);
		if (ckpt_mount_path(m->tree, i, path, sizeof(path)) < 0)
			return err_set(e, ERR_FAIL, "the image is damaged: the path of mount %u",
				       i);
		m->fd[i - 1] = path_open_no_magic(path[0] ? path : "/", O_PATH | O_NOFOLLOW);
		if (m->fd[i - 1] < 0)
			return err_code(e, m->fd[i - 1], "open %s", path);
	}
	return 0;
}

/* What it began with, then what was mounted by those in it. */
static int extend(struct mounting *m, uint32_t first, uint32_t end, int user, int *ret,
		  struct err *e)
{
	struct mount_target base = { begin(m, e), -EBADF, -EBADF }, to = { -EBADF, user, -EBADF };
	int n = base.space < 0 ? base.space : build(m, first, end, &base, e);

	if (n == 0)
		n = to.space = descend(m, base.space, user, e);
	if (base.space >= 0)
		close(base.space);
	*ret = to.space;
	if (n >= 0)
		n = restore_hop(to.space, e);
	if (n == 0)
		n = reopen(m, first, end, e);
	for (uint32_t i = first; i < end; i++)
		m->later[i - 1] = false;
	return n == 0 ? restore_mount_range(m, first, end, &to, e) : n;
}

/* One of a nested user namespace. */
static int make_below(struct mounting *m, uint32_t first, uint32_t end, int user, int *ret,
		      struct err *e)
{
	struct mount_target to = { -EBADF, user, -EBADF };

	for (uint32_t i = first; i < end; i++)
		m->later[i - 1] = !is_inherited(m, i);
	if (!m->later[first - 1])
		return extend(m, first, end, user, ret, e);
	for (uint32_t i = first; i < end; i++)
		m->later[i - 1] = false;
	*ret = to.space = descend(m, m->shop, user, e);
	return to.space < 0 ? to.space : build(m, first, end, &to, e);
}

int restore_nested_mounts(struct mounting *m, uint32_t id, struct err *e)
{
	const Ckpt__Space *s = m->tree->spaces[id - 1];
	struct mount_target to = { -EBADF, -EBADF, -EBADF };
	uint32_t first, end;
	int n;

	restore_mount_range_of(m, id, &first, &end);
	if (first == end || restore_mount_of(m, first)->parent)
		return err_set(e, ERR_FAIL, "the image is damaged: mount namespace %u is empty",
			       id);
	if (s->owner != ckpt_space_main(m->tree, CKPT_SPACE_USER)) {
		n = make_below(m, first, end, restore_fd_space(m->r, s->owner), &to.space, e);
	} else {
		n = to.space = begin(m, e);
		n = n < 0 ? n : build(m, first, end, &to, e);
	}
	if (n == 0)
		return restore_space_take(m->r, id, to.space, e);
	if (to.space >= 0)
		close(to.space);
	return n;
}
