/* SPDX-License-Identifier: GPL-2.0-or-later */

/* What a process and its threads are, but for memory and files, that only they themselves can ask: by lists
 * of calls. */
#include "base/macro.h"
#include "checkpoint/attributes.h"
#include "checkpoint/aio.h"
#include "checkpoint/image.pb-c.h"
#include "checkpoint/internal.h"
#include "checkpoint/ipc.h"
#include "checkpoint/queues.h"
#include "checkpoint/seccomp.h"
#include "checkpoint/timers.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/prctl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/time.h>

#define SCRATCH 131072
#define GROUPS_MAX 1024

struct kernel_sigaction {
	uint64_t handler, flags, restorer, mask;
};

/* What the calls fill, in the task's scratch memory behind the list. */
struct answers {
	uint32_t uid[3], gid[3], groups[GROUPS_MAX];
	stack_t altstack;
	uint64_t tid_address;
	int pdeath, subreaper;
	struct kernel_sigaction action[65];
	struct itimerval timer[3];
};

struct asking {
	struct ckpt_call calls[128];
	size_t count;
	uint64_t base;
};

static size_t ask(struct asking *q, uint64_t nr, uint64_t a, uint64_t b, uint64_t c, uint64_t d)
{
	q->calls[q->count] = (struct ckpt_call){ nr, { a, b, c, d }, 0 };
	return q->count++;
}

#define AT(q, member) ((q)->base + offsetof(struct answers, member))

static int copy_ids(struct ckpt_arena *a, const struct asking *q, size_t groups, size_t fsuid,
		    size_t fsgid, const struct answers *ans, Ckpt__Thread *t)
{
	int64_t n = q->calls[groups].ret;

	if (n < 0 || n > GROUPS_MAX)
		return -EOVERFLOW;
	t->uids = ckpt_alloc(a, 4 * sizeof(uint32_t));
	t->gids = ckpt_alloc(a, 4 * sizeof(uint32_t));
	t->groups = ckpt_memdup(a, ans->groups, (size_t)n * sizeof(uint32_t));
	if (!t->uids || !t->gids || !t->groups)
		return -ENOMEM;
	t->n_uids = t->n_gids = 4;
	t->n_groups = (size_t)n;
	for (int i = 0; i < 3; i++) {
		t->uids[i] = ans->uid[i];
		t->gids[i] = ans->gid[i];
	}
	t->uids[3] = (uint32_t)q->calls[fsuid].ret;
	t->gids[3] = (uint32_t)q->calls[fsgid].ret;
	return 0;
}

static int copy_process(struct ckpt_arena *a, struct ckpt_task *k, const struct answers *ans)
{
	Ckpt__SignalActions *s = k->actions;
	Ckpt__Process *p = k->process;

	s->action = ckpt_alloc(a, 64 * sizeof(*s->action));
	p->itimers = ckpt_alloc(a, 3 * sizeof(*p->itimers));
	if (!s->action || !p->itimers)
		return -ENOMEM;
	for (uint32_t i = 1; i <= 64; i++) {
		const struct kernel_sigaction *ka = &ans->action[i];
		Ckpt__SignalAction *sa;

		if (!ka->handler && !ka->flags)
			continue;
		sa = ckpt_alloc(a, sizeof(*sa));
		if (!sa)
			return -ENOMEM;
		ckpt__signal_action__init(sa);
		*sa = (Ckpt__SignalAction){ sa->base, i, ka->handler, ka->flags, ka->restorer, ka->mask };
		s->action[s->n_action++] = sa;
	}
	for (int i = 0; i < 3; i++) {
		Ckpt__Itimer *t = ckpt_alloc(a, sizeof(*t));

		if (!t)
			return -ENOMEM;
		ckpt__itimer__init(t);
		t->interval_us = (uint64_t)ans->timer[i].it_interval.tv_sec * 1000000 +
				 (uint64_t)ans->timer[i].it_interval.tv_usec;
		t->value_us = (uint64_t)ans->timer[i].it_value.tv_sec * 1000000 +
			      (uint64_t)ans->timer[i].it_value.tv_usec;
		p->itimers[p->n_itimers++] = t;
	}
	return 0;
}

/* The calls of one thread; the leader's ask for the process too. */
static int ask_thread(struct ckpt_dump *d, struct ckpt_task *k, struct ckpt_batch *b,
		      struct ckpt_thread *th, Ckpt__Thread *t, bool leader, struct err *e)
{
	cleanup_free struct answers *ans = calloc(1, sizeof(*ans));
	cleanup_free struct asking *q = calloc(1, sizeof(*q));
	size_t groups, fsuid, fsgid, secure, brk = 0, dumpable = 0, thp = 0, persona = 0;
	int r;

	if (!ans || !q)
		return err_code(e, -ENOMEM, "collect process %d", (int)k->pid);
	q->base = b->scratch + CKPT_BATCH_LIST;
	ask(q, SYS_getresuid, AT(q, uid), AT(q, uid) + 4, AT(q, uid) + 8, 0);
	ask(q, SYS_getresgid, AT(q, gid), AT(q, gid) + 4, AT(q, gid) + 8, 0);
	groups = ask(q, SYS_getgroups, GROUPS_MAX, AT(q, groups), 0, 0);
	fsuid = ask(q, SYS_setfsuid, UINT32_MAX, 0, 0, 0);
	fsgid = ask(q, SYS_setfsgid, UINT32_MAX, 0, 0, 0);
	ask(q, SYS_sigaltstack, 0, AT(q, altstack), 0, 0);
	ask(q, SYS_prctl, PR_GET_TID_ADDRESS, AT(q, tid_address), 0, 0);
	ask(q, SYS_prctl, PR_GET_PDEATHSIG, AT(q, pdeath), 0, 0);
	secure = ask(q, SYS_prctl, PR_GET_SECUREBITS, 0, 0, 0);
	if (leader) {
		brk = ask(q, SYS_brk, 0, 0, 0, 0);
		dumpable = ask(q, SYS_prctl, PR_GET_DUMPABLE, 0, 0, 0);
		thp = ask(q, SYS_prctl, PR_GET_THP_DISABLE, 0, 0, 0);
		persona = ask(q, SYS_personality, UINT32_MAX, 0, 0, 0);
		ask(q, SYS_prctl, PR_GET_CHILD_SUBREAPER, AT(q, subreaper), 0, 0);
		for (uint64_t i = 1; i <= 64; i++)
			ask(q, SYS_rt_sigaction, i, 0, AT(q, action) + i * 32, 8);
		for (uint64_t i = 0; i < 3; i++)
			ask(q, SYS_getitimer, i, AT(q, timer) + i * sizeof(struct itimerval), 0, 0);
	}
	r = ckpt_batch_run(b, th, q->calls, q->count, e);
	if (r < 0)
		return r;
	r = ckpt_mem_read(b->pid, q->base, ans, sizeof(*ans));
	if (r == 0)
		r = copy_ids(&d->tree.arena, q, groups, fsuid, fsgid, ans, t);
	t->altstack = (uint64_t)(uintptr_t)ans->altstack.ss_sp;
	t->altstack_size = ans->altstack.ss_size;
	t->altstack_flags = (uint32_t)ans->altstack.ss_flags;
	t->clear_tid = ans->tid_address;
	t->pdeath_signal = (uint32_t)ans->pdeath;
	t->securebits = (uint32_t)q->calls[secure].ret;
	if (leader && r == 0) {
		k->mm->brk = (uint64_t)q->calls[brk].ret;
		k->process->dumpable = (int32_t)q->calls[dumpable].ret;
		k->process->thp_disable = q->calls[thp].ret > 0;
		k->process->personality = (uint32_t)q->calls[persona].ret;
		k->process->child_subreaper = ans->subreaper != 0;
		r = copy_process(&d->tree.arena, k, ans);
	}
	return r < 0 ? err_code(e, r, "collect process %d", (int)k->pid) : 0;
}

/*
 * Which fds close on exec. The flags in fdinfo also have the O_CLOEXEC with which the file was opened,
 * even when the fd is a duplicate without it (seen on Linux 6.18).
 */
static int ask_cloexec(struct ckpt_task *k, struct ckpt_batch *b, struct ckpt_thread *th, struct err *e)
{
	cleanup_free struct ckpt_call *calls = calloc(CKPT_BATCH_MAX, sizeof(*calls));
	int r = calls ? 0 : err_code(e, -ENOMEM, "collect process %d", (int)k->pid);

	for (size_t at = 0, n; r == 0 && at < k->fds->n_fd; at += n) {
		n = k->fds->n_fd - at < CKPT_BATCH_MAX ? k->fds->n_fd - at : CKPT_BATCH_MAX;
		for (size_t i = 0; i < n; i++)
			calls[i] = (struct ckpt_call){ SYS_fcntl, { k->fds->fd[at + i]->fd, F_GETFD }, 0 };
		r = ckpt_batch_run(b, th, calls, n, e);
		for (size_t i = 0; r == 0 && i < n; i++)
			k->fds->fd[at + i]->cloexec = calls[i].ret & FD_CLOEXEC;
	}
	return r;
}

/* Runs the thread's calls; its own registers are back whatever happens. */
static int thread_collect(struct ckpt_dump *d, struct ckpt_task *k, struct ckpt_batch *b, pid_t tid,
			  struct err *e)
{
	Ckpt__Thread *t = ckpt_alloc(&d->tree.arena, sizeof(*t));
	struct ckpt_thread th;
	unsigned filters = 0;
	struct err ignored;
	int r, left;

	if (!t)
		return err_code(e, -ENOMEM, "collect thread %d", (int)tid);
	ckpt__thread__init(t);
	r = ckpt_thread_enter(b, &th, tid, e);
	if (r < 0)
		return r;
	r = ckpt_batch_map(b, &th, SCRATCH, e);
	if (r == 0 && k->thread_count == 0)
		r = ask_cloexec(k, b, &th, e);
	if (r == 0)
		r = ask_thread(d, k, b, &th, t, k->thread_count == 0, e);
	if (r == 0)
		r = ckpt_attributes_collect(d, k, b, &th, t, k->thread_count == 0, e);
	if (r == 0 && k->thread_count == 0)
		r = ckpt_timers_collect(d, k, b, &th, e);
	if (r == 0 && k->thread_count == 0)
		r = ckpt_aio_collect(d, k, b, &th, e);
	if (r == 0)
		r = ckpt_batch_unmap(b, &th, e);
	left = ckpt_thread_leave(b, &th, r < 0 ? &ignored : e);
	if (r < 0 || left < 0)
		return r < 0 ? r : left;
	/* After the list: a signal may have been delivered meanwhile. */
	r = ckpt_thread_outside(d, k, tid, t, &filters, e);
	if (r < 0)
		return r;
	if (ckpt_push(&d->tree.arena, &k->threads, &k->thread_count, t) < 0)
		return err_code(e, -ENOMEM, "collect thread %d", (int)tid);
	r = ckpt_seccomp_collect(d, tid, filters, t, e);
	return r == 0 ? ckpt_pending_collect(d, k, tid, false, t->tid, e) : r;
}

int ckpt_task_collect(struct ckpt_dump *d, struct ckpt_task *k, const struct ckpt_process *p,
		      struct err *e)
{
	struct ckpt_arena *a = &d->tree.arena;
	struct ckpt_batch b;
	int r;

	k->pid = p->pid;
	k->tids = p->tids;
	k->process = ckpt_alloc(a, sizeof(*k->process));
	k->actions = ckpt_alloc(a, sizeof(*k->actions));
	k->mm = ckpt_alloc(a, sizeof(*k->mm));
	if (!k->process || !k->actions || !k->mm)
		return err_code(e, -ENOMEM, "collect process %d", (int)p->pid);
	ckpt__process__init(k->process);
	ckpt__signal_actions__init(k->actions);
	ckpt__mm__init(k->mm);
	k->process->mm = (uint32_t)(k - d->tree.tasks) + 1;
	r = ckpt_process_outside(d, k, e);
	if (r == 0)
		r = ckpt_areas_collect(d, k, e);
	if (r < 0)
		return r;
	r = ckpt_fds_collect(d, k, e);
	if (r < 0)
		return r;
	r = ckpt_batch_open(&b, p->pid, p->tids, p->count, e);
	for (size_t i = 0; r == 0 && i < p->count; i++)
		r = thread_collect(d, k, &b, p->tids[i], e);
	if (r == 0)
		r = ckpt_timers_resolve(k, e);
	if (r == 0)
		r = ckpt_undo_collect(d, k, &b, e);
	if (r == 0)
		r = ckpt_mqueues_read(d, k, &b, e);
	k->process->stop_signal = (uint32_t)p->stop_signal;
	k->process->stop_seen = k->process->stop_seen && p->stop_signal;
	ckpt_batch_close(&b);
	return r < 0 ? r : ckpt_pending_collect(d, k, p->pid, true, 0, e);
}
