/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Limits of the VPS that are too low for what was saved. */
#include "cgroup/stats.h"
#include "checkpoint/restore_internal.h"
#include "checkpoint/restore_phases.h"

static void too_low(const struct rt_spec *spec, const char *what, const char *setting, struct err *e)
{
	const char *limit = config_get(&spec->limits, setting);

	err_set(e, ERR_STATE, "it has more %s than %s allows%s%.64s", what, setting, limit ? ": " : "",
		limit ? limit : "");
	err_hint(e, "vps set NAME %s=… to raise it", setting);
}

/*
 * The groups are made for one restore, so their counters tell of it alone. What a process that was killed or not born makes
 * fail is a system call somewhere; who found an image that does not fit, no room or no right, who was cancelled or lost the
 * other host has said why, whatever was counted before.
 */
void restore_blame(const struct cgroup_stats *s, const struct rt_spec *spec, struct err *e)
{
	if (e->code != ERR_FAIL)
		return;
	if (s->oom_kills)
		too_low(spec, "memory", "memory.max", e);
	else if (s->pids_refused)
		too_low(spec, "processes", "pids.max", e);
}

void restore_blame_limits(const struct rt_vps *vps, const struct rt_spec *spec, struct err *e)
{
	struct cgroup_stats s;
	struct err ignored;

	if (cgroup_stats_read(rt_cgroup(vps), &s, &ignored) == 0)
		restore_blame(&s, spec, e);
}
