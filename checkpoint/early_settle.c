/* SPDX-License-Identifier: GPL-2.0-or-later */

/* When the tree of processes is there: which of those that were born early are its own. */
#include "base/fd.h"
#include "base/macro.h"
#include "base/step.h"
#include "checkpoint/hugetlb.h"
#include "checkpoint/image.pb-c.h"
#include "checkpoint/lend.h"
#include "checkpoint/netstate.h"
#include "checkpoint/pairs.h"
#include "checkpoint/restore_births.h"
#include "checkpoint/restore_early.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>

static void keep(struct restoring *p, struct early *w)
{
	p->batch = w->p.batch;
	p->threads[0] = w->thread;
	p->task->pid = w->task.pid;
	p->early = w;
	p->login = w->p.login;
	w->kept = true;
}

/* It begins a session in the plan, too, and has no child before that. */
static bool leads(const struct restore *r, size_t who, size_t from)
{
	for (size_t i = from + 1; i < r->plan.op_count; i++) {
		const struct ckpt_op *o = &r->plan.ops[i];

		if (o->kind == CKPT_OP_SESSION && o->who == who)
			return true;
		if (o->kind == CKPT_OP_BIRTH && o->by == who)
			return false;
	}
	return false;
}

/* As the plan has it be born. `sessions` is which each node is in by then. */
static struct early *fits(const struct restore *r, size_t op, const uint32_t *sessions)
{
	const struct ckpt_op *o = &r->plan.ops[op];
	struct early *w;

	if (o->who >= r->tree.task_count || o->by >= r->tree.task_count || !r->procs[o->by].early ||
	    restore_share_flags(r, o) != CLONE_FILES || restore_exit_signal(r, o->who) != SIGCHLD)
		return NULL;
	/* A terminal is inherited, and could not be had yet. */
	if (r->tree.tasks[o->who].process->terminal)
		return NULL;
	w = early_by_pid(r->early, r->plan.nodes[o->who].pid);
	if (!w || !w->born || w->kept || w->ppid != r->plan.nodes[o->by].pid)
		return NULL;
	return (w->leads ? leads(r, o->who, op) : w->session == sessions[o->by]) ? w : NULL;
}

static int choose(struct restore *r, struct err *e)
{
	uint32_t *sessions = calloc(r->plan.count, sizeof(*sessions));
	struct early *first = early_by_pid(r->early, 1);

	if (!sessions)
		return err_code(e, -ENOMEM, "restore");
	if (first && first->born)
		keep(&r->procs[0], first);
	sessions[0] = 1;
	for (size_t i = 0; i < r->plan.op_count; i++) {
		const struct ckpt_op *o = &r->plan.ops[i];
		struct early *w;

		if (o->kind == CKPT_OP_SESSION)
			sessions[o->who] = r->plan.nodes[o->who].pid;
		if (o->kind != CKPT_OP_BIRTH || o->by == CKPT_PLAN_OUTSIDE)
			continue;
		w = fits(r, i, sessions);
		if (w)
			keep(&r->procs[o->who], w);
		sessions[o->who] = w ? w->session : sessions[o->by];
	}
	free(sessions);
	return first && first->born ? 0 : err_set(e, ERR_FAIL, "the image is damaged: no process 1");
}

static bool is_wanted(const struct restore *r, uint32_t mm)
{
	for (size_t i = 0; i < r->tree.task_count; i++)
		if (r->tree.tasks[i].process->mm == mm)
			return true;
	return false;
}

/* Its number is free then. */
static int drop(struct restore *r, struct early *w, struct list *l, struct err *e)
{
	struct early *parent = early_by_pid(r->early, w->ppid);
	pid_t pid = w->task.pid;
	int n = is_wanted(r, w->mm) ? early_salvage(r, w, e) : 0;

	if (n < 0)
		return n;
	if (kill(pid, SIGKILL) < 0)
		return err_sys(e, "end process %u", w->pid);
	ckpt_trace_reap_all(&pid, 1);
	w->task.pid = 0;
	w->born = false;
	fd_close(&w->p.batch.mem);
	list_init(l, r);
	list_call(l, "wait for a process", SYS_wait4, w->pid, 0, 0, 0, 0, 0);
	return list_run(l, &parent->p.batch, &parent->p.threads[0], e);
}

/* What a helper has opened, at the same numbers. */
static int fetch(struct restore *r, pid_t helper, struct list *l, struct err *e)
{
	struct restoring *p = &r->procs[0];
	int n = 0, pidfd = 3, fetched = 4;

	list_init(l, r);
	list_call(l, NULL, SYS_close_range, 3, UINT32_MAX, 0, 0, 0, 0);
	list_call(l, "open the helper", SYS_pidfd_open, (uint64_t)helper, 0, 0, 0, 0, 0);
	for (int fd = r->base; n == 0 && fd < restore_fd_end(r); fd++) {
		size_t file = (size_t)(fd - r->base);
		/* Perhaps it is opened later: it is not there then. */
		bool late = file < r->tree.file_count && ckpt_kinds[r->tree.files[file]->kind]->late;
		bool never = file < r->tree.file_count && !ckpt_kinds[r->tree.files[file]->kind]->open;

		if (never)
			continue;
		if (!list_fits(l, 3, 0))
			n = list_run(l, &p->batch, &p->threads[0], e);
		list_call(l, late ? NULL : "take an open file", SYS_pidfd_getfd, (uint64_t)pidfd, (uint64_t)fd, 0, 0, 0,
			  0);
		list_call(l, late ? NULL : "place an open file", SYS_dup3, (uint64_t)fetched, (uint64_t)fd, O_CLOEXEC, 0,
			  0, 0);
		list_call(l, NULL, SYS_close, (uint64_t)fetched, 0, 0, 0, 0, 0);
	}
	list_call(l, NULL, SYS_close, (uint64_t)pidfd, 0, 0, 0, 0, 0);
	return n == 0 ? list_run(l, &p->batch, &p->threads[0], e) : n;
}

static bool is_used(const struct ckpt_tree *t, uint32_t number)
{
	for (size_t i = 0; i < t->task_count; i++)
		for (size_t k = 0; k < t->tasks[i].thread_count; k++)
			if (t->tasks[i].threads[k]->tid == number)
				return true;
	return false;
}

/* From the end, where the VPS's own seldom are. */
pid_t restore_free_number(const struct ckpt_tree *t)
{
	cleanup_free char *text = NULL;
	long most = 32768;

	if (fd_read_file_at(AT_FDCWD, "/proc/sys/kernel/pid_max", 64, &text, NULL) == 0)
		most = atol(text);
	while (most > 1000 && is_used(t, (uint32_t)most - 1))
		most--;
	return (pid_t)most - 1;
}

struct serving {
	struct restore *r;
	struct list *l;
	pid_t helper;
	int sock;
	int (*fn)(void *restore, struct err *e);
};

static int run_helper(void *arg, struct err *e)
{
	struct serving *s = arg;

	return s->fn(s->r, e);
}

static int serve_helper(void *arg, struct err *e)
{
	struct serving *s = arg;

	return restore_lend(s->r, s->helper, s->sock, s->l, e);
}

int restore_raise_files(const struct restore *r, const struct restoring *p, struct err *e)
{
	rlim_t most = (rlim_t)restore_fd_end(r) + 64;
	struct rlimit lim;

	if (prlimit(p->task->pid, RLIMIT_NOFILE, NULL, &lim) < 0)
		return err_sys(e, "read the limit of open files");
	lim.rlim_cur = lim.rlim_max;
	if (most > lim.rlim_max || prlimit(p->task->pid, RLIMIT_NOFILE, &lim, NULL) < 0)
		return restore_too_many_files(r, e);
	return 0;
}

int restore_by_helper(struct restore *r, int (*fn)(void *restore, struct err *e), bool take, struct list *l,
		      struct err *e)
{
	pid_t helper, number = restore_free_number(&r->tree);
	struct serving s = { r, l, number, -EBADF, fn };
	int pair[2], n;

	n = restore_raise_files(r, &r->procs[0], e);
	if (n < 0)
		return n;
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
		return err_sys(e, "make a socket pair");
	s.sock = pair[0];
	r->lender = pair[1];
	ckpt_netsame_join(r->netsame);
	n = rt_helper(r->vps, &(struct rt_helper){ number, run_helper, pair[0], serve_helper, &s }, &helper, e);
	r->lender = -EBADF;
	close(pair[0]);
	close(pair[1]);
	if (n < 0)
		return n;
	step_mark("helper.opened");
	n = take ? fetch(r, number, l, e) : 0;
	step_mark("helper.fetched");
	rt_helper_end(helper);
	return n;
}

int restore_early_settle(struct restore *r, struct list *l, struct err *e)
{
	int n = early_files_settle(r, e);

	if (n == 0)
		n = choose(r, e);

	for (size_t i = r->early->count; n == 0 && i-- > 0;)
		if (r->early->all[i]->born && !r->early->all[i]->kept)
			n = drop(r, r->early->all[i], l, e);
	/* The last pass over the disk has come before the tree. */
	if (n == 0)
		n = rt_root_changed(r->vps, e);
	step_mark("settle.root");
	if (n == 0)
		n = restore_pairs(r, l, e);
	step_mark("settle.pairs");
	return n == 0 ? restore_by_helper(r, restore_is_nested(r) ? restore_open_first : restore_open, true, l, e) : n;
}

bool restore_early_is_born(const struct restore *r, const struct ckpt_op *o)
{
	const struct early *w = r->procs[o->who].early;

	return w && (o->kind == CKPT_OP_BIRTH || (o->kind == CKPT_OP_SESSION && w->leads));
}

static bool is_plain(const Ckpt__Area *a)
{
	return (a->flags & MAP_PRIVATE) && (a->flags & MAP_ANONYMOUS);
}

int restore_early_map(struct restore *r, struct restoring *p, struct list *l, struct err *e)
{
	struct early *w = p->early;
	const Ckpt__Mm *mm = p->task->mm;

	w->wanted.count = 0;
	for (size_t i = 0; i < mm->n_area; i++) {
		const Ckpt__Area *a = mm->area[i];

		if (is_plain(a) && ckpt_ranges_add_how(&w->wanted, a->start, a->end, ckpt_huge_map_flags(a)) < 0)
			return err_code(e, -ENOMEM, "restore");
	}
	return early_sync_later(r, w, p, true, l, e);
}

bool restore_early_has(const struct restoring *p, const Ckpt__Area *a)
{
	return p->early && is_plain(a);
}
