/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef CHECKPOINT_ASK_H
#define CHECKPOINT_ASK_H

#include "checkpoint/batch.h"

/*
 * A list of calls that several modules put questions into, run once for all of them: each stop of a thread costs
 * more than all that it is asked. The scratch memory is CKPT_ASK_SCRATCH bytes.
 */
#define CKPT_ASK_SCRATCH 131072

struct ckpt_asking {
	struct ckpt_call call[CKPT_BATCH_MAX];
	size_t count;
	uint64_t base;     /* of the answers, in the task */
	size_t size;       /* of them so far */
	uint8_t answers[16384];
};

void ckpt_ask_init(struct ckpt_asking *q, const struct ckpt_batch *b);
/* Its index in `call`, where what it returned is afterwards. */
size_t ckpt_ask(struct ckpt_asking *q, uint64_t nr, uint64_t a, uint64_t b, uint64_t c, uint64_t d);
/* Room for an answer in the task's memory, all zero; its address there. */
uint64_t ckpt_ask_room(struct ckpt_asking *q, size_t size);
/* What is there after the finish. */
const void *ckpt_ask_answer(const struct ckpt_asking *q, uint64_t room);

/* As ckpt_batch_start() and ckpt_batch_finish(). */
int ckpt_ask_start(struct ckpt_asking *q, struct ckpt_batch *b, struct ckpt_thread *t, struct err *e);
int ckpt_ask_finish(struct ckpt_asking *q, struct ckpt_batch *b, struct ckpt_thread *t, struct err *e);

#endif
