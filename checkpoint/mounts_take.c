/* SPDX-License-Identifier: GPL-2.0-or-later */

/* What single mounts show, whatever covers them. */
#include "base/fd.h"
#include "base/macro.h"
#include "checkpoint/enter.h"
#include "checkpoint/ghosts.h"
#include "checkpoint/image.pb-c.h"
#include "checkpoint/internal.h"
#include "checkpoint/spaces.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/stat.h>

#ifndef OPEN_TREE_CLONE
#define OPEN_TREE_CLONE 1
#endif

static int mount_id(int fd, uint64_t *ret)
{
	struct statx sx;

	if (statx(fd, "", AT_EMPTY_PATH, STATX_MNT_ID, &sx) < 0)
		return -errno;
	*ret = sx.stx_mnt_id;
	return 0;
}

static bool is_ancestor(const struct ckpt_tree *t, uint32_t id, uint32_t of)
{
	while (of && of != id)
		of = t->mounts[of - 1]->parent;
	return of == id;
}

/*
 * In a copy of the namespace everything is taken away but the mount and those that it is mounted
 * in. In the reverse order of the records a mount is never covered by one that is still there.
 */
static int uncover(const struct ckpt_tree *t, uint32_t id, struct err *e)
{
	char path[4096];

	if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
		return err_sys(e, "make a copy of a mount namespace");
	for (uint32_t i = (uint32_t)t->mount_count; i > 0; i--) {
		path[0] = '\0';
		if (t->mounts[i - 1]->space == t->mounts[id - 1]->space && !is_ancestor(t, i, id) &&
		    ckpt_mount_path(t, i, path, sizeof(path)) == 0)
			umount2(path, MNT_DETACH | UMOUNT_NOFOLLOW); /* what stays is seen below */
	}
	return 0;
}

struct taking {
	struct ckpt_dump *d;
	uint32_t id;
	int fd;
};

/* In a copy of its namespace, where it may be taken even if it is unbindable. -EXDEV: it is not there. */
static int open_uncovered(const struct taking *t, const char *path, struct err *e)
{
	const struct ckpt_dump *d = t->d;
	cleanup_close int fd = -EBADF;
	struct stat st;

	if (uncover(&d->tree, t->id, e) < 0)
		return -EPERM;
	fd = open(path[0] ? path : "/", O_PATH | O_CLOEXEC);
	if (fd < 0 || fstat(fd, &st) < 0 || st.st_dev != d->spaces.super[d->tree.mounts[t->id - 1]->super - 1].dev)
		return -EXDEV;
	return TAKE_FD(fd);
}

static int take(void *arg, struct err *e)
{
	struct taking *t = arg;
	struct ckpt_dump *d = t->d;
	char path[4096] = "";
	cleanup_close int fd = -EBADF;
	uint64_t there = 0;

	if (ckpt_mount_path(&d->tree, t->id, path, sizeof(path)) < 0)
		return err_set(e, ERR_UNSUPPORTED, "a mount has too long a path");
	fd = open(path[0] ? path : "/", O_PATH | O_CLOEXEC);
	if (fd >= 0 && mount_id(fd, &there) < 0)
		return err_sys(e, "look at %s", path);
	if (there != d->spaces.mount[t->id - 1].id) {
		fd_close(&fd);
		fd = open_uncovered(t, path, e);
		if (fd < 0)
			return fd;
	}
	t->fd = open_tree(fd, "", AT_EMPTY_PATH | OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);
	if (t->fd < 0 && errno == EINVAL && there == d->spaces.mount[t->id - 1].id) {
		fd_close(&fd);
		fd = open_uncovered(t, path, e);
		if (fd < 0)
			return fd;
		t->fd = open_tree(fd, "", AT_EMPTY_PATH | OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);
	}
	return t->fd < 0 ? err_sys(e, "take what is mounted on %s", path) : 0;
}

/* By the VPS's root: what a copy of the namespace would begin with is not locked then. */
int ckpt_mount_take(struct ckpt_dump *d, uint32_t id, struct err *e)
{
	struct taking t = { d, id, -EBADF };
	int spaces[2] = { d->spaces.space[d->tree.mounts[id - 1]->space - 1].fd,
			  d->spaces.space[d->spaces.main[CKPT_SPACE_USER] - 1].fd };
	int r = ckpt_within(spaces, 2, take, &t, e);

	return r < 0 ? r : t.fd;
}

static int collect_deleted(struct ckpt_dump *d, uint32_t id, struct err *e)
{
	Ckpt__Mount *m = d->tree.mounts[id - 1];
	cleanup_close int fd = ckpt_mount_take(d, id, e);

	if (fd == -EXDEV)
		return err_set(e, ERR_UNSUPPORTED,
			       "a mount of %s, which has been deleted, is covered, which cannot be saved", m->root);
	return fd < 0 ? fd : ckpt_ghost_mounted(d, fd, m->root, m->super, &m->ghost, e);
}

int ckpt_mounts_deleted(struct ckpt_dump *d, struct err *e)
{
	int r = 0;

	for (uint32_t id = 1; r == 0 && id <= d->tree.mount_count; id++)
		if (d->tree.mounts[id - 1]->ghost == CKPT_MOUNT_DELETED)
			r = ckpt_note(d, collect_deleted(d, id, e), 0, -1, e);
	return r;
}
