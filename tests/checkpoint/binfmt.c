/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Binary formats of the VPS's own (binfmt_misc, Linux 6.7): by magic with offset and mask, by extension, one that is
 * off, one whose interpreter is open; the newer of two that fit is tried first. */
#include "tests/checkpoint/guest.h"

#include <fcntl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>

#define AT "/tmp/formats"

static const char *const names[] = { "status", "magic", "older", "newer", "off", "fixed" };
enum { COUNT = sizeof(names) / sizeof(*names) };

static int put(const char *file, const char *text, size_t len)
{
	int fd = open(file, O_WRONLY);
	ssize_t n = write(fd, text, len);

	close(fd);
	return n == (ssize_t)len ? 0 : -1;
}

static void add(const char *line)
{
	CHECK(put(AT "/register", line, strlen(line)) == 0);
}

static void get(const char *name, char text[1024])
{
	char path[64];
	ssize_t n;
	int fd;

	snprintf(path, sizeof(path), AT "/%s", name);
	fd = open(path, O_RDONLY);
	n = read(fd, text, 1023);
	CHECK(n > 0);
	text[n > 0 ? n : 0] = '\0';
	close(fd);
}

/* The interpreter is this program, which says by which name it was called. */
static int run(const char *path, const char *what, size_t len)
{
	int status = -1, fd = open(path, O_CREAT | O_WRONLY | O_TRUNC, 0755);
	pid_t pid;

	CHECK(write(fd, what, len) == (ssize_t)len);
	close(fd);
	pid = fork();
	if (pid == 0) {
		execl(path, path, NULL);
		_exit(99);
	}
	CHECK(waitpid(pid, &status, 0) == pid);
	return WEXITSTATUS(status);
}

static void check_runs(void)
{
	CHECK(run("/tmp/a.tst", "x", 1) == 42);
	CHECK(run("/tmp/b", "..ab\x01q", 6) == 42);
	CHECK(run("/tmp/c.off", "x", 1) == 99);
}

int main(int argc, char **argv)
{
	char before[COUNT][1024], now[1024];

	(void)argv;
	if (argc > 1)
		return 42;
	CHECK(mkdir(AT, 0755) == 0);
	if (mount("binfmt_misc", AT, "binfmt_misc", 0, NULL) < 0) {
		wait_for_restore();
		return done(); /* an older kernel */
	}
	add(":magic:M:2:ab\\x01\\x00:\\xff\\xff\\xff\\x00:/test:");
	add(":older:E::tst::/missing:");
	add(":newer:E::tst::/test:P");
	add(":off:E::off::/test:");
	CHECK(put(AT "/off", "0", 1) == 0);
	add("|fixed|E||fix||/test|FOC");
	for (int i = 0; i < COUNT; i++)
		get(names[i], before[i]);
	check_runs();
	if (guest_failed)
		return 1;
	wait_for_restore();
	for (int i = 0; i < COUNT; i++) {
		get(names[i], now);
		CHECK(strcmp(before[i], now) == 0);
	}
	check_runs();
	return done();
}
