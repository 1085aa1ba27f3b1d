/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef CHECKPOINT_BATCH_INTERNAL_H
#define CHECKPOINT_BATCH_INTERNAL_H

#include "checkpoint/batch.h"
#include "checkpoint/stub.h"

#define FLAG_DF 0x400u
#define FLAG_OF 0x800u

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
/* To where a thread can be let go, or get other registers; a negative errno value. (batch.c) */
int batch_leave_stop(struct ckpt_thread *t);

#endif
