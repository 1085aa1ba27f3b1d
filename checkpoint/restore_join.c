/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Each task enters its namespaces, root and directory, by lists of its own calls. */
#include "base/macro.h"
#include "checkpoint/groups.h"
#include "checkpoint/image.pb-c.h"
#include "checkpoint/restore_internal.h"
#include "checkpoint/restore_spaces.h"

#include <errno.h>
#include <linux/securebits.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

/* Identity as the namespace's parent has it; inside some of its ids may have no number. */
static void enter_user(const struct restore *r, const Ckpt__Thread *t, struct list *l)
{
	list_call(l, "keep capabilities", SYS_prctl, PR_SET_SECUREBITS,
		  SECBIT_KEEP_CAPS | SECBIT_NO_SETUID_FIXUP, 0, 0, 0, 0);
	list_call(l, "set its groups", SYS_setgroups, t->n_outer_groups,
		  list_put(l, t->outer_groups, t->n_outer_groups * sizeof(uint32_t)), 0, 0, 0, 0);
	list_call(l, "set its group ids", SYS_setresgid, t->outer_gids[0], t->outer_gids[1],
		  t->outer_gids[2], 0, 0, 0);
	list_call(l, "set its user ids", SYS_setresuid, t->outer_uids[0], t->outer_uids[1],
		  t->outer_uids[2], 0, 0, 0);
	list_call(l, "set its file system group", SYS_setfsgid, t->outer_gids[3], 0, 0, 0, 0, 0);
	list_call(l, "set its file system user", SYS_setfsuid, t->outer_uids[3], 0, 0, 0, 0, 0);
	list_call(l, "enter its user namespace", SYS_setns,
		  (uint64_t)restore_fd_space(r, t->spaces[CKPT_SPACE_USER]), 0, 0, 0, 0, 0);
}

/*
 * In another user namespace nobody may choose a number: process 1 says which was the last
 * (ns_last_pid), and as nothing else runs, the next is ours.
 */
static int choose_number(struct restore *r, uint32_t tid, struct list *l, struct err *e)
{
	struct restoring *first = &r->procs[0];
	char text[16];

	snprintf(text, sizeof(text), "%u", tid - 1);
	list_init(l, r);
	list_call(l, "choose the number of a thread", SYS_pwrite64,
		  (uint64_t)restore_fd_last_pid(r), list_put(l, text, strlen(text)), strlen(text),
		  0, 0, 0);
	return list_run(l, &first->batch, &first->threads[0], e);
}

/* A thread before its time, which enters what it has alone. */
static int early_thread(struct restore *r, struct restoring *p, size_t i, struct list *l,
			struct err *e)
{
	const Ckpt__Thread *t = p->task->threads[i], *leader = p->task->threads[0];
	bool user = restore_has_own_user(r, p->task);
	pid_t born;
	int n = user ? choose_number(r, t->tid, l, e) : 0;

	list_init(l, r);
	if (n == 0)
		n = restore_clone(l, &p->batch, &p->threads[0], RESTORE_THREAD, 0,
				  user ? 0 : (pid_t)t->tid, &born, e);
	if (n == 0)
		n = ckpt_thread_adopt(&p->threads[i], born, (pid_t)p->task->process->pid,
				      (pid_t)t->tid, e);
	list_init(l, r);
	for (size_t k = 0; n == 0 && k < t->n_spaces; k++)
		if (t->spaces[k] != leader->spaces[k])
			list_call(l, "enter a thread's namespace", SYS_setns,
				  (uint64_t)restore_fd_space(r, t->spaces[k]), 0, 0, 0, 0, 0);
	return n == 0 && l->count ? list_run(l, &p->batch, &p->threads[i], e) : n;
}

bool restore_has_early_threads(const struct restore *r, const struct ckpt_task *k)
{
	const Ckpt__Thread *leader = k->threads[0];

	for (size_t i = 1; i < k->thread_count; i++)
		if (leader->n_spaces && memcmp(k->threads[i]->spaces, leader->spaces,
					       leader->n_spaces * sizeof(*leader->spaces)) != 0)
			return true;
	return restore_has_own_user(r, k);
}

int restore_join(struct restore *r, struct restoring *p, struct list *l, struct err *e)
{
	static const enum ckpt_space_kind order[] = { CKPT_SPACE_NET,  CKPT_SPACE_UTS,
						      CKPT_SPACE_IPC,  CKPT_SPACE_CGROUP,
						      CKPT_SPACE_TIME, CKPT_SPACE_MNT };
	const Ckpt__Thread *t = p->task->threads[0];

	list_init(l, r);
	for (size_t i = 0; t->n_spaces && i < ARRAY_SIZE(order); i++)
		if (t->spaces[order[i]] != ckpt_space_main(&r->tree, order[i]))
			list_call(l, "enter its namespaces", SYS_setns,
				  (uint64_t)restore_fd_space(r, t->spaces[order[i]]), 0, 0, 0, 0,
				  0);
	if (p->place >= 0) {
		uint64_t at = (uint64_t)restore_fd_place(r, p->place);

		list_call(l, "go to its root", SYS_fchdir, at, 0, 0, 0, 0, 0);
		list_call(l, "change its root", SYS_chroot, list_put(l, ".", 2), 0, 0, 0, 0, 0);
		if (!p->task->process->cwd_ghost)
			list_call(l, "go to its directory", SYS_fchdir, at + 1, 0, 0, 0, 0, 0);
	}
	return l->count ? list_run(l, &p->batch, &p->threads[0], e) : 0;
}

int restore_join_user(struct restore *r, struct restoring *p, struct list *l, struct err *e)
{
	int n;

	if (!restore_has_early_threads(r, p->task))
		return 0;
	list_init(l, r);
	/* Of those that the tree shares its threads would keep what only it lets go of. */
	if (!p->task->process->files_group)
		list_call(l, "have its own table of open files", SYS_unshare, CLONE_FILES, 0, 0, 0,
			  0, 0);
	if (restore_has_own_user(r, p->task))
		enter_user(r, p->task->threads[0], l);
	n = list_run(l, &p->batch, &p->threads[0], e);
	for (size_t i = 1; n == 0 && i < p->task->thread_count; i++)
		n = early_thread(r, p, i, l, e);
	return n;
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

bool restore_has_own_user(const struct restore *r, const struct ckpt_task *k)
{
	const Ckpt__Thread *t = k->threads[0];

	return t->n_outer_uids && t->n_spaces &&
	       t->spaces[CKPT_SPACE_USER] != ckpt_space_main(&r->tree, CKPT_SPACE_USER);
}
