/* SPDX-License-Identifier: GPL-2.0-or-later */

/*
 * A VPS leaves in an image and comes back from one. The monitor does not write the image, a worker
 * does; but it decides, alone and in one thread, between running on and being gone, so that neither a
 * worker nor a vpsd that dies can leave both or none. See suspend.h for what is on disk.
 */
#include "supervisor/monitor_internal.h"

#include "base/fd.h"
#include "base/log.h"
#include "base/step.h"
#include "cgroup/cgroup.h"
#include "checkpoint/restore.h"
#include "migrate/record.h"
#include "netns/hold.h"
#include "runtime/network.h"
#include "supervisor/suspend.h"

#include <fcntl.h>
#include <poll.h>

#define FREEZE_TIMEOUT_US 10000000 /* its tasks are stopped already */

static int open_lib(const struct mon *m, struct err *e)
{
	int fd = open(m->spec.lib_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);

	return fd < 0 ? err_sys(e, "open %s", m->spec.lib_dir) : fd;
}

int mon_save(struct mon *m, struct err *e)
{
	int r;

	if (m->state != MON_RUNNING && m->state != MON_PAUSED)
		return err_set(e, ERR_STATE, "it is %s", mon_state_name(m));
	for (const struct mon_session *s = m->sessions; s; s = s->next)
		if (s->run && !s->dead)
			return err_set(e, ERR_STATE, "the client of vps run waits for its end");
	r = mon_record_spec(m, e);
	if (r < 0)
		return r;
	mon_exec_expire(m, true); /* what is half inside is nothing to be saved */
	m->was_paused = m->state == MON_PAUSED;
	m->state = MON_SAVING;
	return 0;
}

/* The worker may have died while it held frames, and vpsd with it. */
static void let_frames_go(struct mon *m)
{
	struct rt_network n;
	struct err e;
	int r = rt_spec_network(&m->spec, &n, &e);

	if (r == 0) {
		r = netns_hold_clear(&n.host, &n.vps, &e);
		rt_network_done(&n);
	}
	if (r < 0)
		log_warn("%s: %s", m->spec.name, e.msg);
}

void mon_save_abort(struct mon *m)
{
	cleanup_close int lib = -EBADF;
	struct err e;
	int r;

	if (m->state != MON_SAVING)
		return;
	lib = open_lib(m, &e);
	if (lib >= 0)
		suspend_abort(lib);
	mon_own_speed(m);
	let_frames_go(m);
	/* What the worker stopped it lets go, dead or alive. */
	r = m->was_paused ? rt_freeze(m->vps, &e) : rt_thaw(m->vps, &e);
	if (r < 0)
		log_error("%s: %s", m->spec.name, e.msg);
	m->state = m->was_paused ? MON_PAUSED : MON_RUNNING;
}

/*
 * All tasks are stopped by the worker, which the group's being frozen makes independent of its life;
 * that it still lives afterwards says that none of them has run since the image was made.
 */
int mon_hold(struct mon *m, int worker, struct err *e)
{
	struct pollfd p = { .fd = worker, .events = POLLIN };
	int r = cgroup_freeze(rt_cgroup(m->vps), FREEZE_TIMEOUT_US, e);

	if (r < 0)
		return r;
	if (poll(&p, 1, 0) != 0)
		return err_set(e, ERR_FAIL, "the worker died");
	return fault_point("suspend", "held", e);
}

int mon_save_commit(struct mon *m, json_t *record, int worker, struct err *e)
{
	cleanup_close int lib = -EBADF;
	int r;

	if (m->state != MON_SAVING)
		return err_set(e, ERR_STATE, "it is not being saved");
	lib = open_lib(m, e);
	r = lib < 0 ? lib : mon_hold(m, worker, e);
	if (r == 0)
		r = suspend_commit(lib, record, e);
	if (r < 0) {
		mon_save_abort(m);
		mon_tell_state(m);
		return r;
	}
	m->state = MON_SUSPENDED;
	mon_tell_state(m);
	r = fault_point("suspend", "committed", e);
	return r < 0 ? mon_save_finish(m, e) : 0;
}

int mon_save_finish(struct mon *m, struct err *e)
{
	if (m->state != MON_SUSPENDED || !m->vps)
		return 0;
	return rt_kill(m->vps, e);
}

void mon_save_alone(struct mon *m)
{
	struct err e;

	mon_save_abort(m);
	if (mon_save_finish(m, &e) < 0)
		log_error("%s: %s", m->spec.name, e.msg);
}

int mon_restore(struct mon *m, struct err *e)
{
	int r;

	m->state = MON_RESTORING;
	r = ckpt_restore_prepare(&m->spec, &m->stdio, TAKE_PTR(m->prepared), m->image, NULL, &m->restore, e);
	fd_close(&m->image);
	if (r == 0)
		r = fault_point("resume", "prepared", e);
	if (r < 0) {
		ckpt_restore_abort(TAKE_PTR(m->restore));
		return r;
	}
	mon_tell(m, json_pack("{s:s}", "event", "prepared"));
	return 0;
}

/* The group is frozen when the record goes: should we die now, that tells that nothing has run. */
static int take_record_back(struct mon *m, struct err *e)
{
	cleanup_close int lib = open_lib(m, e);
	int r;

	if (lib < 0)
		return lib;
	r = cgroup_freeze(rt_cgroup(ckpt_restore_vps(m->restore)), FREEZE_TIMEOUT_US, e);
	if (r == 0)
		r = fault_point("resume", "frozen", e);
	if (r == 0)
		r = suspend_resume(lib, e);
	if (r == 0)
		r = fault_point("resume", "record", e);
	return r;
}

static void give_record_again(struct mon *m)
{
	struct err e;
	cleanup_close int lib = open_lib(m, &e);

	if (lib < 0 || suspend_recover(lib, true, &e) < 0)
		log_error("%s: %s", m->spec.name, e.msg);
}

static void forget_image(struct mon *m)
{
	struct err e;
	cleanup_close int lib = open_lib(m, &e);

	if (lib < 0)
		log_error("%s: %s", m->spec.name, e.msg);
	else
		suspend_resumed(lib);
}

/* From another host, where it was paused. */
static bool arrives_paused(const struct mon *m)
{
	struct mig_record rec = { 0 };
	struct err ignored;
	cleanup_close int lib = open_lib(m, &ignored);

	return lib >= 0 && mig_record_read(lib, &rec) == 0 && rec.role == MIG_DESTINATION &&
	       rec.state == MIG_IS_PREPARED && rec.paused;
}

int mon_restore_commit(struct mon *m, struct err *e)
{
	int r;

	if (m->state != MON_RESTORING || !m->restore)
		return err_set(e, ERR_STATE, "it is not being restored");
	m->was_paused = arrives_paused(m);
	r = take_record_back(m, e);
	if (r < 0)
		ckpt_restore_abort(m->restore);
	else
		r = ckpt_restore_commit(m->restore, m->was_paused, &m->vps, e);
	if (r == 0)
		m->rest = m->restore;
	m->restore = NULL;
	if (r < 0) {
		give_record_again(m);
		return r;
	}
	fault_point("resume", "runs", e);
	forget_image(m);
	return 0;
}

void mon_restore_done(struct mon *m)
{
	ckpt_restore_free(TAKE_PTR(m->rest));
}

void mon_restore_abort(struct mon *m)
{
	ckpt_restore_abort(TAKE_PTR(m->restore));
}
