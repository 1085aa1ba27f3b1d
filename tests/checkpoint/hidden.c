/* SPDX-License-Identifier: GPL-2.0-or-later */

/*
 * What no path leads to any more: open and mapped files, and a working directory, that mounts have covered since, in process
 * 1's namespace and in another; a file whose mount has been unmounted.
 */
#include "tests/checkpoint/crew.h"

#include <fcntl.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>

static int make(const char *file, const char *text)
{
	int fd = open(file, O_RDWR | O_CREAT, 0644);

	CHECK(fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text));
	return fd;
}

static bool leads_to(int fd, const char *path)
{
	char proc[64], link[256] = "";

	snprintf(proc, sizeof(proc), "/proc/self/fd/%d", fd);
	return readlink(proc, link, sizeof(link) - 1) > 0 && strcmp(link, path) == 0;
}

static int inner;

static void check_inner(void)
{
	char text[16] = "";

	CHECK(pread(inner, text, 15, 0) == 5 && strcmp(text, "inner") == 0 && leads_to(inner, "/opt/file"));
	CHECK(umount("/opt") == 0 && has_text("/opt/file", "inner"));
}

/* In a namespace of its own. */
static void other(void)
{
	CHECK(unshare(CLONE_NEWNS) == 0 && mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0);
	CHECK(mount("below", "/opt", "tmpfs", 0, NULL) == 0);
	inner = make("/opt/file", "inner");
	CHECK(mount("above", "/opt", "tmpfs", 0, NULL) == 0);
	crew_serve(check_inner);
}

static void check_directory(void)
{
	char path[64] = "";

	CHECK(access("beside", F_OK) == 0 && getcwd(path, sizeof(path)) && strcmp(path, "/var/cover/sub") == 0);
}

static void inside(void)
{
	CHECK(chdir("/var/cover/sub") == 0);
	crew_serve(check_directory);
}

int main(void)
{
	int file, lazy, dir;
	char *map, text[16] = "";
	struct stat a, b;

	crew_begin();
	mkdir("/opt", 0755);
	mkdir("/var/cover", 0755);
	mkdir("/var/cover/sub", 0755);
	close(make("/var/cover/sub/beside", ""));
	file = make("/var/cover/file", "covered");
	map = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
	mkdir("/var/lazy", 0755);
	mkdir("/var/keep", 0755);
	CHECK(mount("lazy", "/var/lazy", "tmpfs", 0, NULL) == 0 && mkdir("/var/lazy/sub", 0755) == 0);
	CHECK(mount("/var/lazy", "/var/keep", NULL, MS_BIND, NULL) == 0);
	lazy = make("/var/lazy/sub/file", "lazy");
	dir = open("/var/lazy", O_RDONLY | O_DIRECTORY);
	crew_start(inside);
	crew_start(other);
	CHECK(mount("cover", "/var/cover", "tmpfs", 0, NULL) == 0 && umount2("/var/lazy", MNT_DETACH) == 0);
	wait_for_restore();
	crew_check();
	CHECK(leads_to(file, "/var/cover/file") && access("/var/cover/file", F_OK) < 0);
	memcpy(map, "COVERED", 7);
	CHECK(pread(file, text, 15, 0) == 7 && strcmp(text, "COVERED") == 0);
	CHECK(umount("/var/cover") == 0 && has_text("/var/cover/file", "COVERED"));
	CHECK(fstat(file, &a) == 0 && stat("/var/cover/file", &b) == 0 && a.st_ino == b.st_ino);
	CHECK(leads_to(lazy, "/sub/file") && pwrite(lazy, "LAZY", 4, 0) == 4 && has_text("/var/keep/sub/file", "LAZY"));
	CHECK(faccessat(dir, "sub/file", F_OK, 0) == 0);
	return done();
}
