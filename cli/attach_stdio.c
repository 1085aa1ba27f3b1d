/* SPDX-License-Identifier: GPL-2.0-or-later */

/* What a command in a VPS gets for its standard input, output and error. */
#include "cli/attach_stdio.h"

#include "base/rawcall.h"

#include <fcntl.h>
#include <linux/magic.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>
#include <unistd.h>

/* What a tenant may hold of the host: a pipe without a name, and what is always empty. */
static bool may_be_sent(int fd, const struct stat *st)
{
	struct statfs fs;

	if (S_ISFIFO(st->st_mode))
		return SYS(fstatfs, fd, &fs) == 0 && fs.f_type == PIPEFS_MAGIC;
	return S_ISCHR(st->st_mode) && st->st_rdev == makedev(1, 3);
}

/* Output and errors that go to one file stay in their order. */
static bool is_one_file(const struct stat *a, const struct stat *b)
{
	return a->st_dev == b->st_dev && a->st_ino == b->st_ino;
}

static int copy_fd(int fd, int *ret)
{
	*ret = (int)SYS(fcntl, fd, F_DUPFD_CLOEXEC, 3);
	return *ret < 0 ? *ret : 0;
}

/* ours[i] is the end of a new pipe that has the number `side`, and does not block; child[i] the other. */
static int make_pipe(struct attach_stdio *s, int i, int side)
{
	int fds[2];
	long r = SYS(pipe2, fds, O_CLOEXEC);

	if (r < 0)
		return (int)r;
	s->ours[i] = fds[side];
	s->child[i] = fds[!side];
	return (int)SYS(fcntl, s->ours[i], F_SETFL, O_NONBLOCK);
}

static int open_input(struct attach_stdio *s, const struct stat *st)
{
	int r = make_pipe(s, 0, 1);

	if (r < 0 || !S_ISREG(st->st_mode) || SYS(lseek, 0, 0, SEEK_CUR) < 0)
		return r;
	return copy_fd(s->child[0], &s->unread);
}

static int open_one(struct attach_stdio *s, int i, const struct stat st[3])
{
	if (may_be_sent(i, &st[i]))
		return 0;
	if (i == 0)
		return open_input(s, &st[0]);
	if (i == 2 && s->ours[1] >= 0 && is_one_file(&st[1], &st[2]))
		return copy_fd(s->child[1], &s->child[2]);
	return make_pipe(s, i, 0);
}

void attach_stdio_hold(void)
{
	for (int fd = 0; fd < 3; fd++)
		if (SYS(fcntl, fd, F_GETFD) < 0)
			SYS(openat, AT_FDCWD, "/dev/null", fd == 0 ? O_WRONLY : O_RDONLY);
}

int attach_stdio_open(struct attach_stdio *s)
{
	struct stat st[3];
	int r = 0;

	*s = (struct attach_stdio)ATTACH_STDIO_INIT;
	for (int i = 0; i < 3 && r == 0; i++)
		r = (int)SYS(fstat, i, &st[i]);
	for (int i = 0; i < 3 && r == 0; i++)
		r = open_one(s, i, st);
	if (r < 0)
		attach_stdio_done(s);
	return r;
}

static void close_fd(int *fd)
{
	if (*fd >= 0)
		SYS(close, *fd);
	*fd = -EBADF;
}

void attach_stdio_sent(struct attach_stdio *s)
{
	for (int i = 0; i < 3; i++)
		if (s->child[i] > 2)
			close_fd(&s->child[i]);
}

void attach_stdio_done(struct attach_stdio *s)
{
	attach_stdio_sent(s);
	for (int i = 0; i < 3; i++)
		close_fd(&s->ours[i]);
	close_fd(&s->unread);
}
