/* SPDX-License-Identifier: GPL-2.0-or-later */

/*
 * vfork(2), and posix_spawn(3) that uses it: the caller waits, deaf to a tracer's interrupt, until the child has
 * become another program or ended. Were the child stopped first, neither would ever go on.
 */
#include "base/fd.h"
#include "base/macro.h"
#include "base/proc.h"
#include "checkpoint/internal.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/kcmp.h>
#include <sys/syscall.h>

/* `failed` becomes true where one of them has ended: the order is none then. */
static int by_memory(const void *a, const void *b, void *failed)
{
	long r = syscall(SYS_kcmp, *(const pid_t *)a, *(const pid_t *)b, KCMP_VM, 0, 0);

	*(bool *)failed = *(bool *)failed || r < 0;
	return r == 1 ? -1 : r == 2;
}

/* Whether a thread sleeps where only a fatal signal wakes it, or is about to: of frozen ones only those that
 * wait so. */
static bool is_waiting(pid_t pid, pid_t tid)
{
	cleanup_free char *text = NULL;
	char path[64];
	const char *p;

	snprintf(path, sizeof(path), "/proc/%d/task/%d/stat", (int)pid, (int)tid);
	if (fd_read_file_at(AT_FDCWD, path, 4096, &text, NULL) < 0)
		return false;
	p = strrchr(text, ')');
	return p && (strncmp(p, ") D", 3) == 0 || strncmp(p, ") R", 3) == 0);
}

static bool has_waiting(pid_t pid)
{
	cleanup_closedir DIR *d = NULL;
	const struct dirent *de;
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/task", (int)pid);
	d = opendir(path);
	while (d && (de = readdir(d)))
		if (de->d_name[0] != '.' && is_waiting(pid, (pid_t)atol(de->d_name)))
			return true;
	return false;
}

bool ckpt_vfork_find(pid_t *pids, size_t count, bool *ret_shared, pid_t *ret_parent, pid_t *ret_child)
{
	*ret_shared = false;
	/* A child still shares its parent's memory: few do, so that few need be looked at. */
	qsort_r(pids, count, sizeof(*pids), by_memory, ret_shared);
	for (size_t i = 1; i < count; i++) {
		/* First threads that have ended have no memory alike. */
		if (by_memory(&pids[i - 1], &pids[i], ret_shared) != 0 || proc_is_zombie(pids[i]))
			continue;
		*ret_shared = true;
		for (size_t k = i - 1; k <= i; k++)
			if (has_waiting(pids[k])) {
				*ret_parent = pids[k];
				*ret_child = pids[k == i ? i - 1 : i];
				return true;
			}
	}
	return false;
}
