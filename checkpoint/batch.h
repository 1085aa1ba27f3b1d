/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef CHECKPOINT_BATCH_H
#define CHECKPOINT_BATCH_H

#include "base/err.h"
#include "checkpoint/trace.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/*
 * Runs lists of system calls in a stopped task, in place of a parasite: what a task can only do
 * for itself (map, protect, close, prctl), it does between two stops, and nothing of its state but
 * the effect of the calls is changed.
 *
 * If the engine dies at any moment (SIGKILL included) the task runs the rest of the list, goes back
 * to its own registers and runs on; an interrupted system call is issued again. Not
 * covered: a task with seccomp filters, which apply again as soon as the engine is gone, when they
 * kill at a call of the list; a system call user dispatch, which stays off; a call that is not
 * restarted after a signal handler (pause(2), sigsuspend(2)), when a signal arrives in the same
 * microseconds.
 *
 * x86 with 64 bits only, where programs may have 32: these run the list as 64-bit code, and go back. One thread at a time may be entered at each place of an address space.
 */
#define CKPT_COMPAT (1ull << 32) /* in `nr` of a call that is not in a list: a 32-bit one */
struct ckpt_call {
	uint64_t nr;
	uint64_t args[6];
	int64_t ret; /* negative errno value or result */
};

/* A place in one address space where lists run. */
struct ckpt_batch {
	int mem;           /* /proc/PID/mem; negative: it is opened for each write */
	pid_t pid;
	uint64_t tail;     /* the unused end of the vdso */
	size_t tail_size;
	uint64_t code;     /* where the stub is in it */
	bool compat;       /* the vdso is that of 32-bit programs */
	bool used;         /* where another stub was: there was no free place */
	uint32_t turn;
	uint64_t scratch;  /* 0: none mapped */
	size_t size;
	bool fresh;        /* nothing but zeros is in it yet */
};

/* Syscall user dispatch, as PTRACE_GET_SYSCALL_USER_DISPATCH_CONFIG has it (Linux 6.4). */
struct ckpt_dispatch {
	uint64_t mode, selector, offset, len;
};

/* One thread, stopped in PTRACE_EVENT_STOP, with PTRACE_O_TRACESYSGOOD set. */
struct ckpt_thread {
	pid_t tid;
	pid_t ns_tid, ns_tgid;    /* as the thread sees itself */
	int notify;               /* a signal that ends a list; 0: by PTRACE_SYSCALL */
	bool seccomp;
	bool entered;
	bool dozes;               /* ckpt_thread_doze() */
	bool in_call;             /* stopped at a system call, not where calls are restarted */
	bool in_signal;           /* stopped by the signal that ended a list */
	bool running;             /* in the stub: started, not waited for */
	bool fast;                /* until that signal, not from call to call */
	uint64_t call_end;        /* behind the call that matters */
	uint64_t ignored, caught; /* signals */
	/* The thread's own. A signal that arrives meanwhile is delivered and changes them: they stand
	 * at the first instruction of its handler then. */
	struct user_regs_struct regs;
	struct ckpt_dispatch dispatch;
	/* Where the host's ids of tasks that its calls make are put; NULL: nowhere. */
	pid_t *born;
	size_t born_count, born_max;
	/* NULL, or called with what each call of a list but the last has returned, while the task stands
	 * behind it. A negative value ends the list with it (the rest is not run). */
	int (*between)(void *arg, int64_t ret);
	void *between_arg;
};

/*
 * Puts the stub into the address space of `pid`, all of whose threads (`tids`) are stopped by us in
 * PTRACE_EVENT_STOP. Those that another engine, dead by now, has left in its stub finish it first,
 * so that afterwards all registers are the task's own. ERR_UNSUPPORTED when it has no vdso, or another
 * than ours, or no room in it.
 */
int ckpt_batch_open(struct ckpt_batch *b, pid_t pid, const pid_t *tids, size_t n, struct err *e);
/* The same where the vdso has been seen to end; 0: nowhere yet. It is looked for when it is not there. */
int ckpt_batch_open_at(struct ckpt_batch *b, pid_t pid, uint64_t vdso_end, const pid_t *tids, size_t n, struct err *e);
/* A second place in the same address space. 1: there is no room for it. */
int ckpt_batch_open_beside(struct ckpt_batch *b, const struct ckpt_batch *first, struct err *e);
/* Takes the stub out again. The scratch memory must be unmapped. */
void ckpt_batch_close(struct ckpt_batch *b);

/* Saves registers and prepares. `status` is the text of /proc/TID/status, read since it was stopped, or NULL.
 */
int ckpt_thread_enter(struct ckpt_batch *b, struct ckpt_thread *t, pid_t tid, const char *status, struct err *e);
/* Registers and seccomp as they were; the thread is stopped, to be let go by ckpt_unfreeze() or a detach. Also after
 * errors, and between a start and its finish. */
int ckpt_thread_leave(struct ckpt_batch *b, struct ckpt_thread *t, struct err *e);

/* Scratch memory in the task, for the list and what its arguments point to. Before ckpt_batch_run().
 * Its first CKPT_BATCH_LIST bytes are the list's. It serves all threads of the process. */
#define CKPT_BATCH_LIST 32768
int ckpt_batch_map(struct ckpt_batch *b, struct ckpt_thread *t, size_t size, struct err *e);
int ckpt_batch_unmap(struct ckpt_batch *b, struct ckpt_thread *t, struct err *e);

/* Runs up to CKPT_BATCH_MAX calls and fills in what they returned. A call that fails does not end
 * the list. -ESRCH: the thread was killed. */
#define CKPT_BATCH_MAX (CKPT_BATCH_LIST / sizeof(struct ckpt_call))
int ckpt_batch_run(struct ckpt_batch *b, struct ckpt_thread *t, struct ckpt_call *calls, size_t n,
		   struct err *e);

/* The same in two parts: a stop takes tens of microseconds, in which other things can be done. Between the two
 * nothing of the thread can be looked at by ptrace(2). */
int ckpt_batch_start(struct ckpt_batch *b, struct ckpt_thread *t, const struct ckpt_call *calls, size_t n,
		     struct err *e);
int ckpt_batch_finish(struct ckpt_batch *b, struct ckpt_thread *t, struct ckpt_call *calls, size_t n, struct err *e);
/* And reads `len` bytes of the task's memory, at `addr`, with what the calls returned. */
int ckpt_batch_finish_with(struct ckpt_batch *b, struct ckpt_thread *t, struct ckpt_call *calls, size_t n, uint64_t addr,
			   void *buf, size_t len, struct err *e);
int ckpt_batch_map_start(struct ckpt_batch *b, struct ckpt_thread *t, size_t size, struct err *e);
int ckpt_batch_map_finish(struct ckpt_batch *b, struct ckpt_thread *t, struct err *e);
int ckpt_batch_unmap_start(struct ckpt_batch *b, struct ckpt_thread *t, struct err *e);
int ckpt_batch_unmap_finish(struct ckpt_batch *b, struct ckpt_thread *t, struct err *e);

/*
 * Of an adopted thread that has no signals to fear: it begins a call and is interrupted in it at once. When that is one
 * that the kernel would go on with (ERESTART_RESTARTBLOCK) t->dozes is true, and a thread with that result among its
 * registers goes on with it, whatever it was made to call meanwhile; else the call has ended. In three parts, so that
 * many do it beside each other; the last two are for those that have begun, and do nothing to others.
 */
int ckpt_thread_doze(struct ckpt_batch *b, struct ckpt_thread *t, const struct ckpt_call *c, struct err *e);
int ckpt_thread_doze_enter(struct ckpt_thread *t, struct err *e);
int ckpt_thread_doze_finish(struct ckpt_thread *t, struct err *e);

/* One call without scratch memory. What it returned is *ret. Also in two parts. */
int ckpt_batch_one(struct ckpt_batch *b, struct ckpt_thread *t, const struct ckpt_call *c,
		   int64_t *ret, struct err *e);
int ckpt_batch_one_start(struct ckpt_batch *b, struct ckpt_thread *t, const struct ckpt_call *c, struct err *e);
int ckpt_batch_one_finish(struct ckpt_batch *b, struct ckpt_thread *t, int64_t *ret, struct err *e);

/*
 * For a restore, whose address spaces are emptied, the vdso included: the stub is moved to `code`,
 * memory of ours that may be executed and is kept until the end.
 */
int ckpt_batch_move(struct ckpt_batch *b, uint64_t code, uint64_t scratch, size_t size, struct err *e);
/* The same place in another address space that is a copy of the first. It holds nothing: thousands may be at once. */
void ckpt_batch_copy(struct ckpt_batch *b, const struct ckpt_batch *from, pid_t pid);
/* A task that was born in the stub: nothing of it is worth keeping. */
int ckpt_thread_adopt(struct ckpt_thread *t, pid_t tid, pid_t ns_tgid, pid_t ns_tid, struct err *e);
/* Goes over to the end of the vdso, which ends there and may be that of 32-bit programs. */
int ckpt_batch_to_vdso(struct ckpt_batch *b, uint64_t vdso_end, bool compat, struct err *e);
/* Stopped where an interrupted call is restarted, ready for other registers. */
int ckpt_thread_settle(struct ckpt_thread *t, struct err *e);

/* Our own vdso, from which those of all tasks of this kernel are copied: XXH3-128 of it. -ENOENT. */
int ckpt_vdso_digest(uint8_t ret[16]);

/* Copies to and from the task's memory. -EFAULT when not all of it is there. */
int ckpt_mem_read(pid_t pid, uint64_t addr, void *buf, size_t len);
int ckpt_mem_write(pid_t pid, uint64_t addr, const void *buf, size_t len);

#endif
