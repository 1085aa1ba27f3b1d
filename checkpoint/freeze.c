/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "checkpoint/freeze_internal.h"

#include "base/fd.h"
#include "base/macro.h"
#include "base/proc.h"
#include "base/step.h"
#include "checkpoint/compat.h"
#include "checkpoint/internal.h"
#include "checkpoint/times.h"
#include "checkpoint/trace.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <time.h>

#define FREEZE_TIMEOUT_US 10000000
#define VFORK_TIMEOUT_US 2000000
#define STOP_TIMEOUT_US 5000000
#define LET_GO_TIMEOUT_US 1000000
#define AWAY_US 20000 /* between two looks at most, where nobody stands still */

static bool has(const struct ckpt_process *p, pid_t tid)
{
	for (size_t i = 0; i < p->count; i++)
		if (p->tids[i] == tid)
			return true;
	return false;
}

/* A thread of the kernel's that does what an io_uring was asked for (PF_IO_WORKER, PF_USER_WORKER): it runs no list, must
 * go on so that requests end, and comes and goes as it is needed. Its name says nothing, as the process may change it. */
static bool is_worker(pid_t tid)
{
	uint64_t field[53] = { 0 };

	return ckpt_stat_read(tid, field) == 0 && (field[9] & 0x4010);
}

/* Why it cannot be traced: a first thread is a zombie, others and whom nobody waits for are dead for a moment ('X') and
 * gone. Another thread is a zombie only for somebody else who traces it. */
static bool has_ended(const struct ckpt_process *p, pid_t tid)
{
	char state = proc_state(tid);

	return state == 'X' || (state == 'Z' && tid == p->pid);
}

static int seize(struct ckpt_process *p, pid_t tid, struct err *e)
{
	pid_t *tids;
	int r = ckpt_trace_seize(tid, PTRACE_O_TRACESYSGOOD);

	if (r == 0)
		r = ckpt_trace_interrupt(tid);
	if (r == -ESRCH)
		return 0; /* it has ended meanwhile */
	if (r == -EPERM && has_ended(p, tid))
		return 0;
	if (r == -EPERM) {
		err_set(e, ERR_STATE, "thread %d of process %d is traced", (int)tid, (int)p->pid);
		return err_hint(e, "a debugger or strace in the VPS must let go of it first");
	}
	if (r < 0)
		return err_code(e, r, "trace thread %d of process %d", (int)tid, (int)p->pid);
	tids = reallocarray(p->tids, p->count + 1, sizeof(*tids));
	if (!tids) {
		ckpt_trace_detach(tid);
		return err_code(e, -ENOMEM, "freeze");
	}
	p->tids = tids;
	p->tids[p->count++] = tid;
	return 0;
}

static struct ckpt_process *find(struct ckpt_frozen *f, pid_t pid, struct err *e)
{
	struct ckpt_process *p;

	for (size_t i = 0; i < f->count; i++)
		if (f->procs[i].pid == pid)
			return &f->procs[i];
	p = reallocarray(f->procs, f->count + 1, sizeof(*p));
	if (!p) {
		err_code(e, -ENOMEM, "freeze");
		return NULL;
	}
	f->procs = p;
	p = &p[f->count++];
	*p = (struct ckpt_process){ .pid = pid, .leader = pid };
	return p;
}

/* The threads of one process that have not been seized. */
static int seize_threads(struct ckpt_process *p, size_t *fresh, struct err *e)
{
	struct freeze_list tids = { 0 };
	int r = freeze_list_threads(&tids, p->pid);

	if (r == -ENOENT || r == -ESRCH)
		r = 0;
	else if (r < 0)
		err_code(e, r, "list the threads of process %d", (int)p->pid);
	for (size_t k = 0; r == 0 && k < tids.count; k++) {
		size_t was = p->count;

		if (!has(p, tids.id[k]) && (tids.id[k] == p->pid || !is_worker(tids.id[k])))
			r = seize(p, tids.id[k], e);
		*fresh += p->count - was;
	}
	free(tids.id);
	return r;
}

/* Seizes what has not been seized; *fresh is how many those were. */
static int seize_all(int group, struct ckpt_frozen *f, size_t *fresh, struct err *e)
{
	struct freeze_list procs = { 0 };
	int r = freeze_list_group(&procs, group, "cgroup.procs", 0);

	*fresh = 0;
	if (r < 0)
		err_code(e, r, "list the processes of the VPS");
	for (size_t i = 0; r == 0 && i < procs.count; i++) {
		struct ckpt_process *p = find(f, procs.id[i], e);

		r = p ? seize_threads(p, fresh, e) : -ENOMEM;
	}
	free(procs.id);
	return r;
}

static int by_number(const void *a, const void *b)
{
	pid_t x = *(const pid_t *)a, y = *(const pid_t *)b;

	return (x > y) - (x < y);
}

/* Whether the group has a thread that has not been seized: the next look need not go through all processes. */
static int has_more(int group, const struct ckpt_frozen *f, struct err *e)
{
	struct freeze_list all = { 0 }, seized = { 0 };
	int r = freeze_list_group(&all, group, "cgroup.threads", 0);
	bool more = false;

	for (size_t i = 0; r == 0 && i < f->count; i++)
		for (size_t k = 0; r == 0 && k < f->procs[i].count; k++)
			r = freeze_list_add(&seized, f->procs[i].tids[k]);
	if (r == 0 && seized.count)
		qsort(seized.id, seized.count, sizeof(*seized.id), by_number);
	for (size_t i = 0; r == 0 && !more && i < all.count; i++)
		more = (!seized.count ||
			!bsearch(&all.id[i], seized.id, seized.count, sizeof(*seized.id), by_number)) &&
		       !is_worker(all.id[i]);
	free(all.id);
	free(seized.id);
	return r < 0 ? err_code(e, r, "list the threads of the VPS") : more;
}

/*
 * Calls that end with EINTR at any stop, because the kernel has no way to go on with what is left of
 * their time-out (signal(7)); of sockets when they have one (SO_RCVTIMEO). With ERESTARTNOHAND in its place the
 * kernel ends them with EINTR if a handler runs, and issues them again else: with the time that is left where that is
 * known (timeouts.h), or all of it.
 */
static int mend_interrupted(const struct ckpt_frozen *f, pid_t tid)
{
	static const int calls[] = {
		SYS_epoll_wait, SYS_epoll_pwait, SYS_epoll_pwait2, SYS_semop, SYS_semtimedop,
		SYS_rt_sigtimedwait, SYS_io_getevents, SYS_io_pgetevents,
		SYS_read, SYS_readv, SYS_recvfrom, SYS_recvmsg, SYS_recvmmsg, SYS_accept, SYS_accept4, SYS_connect,
		SYS_write, SYS_writev, SYS_sendto, SYS_sendmsg, SYS_sendmmsg, SYS_sendfile, SYS_splice,
	};
	struct user_regs_struct regs;
	int r = ckpt_trace_get_regs(tid, &regs);

	if (r == 0 && regs.cs != 0x33 && ckpt_compat_is_interrupted(&regs)) {
		regs.rax = (unsigned long long)-514;
		return ckpt_trace_set_regs(tid, &regs);
	}
	if (r < 0 || (int64_t)regs.rax != -EINTR || regs.cs != 0x33)
		return r;
	for (size_t i = 0; i < ARRAY_SIZE(calls); i++) {
		if ((int64_t)regs.orig_rax != calls[i])
			continue;
		regs.rax = (unsigned long long)-514; /* ERESTARTNOHAND */
		ckpt_timeouts_left(&f->timeouts, tid, f->stops, &regs);
		return ckpt_trace_set_regs(tid, &regs);
	}
	return 0;
}

/* The threads from `first` on; those that have ended are left out. */
static int wait_fresh(const struct ckpt_frozen *f, struct ckpt_process *p, size_t first, struct err *e)
{
	struct wait_limit limit = wait_limit(STOP_TIMEOUT_US);
	size_t live = first;

	for (size_t k = first; k < p->count; k++) {
		struct ckpt_stop stop;
		int r = ckpt_trace_wait_event_until(p->tids[k], &limit, &stop);

		if (r == 0 && stop.sig != SIGTRAP)
			p->stop_signal = stop.sig;

		if (r == 0)
			r = mend_interrupted(f, p->tids[k]);
		if (r == 0)
			p->tids[live++] = p->tids[k];
		else if (r == -ESRCH)
			ckpt_trace_reap(p->tids[k]); /* or it stays a zombie as long as we live */
		else if (r == -ETIMEDOUT)
			return err_set(e, ERR_UNSUPPORTED, "thread %d does not stop: it may wait for a child that has memory "
				       "of its own (CLONE_VFORK)", (int)p->tids[k]);
		else if (r != -ECHILD)
			return err_code(e, r, "stop thread %d", (int)p->tids[k]);
	}
	p->count = live;
	return 0;
}

static int wait_all(struct ckpt_frozen *f, struct err *e)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < f->count; i++)
		r = wait_fresh(f, &f->procs[i], 0, e);
	return r;
}

/* The first thread first; one that has ended is not among them. */
static void sort_leader(struct ckpt_process *p)
{
	for (size_t k = 1; k < p->count; k++)
		if (p->tids[k] == p->pid) {
			p->tids[k] = p->tids[0];
			p->tids[0] = p->pid;
		}
	if (p->count)
		p->pid = p->tids[0];
}

static int stop_all(int group, struct ckpt_frozen *f, struct err *e)
{
	size_t fresh = 0;
	int r = 0;

	/* Nothing in a frozen group forks; what is moved or born into it from outside meanwhile is seen
	 * by the second look. */
	do {
		r = seize_all(group, f, &fresh, e);
		if (r == 0 && fresh)
			r = has_more(group, f, e);
	} while (r > 0);
	if (r == 0)
		r = fault_point("checkpoint", "stop", e);
	if (r == 0)
		r = wait_all(f, e);
	for (size_t i = 0; r == 0 && i < f->count;) {
		sort_leader(&f->procs[i]);
		if (f->procs[i].count) {
			i++;
			continue;
		}
		free(f->procs[i].tids);
		f->procs[i] = f->procs[--f->count];
	}
	return r;
}

/* In the place of a process whose first thread has ended, which has no memory, a thread that has it. */
static int take_live(int group, struct freeze_list *procs)
{
	struct freeze_list all = { 0 };
	int r = freeze_list_group(&all, group, "cgroup.threads", 0);

	if (all.count)
		qsort(all.id, all.count, sizeof(*all.id), by_number);
	for (size_t i = 0; r == 0 && i < procs->count; i++)
		if (!all.count || !bsearch(&procs->id[i], all.id, all.count, sizeof(*all.id), by_number))
			procs->id[i] = proc_live_tid(procs->id[i]);
	free(all.id);
	return r;
}

/* Freezes the group at a moment when nobody in it is in a vfork(2), which takes microseconds as a rule. */
static int freeze_group(const struct cgroup *c, int group, struct ckpt_frozen *f, struct err *e)
{
	struct wait_limit limit = wait_limit(VFORK_TIMEOUT_US);

	for (;;) {
		struct timespec ts = { 0, 1000000 };
		struct freeze_list procs = { .iced = &f->iced };
		pid_t parent, child;
		bool found;
		int r = cgroup_freeze(c, FREEZE_TIMEOUT_US, e);

		if (r < 0)
			return r;
		r = freeze_list_group(&procs, group, "cgroup.procs", 0);
		if (r == 0)
			r = take_live(group, &procs);
		found = r == 0 && ckpt_vfork_find(procs.id, procs.count, &f->shared, &parent, &child);
		free(procs.id);
		if (r < 0)
			err_code(e, r, "list the processes of the VPS");
		else if (!found)
			return 0;
		else if (wait_limit_is_over(&limit, AWAY_US))
			r = err_set(e, ERR_UNSUPPORTED, "process %d waits for its child %d to become another "
				    "program (vfork)", (int)parent, (int)child);
		ckpt_iced_done(&f->iced);
		cgroup_thaw(c, r < 0 ? &(struct err){ 0 } : e);
		if (r < 0)
			return r;
		nanosleep(&ts, NULL);
	}
}

static void frozen_done(struct ckpt_frozen *f)
{
	for (size_t i = 0; i < f->count; i++)
		free(f->procs[i].tids);
	free(f->procs);
	ckpt_iced_done(&f->iced);
	ckpt_timeouts_done(&f->timeouts);
	*f = (struct ckpt_frozen){ 0 };
}

void ckpt_freeze_look(const struct cgroup *c, struct ckpt_frozen *f)
{
	struct freeze_list all = { 0 };
	struct err ignored;
	cleanup_close int group = cgroup_open(c, &ignored);

	if (group >= 0 && freeze_list_group(&all, group, "cgroup.threads", 0) == 0)
		ckpt_timeouts_look(&f->timeouts, all.id, all.count);
	free(all.id);
}

int ckpt_freeze(const struct cgroup *c, struct ckpt_frozen *ret, struct err *e)
{
	cleanup_close int group = -EBADF;
	struct err ignored;
	int r;

	ret->stops = 2;
	group = cgroup_open(c, e);
	r = group < 0 ? group : freeze_group(c, group, ret, e);
	ckpt_time("the group is frozen");
	if (r < 0) {
		frozen_done(ret);
		return r;
	}
	/* Interrupted while the group is frozen: a task goes from one stop into the other without running
	 * an instruction in between. */
	r = stop_all(group, ret, e);
	if (r < 0) {
		cgroup_thaw(c, &ignored); /* first: who waits for a child hears of us when that goes on */
		ckpt_unfreeze(ret);
		return r;
	}
	r = cgroup_thaw(c, e);
	if (r == 0)
		r = ckpt_iced_thaw(&ret->iced, e);
	if (r < 0)
		ckpt_unfreeze(ret);
	return r;
}

/* While it may make threads: until a look shows none that is new, with all others stopped. */
int ckpt_freeze_one(pid_t pid, struct ckpt_frozen *ret, struct err *e)
{
	struct freeze_list tids = { 0 };
	struct ckpt_process *p;
	size_t fresh;
	int r;

	*ret = (struct ckpt_frozen){ .stops = 1 };
	p = find(ret, pid, e);
	if (!p)
		return -ENOMEM;
	if (freeze_list_threads(&tids, pid) == 0)
		ckpt_timeouts_look(&ret->timeouts, tids.id, tids.count);
	free(tids.id);
	do {
		fresh = 0;
		r = seize_threads(p, &fresh, e);
		if (r == 0 && fresh)
			r = wait_fresh(ret, p, p->count - fresh, e);
	} while (r == 0 && fresh);
	if (r < 0)
		ckpt_unfreeze(ret);
	else
		sort_leader(p);
	return r;
}

bool ckpt_is_frozen(const struct ckpt_frozen *f, pid_t pid, size_t *at)
{
	for (size_t n = 0; n < f->count; n++) {
		size_t i = (*at + n) % f->count;

		if (f->procs[i].leader == pid) {
			*at = i;
			return true;
		}
	}
	return false;
}

/* True when it runs again, or has ended. */
static bool let_go(const struct ckpt_frozen *f, pid_t tid)
{
	struct ckpt_stop s;
	int r = ckpt_trace_look(tid, &s);

	if (r == -EAGAIN)
		return false; /* not stopped yet, as an error came first; or killed, and not at its end */
	if (r < 0 || s.kind == CKPT_STOP_GONE) {
		ckpt_trace_reap(tid);
		return true;
	}
	if (s.kind != CKPT_STOP_EVENT) {
		r = ckpt_trace_resume(PTRACE_CONT, tid, s.kind == CKPT_STOP_SIGNAL ? s.sig : 0);
		return r < 0 && r != -ESRCH;
	}
	mend_interrupted(f, tid);
	return ckpt_trace_detach(tid) != -ESRCH; /* or it was killed since: its end is seen the next time */
}

/* Nobody is waited for while others are not let go: the end of a pid namespace's process 1 comes when we have seen that
 * of all others in it. */
void ckpt_unfreeze(struct ckpt_frozen *f)
{
	struct wait_limit limit = wait_limit(LET_GO_TIMEOUT_US);
	size_t left;

	ckpt_iced_freeze(&f->iced);
	do {
		left = 0;
		for (size_t i = 0; i < f->count; i++) {
			struct ckpt_process *p = &f->procs[i];
			size_t n = p->count;

			p->count = 0;
			for (size_t k = 0; k < n; k++)
				if (!let_go(f, p->tids[k]))
					p->tids[p->count++] = p->tids[k];
			left += p->count;
		}
		if (left)
			nanosleep(&(struct timespec){ 0, 100000 }, NULL);
	} while (left && !wait_limit_is_over(&limit, AWAY_US));
	frozen_done(f);
}

void ckpt_frozen_reap(struct ckpt_frozen *f)
{
	struct freeze_list all = { 0 };

	/* What has killed the group may have spared those whose first thread has ended (cgroup_kill()). */
	for (size_t i = 0; i < f->count; i++)
		if (f->procs[i].pid != f->procs[i].leader)
			kill(f->procs[i].leader, SIGKILL);
	for (size_t i = 0; i < f->count; i++)
		for (size_t k = 0; k < f->procs[i].count; k++)
			if (freeze_list_add(&all, f->procs[i].tids[k]) < 0)
				break;
	ckpt_trace_reap_all(all.id, all.count);
	free(all.id);
	frozen_done(f);
}
