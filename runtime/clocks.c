/* SPDX-License-Identifier: GPL-2.0-or-later */

/* The VPS's own clocks. */
#include "runtime/internal.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <time.h>

#ifndef CLONE_NEWTIME
#define CLONE_NEWTIME 0x80
#endif

static void offset(int64_t want_ns, const struct timespec *now, long long *s, long long *ns)
{
	int64_t d = want_ns - ((int64_t)now->tv_sec * 1000000000 + now->tv_nsec);

	/* The nanoseconds are not negative (time_namespaces(7)). */
	*ns = ((d % 1000000000) + 1000000000) % 1000000000;
	*s = (d - *ns) / 1000000000;
}

static void offsets_for(const struct rt_restore *how, const struct timespec *mono,
			const struct timespec *boot, char text[128])
{
	long long s[2], ns[2];
	int64_t since = how->at_us ? (int64_t)mono->tv_sec * 1000000000 + mono->tv_nsec - (int64_t)how->at_us * 1000 : 0;

	offset(how->monotonic_ns + since, mono, &s[0], &ns[0]);
	offset(how->boottime_ns + since, boot, &s[1], &ns[1]);
	snprintf(text, 128, "monotonic %lld %lld\nboottime %lld %lld\n", s[0], ns[0], s[1], ns[1]);
}

/*
 * The VPS's clocks start at its own start: an offset of minus the host's uptime
 * (time_namespaces(7), Linux 5.6). Offsets can be written until somebody enters the namespace, so
 * it is entered by setns(2) afterwards, which CLONE_NEWTIME of clone3 would not allow.
 */
int rt_clocks_step(void *ctx, struct err *e)
{
	struct rt_child *c = ctx;
	cleanup_close int fd = -EBADF;
	struct timespec mono, boot;
	char text[128];
	int r;

	if (unshare(CLONE_NEWTIME) < 0) {
		if (errno == EINVAL)
			return 0; /* a kernel without CONFIG_TIME_NS; `vps doctor` says so */
		return err_sys(e, "make the time namespace");
	}
	/* In this order neither is behind, however long it takes. */
	clock_gettime(CLOCK_BOOTTIME, &boot);
	clock_gettime(CLOCK_MONOTONIC, &mono);
	if (c->restore)
		offsets_for(c->restore, &mono, &boot, text);
	else
		snprintf(text, sizeof(text), "monotonic -%lld 0\nboottime -%lld 0\n",
		 (long long)mono.tv_sec, (long long)boot.tv_sec);
	r = fd_write_file_at(AT_FDCWD, "/proc/self/timens_offsets", text);
	if (r < 0)
		return err_code(e, r, "set the clocks' offsets");
	fd = open("/proc/self/ns/time_for_children", O_RDONLY | O_CLOEXEC);
	if (fd < 0 || setns(fd, CLONE_NEWTIME) < 0)
		return err_sys(e, "enter the time namespace");
	return 0;
}
