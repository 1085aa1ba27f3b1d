/* SPDX-License-Identifier: GPL-2.0-or-later */

/* A thread that goes into the stub: what it is, what it goes back to, what stands in the way of its lists. */
#include "base/fd.h"
#include "base/macro.h"
#include "checkpoint/batch_internal.h"
#include "checkpoint/compat.h"
#include "checkpoint/internal.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>

/* Not in the headers of Linux 6.1. */
#define GET_DISPATCH 0x4211
#define SET_DISPATCH 0x4210
#define GET_RSEQ 0x420f
#define O_SUSPEND_SECCOMP (1u << 21)

static int trace(int request, pid_t tid, uintptr_t addr, void *data)
{
	return ptrace((enum __ptrace_request)request, tid, (void *)addr, data) < 0 ? -errno : 0;
}

static uint64_t status_hex(const char *text, const char *key)
{
	const char *l = ckpt_status_line(text, key);

	return l ? strtoull(l, NULL, 16) : 0;
}

/* The last number of the line: the innermost pid namespace. */
static pid_t status_ns(const char *text, const char *key)
{
	const char *l = ckpt_status_line(text, key), *last = l;

	if (!l)
		return 0;
	for (; *l && *l != '\n'; l++)
		if (*l == '\t')
			last = l;
	return (pid_t)atol(last);
}

/*
 * A signal that the thread would not notice: not blocked (blocked ones stay pending, for sigwait(2)
 * or a signalfd), and ignored. Traced threads stop for it, untraced ones never see it: that ends a
 * list with one stop, and does nothing when the engine is gone.
 */
int batch_notify(const struct ckpt_thread *t, uint64_t blocked)
{
	static const int by_default[] = { SIGURG, SIGWINCH, SIGCHLD };

	for (size_t i = 0; i < ARRAY_SIZE(by_default); i++) {
		uint64_t bit = 1ull << (by_default[i] - 1);

		if (!(blocked & bit) && !(t->caught & bit))
			return by_default[i];
	}
	for (int s = 1; s < 32; s++)
		if (s != SIGCONT && ((t->ignored & ~blocked) >> (s - 1) & 1))
			return s;
	return 0;
}

/*
 * In a restartable sequence: the kernel would go to its abort handler after the stop (rseq(2)), but
 * only if it finds the task still inside. Going there now is what would happen, and it must be in
 * the registers before anything else runs.
 */
int batch_abort_rseq(struct ckpt_thread *t, pid_t pid)
{
	struct {
		uint64_t pointer;
		uint32_t size, signature, flags, pad;
	} conf = { 0 };
	struct {
		uint32_t version, flags;
		uint64_t start, offset, abort;
	} cs;
	uint64_t where = 0;

	if (ptrace((enum __ptrace_request)GET_RSEQ, t->tid, (void *)sizeof(conf), &conf) < 0 ||
	    !conf.pointer || ckpt_mem_read(pid, conf.pointer + 8, &where, sizeof(where)) < 0 || !where ||
	    ckpt_mem_read(pid, where, &cs, sizeof(cs)) < 0 || t->regs.rip - cs.start >= cs.offset)
		return 0;
	t->regs.rip = cs.abort;
	t->regs.orig_rax = UINT64_MAX;
	return ckpt_trace_set_regs(t->tid, &t->regs);
}

/* The call that the kernel would issue again if no signal handler ran, or -1. */
int64_t batch_restart_number(pid_t pid, const struct user_regs_struct *r)
{
	if ((int64_t)r->orig_rax < 0)
		return -1;
	switch (-(int64_t)r->rax) {
	case ERESTARTSYS:
	case ERESTARTNOINTR:
	case ERESTARTNOHAND:
		return (int64_t)r->orig_rax;
	case ERESTART_RESTARTBLOCK:
		return ckpt_compat_is_call(pid, r) ? CKPT_COMPAT_RESTART : SYS_restart_syscall;
	default:
		return -1;
	}
}

/* What the stub goes back to by itself; an interrupted call is issued again. */
static void fill_data(const struct ckpt_batch *b, const struct ckpt_thread *t, struct ckpt_stub_data *d)
{
	const struct user_regs_struct *r = &t->regs;

	*d = (struct ckpt_stub_data){
		.turn = b->turn,
		.scratch = t->seccomp ? 0 : b->scratch, .scratch_size = b->size,
		.low_flags = (uint8_t)r->eflags, .overflow = (r->eflags & FLAG_OF) != 0,
		.direction = (r->eflags & FLAG_DF) != 0,
		.r15 = r->r15, .r14 = r->r14, .r13 = r->r13, .r12 = r->r12, .rbp = r->rbp,
		.rbx = r->rbx, .r11 = r->r11, .r10 = r->r10, .r9 = r->r9, .r8 = r->r8,
		.rax = r->rax, .rcx = r->rcx, .rdx = r->rdx, .rsi = r->rsi, .rdi = r->rdi,
		.rip = r->rip,
	};
	if (batch_restart_number(b->pid, r) >= 0) {
		d->rax = (uint64_t)batch_restart_number(b->pid, r);
		d->rip -= 2;
	}
	if (r->cs != USER_CS64)
		d->rip = (uint32_t)d->rip | r->cs << 32;
}

int batch_write_data(const struct ckpt_batch *b, const struct ckpt_thread *t)
{
	struct {
		uint8_t leave[CKPT_STUB_LEAVE];
		struct ckpt_stub_data data;
	} end;

	memcpy(end.leave, ckpt_stub_leave, sizeof(end.leave));
	if (t->regs.cs != USER_CS64)
		end.leave[1] = CKPT_STUB_FAR;
	fill_data(b, t, &end.data);
	return batch_write_code(b, t->tid, stub_at(b, ckpt_stub_leave), &end, sizeof(end));
}

static int suspend(struct ckpt_thread *t, struct err *e)
{
	struct ckpt_dispatch off = { 0 };
	int r = 0;

	if (trace(GET_DISPATCH, t->tid, sizeof(t->dispatch), &t->dispatch) < 0)
		t->dispatch.mode = 0; /* before Linux 6.4 it cannot be seen */
	if (t->dispatch.mode)
		r = trace(SET_DISPATCH, t->tid, sizeof(off), &off);
	if (r == 0 && t->seccomp)
		r = trace(PTRACE_SETOPTIONS, t->tid, 0,
			  (void *)(uintptr_t)(PTRACE_O_TRACESYSGOOD | O_SUSPEND_SECCOMP));
	return r < 0 ? err_code(e, r, "suspend the seccomp filters of thread %d", (int)t->tid) : 0;
}

int batch_unsuspend(struct ckpt_thread *t)
{
	int r = 0;

	if (t->seccomp)
		r = trace(PTRACE_SETOPTIONS, t->tid, 0, (void *)(uintptr_t)PTRACE_O_TRACESYSGOOD);
	if (r == 0 && t->dispatch.mode)
		r = trace(SET_DISPATCH, t->tid, sizeof(t->dispatch), &t->dispatch);
	return r;
}

/* The registers that run the stub at `label`. */
struct user_regs_struct batch_regs(const struct ckpt_batch *b, const struct ckpt_thread *t,
					 const uint8_t *label)
{
	struct user_regs_struct r = t->regs;

	r.rip = stub_at(b, label);
	r.cs = USER_CS64;
	r.orig_rax = UINT64_MAX; /* or the kernel would restart the interrupted call here */
	r.eflags &= ~(uint64_t)FLAG_DF;
	return r;
}

int ckpt_thread_enter(struct ckpt_batch *b, struct ckpt_thread *t, pid_t tid, const char *status, struct err *e)
{
	struct user_regs_struct regs;
	cleanup_free char *own = NULL;
	char path[64];
	uint64_t blocked;
	int r;

	*t = (struct ckpt_thread){ .tid = tid };
	snprintf(path, sizeof(path), "/proc/%d/status", (int)tid);
	r = status ? 0 : fd_read_file_at(AT_FDCWD, path, 65536, &own, NULL);
	if (r < 0)
		return err_code(e, r, "read %s", path);
	status = status ? status : own;
	r = ckpt_trace_get_regs(tid, &t->regs);
	if (r == 0)
		r = ckpt_trace_get_mask(tid, &blocked);
	if (r < 0)
		return err_code(e, r, "read the registers of thread %d", (int)tid);
	t->seccomp = status_hex(status, "Seccomp") != 0;
	t->ns_tid = status_ns(status, "NSpid");
	t->ns_tgid = status_ns(status, "NStgid");
	t->ignored = status_hex(status, "SigIgn");
	t->caught = status_hex(status, "SigCgt");
	t->notify = batch_notify(t, blocked);
	r = batch_abort_rseq(t, b->pid);
	if (r == 0)
		r = batch_write_data(b, t);
	if (r < 0)
		return err_code(e, r, "prepare thread %d", (int)tid);
	r = suspend(t, e);
	if (r < 0)
		return r;
	/* From here on an engine's death is made good by the stub. */
	regs = batch_regs(b, t, ckpt_stub_restore);
	r = ckpt_trace_set_regs(tid, &regs);
	if (r < 0) {
		batch_unsuspend(t);
		return err_code(e, r, "set the registers of thread %d", (int)tid);
	}
	t->entered = true;
	return 0;
}
