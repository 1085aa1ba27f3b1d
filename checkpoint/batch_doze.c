/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Threads that begin to wait, so that the kernel knows how they go on. */
#include "base/macro.h"
#include "checkpoint/batch_internal.h"

#include <errno.h>
#include <sys/ptrace.h>

static int check(struct ckpt_thread *t, int r, struct err *e)
{
	if (r < 0)
		t->running = false;
	return r < 0 ? err_code(e, r, "have thread %d wait again", (int)t->ns_tid) : 0;
}

int ckpt_thread_doze(struct ckpt_batch *b, struct ckpt_thread *t, const struct ckpt_call *c, struct err *e)
{
	struct user_regs_struct regs = batch_call_regs(b, t, c);
	int r = ckpt_trace_set_regs(t->tid, &regs);

	t->in_signal = false; /* it goes on from there */
	if (r == 0)
		r = ckpt_trace_resume(PTRACE_SYSCALL, t->tid, 0);
	t->running = true;
	return check(t, r, e);
}

/* Stopped where it enters the call, it is told to stop again as soon as it would sleep. */
int ckpt_thread_doze_enter(struct ckpt_thread *t, struct err *e)
{
	struct ckpt_stop s;
	int r;

	if (!t->running)
		return 0;
	r = ckpt_trace_wait(t->tid, &s);
	while (r == 0 && s.kind == CKPT_STOP_EVENT) { /* it had been told to stop before */
		r = ckpt_trace_resume(PTRACE_SYSCALL, t->tid, 0);
		if (r == 0)
			r = ckpt_trace_wait(t->tid, &s);
	}
	if (r == 0 && s.kind != CKPT_STOP_SYSCALL)
		r = s.kind == CKPT_STOP_GONE ? -ESRCH : -EPROTO;
	if (r == 0)
		r = ckpt_trace_interrupt(t->tid);
	if (r == 0)
		r = ckpt_trace_resume(PTRACE_CONT, t->tid, 0);
	return check(t, r, e);
}

int ckpt_thread_doze_finish(struct ckpt_thread *t, struct err *e)
{
	struct user_regs_struct regs;
	int r;

	if (!t->running)
		return 0;
	r = ckpt_trace_wait_event(t->tid, NULL);
	if (r == 0)
		r = ckpt_trace_get_regs(t->tid, &regs);
	t->dozes = r == 0 && (int64_t)regs.rax == -ERESTART_RESTARTBLOCK;
	t->running = t->in_call = false;
	return check(t, r, e);
}
