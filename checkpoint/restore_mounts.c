/* SPDX-License-Identifier: GPL-2.0-or-later */

/*
 * Mount namespaces, from what the runtime has mounted. Each file system of the image is attached once in a
 * workshop, a namespace of its own that goes when all is done, alone and so with all that others cover;
 * every mount of the image is a copy of (a part of) that, put into its place from inside its namespace. All
 * are private while that is done; what propagates to whom comes last.
 *
 * Mounts go onto fds, and their places are looked up below the mount that they go into, without links.
 */
#include "base/fd.h"
#include "base/macro.h"
#include "base/path.h"
#include "checkpoint/enter.h"
#include "checkpoint/image.pb-c.h"
#include "checkpoint/mountfs.h"
#include "checkpoint/restore_mounts.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#ifndef OPEN_TREE_CLONE
#define OPEN_TREE_CLONE 1
#endif
#define ATTRIBUTES (MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC | \
		    MOUNT_ATTR__ATIME | MOUNT_ATTR_NODIRATIME | 0x00200000)
#define STAGE "/dev/shm" /* of the workshop: the runtime always mounts it */

static int hop(int space, struct err *e)
{
	return setns(space, CLONE_NEWNS) < 0 ? err_sys(e, "enter a mount namespace") : 0;
}

static const Ckpt__Mount *mount_of(const struct mounting *m, uint32_t id)
{
	return m->tree->mounts[id - 1];
}

/* Which of the runtime's mounts stands for one of the image's: the same place and file system; what the
 * host gives may be another here. */
static ssize_t match(const struct mounting *m, const Ckpt__Mount *k)
{
	ssize_t parent = k->parent ? m->found[k->parent - 1] : -1;

	if (k->parent && parent < 0)
		return -1;
	for (size_t i = 0; i < m->now_count; i++) {
		const struct ckpt_mountinfo *c = &m->now[i];
		const char *at = parent < 0 ? "" : ckpt_path_below(c->at, m->now[parent].at);

		if (parent < 0 ? ckpt_mountinfo_find(m->now, m->now_count, c->parent) >= 0
			       : c->parent != m->now[parent].id || !at || !STREQ(at, k->at))
			continue;
		if (STREQ(c->type, m->tree->supers[k->super - 1]->type) ||
		    !ckpt_mountfs_find(m->tree->supers[k->super - 1]->type) || !k->parent)
			return (ssize_t)i;
	}
	return -1;
}

static int compare(struct mounting *m, struct err *e)
{
	m->used = calloc(m->now_count + 1, sizeof(*m->used));
	if (!m->used)
		return err_code(e, -ENOMEM, "restore mounts");
	for (uint32_t i = 0; i < m->tree->mount_count; i++) {
		m->found[i] = m->tree->mounts[i]->space == m->main ? match(m, m->tree->mounts[i]) : -1;
		if (m->found[i] >= 0)
			m->used[m->found[i]] = true;
	}
	return 0;
}

/* What the tenant has taken away; but masks are the local runtime's word. */
static int take_away(struct mounting *m, struct err *e)
{
	for (size_t i = m->now_count; i-- > 0;) {
		const char *at = m->now[i].at;

		if (m->used[i] || ckpt_path_below(at, "/proc") || ckpt_path_below(at, "/sys"))
			continue;
		/* EINVAL: gone with what it was mounted in. */
		if (umount2(at, MNT_DETACH | UMOUNT_NOFOLLOW) < 0 && errno != EINVAL && errno != ENOENT)
			return err_sys(e, "unmount %s, as the VPS has", at);
	}
	return 0;
}

static int stage(struct mounting *m, int fd_take, uint32_t super, struct err *e)
{
	cleanup_close int fd = fd_take, at = -EBADF;
	char name[16];
	struct stat st;

	snprintf(name, sizeof(name), "%u", super);
	if (fstat(fd, &st) < 0)
		return err_sys(e, "look at a file system");
	if (S_ISDIR(st.st_mode) ? mkdirat(m->stage, name, 0700) < 0 : mknodat(m->stage, name, S_IFREG | 0600, 0) < 0)
		return err_sys(e, "make a place in the workshop");
	at = openat(m->stage, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	if (at < 0 || move_mount(fd, "", at, "", MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH) < 0)
		return err_sys(e, "mount in the workshop");
	m->anchor[super - 1] = TAKE_FD(fd);
	return 0;
}

static int configure(int fs, const Ckpt__Super *s, struct err *e)
{
	for (size_t i = 0; i < s->n_options; i++) {
		const Ckpt__Setting *o = s->options[i];
		const char *value = (const char *)o->value.data;

		if (fsconfig(fs, o->value.len ? FSCONFIG_SET_STRING : FSCONFIG_SET_FLAG, o->name,
			     o->value.len ? value : NULL, 0) < 0)
			return err_sys(e, "mount %s: set %s", s->type, o->name);
	}
	return 0;
}

struct superblock {
	const Ckpt__Super *s;
	int fd, root; /* where its paths begin; -EBADF: nowhere else */
};

/* A new instance, as a detached mount. */
static int new_super(void *arg, struct err *e)
{
	struct superblock *b = arg;
	cleanup_close int fs = fsopen(b->s->type, FSOPEN_CLOEXEC);

	if (fs < 0)
		return err_sys(e, "open the file system %s", b->s->type);
	if (b->root >= 0 && (fchdir(b->root) < 0 || chroot(".") < 0))
		return err_sys(e, "enter a root");
	if (b->s->source[0] && !STREQ(b->s->source, "none") &&
	    fsconfig(fs, FSCONFIG_SET_STRING, "source", b->s->source, 0) < 0)
		return err_sys(e, "mount %s", b->s->type);
	if (configure(fs, b->s, e) < 0)
		return -EINVAL;
	if (fsconfig(fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0) < 0)
		return err_sys(e, "mount %s", b->s->type);
	b->fd = fsmount(fs, FSMOUNT_CLOEXEC, 0);
	return b->fd < 0 ? err_sys(e, "mount %s", b->s->type) : 0;
}

/* In the workshop, but for those whose options are paths: they are looked up from the root of `space`. */
static int make_super(struct mounting *m, uint32_t super, int space, int root, struct err *e)
{
	bool paths = STREQ(m->tree->supers[super - 1]->type, "overlay");
	struct superblock b = { m->tree->supers[super - 1], -EBADF, paths ? root : -EBADF };
	const struct ckpt_mountfs *fs = ckpt_mountfs_find(b.s->type);
	int in[2] = { paths ? space : m->shop, -EBADF }, n;

	if (!fs)
		return err_set(e, ERR_UNSUPPORTED, "nothing of type %s is mounted in the VPS here, which the image needs",
			       b.s->type);
	if (STREQ(b.s->type, "nsfs")) {
		b.fd = open_tree(restore_fd_space(m->r, b.s->spaces[0]), "", AT_EMPTY_PATH | OPEN_TREE_CLONE |
				 OPEN_TREE_CLOEXEC);
		n = b.fd < 0 ? err_sys(e, "mount a namespace") : 0;
	} else {
		if (fs->space >= 0 && b.s->n_spaces && b.s->spaces[fs->space])
			in[1] = restore_fd_space(m->r, b.s->spaces[fs->space]);
		n = ckpt_within(in, 2, new_super, &b, e);
	}
	if (n == 0)
		n = hop(m->shop, e);
	if (n == 0)
		n = stage(m, b.fd, super, e);
	m->top[super - 1] = "/";
	return n == 0 && b.s->contents ? ckpt_tmpfs_restore(m->tree, super, m->anchor[super - 1], NULL, e) : n;
}

/* The runtime's mount that shows most of the file system. */
static ssize_t widest(const struct mounting *m, uint32_t super)
{
	ssize_t best = -1;

	for (size_t i = 0; i < m->tree->mount_count; i++)
		if (m->tree->mounts[i]->super == super && m->found[i] >= 0 &&
		    (best < 0 || strlen(m->tree->mounts[i]->root) < strlen(m->tree->mounts[best]->root)))
			best = (ssize_t)i;
	return best;
}

/* File systems that are there: copies of single mounts, before the stage covers one. */
static int copy_supers(struct mounting *m, struct err *e)
{
	for (uint32_t s = 1; s <= m->tree->super_count; s++) {
		ssize_t i = widest(m, s);

		if (i < 0)
			continue;
		m->anchor[s - 1] = open_tree(AT_FDCWD, m->now[m->found[i]].at, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC |
					     AT_SYMLINK_NOFOLLOW);
		if (m->anchor[s - 1] < 0)
			return err_sys(e, "copy what is mounted on %s", m->now[m->found[i]].at);
		m->top[s - 1] = m->tree->mounts[i]->root;
	}
	return 0;
}

static int fill_supers(struct mounting *m, struct err *e)
{
	int n = 0;

	for (uint32_t s = 1; n == 0 && s <= m->tree->super_count; s++) {
		if (m->anchor[s - 1] < 0)
			continue;
		n = stage(m, TAKE_FD(m->anchor[s - 1]), s, e);
		if (n == 0 && m->tree->supers[s - 1]->contents && STREQ(m->top[s - 1], "/"))
			n = ckpt_tmpfs_restore(m->tree, s, m->anchor[s - 1], ckpt_super_keep(m->tree, s), e);
	}
	return n;
}

static int open_shop(struct mounting *m, int proc, struct err *e)
{
	static const Ckpt__Super tmpfs = { .type = (char *)"tmpfs", .source = (char *)"none" };
	struct superblock b = { &tmpfs, -EBADF, -EBADF };
	int n;

	if (unshare(CLONE_NEWNS) < 0)
		return err_sys(e, "make a mount namespace");
	m->shop = openat(proc, "thread-self/ns/mnt", O_RDONLY | O_CLOEXEC);
	if (m->shop < 0)
		return err_sys(e, "open a mount namespace");
	n = copy_supers(m, e);
	if (n == 0)
		n = new_super(&b, e);
	m->stage = b.fd;
	if (n == 0 && move_mount(b.fd, "", AT_FDCWD, STAGE, MOVE_MOUNT_F_EMPTY_PATH) < 0)
		n = err_sys(e, "mount the workshop");
	/* Where the other namespaces' roots are put together: their copies of it. */
	if (n == 0 && mkdirat(m->stage, "root", 0700) < 0)
		n = err_sys(e, "make a place in the workshop");
	return n == 0 ? fill_supers(m, e) : n;
}

/* A detached copy of what a mount of the image shows, with its attributes. The caller is in the workshop. */
static int copy(struct mounting *m, const Ckpt__Mount *k, struct err *e)
{
	struct mount_attr attr = { .attr_clr = ATTRIBUTES, .attr_set = k->attributes };
	int anchor = m->anchor[k->super - 1], fd;
	const char *below = ckpt_path_below(k->root, m->top[k->super - 1]);
	cleanup_close int from = -EBADF;

	if (STREQ(m->tree->supers[k->super - 1]->type, "nsfs"))
		below = "";
	if (!below)
		return err_set(e, ERR_UNSUPPORTED, "%s of a file system %s, of which less is mounted here", k->root,
			       m->tree->supers[k->super - 1]->type);
	from = below[0] ? path_open_no_links(anchor, below + 1, O_PATH, 0, true) : fcntl(anchor, F_DUPFD_CLOEXEC, 3);
	if (from < 0)
		return err_code(e, from, "find %s, which is to be mounted", k->root);
	fd = open_tree(from, "", AT_EMPTY_PATH | OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);
	if (fd < 0)
		return err_sys(e, "copy the mount of %s", k->root);
	if (mount_setattr(fd, "", AT_EMPTY_PATH, &attr, sizeof(attr)) < 0) {
		close(fd);
		return err_sys(e, "set the attributes of the mount of %s", k->root);
	}
	return fd;
}

static int attach(struct mounting *m, uint32_t id, struct err *e)
{
	const Ckpt__Mount *k = mount_of(m, id);
	int parent = m->fd[k->parent - 1];
	cleanup_close int at = k->at[0] ? path_open_no_links(parent, k->at + 1, O_PATH, 0, true)
					: fcntl(parent, F_DUPFD_CLOEXEC, 3);

	if (at < 0)
		return err_code(e, at, "find the place of a mount, %s", k->at);
	if (move_mount(m->fd[id - 1], "", at, "", MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH) < 0)
		return err_sys(e, "mount %s on %s", m->tree->supers[k->super - 1]->type, k->at);
	return 0;
}

/* What the tenant has set on a mount of the runtime's. */
static int adjust(struct mounting *m, uint32_t id, struct err *e)
{
	const Ckpt__Mount *k = mount_of(m, id);
	const struct ckpt_mountinfo *c = &m->now[m->found[id - 1]];
	struct mount_attr attr = { .attr_clr = ATTRIBUTES, .attr_set = k->attributes };

	m->fd[id - 1] = open(c->at, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	if (m->fd[id - 1] < 0)
		return err_sys(e, "open %s", c->at);
	if ((c->attributes & ATTRIBUTES) != (k->attributes & ATTRIBUTES) &&
	    mount_setattr(m->fd[id - 1], "", AT_EMPTY_PATH, &attr, sizeof(attr)) < 0)
		return err_sys(e, "set the attributes of %s", c->at);
	return 0;
}

static int mount_one(struct mounting *m, uint32_t id, int space, int root, struct err *e)
{
	const Ckpt__Mount *k = mount_of(m, id);
	int n = m->anchor[k->super - 1] < 0 ? make_super(m, k->super, space, root, e) : hop(m->shop, e);

	if (n == 0)
		n = m->fd[id - 1] = copy(m, k, e);
	n = n < 0 ? n : hop(space, e);
	if (n < 0)
		return n;
	if (k->parent)
		return attach(m, id, e);
	if (move_mount(m->fd[id - 1], "", AT_FDCWD, STAGE "/root", MOVE_MOUNT_F_EMPTY_PATH) < 0)
		return err_sys(e, "mount a root");
	return 0;
}

/* An overlay's layers are paths that are looked up when it is made. */
static bool has_to_wait(const struct mounting *m, uint32_t id)
{
	uint32_t super = mount_of(m, id)->super;

	return m->anchor[super - 1] < 0 && STREQ(m->tree->supers[super - 1]->type, "overlay");
}

/* The mounts of one namespace that are not there yet; those that wait, and what is mounted in them, last. */
static int mount_range(struct mounting *m, uint32_t first, uint32_t end, int space, struct err *e)
{
	for (int pass = 0; pass < 2; pass++)
		for (uint32_t i = first; i < end; i++) {
			const Ckpt__Mount *k = mount_of(m, i);
			int n;

			if (m->fd[i - 1] >= 0 || (k->parent && m->fd[k->parent - 1] < 0) ||
			    (pass == 0 && has_to_wait(m, i)))
				continue;
			n = mount_one(m, i, space, m->fd[first - 1], e);
			if (n < 0)
				return n;
		}
	return 0;
}

static void range_of(const struct mounting *m, uint32_t space, uint32_t *first, uint32_t *end)
{
	for (*first = 1; *first <= m->tree->mount_count && mount_of(m, *first)->space != space;)
		++*first;
	for (*end = *first; *end <= m->tree->mount_count && mount_of(m, *end)->space == space;)
		++*end;
}

static int restore_main(struct mounting *m, struct err *e)
{
	uint32_t first, end;
	int n = hop(m->own, e);

	range_of(m, m->main, &first, &end);
	if (first == end || m->found[first - 1] < 0)
		return err_set(e, ERR_FAIL, "the image is damaged: process 1 has no root");
	if (n == 0)
		n = take_away(m, e);
	for (uint32_t i = first; n == 0 && i < end; i++)
		if (m->found[i - 1] >= 0)
			n = adjust(m, i, e);
	return n == 0 ? mount_range(m, first, end, m->own, e) : n;
}

/* From the workshop's mounts to those of the image alone. */
static int build(struct mounting *m, uint32_t first, uint32_t end, int space, struct err *e)
{
	int n = mount_range(m, first, end, space, e);

	if (n == 0)
		n = hop(space, e);
	if (n < 0)
		return n;
	if (fchdir(m->fd[first - 1]) < 0 || syscall(SYS_pivot_root, ".", ".") < 0 || umount2(".", MNT_DETACH) < 0)
		return err_sys(e, "change the root of a mount namespace");
	return 0;
}

struct below {
	int proc, fd;
};

/* In its owner: a copy of what has been built, which is as it would be if it had been made there. */
static int descend(void *arg, struct err *e)
{
	struct below *b = arg;

	if (unshare(CLONE_NEWNS) < 0)
		return err_sys(e, "make a mount namespace");
	b->fd = openat(b->proc, "thread-self/ns/mnt", O_RDONLY | O_CLOEXEC);
	return b->fd < 0 ? err_sys(e, "open a mount namespace") : 0;
}

/* Its mounts are others than those that were built: found again by their paths. */
static int reopen(struct mounting *m, uint32_t first, uint32_t end, struct err *e)
{
	char path[4096];

	for (uint32_t i = first; i < end; i++) {
		path[0] = '\0';
		fd_close(&m->fd[i - 1]);
		if (ckpt_mount_path(m->tree, i, path, sizeof(path)) < 0)
			return err_set(e, ERR_FAIL, "the image is damaged: the path of mount %u", i);
		m->fd[i - 1] = open(path[0] ? path : "/", O_PATH | O_NOFOLLOW | O_CLOEXEC);
		if (m->fd[i - 1] < 0)
			return err_sys(e, "open %s", path);
	}
	return 0;
}

static int restore_other(struct mounting *m, uint32_t id, struct err *e)
{
	const Ckpt__Space *s = m->tree->spaces[id - 1];
	struct below b = { m->proc, -EBADF };
	uint32_t first, end;
	int n = hop(m->shop, e), space;

	range_of(m, id, &first, &end);
	if (first == end || mount_of(m, first)->parent)
		return err_set(e, ERR_FAIL, "the image is damaged: mount namespace %u is empty", id);
	if (n == 0 && unshare(CLONE_NEWNS) < 0)
		n = err_sys(e, "make a mount namespace");
	if (n < 0)
		return n;
	space = openat(m->proc, "thread-self/ns/mnt", O_RDONLY | O_CLOEXEC);
	n = space < 0 ? err_sys(e, "open a mount namespace") : build(m, first, end, space, e);
	if (n == 0 && s->owner != ckpt_space_main(m->tree, CKPT_SPACE_USER)) {
		int in[2] = { space, restore_fd_space(m->r, s->owner) };

		n = ckpt_within(in, 2, descend, &b, e);
		fd_close(&space);
		space = b.fd;
		n = n == 0 ? hop(space, e) : n;
		n = n == 0 ? reopen(m, first, end, e) : n;
	}
	if (n == 0)
		return restore_space_take(m->r, id, space, e);
	fd_close(&space);
	return n;
}

static int restore_all(struct mounting *m, struct err *e)
{
	int n = restore_main(m, e);

	for (uint32_t i = 1; n == 0 && i <= m->tree->space_count; i++)
		if (m->tree->spaces[i - 1]->kind == CKPT_SPACE_MNT && i != m->main)
			n = restore_other(m, i, e);
	return n == 0 ? restore_propagation(m, e) : n;
}

static int prepare(struct mounting *m, struct err *e)
{
	const struct ckpt_tree *t = m->tree;
	int n = fd_read_file_at(m->proc, "self/mountinfo", MIB(16), &m->text, NULL);

	m->anchor = malloc((t->super_count + 1) * sizeof(int));
	m->top = calloc(t->super_count + 1, sizeof(*m->top));
	m->fd = malloc((t->mount_count + 1) * sizeof(int));
	m->found = calloc(t->mount_count + 1, sizeof(*m->found));
	if (n < 0 || !m->anchor || !m->top || !m->fd || !m->found)
		return err_code(e, n < 0 ? n : -ENOMEM, "restore mounts");
	memset(m->anchor, 0xff, t->super_count * sizeof(int));
	memset(m->fd, 0xff, t->mount_count * sizeof(int));
	n = ckpt_mountinfo_parse(m->text, &m->now, &m->now_count, e);
	return n == 0 ? compare(m, e) : n;
}

int restore_mounts(struct restore *r, int proc, struct err *e)
{
	struct mounting m = {
		.r = r, .tree = &r->tree, .main = ckpt_space_main(&r->tree, CKPT_SPACE_MNT), .proc = proc,
		.shop = -EBADF, .stage = -EBADF,
	};
	int n;

	if (!m.main || !r->tree.mount_count)
		return err_set(e, ERR_FAIL, "the image is damaged: it has no mounts");
	m.own = restore_fd_space(r, m.main);
	n = prepare(&m, e);
	if (n == 0)
		n = open_shop(&m, proc, e);
	if (n == 0)
		n = restore_all(&m, e);
	if (n == 0)
		n = hop(m.own, e);
	for (size_t i = 0; m.fd && i < r->tree.mount_count; i++)
		fd_close(&m.fd[i]);
	for (size_t i = 0; m.anchor && i < r->tree.super_count; i++)
		fd_close(&m.anchor[i]);
	fd_close(&m.shop);
	fd_close(&m.stage);
	free(m.anchor);
	free(m.top);
	free(m.fd);
	free(m.found);
	free(m.used);
	free(m.now);
	free(m.text);
	return n;
}
