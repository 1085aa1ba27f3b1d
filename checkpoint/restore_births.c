/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Births in nested pid namespaces. */
#include "checkpoint/restore_births.h"

#include "base/fd.h"
#include "base/macro.h"
#include "checkpoint/enter.h"
#include "checkpoint/image.pb-c.h"
#include "checkpoint/restore_spaces.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/sched.h>
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#define FREE_FD 3 /* nobody has fds of its own yet */

static uint32_t main_of(const struct restore *r, enum ckpt_space_kind kind)
{
	return ckpt_space_main(&r->tree, kind);
}

/* Record ids, 0 for process 1's. */
static uint32_t owner_of(const struct restore *r, uint32_t pid_space)
{
	uint32_t owner = pid_space ? r->tree.spaces[pid_space - 1]->owner : 0;

	return owner == main_of(r, CKPT_SPACE_USER) ? 0 : owner;
}

static uint32_t space_above(const struct restore *r, uint32_t pid_space)
{
	uint32_t up = r->tree.spaces[pid_space - 1]->parent;

	return up == main_of(r, CKPT_SPACE_PID) ? 0 : up;
}

bool restore_is_nested(const struct restore *r)
{
	for (size_t i = 0; i < r->tree.space_count; i++)
		if (r->tree.spaces[i]->kind == CKPT_SPACE_PID &&
		    i + 1 != main_of(r, CKPT_SPACE_PID))
			return true;
	return false;
}

struct restoring *restore_first_of(const struct restore *r, uint32_t space)
{
	for (size_t i = 0; space && i < r->tree.task_count; i++)
		if (r->procs[i].space == space &&
		    ckpt_pid_is_first(&r->tree, r->tree.tasks[i].threads[0]))
			return &r->procs[i];
	return &r->procs[0];
}

/* Process 1 of a namespace says which was the last number there; as nothing else runs, the next is ours. */
static int say_last(struct restore *r, uint32_t space, uint32_t number, struct list *l,
		    struct err *e)
{
	struct restoring *first = restore_first_of(r, space);
	char text[16];

	snprintf(text, sizeof(text), "%u", number - 1);
	list_init(l, r);
	list_call(l, "choose the number of a task", SYS_pwrite64, (uint64_t)restore_fd_last_pid(r),
		  list_put(l, text, strlen(text)), strlen(text), 0, 0, 0);
	return list_run(l, &first->batch, &first->threads[0], e);
}

/*
 * Whoever is in the user namespace `user` may ask for numbers in pid namespaces that this or one below it owns
 * (set_tid asks for rights over each), from the innermost outwards; those further out are made the next.
 */
static int choose(struct restore *r, uint32_t space, const uint32_t *numbers, uint32_t number,
		  uint32_t user, struct restore_numbers *ret, struct list *l, struct err *e)
{
	size_t level = ckpt_pid_depth(&r->tree, space);
	bool may = true;
	int n = 0;

	ret->count = 0;
	for (;; space = space_above(r, space), level--) {
		uint32_t v = restore_number_at(numbers, level, number);

		may = may && ckpt_user_is_below(&r->tree, owner_of(r, space), user);
		if (may)
			ret->tid[ret->count++] = (int32_t)v;
		else if (v > 1)
			n = say_last(r, space, v, l, e);
		if (n < 0 || !space)
			return n;
	}
}

/* Its children's namespace from now on, by way of a process that is in it. */
static int enter_children(struct restore *r, struct restoring *by, uint32_t space, uint32_t member,
			  struct list *l, struct err *e)
{
	char path[64];

	if (by->children == space)
		return 0;
	snprintf(path, sizeof(path), "/proc/%u/ns/pid", member);
	list_init(l, r);
	list_call(l, "open a pid namespace", SYS_open, list_put(l, path, strlen(path) + 1),
		  O_RDONLY | O_CLOEXEC, 0, 0, 0, 0);
	list_call(l, "have children in a pid namespace", SYS_setns, FREE_FD, CLONE_NEWPID, 0, 0, 0,
		  0);
	list_call(l, NULL, SYS_close, FREE_FD, 0, 0, 0, 0, 0);
	by->children = space;
	return list_run(l, &by->batch, &by->threads[0], e);
}

/* What the kernel numbers a task in its own namespace. */
static pid_t own_number(pid_t pid)
{
	struct ckpt_status s;
	size_t level = ckpt_pid_level(pid);

	return ckpt_status_read(pid, &s) == 0 ? (pid_t)ckpt_pid_number(&s, "NSpid", level) : 0;
}

/* A process that enters the owner of a new pid namespace, with the identity of whom it makes. */
static int prepare_maker(struct restore *r, const struct restoring *p, struct restoring *h,
			 uint32_t owner, struct list *l, struct err *e)
{
	const Ckpt__Thread *t = p->task->threads[0];

	list_init(l, r);
	restore_join_outer(r, t, owner, l);
	restore_enter_user(r, h, t, owner, l);
	list_call(l, "have a pid namespace", SYS_unshare, CLONE_NEWPID, 0, 0, 0, 0, 0);
	/* Another identity has cleared it (prctl(2)): the fds of its child are taken, and its /proc is looked at. */
	list_call(l, "open it to its own root", SYS_prctl, PR_SET_DUMPABLE, 1, 0, 0, 0, 0);
	return list_run(l, &h->batch, &h->threads[0], e);
}

static int end_maker(struct restore *r, struct restoring *by, struct restoring *h, struct list *l,
		     struct err *e)
{
	pid_t tid = h->threads[0].tid, number = own_number(tid);

	if (kill(tid, SIGKILL) < 0)
		return err_sys(e, "end a maker");
	ckpt_trace_reap_all(&tid, 1);
	r->maker = 0;
	list_init(l, r);
	list_call(l, "wait for a maker", SYS_wait4, (uint64_t)number, 0, __WALL, 0, 0, 0);
	return list_run(l, &by->batch, &by->threads[0], e);
}

/* Its child is its parent's (CLONE_PARENT), and sends the signal that it would at its end. */
static int bear_by_maker(struct restore *r, struct restoring *by, struct restoring *p,
			 uint64_t flags, uint32_t exit_signal, uint32_t number, struct list *l,
			 pid_t *ret, struct err *e)
{
	struct ckpt_thread thread = { 0 };
	struct restoring h = {
		.threads = &thread, .user = by->user, .as = by->as, .batch = { .mem = -EBADF }
	};
	struct restore_numbers numbers;
	uint32_t owner = owner_of(r, p->space), spare[CKPT_PID_LEVELS] = { 0 };
	pid_t pid = 0;
	int n;

	/* Not one that somebody is to have. */
	restore_fill_numbers(r, spare, by->level);
	n = choose(r, by->space, spare, (uint32_t)restore_free_number(&r->tree), by->user, &numbers,
		   l, e);
	list_init(l, r);
	if (n == 0)
		n = restore_clone(l, &by->batch, &by->threads[0], CLONE_FILES, exit_signal,
				  &numbers, &pid, e);
	r->maker = pid;
	if (n == 0) {
		ckpt_batch_copy(&h.batch, &by->batch, pid);
		n = ckpt_thread_adopt(&h.threads[0], pid, own_number(pid), own_number(pid), e);
	}
	if (n == 0)
		n = prepare_maker(r, p, &h, owner, l, e);
	if (n == 0)
		n = choose(r, p->space, p->numbers, number, owner, &numbers, l, e);
	list_init(l, r);
	if (n == 0)
		n = restore_clone(l, &h.batch, &h.threads[0], flags | CLONE_PARENT, 0, &numbers,
				  ret, e);
	p->user = owner;
	p->as = p->task->threads[0];
	if (n == 0)
		return end_maker(r, by, &h, l, e);
	return n;
}

/* Whoever bore it could not ask for all of its numbers. */
static int check_number(pid_t pid, pid_t init, uint32_t number, struct err *e)
{
	struct ckpt_status s;

	if (ckpt_status_read(pid, &s) == 0 &&
	    ckpt_pid_number(&s, "NSpid", ckpt_pid_level(init)) == number)
		return 0;
	return err_set(e, ERR_FAIL, "process %u got another number", number);
}

int restore_bear(struct restore *r, const struct ckpt_op *o, struct list *l, pid_t *ret,
		 struct err *e)
{
	struct restoring *p = &r->procs[o->who], *by = &r->procs[o->by];
	uint32_t number = r->plan.nodes[o->who].pid, owner = owner_of(r, p->space);
	uint64_t flags = restore_share_flags(r, o);
	struct restore_numbers numbers;
	bool first = p->task && ckpt_pid_is_first(&r->tree, p->task->threads[0]);
	int n;

	*ret = 0;
	p->user = by->user;
	p->as = by->as;
	if (first)
		n = enter_children(r, by, by->space, r->plan.nodes[o->by].pid, l, e);
	else
		n = enter_children(r, by, p->space,
				   r->plan.nodes[restore_first_of(r, p->space) - r->procs].pid, l, e);
	list_init(l, r);
	if (n == 0 && first && owner != by->user) {
		n = bear_by_maker(r, by, p, flags, restore_exit_signal(r, o->who), number, l, ret,
				  e);
		return n == 0 ? check_number(*ret, rt_init_pid(r->vps), number, e) : n;
	}
	if (n == 0)
		n = choose(r, p->space, p->numbers, number, by->user, &numbers, l, e);
	list_init(l, r);
	if (n == 0)
		n = restore_clone(l, &by->batch, &by->threads[0],
				  flags | (first ? CLONE_NEWPID : 0),
				  restore_exit_signal(r, o->who), &numbers, ret, e);
	return n == 0 && by->user ? check_number(*ret, rt_init_pid(r->vps), number, e) : n;
}

int restore_bear_thread(struct restore *r, struct restoring *p, size_t i, uint32_t user,
			struct list *l, struct err *e)
{
	const Ckpt__Thread *t = p->task->threads[i];
	struct restore_numbers numbers;
	pid_t born = 0;
	int n = choose(r, p->space, t->numbers, t->tid, user, &numbers, l, e);

	list_init(l, r);
	if (n == 0)
		n = restore_clone(l, &p->batch, &p->threads[0], RESTORE_THREAD, 0, &numbers, &born,
				  e);
	return n == 0 ? ckpt_thread_adopt(&p->threads[i], born, p->threads[0].ns_tgid,
					  (pid_t)restore_number_at(t->numbers, t->n_numbers, t->tid), e) :
			n;
}

/* Its process 1 has been there, and is no more. */
static int kill_first(struct restore *r, struct restoring *p, struct ckpt_thread *th,
		      struct list *l, struct err *e)
{
	struct restore_numbers any = { .count = 0 };
	pid_t pid = 0, number;
	int n;

	list_init(l, r);
	n = restore_clone(l, &p->batch, th, CLONE_FILES, 0, &any, &pid, e);
	if (n < 0)
		return n;
	/* As its parent sees it: one level further out than its own. */
	number = (pid_t)ckpt_pid_parents_number(pid);
	kill(pid, SIGKILL);
	ckpt_trace_reap_all(&pid, 1);
	list_init(l, r);
	list_call(l, "wait for a process", SYS_wait4, (uint64_t)number, 0, __WALL, 0, 0, 0);
	return list_run(l, &p->batch, th, e);
}

int restore_children(struct restore *r, struct restoring *p, bool late, struct list *l,
		     struct err *e)
{
	int n = 0;

	for (size_t i = 0; n == 0 && i < p->task->thread_count; i++) {
		const Ckpt__Thread *t = p->task->threads[i];

		/* Before it gives up its rights over that; but who has children elsewhere can have no threads. */
		if (late == (p->task->thread_count == 1) && !t->pid_empty)
			continue;
		if (t->pid_empty && !late)
			continue;
		list_init(l, r);
		if (t->pid_children)
			list_call(l, "have children in a pid namespace", SYS_setns,
				  (uint64_t)restore_fd_space(r, t->pid_children), CLONE_NEWPID, 0,
				  0, 0, 0);
		else if (t->pid_empty)
			list_call(l, "have a pid namespace for children", SYS_unshare, CLONE_NEWPID,
				  0, 0, 0, 0, 0);
		if (l->count)
			n = list_run(l, &p->batch, &p->threads[i], e);
		if (n == 0 && t->pid_empty == CKPT_PID_DEAD)
			n = kill_first(r, p, &p->threads[i], l, e);
	}
	return n;
}

int restore_take_pidspaces(const struct restore *r, int proc, struct err *e)
{
	int n = 0;

	for (uint32_t id = 1; n == 0 && id <= r->tree.space_count; id++) {
		char path[64];
		int fd;

		if (r->tree.spaces[id - 1]->kind != CKPT_SPACE_PID ||
		    id == main_of(r, CKPT_SPACE_PID))
			continue;
		snprintf(path, sizeof(path), "%u/ns/pid",
			 r->plan.nodes[restore_first_of(r, id) - r->procs].pid);
		fd = openat(proc, path, O_RDONLY | O_CLOEXEC);
		n = fd < 0 ? err_sys(e, "open /proc/%s", path) : restore_space_take(r, id, fd, e);
	}
	return n;
}
