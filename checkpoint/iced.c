/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "checkpoint/iced.h"

#include "base/fd.h"
#include "base/macro.h"
#include "checkpoint/groups.h"
#include "checkpoint/guard.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static bool says_frozen(int fd)
{
	char c;

	return pread(fd, &c, 1, 0) == 1 && c == '1';
}

int ckpt_iced_look(struct ckpt_iced *f, int dirfd)
{
	cleanup_close int fd = openat(dirfd, "cgroup.freeze", O_RDWR | O_CLOEXEC | O_NOFOLLOW);
	int *fds;

	/* Removed meanwhile, or the root of the hierarchy. */
	if (fd < 0)
		return errno == ENOENT || errno == ENODEV ? 0 : -errno;
	if (!says_frozen(fd))
		return 0;
	fds = reallocarray(f->fds, f->count + 1, sizeof(*fds));
	if (!fds)
		return -ENOMEM;
	f->fds = fds;
	f->fds[f->count++] = TAKE_FD(fd);
	return 0;
}

int ckpt_iced_thaw(struct ckpt_iced *f, struct err *e)
{
	if (!f->count)
		return 0;
	f->guard = ckpt_guard_new(e);
	if (!f->guard)
		return -ENOMEM;
	ckpt_guard_freeze(f->guard, f->fds, f->count);
	for (size_t i = 0; i < f->count; i++)
		if (pwrite(f->fds[i], "0", 1, 0) != 1)
			return err_sys(e, "thaw a control group that was frozen from inside");
	return 0;
}

void ckpt_iced_freeze(struct ckpt_iced *f)
{
	if (f->guard)
		ckpt_guard_freeze_now(f->guard);
	ckpt_iced_done(f);
}

void ckpt_iced_done(struct ckpt_iced *f)
{
	ckpt_guard_free(f->guard);
	for (size_t i = 0; i < f->count; i++)
		close(f->fds[i]);
	free(f->fds);
	*f = (struct ckpt_iced){ 0 };
}

bool ckpt_iced_has(const struct ckpt_iced *f, const struct stat *st)
{
	struct stat own;

	for (size_t i = 0; i < f->count; i++)
		if (fstat(f->fds[i], &own) == 0 && own.st_dev == st->st_dev && own.st_ino == st->st_ino)
			return true;
	return false;
}

bool ckpt_is_iced(const struct cgroup *c, pid_t pid)
{
	char group[4096], path[4096 + 300], *slash;

	if (ckpt_group_of(pid, group, sizeof(group)) < 0)
		return false;
	/* Up to the root of the hierarchy, which has no such file. */
	while ((slash = strrchr(group, '/')) && slash[1]) {
		cleanup_close int fd = -EBADF;

		snprintf(path, sizeof(path), "%s%s/cgroup.freeze", c->host->v2, group);
		fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
		if (fd >= 0 && says_frozen(fd))
			return true;
		*slash = '\0';
	}
	return false;
}
