/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef CHECKPOINT_BATCH_INTERNAL_H
#define CHECKPOINT_BATCH_INTERNAL_H

#include "checkpoint/batch.h"
#include "checkpoint/stub.h"

#define USER_CS64 0x33u
#define FLAG_DF 0x400u
#define FLAG_OF 0x800u

/* What the kernel leaves in rax of an interrupted call; not in user space's headers. */
enum { ERESTARTSYS = 512, ERESTARTNOINTR = 513, ERESTARTNOHAND = 514, ERESTART_RESTARTBLOCK = 516 };

/* Where in a task's memory a label of the stub is. */
static inline uint64_t stub_at(const struct ckpt_batch *b, const uint8_t *label)
{
	return b->code + (uint64_t)(label - ckpt_stub_start);
}

static inline size_t stub_size(void)
{
	return (size_t)(ckpt_stub_stop - ckpt_stub_start);
}

static inline size_t stub_data_offset(void)
{
	return (size_t)(ckpt_stub_data - ckpt_stub_start);
}

/* Writes into the vdso; a negative errno value. (batch_place.c) */
int batch_write_code(const struct ckpt_batch *b, pid_t tid, uint64_t addr, const void *buf, size_t len);
/*
 * A thread that another engine, dead by now, has left in its stub finishes it, and stands behind it with its own
 * registers. A negative errno value. (batch_settle.c)
 */
int batch_settle(const struct ckpt_batch *b, pid_t tid);
/* A signal that the thread would not notice, 0; to its restartable sequence's abort handler, if it is in one; the call
 * that the kernel would issue again if no signal handler ran, or -1. (batch_enter.c) */
int batch_notify(const struct ckpt_thread *t, uint64_t blocked);
int batch_abort_rseq(struct ckpt_thread *t, pid_t pid);
int64_t batch_restart_number(pid_t pid, const struct user_regs_struct *r);
/* What the stub goes back to; filters and dispatch as they were; the registers that run the stub at `label`.
 * (batch_enter.c) */
int batch_write_data(const struct ckpt_batch *b, const struct ckpt_thread *t);
int batch_unsuspend(struct ckpt_thread *t);
struct user_regs_struct batch_regs(const struct ckpt_batch *b, const struct ckpt_thread *t, const uint8_t *label);
/* Those that make one call without a list. (batch.c) */
struct user_regs_struct batch_call_regs(const struct ckpt_batch *b, const struct ckpt_thread *t,
					const struct ckpt_call *c);
/* To where a thread can be let go, or get other registers; a negative errno value. (batch.c) */
int batch_leave_stop(struct ckpt_thread *t);

#endif
