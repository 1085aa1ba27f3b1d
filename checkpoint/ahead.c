/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "checkpoint/ahead.h"

#include "base/fd.h"
#include "base/macro.h"
#include "checkpoint/beside.h"
#include "checkpoint/enter.h"
#include "checkpoint/mountfs.h"
#include "checkpoint/queues.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/mount.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/syscall.h>

const struct ckpt_ahead_space *ckpt_ahead_space(const struct ckpt_ahead *a, ino_t ino)
{
	for (size_t i = 0; i < a->count; i++)
		if (a->space[i].ino == ino)
			return &a->space[i];
	return NULL;
}

int ckpt_ahead_super(const struct ckpt_ahead *a, dev_t dev)
{
	for (size_t i = 0; i < a->super_count; i++)
		if (a->super[i].dev == dev)
			return a->super[i].fd;
	return -EBADF;
}

/* A copy of a mount without those on it. Private: what the VPS mounts meanwhile does not appear in it. */
static int copy_alone(const char *at, uint64_t id)
{
	struct mount_attr private = { .propagation = MS_PRIVATE };
	cleanup_close int fd = open(at, O_PATH | O_NOFOLLOW | O_CLOEXEC), copy = -EBADF;
	struct statx sx;

	if (fd < 0 || statx(fd, "", AT_EMPTY_PATH, STATX_MNT_ID, &sx) < 0 || sx.stx_mnt_id != id)
		return -ENOENT; /* another lies upon it */
	copy = (int)syscall(SYS_open_tree, fd, "", AT_EMPTY_PATH | OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);
	if (copy < 0 || syscall(SYS_mount_setattr, copy, "", AT_EMPTY_PATH, &private, sizeof(private)) < 0)
		return -errno;
	return TAKE_FD(copy);
}

static int add_supers(struct ckpt_ahead *a, char *text, struct err *e)
{
	cleanup_free struct ckpt_mountinfo *m = NULL;
	size_t count;
	int r = ckpt_mountinfo_parse(text, &m, &count, e);

	for (size_t i = 0; r == 0 && i < count; i++) {
		const struct ckpt_mountfs *fs = ckpt_mountfs_find(m[i].type);
		struct ckpt_ahead_super *grown;
		char *at;
		int fd;

		if (!fs || !fs->contents || !STREQ(m[i].root, "/") || ckpt_ahead_super(a, m[i].dev) >= 0)
			continue;
		fd = copy_alone(m[i].at, m[i].id);
		at = fd < 0 ? NULL : strdup(m[i].at);
		grown = at ? reallocarray(a->super, a->super_count + 1, sizeof(*grown)) : NULL;
		if (!grown) {
			free(at);
			fd_close(&fd);
			continue;
		}
		a->super = grown;
		grown[a->super_count++] = (struct ckpt_ahead_super){ m[i].dev, fd, at };
	}
	return r;
}

struct looking {
	struct ckpt_ahead *a;
	struct ckpt_ahead_space *space;
	int proc; /* ours, which a process in another mount namespace has not got */
};

static int look_mnt(void *arg, struct err *e)
{
	const struct looking *l = arg;
	cleanup_free char *text = NULL;

	l->space->root = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
	l->space->mountinfo = openat(l->proc, "self/mountinfo", O_RDONLY | O_CLOEXEC);
	if (fd_read_file_at(l->proc, "self/mountinfo", CKPT_MOUNTINFO_MAX, &text, NULL) == 0)
		return add_supers(l->a, text, e);
	return 0;
}

static int look_ipc(void *arg, struct err *e)
{
	const struct looking *l = arg;

	(void)e;
	l->space->queues = ckpt_mqueues_mount();
	return 0;
}

/* The file speaks of the namespace of who has opened it. */
static int look_pid(void *arg, struct err *e)
{
	const struct looking *l = arg;
	cleanup_free char *last = NULL;

	(void)e;
	l->space->pid_max = openat(l->proc, "sys/kernel/pid_max", O_RDONLY | O_CLOEXEC);
	/* Which is ours: the one before is the VPS's. */
	if (fd_read_file_at(l->proc, "sys/kernel/ns_last_pid", 64, &last, NULL) == 0 && atol(last) > 1)
		l->space->last_number = (uint32_t)atol(last) - 1;
	return 0;
}

static int look_user(void *arg, struct err *e)
{
	const struct looking *l = arg;
	char path[64];

	(void)e;
	for (size_t i = 0; i < CKPT_USER_SYSCTLS; i++) {
		snprintf(path, sizeof(path), "sys/%s", ckpt_user_sysctls[i]);
		l->space->limits[i] = openat(l->proc, path, O_RDONLY | O_CLOEXEC);
	}
	return 0;
}

static void space_done(struct ckpt_ahead_space *s)
{
	fd_close(&s->root);
	fd_close(&s->mountinfo);
	fd_close(&s->queues);
	fd_close(&s->pid_max);
	for (size_t i = 0; i < CKPT_USER_SYSCTLS; i++)
		fd_close(&s->limits[i]);
}

static struct ckpt_ahead_space new_space(ino_t ino)
{
	struct ckpt_ahead_space s = { ino, -EBADF, -EBADF, -EBADF, -EBADF, 0, { 0 } };

	for (size_t i = 0; i < CKPT_USER_SYSCTLS; i++)
		s.limits[i] = -EBADF;
	return s;
}

/* The namespace of that kind that a process is in, unless it is known. */
static void look_space(struct ckpt_ahead *a, int proc, pid_t pid, enum ckpt_space_kind kind)
{
	struct ckpt_ahead_space *s;
	char path[64], link[64] = { 0 };
	cleanup_close int fd = -EBADF;
	struct looking l = { a, NULL, proc };
	struct err ignored;
	struct stat st;

	snprintf(path, sizeof(path), "%d/ns/%s", (int)pid, ckpt_space_types[kind].name);
	if (readlinkat(proc, path, link, sizeof(link) - 1) < 0 || ckpt_ahead_space(a, ckpt_space_number(link)))
		return;
	s = reallocarray(a->space, a->count + 1, sizeof(*s));
	if (!s)
		return;
	a->space = s;
	fd = ckpt_space_open((int)pid, ckpt_space_types[kind].name, &ignored);
	if (fd < 0 || fstat(fd, &st) < 0 || ckpt_ahead_space(a, st.st_ino))
		return;
	l.space = &s[a->count];
	*l.space = new_space(st.st_ino);
	if (kind == CKPT_SPACE_IPC)
		ckpt_visit(kind, fd, look_ipc, &l, &ignored);
	else if (kind == CKPT_SPACE_MNT)
		ckpt_within(&fd, 1, look_mnt, &l, &ignored);
	else if (kind == CKPT_SPACE_USER)
		ckpt_within(&fd, 1, look_user, &l, &ignored);
	else
		a->births += ckpt_within(&fd, 1, look_pid, &l, &ignored) == 0;
	if (l.space->queues >= 0 || l.space->pid_max >= 0 || l.space->limits[0] >= 0 ||
	    (l.space->root >= 0 && l.space->mountinfo >= 0))
		a->count++;
	else
		space_done(l.space);
}

void ckpt_ahead_look(struct ckpt_ahead *a, int proc, pid_t init, const pid_t *pids, size_t n)
{
	look_space(a, proc, init, CKPT_SPACE_USER);
	for (size_t i = 0; i < n; i++) {
		look_space(a, proc, pids[i], CKPT_SPACE_MNT);
		look_space(a, proc, pids[i], CKPT_SPACE_IPC);
		look_space(a, proc, pids[i], CKPT_SPACE_PID);
	}
}

void ckpt_ahead_look_mounts(struct ckpt_ahead *a, int proc, pid_t pid)
{
	look_space(a, proc, pid, CKPT_SPACE_MNT);
}

static void close_all(struct ckpt_ahead *a)
{
	for (size_t i = 0; i < a->count; i++)
		space_done(&a->space[i]);
	for (size_t i = 0; i < a->super_count; i++)
		fd_close(&a->super[i].fd);
}

static void *run(void *arg)
{
	close_all(arg);
	return NULL;
}

void ckpt_ahead_let_go(struct ckpt_ahead *a)
{
	a->closing = ckpt_beside(&a->thread, run, a);
}

void ckpt_ahead_done(struct ckpt_ahead *a)
{
	if (a->closing)
		pthread_join(a->thread, NULL);
	else
		close_all(a);
	for (size_t i = 0; i < a->super_count; i++)
		free(a->super[i].at);
	free(a->space);
	free(a->super);
	*a = (struct ckpt_ahead){ 0 };
}
