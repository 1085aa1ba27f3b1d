/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Threads that run lists. Where the stub lies is batch_place.c. */
#include "base/macro.h"
#include "checkpoint/batch_internal.h"
#include "checkpoint/compat.h"

#include <errno.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/uio.h>

static int trace(int request, pid_t tid, uintptr_t addr, void *data)
{
	return ptrace((enum __ptrace_request)request, tid, (void *)addr, data) < 0 ? -errno : 0;
}

/*
 * Calls are restarted only behind get_signal(), which a task at a system call stop has not reached and may not
 * reach: it goes there now, without running an instruction. One that stopped for a signal is there; who lets it go
 * on will find it in PTRACE_EVENT_STOP next, and need not wait for that now.
 */
int batch_leave_stop(struct ckpt_thread *t)
{
	int r;

	if (!t->in_call && !t->in_signal)
		return 0;
	r = ckpt_trace_interrupt(t->tid);
	if (r == 0)
		t->in_signal = false;
	if (r < 0 || !t->in_call)
		return r;
	r = ckpt_trace_resume(PTRACE_CONT, t->tid, 0);
	if (r == 0)
		r = ckpt_trace_wait_event(t->tid, NULL);
	if (r == 0)
		t->in_call = false;
	return r;
}

/*
 * A signal for the task itself arrives while the stub runs. It is delivered to the task's own
 * registers, as if the stub were not there: the kernel makes the handler's frame, decides whether
 * an interrupted call ends with EINTR, and the task stops again at the handler's first instruction.
 * Those registers are then the task's own, and the stub goes on where it was.
 */
static int deliver(struct ckpt_batch *b, struct ckpt_thread *t, int sig, struct user_regs_struct *stub)
{
	uint64_t blocked;
	int r = ckpt_trace_set_regs(t->tid, &t->regs);

	if (r == 0)
		r = ckpt_trace_interrupt(t->tid);
	if (r == 0)
		r = ckpt_trace_resume(PTRACE_CONT, t->tid, sig);
	if (r == 0)
		r = ckpt_trace_wait_event(t->tid, NULL);
	if (r == 0)
		r = ckpt_trace_get_regs(t->tid, &t->regs);
	if (r == 0)
		r = batch_abort_rseq(t, b->pid);
	if (r == 0)
		r = ckpt_trace_get_mask(t->tid, &blocked);
	if (r == 0)
		r = batch_write_data(b, t);
	if (r < 0)
		return r;
	t->notify = batch_notify(t, blocked);
	if (stub->rip != stub_at(b, ckpt_stub_signalled))
		stub->r15 = (uint64_t)t->notify;
	if (batch_restart_number(b->pid, stub) >= 0) {
		stub->rax = (uint64_t)batch_restart_number(b->pid, stub);
		stub->rip -= 2;
	}
	stub->orig_rax = UINT64_MAX;
	stub->rsp = t->regs.rsp;
	stub->fs_base = t->regs.fs_base;
	stub->gs_base = t->regs.gs_base;
	stub->ds = t->regs.ds; /* which 32-bit programs use */
	stub->es = t->regs.es;
	stub->fs = t->regs.fs;
	stub->gs = t->regs.gs;
	stub->ss = t->regs.ss;
	return ckpt_trace_set_regs(t->tid, stub);
}

static bool is_fault(const struct ckpt_batch *b, const struct ckpt_thread *t, int sig,
		     const struct user_regs_struct *regs)
{
	siginfo_t si;

	if (sig != SIGSEGV && sig != SIGBUS && sig != SIGILL && sig != SIGTRAP)
		return false;
	return regs->rip - b->code < stub_size() &&
	       trace(PTRACE_GETSIGINFO, t->tid, 0, &si) == 0 && si.si_code > 0;
}

static void note_birth(struct ckpt_thread *t, const struct ckpt_stop *s)
{
	unsigned long tid;

	if (s->kind == CKPT_STOP_OTHER && t->born && t->born_count < t->born_max &&
	    trace(PTRACE_GETEVENTMSG, t->tid, 0, &tid) == 0)
		t->born[t->born_count++] = (pid_t)tid;
}

struct syscall_info {
	uint8_t op, pad[3];
	uint32_t arch;
	uint64_t ip, sp;
	uint64_t more[8];
};
enum { INFO_EXIT = 2 };

/* Lets the stub run from these registers on; wait_stub() is next. `call_end`: behind the call that matters. */
static int start_stub(struct ckpt_batch *b, struct ckpt_thread *t, const uint8_t *call_end,
		      const struct user_regs_struct *regs)
{
	int r = ckpt_trace_set_regs(t->tid, regs);

	t->call_end = stub_at(b, call_end);
	t->fast = regs->r15 != 0 && !t->between;
	if (r == 0)
		r = ckpt_trace_resume(t->fast ? PTRACE_CONT : PTRACE_SYSCALL, t->tid, 0);
	t->running = r == 0;
	return r;
}

/* At a system call stop. 1: behind the last call; 0: it goes on. */
static int call_stop(struct ckpt_batch *b, struct ckpt_thread *t, const struct user_regs_struct *regs)
{
	struct syscall_info info;
	bool listed = t->call_end == stub_at(b, ckpt_stub_called);
	int r = 0;

	if (ptrace((enum __ptrace_request)PTRACE_GET_SYSCALL_INFO, t->tid, (void *)sizeof(info), &info) < 0)
		return -errno;
	if (info.op == INFO_EXIT && regs->rip == t->call_end) {
		if (!listed || regs->rbp == 1)
			return 1;
		r = t->between ? t->between(t->between_arg, (int64_t)regs->rax) : 0;
	}
	return r == 0 ? ckpt_trace_resume(PTRACE_SYSCALL, t->tid, 0) : r;
}

/* At a signal. 1: it ended the list, or would have; 0: it goes on. */
static int signal_stop(struct ckpt_batch *b, struct ckpt_thread *t, int sig, struct user_regs_struct *regs)
{
	bool done = t->fast && regs->rip == stub_at(b, ckpt_stub_signalled);
	int r;

	if (done && sig == t->notify) {
		t->in_signal = true;
		return 1;
	}
	if (is_fault(b, t, sig, regs))
		return -EFAULT;
	r = deliver(b, t, sig, regs);
	if (r < 0 || done)
		return r < 0 ? r : 1;
	t->fast = t->fast && t->notify;
	return ckpt_trace_resume(t->fast ? PTRACE_CONT : PTRACE_SYSCALL, t->tid, 0);
}

/*
 * Until the stop behind the last call. 1: it ended at a system call stop, and the last result is in regs->rax;
 * 0: by the signal.
 */
static int wait_stub(struct ckpt_batch *b, struct ckpt_thread *t, struct user_regs_struct *regs)
{
	struct ckpt_stop s;
	int r = 0;

	while (t->running && r == 0) {
		r = ckpt_trace_wait(t->tid, &s);
		if (r == 0 && s.kind == CKPT_STOP_GONE)
			r = -ESRCH;
		if (r == 0)
			r = ckpt_trace_get_regs(t->tid, regs);
		if (r < 0)
			break;
		t->in_call = s.kind == CKPT_STOP_SYSCALL;
		switch (s.kind) {
		case CKPT_STOP_SYSCALL:
			r = call_stop(b, t, regs);
			break;
		case CKPT_STOP_SIGNAL:
			r = signal_stop(b, t, s.sig, regs);
			break;
		default:
			note_birth(t, &s);
			r = ckpt_trace_resume(t->fast ? PTRACE_CONT : PTRACE_SYSCALL, t->tid, 0);
			break;
		}
	}
	t->running = false;
	return r == 1 ? t->in_call : r;
}

int ckpt_thread_leave(struct ckpt_batch *b, struct ckpt_thread *t, struct err *e)
{
	struct user_regs_struct regs;
	int r;

	if (!t->entered)
		return 0;
	r = wait_stub(b, t, &regs); /* what was started and not waited for */
	if (r >= 0)
		r = batch_leave_stop(t);
	if (r == 0)
		r = batch_unsuspend(t);
	if (r == 0)
		r = ckpt_trace_set_regs(t->tid, &t->regs);
	t->entered = false;
	return r < 0 ? err_code(e, r, "put the registers of thread %d back", (int)t->tid) : 0;
}

static void take_notice(const struct ckpt_thread *t, struct user_regs_struct *regs)
{
	regs->r13 = (uint64_t)t->ns_tgid;
	regs->r14 = (uint64_t)t->ns_tid;
	regs->r15 = (uint64_t)t->notify;
}

static struct user_regs_struct compat_regs(const struct ckpt_batch *b, const struct ckpt_thread *t,
					   const struct ckpt_call *c)
{
	struct user_regs_struct regs = batch_regs(b, t, ckpt_stub_compat);

	regs.rax = (uint32_t)c->nr;
	regs.rbx = (uint32_t)c->args[0];
	regs.rcx = (uint32_t)c->args[1];
	regs.rdx = (uint32_t)c->args[2];
	regs.rsi = (uint32_t)c->args[3];
	regs.rdi = (uint32_t)c->args[4];
	regs.rbp = (uint32_t)c->args[5];
	take_notice(t, &regs);
	return regs;
}

struct user_regs_struct batch_call_regs(const struct ckpt_batch *b, const struct ckpt_thread *t,
					const struct ckpt_call *c)
{
	struct user_regs_struct regs = batch_regs(b, t, ckpt_stub_one);

	if (c->nr & CKPT_COMPAT)
		return compat_regs(b, t, c);
	regs.rax = c->nr;
	regs.rdi = c->args[0];
	regs.rsi = c->args[1];
	regs.rdx = c->args[2];
	regs.r10 = c->args[3];
	regs.r8 = c->args[4];
	regs.r9 = c->args[5];
	take_notice(t, &regs);
	return regs;
}

int ckpt_batch_one_start(struct ckpt_batch *b, struct ckpt_thread *t, const struct ckpt_call *c, struct err *e)
{
	struct user_regs_struct regs = batch_call_regs(b, t, c);
	int r = start_stub(b, t, c->nr & CKPT_COMPAT ? ckpt_stub_compat_called : ckpt_stub_one_called, &regs);

	return r < 0 ? err_code(e, r, "run a system call in thread %d", (int)t->tid) : 0;
}

int ckpt_batch_one_finish(struct ckpt_batch *b, struct ckpt_thread *t, int64_t *ret, struct err *e)
{
	struct user_regs_struct regs;
	int r = wait_stub(b, t, &regs);

	if (r < 0)
		return err_code(e, r, "run a system call in thread %d", (int)t->tid);
	*ret = (int64_t)(r == 1 ? regs.rax : regs.rbx);
	return 0;
}

int ckpt_batch_one(struct ckpt_batch *b, struct ckpt_thread *t, const struct ckpt_call *c,
		   int64_t *ret, struct err *e)
{
	int r = ckpt_batch_one_start(b, t, c, e);

	return r == 0 ? ckpt_batch_one_finish(b, t, ret, e) : r;
}

int ckpt_batch_map_start(struct ckpt_batch *b, struct ckpt_thread *t, size_t size, struct err *e)
{
	struct ckpt_call c = { SYS_mmap,
			       { 0, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
				 UINT64_MAX, 0 }, 0 };

	if (b->compat) /* which gives memory that the program's kind of addresses reach */
		c.nr = CKPT_COMPAT | CKPT_COMPAT_MMAP;
	b->size = size;
	return ckpt_batch_one_start(b, t, &c, e);
}

int ckpt_batch_map_finish(struct ckpt_batch *b, struct ckpt_thread *t, struct err *e)
{
	int64_t addr = 0;
	int r = ckpt_batch_one_finish(b, t, &addr, e);

	if (r < 0)
		return r;
	if (addr < 0)
		return err_code(e, (int)addr, "map memory in process %d", (int)b->pid);
	b->scratch = (uint64_t)addr;
	b->fresh = true;
	r = batch_write_data(b, t);
	return r < 0 ? err_code(e, r, "prepare thread %d", (int)t->tid) : 0;
}

int ckpt_batch_map(struct ckpt_batch *b, struct ckpt_thread *t, size_t size, struct err *e)
{
	int r = ckpt_batch_map_start(b, t, size, e);

	return r == 0 ? ckpt_batch_map_finish(b, t, e) : r;
}

int ckpt_batch_unmap_start(struct ckpt_batch *b, struct ckpt_thread *t, struct err *e)
{
	struct ckpt_call c = { SYS_munmap, { b->scratch, b->size }, 0 };
	int r;

	/* The stub would unmap it a second time, when something else may be there. */
	b->scratch = 0;
	r = batch_write_data(b, t);
	return r < 0 ? err_code(e, r, "prepare thread %d", (int)t->tid) : ckpt_batch_one_start(b, t, &c, e);
}

int ckpt_batch_unmap_finish(struct ckpt_batch *b, struct ckpt_thread *t, struct err *e)
{
	int64_t ret = 0;
	int r = ckpt_batch_one_finish(b, t, &ret, e);

	if (r < 0)
		return r;
	return ret < 0 ? err_code(e, (int)ret, "unmap memory in process %d", (int)b->pid) : 0;
}

int ckpt_batch_unmap(struct ckpt_batch *b, struct ckpt_thread *t, struct err *e)
{
	int r;

	if (!b->scratch)
		return 0;
	r = ckpt_batch_unmap_start(b, t, e);
	return r == 0 ? ckpt_batch_unmap_finish(b, t, e) : r;
}

int ckpt_batch_start(struct ckpt_batch *b, struct ckpt_thread *t, const struct ckpt_call *calls, size_t n,
		     struct err *e)
{
	struct user_regs_struct regs = batch_regs(b, t, ckpt_stub_loop);
	int r;

	if (n == 0 || n > CKPT_BATCH_MAX || !b->scratch)
		return err_set(e, ERR_FAIL, "a list of %zu calls", n);
	b->fresh = false;
	r = ckpt_mem_write(b->pid, b->scratch, calls, n * sizeof(*calls));
	if (r < 0)
		return err_code(e, r, "write into process %d", (int)b->pid);
	regs.rbx = b->scratch;
	regs.rbp = n;
	take_notice(t, &regs);
	r = start_stub(b, t, ckpt_stub_called, &regs);
	return r < 0 ? err_code(e, r, "run system calls in thread %d", (int)t->tid) : 0;
}

int ckpt_batch_finish_with(struct ckpt_batch *b, struct ckpt_thread *t, struct ckpt_call *calls, size_t n, uint64_t addr,
			   void *buf, size_t len, struct err *e)
{
	struct iovec ours[] = { { calls, n * sizeof(*calls) }, { buf, len } };
	struct iovec theirs[] = { { (void *)(uintptr_t)b->scratch, n * sizeof(*calls) }, { (void *)(uintptr_t)addr, len } };
	size_t pieces = len ? 2 : 1;
	struct user_regs_struct regs;
	int r = wait_stub(b, t, &regs);

	if (r < 0)
		return err_code(e, r, "run system calls in thread %d", (int)t->tid);
	if (process_vm_readv(b->pid, ours, pieces, theirs, pieces, 0) != (ssize_t)(n * sizeof(*calls) + len))
		return err_code(e, -EFAULT, "read from process %d", (int)b->pid);
	if (r == 1)
		calls[n - 1].ret = (int64_t)regs.rax;
	return 0;
}

int ckpt_batch_finish(struct ckpt_batch *b, struct ckpt_thread *t, struct ckpt_call *calls, size_t n, struct err *e)
{
	return ckpt_batch_finish_with(b, t, calls, n, 0, NULL, 0, e);
}

int ckpt_batch_run(struct ckpt_batch *b, struct ckpt_thread *t, struct ckpt_call *calls, size_t n,
		   struct err *e)
{
	int r = n ? ckpt_batch_start(b, t, calls, n, e) : 0;

	return r == 0 && n ? ckpt_batch_finish(b, t, calls, n, e) : r;
}

int ckpt_thread_adopt(struct ckpt_thread *t, pid_t tid, pid_t ns_tgid, pid_t ns_tid, struct err *e)
{
	int r;

	*t = (struct ckpt_thread){
		.tid = tid, .ns_tgid = ns_tgid, .ns_tid = ns_tid, .notify = SIGURG, .entered = true,
	};
	r = ckpt_trace_get_regs(tid, &t->regs);
	return r < 0 ? err_code(e, r, "read the registers of thread %d", (int)tid) : 0;
}

int ckpt_thread_settle(struct ckpt_thread *t, struct err *e)
{
	int r = batch_leave_stop(t);

	return r < 0 ? err_code(e, r, "stop thread %d", (int)t->tid) : 0;
}
