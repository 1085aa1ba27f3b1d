/* SPDX-License-Identifier: GPL-2.0-or-later */

/*
 * The devpts of nested containers. A session's terminal is inherited by whom its leader gives birth to, and mounts come
 * after births: so each instance that has terminals is there before both, as a detached mount in which its pairs are
 * opened. There are two mounts of it: one becomes that of the image which the masters were opened in, so that their
 * paths are what they were; the other one goes to the workshop, for all that are copied.
 */
#include "base/macro.h"
#include "checkpoint/enter.h"
#include "checkpoint/image.pb-c.h"
#include "checkpoint/restore_mounts.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <sys/mount.h>

#ifndef OPEN_TREE_CLONE
#define OPEN_TREE_CLONE 1
#endif

static ssize_t find(const struct restore *r, uint32_t super)
{
	for (size_t i = 0; i < r->devpts_count; i++)
		if (r->devpts[i] == super)
			return (ssize_t)i;
	return -1;
}

int restore_devpts_plan(struct restore *r, struct err *e)
{
	r->devpts = ckpt_alloc(&r->tree.arena, (r->tree.super_count + 1) * sizeof(*r->devpts));
	if (!r->devpts)
		return err_code(e, -ENOMEM, "restore");
	for (size_t i = 0; i < r->tree.file_count; i++) {
		const Ckpt__Pty *p = r->tree.files[i]->pty;

		if (p && p->devpts && find(r, p->devpts) < 0)
			r->devpts[r->devpts_count++] = p->devpts;
	}
	return 0;
}

struct instance {
	struct superblock b;
	int fd[2];
};

/* In a mount namespace that goes with the caller: only what is attached can be copied before Linux 6.15. */
static int make(void *arg, struct err *e)
{
	struct instance *i = arg;
	int n;

	if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
		return err_sys(e, "make a mount namespace");
	n = workshop_super(&i->b, e);
	if (n == 0 && move_mount(i->b.fd, "", AT_FDCWD, WORKSHOP_STAGE, MOVE_MOUNT_F_EMPTY_PATH) < 0)
		n = err_sys(e, "mount a devpts");
	for (int k = 0; n == 0 && k < 2; k++) {
		i->fd[k] = open_tree(i->b.fd, "", AT_EMPTY_PATH | OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);
		n = i->fd[k] < 0 ? err_sys(e, "copy the mount of a devpts") : 0;
	}
	return n;
}

static int make_one(struct restore *r, size_t at, struct err *e)
{
	const Ckpt__Super *s = r->tree.supers[r->devpts[at] - 1];
	struct instance i = { { s, -EBADF, -EBADF, s->owner != 0 }, { -EBADF, -EBADF } };
	int owner = s->owner ? restore_fd_space(r, s->owner) : -EBADF, n;

	n = ckpt_within(&owner, 1, make, &i, e);
	for (int k = 0; k < 2; k++) {
		if (n == 0 && dup3(i.fd[k], restore_fd_devpts(r, at, k), O_CLOEXEC) < 0)
			n = err_sys(e, "keep a devpts");
		if (i.fd[k] >= 0)
			close(i.fd[k]);
	}
	if (i.b.fd >= 0)
		close(i.b.fd);
	return n;
}

int restore_devpts_make(struct restore *r, int *fds, struct err *e)
{
	int n = 0;

	for (size_t i = 0; n == 0 && i < r->devpts_count; i++) {
		n = make_one(r, i, e);
		fds[r->devpts[i] - 1] = restore_fd_devpts(r, i, 0);
	}
	return n;
}

int restore_devpts_anchor(const struct mounting *m, uint32_t super)
{
	ssize_t i = find(m->r, super);

	return i < 0 ? -EBADF : fcntl(restore_fd_devpts(m->r, (size_t)i, 1), F_DUPFD_CLOEXEC, 3);
}

/* A mount that a master of the instance was opened in; of several the first. */
static bool is_home(const struct mounting *m, uint32_t id)
{
	for (size_t i = 0; i < m->tree->file_count; i++) {
		const Ckpt__Pty *p = m->tree->files[i]->pty;

		if (p && p->mount && p->devpts == restore_mount_of(m, id)->super)
			return p->mount == id;
	}
	return false;
}

int restore_devpts_home(const struct mounting *m, uint32_t id)
{
	const Ckpt__Mount *k = restore_mount_of(m, id);
	ssize_t i = find(m->r, k->super);

	if (i < 0 || !STREQ(k->root, "/") || !is_home(m, id))
		return -EBADF;
	return fcntl(restore_fd_devpts(m->r, (size_t)i, 0), F_DUPFD_CLOEXEC, 3);
}
