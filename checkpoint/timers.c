/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "checkpoint/timers.h"

#include "base/fd.h"
#include "base/macro.h"
#include "checkpoint/image.pb-c.h"
#include "checkpoint/lookout.h"
#include "checkpoint/restore_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>

#define TIMERS_MAX 8192
#define RESTORE_IDS 77 /* PR_TIMER_CREATE_RESTORE_IDS, Linux 6.15 */
#define COUNTED_MAX 20000 /* numbers that are counted up to without it */

/* As the kernel's struct sigevent begins. */
struct event {
	uint64_t value;
	int32_t signal, notify, tid, pad[11];
};

/* One timer of /proc/PID/timers (proc(5)). */
static int parse(char *const line[4], Ckpt__PosixTimer *t)
{
	unsigned id, signal;
	unsigned long value;
	char how[16], whom[8];
	int pid, clock;

	if (sscanf(line[0], "ID: %u", &id) != 1 ||
	    sscanf(line[1], "signal: %u/%lx", &signal, &value) != 2 ||
	    sscanf(line[2], "notify: %15[^/]/%7[^.].%d", how, whom, &pid) != 3 ||
	    sscanf(line[3], "ClockID: %d", &clock) != 1)
		return -EPROTO;
	t->id = id;
	t->signal = signal;
	t->value = value;
	t->clock = clock;
	t->notify = STREQ(how, "none")	 ? SIGEV_NONE :
		    STREQ(how, "thread") ? SIGEV_THREAD :
					   SIGEV_SIGNAL;
	if (STREQ(whom, "tid")) {
		t->notify |= SIGEV_THREAD_ID;
		t->tid = (uint32_t)pid; /* the host's; translated when all threads are known */
	}
	return 0;
}

static int add(struct ckpt_dump *d, struct ckpt_task *k, char *const line[4], struct err *e)
{
	Ckpt__ProcessMore *m = k->process->more;
	Ckpt__PosixTimer *t = ckpt_alloc(&d->tree.arena, sizeof(*t));

	if (!t)
		return err_code(e, -ENOMEM, "collect timers");
	ckpt__posix_timer__init(t);
	if (m->n_timers == TIMERS_MAX)
		return err_set(e, ERR_UNSUPPORTED, "process %d has more than %d timers",
			       (int)k->pid, TIMERS_MAX);
	if (parse(line, t) < 0)
		return err_set(e, ERR_FAIL, "/proc/%d/timers is not understood", (int)k->pid);
	return ckpt_push(&d->tree.arena, &m->timers, &m->n_timers, t) < 0 ?
		       err_code(e, -ENOMEM, "collect timers") :
		       0;
}

static int by_number(const void *a, const void *b)
{
	uint32_t x = (*(Ckpt__PosixTimer *const *)a)->id, y = (*(Ckpt__PosixTimer *const *)b)->id;

	return (x > y) - (x < y);
}

static int list_timers(struct ckpt_dump *d, struct ckpt_task *k, struct err *e)
{
	cleanup_free char *copy = NULL;
	char *line[4], *save = NULL;
	const char *text;
	size_t n = 0, len;
	int r = ckpt_look(d, k->pid, CKPT_LOOK_TIMERS, &text, &len);

	if (r < 0)
		return err_code(e, r, "read /proc/%d/timers", (int)k->pid);
	copy = strdup(text);
	if (!copy)
		return err_code(e, -ENOMEM, "collect timers");
	for (char *l = strtok_r(copy, "\n", &save); r == 0 && l; l = strtok_r(NULL, "\n", &save)) {
		line[n++] = l;
		if (n < 4)
			continue;
		n = 0;
		r = add(d, k, line, e);
	}
	if (k->process->more->n_timers)
		qsort(k->process->more->timers, k->process->more->n_timers,
		      sizeof(Ckpt__PosixTimer *), by_number);
	return r;
}

int ckpt_timers_collect(struct ckpt_dump *d, struct ckpt_task *k, struct ckpt_batch *b,
			struct ckpt_thread *th, struct err *e)
{
	const Ckpt__ProcessMore *m = k->process->more;
	uint64_t room = b->scratch + CKPT_BATCH_LIST;
	struct ckpt_call calls[256];
	struct itimerspec now[ARRAY_SIZE(calls) / 2];
	int r = list_timers(d, k, e);

	for (size_t at = 0, n; r == 0 && at < m->n_timers; at += n) {
		n = m->n_timers - at < ARRAY_SIZE(now) ? m->n_timers - at : ARRAY_SIZE(now);
		for (size_t i = 0; i < n; i++) {
			uint64_t id = m->timers[at + i]->id;

			calls[2 * i] = (struct ckpt_call){ SYS_timer_gettime, { id, room + i * sizeof(now[0]) }, 0 };
			calls[2 * i + 1] = (struct ckpt_call){ SYS_timer_getoverrun, { id }, 0 };
		}
		r = ckpt_batch_run(b, th, calls, 2 * n, e);
		if (r == 0 && ckpt_mem_read(b->pid, room, now, n * sizeof(now[0])) < 0)
			r = err_code(e, -EFAULT, "read from process %d", (int)b->pid);
		for (size_t i = 0; r == 0 && i < n; i++) {
			Ckpt__PosixTimer *t = m->timers[at + i];

			t->left_ns = (uint64_t)now[i].it_value.tv_sec * 1000000000 +
				     (uint64_t)now[i].it_value.tv_nsec;
			t->interval_ns = (uint64_t)now[i].it_interval.tv_sec * 1000000000 +
					 (uint64_t)now[i].it_interval.tv_nsec;
			t->overrun = calls[2 * i + 1].ret > 0 ? (uint32_t)calls[2 * i + 1].ret : 0;
		}
	}
	return r;
}

int ckpt_timers_resolve(struct ckpt_task *k, struct err *e)
{
	const Ckpt__ProcessMore *m = k->process->more;

	for (size_t i = 0; i < m->n_timers; i++) {
		Ckpt__PosixTimer *t = m->timers[i];
		size_t n = 0;

		if (!(t->notify & SIGEV_THREAD_ID))
			continue;
		while (n < k->thread_count && k->tids[n] != (pid_t)t->tid)
			n++;
		if (n == k->thread_count)
			return err_set(e, ERR_UNSUPPORTED,
				       "timer %u of process %d is for a thread that has ended",
				       t->id, (int)k->pid);
		t->tid = k->threads[n]->tid;
	}
	return 0;
}

int ckpt_timers_check(const struct ckpt_task *k, struct err *e)
{
	const Ckpt__ProcessMore *m = k->process->more;
	bool ok = m->n_timers <= TIMERS_MAX;

	for (size_t i = 0; ok && i < m->n_timers; i++)
		ok = m->timers[i]->signal <= 64 && m->timers[i]->id <= INT32_MAX && m->timers[i]->pending <= 1 &&
		     m->timers[i]->overrun <= INT32_MAX && m->timers[i]->left_ns <= INT64_MAX &&
		     m->timers[i]->interval_ns <= INT64_MAX &&
		     (i == 0 || m->timers[i]->id > m->timers[i - 1]->id);
	return ok ? 0 :
		    err_set(e, ERR_FAIL, "the image is damaged: timers of process %u",
			    k->process->pid);
}

static int run(struct restoring *p, struct list *l, struct err *e)
{
	return list_run(l, &p->batch, &p->threads[0], e);
}

/* timer_create(2) where the number is asked for in the place that it is put in. */
static uint64_t create(struct list *l, const Ckpt__PosixTimer *t, uint32_t id)
{
	struct event ev = {
		t->value, (int32_t)t->signal, (int32_t)t->notify, (int32_t)t->tid, { 0 }
	};
	uint64_t at = list_put(l, &id, sizeof(id));

	list_call(l, "make a timer", SYS_timer_create, (uint64_t)(int64_t)t->clock,
		  list_put(l, &ev, sizeof(ev)), at, 0, 0, 0);
	return at;
}

static void start(struct list *l, const Ckpt__PosixTimer *t)
{
	struct itimerspec v = {
		{ (time_t)(t->interval_ns / 1000000000), (long)(t->interval_ns % 1000000000) },
		{ (time_t)(t->left_ns / 1000000000), (long)(t->left_ns % 1000000000) },
	};

	if (t->left_ns && t->pending != CKPT_TIMER_RINGS)
		list_call(l, "start a timer", SYS_timer_settime, t->id, 0,
			  list_put(l, &v, sizeof(v)), 0, 0, 0);
}

/* Before Linux 6.15: numbers only rise, one by one in a process that has had none; those between are
 * made and deleted again. */
static int count_up(struct restoring *p, struct list *l, uint32_t *next, const Ckpt__PosixTimer *t,
		    struct err *e)
{
	const Ckpt__PosixTimer any = { .clock = CLOCK_MONOTONIC, .notify = SIGEV_NONE };
	int n = 0;

	if (t->id > COUNTED_MAX)
		return err_set(e, ERR_UNSUPPORTED,
			       "timer %u has a number that this kernel cannot give", t->id);
	for (; n == 0 && *next < t->id; ++*next) {
		if (!list_fits(l, 2, 256))
			n = run(p, l, e);
		create(l, &any, *next);
		list_call(l, NULL, SYS_timer_delete, *next, 0, 0, 0, 0, 0);
	}
	*next = t->id + 1;
	return n;
}

static void set_itimers(const Ckpt__Process *k, struct list *l)
{
	for (size_t i = 0; i < k->n_itimers; i++) {
		const Ckpt__Itimer *t = k->itimers[i];
		struct itimerval v = {
			{ (time_t)(t->interval_us / 1000000),
			  (suseconds_t)(t->interval_us % 1000000) },
			{ (time_t)(t->value_us / 1000000), (suseconds_t)(t->value_us % 1000000) },
		};

		/* One whose signal has not been taken yet begins again when that is, and shows no time until then. */
		if (i == ITIMER_REAL && !t->value_us && t->interval_us)
			v.it_value.tv_usec = 1;
		if (v.it_value.tv_sec || v.it_value.tv_usec)
			list_call(l, "set a timer", SYS_setitimer, i, list_put(l, &v, sizeof(v)), 0,
				  0, 0, 0);
	}
}

/* A thread's number as it is in its own pid namespace. */
static uint32_t own_number(const struct restoring *p, uint32_t tid)
{
	for (size_t i = 0; i < p->task->thread_count; i++)
		if (p->task->threads[i]->tid == tid)
			return (uint32_t)p->threads[i].ns_tid;
	return 0;
}

/* Numbers are asked for, or come in order. */
static int make_timers(struct restore *r, struct restoring *p, struct list *l, struct err *e)
{
	const Ckpt__ProcessMore *m = p->task->process->more;
	uint32_t next = 0, got;
	int n;
	bool asked;

	list_init(l, r);
	list_call(l, NULL, SYS_prctl, RESTORE_IDS, 1, 0, 0, 0, 0);
	n = ckpt_batch_run(&p->batch, &p->threads[0], l->calls, 1, e);
	asked = n == 0 && l->calls[0].ret == 0;
	list_init(l, r);
	for (size_t i = 0; n == 0 && i < m->n_timers; i++) {
		const Ckpt__PosixTimer *t = m->timers[i];
		Ckpt__PosixTimer own = *t;
		uint64_t at;

		own.tid = own_number(p, t->tid);
		if (!asked)
			n = count_up(p, l, &next, t, e);
		if (n == 0 && !list_fits(l, 1, 256))
			n = run(p, l, e);
		at = create(l, &own, t->id);
		if (i + 1 < m->n_timers)
			continue;
		/* They come in order: the last has its number when all have. */
		n = n == 0 ? run(p, l, e) : n;
		if (n == 0 &&
		    (ckpt_mem_read(p->batch.pid, at, &got, sizeof(got)) < 0 || got != t->id))
			n = err_set(e, ERR_FAIL, "a timer got another number than %u", t->id);
	}
	if (n == 0 && asked)
		list_call(l, NULL, SYS_prctl, RESTORE_IDS, m->timer_ids ? 1 : 0, 0, 0, 0, 0);
	return n == 0 ? run(p, l, e) : n;
}

int restore_timers_make(struct restore *r, struct restoring *p, struct list *l, struct err *e)
{
	const Ckpt__ProcessMore *m = p->task->process->more;
	int n = m->n_timers || m->timer_ids ? make_timers(r, p, l, e) : 0;

	return n == 0 && m->n_timers ? restore_timers_ring(r, p, l, e) : n;
}

int restore_timers(struct restore *r, struct restoring *p, struct list *l, struct err *e)
{
	const Ckpt__ProcessMore *m = p->task->process->more;
	int n = 0;

	list_init(l, r);
	set_itimers(p->task->process, l);
	for (size_t i = 0; n == 0 && i < m->n_timers; i++) {
		if (!list_fits(l, 1, 256))
			n = run(p, l, e);
		start(l, m->timers[i]);
	}
	return n == 0 ? run(p, l, e) : n;
}
