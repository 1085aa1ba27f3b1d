/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "base/proc.h"

#include "base/fd.h"
#include "base/macro.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/syscall.h>
#include <time.h>

int proc_start_time(pid_t pid, uint64_t *ret)
{
	cleanup_free char *text = NULL;
	char path[64];
	const char *p;
	int r;

	snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
	r = fd_read_file_at(AT_FDCWD, path, 4096, &text, NULL);
	if (r == -ENOENT)
		return -ESRCH;
	if (r < 0)
		return r;
	p = strrchr(text, ')'); /* the name in field 2 may hold anything */
	if (!p)
		return -EBADMSG;
	p++;
	for (int field = 3; field <= 22; field++) {
		p = strchr(p, ' ');
		if (!p)
			return -EBADMSG;
		p++;
	}
	return sscanf(p, "%" SCNu64, ret) == 1 ? 0 : -EBADMSG;
}

int proc_open(pid_t pid, uint64_t start_time)
{
	cleanup_close int fd = pidfd_open_pid(pid);
	uint64_t now;
	int r;

	if (fd < 0)
		return fd;
	r = proc_start_time(pid, &now);
	if (r < 0)
		return r;
	return now == start_time ? TAKE_FD(fd) : -ESRCH;
}

int proc_boot_id(char buf[37])
{
	cleanup_free char *text = NULL;
	size_t len;
	int r;

	r = fd_read_file_at(AT_FDCWD, "/proc/sys/kernel/random/boot_id", 64, &text, &len);
	if (r < 0)
		return r;
	if (len < 36)
		return -EBADMSG;
	memcpy(buf, text, 36);
	buf[36] = '\0';
	return 0;
}

int proc_random_uuid(char buf[37])
{
	unsigned char b[16];

	if (getrandom(b, sizeof(b), 0) != sizeof(b))
		return -EIO;
	b[6] = (unsigned char)((b[6] & 0x0f) | 0x40);
	b[8] = (unsigned char)((b[8] & 0x3f) | 0x80);
	snprintf(buf, 37, "%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x",
		 b[0], b[1], b[2], b[3], b[4], b[5], b[6], b[7], b[8], b[9], b[10], b[11], b[12],
		 b[13], b[14], b[15]);
	return 0;
}

int pidfd_open_pid(pid_t pid)
{
	long fd = syscall(SYS_pidfd_open, pid, 0);

	return fd < 0 ? -errno : (int)fd;
}

int pidfd_open_task(pid_t tid)
{
	int fd = pidfd_open_pid(tid);

	if (fd == -EINVAL || fd == -ENOENT) { /* it is no process's first thread */
		fd = (int)syscall(SYS_pidfd_open, tid, O_EXCL /* PIDFD_THREAD */);
		fd = fd < 0 ? -errno : fd;
	}
	return fd;
}

int pidfd_signal(int pidfd, int sig)
{
	return syscall(SYS_pidfd_send_signal, pidfd, sig, NULL, 0) < 0 ? -errno : 0;
}

char proc_state(pid_t tid)
{
	cleanup_free char *text = NULL;
	const char *p;
	char path[64];
	int r;

	snprintf(path, sizeof(path), "/proc/%d/stat", (int)tid);
	r = fd_read_file_at(AT_FDCWD, path, 4096, &text, NULL);
	if (r < 0)
		return r == -ENOENT || r == -ESRCH ? 'X' : '?';
	p = strrchr(text, ')'); /* the name before it may hold anything */
	return p && p[1] == ' ' && p[2] ? p[2] : 'X';
}

bool proc_is_zombie(pid_t tid)
{
	return proc_state(tid) == 'Z';
}

pid_t proc_live_tid(pid_t pid)
{
	cleanup_closedir DIR *d = NULL;
	const struct dirent *de;
	char path[64];

	if (!proc_is_zombie(pid))
		return pid;
	snprintf(path, sizeof(path), "/proc/%d/task", (int)pid);
	d = opendir(path);
	while (d && (de = readdir(d)))
		if (de->d_name[0] != '.' && !proc_is_zombie((pid_t)atol(de->d_name)))
			return (pid_t)atol(de->d_name);
	return pid;
}

static uint64_t now_us(clockid_t clock)
{
	struct timespec ts;

	clock_gettime(clock, &ts);
	return (uint64_t)ts.tv_sec * 1000000 + (uint64_t)ts.tv_nsec / 1000;
}

uint64_t now_monotonic_us(void)
{
	return now_us(CLOCK_MONOTONIC);
}

uint64_t now_boottime_us(void)
{
	return now_us(CLOCK_BOOTTIME);
}

uint64_t now_realtime_us(void)
{
	return now_us(CLOCK_REALTIME);
}

struct wait_limit wait_limit(uint64_t us)
{
	return (struct wait_limit){ us, now_monotonic_us(), now_us(CLOCK_THREAD_CPUTIME_ID) };
}

bool wait_limit_is_over(struct wait_limit *l, uint64_t most_us)
{
	uint64_t now = now_monotonic_us(), ran = now_us(CLOCK_THREAD_CPUTIME_ID), past = now - l->last_us;

	most_us += ran - l->ran_us;
	past = past < most_us ? past : most_us;
	l->last_us = now;
	l->ran_us = ran;
	l->left_us -= past < l->left_us ? past : l->left_us;
	return l->left_us == 0;
}

void proc_slim(void)
{
	const size_t below = KIB(512), page = (size_t)sysconf(_SC_PAGESIZE);
	char here;
	/* What lies below two pages from here is nobody's; what was never mapped there stays so. */
	uintptr_t end = ((uintptr_t)&here - 2 * page) & ~(uintptr_t)(page - 1);

	malloc_trim(0);
	madvise((void *)(end - below), below, MADV_DONTNEED); /* goes on after a hole (madvise(2)) */
}
