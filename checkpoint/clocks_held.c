/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Time namespaces that are there for the children of a thread alone. */
#include "base/macro.h"
#include "checkpoint/clocks.h"
#include "checkpoint/image.pb-c.h"
#include "checkpoint/pidspaces.h"
#include "checkpoint/spaces.h"

#include <fcntl.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#ifndef CLONE_NEWTIME
#define CLONE_NEWTIME 0x80
#endif
#define FREE_FD 3 /* nobody has fds of its own yet */

const Ckpt__Thread *ckpt_clock_holder(const struct ckpt_tree *t, uint32_t space, size_t *ret_task)
{
	for (size_t i = 0; space && space != ckpt_space_main(t, CKPT_SPACE_TIME) && i < t->task_count; i++)
		for (size_t k = 0; k < t->tasks[i].thread_count; k++)
			if (t->tasks[i].threads[k]->time_children == space) {
				if (ret_task)
					*ret_task = i;
				return t->tasks[i].threads[k];
			}
	return NULL;
}

bool ckpt_holds_clocks(const struct ckpt_task *k)
{
	for (size_t i = 0; i < k->thread_count; i++)
		if (k->threads[i]->time_children)
			return true;
	return false;
}

static uint32_t time_of(const struct ckpt_task *k)
{
	return k->threads[0]->n_spaces ? k->threads[0]->spaces[CKPT_SPACE_TIME] : 0;
}

bool ckpt_clocks_before_threads(const struct ckpt_tree *t, const struct ckpt_task *k)
{
	return k->thread_count > 1 && (k->threads[0]->time_children || ckpt_clock_holder(t, time_of(k), NULL));
}

static int refuse(const struct ckpt_task *k, const char *why, struct err *e)
{
	return err_set(e, ERR_UNSUPPORTED, "process %d has a time namespace for its children %s, which cannot be saved",
		       k->pid ? (int)k->pid : (int)k->process->pid, why);
}

static uint32_t owner_of(const struct ckpt_tree *t, uint32_t space)
{
	uint32_t owner = t->spaces[space - 1]->owner;

	return owner == ckpt_space_main(t, CKPT_SPACE_USER) ? 0 : owner;
}

/* A thread is born by the first one, and has what that holds by then; or it makes its own. */
static int check_thread(const struct ckpt_tree *t, const struct ckpt_task *k, size_t i, struct err *e)
{
	const Ckpt__Thread *th = k->threads[i], *first = k->threads[0], *holder;
	uint32_t user = first->spaces[CKPT_SPACE_USER], space = th->time_children, owner = space ? owner_of(t, space) : 0;
	size_t task = 0;

	user = user == ckpt_space_main(t, CKPT_SPACE_USER) ? 0 : user;
	/* It was there before the first one entered its user namespace, when that was alone. */
	if (first->time_children && owner_of(t, first->time_children) != user && space != first->time_children &&
	    (!space || owner != user))
		return refuse(k, "and a thread without it", e);
	if (!space)
		return 0;
	holder = ckpt_clock_holder(t, space, &task);
	if (&t->tasks[task] != k)
		return refuse(k, "that another one has, too", e);
	if (holder != th && space != first->time_children)
		return refuse(k, "in two threads, but not the first", e);
	if (owner != user && (owner || ckpt_pid_space(t, first)))
		return refuse(k, "of a user namespace that it is not in", e);
	return owner != user && i > 0 && space != first->time_children ?
		       refuse(k, "in a thread, from before it entered its user namespace", e) :
		       0;
}

/* What leads there is opened before processes are there that could hold it. */
static int check_ways(const struct ckpt_tree *t, struct err *e)
{
	size_t task;

	for (size_t i = 0; i < t->file_count; i++)
		if (t->files[i]->kind == CKPT_FILE_NSFS && ckpt_clock_holder(t, t->files[i]->object, &task))
			return refuse(&t->tasks[task], "that a file is open of", e);
	for (size_t i = 0; i < t->super_count; i++)
		if (STREQ(t->supers[i]->type, "nsfs") && ckpt_clock_holder(t, t->supers[i]->spaces[0], &task))
			return refuse(&t->tasks[task], "that is mounted", e);
	return 0;
}

int ckpt_clocks_check(const struct ckpt_tree *t, struct err *e)
{
	bool any = false;

	for (size_t i = 0; i < t->task_count; i++) {
		if (!ckpt_holds_clocks(&t->tasks[i]))
			continue;
		any = true;
		for (size_t k = 0; k < t->tasks[i].thread_count; k++)
			if (check_thread(t, &t->tasks[i], k, e) < 0)
				return -EOPNOTSUPP;
	}
	return any ? check_ways(t, e) : 0;
}

int restore_enter_clocks(struct restore *r, struct restoring *p, struct list *l, struct err *e)
{
	uint32_t space = time_of(p->task);
	const Ckpt__Thread *holder = ckpt_clock_holder(&r->tree, space, NULL);
	char path[64];

	if (!holder)
		return 0;
	list_init(l, r);
	snprintf(path, sizeof(path), "%u/ns/time_for_children", holder->tid);
	list_call(l, "open a time namespace", SYS_openat, (uint64_t)restore_fd_space(r, space),
		  list_put(l, path, strlen(path) + 1), O_RDONLY | O_CLOEXEC, 0, 0, 0);
	list_call(l, "enter a time namespace", SYS_setns, FREE_FD, CLONE_NEWTIME, 0, 0, 0, 0);
	list_call(l, NULL, SYS_close, FREE_FD, 0, 0, 0, 0, 0);
	return list_run(l, &p->batch, &p->threads[0], e);
}

/* What it has without anything being set: as its own time namespace, or as the first thread's children. To set it asks for a
 * right (CAP_SYS_TIME) that few have. */
static bool is_as_born(const struct ckpt_tree *t, const struct ckpt_task *k, size_t thread)
{
	uint32_t before = thread && k->threads[0]->time_children ? k->threads[0]->time_children : time_of(k);
	const char *was = before == ckpt_space_main(t, CKPT_SPACE_TIME) ? "0 0" : t->spaces[before - 1]->offsets;

	return STREQ(t->spaces[k->threads[thread]->time_children - 1]->offsets, was);
}

static void set_offsets(const struct restore *r, const Ckpt__Thread *t, const char *text, struct list *l)
{
	char file[64];

	/* There is none below /proc/PID/task. */
	snprintf(file, sizeof(file), "%u/timens_offsets", t->tid);
	list_call(l, "open the offsets of a time namespace", SYS_openat, (uint64_t)restore_fd_space(r, t->time_children),
		  list_put(l, file, strlen(file) + 1), O_WRONLY | O_CLOEXEC, 0, 0, 0);
	list_call(l, "set the offsets of a time namespace", SYS_write, FREE_FD, list_put(l, text, strlen(text)), strlen(text),
		  0, 0, 0);
	list_call(l, NULL, SYS_close, FREE_FD, 0, 0, 0, 0, 0);
}

int restore_hold_clocks(struct restore *r, struct restoring *p, size_t thread, uint32_t user, struct list *l, struct err *e)
{
	const struct ckpt_task *k = p->task;
	uint32_t space = k->threads[thread]->time_children;
	char text[CKPT_OFFSETS_TEXT];
	int64_t base[2];
	int n;

	if (!space || owner_of(&r->tree, space) != user || (thread && space == k->threads[0]->time_children))
		return 0;
	n = ckpt_clock_offsets(r->procs[0].threads[0].tid, base, e);
	if (n == 0)
		n = ckpt_clock_format(r->tree.spaces[space - 1]->offsets, base, text, e);
	if (n < 0)
		return n;
	list_init(l, r);
	list_call(l, "make a time namespace", SYS_unshare, CLONE_NEWTIME, 0, 0, 0, 0, 0);
	/* What it has in /proc is nobody's else, since it has another identity. */
	list_call(l, "open it to its own root", SYS_prctl, PR_SET_DUMPABLE, 1, 0, 0, 0, 0);
	if (!is_as_born(&r->tree, k, thread))
		set_offsets(r, k->threads[thread], text, l);
	return list_run(l, &p->batch, &p->threads[thread], e);
}
