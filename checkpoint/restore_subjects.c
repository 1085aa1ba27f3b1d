/* SPDX-License-Identifier: GPL-2.0-or-later */

/*
 * Threads that open files speak of: pidfds, files of /proc, whom signals are sent to. These threads are born
 * before the files are opened, and with them all of their process; others when their process has all else. They
 * share its table of open files, so that it needs one of its own by then. Likewise threads that have what their
 * process does not share with them (own.h).
 */
#include "base/macro.h"
#include "checkpoint/clocks.h"
#include "checkpoint/image.pb-c.h"
#include "checkpoint/restore_births.h"
#include "checkpoint/own.h"
#include "checkpoint/subjects.h"

#include <fcntl.h>
#include <sched.h>
#include <sys/syscall.h>

uint32_t ckpt_subject_number(const Ckpt__File *f)
{
	const char *task = f->kind == CKPT_FILE_VIRTUAL ? strstr(f->path, "/task/") : NULL;
	unsigned tid = 0;

	if (f->kind == CKPT_FILE_PIDFD)
		return (uint32_t)f->value;
	if (task && ckpt_file_opens_late(f) && sscanf(task, "/task/%u", &tid) == 1)
		return tid;
	return 0;
}

/* As the VPS numbers it or, in a /proc of its own, a nested pid namespace. */
static bool is_number_of(const Ckpt__Thread *t, uint32_t number)
{
	for (size_t i = 0; i < t->n_numbers; i++)
		if (t->numbers[i] == number)
			return true;
	return t->tid == number;
}

static bool is_thread_of(const struct ckpt_task *k, uint32_t number)
{
	for (size_t i = 1; number && i < k->thread_count; i++)
		if (is_number_of(k->threads[i], number))
			return true;
	return false;
}

bool ckpt_file_is_of_thread(const struct ckpt_tree *t, const Ckpt__File *f)
{
	uint32_t number = ckpt_subject_number(f);

	for (size_t i = 0; number && i < t->task_count; i++)
		if (is_thread_of(&t->tasks[i], number))
			return true;
	return false;
}

static bool is_subject(const struct ckpt_tree *t, const struct ckpt_task *k)
{
	if (ckpt_has_own(k))
		return true;
	for (size_t i = 0; k->thread_count > 1 && i < t->file_count; i++) {
		const Ckpt__File *f = t->files[i];

		if (is_thread_of(k, ckpt_subject_number(f)) ||
		    (f->owner_type == F_OWNER_TID && is_thread_of(k, f->owner)))
			return true;
	}
	return false;
}

/* It enters its user namespace alone, when all is opened: with no rights to take what is opened from others. */
static bool enters_user(const struct ckpt_tree *t, const Ckpt__Thread *th)
{
	uint32_t space = ckpt_pid_space(t, th);

	return th->n_outer_uids && (!space || t->spaces[space - 1]->owner != th->spaces[CKPT_SPACE_USER]);
}

int ckpt_subjects_check(const struct ckpt_tree *t, struct err *e)
{
	for (size_t i = 0; i < t->task_count; i++)
		if (enters_user(t, t->tasks[i].threads[0]) && is_subject(t, &t->tasks[i]))
			return err_set(
				e, ERR_UNSUPPORTED,
				"threads of process %d, in a nested user namespace, are open as "
				"files (of /proc, pidfds) or have open files or a directory of their own, which cannot "
				"be saved",
				(int)t->tasks[i].pid);
	for (size_t i = 0; i < t->task_count; i++)
		if (ckpt_clocks_before_threads(t, &t->tasks[i]) && is_subject(t, &t->tasks[i]))
			return err_set(e, ERR_UNSUPPORTED,
				       "threads of process %d, whose time namespace another made for its children, or which has one "
				       "for its own, are open as files (of /proc, pidfds) or have open files or a directory of their "
				       "own, which cannot be saved",
				       (int)t->tasks[i].pid);
	/* A process of several threads enters no mount namespace, and the first opens them. */
	for (size_t i = 0; i < t->file_count && is_subject(t, &t->tasks[0]); i++)
		if (t->files[i]->kind == CKPT_FILE_VIRTUAL && t->files[i]->space &&
		    ckpt_file_is_of_thread(t, t->files[i]))
			return err_set(e, ERR_UNSUPPORTED,
				       "%s, of a thread, is open in a nested mount namespace beside a "
				       "thread of process 1, which cannot be saved",
				       t->files[i]->path);
	return 0;
}

static int bear(struct restore *r, struct restoring *p, struct list *l, struct err *e)
{
	int n;

	list_init(l, r);
	/* That of the first process is the one that all others leave: restore_tables(). */
	if (p != &r->procs[0] && !p->task->process->files_group)
		list_call(l, "have its own table of open files", SYS_unshare, CLONE_FILES, 0, 0, 0, 0, 0);
	n = list_run(l, &p->batch, &p->threads[0], e);
	if (n == 0)
		n = restore_share_filters(r, p, l, e);
	for (size_t i = 1; n == 0 && i < p->task->thread_count; i++)
		n = restore_bear_thread(r, p, i, p->user, l, e);
	list_init(l, r);
	p->subject = true;
	return n;
}

int restore_subjects(struct restore *r, struct list *l, struct err *e)
{
	int n = 0;

	for (size_t i = 0; n == 0 && i < r->tree.task_count; i++)
		if (is_subject(&r->tree, &r->tree.tasks[i]))
			n = bear(r, &r->procs[i], l, e);
	return n;
}
