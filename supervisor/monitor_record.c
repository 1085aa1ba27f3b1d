/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "supervisor/monitor_internal.h"

#include "base/fd.h"
#include "base/log.h"
#include "base/proc.h"

#include <fcntl.h>
#include <sys/socket.h>

const char *mon_state_name(const struct mon *m)
{
	static const char *const names[] = {
		[MON_STARTING] = "starting",  [MON_RESTORING] = "starting",
		[MON_RUNNING] = "running",    [MON_PAUSED] = "paused",
		[MON_SAVING] = "running",     [MON_SUSPENDED] = "stopping",
		[MON_GIVEN_UP] = "paused",
		[MON_STOPPING] = "stopping",
	};

	return names[m->state];
}

static void write_record(struct mon *m, const char *name, json_t *record)
{
	cleanup_free char *text = json_dumps(record, JSON_COMPACT);
	int r;

	json_decref(record);
	if (!text || m->run_dirfd < 0)
		return;
	r = fd_replace_file_at(m->run_dirfd, name, text, strlen(text), 0600, false);
	if (r < 0)
		log_error("%s: write %s/%s: %s", m->spec.name, m->spec.run_dir, name,
			  strerrordesc_np(-r));
}

void mon_record_state(struct mon *m)
{
	uint64_t own = 0, init = 0;
	char boot[37] = "";

	proc_boot_id(boot);
	proc_start_time(getpid(), &own);
	proc_start_time(rt_init_pid(m->vps), &init);
	write_record(m, "state",
		     json_pack("{s:s,s:I,s:I,s:I,s:I,s:I,s:s,s:b}", "boot_id", boot, "monitor_pid",
			       (json_int_t)getpid(), "monitor_start", (json_int_t)own, "init_pid",
			       (json_int_t)rt_init_pid(m->vps), "init_start", (json_int_t)init,
			       "started_us", (json_int_t)m->started_us, "cgroup",
			       m->spec.cgroup_parent, "ready", m->ready));
}

int mon_record_spec(struct mon *m, struct err *e)
{
	cleanup_free char *text = rt_spec_format(&m->spec);
	int r = text ? fd_replace_file_at(m->run_dirfd, "spec", text, strlen(text), 0600, false) : -ENOMEM;

	return r < 0 ? err_code(e, r, "write %s/spec", m->spec.run_dir) : 0;
}

void mon_record_exit(struct mon *m, const char *how, int value, const struct err *e)
{
	json_t *j = json_pack("{s:s,s:i,s:b,s:I}", "how", how, "value", value, "forced", m->forced,
			      "at", (json_int_t)(now_realtime_us() / 1000000));

	if (e) {
		json_object_set_new(j, "error", json_string(e->msg));
		json_object_set_new(j, "hint", json_string(e->hint));
	}
	write_record(m, "exit", j);
	if (m->run_dirfd < 0)
		return;
	unlinkat(m->run_dirfd, "state", 0);
	unlinkat(m->run_dirfd, "monitor.sock", 0);
}

void mon_tell(struct mon *m, json_t *event)
{
	cleanup_free char *text = event ? json_dumps(event, JSON_COMPACT) : NULL;

	json_decref(event);
	if (!text || m->control < 0)
		return;
	if (send(m->control, text, strlen(text), MSG_NOSIGNAL | MSG_DONTWAIT) < 0)
		fd_close(&m->control); /* the next vpsd learns all by `hello` */
}

void mon_tell_state(struct mon *m)
{
	mon_tell(m, json_pack("{s:s,s:s}", "event", "state", "state", mon_state_name(m)));
}
