/* SPDX-License-Identifier: GPL-2.0-or-later */

/* What is decided before anything is there: where our own memory lies, and which number each open file has. */
#include "base/fd.h"
#include "base/macro.h"
#include "checkpoint/image.pb-c.h"
#include "checkpoint/restore_internal.h"
#include "checkpoint/restore_phases.h"
#include "checkpoint/restore_spaces.h"
#include "checkpoint/sockets.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>

#define OWN_FDS 64 /* that are opened on the way, at most */

bool restore_is_free(const struct ckpt_tree *t, uint64_t start, uint64_t end)
{
	for (size_t i = 0; i < t->task_count; i++) {
		const Ckpt__Mm *mm = t->tasks[i].mm;

		if (mm->vdso < end + MIB(1) && start < mm->vdso + MIB(2))
			return false;
		for (size_t k = 0; k < mm->n_area; k++)
			if (mm->area[k]->start < end + MIB(1) && start < mm->area[k]->end + MIB(1))
				return false;
	}
	return true;
}

int restore_plan_region(struct restore *r, struct err *e)
{
	for (uint64_t at = 0x10000000000ull; at < RESTORE_ADDRESS_MAX - MIB(64); at += 0x1000000000ull)
		if (restore_is_free(&r->tree, at, at + RESTORE_REGION)) {
			r->region = at;
			return 0;
		}
	return err_set(e, ERR_FAIL, "no address is free in all processes");
}

bool restore_is_read_only(const struct restore *r, const Ckpt__Area *a)
{
	return a->read_only && (a->flags & MAP_SHARED) &&
	       (a->ghost || (a->shmem && !r->tree.shmems[a->shmem - 1]->sysv));
}

/* The index of a path among those to be opened for mapping. */
static int add_mapped(struct restore *r, char *path, uint32_t space, enum mapped_write write, struct err *e)
{
	struct mapped *m;

	for (size_t i = 0; i < r->mapped_count; i++)
		if (r->mapped[i]->write == write && r->mapped[i]->space == space && STREQ(r->mapped[i]->path, path))
			return (int)i;
	m = ckpt_alloc(&r->tree.arena, sizeof(*m));
	if (m)
		*m = (struct mapped){ .path = path, .write = write, .space = space };
	if (!m || path[0] != '/' || ckpt_push(&r->tree.arena, &r->mapped, &r->mapped_count, m) < 0)
		return err_set(e, ERR_FAIL, "the image is damaged: a path %s", path);
	return (int)r->mapped_count - 1;
}

/* Of the fds that are open here: the first process is born with them, and needs some until it is itself. Of each
 * process that was put in place early there are several. */
static uint32_t own_highest(void)
{
	cleanup_closedir DIR *d = opendir("/proc/self/fd");
	const struct dirent *entry;
	uint32_t highest = 0;

	while (d && (entry = readdir(d)) != NULL) {
		uint32_t n = (uint32_t)strtoul(entry->d_name, NULL, 10);

		if (n > highest)
			highest = n;
	}
	return highest;
}

static uint32_t highest_fd(const struct ckpt_task *k, uint32_t highest)
{
	for (size_t i = 0; i < k->thread_count; i++) {
		const Ckpt__ThreadOwn *own = k->threads[i]->own;
		const Ckpt__FdTable *t = i == 0 ? k->fds : own ? own->fds : NULL;

		for (size_t n = 0; t && n < t->n_fd; n++)
			if (t->fd[n]->fd > highest)
				highest = t->fd[n]->fd;
	}
	return highest;
}

static int plan_own(struct restore *r, struct restoring *p)
{
	const struct ckpt_task *k = p->task;

	p->own_place = ckpt_alloc(&r->tree.arena, k->thread_count * sizeof(*p->own_place));
	for (size_t i = 0; p->own_place && i < k->thread_count; i++)
		if (k->threads[i]->own && k->threads[i]->own->fs) {
			p->own_place[i] = (int)r->place_count;
			r->place_count += 2;
		}
	return p->own_place ? 0 : -ENOMEM;
}

/* The same of shared memory and nameless files of which a mapping may never be written to. */
static int add_read_only(struct restore *r, uint32_t shmem, uint32_t ghost, struct err *e)
{
	static char none[] = "";
	struct mapped *m;

	for (size_t i = 0; i < r->mapped_count; i++)
		if (!r->mapped[i]->path[0] && r->mapped[i]->shmem == shmem && r->mapped[i]->ghost == ghost)
			return (int)i;
	m = ckpt_alloc(&r->tree.arena, sizeof(*m));
	if (m)
		*m = (struct mapped){ .path = none, .shmem = shmem, .ghost = ghost };
	if (!m || ckpt_push(&r->tree.arena, &r->mapped, &r->mapped_count, m) < 0)
		return err_code(e, -ENOMEM, "restore");
	return (int)r->mapped_count - 1;
}

static enum mapped_write write_of(const Ckpt__Area *a)
{
	if (!(a->flags & MAP_SHARED))
		return MAPPED_READ;
	return a->prot & PROT_WRITE ? MAPPED_WRITE : a->may_write ? MAPPED_MAY_WRITE : MAPPED_READ;
}

/* What is mapped of files is known by its index at first, as the numbers come when all files are known. */
static int plan_mapped(struct restore *r, struct restoring *p, struct err *e)
{
	const Ckpt__Mm *mm = p->task->mm;
	int n;

	for (size_t k = 0; k < mm->n_area; k++) {
		const Ckpt__Area *a = mm->area[k];

		if (restore_is_read_only(r, a))
			n = add_read_only(r, a->ghost ? 0 : a->shmem, a->ghost, e);
		else if (a->path[0] && !a->ghost)
			n = add_mapped(r, a->path, a->space, write_of(a), e);
		else
			continue;
		if (n < 0)
			return n;
		p->area_fd[k] = n;
	}
	n = mm->exe_ghost || mm->exe_memfd ? 0 : add_mapped(r, mm->exe, mm->exe_space, MAPPED_READ, e);
	p->exe_fd = n;
	return n < 0 ? n : 0;
}

static int plan_process(struct restore *r, struct restoring *p, struct ckpt_task *task, struct err *e)
{
	int n;

	p->task = task;
	p->threads = ckpt_alloc(&r->tree.arena, task->thread_count * sizeof(*p->threads));
	p->area_fd = ckpt_alloc(&r->tree.arena, (task->mm->n_area + 1) * sizeof(int));
	if (!p->threads || !p->area_fd || plan_own(r, p) < 0)
		return err_code(e, -ENOMEM, "restore");
	n = plan_mapped(r, p, e);
	p->place = -1;
	if (n == 0 && restore_is_elsewhere(r, task)) {
		p->place = (int)r->place_count;
		r->place_count += 2;
	}
	return n;
}

static void number_mapped(struct restore *r, struct restoring *p)
{
	const Ckpt__Mm *mm = p->task->mm;

	p->exe_fd = mm->exe_memfd ? restore_fd_shmem(r, mm->exe_memfd)
		    : mm->exe_ghost ? restore_fd_ghost(r, mm->exe_ghost) : restore_fd_mapped(r, (size_t)p->exe_fd);
	for (size_t k = 0; k < mm->n_area; k++)
		p->area_fd[k] = mm->area[k]->ghost && !restore_is_read_only(r, mm->area[k])
					? restore_fd_ghost(r, mm->area[k]->ghost)
					: restore_fd_mapped(r, (size_t)p->area_fd[k]);
}

static uint32_t highest_of_all(const struct restore *r)
{
	uint32_t highest = own_highest() + OWN_FDS;

	for (size_t i = 0; i < r->tree.task_count; i++)
		highest = highest_fd(&r->tree.tasks[i], highest);
	for (size_t i = 0; i < r->tree.file_count; i++)
		for (size_t k = 0; k < r->tree.files[i]->n_targets; k++)
			if (r->tree.files[i]->targets[k]->fd > highest)
				highest = r->tree.files[i]->targets[k]->fd;
	return highest;
}

/* Of thousands of files most are none of these, and thousands of processes ask. */
static int find_special(struct restore *r)
{
	const struct ckpt_tree *t = &r->tree;

	r->rings = ckpt_alloc(&r->tree.arena, (t->file_count + 1) * sizeof(const Ckpt__File *));
	r->watchers = ckpt_alloc(&r->tree.arena, (t->file_count + 1) * sizeof(*r->watchers));
	if (!r->rings || !r->watchers)
		return -ENOMEM;
	for (uint32_t id = 1; id <= t->file_count; id++) {
		if (t->files[id - 1]->uring)
			r->rings[r->ring_count++] = t->files[id - 1];
		if (t->files[id - 1]->n_dnotify)
			r->watchers[r->watcher_count++] = id;
	}
	return 0;
}

int restore_plan_fds(struct restore *r, struct err *e)
{
	r->procs = ckpt_alloc(&r->tree.arena, r->plan.count * sizeof(*r->procs));
	if (!r->procs || find_special(r) < 0)
		return err_code(e, -ENOMEM, "restore");
	for (size_t i = 0; i < r->plan.count; i++)
		r->procs[i].batch.mem = -EBADF;
	r->base = (int)highest_of_all(r) + 1;
	r->fills_late = ckpt_sockets_fill_late(&r->tree);
	for (size_t i = 0; i < r->tree.task_count; i++) {
		int n = plan_process(r, &r->procs[i], &r->tree.tasks[i], e);

		if (n < 0)
			return n;
	}
	for (size_t i = 0; i < r->tree.task_count; i++)
		number_mapped(r, &r->procs[i]);
	return 0;
}
