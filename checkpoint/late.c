/* SPDX-License-Identifier: GPL-2.0-or-later */

/*
 * What open files need that can only be had when all processes are there: files of /proc, pidfds, what
 * is watched. The first process does it, with all the rights of the VPS's root; the others still share its
 * table of open files. They have no fds of their own yet, so that 3 is free.
 */
#include "base/macro.h"
#include "base/path.h"
#include "checkpoint/image.pb-c.h"
#include "checkpoint/ipc.h"
#include "checkpoint/restore_internal.h"
#include "checkpoint/spaces.h"
#include "checkpoint/subjects.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/mount.h>
#include <sys/syscall.h>
#include <unistd.h>

struct ckpt_late {
	struct restore *r;
	struct list *l;
	uint32_t id;
	bool mounts;
	uint32_t space; /* that process 1 is in; 0: its own */
	struct err *e;
};

static int run(struct ckpt_late *q)
{
	struct restoring *p = &q->r->procs[0];

	return list_run(q->l, &p->batch, &p->threads[0], q->e);
}

int ckpt_late_room(struct ckpt_late *q, size_t calls, size_t bytes)
{
	return list_fits(q->l, calls, bytes) ? 0 : run(q);
}

void ckpt_late_call(struct ckpt_late *q, const char *what, uint64_t nr, uint64_t a, uint64_t b,
		    uint64_t c, uint64_t d)
{
	list_call(q->l, what, nr, a, b, c, d, 0, 0);
}

void ckpt_late_call5(struct ckpt_late *q, const char *what, uint64_t nr, const uint64_t args[5])
{
	list_call(q->l, what, nr, args[0], args[1], args[2], args[3], args[4], 0);
}

uint64_t ckpt_late_put(struct ckpt_late *q, const void *data, size_t len)
{
	return list_put(q->l, data, len);
}

uint64_t ckpt_late_fd(const struct ckpt_late *q)
{
	return (uint64_t)restore_fd_file(q->r, q->id);
}

void ckpt_late_open(struct ckpt_late *q, const char *what, uint64_t path, int flags)
{
	struct open_how how;

	path_how_no_magic(flags, &how);
	list_call(q->l, what, SYS_openat2, (uint64_t)AT_FDCWD, path, list_put(q->l, &how, sizeof(how)), sizeof(how), 0,
		  0);
}

int ckpt_late_fd_of(const struct ckpt_late *q, uint32_t file)
{
	return restore_fd_file(q->r, file);
}

void ckpt_late_opened(struct ckpt_late *q, const char *what)
{
	list_call(q->l, what, SYS_dup3, 3, ckpt_late_fd(q), O_CLOEXEC, 0, 0, 0);
	list_call(q->l, NULL, SYS_close, 3, 0, 0, 0, 0, 0);
}

void ckpt_late_enter(struct ckpt_late *q, uint32_t space)
{
	const struct restoring *p = &q->r->procs[0];
	uint64_t place = (uint64_t)restore_fd_place(q->r, p->place);
	uint32_t ghost = p->task->process->cwd_ghost;

	if (space == q->space)
		return;
	q->space = space;
	if (!space)
		space = ckpt_space_main(&q->r->tree, CKPT_SPACE_MNT);
	list_call(q->l, "enter a mount namespace", SYS_setns, (uint64_t)restore_fd_space(q->r, space), 0, 0, 0, 0, 0);
	/* Its root and directory were lost on the way. */
	if (!q->space && p->place >= 0) {
		list_call(q->l, "go to its root", SYS_fchdir, place, 0, 0, 0, 0, 0);
		list_call(q->l, "change its root", SYS_chroot, list_put(q->l, ".", 2), 0, 0, 0, 0, 0);
		list_call(q->l, "go to its directory", SYS_fchdir,
			  ghost			 ? (uint64_t)restore_fd_ghost(q->r, ghost) :
			  restore_goes_late(p) ? place :
						 place + 1,
			  0, 0, 0, 0, 0);
	}
}

void ckpt_late_mounts(struct ckpt_late *q)
{
	q->mounts = true;
}

/*
 * Whoever polls a list of mounts is told that it has changed: the kernel does not tell whether there was
 * a change that nobody had heard of, and mounts have other numbers now. After what polls it is there, as
 * each poll takes the news.
 */
static int change_mounts(struct ckpt_late *q)
{
	int n = ckpt_late_room(q, 2, 64);
	uint64_t at, type;

	if (n < 0)
		return n;
	at = ckpt_late_put(q, "/proc", 6);
	type = ckpt_late_put(q, "tmpfs", 6);
	ckpt_late_call(q, "mount something", SYS_mount, type, at, type, 0);
	ckpt_late_call(q, "unmount it", SYS_umount2, at, MNT_DETACH, 0, 0);
	return 0;
}

enum pass {
	OF_PROCESSES,
	OF_THREADS,
	WATCHES, /* of what is open by now; and what is registered with rings */
};

static enum pass pass_of(const struct ckpt_tree *t, const Ckpt__File *f)
{
	if (f->n_watches || f->uring)
		return WATCHES;
	return ckpt_file_is_of_thread(t, f) ? OF_THREADS : OF_PROCESSES;
}

static int do_kinds(struct ckpt_late *q, enum pass pass)
{
	int n = 0;

	for (q->id = 1; n == 0 && q->id <= q->r->tree.file_count; q->id++) {
		const Ckpt__File *f = q->r->tree.files[q->id - 1];

		if (ckpt_kinds[f->kind]->late && pass_of(&q->r->tree, f) == pass)
			n = ckpt_kinds[f->kind]->late(q, f, q->e);
	}
	return n;
}

/* Whoever has the other ends keeps them no longer than that. */
static int fill_sockets(struct restore *r, struct list *l, struct err *e)
{
	struct restoring *p = &r->procs[0];
	int n = list_run(l, &p->batch, &p->threads[0], e);

	if (n == 0)
		n = restore_by_helper(r, restore_fill_sockets, false, l, e);
	list_init(l, r);
	list_call(l, NULL, SYS_close_range, (uint64_t)restore_fd_mate(r, 0), (uint64_t)restore_fd_end(r) - 1, 0, 0, 0,
		  0);
	return n;
}

/* Processes go to their directories by themselves (restore_process()), while process 1 may still have our fds: but where
 * these are does not change any more. */
static void check_directory(struct ckpt_late *q, const char *cwd)
{
	ckpt_late_enter(q, q->r->procs[0].place < 0 ? 0 : ckpt_space_main(&q->r->tree, CKPT_SPACE_MNT));
	ckpt_late_open(q, "find its directory", ckpt_late_put(q, cwd, strlen(cwd) + 1), O_PATH | O_DIRECTORY);
	ckpt_late_call(q, NULL, SYS_close, 3, 0, 0, 0);
}

static void open_directory(struct ckpt_late *q, const struct restoring *p)
{
	const Ckpt__Process *k = p->task->process;

	ckpt_late_enter(q, k->cwd_space ? k->cwd_space : ckpt_space_main(&q->r->tree, CKPT_SPACE_MNT));
	ckpt_late_open(q, "find its directory", ckpt_late_put(q, k->cwd, strlen(k->cwd) + 1), O_PATH | O_DIRECTORY);
	ckpt_late_call(q, "place its directory", SYS_dup3, 3, (uint64_t)restore_fd_place(q->r, p->place) + 1, O_CLOEXEC, 0);
	ckpt_late_call(q, NULL, SYS_close, 3, 0, 0, 0);
}

static int find_directories(struct ckpt_late *q)
{
	const char *last = "/";
	int n = 0;

	for (size_t i = 0; n == 0 && i < q->r->tree.task_count; i++) {
		const struct restoring *p = &q->r->procs[i];
		const char *cwd = p->task->process->cwd;
		bool opens = restore_goes_late(p);

		if (!opens && (p->place >= 0 || p->task->process->cwd_ghost || STREQ(cwd, last)))
			continue;
		n = ckpt_late_room(q, 12, strlen(cwd) + 128);
		if (opens)
			open_directory(q, p);
		else
			check_directory(q, last = cwd);
	}
	ckpt_late_enter(q, 0);
	return n;
}

int restore_late(struct restore *r, struct list *l, struct err *e)
{
	struct ckpt_late q = { .r = r, .l = l, .e = e };
	int n;

	list_init(l, r);
	if (r->base > 3)
		list_call(l, NULL, SYS_close_range, 3, (uint64_t)r->base - 1, 0, 0, 0, 0);
	n = restore_sem(r, l, e);
	if (n == 0)
		n = restore_shm_removed(r, e);
	if (n == 0)
		n = do_kinds(&q, OF_PROCESSES);
	if (n == 0)
		n = run(&q);
	if (n == 0)
		n = restore_subjects(r, l, e);
	if (n == 0)
		n = do_kinds(&q, OF_THREADS);
	if (n == 0)
		n = find_directories(&q);
	for (uint32_t id = 1; n == 0 && id <= r->tree.file_count; id++)
		n = restore_late_locks(&q, id, r->tree.files[id - 1]);
	if (n == 0 && r->fills_late)
		n = fill_sockets(r, l, e);
	if (n == 0)
		n = do_kinds(&q, WATCHES);
	/* Last: their numbers may be any. */
	for (uint32_t id = 1; n == 0 && id <= r->tree.file_count; id++)
		if (r->tree.files[id - 1]->kind == CKPT_FILE_EPOLL)
			n = restore_epoll(r, id, l, e);
	if (n == 0)
		n = restore_owners(r, l, e);
	if (n == 0 && q.mounts)
		n = change_mounts(&q);
	if (n == 0)
		n = run(&q);
	if (n == 0 && r->base > 3)
		list_call(l, NULL, SYS_close_range, 3, (uint64_t)r->base - 1, 0, 0, 0, 0);
	return n == 0 ? run(&q) : n;
}
