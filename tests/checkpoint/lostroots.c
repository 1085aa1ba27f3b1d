/* SPDX-License-Identifier: GPL-2.0-or-later */

/*
 * Roots that no path leads to: of a mount that has been unmounted since, and of a directory that was deleted; process 1
 * is in one itself, with a directory that was deleted and files open elsewhere.
 */
#include "tests/checkpoint/crew.h"

#include <sched.h>
#include <sys/inotify.h>
#include <sys/mount.h>
#include <sys/stat.h>

static int watch;

static void make_jail(const char *at, const char *text)
{
	char path[128];

	snprintf(path, sizeof(path), "%s/dir", at);
	CHECK(mkdir(path, 0755) == 0);
	snprintf(path, sizeof(path), "%s/who", at);
	put_text(path, text);
}

static void check_lost(void)
{
	CHECK(has_text("/who", "lost") && has_text("../../who", "lost") && access("/proc", F_OK) < 0);
	CHECK(access("../dir", F_OK) == 0);
}

static void in_lost(void)
{
	CHECK(chroot("/var/at") == 0 && chdir("/dir") == 0);
	crew_serve(check_lost);
}

static void check_deleted(void)
{
	char path[64] = "";

	CHECK(!getcwd(path, sizeof(path)) && errno == ENOENT);
	CHECK(access("/who", F_OK) < 0 && mkdir("/new", 0755) < 0 && errno == ENOENT);
}

static void in_deleted(void)
{
	CHECK(chroot("/var/deleted") == 0 && chdir("/") == 0);
	crew_serve(check_deleted);
}

static void check_other(void)
{
	char event[64];

	put_text("/mnt/in", "changed");
	CHECK(read(watch, event, sizeof(event)) > 0);
}

/* What is watched here is found again by process 1, which goes here and back into its own root for that. */
static void other(void)
{
	CHECK(unshare(CLONE_NEWNS) == 0 && mount("none", "/mnt", "tmpfs", 0, NULL) == 0);
	watch = inotify_init1(IN_NONBLOCK);
	CHECK(inotify_add_watch(watch, "/mnt", IN_CREATE) == 1);
	crew_serve(check_other);
}

int main(void)
{
	char path[256] = "";

	crew_begin();
	mkdir("/mnt", 0755);
	CHECK(mkdir("/var/jail", 0755) == 0 && mkdir("/var/deleted", 0755) == 0 && mkdir("/var/own", 0755) == 0);
	CHECK(mount("none", "/var/jail", "tmpfs", 0, NULL) == 0);
	make_jail("/var/jail", "lost");
	make_jail("/var/deleted", "");
	make_jail("/var/own", "own");
	CHECK(mkdir("/var/at", 0755) == 0 && mount("/var/jail", "/var/at", NULL, MS_BIND, NULL) == 0);
	crew_start(in_lost);
	crew_start(in_deleted);
	crew_start(other);
	CHECK(umount2("/var/at", MNT_DETACH) == 0);
	CHECK(unlink("/var/deleted/who") == 0 && rmdir("/var/deleted/dir") == 0 && rmdir("/var/deleted") == 0);
	CHECK(chroot("/var/own") == 0 && chdir("/dir") == 0 && rmdir("/dir") == 0);
	wait_for_restore();
	CHECK(has_text("/who", "own") && access("/var", F_OK) < 0);
	CHECK(!getcwd(path, sizeof(path)) && errno == ENOENT && mkdir("new", 0755) < 0 && errno == ENOENT);
	crew_check();
	return done();
}
