/* SPDX-License-Identifier: GPL-2.0-or-later */

/*
 * Who has files read past the page cache (O_DIRECT) gives the disk memory to write into, and that write sets no bit
 * in any page table: a page that is protected while it is awaited and read before it has come would be stale for
 * good, as it counts as written once, before. So a round that meets such a process lets some time pass between the
 * two. At the final stop nothing is under way any more when the objects have been collected, which waits for it:
 * the round beside that (precopy_last.c) leaves such a process out. tests/checkpoint/direct.c fails in every other
 * run without.
 */
#include "base/fd.h"
#include "base/macro.h"
#include "checkpoint/precopy_internal.h"

#include <fcntl.h>
#include <time.h>

#define SETTLE_NS 250000000 /* what a busy disk takes for a request */

/* Of pipes the flag means something else (pipe2(2)). */
static bool is_direct(pid_t pid, int proc, const char *fd)
{
	cleanup_free char *info = NULL;
	struct err ignored;
	const char *flags;
	char target[2] = { 0 };

	if (readlinkat(proc, fd, target, sizeof(target)) <= 0 || target[0] != '/' ||
	    ckpt_fd_info(pid, atoi(fd), &info, &ignored) < 0)
		return false;
	flags = strstr(info, "flags:");
	return flags && (strtoul(flags + 6, NULL, 8) & O_DIRECT);
}

bool ckpt_direct_find(pid_t pid)
{
	cleanup_closedir DIR *dir = NULL;
	const struct dirent *de;
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/fd", (int)pid);
	dir = opendir(path);
	while (dir && (de = readdir(dir)))
		if (de->d_name[0] != '.' && is_direct(pid, dirfd(dir), de->d_name))
			return true;
	return false;
}

void ckpt_direct_settle(void)
{
	nanosleep(&(struct timespec){ 0, SETTLE_NS }, NULL);
}
