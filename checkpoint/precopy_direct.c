/* SPDX-License-Identifier: GPL-2.0-or-later */

/*
 * Who has files read past the page cache (O_DIRECT) gives the disk memory to write into, and that write sets no bit
 * in any page table: a page that is protected while it is awaited and read before it has come would be stale for
 * good, as it counts as written once, before. So a round that meets such a process waits between the two until each
 * of its threads has been seen in a call that awaits nothing of that kind; for one that is always in one, and for
 * asynchronous requests, as long as a busy disk takes. At the final stop no thread is in a call, and asynchronous
 * requests have been waited for (drain.h). tests/checkpoint/direct.c fails in every other run without.
 */
#include "base/fd.h"
#include "base/macro.h"
#include "base/proc.h"
#include "checkpoint/precopy_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/syscall.h>
#include <time.h>

#define SETTLE_US 250000 /* what a busy disk takes for a request */
#define LOOK_NS 500000

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

/* What its call is (proc_pid_syscall(5)). One that runs may be about to ask the disk, or on its way out. */
static bool may_await(pid_t pid, int proc, pid_t tid)
{
	static const long calls[] = { SYS_read, SYS_readv, SYS_pread64, SYS_preadv, SYS_preadv2 };
	cleanup_free char *text = NULL;
	char path[64], fd[24], *end;
	long nr;

	snprintf(path, sizeof(path), "/proc/%d/task/%d/syscall", (int)pid, (int)tid);
	if (fd_read_file_at(AT_FDCWD, path, 512, &text, NULL) < 0)
		return kill(tid, 0) == 0; /* or it has ended */
	nr = strtol(text, &end, 10);
	if (end == text)
		return true;
	snprintf(fd, sizeof(fd), "%d", (int)strtoul(end, NULL, 16));
	for (size_t i = 0; i < ARRAY_SIZE(calls); i++)
		if (nr == calls[i])
			return is_direct(pid, proc, fd);
	return false;
}

/* Threads that have not been seen to await nothing; -errno. */
static int list_threads(pid_t pid, pid_t **tids, size_t *n)
{
	cleanup_closedir DIR *dir = NULL;
	const struct dirent *de;
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/task", (int)pid);
	dir = opendir(path);
	while (dir && (de = readdir(dir))) {
		pid_t *grown = de->d_name[0] == '.' ? NULL : reallocarray(*tids, *n + 1, sizeof(**tids));

		if (de->d_name[0] == '.')
			continue;
		if (!grown)
			return -ENOMEM;
		*tids = grown;
		grown[(*n)++] = (pid_t)atol(de->d_name);
	}
	return 0;
}

/* Those that were there when memory was protected; what begins later finds the marks. */
static void settle_one(pid_t pid, uint64_t end)
{
	cleanup_free pid_t *tids = NULL;
	cleanup_close int proc = ckpt_proc_open(pid, "fd");
	size_t n = 0;
	bool listed = list_threads(pid, &tids, &n) == 0;

	while ((n || !listed) && now_monotonic_us() < end) {
		size_t left = 0;

		for (size_t i = 0; i < n; i++)
			if (may_await(pid, proc, tids[i]))
				tids[left++] = tids[i];
		n = left;
		if (n || !listed)
			nanosleep(&(struct timespec){ 0, LOOK_NS }, NULL);
	}
}

void ckpt_direct_settle(const struct ckpt_precopy *p)
{
	uint64_t end = now_monotonic_us() + SETTLE_US;

	if (p->rings)
		nanosleep(&(struct timespec){ 0, SETTLE_US * 1000 }, NULL);
	for (size_t i = 0; !p->rings && i < p->count; i++)
		if (p->procs[i]->there && p->procs[i]->direct)
			settle_one(p->procs[i]->tid, end);
}
