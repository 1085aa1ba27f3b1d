/* SPDX-License-Identifier: GPL-2.0-or-later */

/*
 * A VPS that goes to another host while it runs. The worker sends it; the monitor holds it frozen from
 * the moment it is given up until it is known who has it, and survives worker and vpsd in that.
 */
#include "supervisor/monitor_internal.h"

#include "base/log.h"
#include "base/step.h"
#include "migrate/record.h"

#include <fcntl.h>

static int open_lib(const struct mon *m, struct err *e)
{
	int fd = open(m->spec.lib_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);

	return fd < 0 ? err_sys(e, "open %s", m->spec.lib_dir) : fd;
}

void mon_own_speed(struct mon *m)
{
	struct err e;

	if (rt_unhurry(m->vps, &e) < 0)
		log_warn("%s: %s", m->spec.name, e.msg);
}

int mon_move_commit(struct mon *m, int worker, struct err *e)
{
	cleanup_close int lib = -EBADF;
	struct err ignored;
	int r;

	if (m->state != MON_SAVING)
		return err_set(e, ERR_STATE, "it is not being moved");
	lib = open_lib(m, e);
	r = lib;
	if (r >= 0)
		r = mon_hold(m, worker, e);
	/* The worker has written it before the pause. */
	if (r >= 0)
		r = mig_record_turn(lib, MIG_IS_COMMITTED, e);
	if (r < 0) {
		/* Half a record says as much as a whole one: none may stay. */
		if (lib >= 0 && mig_record_remove(lib, &ignored) < 0)
			log_error("%s: %s", m->spec.name, ignored.msg);
		mon_save_abort(m);
		mon_tell_state(m);
		return r;
	}
	m->state = MON_GIVEN_UP;
	mon_tell_state(m);
	return fault_point("move", "held", e);
}

int mon_move_finish(struct mon *m, bool taken, struct err *e)
{
	if (m->state != MON_GIVEN_UP || !m->vps)
		return err_set(e, ERR_STATE, "it is not being moved");
	if (taken)
		return rt_kill(m->vps, e);
	m->state = MON_SAVING;
	mon_save_abort(m);
	mon_tell_state(m);
	return 0;
}
