/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef CGROUP_WATCH_H
#define CGROUP_WATCH_H

#include "cgroup/cgroup.h"

/*
 * What happens to a VPS, for an event loop: processes killed for want of memory, forks refused by
 * pids.max, the last process gone. One fd to wait on, whatever versions the controllers are of.
 */
struct cgroup_watch {
	int fd; /* readable (POLLIN) when cgroup_watch_read() has something to look at */

	/* The rest is private. */
	int inotify, oom, timer;
	int memory_dir, pids_dir, v2_dir;
	int memory_version, pids_version;
	unsigned tries;
	uint64_t oom_kills, pids_refused;
	bool populated;
};

struct cgroup_event {
	uint64_t oom_kills;    /* processes killed since the last read; with oom.group and v1's memory
				  controller it is the caller who kills the rest */
	uint64_t pids_refused; /* forks refused since the last read; told within 10 ms on v2, within
				  5 s on v1, where the kernel only counts them */
	bool empty;            /* the last process has gone since the last read */
};

/* Counts from now on. Needs the groups; controllers that the host has not are left out. */
int cgroup_watch_open(struct cgroup_watch *w, const struct cgroup *c, struct err *e);
/* Never blocks. Returns 1 when *ret says something, 0 when nothing has happened after all. It works
 * on while the group is removed; a watch of a removed group stays silent. */
int cgroup_watch_read(struct cgroup_watch *w, struct cgroup_event *ret, struct err *e);
/* Also for a watch that is all zero or failed to open. */
void cgroup_watch_close(struct cgroup_watch *w);

/*
 * A PSI trigger (accounting/psi.rst): an fd that polls POLLPRI each time tasks of the VPS waited
 * for the resource for `stall_us` within a window, at most once a window, and POLLERR when the
 * group is gone. Polling takes the event, there is nothing to read, so wait on the fd itself and
 * not on an epoll fd that holds it. Windows are 0.5 to 10 s; without CAP_SYS_RESOURCE the kernel
 * takes multiples of 2 s only (Linux 6.5). ERR_UNSUPPORTED when PSI is off.
 */
enum cgroup_psi { CGROUP_PSI_CPU, CGROUP_PSI_MEMORY, CGROUP_PSI_IO };
int cgroup_pressure_open(const struct cgroup *c, enum cgroup_psi what, bool full, uint64_t stall_us,
			 uint64_t window_us, struct err *e);

#endif
