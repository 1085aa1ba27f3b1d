/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "checkpoint/clocks.h"

#include "base/fd.h"
#include "base/macro.h"
#include "checkpoint/image.pb-c.h"
#include "checkpoint/spaces.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <sys/wait.h>

#ifndef CLONE_NEWTIME
#define CLONE_NEWTIME 0x80
#endif

int ckpt_clock_parse(const char *text, int64_t ret[2])
{
	long long s[2], ns[2];

	if (sscanf(text, "monotonic %lld %lld boottime %lld %lld", &s[0], &ns[0], &s[1], &ns[1]) != 4)
		return -EPROTO;
	for (int i = 0; i < 2; i++)
		ret[i] = s[i] * 1000000000 + ns[i];
	return 0;
}

/* Of the time namespace that the children of a process are born into. */
static int read_children(pid_t pid, int64_t ret[2], struct err *e)
{
	cleanup_free char *text = NULL;
	char path[64];
	int r;

	snprintf(path, sizeof(path), "/proc/%d/timens_offsets", (int)pid);
	r = fd_read_file_at(AT_FDCWD, path, 4096, &text, NULL);
	if (r == 0)
		r = ckpt_clock_parse(text, ret);
	return r < 0 ? err_code(e, r, "read %s", path) : 0;
}

static _Noreturn void look(int space, int out)
{
	char text[256];
	int fd = setns(space, CLONE_NEWTIME) < 0 ? -1 : open("/proc/self/timens_offsets", O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof(text));

	_exit(n <= 0 ? write(out, "", 1) != 1 : write(out, text, (size_t)n) != n);
}

/* By a process of its own: nobody who shares memory with another enters one. */
static int read_inside(int space, int64_t ret[2], struct err *e)
{
	char text[256] = "";
	int out[2], status;
	ssize_t n;
	pid_t pid;

	if (pipe2(out, O_CLOEXEC) < 0)
		return err_sys(e, "make a pipe");
	pid = fork();
	if (pid == 0)
		look(space, out[1]);
	close(out[1]);
	do
		n = pid > 0 ? read(out[0], text, sizeof(text) - 1) : -1;
	while (pid > 0 && n < 0 && errno == EINTR);
	if (n < 0)
		text[0] = '\0';
	close(out[0]);
	while (pid > 0 && waitpid(pid, &status, 0) < 0 && errno == EINTR)
		continue;
	return ckpt_clock_parse(text, ret) < 0 ? err_set(e, ERR_FAIL, "the offsets of a time namespace cannot be read") : 0;
}

int ckpt_clock_offsets_in(int space, pid_t pid, int64_t ret[2], struct err *e)
{
	char path[64], link[64] = "";
	struct stat st;

	snprintf(path, sizeof(path), "/proc/%d/ns/time_for_children", (int)pid);
	if (fstat(space, &st) < 0 || (pid && readlink(path, link, sizeof(link) - 1) < 0))
		return err_sys(e, "look at a time namespace");
	return ckpt_space_number(link) == st.st_ino ? read_children(pid, ret, e) : read_inside(space, ret, e);
}

int ckpt_clock_offsets(pid_t pid, int64_t ret[2], struct err *e)
{
	cleanup_close int space = -EBADF;
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/ns/time", (int)pid);
	space = open(path, O_RDONLY | O_CLOEXEC);
	ret[0] = ret[1] = 0;
	if (space < 0)
		return errno == ENOENT ? 0 : err_sys(e, "open %s", path); /* a kernel without them */
	return ckpt_clock_offsets_in(space, pid, ret, e);
}

int ckpt_clock_format(const char *delta, const int64_t base[2], char ret[CKPT_OFFSETS_TEXT], struct err *e)
{
	long long d[2], s[2], ns[2];

	if (sscanf(delta, "%lld %lld", &d[0], &d[1]) != 2)
		return err_set(e, ERR_FAIL, "the image is damaged: the offsets of a time namespace");
	for (int i = 0; i < 2; i++) {
		if (d[i] > INT64_MAX / 4 || d[i] < INT64_MIN / 4)
			return err_set(e, ERR_FAIL, "the image is damaged: the offsets of a time namespace");
		s[i] = (base[i] + d[i]) / 1000000000;
		ns[i] = (base[i] + d[i]) % 1000000000;
		if (ns[i] < 0) {
			s[i]--;
			ns[i] += 1000000000;
		}
	}
	snprintf(ret, CKPT_OFFSETS_TEXT, "monotonic %lld %lld\nboottime %lld %lld\n", s[0], ns[0], s[1], ns[1]);
	return 0;
}
