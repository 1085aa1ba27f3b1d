/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "checkpoint/continued.h"

#include "base/macro.h"
#include "checkpoint/image.pb-c.h"
#include "checkpoint/internal.h"

#include <errno.h>
#include <signal.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>

/* As it is (WNOWAIT), of whatever kind of child. */
#define HOW ((uint64_t)(WCONTINUED | WNOHANG | WNOWAIT | __WALL))
#define AT_ONCE 128

uint64_t ckpt_continued_ask(struct ckpt_asking *q)
{
	uint64_t room = ckpt_ask_room(q, sizeof(siginfo_t));

	ckpt_ask(q, SYS_waitid, P_ALL, 0, room, HOW);
	return room;
}

bool ckpt_continued_take(const struct ckpt_asking *q, uint64_t room)
{
	siginfo_t si;

	memcpy(&si, ckpt_ask_answer(q, room), sizeof(si));
	return si.si_pid != 0;
}

/* The number of a child as its parent, perhaps in a nested pid namespace, sees it. */
static uint32_t number_for(const struct ckpt_task *parent, const struct ckpt_task *child)
{
	size_t depth = parent->threads[0]->n_numbers;

	if (depth == 0)
		return child->process->pid;
	return depth <= child->threads[0]->n_numbers ? child->threads[0]->numbers[depth - 1] : 0;
}

struct asking {
	struct ckpt_batch *b;
	struct ckpt_thread *th;
	struct ckpt_call calls[AT_ONCE];
	Ckpt__ProcessMore *child[AT_ONCE];
	size_t count;
};

static int ask(struct asking *q, struct err *e)
{
	siginfo_t si[AT_ONCE];
	uint64_t room = q->b->scratch + CKPT_BATCH_LIST;
	int r = 0;

	if (q->count == 0)
		return 0;
	memset(si, 0, sizeof(si));
	if (ckpt_mem_write(q->b->pid, room, si, q->count * sizeof(si[0])) < 0)
		return err_code(e, -EFAULT, "write into process %d", (int)q->b->pid);
	r = ckpt_batch_run(q->b, q->th, q->calls, q->count, e);
	if (r == 0 && ckpt_mem_read(q->b->pid, room, si, q->count * sizeof(si[0])) < 0)
		r = err_code(e, -EFAULT, "read from process %d", (int)q->b->pid);
	for (size_t i = 0; r == 0 && i < q->count; i++)
		q->child[i]->continued = q->calls[i].ret == 0 && si[i].si_pid;
	q->count = 0;
	return r;
}

static int ask_all(struct ckpt_dump *d, const struct ckpt_task *k, struct asking *q, struct err *e)
{
	uint64_t room = q->b->scratch + CKPT_BATCH_LIST;
	int r = 0;

	for (size_t i = 0; r == 0 && i < d->tree.task_count; i++) {
		const struct ckpt_task *child = &d->tree.tasks[i];

		if (child->process->ppid != k->process->pid || child->process->stop_signal)
			continue;
		q->calls[q->count] = (struct ckpt_call){
			SYS_waitid, { P_PID, number_for(k, child), room + q->count * sizeof(siginfo_t), HOW }, 0
		};
		q->child[q->count++] = child->process->more;
		if (q->count == AT_ONCE)
			r = ask(q, e);
	}
	return r == 0 ? ask(q, e) : r;
}

static int collect(struct ckpt_dump *d, const struct ckpt_task *k, struct err *e)
{
	cleanup_free struct asking *q = calloc(1, sizeof(*q));
	struct ckpt_batch b;
	struct ckpt_thread th;
	struct err ignored;
	int left, r = q ? ckpt_batch_open(&b, k->pid, k->tids, k->thread_count, e) : err_code(e, -ENOMEM, "collect");

	if (r < 0)
		return r;
	q->b = &b;
	q->th = &th;
	r = ckpt_thread_enter(&b, &th, k->tids[0], NULL, e);
	if (r == 0) {
		r = ckpt_batch_map(&b, &th, CKPT_BATCH_LIST + AT_ONCE * sizeof(siginfo_t), e);
		if (r == 0)
			r = ask_all(d, k, q, e);
		left = ckpt_batch_unmap(&b, &th, r < 0 ? &ignored : e);
		r = r < 0 ? r : left;
		left = ckpt_thread_leave(&b, &th, r < 0 ? &ignored : e);
		r = r < 0 ? r : left;
	}
	ckpt_batch_close(&b);
	return r;
}

int ckpt_continued_collect(struct ckpt_dump *d, struct err *e)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < d->tree.task_count; i++)
		if (d->tree.tasks[i].has_continued)
			r = collect(d, &d->tree.tasks[i], e);
	return r;
}

/* The signal itself is dropped: what it has done, it does when it is sent. */
int restore_continued(pid_t tid)
{
	struct ckpt_stop s = { 0 };
	int n = kill(tid, SIGCONT) < 0 ? -errno : ckpt_trace_interrupt(tid);

	if (n == 0)
		n = ckpt_trace_resume(PTRACE_CONT, tid, 0);
	if (n == 0)
		n = ckpt_trace_wait(tid, &s);
	while (n == 0 && s.kind == CKPT_STOP_SIGNAL) {
		n = ckpt_trace_interrupt(tid);
		if (n == 0)
			n = ckpt_trace_resume(PTRACE_CONT, tid, 0);
		if (n == 0)
			n = ckpt_trace_wait(tid, &s);
	}
	return n == 0 && (s.kind != CKPT_STOP_EVENT || s.sig != SIGTRAP) ? -EPROTO : n;
}
