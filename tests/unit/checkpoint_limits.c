/* SPDX-License-Identifier: GPL-2.0-or-later */

/* When a limit of the VPS is what a restore failed for. */
#include "checkpoint/restore_phases.h"
#include "tests/unit/tap.h"

#include <string.h>

static const struct cgroup_stats nothing, killed = { .oom_kills = 1 }, refused = { .pids_refused = 2 };

static const char *said(const struct cgroup_stats *s, enum err_status status)
{
	static struct err e;
	struct rt_spec spec = { 0 };
	struct err ignored;

	err_set(&e, status, "what it says itself");
	config_set(&spec.limits, "memory.max", "8M", &ignored);
	config_set(&spec.limits, "pids.max", "20", &ignored);
	restore_blame(s, &spec, &e);
	config_done(&spec.limits);
	return e.msg;
}

TEST(what_a_process_that_is_gone_makes_fail)
{
	eq_str(said(&killed, ERR_FAIL), "it has more memory than memory.max allows: 8M", "killed");
	eq_str(said(&refused, ERR_FAIL), "it has more processes than pids.max allows: 20", "not born");
	eq_str(said(&nothing, ERR_FAIL), "what it says itself", "neither");
}

TEST(what_has_another_reason_keeps_it)
{
	static const enum err_status known[] = { ERR_USAGE, ERR_NOT_FOUND, ERR_EXISTS, ERR_STATE, ERR_DENIED, ERR_TIMEOUT,
						 ERR_NOSPACE, ERR_DAEMON, ERR_CANCELLED, ERR_UNSUPPORTED };

	for (size_t i = 0; i < sizeof(known) / sizeof(*known); i++) {
		eq_str(said(&killed, known[i]), "what it says itself", "status %d after a kill", known[i]);
		eq_str(said(&refused, known[i]), "what it says itself", "status %d after a refused fork", known[i]);
	}
}
