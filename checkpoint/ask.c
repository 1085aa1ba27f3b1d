/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "checkpoint/ask.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

void ckpt_ask_init(struct ckpt_asking *q, const struct ckpt_batch *b)
{
	q->count = 0;
	q->base = b->scratch + CKPT_BATCH_LIST;
	q->size = 0;
}

size_t ckpt_ask(struct ckpt_asking *q, uint64_t nr, uint64_t a, uint64_t b, uint64_t c, uint64_t d)
{
	assert(q->count < CKPT_BATCH_MAX);
	q->call[q->count] = (struct ckpt_call){ nr, { a, b, c, d }, 0 };
	return q->count++;
}

uint64_t ckpt_ask_room(struct ckpt_asking *q, size_t size)
{
	size_t at = q->size;

	size = (size + 7) & ~(size_t)7;
	assert(q->size + size <= sizeof(q->answers));
	memset(q->answers + at, 0, size);
	q->size += size;
	return q->base + at;
}

const void *ckpt_ask_answer(const struct ckpt_asking *q, uint64_t room)
{
	return q->answers + (room - q->base);
}

int ckpt_ask_start(struct ckpt_asking *q, struct ckpt_batch *b, struct ckpt_thread *t, struct err *e)
{
	/* Another thread's answers may be there. */
	int r = b->fresh ? 0 : ckpt_mem_write(b->pid, q->base, q->answers, q->size);

	return r < 0 ? err_code(e, r, "write into process %d", (int)b->pid) :
		       ckpt_batch_start(b, t, q->call, q->count, e);
}

int ckpt_ask_finish(struct ckpt_asking *q, struct ckpt_batch *b, struct ckpt_thread *t, struct err *e)
{
	return ckpt_batch_finish_with(b, t, q->call, q->count, q->base, q->answers, q->size, e);
}
