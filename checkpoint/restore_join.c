/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Each task enters its namespaces, root and directory, by lists of its own calls. */
#include "base/macro.h"
#include "checkpoint/clocks.h"
#include "checkpoint/groups.h"
#include "checkpoint/image.pb-c.h"
#include "checkpoint/restore_births.h"
#include "checkpoint/restore_internal.h"
#include "checkpoint/restore_spaces.h"

#include <errno.h>
#include <linux/securebits.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

static void put_groups(const struct restore *r, const Ckpt__Thread *t, uint32_t user, struct list *l)
{
	uint32_t groups[1024];

	for (size_t i = 0; i < t->n_outer_groups; i++)
		groups[i] = ckpt_user_id(&r->tree, user, t->outer_groups[i], true);
	list_call(l, "set its groups", SYS_setgroups, t->n_outer_groups,
		  list_put(l, groups, t->n_outer_groups * sizeof(*groups)), 0, 0, 0, 0);
}

void restore_enter_user(const struct restore *r, const struct restoring *p, const Ckpt__Thread *t, uint32_t to,
			struct list *l)
{
	uint32_t uid[4], gid[4];

	for (int i = 0; i < 4; i++) {
		uid[i] = ckpt_user_id(&r->tree, p->user, t->outer_uids[i], false);
		gid[i] = ckpt_user_id(&r->tree, p->user, t->outer_gids[i], true);
	}
	list_call(l, "keep capabilities", SYS_prctl, PR_SET_SECUREBITS,
		  SECBIT_KEEP_CAPS | SECBIT_NO_SETUID_FIXUP, 0, 0, 0, 0);
	if (!p->as || p->as->n_outer_groups != t->n_outer_groups ||
	    (t->n_outer_groups &&
	     memcmp(p->as->outer_groups, t->outer_groups, t->n_outer_groups * sizeof(uint32_t)) != 0))
		put_groups(r, t, p->user, l);
	list_call(l, "set its group ids", SYS_setresgid, gid[0], gid[1], gid[2], 0, 0, 0);
	list_call(l, "set its user ids", SYS_setresuid, uid[0], uid[1], uid[2], 0, 0, 0);
	list_call(l, "set its file system group", SYS_setfsgid, gid[3], 0, 0, 0, 0, 0);
	list_call(l, "set its file system user", SYS_setfsuid, uid[3], 0, 0, 0, 0, 0);
	list_call(l, "enter its user namespace", SYS_setns,
		  (uint64_t)restore_fd_space(r, to), 0, 0, 0, 0, 0);
}

static uint32_t user_of(const struct restore *r, const Ckpt__Thread *t)
{
	uint32_t user = t->n_spaces ? t->spaces[CKPT_SPACE_USER] : 0;

	return user == ckpt_space_main(&r->tree, CKPT_SPACE_USER) ? 0 : user;
}

/* A thread before its time, if it is not there yet, which enters what it has alone. */
static int early_thread(struct restore *r, struct restoring *p, size_t i, struct list *l,
			struct err *e)
{
	const Ckpt__Thread *t = p->task->threads[i], *leader = p->task->threads[0];
	int n = p->subject ? 0 : restore_bear_thread(r, p, i, user_of(r, leader), l, e);

	list_init(l, r);
	for (size_t k = 0; n == 0 && k < t->n_spaces; k++)
		if (k != CKPT_SPACE_MNT && t->spaces[k] != leader->spaces[k]) /* that comes with its directory */
			list_call(l, "enter a thread's namespace", SYS_setns,
				  (uint64_t)restore_fd_space(r, t->spaces[k]), 0, 0, 0, 0, 0);
	return n == 0 && l->count ? list_run(l, &p->batch, &p->threads[i], e) : n;
}

bool restore_has_early_threads(const struct restore *r, const struct restoring *p)
{
	const struct ckpt_task *k = p->task;
	const Ckpt__Thread *leader = k->threads[0];

	for (size_t i = 0; i < k->thread_count; i++)
		if (k->threads[i]->pid_children || k->threads[i]->pid_empty || k->threads[i]->time_children ||
		    (leader->n_spaces && memcmp(k->threads[i]->spaces, leader->spaces,
						leader->n_spaces * sizeof(*leader->spaces)) != 0))
			return true;
	return restore_has_own_user(r, p) || (p->user && k->thread_count > 1) || ckpt_clocks_before_threads(&r->tree, k);
}

/* Of those who have been in a nested user namespace from birth on: what else they had by then. */
static bool is_inherited(const struct restore *r, uint32_t space, uint32_t user)
{
	return user && !ckpt_user_is_below(&r->tree, r->tree.spaces[space - 1]->owner, user);
}

void restore_join_outer(const struct restore *r, const Ckpt__Thread *t, uint32_t user, struct list *l)
{
	for (uint32_t k = 0; k < t->n_spaces; k++)
		if (k != CKPT_SPACE_USER && k != CKPT_SPACE_MNT && k != CKPT_SPACE_PID && t->spaces[k] &&
		    t->spaces[k] != ckpt_space_main(&r->tree, k) && is_inherited(r, t->spaces[k], user))
			list_call(l, "enter its namespaces", SYS_setns,
				  (uint64_t)restore_fd_space(r, t->spaces[k]), 0, 0, 0, 0, 0);
}

int restore_join(struct restore *r, struct restoring *p, struct list *l, struct err *e)
{
	static const enum ckpt_space_kind order[] = { CKPT_SPACE_NET,  CKPT_SPACE_UTS,
						      CKPT_SPACE_IPC,  CKPT_SPACE_CGROUP,
						      CKPT_SPACE_TIME, CKPT_SPACE_MNT };
	const Ckpt__Thread *t = p->task->threads[0];

	list_init(l, r);
	if (p->children != p->space)
		list_call(l, "have children beside it", SYS_setns,
			  (uint64_t)restore_fd_space(r, t->spaces[CKPT_SPACE_PID]), CLONE_NEWPID, 0, 0, 0, 0);
	p->children = p->space;
	for (size_t i = 0; t->n_spaces && i < ARRAY_SIZE(order); i++)
		if (t->spaces[order[i]] != ckpt_space_main(&r->tree, order[i]) &&
		    (order[i] != CKPT_SPACE_TIME || !ckpt_clock_holder(&r->tree, t->spaces[order[i]], NULL)) &&
		    !is_inherited(r, t->spaces[order[i]], p->user))
			list_call(l, "enter its namespaces", SYS_setns,
				  (uint64_t)restore_fd_space(r, t->spaces[order[i]]), 0, 0, 0, 0,
				  0);
	if (p->place >= 0) {
		uint64_t at = (uint64_t)restore_fd_place(r, p->place);

		list_call(l, "go to its root", SYS_fchdir, at, 0, 0, 0, 0, 0);
		list_call(l, "change its root", SYS_chroot, list_put(l, ".", 2), 0, 0, 0, 0, 0);
		if (!p->task->process->cwd_ghost && !restore_goes_late(p))
			list_call(l, "go to its directory", SYS_fchdir, at + 1, 0, 0, 0, 0, 0);
	}
	/* Who shares its root with another goes there alone: they would be in each other's way. */
	return p->task->process->fs_group ? list_run(l, &p->batch, &p->threads[0], e)
					  : list_start(l, &p->batch, &p->threads[0], e);
}

/* Those that hold no time namespace before the first one does, which the others are born with. */
static int early_threads(struct restore *r, struct restoring *p, struct list *l, struct err *e)
{
	const struct ckpt_task *k = p->task;
	uint32_t user = user_of(r, k->threads[0]);
	int n = 0;

	for (size_t i = 1; n == 0 && i < k->thread_count; i++)
		if (!k->threads[i]->time_children)
			n = early_thread(r, p, i, l, e);
	if (n == 0)
		n = restore_hold_clocks(r, p, 0, user, l, e);
	for (size_t i = 1; n == 0 && i < k->thread_count; i++) {
		if (!k->threads[i]->time_children)
			continue;
		n = early_thread(r, p, i, l, e);
		if (n == 0)
			n = restore_hold_clocks(r, p, i, user, l, e);
	}
	return n;
}

int restore_join_user(struct restore *r, struct restoring *p, struct list *l, struct err *e)
{
	size_t holder;
	int n = 0;

	if (p->joined)
		return 0;
	p->joined = true;
	if (p->task->threads[0]->n_spaces &&
	    ckpt_clock_holder(&r->tree, p->task->threads[0]->spaces[CKPT_SPACE_TIME], &holder))
		n = restore_join_user(r, &r->procs[holder], l, e);
	if (n == 0)
		n = restore_enter_clocks(r, p, l, e);
	if (n < 0 || !restore_has_early_threads(r, p))
		return n;
	list_init(l, r);
	/* Of those that the tree shares its threads would keep what only it lets go of. */
	if (!p->task->process->files_group && !p->subject)
		list_call(l, "have its own table of open files", SYS_unshare, CLONE_FILES, 0, 0, 0,
			  0, 0);
	n = list_run(l, &p->batch, &p->threads[0], e);
	if (n == 0)
		n = restore_children(r, p, false, l, e);
	list_init(l, r);
	if (n == 0 && restore_has_own_user(r, p)) {
		n = restore_hold_clocks(r, p, 0, p->user, l, e);
		if (n < 0)
			return n;
		list_init(l, r);
		restore_enter_user(r, p, p->task->threads[0], user_of(r, p->task->threads[0]), l);
		n = list_run(l, &p->batch, &p->threads[0], e);
	}
	if (n == 0)
		n = early_threads(r, p, l, e);
	return n == 0 ? restore_children(r, p, true, l, e) : n;
}

int restore_settle_groups(struct restore *r, int group, int user, struct err *e)
{
	int n;

	for (size_t i = 0; i < r->tree.task_count; i++) {
		struct restoring *p = &r->procs[i];

		p->task->tids =
			ckpt_alloc(&r->tree.arena, p->task->thread_count * sizeof(*p->task->tids));
		for (size_t k = 0; p->task->tids && k < p->task->thread_count; k++)
			p->task->tids[k] = p->threads[k].tid;
		if (!p->task->tids)
			return err_code(e, -ENOMEM, "restore control groups");
	}
	n = ckpt_groups_place_threads(&r->tree, group, user, e);
	return n == 0 ? ckpt_groups_set(&r->tree, group, user, e) : n;
}

bool restore_has_own_user(const struct restore *r, const struct restoring *p)
{
	const Ckpt__Thread *t = p->task->threads[0];

	return t->n_outer_uids && user_of(r, t) != p->user;
}
