/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef CHECKPOINT_ATTRIBUTES_H
#define CHECKPOINT_ATTRIBUTES_H

#include "checkpoint/ask.h"
#include "checkpoint/internal.h"

/*
 * The small things that a thread or a process is: scheduling, I/O priority, timer slack, what it may see of
 * the processor, how it is to be killed. A restore sets what a task may set for itself, so that an image
 * gives nothing that the local limits do not.
 */
struct list;
struct restoring;

/* From outside, of a thread that is entered; the leader stands for its process too. */
int ckpt_attributes_collect(struct ckpt_dump *d, struct ckpt_task *k, const struct ckpt_thread *th, Ckpt__Thread *t,
			    bool leader, struct err *e);
/* What only it can tell: before its list, and after that and the above. `leads` is its process, or NULL when it is
 * another thread. */
struct ckpt_attribute_places {
	uint64_t tsc;
	size_t first;
};
void ckpt_attributes_ask(struct ckpt_asking *q, struct ckpt_attribute_places *at);
void ckpt_attributes_take(const struct ckpt_asking *q, const struct ckpt_attribute_places *at, const Ckpt__Thread *t,
			  struct ckpt_task *leads);
int ckpt_attributes_check(const struct ckpt_task *k, const Ckpt__Thread *t, struct err *e);

/* Before a thread takes its identity; the last of all for the process's; what is set from outside. */
void restore_attributes(const Ckpt__Thread *t, struct list *l);
void restore_attributes_late(const struct ckpt_task *k, struct list *l);
int restore_attributes_outside(const struct restoring *p, struct err *e);
/* Calls that go to the thread instead of the kernel (PR_SET_SYSCALL_USER_DISPATCH): when it runs no more
 * lists. */
int restore_dispatch(pid_t tid, const Ckpt__Thread *t);

#endif
