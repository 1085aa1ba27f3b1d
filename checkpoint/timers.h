/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef CHECKPOINT_TIMERS_H
#define CHECKPOINT_TIMERS_H

#include "checkpoint/internal.h"

#include <signal.h>
#include <stdbool.h>

/*
 * Timers of timer_create(2), with their numbers, and those of setitimer(2). They go on where they stood; one that
 * was set to a time of day too, as the kernel does not tell which were.
 *
 * The signal of one that rings again and again is sent once, and until it is taken the kernel counts how often it
 * has rung since (si_overrun, timer_getoverrun(2)). The count is read from the kernel's memory (kernel.h), and
 * comes about again by setting the timer to a time that has passed. Not of timers that go by the time of a
 * processor; without the kernel's memory it begins anew. Rings during the stop count.
 */
enum { CKPT_TIMER_RINGS = 2 /* PosixTimer.pending, while it is restored: its signal is there, it need not be sent */ };

struct list;
struct restore;
struct restoring;

/* In the stopped leader, whose list may run. All threads' numbers are known to the caller's tree later. */
int ckpt_timers_collect(struct ckpt_dump *d, struct ckpt_task *k, struct ckpt_batch *b,
			struct ckpt_thread *th, struct err *e);
/* The threads that timers signal, as the VPS numbers them. */
int ckpt_timers_resolve(struct ckpt_task *k, struct err *e);
/* When all that is pending is known. (timers_rung.c) */
int ckpt_timers_rung(struct ckpt_dump *d, struct ckpt_task *k, struct err *e);
int ckpt_timers_check(const struct ckpt_task *k, struct err *e);

/* When all threads are there and take no signals yet: makes them, and has those ring whose signals are pending or
 * whose last one counted; what is pending is sent after that, but for the signals of which restore_timer_rings()
 * says that they are there. (The second: timers_rung.c) */
int restore_timers_make(struct restore *r, struct restoring *p, struct list *l, struct err *e);
int restore_timers_ring(struct restore *r, struct restoring *p, struct list *l, struct err *e);
bool restore_timer_rings(const struct restoring *p, uint32_t tid, const siginfo_t *si);
/* All others are started. */
int restore_timers(struct restore *r, struct restoring *p, struct list *l, struct err *e);

#endif
