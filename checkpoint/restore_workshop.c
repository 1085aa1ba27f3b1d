/* SPDX-License-Identifier: GPL-2.0-or-later */

/* The workshop: every file system of the image, each attached once and alone, to be copied from. */
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

#ifndef OPEN_TREE_CLONE
#define OPEN_TREE_CLONE 1
#endif

static int stage(struct mounting *m, int fd_take, uint32_t super, struct err *e)
{
	cleanup_close int fd = fd_take, at = -EBADF;
	char name[16];
	struct stat st;

	snprintf(name, sizeof(name), "%u", super);
	if (fstat(fd, &st) < 0)
		return err_sys(e, "look at a file system");
	if (S_ISDIR(st.st_mode) ? mkdirat(m->stage, name, 0700) < 0 :
				  mknodat(m->stage, name, S_IFREG | 0600, 0) < 0)
		return err_sys(e, "make a place in the workshop");
	at = openat(m->stage, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	if (at < 0 ||
	    move_mount(fd, "", at, "", MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH) < 0)
		return err_sys(e, "mount in the workshop");
	m->anchor[super - 1] = TAKE_FD(fd);
	return 0;
}

static int check_way(const char *path, struct err *e)
{
	cleanup_close int fd = path_open_no_magic(path, O_PATH);

	return fd < 0 ? err_code(e, fd, "open %s", path) : 0;
}

/* The kernel would find the directories of an overlay through anything. */
static int check_ways(const Ckpt__Setting *o, struct err *e)
{
	const char *at = (const char *)o->value.data;
	char path[4096];
	int r = 0;

	while (r == 0 && (at = ckpt_mountfs_next_way(o->name, at, path, sizeof(path))))
		r = path[0] ? check_way(path, e) : 0;
	return r;
}

/* What an overlay shows by itself, and nobody may ask for who has no rights over the host (ovl_fs_params_verify() in
 * the kernel). */
static bool is_by_itself(const char *option, const char *value)
{
	return STREQ(option, "metacopy") || (STREQ(option, "redirect_dir") && !STREQ(value, "nofollow"));
}

/* Ids among the options are those of process 1's user namespace. */
int workshop_configure(int fs, const Ckpt__Super *s, bool ids, struct err *e)
{
	for (size_t i = 0; i < s->n_options; i++) {
		const Ckpt__Setting *o = s->options[i];
		const char *value = (const char *)o->value.data;

		if (!ids && (STREQ(o->name, "uid") || STREQ(o->name, "gid")))
			continue; /* what is at its root has its owner by itself */
		if (o->value.len && is_by_itself(o->name, value))
			continue;
		if (o->value.len && ckpt_mountfs_is_way(o->name) && check_ways(o, e) < 0)
			return -EPERM;
		if (fsconfig(fs, o->value.len ? FSCONFIG_SET_STRING : FSCONFIG_SET_FLAG, o->name,
			     o->value.len ? value : NULL, 0) < 0)
			return err_sys(e, "mount %s: set %s", s->type, o->name);
	}
	return 0;
}

int workshop_super(struct superblock *b, struct err *e)
{
	cleanup_close int fs = fsopen(b->s->type, FSOPEN_CLOEXEC);

	if (fs < 0)
		return err_sys(e, "open the file system %s", b->s->type);
	if (b->root >= 0 && (fchdir(b->root) < 0 || chroot(".") < 0))
		return err_sys(e, "enter a root");
	if (b->s->source[0] && !STREQ(b->s->source, "none") &&
	    fsconfig(fs, FSCONFIG_SET_STRING, "source", b->s->source, 0) < 0)
		return err_sys(e, "mount %s", b->s->type);
	if (workshop_configure(fs, b->s, !b->nested, e) < 0)
		return -EINVAL;
	if (fsconfig(fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0) < 0)
		return err_sys(e, "mount %s", b->s->type);
	b->fd = fsmount(fs, FSMOUNT_CLOEXEC, 0);
	return b->fd < 0 ? err_sys(e, "mount %s", b->s->type) : 0;
}

static int new_super(void *arg, struct err *e)
{
	return workshop_super(arg, e);
}

/*
 * In the workshop. But a file system whose options are paths is made among the mounts that it is
 * for, and so is one that a nested user namespace has mounted, whose it is then.
 */
static int new_mount(struct mounting *m, const Ckpt__Super *s, const struct mount_target *to,
		     int *ret, struct err *e)
{
	const struct ckpt_mountfs *fs = ckpt_mountfs_find(s->type);
	bool paths = STREQ(s->type, "overlay"), nested = s->owner && to->user >= 0;
	struct superblock b = { s, -EBADF, paths ? to->root : -EBADF, nested };
	int in[3] = { paths || nested ? to->space : m->shop, -EBADF, nested ? to->user : -EBADF },
	    n;

	if (!fs)
		return err_set(
			e, ERR_UNSUPPORTED,
			"nothing of type %s is mounted in the VPS here, which the image needs",
			s->type);
	if (STREQ(s->type, "nsfs")) {
		*ret = open_tree(restore_fd_space(m->r, s->spaces[0]), "",
				 AT_EMPTY_PATH | OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);
		return *ret < 0 ? err_sys(e, "mount a namespace") : 0;
	}
	if (fs->space >= 0 && s->n_spaces > (size_t)fs->space && s->spaces[fs->space] &&
	    s->spaces[fs->space] != ckpt_space_main(m->tree, CKPT_SPACE_PID))
		in[1] = restore_fd_space(m->r, s->spaces[fs->space]);
	n = ckpt_within(in, ARRAY_SIZE(in), new_super, &b, e);
	*ret = b.fd;
	return n;
}

int workshop_add(struct mounting *m, uint32_t super, const struct mount_target *to, struct err *e)
{
	const Ckpt__Super *s = m->tree->supers[super - 1];
	int fd = restore_devpts_anchor(m, super), n = 0;

	if (fd < 0)
		fd = early_mount_anchor(m, super);
	if (fd < 0)
		n = new_mount(m, s, to, &fd, e);
	if (n == 0)
		n = restore_hop(m->shop, e);
	if (n == 0)
		n = stage(m, fd, super, e);
	m->top[super - 1] = "/";
	return n == 0 && s->contents ?
		       ckpt_tmpfs_restore(m->tree, super, m->anchor[super - 1], NULL, e) :
		       n;
}

ssize_t workshop_widest(const struct mounting *m, uint32_t super)
{
	ssize_t best = -1;

	for (size_t i = 0; i < m->tree->mount_count; i++)
		if (m->tree->mounts[i]->super == super && m->found[i] >= 0 &&
		    (best < 0 ||
		     strlen(m->tree->mounts[i]->root) < strlen(m->tree->mounts[best]->root)))
			best = (ssize_t)i;
	return best;
}

/* Where nothing of the runtime's stands for a mount of the image's in process 1's namespace: what it has mounted
 * elsewhere, of a type that a tenant cannot mount, and of the same part of it. */
static ssize_t likewise(const struct mounting *m, uint32_t super, const char **ret_root)
{
	const char *type = m->tree->supers[super - 1]->type;

	if (ckpt_mountfs_find(type))
		return -1;
	for (size_t i = 0; i < m->tree->mount_count; i++)
		for (size_t k = 0; m->tree->mounts[i]->super == super && k < m->now_count; k++)
			if (STREQ(m->now[k].type, type) && STREQ(m->now[k].root, m->tree->mounts[i]->root)) {
				*ret_root = m->tree->mounts[i]->root;
				return (ssize_t)k;
			}
	return -1;
}

/* Something is to be put into it, or it is mounted where the runtime has not. */
static bool is_used(const struct mounting *m, uint32_t super)
{
	bool used = m->tree->supers[super - 1]->contents;

	for (size_t i = 0; !used && i < m->tree->mount_count; i++)
		used = m->tree->mounts[i]->super == super && m->found[i] < 0;
	return used;
}

/* File systems that are there: copies of single mounts, before the stage covers one. */
static int copy_supers(struct mounting *m, struct err *e)
{
	for (uint32_t s = 1; s <= m->tree->super_count; s++) {
		ssize_t i = workshop_widest(m, s), at;
		const char *root = i < 0 ? NULL : m->tree->mounts[i]->root;

		if (!is_used(m, s))
			continue;
		at = i < 0 ? likewise(m, s, &root) : m->found[i];
		if (at < 0)
			continue;
		m->anchor[s - 1] =
			open_tree(AT_FDCWD, m->now[at].at,
				  OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_SYMLINK_NOFOLLOW);
		if (m->anchor[s - 1] < 0)
			return err_sys(e, "copy what is mounted on %s", m->now[at].at);
		m->top[s - 1] = root;
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
			n = ckpt_tmpfs_restore(m->tree, s, m->anchor[s - 1],
					       ckpt_super_keep(m->tree, s), e);
	}
	return n;
}

int workshop_open(struct mounting *m, struct err *e)
{
	static const Ckpt__Super tmpfs = { .type = (char *)"tmpfs", .source = (char *)"none" };
	struct superblock b = { &tmpfs, -EBADF, -EBADF, false };
	int n;

	if (unshare(CLONE_NEWNS) < 0)
		return err_sys(e, "make a mount namespace");
	m->shop = openat(m->proc, "thread-self/ns/mnt", O_RDONLY | O_CLOEXEC);
	if (m->shop < 0)
		return err_sys(e, "open a mount namespace");
	n = copy_supers(m, e);
	if (n == 0)
		n = new_super(&b, e);
	m->stage = b.fd;
	if (n == 0 && move_mount(b.fd, "", AT_FDCWD, WORKSHOP_STAGE, MOVE_MOUNT_F_EMPTY_PATH) < 0)
		n = err_sys(e, "mount the workshop");
	/* Where the other namespaces' roots are put together: their copies of it. */
	if (n == 0 && mkdirat(m->stage, "root", 0700) < 0)
		n = err_sys(e, "make a place in the workshop");
	return n == 0 ? fill_supers(m, e) : n;
}

static int make_ghost(struct mounting *m, const Ckpt__Mount *k, struct err *e)
{
	const Ckpt__Ghost *g = m->tree->ghosts[k->ghost - 1];
	const char *below = ckpt_path_below(g->path, m->top[k->super - 1]);
	/* Out of the way of what is placed. */
	cleanup_close int spool = fcntl(m->tree->spool, F_DUPFD_CLOEXEC, restore_fd_end(m->r)), fd = -EBADF;

	if (spool < 0)
		return err_sys(e, "keep what deleted files hold");
	fd = ckpt_ghost_make_named(m->tree, k->ghost - 1, m->anchor[k->super - 1], below && below[0] ? below : g->path,
				   spool, &m->made[k->ghost - 1], e);
	if (fd < 0)
		return fd;
	return dup3(fd, restore_fd_ghost(m->r, k->ghost), O_CLOEXEC) < 0 ? err_sys(e, "place a deleted file") : 0;
}

/* What has lost its name is made, once, where it was on its file system. */
static int open_ghost(struct mounting *m, const Ckpt__Mount *k, struct err *e)
{
	int n = m->made[k->ghost - 1].dir < 0 ? make_ghost(m, k, e) : 0;

	return n < 0 ? n : fcntl(restore_fd_ghost(m->r, k->ghost), F_DUPFD_CLOEXEC, 3);
}

int workshop_unname(struct mounting *m, struct err *e)
{
	int n = 0;

	for (size_t i = 0; n == 0 && i < m->tree->ghost_count; i++)
		if (m->made[i].dir >= 0)
			n = ckpt_ghost_unname(&m->made[i]);
	return n < 0 ? err_code(e, n, "delete what is mounted again") : 0;
}

static int copy_part(struct mounting *m, const Ckpt__Mount *k, struct err *e)
{
	int anchor = m->anchor[k->super - 1], fd;
	const char *below = ckpt_path_below(k->root, m->top[k->super - 1]);
	cleanup_close int from = -EBADF;

	if (STREQ(m->tree->supers[k->super - 1]->type, "nsfs"))
		below = "";
	if (!below && !k->ghost)
		return err_set(e, ERR_UNSUPPORTED,
			       "%s of a file system %s, of which less is mounted here", k->root,
			       m->tree->supers[k->super - 1]->type);
	if (k->ghost)
		from = open_ghost(m, k, e);
	else
		from = below[0] ? path_open_no_links(anchor, below + 1, O_PATH, 0, true) :
				  fcntl(anchor, F_DUPFD_CLOEXEC, 3);
	if (from < 0)
		return k->ghost ? from : err_code(e, from, "find %s, which is to be mounted", k->root);
	fd = open_tree(from, "", AT_EMPTY_PATH | OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);
	return fd < 0 ? err_sys(e, "copy the mount of %s", k->root) : fd;
}

int workshop_copy(struct mounting *m, uint32_t id, struct err *e)
{
	const Ckpt__Mount *k = restore_mount_of(m, id);
	struct mount_attr attr = { .attr_clr = RESTORE_ATTRIBUTES, .attr_set = k->attributes };
	int fd = restore_devpts_home(m, id);

	if (fd < 0)
		fd = copy_part(m, k, e);
	if (fd < 0 || mount_setattr(fd, "", AT_EMPTY_PATH, &attr, sizeof(attr)) == 0)
		return fd;
	close(fd);
	return err_sys(e, "set the attributes of the mount of %s", k->root);
}
