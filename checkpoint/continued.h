/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef CHECKPOINT_CONTINUED_H
#define CHECKPOINT_CONTINUED_H

#include "checkpoint/ask.h"

#include <stdbool.h>

/*
 * Processes that have been stopped and told to go on (SIGCONT), of which their parents have not heard yet: wait(2) with
 * WCONTINUED tells of them, once. The kernel forgets that when they are stopped again, or have been waited for.
 */
struct ckpt_dump;
struct ckpt_task;

/* The question to a parent, whether there is any: where the answer will be; and what it says. */
uint64_t ckpt_continued_ask(struct ckpt_asking *q);
bool ckpt_continued_take(const struct ckpt_asking *q, uint64_t room);
/* Which of its children: for all parents that have such, when all processes are related. */
int ckpt_continued_collect(struct ckpt_dump *d, struct err *e);

/* Has a stopped task that is being restored go on: it is stopped for us afterwards, as before. */
int restore_continued(pid_t tid);

#endif
