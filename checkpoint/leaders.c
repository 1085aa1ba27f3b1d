/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "checkpoint/leaders.h"

#include "base/macro.h"
#include "base/proc.h"
#include "checkpoint/image.pb-c.h"
#include "checkpoint/internal.h"

#include <errno.h>
#include <signal.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>

#define O_SUSPEND_SECCOMP (1u << 21)
#define END_TIMEOUT_US 20000000

/* As the first that lives, but for what was its own: what its end did (CLONE_CHILD_CLEARTID, robust futexes) is done. */
static Ckpt__Thread *ended_thread(struct ckpt_arena *a, const Ckpt__Thread *like)
{
	Ckpt__Thread *t = ckpt_memdup(a, like, sizeof(*like));

	if (!t)
		return NULL;
	t->own = NULL;
	t->compat = NULL;
	t->rings = NULL;
	t->n_rings = 0;
	t->altstack = t->altstack_size = t->altstack_flags = 0;
	t->robust_list = t->robust_list_size = t->clear_tid = 0;
	t->rseq = t->rseq_size = t->rseq_signature = 0;
	t->pdeath_signal = 0;
	t->wait_ns = 0;
	return t;
}

/* Its ids, by which the kernel decides who may send signals to the process. Those of a nested user namespace it could
 * only tell itself: the next thread's stand for them. */
static int collect_ids(struct ckpt_dump *d, const struct ckpt_status *s, Ckpt__Thread *t)
{
	struct ckpt_arena *a = &d->tree.arena;
	uint64_t uid[4], gid[4];

	if (t->spaces[CKPT_SPACE_USER] != d->spaces.main[CKPT_SPACE_USER])
		return 0;
	t->uids = ckpt_alloc(a, 4 * sizeof(uint32_t));
	t->gids = ckpt_alloc(a, 4 * sizeof(uint32_t));
	if (!t->uids || !t->gids)
		return -ENOMEM;
	if (ckpt_status_numbers(s, "Uid", 10, uid, 4) != 4 || ckpt_status_numbers(s, "Gid", 10, gid, 4) != 4)
		return -EPROTO;
	for (size_t i = 0; i < 4; i++) {
		t->uids[i] = ckpt_dump_id(d, (uint32_t)uid[i]);
		t->gids[i] = ckpt_dump_id(d, (uint32_t)gid[i]);
	}
	return 0;
}

/* Before those that live, here and in their list of numbers. */
static int put_first(struct ckpt_arena *a, struct ckpt_task *k, Ckpt__Thread *t)
{
	size_t n = k->thread_count;
	pid_t *tids = ckpt_alloc(a, (n + 1) * sizeof(*tids));

	if (!tids || ckpt_push(a, &k->threads, &k->thread_count, t) < 0)
		return -ENOMEM;
	memmove(k->threads + 1, k->threads, n * sizeof(*k->threads));
	k->threads[0] = t;
	memcpy(tids + 1, k->tids, n * sizeof(*tids));
	tids[0] = k->leader;
	k->tids = tids;
	return 0;
}

int ckpt_leader_collect(struct ckpt_dump *d, struct ckpt_task *k, struct err *e)
{
	uint64_t field[53] = { 0 };
	struct ckpt_status s;
	unsigned filters;
	Ckpt__Thread *t;
	int r;

	if (k->leader == k->pid)
		return 0;
	t = ended_thread(&d->tree.arena, k->threads[0]);
	r = t ? ckpt_status_read(k->leader, &s) : -ENOMEM;
	if (r == 0)
		r = ckpt_stat_read(k->leader, field);
	if (r == 0)
		r = ckpt_thread_status(d, k->leader, &s, t, &filters);
	if (r == 0)
		r = collect_ids(d, &s, t);
	if (r < 0)
		return err_code(e, r, "look at thread %d, which has ended", (int)k->leader);
	if (field[52] & 0x7f) /* what ends one thread alone by a signal is a seccomp filter (SECCOMP_RET_KILL_THREAD) */
		return err_set(e, ERR_UNSUPPORTED, "the first thread of process %d was killed, the others were not, which "
			       "cannot be saved", (int)k->leader);
	k->process->exit_signal = (uint32_t)field[38];
	k->process->more->first_ended = 1 + (field[52] >> 8 & 0xff);
	r = put_first(&d->tree.arena, k, t);
	return r < 0 ? err_code(e, r, "collect process %d", (int)k->leader) : 0;
}

int ckpt_leader_check(const struct ckpt_task *k, struct err *e)
{
	uint32_t ended = k->process->more->first_ended;

	return ended > 256 || (ended && k->thread_count < 2)
		? err_set(e, ERR_FAIL, "the image is damaged: the first thread of process %u", k->process->pid) : 0;
}

/* From where it stands on to its end; let go there, as a zombie that is traced would be the tracer's until the whole
 * process has ended. */
static int await_exit(pid_t tid)
{
	struct ckpt_stop s;
	int n;

	for (;;) {
		n = ckpt_trace_wait(tid, &s);
		if (n < 0 || s.kind == CKPT_STOP_GONE)
			return n < 0 ? n : -ESRCH;
		if (s.kind == CKPT_STOP_OTHER && s.event == PTRACE_EVENT_EXIT)
			return ckpt_trace_detach(tid);
		n = ckpt_trace_resume(PTRACE_CONT, tid, s.kind == CKPT_STOP_SIGNAL ? s.sig : 0);
		if (n < 0)
			return n;
	}
}

/* Its children have another thread for a parent by then. */
static int await_zombie(pid_t tid)
{
	uint64_t end = now_monotonic_us() + END_TIMEOUT_US;

	while (!proc_is_zombie(tid)) {
		if (now_monotonic_us() > end)
			return -ETIMEDOUT;
		sched_yield();
	}
	return 0;
}

static int end(struct restoring *p, struct err *e)
{
	struct ckpt_thread *th = &p->threads[0];
	const struct ckpt_call c = { SYS_exit, { p->task->process->more->first_ended - 1 }, 0 };
	uintptr_t options = PTRACE_O_TRACESYSGOOD | PTRACE_O_TRACEEXIT | PTRACE_O_EXITKILL | O_SUSPEND_SECCOMP;
	int n;

	if (ptrace(PTRACE_SETOPTIONS, th->tid, NULL, (void *)options) < 0)
		return err_sys(e, "trace the end of thread %d", (int)th->tid);
	n = ckpt_batch_one_start(&p->batch, th, &c, e);
	if (n < 0)
		return n;
	n = await_exit(th->tid);
	if (n == 0)
		n = await_zombie(th->tid);
	return n < 0 ? err_code(e, n, "end the first thread of process %u", p->task->process->pid) : 0;
}

int restore_leader(struct restore *r, struct restoring *p, struct list *l, struct err *e)
{
	struct ckpt_task *k = p->task;
	int n;

	(void)r;
	(void)l;
	if (!k->process->more->first_ended)
		return 0;
	n = end(p, e);
	if (n < 0)
		return n;
	k->thread_count--;
	memmove(k->threads, k->threads + 1, k->thread_count * sizeof(*k->threads));
	memmove(p->threads, p->threads + 1, k->thread_count * sizeof(*p->threads));
	k->pid = p->batch.pid = p->threads[0].tid;
	return 0;
}

bool restore_is_tied_late(const struct restore *r, const struct restoring *p)
{
	const struct ckpt_tree *t = &r->tree;

	for (size_t i = 0; p->task->process->ppid && i < t->task_count; i++)
		if (t->tasks[i].process->pid == p->task->process->ppid)
			return t->tasks[i].process->more->first_ended;
	return false;
}

int restore_tie(struct restore *r, struct restoring *p, struct list *l, struct err *e)
{
	int n = 0;

	for (size_t i = 0; n == 0 && i < p->task->thread_count; i++) {
		uint32_t sig = p->task->threads[i]->pdeath_signal;

		if (!sig || !restore_is_tied_late(r, p))
			continue;
		list_init(l, r);
		list_call(l, "tie it to its parent", SYS_prctl, PR_SET_PDEATHSIG, sig, 0, 0, 0, 0);
		n = list_run(l, &p->batch, &p->threads[i], e);
	}
	return n;
}
