/* SPDX-License-Identifier: GPL-2.0-or-later */

/*
 * Rings that are registered with threads (IORING_REGISTER_RING_FDS, Linux 5.18): each thread has 16 places of its own,
 * and is spared the look into its table of open files. A ring may be in one of them and in no table any more.
 */
#include "base/macro.h"
#include "checkpoint/image.pb-c.h"
#include "checkpoint/internal.h"
#include "checkpoint/kernel.h"
#include "checkpoint/kinds.h"
#include "checkpoint/restore_internal.h"
#include "checkpoint/uring.h"

#include <errno.h>
#include <sys/syscall.h>

#define PLACES 16u /* IO_RINGFD_REG_MAX */

const Ckpt__FdTable *ckpt_uring_table(const struct ckpt_task *k, const Ckpt__Thread *th)
{
	return th->own && th->own->fds ? th->own->fds : k->fds;
}

int64_t ckpt_uring_find(const struct ckpt_tree *t, const Ckpt__FdTable *table, const Ckpt__File *f)
{
	for (size_t i = 0; i < table->n_fd; i++) {
		uint32_t id = table->fd[i]->file;

		if (id && id <= t->file_count && t->files[id - 1] == f)
			return table->fd[i]->fd;
	}
	return -1;
}

/* The fd by which the thread has that ring open. */
static const Ckpt__Fd *find_fd(const struct ckpt_dump *d, const Ckpt__FdTable *t, const uint64_t *file_at, uint64_t at)
{
	for (size_t i = 0; i < t->n_fd; i++)
		if (t->fd[i]->file && file_at[t->fd[i]->file - 1] == at && d->tree.files[t->fd[i]->file - 1]->kind == CKPT_FILE_URING)
			return t->fd[i];
	return NULL;
}

static int add(struct ckpt_dump *d, Ckpt__Thread *th, uint32_t place, const Ckpt__Fd *fd, struct err *e)
{
	Ckpt__UringRing *ring = ckpt_alloc(&d->tree.arena, sizeof(*ring));

	if (!ring || ckpt_push(&d->tree.arena, &th->rings, &th->n_rings, ring) < 0)
		return err_code(e, -ENOMEM, "collect thread %u", th->tid);
	ckpt__uring_ring__init(ring);
	ring->place = place;
	ring->fd = fd->fd;
	return 0;
}

static int collect(struct ckpt_dump *d, const struct ckpt_task *k, size_t i, const uint64_t *file_at, struct err *e)
{
	Ckpt__Thread *th = k->threads[i];
	uint64_t tctx, rings, at;
	int r = ckpt_uring_task(d, k->tids[i], &tctx, e);

	if (r < 0 || !tctx || !ckpt_kernel_has(d->kernel, "io_uring_task", "registered_rings"))
		return r;
	r = ckpt_kernel_place(d->kernel, tctx, "io_uring_task", "registered_rings", &rings, e);
	for (uint32_t n = 0; r == 0 && n < PLACES; n++) {
		const Ckpt__Fd *fd;

		r = ckpt_kernel_read(d->kernel, rings + 8 * n, &at, e);
		if (r < 0 || !at)
			continue;
		fd = find_fd(d, ckpt_uring_table(k, th), file_at, at);
		if (!fd)
			return err_set(e, ERR_UNSUPPORTED, "thread %d of process %d has registered an io_uring that it "
				       "does not have open, which cannot be saved", (int)k->tids[i], (int)k->pid);
		r = add(d, th, n, fd, e);
	}
	return r;
}

int ckpt_uring_rings_collect(struct ckpt_dump *d, const uint64_t *file_at, struct err *e)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < d->tree.task_count; i++) {
		const struct ckpt_task *k = &d->tree.tasks[i];

		for (size_t n = 0; r == 0 && n < k->thread_count; n++)
			r = ckpt_note(d, collect(d, k, n, file_at, e), k->pid, -1, e);
	}
	return r;
}

static bool is_ring(const struct ckpt_tree *t, const Ckpt__FdTable *table, uint32_t fd)
{
	for (size_t i = 0; i < table->n_fd; i++)
		if (table->fd[i]->fd == fd)
			return table->fd[i]->file && table->fd[i]->file <= t->file_count &&
			       t->files[table->fd[i]->file - 1]->kind == CKPT_FILE_URING;
	return false;
}

int ckpt_uring_rings_check(const struct ckpt_tree *t, const struct ckpt_task *k, const Ckpt__Thread *th, struct err *e)
{
	bool good = th->n_rings <= PLACES;

	for (size_t i = 0; good && i < th->n_rings; i++)
		good = th->rings[i]->place < PLACES && is_ring(t, ckpt_uring_table(k, th), th->rings[i]->fd);
	return good ? 0 : err_set(e, ERR_FAIL, "the image is damaged: rings of thread %u", th->tid);
}

void restore_uring_rings(const Ckpt__Thread *th, struct list *l)
{
	for (size_t i = 0; i < th->n_rings; i++) {
		const Ckpt__UringRing *ring = th->rings[i];
		struct io_uring_rsrc_update at = { .offset = ring->place, .data = ring->fd };

		list_call(l, "register an io_uring", SYS_io_uring_register, ring->fd, IORING_REGISTER_RING_FDS,
			  list_put(l, &at, sizeof(at)), 1, 0, 0);
	}
}
