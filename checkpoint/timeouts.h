/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef CHECKPOINT_TIMEOUTS_H
#define CHECKPOINT_TIMEOUTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/user.h>

/*
 * epoll_wait(2) and epoll_pwait(2) with a time-out, which a stop interrupts. The kernel forgets how much of it was over, and
 * the call is issued again: with what is left, as an event loop's own timers are such time-outs.
 *
 * When a call began is not told. What is told of a thread that sleeps is when it last ran (se.exec_start in
 * /proc/TID/sched, by the clock of its processor), which is when it went to sleep in that call, or later; and how often
 * it has gone to sleep, by which a thread that waits anew between that look and its stop is known. So a time-out is never
 * shortened by too much; where something is not told (kernels before 6.15 without CONFIG_SCHED_DEBUG), it begins anew.
 *
 * The time-out is in register 10, which the kernel leaves as it is, and a program might look at again: it is changed only
 * where the program's next instructions show that it does not.
 */
struct ckpt_timeout {
	pid_t tid;
	uint64_t args[4];
	uint64_t sleeps;   /* how often it had gone to sleep */
	unsigned cpu;
	uint64_t slept_at; /* by that processor's clock, ns */
	uint64_t begin_us; /* of CLOCK_MONOTONIC, the latest that it can be; 0: not known */
};

struct ckpt_timeouts {
	struct ckpt_timeout *list;
	size_t count, room;
};

/* Of threads that run: those that wait so are added to `t`. The caller is moved from processor to processor and back. */
void ckpt_timeouts_look(struct ckpt_timeouts *t, const pid_t *tids, size_t count);
/* Of one that is stopped, and has gone to sleep `stops` times for that: the time-out in its registers becomes what is left. */
void ckpt_timeouts_left(const struct ckpt_timeouts *t, pid_t tid, unsigned stops, struct user_regs_struct *regs);
void ckpt_timeouts_done(struct ckpt_timeouts *t);

/* Whether the program of a stopped process does not look at register 10 as it was, from this instruction on, before it
 * gives it another value, calls something or returns: which by the calling convention ends its life. False where that
 * cannot be told. (forgets.c) */
bool ckpt_forgets_r10(pid_t pid, uint64_t rip);
/* The same of code that was read, which stands at address 0. */
bool ckpt_code_forgets_r10(const uint8_t *code, size_t len);

#endif
