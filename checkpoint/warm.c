/* SPDX-License-Identifier: GPL-2.0-or-later */

/*
 * The first look at a file of /proc/PID makes a dentry and an inode, 2 us; the next ones find them as long as the
 * process lives. What a stop will look at is looked at once before.
 */
#include "base/fd.h"
#include "base/macro.h"
#include "checkpoint/internal.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>

static const char *const of_threads[] = {
	"status", "comm", "cgroup", "ns/user", "ns/mnt", "ns/net", "ns/uts", "ns/ipc", "ns/cgroup", "ns/time", "ns/pid",
	"ns/time_for_children", "ns/pid_for_children",
};
static const char *const of_processes[] = {
	"stat", "auxv", "maps", "mem", "pagemap", "cwd", "root", "exe", "fd", "map_files", "timers", "oom_score_adj",
	"coredump_filter", "autogroup", "loginuid",
};
static const char *const below_task[] = { "children", "stat" };

static void touch(int dirfd, const char *const *names, size_t n)
{
	struct stat ignored;

	for (size_t i = 0; i < n; i++)
		(void)!fstatat(dirfd, names[i], &ignored, AT_SYMLINK_NOFOLLOW);
}

static void warm_directory(int proc, const char *path, const char *const *names, size_t n)
{
	cleanup_close int fd = openat(proc, path, O_PATH | O_DIRECTORY | O_CLOEXEC);

	if (fd >= 0)
		touch(fd, names, n);
}

void ckpt_warm(int proc, pid_t pid)
{
	cleanup_closedir DIR *d = NULL;
	const struct dirent *de;
	char path[64];
	int fd;

	snprintf(path, sizeof(path), "%d", (int)pid);
	warm_directory(proc, path, of_processes, ARRAY_SIZE(of_processes));
	snprintf(path, sizeof(path), "%d/task", (int)pid);
	fd = openat(proc, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	d = fd < 0 ? NULL : fdopendir(fd);
	while (d && (de = readdir(d))) {
		if (de->d_name[0] == '.')
			continue;
		warm_directory(proc, de->d_name, of_threads, ARRAY_SIZE(of_threads)); /* as /proc/TID */
		snprintf(path, sizeof(path), "%d/task/%d", (int)pid, atoi(de->d_name));
		warm_directory(proc, path, below_task, ARRAY_SIZE(below_task));
	}
}
