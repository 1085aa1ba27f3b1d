/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "cgroup/internal.h"

#include "base/fd.h"
#include "base/macro.h"
#include "base/proc.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>

/* What cgroup.events says of `key` now: 0 or 1. -ENODEV: the group has been removed. */
static int read_event(int fd, const char *key)
{
	char text[512];
	uint64_t v;
	ssize_t n = pread(fd, text, sizeof(text) - 1, 0);

	if (n < 0)
		return -errno;
	text[n] = '\0';
	if (cgroup_keyed(text, key, &v) < 0)
		return -EPROTO;
	return v != 0;
}

/*
 * The kernel holds back a second change of cgroup.events for 10 ms (Linux 5.2), and a freeze is
 * over in a tenth of one when the tasks are few: poll(2) alone would cost more than the freeze. So
 * the file is read in a spin first, and then again after each quarter of what has gone by: no news is
 * late by more than that.
 */
#define SPIN_US 4000
#define LATE 4
#define WAIT_MAX_US 1000000
#define AWAY_US 20000 /* beyond what a wait was to take */

static int wait_event(int fd, const char *key, int want, uint64_t timeout_us)
{
	struct wait_limit limit = wait_limit(timeout_us);
	uint64_t wait = 0;

	for (;;) {
		struct pollfd p = { .fd = fd, .events = POLLPRI };
		int r = read_event(fd, key);
		uint64_t past;

		if (r < 0)
			return r;
		if (r == want)
			return 0;
		if (wait_limit_is_over(&limit, wait + AWAY_US))
			return -ETIMEDOUT;
		past = timeout_us - limit.left_us;
		if (past < SPIN_US) {
			sched_yield();
			continue;
		}
		wait = limit.left_us < past / LATE ? limit.left_us : past / LATE;
		wait = wait < WAIT_MAX_US ? wait : WAIT_MAX_US;
		if (poll(&p, 1, (int)(wait / 1000) + 1) < 0 && errno != EINTR)
			return -errno;
	}
}

static int open_events(int dir)
{
	int fd = openat(dir, "cgroup.events", O_RDONLY | O_CLOEXEC | O_NOFOLLOW);

	return fd < 0 ? -errno : fd;
}

/* The group has been removed, before or while it was looked at. */
static bool is_gone(int r)
{
	return r == -ENOENT || r == -ENODEV;
}

static int err_group(struct err *e, int r, const struct cgroup *c, const char *what)
{
	char path[PATH_MAX];

	return err_code(e, r, "%s %s", what, cgroup_path(c, CGROUP_V2, path));
}

int cgroup_freeze(const struct cgroup *c, uint64_t timeout_us, struct err *e)
{
	cleanup_close int dir = -EBADF, events = -EBADF;
	int r;

	dir = cgroup_open_dir(c, CGROUP_V2);
	events = dir < 0 ? dir : open_events(dir);
	if (events < 0)
		return err_group(e, events, c, "freeze");
	r = fd_write_file_at(dir, "cgroup.freeze", "1");
	if (r < 0)
		return err_group(e, r, c, "freeze");
	r = wait_event(events, "frozen", 1, timeout_us);
	if (r == 0)
		return 0;
	fd_write_file_at(dir, "cgroup.freeze", "0");
	if (r != -ETIMEDOUT)
		return err_group(e, r, c, "freeze");
	err_set(e, ERR_TIMEOUT, "%s did not freeze in %llu ms", c->name,
		(unsigned long long)timeout_us / 1000);
	return err_hint(e, "a process in it waits for a disk or a network file system");
}

int cgroup_thaw(const struct cgroup *c, struct err *e)
{
	cleanup_close int dir = cgroup_open_dir(c, CGROUP_V2);
	int r = dir < 0 ? dir : fd_write_file_at(dir, "cgroup.freeze", "0");

	return r < 0 ? err_group(e, r, c, "thaw") : 0;
}

int cgroup_is_frozen(const struct cgroup *c, struct err *e)
{
	cleanup_close int dir = cgroup_open_dir(c, CGROUP_V2);
	cleanup_close int events = dir < 0 ? dir : open_events(dir);
	int r = events < 0 ? events : read_event(events, "frozen");

	return r < 0 ? err_group(e, r, c, "look at") : r;
}

bool cgroup_is_to_freeze(const struct cgroup *c)
{
	cleanup_close int dir = cgroup_open_dir(c, CGROUP_V2);
	uint64_t n = 0;

	return cgroup_read_number(dir, "cgroup.freeze", &n) == 0 && n == 1;
}

int cgroup_kill(const struct cgroup *c, struct err *e)
{
	cleanup_close int dir = cgroup_open_dir(c, CGROUP_V2);
	int r;

	if (is_gone(dir))
		return 0;
	r = dir < 0 ? dir : fd_write_file_at(dir, "cgroup.kill", "1");
	if (r == -ENOENT && faccessat(dir, "cgroup.procs", F_OK, 0) == 0)
		return err_set(e, ERR_UNSUPPORTED, "this kernel has no cgroup.kill (Linux 5.14)");
	if (r < 0 && !is_gone(r))
		return err_group(e, r, c, "kill all in");
	return 0;
}

/* The last process leaves the groups of all hierarchies under one lock, but the event of the first is read without it:
 * for a moment the groups of v1 still count it, and cannot be removed (EBUSY). A list of processes is read under that
 * lock (kernel/cgroup/cgroup.c, 6.18). */
static void wait_for_v1(int dir)
{
	cleanup_close int list = openat(dir, "cgroup.threads", O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	char nobody;

	if (list >= 0)
		(void)!read(list, &nobody, sizeof(nobody));
}

int cgroup_wait_empty(const struct cgroup *c, uint64_t timeout_us, struct err *e)
{
	cleanup_close int dir = cgroup_open_dir(c, CGROUP_V2);
	cleanup_close int events = dir < 0 ? dir : open_events(dir);
	int r = events < 0 ? events : wait_event(events, "populated", 0, timeout_us);

	if (r == 0)
		wait_for_v1(dir);
	if (r == 0 || is_gone(r))
		return 0;
	if (r == -ETIMEDOUT)
		return err_set(e, ERR_TIMEOUT, "processes of %s are still there after %llu ms",
			       c->name, (unsigned long long)timeout_us / 1000);
	return err_group(e, r, c, "wait for");
}
