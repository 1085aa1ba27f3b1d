/* SPDX-License-Identifier: GPL-2.0-or-later */

/* The end of a restore: all go on at once, or nothing is left. */
#include "base/macro.h"
#include "base/proc.h"
#include "base/step.h"
#include "checkpoint/image.pb-c.h"
#include "checkpoint/internal.h"
#include "checkpoint/netstate.h"
#include "checkpoint/restore_internal.h"
#include "checkpoint/restore_phases.h"
#include "checkpoint/sockets.h"
#include "checkpoint/times.h"

#include <signal.h>

#define FREEZE_TIMEOUT_US 5000000

int restore_let_go(struct restore *r, bool paused, struct err *e)
{
	int n;

	restore_clocks_await(r);
	n = cgroup_freeze(rt_cgroup(r->vps), FREEZE_TIMEOUT_US, e);
	if (n == 0)
		n = fault_point("restore", "frozen", e);
	if (n == 0)
		n = rt_unhurry(r->vps, e);
	for (size_t i = 0; n == 0 && i < r->tree.task_count; i++)
		for (size_t k = 0; n == 0 && k < r->procs[i].task->thread_count; k++)
			if (ckpt_trace_detach(r->procs[i].threads[k].tid) < 0)
				n = err_sys(e, "let process %u run", r->procs[i].task->process->pid);
	if (n == 0)
		n = fault_point("restore", "thaw", e);
	if (n == 0 && r->netns >= 0)
		n = ckpt_moved_leave(&r->moved, r->netns, e);
	if (n == 0)
		n = restore_sockets_unseal(r, e);
	if (n == 0)
		n = rt_connect(r->vps, e);
	if (n == 0 && r->netns >= 0)
		n = ckpt_wireguards_wake(r->tree.nets, r->tree.net_count, r->netns, e);
	if (n == 0)
		restore_sockets_commit(r);
	if (n == 0 && !paused)
		n = cgroup_thaw(rt_cgroup(r->vps), e);
	ckpt_time("commit");
	return n;
}

/* Traced zombies keep the first process from ending. */
void restore_end_all(struct restore *r)
{
	struct err ignored;
	size_t n = 0, room = 0;
	pid_t *tids;

	/* Without a free fd the group cannot be killed, and who waited for its end would wait forever: that of process 1
	 * is the end of all. */
	if (rt_kill(r->vps, &ignored) < 0)
		pidfd_signal(rt_init_pidfd(r->vps), SIGKILL);
	for (size_t i = 0; r->procs && i < r->plan.count; i++)
		room += r->procs[i].task ? r->procs[i].task->thread_count : 1;
	tids = ckpt_alloc(&r->tree.arena, (room + 1 + restore_early_tids(r, NULL)) * sizeof(*tids));
	n = tids ? restore_early_tids(r, tids) : 0;
	if (tids && r->maker)
		tids[n++] = r->maker;
	for (size_t i = 0; tids && r->procs && i < r->plan.count; i++) {
		const struct restoring *p = &r->procs[i];

		for (size_t k = 0; p->threads && k < (p->task ? p->task->thread_count : 1); k++)
			if (p->threads[k].tid)
				tids[n++] = p->threads[k].tid;
	}
	ckpt_trace_reap_all(tids, n);
}
