/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef CHECKPOINT_TRACE_H
#define CHECKPOINT_TRACE_H

#include "base/err.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/user.h>

/*
 * ptrace(2) of one thread, always by PTRACE_SEIZE: no signal is sent, and PTRACE_O_EXITKILL is
 * never set on a task that is being saved, so a dead engine leaves it running. ptrace is bound to
 * the calling thread of the engine, not to its process.
 */

enum ckpt_stop_kind {
	CKPT_STOP_EVENT,   /* PTRACE_EVENT_STOP: interrupted, or a group stop (sig tells which) */
	CKPT_STOP_SIGNAL,  /* a signal is about to be delivered */
	CKPT_STOP_SYSCALL, /* entry or exit of a call, under PTRACE_SYSCALL */
	CKPT_STOP_OTHER,   /* another PTRACE_EVENT_*, in `event` */
	CKPT_STOP_GONE,    /* the thread has ended */
};

struct ckpt_stop {
	enum ckpt_stop_kind kind;
	int sig;
	int event;
	int status; /* CKPT_STOP_GONE: exit status or signal */
};

/* Leaves: negative errno values. */
int ckpt_trace_seize(pid_t tid, unsigned options);
int ckpt_trace_interrupt(pid_t tid);
int ckpt_trace_resume(int request, pid_t tid, int sig);
int ckpt_trace_detach(pid_t tid);
int ckpt_trace_get_regs(pid_t tid, struct user_regs_struct *ret);
int ckpt_trace_set_regs(pid_t tid, const struct user_regs_struct *regs);
int ckpt_trace_get_mask(pid_t tid, uint64_t *ret);
int ckpt_trace_set_mask(pid_t tid, uint64_t mask);

/* Waits for the next stop (or end) of this thread, which must have been resumed since the last. A
 * thread that has ended stays a zombie. */
int ckpt_trace_wait(pid_t tid, struct ckpt_stop *ret);
/* As ckpt_trace_wait(), but -EAGAIN when there is none yet. */
int ckpt_trace_look(pid_t tid, struct ckpt_stop *ret);

/*
 * Waits until an interrupted thread stands in PTRACE_EVENT_STOP. Signals that come first are
 * delivered: their frame is set up, and the stop is at the first instruction of the handler.
 * -ESRCH when the thread has ended. `ret` may be NULL.
 */
int ckpt_trace_wait_event(pid_t tid, struct ckpt_stop *ret);
/* Likewise, but -ETIMEDOUT when it has not within the limit: a thread that waits for its child in vfork(2) hears of nothing
 * but its own end. */
struct wait_limit;
int ckpt_trace_wait_event_until(pid_t tid, struct wait_limit *limit, struct ckpt_stop *ret);

/*
 * Takes the end of a thread that has been killed: it stays a zombie until its tracer has seen it, and
 * the last thread of a pid namespace's first process waits for all others. A process that is the
 * caller's own child stays to be waited for. False when it has not ended yet.
 */
bool ckpt_trace_reap(pid_t tid);
/* Until all have ended, in whatever order; empties the array. */
void ckpt_trace_reap_all(pid_t *tids, size_t n);

#endif
