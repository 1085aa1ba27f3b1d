/* SPDX-License-Identifier: GPL-2.0-or-later */

/*
 * Tables of open files while a tree is restored: nearly all processes share that of the first until all is
 * opened. Others are those who came from outside and those who share theirs in the end, with each other only.
 */
#include "base/macro.h"
#include "checkpoint/image.pb-c.h"
#include "checkpoint/restore_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <sys/syscall.h>

#define PIDFD 3 /* free: nobody has fds of its own yet */
#define FETCHED 4

static int fetch(struct restoring *p, int number, struct list *l, struct err *e)
{
	int n = list_fits(l, 3, 0) ? 0 : list_run(l, &p->batch, &p->threads[0], e);

	/* Some are not there yet; that one is missing is seen where it is used. */
	list_call(l, NULL, SYS_pidfd_getfd, PIDFD, (uint64_t)number, 0, 0, 0, 0);
	list_call(l, NULL, SYS_dup3, FETCHED, (uint64_t)number, O_CLOEXEC, 0, 0, 0);
	list_call(l, NULL, SYS_close, FETCHED, 0, 0, 0, 0, 0);
	return n;
}

int restore_fetch(struct restore *r, struct restoring *p, bool late, struct list *l, struct err *e)
{
	int n = 0;

	list_init(l, r);
	list_call(l, NULL, SYS_close_range, PIDFD, (uint64_t)r->base - 1, 0, 0, 0, 0);
	list_call(l, "open process 1", SYS_pidfd_open, 1, 0, 0, 0, 0, 0);
	for (int fd = r->base; n == 0 && !late && fd < restore_fd_end(r); fd++)
		n = fetch(p, fd, l, e);
	for (uint32_t id = 1; n == 0 && late && id <= r->tree.file_count; id++)
		if (ckpt_kinds[r->tree.files[id - 1]->kind]->late)
			n = fetch(p, restore_fd_file(r, id), l, e);
	list_call(l, NULL, SYS_close, PIDFD, 0, 0, 0, 0, 0);
	return n == 0 ? list_run(l, &p->batch, &p->threads[0], e) : n;
}

int restore_tables(struct restore *r, struct list *l, struct err *e)
{
	bool groups = false;
	int n = 0;

	for (size_t i = 1; n == 0 && i < r->tree.task_count; i++) {
		const Ckpt__Process *k = r->tree.tasks[i].process;

		groups = groups || k->files_group;
		if (k->files_group == k->pid || k->ppid == 0)
			n = restore_fetch(r, &r->procs[i], true, l, e);
	}
	/* Before any of those who share one puts its fds there. */
	for (size_t i = 1; n == 0 && groups && i < r->tree.task_count; i++) {
		if (r->tree.tasks[i].process->files_group)
			continue;
		list_init(l, r);
		list_call(l, "have its own table of open files", SYS_unshare, CLONE_FILES, 0, 0, 0,
			  0, 0);
		n = list_run(l, &r->procs[i].batch, &r->procs[i].threads[0], e);
	}
	return n;
}
