/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "checkpoint/timeouts.h"

#include "base/array.h"
#include "base/fd.h"
#include "base/macro.h"
#include "base/proc.h"
#include "checkpoint/internal.h"

#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>

#define FIELD_PROCESSOR 39 /* proc(5) */
#define MANY 65536u        /* as freeze_list.c */
#define CLOSE_US 200       /* that two clocks were read at once: else we did not run in between */

/* Small files of /proc/TID; what is longer is cut. */
static bool read_text(pid_t tid, const char *name, char *buf, size_t size)
{
	cleanup_close int fd = ckpt_proc_open(tid, name);
	ssize_t n = fd < 0 ? -1 : read(fd, buf, size - 1);

	buf[n > 0 ? n : 0] = '\0';
	return n > 0;
}

/* The time-out, in register 10, is an int: none when it is negative. */
static bool has_timeout(uint64_t nr, uint64_t r10)
{
	return (nr == SYS_epoll_wait || nr == SYS_epoll_pwait) && (int32_t)r10 > 1;
}

static bool read_call(pid_t tid, uint64_t ret_args[4])
{
	unsigned long long nr, a[4];
	char text[256];

	if (!read_text(tid, "syscall", text, sizeof(text)) ||
	    sscanf(text, "%llu %llx %llx %llx %llx", &nr, &a[0], &a[1], &a[2], &a[3]) != 5)
		return false; /* "running" */
	for (size_t i = 0; i < ARRAY_SIZE(a); i++)
		ret_args[i] = a[i];
	return has_timeout(nr, a[3]);
}

/* "key   :   36640296.782930", the digits before the point and six behind it; all of them when there is none. */
static bool read_number(const char *text, const char *key, uint64_t *ret_whole, uint64_t *ret_rest)
{
	unsigned long long whole, rest = 0;
	const char *p = strstr(text, key);

	p = p ? strchr(p, ':') : NULL;
	if (!p || sscanf(p + 1, "%llu.%6llu", &whole, &rest) < 1)
		return false;
	*ret_whole = whole;
	*ret_rest = rest;
	return true;
}

/* When it last ran, in ns, and how often it went to sleep of its own accord. */
static bool read_sched(pid_t tid, uint64_t *ret_ran, uint64_t *ret_sleeps)
{
	uint64_t ms, ns, none;
	char text[4096];

	if (!read_text(tid, "sched", text, sizeof(text)) || !read_number(text, "se.exec_start", &ms, &ns) ||
	    !read_number(text, "nr_voluntary_switches", ret_sleeps, &none))
		return false;
	*ret_ran = ms * 1000000 + ns;
	return true;
}

static bool look_at(pid_t tid, struct ckpt_timeout *t)
{
	uint64_t field[53], ran, sleeps;

	*t = (struct ckpt_timeout){ .tid = tid };
	if (!read_call(tid, t->args) || !read_sched(tid, &t->slept_at, &t->sleeps) || ckpt_stat_read(tid, field) < 0)
		return false;
	t->cpu = (unsigned)field[FIELD_PROCESSOR];
	/* The same sleep from end to end. */
	return read_call(tid, t->args) && read_sched(tid, &ran, &sleeps) && ran == t->slept_at && sleeps == t->sleeps;
}

static int add(struct ckpt_timeouts *t, const struct ckpt_timeout *one)
{
	if (t->count == MANY || array_grow(&t->list, t->count, &t->room, 16) < 0)
		return -ENOMEM;
	t->list[t->count++] = *one;
	return 0;
}

/* Now, by the clock of the processor that we are on, and by CLOCK_MONOTONIC: the second is not before the first. */
static bool read_now(uint64_t *ret_ns, uint64_t *ret_us)
{
	pid_t self = (pid_t)syscall(SYS_gettid);
	uint64_t sleeps, before;

	for (unsigned tries = 0; tries < 5; tries++) {
		before = now_monotonic_us();
		sched_yield(); /* brings its own up to date */
		if (!read_sched(self, ret_ns, &sleeps))
			return false;
		*ret_us = now_monotonic_us() + 1;
		if (*ret_us - before < CLOSE_US)
			break;
	}
	return true;
}

/* Clocks of processors differ by what the hypervisor took from each, and are told to who runs there. */
static bool now_on(unsigned cpu, uint64_t *ret_ns, uint64_t *ret_us)
{
	cpu_set_t one;

	CPU_ZERO(&one);
	CPU_SET(cpu, &one);
	return cpu < CPU_SETSIZE && sched_setaffinity(0, sizeof(one), &one) == 0 && read_now(ret_ns, ret_us);
}

static void find_begins(struct ckpt_timeout *list, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		uint64_t now_ns, now_us;

		if (list[i].begin_us || !now_on(list[i].cpu, &now_ns, &now_us))
			continue;
		for (size_t k = i; k < count; k++)
			if (list[k].cpu == list[i].cpu && list[k].slept_at <= now_ns)
				list[k].begin_us = now_us - (now_ns - list[k].slept_at) / 1000;
	}
}

void ckpt_timeouts_look(struct ckpt_timeouts *t, const pid_t *tids, size_t count)
{
	size_t first = t->count;
	cpu_set_t before;

	for (size_t i = 0; i < count; i++) {
		struct ckpt_timeout one;

		if (look_at(tids[i], &one) && add(t, &one) < 0)
			break;
	}
	if (t->count == first || sched_getaffinity(0, sizeof(before), &before) < 0)
		return;
	find_begins(t->list + first, t->count - first);
	sched_setaffinity(0, sizeof(before), &before);
}

static const struct ckpt_timeout *find(const struct ckpt_timeouts *t, pid_t tid)
{
	for (size_t i = 0; i < t->count; i++)
		if (t->list[i].tid == tid)
			return &t->list[i];
	return NULL;
}

void ckpt_timeouts_left(const struct ckpt_timeouts *t, pid_t tid, unsigned stops, struct user_regs_struct *regs)
{
	const struct ckpt_timeout *one = has_timeout(regs->orig_rax, regs->r10) ? find(t, tid) : NULL;
	uint64_t ran, sleeps, left_us, over_us, now = now_monotonic_us();

	if (!one || !one->begin_us || now < one->begin_us || regs->rdi != one->args[0] || regs->rsi != one->args[1] ||
	    regs->rdx != one->args[2] || regs->r10 != one->args[3] || !read_sched(tid, &ran, &sleeps) ||
	    sleeps > one->sleeps + stops || !ckpt_forgets_r10(tid, regs->rip))
		return;
	left_us = (uint64_t)(int32_t)regs->r10 * 1000;
	over_us = now - one->begin_us;
	left_us = left_us > over_us ? left_us - over_us : 1;
	regs->r10 = (left_us + 999) / 1000;
}

void ckpt_timeouts_done(struct ckpt_timeouts *t)
{
	free(t->list);
	*t = (struct ckpt_timeouts){ 0 };
}
