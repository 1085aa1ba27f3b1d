/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "checkpoint/waits.h"

#include "base/macro.h"
#include "checkpoint/image.pb-c.h"
#include "checkpoint/kernel.h"
#include "checkpoint/restore_internal.h"

#include <errno.h>
#include <linux/futex.h>
#include <sys/syscall.h>
#include <sys/user.h>
#include <time.h>

#define RESTART_BLOCK (-516) /* ERESTART_RESTARTBLOCK */
#define SECOND 1000000000ull

static uint64_t now(clockid_t clock)
{
	struct timespec ts = { 0, 0 };

	clock_gettime(clock, &ts);
	return (uint64_t)ts.tv_sec * SECOND + (uint64_t)ts.tv_nsec;
}

static bool is_relative_futex(uint64_t op)
{
	return (op & ~(uint64_t)(FUTEX_PRIVATE_FLAG | FUTEX_CLOCK_REALTIME)) == FUTEX_WAIT;
}

static int read_block(struct ckpt_kernel *kn, uint64_t task, const char *what, unsigned size, uint64_t *ret)
{
	struct err ignored;
	uint64_t block;
	int r = ckpt_kernel_place(kn, task, "task_struct", "restart_block", &block, &ignored);

	return r < 0 ? r : ckpt_kernel_member(kn, block, "restart_block", what, size, ret, &ignored);
}

/* When the call ends, by a clock of the host's. False: it is none of those that go on. */
static bool read_end(struct ckpt_kernel *kn, uint64_t task, const struct user_regs_struct *regs, uint64_t *ret_end,
		     clockid_t *ret_clock)
{
	uint64_t clock = CLOCK_MONOTONIC, sec, ns, has;

	*ret_clock = CLOCK_MONOTONIC;
	switch (regs->orig_rax) {
	case SYS_nanosleep:
	case SYS_clock_nanosleep:
		if (read_block(kn, task, "nanosleep.clockid", 4, &clock) < 0 ||
		    read_block(kn, task, "nanosleep.expires", 8, ret_end) < 0)
			return false;
		*ret_clock = (clockid_t)clock;
		return clock == CLOCK_MONOTONIC || clock == CLOCK_BOOTTIME;
	case SYS_poll:
		if (read_block(kn, task, "poll.has_timeout", 4, &has) < 0 ||
		    read_block(kn, task, "poll.tv_sec", 8, &sec) < 0 || read_block(kn, task, "poll.tv_nsec", 8, &ns) < 0)
			return false;
		*ret_end = sec * SECOND + ns;
		return has;
	case SYS_futex:
		return is_relative_futex(regs->rsi) && read_block(kn, task, "futex.time", 8, ret_end) == 0;
	default:
		return false;
	}
}

static bool find_end(struct ckpt_kernel *kn, pid_t tid, const struct user_regs_struct *regs, uint64_t *ret_end,
		     clockid_t *ret_clock)
{
	cleanup_close int proc = ckpt_proc_open(tid, "stat");
	struct err ignored;
	uint64_t task;

	return proc >= 0 && ckpt_kernel_task(kn, proc, &task, &ignored) == 0 &&
	       read_end(kn, task, regs, ret_end, ret_clock);
}

/* Of our own task it is asked as it will be of others: where things are is known from then on. */
void ckpt_waits_look_ahead(struct ckpt_dump *d)
{
	static const unsigned long calls[] = { SYS_nanosleep, SYS_poll, SYS_futex };
	struct err ignored;
	uint64_t end;
	clockid_t clock;

	if (ckpt_kernel_open(&d->kernel, &ignored) < 0)
		return;
	for (size_t i = 0; i < ARRAY_SIZE(calls); i++) {
		struct user_regs_struct regs = { .orig_rax = calls[i], .rsi = FUTEX_WAIT };

		find_end(d->kernel, getpid(), &regs, &end, &clock);
	}
}

void ckpt_wait_collect(struct ckpt_dump *d, pid_t tid, Ckpt__Thread *t)
{
	struct user_regs_struct regs;
	uint64_t end, at;
	clockid_t clock;

	memcpy(&regs, t->regs.data, sizeof(regs));
	if ((int64_t)regs.rax != RESTART_BLOCK || !d->kernel || !find_end(d->kernel, tid, &regs, &end, &clock))
		return;
	at = now(clock);
	t->wait_ns = end > at ? end - at : 1;
}

/* The call, with a time that is at `time` in the task's memory, or in milliseconds. */
static bool build(const struct user_regs_struct *r, uint64_t left, uint64_t time, struct ckpt_call *ret)
{
	uint64_t ms = (left + 999999) / 1000000;

	switch (r->orig_rax) {
	case SYS_nanosleep:
		*ret = (struct ckpt_call){ SYS_nanosleep, { time, r->rsi }, 0 };
		return true;
	case SYS_clock_nanosleep:
		*ret = (struct ckpt_call){ SYS_clock_nanosleep, { r->rdi, 0, time, r->r10 }, 0 };
		return true;
	case SYS_poll:
		*ret = (struct ckpt_call){ SYS_poll, { r->rdi, r->rsi, ms < INT32_MAX ? ms : INT32_MAX }, 0 };
		return true;
	case SYS_futex:
		*ret = (struct ckpt_call){ SYS_futex, { r->rdi, r->rsi, r->rdx, time }, 0 };
		return is_relative_futex(r->rsi);
	default:
		return false;
	}
}

/* Where the time of its thread i lies; 0: there are too many. */
static uint64_t place_of(const struct list *l, size_t i)
{
	return i < RESTORE_ROOM / sizeof(struct timespec) ? l->room_at + i * sizeof(struct timespec) : 0;
}

static int go_on(struct restoring *p, size_t i, const struct list *l, struct err *e)
{
	const Ckpt__Thread *t = p->task->threads[i];
	struct timespec ts = { (time_t)(t->wait_ns / SECOND), (long)(t->wait_ns % SECOND) };
	uint64_t at = place_of(l, i);
	struct user_regs_struct regs;
	struct ckpt_call c;
	int n;

	memcpy(&regs, t->regs.data, sizeof(regs));
	if (!at || (int64_t)regs.rax != RESTART_BLOCK || !build(&regs, t->wait_ns, at, &c))
		return 0;
	n = ckpt_mem_write(p->batch.pid, at, &ts, sizeof(ts));
	return n < 0 ? err_code(e, n, "write into process %u", t->pid) : ckpt_thread_doze(&p->batch, &p->threads[i], &c, e);
}

int restore_waits(struct restore *r, struct restoring *p, struct list *l, struct err *e)
{
	int n = 0;

	list_init(l, r);
	for (size_t i = 0; n == 0 && i < p->task->thread_count; i++)
		if (p->task->threads[i]->wait_ns)
			n = go_on(p, i, l, e);
	return n;
}

int restore_waits_enter(struct restore *r, struct restoring *p, struct list *l, struct err *e)
{
	int n = 0;

	(void)r;
	(void)l;
	for (size_t i = 0; n == 0 && i < p->task->thread_count; i++)
		n = ckpt_thread_doze_enter(&p->threads[i], e);
	return n;
}

int restore_waits_finish(struct restore *r, struct restoring *p, struct list *l, struct err *e)
{
	int n = 0;

	(void)r;
	(void)l;
	for (size_t i = 0; n == 0 && i < p->task->thread_count; i++)
		n = ckpt_thread_doze_finish(&p->threads[i], e);
	return n;
}
