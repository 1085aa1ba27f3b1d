/* SPDX-License-Identifier: GPL-2.0-or-later */

/* The last that a task gets: signals that wait for it, timers, and its own registers. */
#include "base/macro.h"
#include "checkpoint/attributes.h"
#include "checkpoint/batch_internal.h"
#include "checkpoint/compat.h"
#include "checkpoint/image.pb-c.h"
#include "checkpoint/restore_internal.h"
#include "checkpoint/timers.h"

#include <elf.h>
#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/uio.h>

/* Signals that come from here on wait until the threads have their own registers and masks; a list ends by
 * PTRACE_SYSCALL. */
static int block_signals(struct restoring *p, struct err *e)
{
	for (size_t i = 0; i < p->task->thread_count; i++) {
		int n = ckpt_trace_set_mask(p->threads[i].tid, UINT64_MAX);

		if (n < 0)
			return err_code(e, n, "block the signals of thread %u", p->task->threads[i]->tid);
		p->threads[i].notify = 0;
	}
	return 0;
}

/* Pending signals: sent by the task to itself, which may say anything of who sent them. */
static int send_pending(struct restore *r, struct restoring *p, struct list *l, struct err *e)
{
	for (size_t i = 0; i < p->task->pending_count; i++) {
		const Ckpt__PendingSignals *s = p->task->pending[i];
		size_t who = 0;
		int n = 0;

		for (size_t k = 0; k < p->task->thread_count; k++)
			if (s->tid == p->task->threads[k]->tid)
				who = k;
		list_init(l, r);
		for (size_t k = 0; n == 0 && k < s->n_info; k++) {
			siginfo_t si;

			if (s->info[k].len != sizeof(si))
				return err_set(e, ERR_FAIL, "the image is damaged: a pending signal");
			memcpy(&si, s->info[k].data, sizeof(si));
			if (restore_timer_rings(p, s->tid, &si))
				continue;
			if (!list_fits(l, 1, sizeof(si)))
				n = list_run(l, &p->batch, &p->threads[who], e);
			if (s->tid)
				list_call(l, "send a signal", SYS_rt_tgsigqueueinfo, (uint64_t)p->threads[who].ns_tgid,
					  (uint64_t)p->threads[who].ns_tid, (uint64_t)si.si_signo, list_put(l, &si, sizeof(si)), 0, 0);
			else
				list_call(l, "send a signal", SYS_rt_sigqueueinfo, (uint64_t)p->threads[who].ns_tgid,
					  (uint64_t)si.si_signo, list_put(l, &si, sizeof(si)), 0, 0, 0);
		}
		n = n == 0 ? list_run(l, &p->batch, &p->threads[who], e) : n;
		if (n < 0)
			return n;
	}
	return 0;
}

/* All that there are, where those that it had are not here. */
static int set_affinity(const struct restoring *p, size_t i, struct err *e)
{
	const Ckpt__Thread *t = p->task->threads[i];
	const cpu_set_t *had = (const cpu_set_t *)(const void *)t->affinity.data;
	pid_t tid = p->threads[i].tid;
	cpu_set_t all;
	int n = sched_setaffinity(tid, t->affinity.len, had);

	if (n < 0 && errno == EINVAL) {
		memset(&all, 0xff, sizeof(all));
		n = sched_setaffinity(tid, sizeof(all), &all);
	}
	return n < 0 ? err_sys(e, "set the processors of thread %u", t->tid) : 0;
}

int restore_signals(struct restore *r, struct restoring *p, struct list *l, struct err *e)
{
	int n = block_signals(p, e);

	if (n == 0)
		n = restore_timers_make(r, p, l, e);
	if (n == 0)
		n = send_pending(r, p, l, e);
	if (n == 0)
		n = restore_timers(r, p, l, e);
	return n;
}

/*
 * An interrupted call is issued again. The kernel does it, when the task goes on, but for those with
 * a restart block, which stayed with the old task: these begin anew with the arguments they had, when they
 * were not given another (waits.h).
 */
static void mend(struct user_regs_struct *regs)
{
	if ((int64_t)regs->orig_rax >= 0 && (int64_t)regs->rax == -516) {
		regs->rax = regs->orig_rax;
		regs->rip -= 2;
		regs->orig_rax = UINT64_MAX;
	}
}

/* The kernel takes all that it knows of, or nothing. The image leaves out what is zero at the end. */
static int set_xstate(const struct restore *r, pid_t tid, const ProtobufCBinaryData *x)
{
	uint8_t all[CKPT_XSTATE_MAX];
	struct iovec iov = { all, sizeof(all) };
	int n;

	if (ptrace(PTRACE_GETREGSET, tid, (void *)NT_X86_XSTATE, &iov) < 0)
		return -errno;
	n = ckpt_xstate_convert(&r->xstate, x->data, x->len, ckpt_xstate_here(), all, iov.iov_len);
	if (n < 0)
		return n;
	return ptrace(PTRACE_SETREGSET, tid, (void *)NT_X86_XSTATE, &iov) < 0 ? -errno : 0;
}

static int set_registers(const struct restore *r, struct restoring *p, size_t i, struct err *e)
{
	const Ckpt__Thread *t = p->task->threads[i];
	struct ckpt_thread *th = &p->threads[i];
	struct user_regs_struct regs;
	int n;

	memcpy(&regs, t->regs.data, sizeof(regs));
	if (!th->dozes)
		mend(&regs);
	n = restore_compat_tls(p, i, e);
	if (n < 0)
		return n;
	/* Never into the kernel's half, whatever the image says: SETREGS refuses wrong selectors. */
	n = ckpt_trace_set_regs(th->tid, &regs);
	if (n == 0)
		n = set_xstate(r, th->tid, &t->xstate);
	if (n == 0)
		n = ckpt_trace_set_mask(th->tid, t->sigmask);
	if (n == 0)
		n = restore_dispatch(th->tid, t);
	return n < 0 ? err_code(e, n, "set the registers of thread %u", t->tid) : 0;
}

/* A signal that the first thread would not notice ends its last list with one stop; all others wait on. */
static int choose_notice(const struct restoring *p, struct err *e)
{
	const Ckpt__Thread *t = p->task->threads[0];
	const Ckpt__SignalActions *actions = p->task->actions;
	struct ckpt_thread *th = &p->threads[0];
	int n;

	for (size_t i = 0; i < actions->n_action; i++) {
		const Ckpt__SignalAction *a = actions->action[i];
		uint64_t bit = 1ull << (a->signal - 1);

		th->ignored |= a->handler == 1 /* SIG_IGN */ ? bit : 0;
		th->caught |= a->handler > 1 ? bit : 0;
	}
	th->notify = batch_notify(th, t->sigmask);
	n = th->notify ? ckpt_trace_set_mask(th->tid, ~(1ull << (th->notify - 1))) : 0;
	return n < 0 ? err_code(e, n, "block the signals of thread %u", t->tid) : 0;
}

int restore_unmap_own(struct restore *r, struct restoring *p, struct list *l, struct err *e)
{
	const struct ckpt_call c = { SYS_munmap, { r->region, RESTORE_REGION }, 0 };
	const Ckpt__Mm *mm = p->task->mm;
	int n = 0;

	(void)l;
	for (size_t i = 1; n == 0 && i < p->task->thread_count; i++)
		n = ckpt_thread_settle(&p->threads[i], e);
	if (n == 0)
		n = choose_notice(p, e);
	if (n == 0)
		n = ckpt_batch_to_vdso(&p->batch, mm->vdso + mm->vdso_size, mm->compat_vdso.len, e);
	p->batch.scratch = 0;
	return n == 0 ? ckpt_batch_one_start(&p->batch, &p->threads[0], &c, e) : n;
}

int restore_registers(struct restore *r, struct restoring *p, struct list *l, struct err *e)
{
	int64_t ret = 0;
	int n = ckpt_batch_one_finish(&p->batch, &p->threads[0], &ret, e);

	(void)l;
	if (n == 0 && ret < 0)
		n = err_code(e, (int)ret, "unmap what is ours in process %u", p->task->process->pid);
	if (n == 0)
		n = ckpt_thread_settle(&p->threads[0], e);
	if (n < 0)
		return n;
	ckpt_batch_close(&p->batch);
	for (size_t i = 0; n == 0 && i < p->task->thread_count; i++) {
		n = set_registers(r, p, i, e);
		if (n == 0)
			n = set_affinity(p, i, e);
	}
	return n;
}
