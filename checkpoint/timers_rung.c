/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Timers that have rung: how often, and that again. */
#include "base/fd.h"
#include "base/macro.h"
#include "checkpoint/image.pb-c.h"
#include "checkpoint/kernel.h"
#include "checkpoint/restore_internal.h"
#include "checkpoint/timers.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>

#define LISTED_MAX 16384 /* timers of a process that are looked at */
#define TAKE_NS 200000000 /* it rings at once, when a processor has time for that */

/* Whose time goes on by itself. */
static bool is_of_time(int clock)
{
	return clock == CLOCK_REALTIME || clock == CLOCK_MONOTONIC || clock == CLOCK_BOOTTIME || clock == CLOCK_TAI ||
	       clock == CLOCK_REALTIME_ALARM || clock == CLOCK_BOOTTIME_ALARM;
}

/* `tid`: whose signal it is, 0: the process's. Whoever may send himself signals may send any that looks like one. */
static Ckpt__PosixTimer *timer_of(const struct ckpt_task *k, uint32_t tid, const siginfo_t *si)
{
	const Ckpt__ProcessMore *m = k->process->more;

	for (size_t i = 0; si->si_code == SI_TIMER && i < m->n_timers; i++) {
		Ckpt__PosixTimer *t = m->timers[i];

		if (t->id == (uint32_t)si->si_timerid && t->signal == (uint32_t)si->si_signo && t->interval_ns && t->left_ns &&
		    !(t->notify & (SIGEV_NONE | SIGEV_THREAD)) && is_of_time(t->clock) &&
		    tid == (t->notify & SIGEV_THREAD_ID ? t->tid : 0))
			return t;
	}
	return NULL;
}

/* Whether its signal is pending, and how often it has rung since, as timer_gettime(2) has counted. */
static int read_count(struct ckpt_kernel *kn, uint64_t timer, Ckpt__PosixTimer *t, struct err *e)
{
	/* Since Linux 6.13 in words: POSIX_TIMER_REQUEUE_PENDING; a bit of a count before. */
	bool has_status = ckpt_kernel_has(kn, "k_itimer", "it_status");
	uint64_t count, state;
	int r = ckpt_kernel_member(kn, timer, "k_itimer", "it_overrun", 8, &count, e);

	if (r == 0)
		r = ckpt_kernel_member(kn, timer, "k_itimer", has_status ? "it_status" : "it_requeue_pending", 4, &state, e);
	if (r < 0)
		return r;
	t->pending = (has_status ? state == 2 : state & 1) && (int64_t)count >= 0;
	if (t->pending)
		t->overrun = count > INT32_MAX ? INT32_MAX : (uint32_t)count;
	return 0;
}

/* All of a process, once: lists of either sort begin with where the next one is. */
static int read_counts(struct ckpt_kernel *kn, uint64_t task, const struct ckpt_task *k, const bool *wanted,
		       struct err *e)
{
	const Ckpt__ProcessMore *m = k->process->more;
	uint64_t signal, head, node, offset, id;
	int r = ckpt_kernel_member(kn, task, "task_struct", "signal", 8, &signal, e);

	if (r == 0)
		r = ckpt_kernel_place(kn, signal, "signal_struct", "posix_timers", &head, e);
	if (r == 0)
		r = ckpt_kernel_place(kn, 0, "k_itimer", "list", &offset, e);
	if (r == 0)
		r = ckpt_kernel_read(kn, head, &node, e);
	for (size_t i = 0; r == 0 && node && node != head && i < LISTED_MAX; i++) {
		r = ckpt_kernel_member(kn, node - offset, "k_itimer", "it_id", 4, &id, e);
		for (size_t n = 0; r == 0 && n < m->n_timers; n++)
			if (wanted[n] && m->timers[n]->id == id)
				r = read_count(kn, node - offset, m->timers[n], e);
		if (r == 0)
			r = ckpt_kernel_read(kn, node, &node, e);
	}
	return r;
}

/* Those of whom there is a signal. */
static bool look_for(const struct ckpt_task *k, bool *wanted)
{
	bool any = false;

	for (size_t i = 0; i < k->pending_count; i++)
		for (size_t n = 0; n < k->pending[i]->n_info; n++) {
			const Ckpt__PosixTimer *t;
			siginfo_t si;

			memcpy(&si, k->pending[i]->info[n].data, sizeof(si));
			t = timer_of(k, k->pending[i]->tid, &si);
			for (size_t at = 0; t && at < k->process->more->n_timers; at++)
				any |= wanted[at] |= k->process->more->timers[at] == t;
		}
	return any;
}

int ckpt_timers_rung(struct ckpt_dump *d, struct ckpt_task *k, struct err *e)
{
	size_t count = k->process->more->n_timers;
	cleanup_free bool *wanted = count ? calloc(count, sizeof(*wanted)) : NULL;
	cleanup_close int proc = -EBADF;
	struct err ignored;
	uint64_t task;

	if (count && !wanted)
		return err_code(e, -ENOMEM, "collect timers");
	if (!count || !look_for(k, wanted) || (!d->kernel && ckpt_kernel_open(&d->kernel, &ignored) < 0))
		return 0;
	proc = ckpt_proc_open(k->pid, "stat");
	if (proc >= 0 && ckpt_kernel_task(d->kernel, proc, &task, &ignored) == 0)
		read_counts(d->kernel, task, k, wanted, &ignored);
	return 0;
}

bool restore_timer_rings(const struct restoring *p, uint32_t tid, const siginfo_t *si)
{
	const Ckpt__PosixTimer *t = timer_of(p->task, tid, si);

	return t && t->pending == CKPT_TIMER_RINGS;
}

static bool is_pending(const struct ckpt_task *k, uint32_t signal)
{
	siginfo_t si;

	for (size_t i = 0; i < k->pending_count; i++)
		for (size_t n = 0; n < k->pending[i]->n_info; n++)
			if (k->pending[i]->info[n].len == sizeof(si)) {
				memcpy(&si, k->pending[i]->info[n].data, sizeof(si));
				if (si.si_signo == (int)signal)
					return true;
			}
	return false;
}

static uint64_t ns(const struct timespec *t)
{
	return (uint64_t)t->tv_sec * 1000000000 + (uint64_t)t->tv_nsec;
}

/* By the clock of the VPS. A time before the host's boot would be that of its boot: then it has rung less often. Whole
 * intervals before the next ring, 0: none is to be had. */
static uint64_t intervals(const Ckpt__PosixTimer *t, uint64_t now)
{
	struct timespec here = { 0 };
	uint64_t most;

	clock_gettime(t->clock, &here);
	most = ((now < ns(&here) ? now : ns(&here)) + t->left_ns) / t->interval_ns;
	return t->overrun + 1ull < most ? t->overrun + 1ull : most;
}

static int ring(struct restore *r, struct restoring *p, struct list *l, Ckpt__PosixTimer *t, struct err *e)
{
	static const struct timespec while_ = { 0, TAKE_NS };
	struct timespec now;
	struct itimerspec v = { { (time_t)(t->interval_ns / 1000000000), (long)(t->interval_ns % 1000000000) }, { 0, 0 } };
	uint64_t at, count, signals = 1ull << (t->signal - 1);
	size_t who = 0;
	int n;

	list_init(l, r);
	at = list_put(l, &now, sizeof(now));
	list_call(l, "ask for the time", SYS_clock_gettime, (uint64_t)(int64_t)t->clock, at, 0, 0, 0, 0);
	n = list_run(l, &p->batch, &p->threads[0], e);
	if (n == 0 && ckpt_mem_read(p->batch.pid, at, &now, sizeof(now)) < 0)
		n = err_code(e, -EFAULT, "read from process %u", p->task->process->pid);
	count = n == 0 ? intervals(t, ns(&now)) : 0;
	if (!count)
		return n;
	at = ns(&now) + t->left_ns - count * t->interval_ns;
	v.it_value = (struct timespec){ (time_t)(at / 1000000000), (long)(at % 1000000000) + !at };
	for (size_t i = 0; t->notify & SIGEV_THREAD_ID && i < p->task->thread_count; i++)
		if (p->task->threads[i]->tid == t->tid)
			who = i;
	list_init(l, r);
	list_call(l, "start a timer", SYS_timer_settime, t->id, TIMER_ABSTIME, list_put(l, &v, sizeof(v)), 0, 0, 0);
	if (!t->pending)
		list_call(l, NULL, SYS_rt_sigtimedwait, list_put(l, &signals, sizeof(signals)), 0,
			  list_put(l, &while_, sizeof(while_)), sizeof(signals), 0, 0);
	t->pending = CKPT_TIMER_RINGS;
	return list_run(l, &p->batch, &p->threads[who], e);
}

int restore_timers_ring(struct restore *r, struct restoring *p, struct list *l, struct err *e)
{
	const Ckpt__ProcessMore *m = p->task->process->more;
	int n = 0;

	for (size_t i = 0; n == 0 && i < m->n_timers; i++) {
		Ckpt__PosixTimer *t = m->timers[i];

		if (!t->interval_ns || !t->left_ns || t->left_ns > t->interval_ns || !t->signal || t->signal == SIGKILL ||
		    t->signal == SIGSTOP || t->notify & (SIGEV_NONE | SIGEV_THREAD) || !is_of_time(t->clock))
			continue;
		if (t->pending || (t->overrun && !is_pending(p->task, t->signal)))
			n = ring(r, p, l, t, e);
	}
	return n;
}
