/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef CHECKPOINT_TIMERS_H
#define CHECKPOINT_TIMERS_H

#include "checkpoint/internal.h"

/*
 * Timers of timer_create(2), with their numbers, and those of setitimer(2). They go on where they stood; one
 * that was set to a time of day too, as the kernel does not tell which were.
 */
struct list;
struct restore;
struct restoring;

/* In the stopped leader, whose list may run. All threads' numbers are known to the caller's tree later. */
int ckpt_timers_collect(struct ckpt_dump *d, struct ckpt_task *k, struct ckpt_batch *b,
			struct ckpt_thread *th, struct err *e);
/* The threads that timers signal, as the VPS numbers them. */
int ckpt_timers_resolve(struct ckpt_task *k, struct err *e);
int ckpt_timers_check(const struct ckpt_task *k, struct err *e);

/* When all threads are there and take no signals yet. */
int restore_timers(struct restore *r, struct restoring *p, struct list *l, struct err *e);

#endif
