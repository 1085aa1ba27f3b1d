/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Init has ended: all is undone, and it was a stop, or it starts again. */
#include "supervisor/monitor_internal.h"

#include "base/log.h"
#include "base/proc.h"

#define REBOOT_MIN_US 2000000 /* a VPS that reboots sooner waits until then */

static const char *exit_name(const struct mon *m, const struct rt_exit *x)
{
	static const char *const names[] = {
		[RT_EXITED] = "exited", [RT_SIGNALED] = "signaled",
		[RT_REBOOT] = "reboot", [RT_POWEROFF] = "poweroff",
	};

	if (m->state == MON_GIVEN_UP)
		return "moved";
	if (m->state == MON_SUSPENDED)
		return "suspended";
	return m->forced ? "killed" : names[x->how];
}

bool mon_vps_ended(struct mon *m, int *ret_status)
{
	struct rt_exit x = { .how = RT_SIGNALED };
	struct err e;
	const char *how;

	if (rt_reap(m->vps, &x, &e) < 0)
		log_error("%s: %s", m->spec.name, e.msg);
	mon_console_drain(m);
	mon_exec_expire(m, true);
	for (struct mon_session *s = m->sessions; s; s = s->next)
		if (s->command.pidfd >= 0)
			mon_session_reap(m, s);
	mon_watch_end(m);
	rt_finish(m->vps);
	m->vps = NULL;
	m->input_len = 0;
	fd_close(&m->console_slave);
	if (x.how == RT_REBOOT && m->state != MON_STOPPING && m->spec.boot) {
		uint64_t ran = now_boottime_us() - m->started_us;

		m->reboots++;
		m->state = MON_STARTING;
		m->restart_at_us = now_monotonic_us() +
				   (ran < REBOOT_MIN_US ? REBOOT_MIN_US - ran : 0);
		return false;
	}
	how = exit_name(m, &x);
	*ret_status = x.how == RT_EXITED ? x.value : 128 + x.value;
	mon_record_exit(m, how, x.value, NULL);
	mon_tell(m, json_pack("{s:s,s:s,s:i,s:b}", "event", "exited", "how", how, "value", x.value,
			      "forced", m->forced));
	return true;
}

bool mon_reboot(struct mon *m, int *ret_status)
{
	struct err e;

	if (m->vps || m->restore)
		return true;
	if (m->state == MON_STOPPING) {
		mon_record_exit(m, "reboot", 0, NULL);
		mon_tell(m, json_pack("{s:s,s:s,s:i,s:b}", "event", "exited", "how", "reboot",
				      "value", 0, "forced", false));
		return false;
	}
	if (now_monotonic_us() < m->restart_at_us)
		return true;
	m->restart_at_us = 0;
	if (mon_start(m, "rebooted", &e) == 0)
		return true;
	mon_record_exit(m, "failed", e.code, &e);
	mon_tell(m, json_pack("{s:s,s:i,s:s,s:s}", "event", "failed", "status", e.code, "error",
			      e.msg, "hint", e.hint));
	*ret_status = ERR_RUN;
	return false;
}
