/* SPDX-License-Identifier: GPL-2.0-or-later */

/*
 * Processes, some at a time through the same steps. Between two steps a thread runs a list, which takes tens of
 * microseconds until it is heard of: the others are looked at meanwhile.
 */
#include "base/macro.h"
#include "checkpoint/aio.h"
#include "checkpoint/collect_internal.h"
#include "checkpoint/compat.h"
#include "checkpoint/image.pb-c.h"
#include "checkpoint/ipc.h"
#include "checkpoint/ldt.h"
#include "checkpoint/leaders.h"
#include "checkpoint/locked.h"
#include "checkpoint/lookout.h"
#include "checkpoint/own.h"
#include "checkpoint/queues.h"
#include "checkpoint/seccomp.h"
#include "checkpoint/timers.h"
#include "checkpoint/uring.h"
#include "checkpoint/waits.h"

#include <errno.h>

static int task_init(struct ckpt_dump *d, struct ckpt_task *k)
{
	struct ckpt_arena *a = &d->tree.arena;

	k->process = ckpt_alloc(a, sizeof(*k->process));
	k->actions = ckpt_alloc(a, sizeof(*k->actions));
	k->mm = ckpt_alloc(a, sizeof(*k->mm));
	if (!k->process || !k->actions || !k->mm)
		return -ENOMEM;
	ckpt__process__init(k->process);
	ckpt__signal_actions__init(k->actions);
	ckpt__mm__init(k->mm);
	k->process->mm = (uint32_t)(k - d->tree.tasks) + 1;
	return 0;
}

/* A thread whose status has been read goes into the stub. */
static int thread_begin(struct visit *v, pid_t tid, struct err *e)
{
	v->t = ckpt_alloc(&v->d->tree.arena, sizeof(*v->t));
	if (!v->t)
		return err_code(e, -ENOMEM, "collect thread %d", (int)tid);
	ckpt__thread__init(v->t);
	v->leader = tid == v->p->tids[0];
	return ckpt_thread_enter(&v->b, &v->th, tid, v->status.text, e);
}

/* Nothing but its groups makes a status too long (proc_pid_status(5)). */
static int thread_status(struct visit *v, size_t i, struct err *e)
{
	uint64_t groups[CKPT_GROUPS_MAX + 1];
	const char *text;
	size_t len;
	int r = ckpt_look(v->d, v->p->tids[i], CKPT_LOOK_STATUS, &text, &len);

	if (r == 0)
		memcpy(v->status.text, text, len + 1);
	if (r == 0 && ckpt_status_numbers(&v->status, "Groups", 10, groups, ARRAY_SIZE(groups)) > CKPT_GROUPS_MAX)
		r = -EFBIG;
	if (r == -EFBIG)
		return err_set(e, ERR_UNSUPPORTED, "process %d has a thread in more than %d groups", (int)v->p->pid,
			       CKPT_GROUPS_MAX);
	return r < 0 ? err_code(e, r, "look at thread %d", (int)v->p->tids[i]) : 0;
}

static int note_compat(const struct visit *v, struct err *e)
{
	ProtobufCBinaryData *digest = &v->k->mm->compat_vdso;
	int r;

	if (!v->b.compat)
		return 0;
	digest->data = ckpt_alloc(&v->d->tree.arena, 16);
	digest->len = 16;
	r = digest->data ? ckpt_compat_digest(digest->data) : -ENOMEM;
	return r < 0 ? err_code(e, r, "collect process %d", (int)v->p->pid) : 0;
}

/* The first thread maps the scratch memory. No area may be looked at from here on. */
static int step_begin(struct visit *v, struct err *e)
{
	int r = task_init(v->d, v->k);

	if (r < 0)
		return err_code(e, r, "collect process %d", (int)v->p->pid);
	r = thread_status(v, 0, e);
	if (r == 0)
		r = ckpt_process_outside(v->d, v->k, &v->status, e);
	if (r == 0)
		r = ckpt_areas_collect(v->d, v->k, e);
	if (r == 0)
		r = ckpt_batch_open_at(&v->b, v->p->pid, v->k->mm->vdso + v->k->mm->vdso_size, v->p->tids,
					   v->p->count, e);
	if (r == 0)
		r = note_compat(v, e);
	if (r == 0)
		r = thread_begin(v, v->p->tids[0], e);
	if (r == 0)
		r = ckpt_batch_map_start(&v->b, &v->th, CKPT_ASK_SCRATCH, e);
	if (r == 0)
		v->doing = VISIT_MAPS;
	return r;
}

static int start_answers(struct visit *v, struct err *e)
{
	int r;

	visit_ask(v);
	r = ckpt_ask_start(&v->q, &v->b, &v->th, e);
	if (r == 0)
		v->doing = VISIT_ANSWERS;
	return r;
}

/* It is asked about its open files, too, which must be known for that. */
static int step_ask(struct visit *v, struct err *e)
{
	int r = ckpt_fds_collect(v->d, v->k, e);

	if (r < 0)
		return r;
	v->doing = VISIT_NOTHING;
	r = ckpt_batch_map_finish(&v->b, &v->th, e);
	return r == 0 ? start_answers(v, e) : r;
}

/* What the thread itself is not needed for is looked at before its answers are. */
static int take_answers(struct visit *v, struct err *e)
{
	int r = ckpt_attributes_collect(v->d, v->k, &v->th, v->t, v->leader, e);

	if (r == 0)
		r = ckpt_thread_outside(v->d, v->k, v->th.tid, &v->status, v->t, &v->filters, e);
	if (r < 0)
		return r;
	v->doing = VISIT_NOTHING;
	r = ckpt_ask_finish(&v->q, &v->b, &v->th, e);
	if (r == 0)
		r = visit_take(v, e);
	return r == 0 ? ckpt_uring_notice(v->d, &v->b, &v->th, e) : r;
}

/* A thread that is not in the stub any more. Not earlier: a signal may have been delivered meanwhile. */
static int thread_keep(struct visit *v, struct err *e)
{
	struct ckpt_arena *a = &v->d->tree.arena;
	Ckpt__Thread *t = v->t;
	pid_t tid = v->th.tid;
	int r = ckpt_registers_collect(a, tid, t, e);

	if (r < 0)
		return r;
	ckpt_wait_collect(v->d, tid, t);
	r = ckpt_compat_collect(v->d, v->k, tid, t, e);
	if (r < 0)
		return r;
	if (ckpt_push(a, &v->k->threads, &v->k->thread_count, t) < 0)
		return err_code(e, -ENOMEM, "collect thread %d", (int)tid);
	r = ckpt_seccomp_collect(v->d, tid, v->filters, t, e);
	return r == 0 ? ckpt_pending_collect(v->d, v->k, tid, false, t->tid, e) : r;
}

/* Where a stub whose engine has died would unmap the scratch memory (seccomp filters keep it from that), nothing may
 * be left when no thread is in there. Else it is kept for the next one. */
static int thread_end(struct visit *v, struct err *e)
{
	int r = v->th.seccomp ? 0 : ckpt_batch_unmap(&v->b, &v->th, e);

	if (r == 0)
		r = ckpt_thread_leave(&v->b, &v->th, e);
	return r == 0 ? thread_keep(v, e) : r;
}

/* In place of the one that was there before. */
static int thread_next(struct visit *v, size_t i, struct err *e)
{
	int r = thread_status(v, i, e);

	if (r == 0)
		r = thread_begin(v, v->p->tids[i], e);
	if (r == 0)
		r = ckpt_own_collect(v->d, v->k, v->p->tids[i], v->t, e);
	if (r == 0 && !v->b.scratch)
		r = ckpt_batch_map(&v->b, &v->th, CKPT_ASK_SCRATCH, e);
	return r == 0 ? start_answers(v, e) : r;
}

/* A second stub for a process of many threads; NULL: there is none. */
static struct visit *second_place(struct visit *v, struct err *e)
{
	struct visit *o = v->spare;

	if (v->p->count < 3 || !v->th.seccomp || ckpt_batch_open_beside(&o->b, &v->b, e) != 0)
		return NULL;
	o->d = v->d;
	o->k = v->k;
	o->p = v->p;
	o->doing = VISIT_NOTHING;
	o->th.entered = false;
	v->second = o;
	return o;
}

static int second_done(struct visit *v, struct err *e)
{
	struct visit *o = v->second;
	int r = take_answers(o, e);

	if (r == 0)
		r = ckpt_batch_unmap(&o->b, &o->th, e);
	if (r == 0)
		r = thread_end(o, e);
	if (r == 0) {
		ckpt_batch_close(&o->b);
		v->second = NULL;
	}
	return r;
}

/*
 * The other threads of a process, in order. Where there is room for two stubs they take turns: what one has answered
 * is looked at while the other runs its list. The last one stays in the first.
 */
static int threads_collect(struct visit *v, struct err *e)
{
	struct err ignored;
	struct visit *other = second_place(v, &ignored);
	int r = 0;

	for (size_t i = 1; r == 0 && i < v->p->count; i++) {
		struct visit *now = other && (v->p->count - 1 - i) % 2 ? other : v;

		if (now->doing == VISIT_ANSWERS)
			r = take_answers(now, e);
		if (r == 0 && now->th.entered)
			r = thread_end(now, e);
		if (r == 0)
			r = thread_next(now, i, e);
	}
	if (r == 0 && other)
		r = second_done(v, e);
	return r == 0 && v->doing == VISIT_ANSWERS ? take_answers(v, e) : r;
}

static int step_answers(struct visit *v, struct err *e)
{
	int r = take_answers(v, e);

	if (r == 0)
		r = ckpt_timers_collect(v->d, v->k, &v->b, &v->th, e);
	if (r == 0 && v->has_ldt)
		r = ckpt_ldt_collect(v->d, v->k, &v->b, &v->th, e);
	if (r == 0)
		ckpt_locked_collect(v->d, v->k, v->b.mem);
	if (r == 0)
		r = ckpt_aio_collect(v->d, v->k, &v->b, &v->th, e);
	if (r == 0)
		r = threads_collect(v, e);
	if (r == 0)
		r = ckpt_batch_unmap_start(&v->b, &v->th, e);
	if (r == 0)
		v->doing = VISIT_UNMAPS;
	return r;
}

static int step_end(struct visit *v, struct err *e)
{
	struct ckpt_dump *d = v->d;
	struct ckpt_task *k = v->k;
	int r;

	v->doing = VISIT_NOTHING;
	r = ckpt_batch_unmap_finish(&v->b, &v->th, e);
	if (r == 0)
		r = ckpt_thread_leave(&v->b, &v->th, e);
	if (r == 0)
		r = thread_keep(v, e);
	if (r == 0)
		r = ckpt_leader_collect(d, k, e);
	if (r == 0)
		r = ckpt_timers_resolve(k, e);
	if (r == 0)
		r = ckpt_undo_collect(d, k, &v->b, e);
	if (r == 0)
		r = ckpt_mqueues_read(d, k, &v->b, e);
	if (r < 0)
		return r;
	k->process->stop_signal = (uint32_t)v->p->stop_signal;
	k->process->stop_seen = k->process->stop_seen && v->p->stop_signal;
	ckpt_batch_close(&v->b);
	r = ckpt_zombies_collect(d, k, e);
	if (r == 0)
		r = ckpt_pending_collect(d, k, k->pid, true, 0, e);
	return r == 0 ? ckpt_timers_rung(d, k, e) : r;
}

static int (*const steps[])(struct visit *v, struct err *e) = { step_begin, step_ask, step_answers, step_end };
#define STEPS ARRAY_SIZE(steps)
#define TOGETHER 16

/* What could not be collected must not show, and goes back to its registers. */
static void give_up(struct visit *v)
{
	struct err ignored;

	if (v->doing == VISIT_MAPS)
		ckpt_batch_map_finish(&v->b, &v->th, &ignored);
	if (v->doing == VISIT_ANSWERS)
		ckpt_ask_finish(&v->q, &v->b, &v->th, &ignored);
	if (v->doing == VISIT_UNMAPS)
		ckpt_batch_unmap_finish(&v->b, &v->th, &ignored);
	if (!v->th.entered && v->b.scratch)
		ckpt_thread_enter(&v->b, &v->th, v->p->tids[0], NULL, &ignored);
	if (v->th.entered) {
		ckpt_batch_unmap(&v->b, &v->th, &ignored);
		ckpt_thread_leave(&v->b, &v->th, &ignored);
	}
	ckpt_batch_close(&v->b);
	v->over = true;
	if (v->second)
		give_up(v->second);
	v->second = NULL;
}

static void visit_init(struct visit *v, struct ckpt_dump *d, size_t i)
{
	v->d = d;
	v->k = &d->tree.tasks[i];
	v->p = &d->frozen.procs[i];
	v->over = false;
	v->second = NULL;
	v->doing = VISIT_NOTHING;
	v->th.entered = false;
	v->b = (struct ckpt_batch){ .mem = -EBADF };
	v->k->pid = v->p->pid;
	v->k->leader = v->p->leader;
	v->k->tids = v->p->tids;
	d->tree.task_count = i + 1;
}

static int run_step(struct visit *v, size_t step, struct err *e)
{
	int r = v->over ? 0 : steps[step](v, e);

	if (r < 0)
		give_up(v);
	if (step == STEPS - 1)
		v->over = true;
	return r < 0 ? ckpt_note_cut(v->d, r, v->p->pid, e) : 0;
}

/* Some take a step, one after the other, before the first of them takes the next: what it runs is over by then. */
static int run_together(struct ckpt_dump *d, struct visit *visit, size_t first, size_t n, struct err *e)
{
	int r = 0;

	for (size_t step = 0; step < STEPS; step++)
		for (size_t i = 0; r == 0 && i < n; i++) {
			if (step == 0)
				visit_init(&visit[i], d, first + i);
			r = run_step(&visit[i], step, e);
		}
	return r;
}

/* Those that share memory, which are refused later, must not be in the stub at once. */
static int run_alone(struct ckpt_dump *d, struct visit *v, size_t i, struct err *e)
{
	int r = 0;

	visit_init(v, d, i);
	for (size_t step = 0; r == 0 && step < STEPS; step++)
		r = run_step(v, step, e);
	return r;
}

int ckpt_tasks_collect(struct ckpt_dump *d, struct err *e)
{
	cleanup_free struct visit *visit = calloc(TOGETHER + 1, sizeof(*visit));
	size_t count = d->frozen.count;
	struct ckpt_tree *t = &d->tree;
	int r = 0;

	t->tasks = ckpt_alloc(&t->arena, count * sizeof(*t->tasks));
	if (!t->tasks || !visit)
		return err_code(e, -ENOMEM, "collect");
	for (size_t i = 0; i < TOGETHER; i++) {
		visit[i].over = true;
		visit[i].spare = &visit[TOGETHER]; /* one process at a time is in the step that uses it */
	}
	if (d->frozen.shared)
		for (size_t i = 0; r == 0 && i < count; i++)
			r = run_alone(d, &visit[0], i, e);
	else
		for (size_t i = 0; r == 0 && i < count; i += TOGETHER)
			r = run_together(d, visit, i, count - i < TOGETHER ? count - i : TOGETHER, e);
	for (size_t i = 0; i < TOGETHER; i++)
		if (!visit[i].over)
			give_up(&visit[i]);
	return r;
}
