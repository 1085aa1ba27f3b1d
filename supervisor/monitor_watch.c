/* SPDX-License-Identifier: GPL-2.0-or-later */

/*
 * What the kernel refuses the VPS: processes killed for want of memory, forks beyond pids.max. A
 * tenant can bring either about as often as it likes, so that after each time the watch rests.
 */
#include "supervisor/monitor_internal.h"

#include "base/log.h"
#include "base/proc.h"

#define REST_US 1000000

/* What one of them holds and was refused is kept over its restarts; one that goes has none. */
static void begin_counters(struct mon *m)
{
	if (!m->spec.root.ephemeral)
		counters_begin(m->spec.lib_dir, rt_cgroup(m->vps), &m->counters);
}

static void take_counters(struct mon *m)
{
	if (!m->spec.root.ephemeral)
		counters_take(m->spec.lib_dir, rt_cgroup(m->vps), &m->counters);
}

void mon_watch_begin(struct mon *m)
{
	m->watch_due = true;
}

void mon_watch_due(struct mon *m)
{
	struct err e;

	if (!m->watch_due)
		return;
	m->watch_due = false;
	begin_counters(m);
	cgroup_watch_close(&m->watch); /* of the run before a reboot */
	m->watch_at_us = 0;
	if (cgroup_watch_open(&m->watch, rt_cgroup(m->vps), &e) < 0)
		log_warn("%s: %s", m->spec.name, e.msg);
	proc_slim(); /* the start is over: a quarter of what it took is needed from now on */
}

int mon_watch_fd(const struct mon *m)
{
	return m->vps && m->watch.fd > 0 && !m->watch_at_us ? m->watch.fd : -EBADF;
}

static void tell(struct mon *m, const char *event, uint64_t count)
{
	if (count)
		mon_tell(m, json_pack("{s:s,s:I}", "event", event, "count", (json_int_t)count));
}

/* v2's kernel does it by itself. */
static void kill_group(struct mon *m)
{
	struct err e;

	if (rt_cgroup(m->vps)->host->ctl[CGROUP_MEMORY].version == 1 && config_number(&m->spec.limits, "oom.group") &&
	    rt_kill(m->vps, &e) < 0)
		log_warn("%s: %s", m->spec.name, e.msg);
}

void mon_watch_read(struct mon *m)
{
	struct cgroup_event ev;
	struct err e;
	int r = cgroup_watch_read(&m->watch, &ev, &e);

	if (r < 0) {
		log_warn("%s: %s", m->spec.name, e.msg);
		cgroup_watch_close(&m->watch);
		return;
	}
	if (!ev.oom_kills && !ev.pids_refused)
		return;
	if (ev.oom_kills)
		kill_group(m);
	take_counters(m);
	tell(m, "oom", ev.oom_kills);
	tell(m, "pids-max", ev.pids_refused);
	m->watch_at_us = now_monotonic_us() + REST_US;
}

void mon_watch_end(struct mon *m)
{
	if (m->watch_due) /* it has ended already */
		begin_counters(m);
	else if (m->watch.fd > 0)
		mon_watch_read(m);
	if (!m->watch_due)
		take_counters(m);
	m->watch_due = false;
	/* It stays open: closing an inotify takes a grace period of the kernel's (18 ms seen, Linux 6.18),
	 * which nobody waits for when the monitor has told how the VPS ended and exits. */
	m->watch_at_us = 0;
}
