/* SPDX-License-Identifier: GPL-2.0-or-later */

/* From a started VPS to processes that are whole, stopped, and have not run. */
#include "base/fd.h"
#include "base/macro.h"
#include "base/proc.h"
#include "base/step.h"
#include "checkpoint/enter.h"
#include "checkpoint/groups.h"
#include "checkpoint/image.pb-c.h"
#include "checkpoint/kinds/pty.h"
#include "checkpoint/leaders.h"
#include "checkpoint/program.h"
#include "checkpoint/restore_births.h"
#include "checkpoint/restore_internal.h"
#include "checkpoint/restore_phases.h"
#include "checkpoint/restore_spaces.h"
#include "checkpoint/sockets.h"
#include "checkpoint/times.h"
#include "checkpoint/uring_waiting.h"
#include "checkpoint/waits.h"

#include <errno.h>
#include <sys/syscall.h>

/* The holder has the masters that nobody inside has: the console's, and those of clients who are gone. */
static int fill_terminals(struct restore *r, struct err *e)
{
	cleanup_close int pidfd = pidfd_open_pid(r->procs[0].task->pid);
	int n = ckpt_pty_console(&r->tree, rt_console_fd(r->vps), e);

	for (uint32_t i = 0; n == 0 && i < r->tree.file_count; i++) {
		const Ckpt__File *f = r->tree.files[i];
		int fd;

		if (f->kind != CKPT_FILE_PTY_MASTER || !f->pty->outside)
			continue;
		fd = (int)syscall(SYS_pidfd_getfd, pidfd, restore_fd_file(r, i + 1), 0);
		n = fd < 0 ? err_sys(e, "take terminal %u", f->pty->index) : rt_keep(r->vps, fd, e);
	}
	return n;
}

/* Process 1 of each pid namespace last, the innermost first: it says which numbers others' threads get, and may
 * have no right to that where it goes. */
static int join_users(struct restore *r, struct list *l, struct err *e)
{
	int n = 0;

	for (size_t i = 0; n == 0 && i < r->tree.task_count; i++)
		if (!ckpt_pid_is_first(&r->tree, r->tree.tasks[i].threads[0]))
			n = restore_join_user(r, &r->procs[i], l, e);
	for (size_t i = r->tree.task_count; n == 0 && i-- > 0;)
		if (ckpt_pid_is_first(&r->tree, r->tree.tasks[i].threads[0]))
			n = restore_join_user(r, &r->procs[i], l, e);
	return n;
}

/* Processes before mounts and open files: those with tables of their own fetch these, as they could not inherit
 * them. */
static int bear_first(struct restore *r, struct list *l, struct err *e)
{
	int n = restore_fork_tree(r, l, e);

	if (n == 0)
		n = restore_by_helper(r, restore_open_last, true, l, e);
	for (size_t i = 1; n == 0 && i < r->tree.task_count; i++) {
		const Ckpt__Process *k = r->tree.tasks[i].process;

		if (k->files_group == k->pid || k->ppid == 0)
			n = restore_fetch(r, &r->procs[i], l, e);
	}
	return n;
}

struct building {
	struct restore *r;
	struct ckpt_record *rec; /* the first behind the tree, */
	int more;                /* and whether it is there */
	struct list *l;          /* RESTORE_LISTS; what is done once takes the first */
	int group, user;
	pid_t init;
	struct ckpt_warm *warm;
	struct restore_near near;
};

static int heritage(struct building *b, struct err *e)
{
	b->warm = ckpt_groups_warm(&b->r->tree, b->group, b->init);
	b->more = restore_heritage(b->r, b->rec, b->more, e);
	return b->more < 0 ? b->more : 0;
}

static int take_over(struct building *b, struct err *e)
{
	struct restore *r = b->r;

	restore_near_begin(r, &b->near);
	return r->early ? restore_early_settle(r, b->l, e) : restore_take_over(r, &r->procs[0], b->init, 1, b->l, e);
}

static int terminals(struct building *b, struct err *e)
{
	return fill_terminals(b->r, e);
}

static int births_first(struct building *b, struct err *e)
{
	return restore_is_nested(b->r) ? bear_first(b->r, b->l, e) : 0;
}

static int sockets(struct building *b, struct err *e)
{
	int n = restore_sockets_take(b->r, e);

	return n == 0 ? restore_waiting_take(b->r, e) : n;
}

static int births(struct building *b, struct err *e)
{
	int n = restore_is_nested(b->r) ? 0 : restore_fork_tree(b->r, b->l, e);

	ckpt_groups_await(b->warm);
	b->warm = NULL;
	return n;
}

/* Before they have memory, which is charged to the group. */
static int place_groups(struct building *b, struct err *e)
{
	int n = ckpt_groups_place(&b->r->tree, b->group, b->user, e);

	return n == 0 ? ckpt_groups_enable(&b->r->tree, b->group, b->user, e) : n;
}

static int contents(struct building *b, struct err *e)
{
	int n = fault_point("restore", "pages", e);

	restore_near_leave(&b->near);
	if (n == 0)
		n = restore_contents(b->r, b->rec, b->more, b->l, e);
	if (n == 0)
		n = restore_copy_inherited(b->r, e);
	restore_near_return(&b->near);
	return n;
}

static int late(struct building *b, struct err *e)
{
	return restore_late(b->r, b->l, e);
}

static int tables(struct building *b, struct err *e)
{
	return restore_tables(b->r, b->l, e);
}

static int settle_groups(struct building *b, struct err *e)
{
	return restore_settle_groups(b->r, b->group, b->user, e);
}

static int users(struct building *b, struct err *e)
{
	return join_users(b->r, b->l, e);
}

static int networks(struct building *b, struct err *e)
{
	return restore_networks_last(b->r, e);
}

static int stir_groups(struct building *b, struct err *e)
{
	for (size_t i = 0; i < b->r->tree.file_count; i++)
		if (b->r->tree.files[i]->kind == CKPT_FILE_INOTIFY && b->r->tree.files[i]->stirred)
			return ckpt_groups_stir(b->group, e);
	return 0;
}

static int freeze_groups(struct building *b, struct err *e)
{
	return ckpt_groups_freeze(&b->r->tree, b->group, b->user, e);
}

static int settle_numbers(struct building *b, struct err *e)
{
	return restore_settle_numbers(b->r, e);
}

static int limit_users(struct building *b, struct err *e)
{
	return restore_user_limits(b->r, e);
}

/* Once, or for each process: what a process does last of a step it does while the next ones are begun. */
static const struct {
	const char *name; /* for ckpt_time() */
	int (*all)(struct building *b, struct err *e);
	int (*each)(struct restore *r, struct restoring *p, struct list *l, struct err *e);
} steps[] = {
	{ "heritage", heritage, NULL },
	{ "take over", take_over, NULL },
	{ "terminals", terminals, NULL },
	{ "births in pid namespaces", births_first, NULL },
	{ "sockets", sockets, NULL },
	{ "births", births, NULL },
	{ "control groups", place_groups, NULL },
	{ "namespaces", NULL, restore_join },
	{ "memory areas", NULL, restore_memory },
	{ "what is not inherited", NULL, restore_disown },
	{ "contents", contents, NULL },
	{ "programs in memory", NULL, restore_program },
	{ "what needs all processes", late, NULL },
	/* All is made that they limit, and the namespaces are open here. */
	{ "limits of user namespaces", limit_users, NULL },
	{ "tables of open files", tables, NULL },
	{ "user namespaces", users, NULL },
	{ "processes", NULL, restore_process },
	{ "limits", NULL, restore_outside },
	{ "threads", NULL, restore_threads },
	{ "signals", NULL, restore_signals },
	{ "requests", NULL, restore_uring_requests },
	{ "last of the network", networks, NULL },
	/* Nobody is born any more; and a pid namespace is entered by the first thread of its process 1. */
	{ "last numbers", settle_numbers, NULL },
	{ "first threads that have ended", NULL, restore_leader },
	{ "signals of parents' ends", NULL, restore_tie },
	{ "waits", NULL, restore_waits },
	{ "calls", NULL, restore_waits_enter },
	{ "interrupted calls", NULL, restore_waits_finish },
	{ "settings of groups", settle_groups, NULL },
	{ "our memory", NULL, restore_unmap_own },
	{ "registers", NULL, restore_registers },
	{ "news of groups", stir_groups, NULL },
	{ "frozen groups", freeze_groups, NULL },
};

/* All have begun before the first is waited for, RESTORE_LISTS at a time: the waits of each, for a stop and on a busy
 * host for a processor, are one. */
static int do_each(struct building *b, int (*each)(struct restore *r, struct restoring *p, struct list *l, struct err *e),
		   struct err *e)
{
	int n = 0;

	for (size_t i = 0; n == 0 && i < b->r->tree.task_count; i++) {
		struct list *l = &b->l[i % RESTORE_LISTS];

		n = list_finish(l, e);
		if (n == 0)
			n = each(b->r, &b->r->procs[i], l, e);
	}
	for (size_t i = 0; n == 0 && i < RESTORE_LISTS; i++)
		n = list_finish(&b->l[i], e);
	return n;
}

int restore_build(struct restore *r, struct ckpt_record *rec, int more, struct list *l, struct err *e)
{
	pid_t init = rt_init_pid(r->vps);
	cleanup_close int group = cgroup_open(rt_cgroup(r->vps), e), user = ckpt_space_open((int)init, "user", e);
	struct building b = { r, rec, more, l, group, user, init, NULL, { .cpu = -1 } };
	int n = group < 0 || user < 0 ? -ENOENT : 0;

	for (size_t i = 0; n == 0 && i < ARRAY_SIZE(steps); i++) {
		n = steps[i].all ? steps[i].all(&b, e) : do_each(&b, steps[i].each, e);
		ckpt_time(steps[i].name);
	}
	restore_near_leave(&b.near);
	ckpt_groups_await(b.warm);
	return n == 0 ? fault_point("restore", "commit", e) : n;
}
