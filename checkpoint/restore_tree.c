/* SPDX-License-Identifier: GPL-2.0-or-later */

/* The processes themselves: the first is taken over, the others are born by their parents. */
#include "base/macro.h"
#include "checkpoint/continued.h"
#include "checkpoint/image.pb-c.h"
#include "checkpoint/registrations.h"
#include "checkpoint/restore_births.h"
#include "checkpoint/restore_internal.h"
#include "checkpoint/seccomp.h"

#include <errno.h>
#include <linux/ioprio.h>
#include <sched.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#define OPTIONS (PTRACE_O_TRACESYSGOOD | PTRACE_O_TRACECLONE | PTRACE_O_TRACEFORK | \
		 PTRACE_O_TRACEVFORK | PTRACE_O_EXITKILL | (1u << 21)) /* SUSPEND_SECCOMP */

/* A process of the runtime's becomes an empty address space with our memory in it. */
int restore_take_over(struct restore *r, struct restoring *p, pid_t pid, uint32_t number, struct list *l,
		      struct err *e)
{
	struct ckpt_call c = { SYS_mmap,
			       { r->region, RESTORE_REGION, PROT_READ | PROT_WRITE | PROT_EXEC,
				 MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, UINT64_MAX, 0 }, 0 };
	struct {
		uint64_t pointer;
		uint32_t size, signature, flags, pad;
	} rseq = { 0 };
	int64_t ret = 0;
	int n = ckpt_trace_seize(pid, OPTIONS);

	if (n == 0)
		n = ckpt_trace_interrupt(pid);
	if (n == 0)
		n = ckpt_trace_wait_event(pid, NULL);
	if (n < 0)
		return err_code(e, n, "stop process %u", number);
	if (ptrace((enum __ptrace_request)0x420f, pid, (void *)sizeof(rseq), &rseq) < 0)
		rseq.pointer = 0;
	n = ckpt_batch_open(&p->batch, pid, &pid, 1, e);
	if (n == 0)
		n = ckpt_thread_adopt(&p->threads[0], pid, (pid_t)number, (pid_t)number, e);
	if (n == 0)
		n = ckpt_batch_one(&p->batch, &p->threads[0], &c, &ret, e);
	if (n == 0 && ret != (int64_t)r->region)
		n = err_code(e, ret < 0 ? (int)ret : -EEXIST, "map memory in process %u", number);
	if (n == 0)
		n = ckpt_batch_move(&p->batch, r->region, r->region + CKPT_PAGE,
				    RESTORE_REGION - CKPT_PAGE, e);
	if (n < 0)
		return n;
	list_init(l, r);
	if (rseq.pointer)
		list_call(l, "let go of rseq", SYS_rseq, rseq.pointer, rseq.size, 1, rseq.signature, 0, 0);
	list_call(l, "let go of robust futexes", SYS_set_robust_list, 0, 24, 0, 0, 0, 0);
	list_call(l, "let go of the end address", SYS_set_tid_address, 0, 0, 0, 0, 0, 0);
	/* Its children too, until each gets what it had: late.c opens their files in /proc,
	 * restore_fetch() takes theirs from here. */
	list_call(l, "open it to its own root", SYS_prctl, PR_SET_DUMPABLE, 1, 0, 0, 0, 0);
	list_call(l, "unmap memory", SYS_munmap, 0, r->region, 0, 0, 0, 0);
	list_call(l, "unmap memory", SYS_munmap, r->region + RESTORE_REGION,
		  RESTORE_ADDRESS_MAX - r->region - RESTORE_REGION, 0, 0, 0, 0);
	p->task->pid = pid;
	return list_run(l, &p->batch, &p->threads[0], e);
}


static int run_one(struct restore *r, size_t who, struct list *l, const char *what, uint64_t nr, uint64_t a,
		   uint64_t b, uint64_t c, uint64_t d, struct err *e)
{
	list_init(l, r);
	list_call(l, what, nr, a, b, c, d, 0, 0);
	return list_run(l, &r->procs[who].batch, &r->procs[who].threads[0], e);
}

/*
 * The process whose seccomp filters a node has: its own, or of a stand-in, whose children inherit too, that
 * of who made it.
 */
static size_t origin(const struct restore *r, size_t i)
{
	while (i >= r->plan.given)
		i = r->plan.nodes[i].parent;
	return i;
}

/* How many of its filters a process may have before its children are born: what all of them begin with. */
static size_t shared_filters(const struct restore *r, size_t parent)
{
	const struct ckpt_tree *t = &r->tree;
	size_t n;

	if (parent >= t->task_count)
		return 0;
	n = t->tasks[parent].threads[0]->n_seccomp;
	for (size_t i = 0; n && i < r->plan.op_count; i++) {
		const struct ckpt_op *o = &r->plan.ops[i];
		size_t common;

		if (o->kind != CKPT_OP_BIRTH || o->by == CKPT_PLAN_OUTSIDE || o->who >= t->task_count ||
		    origin(r, o->by) != parent)
			continue;
		common = ckpt_seccomp_common(t->tasks[parent].threads[0], t->tasks[o->who].threads[0]);
		n = common < n ? common : n;
	}
	return n;
}

uint32_t restore_exit_signal(const struct restore *r, size_t i)
{
	if (i < r->tree.task_count)
		return r->tree.tasks[i].process->exit_signal;
	return i < r->plan.given ? r->tree.zombies[i - r->tree.task_count]->exit_signal : SIGCHLD;
}

/* One table of open files for all, until late.c has done with it; of those who share one in the end, the
 * first has it for itself and them from the start. */
uint64_t restore_share_flags(const struct restore *r, const struct ckpt_op *o)
{
	const Ckpt__Process *k, *by;

	if (o->who >= r->tree.task_count || o->by >= r->tree.task_count)
		return CLONE_FILES;
	k = r->tree.tasks[o->who].process;
	by = r->tree.tasks[o->by].process;
	return CLONE_FILES * (k->files_group != k->pid) | CLONE_FS * (k->fs_group && k->fs_group == by->fs_group) |
	       CLONE_IO * (k->more->io_group && k->more->io_group == by->more->io_group);
}

static int login(struct restore *r, size_t who, uint32_t inherited, struct list *l, struct err *e)
{
	const struct ckpt_task *k = r->procs[who].task;

	return restore_login(r, &r->procs[who], k ? k->process->more->login : 0, inherited, l, e);
}

static void stay(void *arg)
{
	(void)arg;
	restore_wait(3, 3);
}

/* Whose parent is not in the VPS: nothing is inherited. */
static int birth_outside(struct restore *r, size_t who, struct list *l, struct err *e)
{
	struct restoring *p = &r->procs[who];
	uint32_t number = r->plan.nodes[who].pid;
	pid_t pid;
	int n = rt_outside(r->vps, (pid_t)number, stay, NULL, &pid, e);

	if (n == 0)
		n = restore_take_over(r, p, pid, number, l, e);
	if (n == 0)
		n = login(r, who, 0, l, e);
	return n == 0 ? restore_fetch(r, p, l, e) : n;
}

/* What it shall share with its child: the kernel makes one for who has a priority. */
static int have_io_context(struct restore *r, size_t who, struct list *l, struct err *e)
{
	return run_one(r, who, l, "have an I/O context", SYS_ioprio_set, IOPRIO_WHO_PROCESS, 0,
		       r->tree.tasks[who].threads[0]->more->io_priority, 0, e);
}

static int birth(struct restore *r, const struct ckpt_op *o, struct list *l, struct err *e)
{
	struct restoring *p = &r->procs[o->who], *by;
	pid_t pid = 0, number = (pid_t)r->plan.nodes[o->who].pid;
	size_t shared;
	int n = 0;

	if (o->by == CKPT_PLAN_OUTSIDE)
		return birth_outside(r, o->who, l, e);
	by = &r->procs[o->by];
	shared = o->by < r->tree.task_count && !by->parent ? shared_filters(r, o->by) : 0;
	by->parent = true;
	if (shared > by->filters) {
		n = restore_filters(r, by, 0, by->filters, shared, l, e);
		by->filters = shared;
	}
	if (n == 0 && (restore_share_flags(r, o) & CLONE_IO))
		n = have_io_context(r, o->by, l, e);
	if (n == 0)
		n = restore_bequeath(r, o->by, l, e);
	if (n == 0)
		n = restore_late_bequeath(r, o->by, o->who, l, e);
	if (n == 0 && !p->threads)
		p->threads = ckpt_alloc(&r->tree.arena, sizeof(*p->threads));
	if (n == 0 && !p->threads)
		n = err_code(e, -ENOMEM, "restore");
	if (n == 0)
		n = restore_bear(r, o, l, &pid, e);
	if (p->threads && pid) /* whatever comes now, it is there */
		p->threads[0].tid = pid;
	if (n == 0)
		ckpt_batch_copy(&p->batch, &by->batch, pid);
	if (p->level)
		number = (pid_t)p->numbers[p->level - 1];
	if (n == 0)
		n = ckpt_thread_adopt(&p->threads[0], pid, number, number, e);
	if (n == 0 && p->task)
		p->task->pid = pid;
	p->filters = by->filters;
	if (n == 0)
		n = login(r, o->who, by->login, l, e);
	if (n == 0)
		n = restore_late_inherit(r, o->by, o->who, l, e);
	return n == 0 ? restore_inherit(r, o->by, o->who, e) : n;
}

/* The fd of the terminal that a session has, in all processes of it; -1: none. */
static int terminal_of(const struct restore *r, uint32_t sid)
{
	for (size_t i = 0; i < r->tree.task_count; i++) {
		const Ckpt__Process *k = r->tree.tasks[i].process;

		if (k->pid == sid && k->sid == sid && k->terminal)
			return restore_fd_file(r, k->terminal);
	}
	return -1;
}

static int take_terminal(struct restore *r, size_t who, struct list *l, struct err *e)
{
	int fd = terminal_of(r, r->plan.nodes[who].pid);

	return fd < 0 ? 0 : run_one(r, who, l, "take its terminal", SYS_ioctl, (uint64_t)fd, TIOCSCTTY, 0, 0, e);
}

static int session(struct restore *r, const struct ckpt_op *o, struct list *l, struct err *e)
{
	int n = run_one(r, o->who, l, "begin a session", SYS_setsid, 0, 0, 0, 0, e);

	/* Before its children are there: they inherit it. */
	return n == 0 ? take_terminal(r, o->who, l, e) : n;
}

static int group(struct restore *r, const struct ckpt_op *o, struct list *l, struct err *e)
{
	size_t by = o->by == CKPT_PLAN_OUTSIDE ? o->who : o->by;
	uint32_t who = by == o->who ? 0 : restore_number_for(r, r->plan.nodes[o->who].pid, by);

	return run_one(r, by, l, "join its process group", SYS_setpgid, who,
		       restore_number_for(r, o->number, by), 0, 0, e);
}

static int foreground(struct restore *r, const struct ckpt_op *o, struct list *l, struct err *e)
{
	uint64_t all = UINT64_MAX, none = 0;
	int32_t number = (int32_t)restore_number_for(r, o->number, o->who);
	int fd = terminal_of(r, r->plan.nodes[o->who].pid);

	list_init(l, r);
	/* Or a process in the background would be stopped for it (SIGTTOU). */
	list_call(l, "block signals", SYS_rt_sigprocmask, SIG_SETMASK, list_put(l, &all, 8), 0, 8, 0, 0);
	list_call(l, "put a group into the foreground", SYS_ioctl, (uint64_t)fd, TIOCSPGRP,
		  list_put(l, &number, sizeof(number)), 0, 0, 0);
	list_call(l, "unblock signals", SYS_rt_sigprocmask, SIG_SETMASK, list_put(l, &none, 8), 0, 8, 0, 0);
	return list_run(l, &r->procs[o->who].batch, &r->procs[o->who].threads[0], e);
}

static int reaper(struct restore *r, const struct ckpt_op *o, struct list *l, struct err *e)
{
	return run_one(r, o->who, l, "adopt orphans", SYS_prctl, PR_SET_CHILD_SUBREAPER, o->number, 0, 0, e);
}

/* Its tracer takes note of its end first, so that its parent can. */
static void reap(struct restoring *p)
{
	pid_t tid = p->threads[0].tid;

	ckpt_trace_reap_all(&tid, 1);
	p->threads[0].tid = 0;
	fd_close(&p->batch.mem);
}

/* A stand-in: `by` waits for it, so that nobody ever learns of it. */
static int end(struct restore *r, const struct ckpt_op *o, struct list *l, struct err *e)
{
	struct restoring *p = &r->procs[o->who];

	if (kill(p->threads[0].tid, SIGKILL) < 0)
		return err_sys(e, "end a stand-in");
	reap(p);
	return run_one(r, o->by, l, "wait for a stand-in", SYS_wait4, restore_number_for(r, o->number, o->by), 0, 0, 0,
		       e);
}

/* What SIGCHLD is by default: nothing is to happen when a zombie's parent gets its signal again. */
static int be_deaf(struct restore *r, size_t who, uint32_t sig, bool on, struct list *l, struct err *e)
{
	struct {
		uint64_t handler, flags, restorer, mask;
	} action = { on, 0, 0, 0 }; /* SIG_IGN or SIG_DFL */

	if (sig == 0 || sig == SIGCHLD)
		return 0;
	list_init(l, r);
	list_call(l, "get", SYS_getpid, 0, 0, 0, 0, 0, 0);
	list_call(l, "set a signal's action", SYS_rt_sigaction, sig, list_put(l, &action, sizeof(action)), 0, 8,
		  0, 0);
	return list_run(l, &r->procs[who].batch, &r->procs[who].threads[0], e);
}

/* A zombie ends the way it did; a core that it left then is not left again. */
static int end_again(struct restore *r, const struct ckpt_op *o, struct list *l, struct err *e)
{
	const Ckpt__Zombie *z = r->tree.zombies[o->who - r->tree.task_count];
	size_t parent = r->plan.nodes[o->who].parent;
	struct restoring *p = &r->procs[o->who];
	struct rlimit none = { 0, 0 };
	uint64_t unblocked = 0;
	char comm[16] = { 0 };
	int n = be_deaf(r, parent, z->exit_signal, true, l, e);

	if (n < 0)
		return n;
	memcpy(comm, z->comm.data, z->comm.len);
	list_init(l, r);
	list_call(l, NULL, SYS_prctl, PR_SET_NAME, list_put(l, comm, sizeof(comm)), 0, 0, 0, 0);
	list_call(l, "set its limits", SYS_prlimit64, 0, RLIMIT_CORE, list_put(l, &none, sizeof(none)), 0, 0, 0);
	list_call(l, "unblock signals", SYS_rt_sigprocmask, SIG_SETMASK, list_put(l, &unblocked, 8), 0, 8, 0, 0);
	list_call(l, "set its user ids", SYS_setresuid, z->uid, z->uid, z->uid, 0, 0, 0);
	if (z->status & 0x7f)
		list_call(l, NULL, SYS_kill, restore_number_for(r, z->pid, o->who), z->status & 0x7f, 0, 0, 0, 0);
	else
		list_call(l, NULL, SYS_exit_group, z->status >> 8, 0, 0, 0, 0, 0);
	if (list_run(l, &p->batch, &p->threads[0], e) != -ESRCH)
		return err_set(e, ERR_FAIL, "process %u did not end again", z->pid);
	reap(p);
	return be_deaf(r, parent, z->exit_signal, false, l, e);
}

static int (*const carry_out[])(struct restore *r, const struct ckpt_op *o, struct list *l, struct err *e) = {
	[CKPT_OP_BIRTH] = birth, [CKPT_OP_SESSION] = session, [CKPT_OP_GROUP] = group,
	[CKPT_OP_FOREGROUND] = foreground, [CKPT_OP_REAPER] = reaper, [CKPT_OP_END] = end,
	[CKPT_OP_EXIT] = end_again,
};

/* Those that let go of their session's terminal (TIOCNOTTY), or whose session had it later. */
static int leave_terminals(struct restore *r, struct list *l, struct err *e)
{
	int n = 0;

	for (size_t i = 0; n == 0 && i < r->tree.task_count; i++) {
		const Ckpt__Process *k = r->tree.tasks[i].process;
		int fd = k->terminal || k->sid == k->pid ? -1 : terminal_of(r, k->sid);

		if (fd >= 0)
			n = run_one(r, i, l, NULL, SYS_ioctl, (uint64_t)fd, TIOCNOTTY, 0, 0, e);
	}
	return n;
}

/* Stops it by the signal as it was stopped: its actions are all by default yet. A group without a parent in
 * its session is stopped by nothing but SIGSTOP. */
static int stop(pid_t pid, int sig)
{
	struct ckpt_stop s = { 0 };
	int n = kill(pid, sig) < 0 ? -errno : ckpt_trace_resume(PTRACE_CONT, pid, 0);

	if (n == 0)
		n = ckpt_trace_wait(pid, &s);
	while (n == 0 && s.kind == CKPT_STOP_SIGNAL && s.sig != sig) {
		n = ckpt_trace_resume(PTRACE_CONT, pid, 0);
		if (n == 0)
			n = ckpt_trace_wait(pid, &s);
	}
	/* It does not get to its own code, whatever becomes of the signal. */
	if (n == 0)
		n = ckpt_trace_interrupt(pid);
	if (n == 0)
		n = ckpt_trace_resume(PTRACE_CONT, pid, sig);
	if (n == 0)
		n = ckpt_trace_wait(pid, &s);
	if (n == 0 && s.kind == CKPT_STOP_EVENT && s.sig == SIGTRAP && sig != SIGSTOP)
		return stop(pid, SIGSTOP);
	return n == 0 && (s.kind != CKPT_STOP_EVENT || s.sig != sig) ? -EPROTO : n;
}

static int stop_tasks(struct restore *r, struct list *l, struct err *e)
{
	int n = 0;

	for (size_t i = 0; n == 0 && i < r->tree.task_count; i++) {
		const Ckpt__Process *k = r->tree.tasks[i].process;
		size_t parent = r->plan.nodes[i].parent;

		if (!k->stop_signal && !k->more->continued)
			continue;
		n = stop(r->procs[i].threads[0].tid, k->stop_signal ? (int)k->stop_signal : SIGSTOP);
		if (n == 0 && k->more->continued)
			n = restore_continued(r->procs[i].threads[0].tid);
		r->procs[i].threads[0].in_call = false;
		if (n < 0)
			err_code(e, n, "stop process %u", k->pid);
		else if (k->stop_seen && parent != CKPT_PLAN_OUTSIDE)
			n = run_one(r, parent, l, NULL, SYS_waitid, P_PID, restore_number_for(r, k->pid, parent), 0,
				    WSTOPPED | WNOHANG, e);
	}
	return n;
}

int restore_fork_tree(struct restore *r, struct list *l, struct err *e)
{
	int n = take_terminal(r, 0, l, e);

	if (n == 0)
		n = login(r, 0, 0, l, e);
	for (size_t i = 0; n == 0 && i < r->plan.op_count; i++) {
		const struct ckpt_op *o = &r->plan.ops[i];

		if (!restore_early_is_born(r, o))
			n = carry_out[o->kind](r, o, l, e);
		else if (o->kind == CKPT_OP_BIRTH)
			n = login(r, o->who, r->procs[o->who].login, l, e);
	}
	if (n == 0)
		n = leave_terminals(r, l, e);
	return n == 0 ? stop_tasks(r, l, e) : n;
}
