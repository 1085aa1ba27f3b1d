/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Processes whose directory is a process's in /proc, which is there only when that is: as all others are, in a mount
 * namespace of its own, with another root. */
#include "tests/checkpoint/crew.h"

#include <sched.h>
#include <sys/stat.h>

static void check_own(void)
{
	char path[64] = "", own[64];

	snprintf(own, sizeof(own), "/proc/%d", getpid());
	CHECK(getcwd(path, sizeof(path)) && strcmp(path, own) == 0 && access("status", F_OK) == 0);
}

static void usual(void)
{
	CHECK(chdir("/proc/self") == 0);
	crew_serve(check_own);
}

static void among_mounts(void)
{
	CHECK(unshare(CLONE_NEWNS) == 0 && chdir("/proc/self") == 0);
	crew_serve(check_own);
}

/* Its directory lies outside of its root. */
static void check_outside(void)
{
	char text[32] = "";
	int fd = open("status", O_RDONLY);

	CHECK(read(fd, text, 5) == 5 && strcmp(text, "Name:") == 0 && access("/proc", F_OK) < 0);
	close(fd);
}

static void in_root(void)
{
	CHECK(chdir("/proc/1") == 0 && chroot("/tmp/root") == 0);
	crew_serve(check_outside);
}

static void of_thread_in_root(void)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/self/task/%d", getpid());
	CHECK(chdir(path) == 0 && chroot("/tmp/root") == 0);
	crew_serve(check_outside);
}

int main(void)
{
	crew_begin();
	CHECK(mkdir("/tmp/root", 0755) == 0);
	crew_start(usual);
	crew_start(among_mounts);
	crew_start(in_root);
	crew_start(of_thread_in_root);
	wait_for_restore();
	crew_check();
	return done();
}
