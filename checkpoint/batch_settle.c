/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Threads that stand in the stub of an engine that has died. */
#include "checkpoint/batch_internal.h"

#include <errno.h>
#include <string.h>
#include <sys/ptrace.h>

/* The registers that the stub would go back to. */
static void own_regs(struct user_regs_struct *r, const struct ckpt_stub_data *d, bool far)
{
	r->eflags &= ~(uint64_t)(0xff | FLAG_DF | FLAG_OF);
	r->eflags |= d->low_flags | (d->overflow ? FLAG_OF : 0) | (d->direction ? FLAG_DF : 0);
	r->r15 = d->r15, r->r14 = d->r14, r->r13 = d->r13, r->r12 = d->r12;
	r->r11 = d->r11, r->r10 = d->r10, r->r9 = d->r9, r->r8 = d->r8;
	r->rbp = d->rbp, r->rbx = d->rbx, r->rax = d->rax, r->rcx = d->rcx;
	r->rdx = d->rdx, r->rsi = d->rsi, r->rdi = d->rdi, r->rip = d->rip;
	if (far) {
		r->cs = (uint16_t)(d->rip >> 32);
		r->rip = (uint32_t)d->rip;
	}
	r->orig_rax = UINT64_MAX;
}

/* The data of the stub that a thread is in, and where in it. -ENOEXEC: it is that of another version. */
static int read_stub(const struct ckpt_batch *b, uint64_t rip, struct ckpt_stub_data *ret, size_t *offset, bool *far)
{
	uint8_t copy[1024], *leave = copy + (ckpt_stub_leave - ckpt_stub_start);
	size_t at = (size_t)(rip - b->tail);
	int r;

	*offset = at % stub_size();
	r = ckpt_mem_read(b->pid, b->tail + at - *offset, copy, stub_size());
	if (r < 0)
		return r;
	*far = leave[1] == CKPT_STUB_FAR;
	if (*far)
		leave[1] = CKPT_STUB_NEAR;
	if (memcmp(copy, ckpt_stub_start, stub_data_offset()) != 0)
		return -ENOEXEC;
	memcpy(ret, copy + stub_data_offset(), sizeof(*ret));
	return 0;
}

/* Whether a thread makes another call before it is out of the stub. */
static bool has_calls(const struct user_regs_struct *r, const struct ckpt_stub_data *d, const uint8_t *where)
{
	if (where >= ckpt_stub_unmapped)
		return false;
	if (d->scratch || (where >= ckpt_stub_one && where < ckpt_stub_one_called) ||
	    (where >= ckpt_stub_compat && where < ckpt_stub_compat_called))
		return true;
	if (where >= ckpt_stub_restore || (where >= ckpt_stub_signalled && where < ckpt_stub_one))
		return false;
	if (r->r15 || where >= ckpt_stub_listed)
		return r->r15 != 0;
	return r->rbp > (where >= ckpt_stub_called && where < ckpt_stub_counted);
}

/* Until the next stop; a signal is delivered to where the thread is, which then stands in its handler. */
static int run_on(pid_t tid, struct ckpt_stop *s)
{
	int r = ckpt_trace_resume(PTRACE_SYSCALL, tid, 0);

	if (r == 0)
		r = ckpt_trace_wait(tid, s);
	if (r == 0 && s->kind == CKPT_STOP_SIGNAL) {
		r = ckpt_trace_interrupt(tid);
		if (r == 0)
			r = ckpt_trace_resume(PTRACE_CONT, tid, s->sig);
		if (r == 0)
			r = ckpt_trace_wait_event(tid, s);
	}
	return r == 0 && s->kind == CKPT_STOP_GONE ? -ESRCH : r;
}

/*
 * A thread on its way back after another engine died: what is left of its list is run, from call to call, and
 * its registers are set as the stub would have done, so that it runs nothing of its own, as it may be stopped
 * for other reasons. Not by single steps: a task whose tracer dies during one is killed by SIGTRAP.
 */
int batch_settle(const struct ckpt_batch *b, pid_t tid)
{
	struct ckpt_thread t = { .tid = tid };
	bool entering = false;
	int r = 0;

	for (size_t stops = 0; r == 0 && stops < 4 * CKPT_BATCH_MAX; stops++) {
		struct user_regs_struct regs;
		struct ckpt_stub_data d;
		struct ckpt_stop s;
		size_t offset;
		bool far;

		r = ckpt_trace_get_regs(tid, &regs);
		if (r < 0 || regs.rip - b->tail >= b->tail_size)
			return r < 0 ? r : batch_leave_stop(&t);
		r = read_stub(b, regs.rip, &d, &offset, &far);
		if (r == 0 && !entering && !has_calls(&regs, &d, ckpt_stub_start + offset)) {
			own_regs(&regs, &d, far);
			r = ckpt_trace_set_regs(tid, &regs);
			return r == 0 ? batch_leave_stop(&t) : r;
		}
		if (r == 0)
			r = run_on(tid, &s);
		entering = r == 0 && s.kind == CKPT_STOP_SYSCALL && !entering;
		t.in_call = r == 0 && s.kind == CKPT_STOP_SYSCALL;
	}
	return r < 0 ? r : -ELOOP;
}
