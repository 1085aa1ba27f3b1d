/* SPDX-License-Identifier: GPL-2.0-or-later */

/*
 * Mounts of what has lost its name: a directory and a file of the root, a file in memory that is mounted in two places,
 * written to through an open file, covered by another mount, and mounted in another namespace, too.
 */
#include "tests/checkpoint/crew.h"

#include <fcntl.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/xattr.h>

/* How many mounts are there whose root is this. */
static int count(const char *root, const char *at)
{
	char line[4096], its[1024], where[1024];
	FILE *f = fopen("/proc/self/mountinfo", "re");
	int n = 0;

	while (f && fgets(line, sizeof(line), f))
		n += sscanf(line, "%*d %*d %*s %1023s %1023s", its, where) == 2 && strcmp(its, root) == 0 &&
		     strcmp(where, at) == 0;
	fclose(f);
	return n;
}

/* The group that a mount propagates to; 0: none. */
static int peers(const char *at)
{
	char line[4096], where[1024];
	FILE *f = fopen("/proc/self/mountinfo", "re");
	int n = 0;

	while (f && fgets(line, sizeof(line), f))
		if (sscanf(line, "%*d %*d %*s %*s %1023s", where) == 1 && strcmp(where, at) == 0 &&
		    strstr(line, " shared:"))
			n = atoi(strstr(line, " shared:") + 8);
	fclose(f);
	return n;
}

static void bind(const char *from, const char *to)
{
	CHECK(mount(from, to, NULL, MS_BIND, NULL) == 0);
}

static void check_memory(void)
{
	struct stat a, b;

	CHECK(count("/dir/file//deleted", "/etc/one") == 1 && count("/dir/file//deleted", "/opt/two") == 1);
	CHECK(has_text("/etc/one", "CONTENTS"));
	CHECK(stat("/etc/one", &a) == 0 && a.st_nlink == 0 && (a.st_mode & 07777) == 0604 && a.st_uid == 7);
	CHECK(umount("/opt") == 0); /* what covers it */
	CHECK(has_text("/opt/two", "CONTENTS") && stat("/opt/two", &b) == 0 && a.st_ino == b.st_ino &&
	      a.st_dev == b.st_dev);
}

static void check_other(void)
{
	char text[16] = "";

	check_memory();
	CHECK(getxattr("/etc/one", "user.key", text, sizeof(text)) == 5 && memcmp(text, "value", 5) == 0);
}

/* In a namespace of its own. */
static void other(void)
{
	CHECK(unshare(CLONE_NEWNS) == 0 && mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0);
	crew_serve(check_other);
}

int main(void)
{
	struct stat st;
	int fd;

	crew_begin();
	mkdir("/var/dir", 0750);
	mkdir("/var/place", 0755);
	put_text("/var/file", "of the root");
	put_text("/etc/place", "");
	put_text("/etc/one", "");
	mkdir("/opt", 0755);
	put_text("/opt/two", "");
	mkdir("/var/mem", 0755);
	CHECK(mount("mem", "/var/mem", "tmpfs", 0, NULL) == 0 && mkdir("/var/mem/dir", 0755) == 0);
	put_text("/var/mem/dir/file", "contents");
	CHECK(chmod("/var/mem/dir/file", 0604) == 0 && chown("/var/mem/dir/file", 7, 0) == 0);
	setxattr("/var/mem/dir/file", "user.key", "value", 5, 0);
	bind("/var/dir", "/var/place");
	bind("/var/file", "/etc/place");
	bind("/var/mem/dir/file", "/etc/one");
	bind("/var/mem/dir/file", "/opt/two");
	CHECK(mount("cover", "/opt", "tmpfs", 0, NULL) == 0);
	/* Peers that show nothing of each other: what they are parts of is unmounted. */
	mkdir("/var/wide", 0755);
	mkdir("/var/one", 0755);
	mkdir("/var/two", 0755);
	mkdir("/var/wide/one", 0755);
	mkdir("/var/wide/two", 0755);
	bind("/var/wide", "/var/wide");
	CHECK(mount(NULL, "/var/wide", NULL, MS_SHARED, NULL) == 0);
	bind("/var/wide/one", "/var/one");
	bind("/var/wide/two", "/var/two");
	CHECK(umount("/var/wide") == 0 && peers("/var/one") && peers("/var/one") == peers("/var/two"));
	CHECK(unlink("/var/mem/dir/file") == 0 && rmdir("/var/dir") == 0 && unlink("/var/file") == 0);
	fd = open("/etc/one", O_RDWR);
	crew_start(other);
	wait_for_restore();
	CHECK(pwrite(fd, "CONTENTS", 8, 0) == 8 && has_text("/etc/one", "CONTENTS"));
	crew_check();
	check_memory();
	CHECK(access("/var/mem/dir", F_OK) == 0 && access("/var/mem/dir/file", F_OK) < 0);
	CHECK(access("/var/dir", F_OK) < 0 && access("/var/file", F_OK) < 0);
	CHECK(has_text("/etc/place", "of the root"));
	CHECK(stat("/var/place", &st) == 0 && (st.st_mode & 07777) == 0750);
	CHECK(mkdir("/var/place/new", 0755) < 0 && errno == ENOENT);
	CHECK(peers("/var/one") && peers("/var/one") == peers("/var/two"));
	return done();
}
