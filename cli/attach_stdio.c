/* SPDX-License-Identifier: GPL-2.0-or-later */

/* What a command in a VPS gets for its standard input, output and error. */
#include "cli/attach.h"

#include "base/fd.h"
#include "base/macro.h"

#include <fcntl.h>
#include <linux/magic.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>
#include <unistd.h>

/* What a tenant may hold of the host: a pipe without a name, and what is always empty. */
static bool may_be_sent(int fd, const struct stat *st)
{
	struct statfs fs;

	if (S_ISFIFO(st->st_mode))
		return fstatfs(fd, &fs) == 0 && fs.f_type == PIPEFS_MAGIC;
	return S_ISCHR(st->st_mode) && st->st_rdev == makedev(1, 3);
}

/* Output and errors that go to one file stay in their order. */
static bool is_one_file(const struct stat *a, const struct stat *b)
{
	return a->st_dev == b->st_dev && a->st_ino == b->st_ino;
}

static int open_input(struct attach_stdio *s, const struct stat *st, struct err *e)
{
	int fds[2];

	if (pipe2(fds, O_CLOEXEC) < 0)
		return err_sys(e, "make a pipe");
	s->child[0] = fds[0];
	s->ours[0] = fds[1];
	fd_set_nonblock(s->ours[0], true);
	if (!S_ISREG(st->st_mode) || lseek(0, 0, SEEK_CUR) < 0)
		return 0;
	s->unread = fcntl(fds[0], F_DUPFD_CLOEXEC, 3);
	return s->unread < 0 ? err_sys(e, "copy a descriptor") : 0;
}

static int open_output(struct attach_stdio *s, int i, const struct stat st[3], struct err *e)
{
	int fds[2];

	if (i == 2 && s->ours[1] >= 0 && is_one_file(&st[1], &st[2])) {
		s->child[2] = fcntl(s->child[1], F_DUPFD_CLOEXEC, 3);
		return s->child[2] < 0 ? err_sys(e, "copy a descriptor") : 0;
	}
	if (pipe2(fds, O_CLOEXEC) < 0)
		return err_sys(e, "make a pipe");
	s->child[i] = fds[1];
	s->ours[i] = fds[0];
	fd_set_nonblock(s->ours[i], true);
	return 0;
}

int attach_stdio_open(struct attach_stdio *s, struct err *e)
{
	struct stat st[3];
	int r = 0;

	*s = (struct attach_stdio)ATTACH_STDIO_INIT;
	for (int i = 0; i < 3 && r == 0; i++) {
		if (fstat(i, &st[i]) < 0) { /* started with it closed */
			st[i] = (struct stat){ 0 };
			s->child[i] = open("/dev/null", O_RDWR | O_CLOEXEC);
			if (s->child[i] < 0)
				return err_sys(e, "open /dev/null");
		} else if (!may_be_sent(i, &st[i])) {
			r = i == 0 ? open_input(s, &st[0], e) : open_output(s, i, st, e);
		}
	}
	return r;
}

void attach_stdio_sent(struct attach_stdio *s)
{
	for (int i = 0; i < 3; i++)
		if (s->child[i] > 2)
			fd_close(&s->child[i]);
}

void attach_stdio_done(struct attach_stdio *s)
{
	attach_stdio_sent(s);
	for (int i = 0; i < 3; i++)
		fd_close(&s->ours[i]);
	fd_close(&s->unread);
}
