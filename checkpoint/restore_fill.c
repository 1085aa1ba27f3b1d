/* SPDX-License-Identifier: GPL-2.0-or-later */

/* The pages of an image go where they belong. */
#include "base/fd.h"
#include "base/macro.h"
#include "base/proc.h"
#include "checkpoint/image.pb-c.h"
#include "checkpoint/restore_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/syscall.h>

static bool has_area(const Ckpt__Mm *mm, uint64_t start, uint64_t end, bool *ret_zero)
{
	size_t lo = 0, hi = mm->n_area;

	while (lo < hi) {
		size_t mid = (lo + hi) / 2;

		if (mm->area[mid]->end <= start)
			lo = mid + 1;
		else
			hi = mid;
	}
	if (lo == mm->n_area || mm->area[lo]->start > start || mm->area[lo]->end < end ||
	    (mm->area[lo]->flags & MAP_SHARED))
		return false;
	*ret_zero = !mm->area[lo]->path[0];
	return true;
}

static int put_pages(struct restore *r, const struct ckpt_pages *pg, int *shmem_fd, struct err *e)
{
	static const uint8_t zeros[CKPT_PAGES_MAX * CKPT_PAGE];
	uint64_t at = pg->first * CKPT_PAGE, len = (uint64_t)pg->count * CKPT_PAGE;
	uint64_t shm = pg->mm - CKPT_SHMEM_MM;
	const struct ckpt_task *k;
	bool fresh = false;
	int n = 0;

	if (pg->encoding == CKPT_PAGES_REF)
		return err_set(e, ERR_UNSUPPORTED, "the image refers to pages, which is not built yet");
	if (pg->mm >= CKPT_SHMEM_MM) {
		if (shm >= r->tree.shmem_count ||
		    at + len > ((r->tree.shmems[shm]->size + CKPT_PAGE - 1) & ~(uint64_t)(CKPT_PAGE - 1)))
			return err_set(e, ERR_FAIL, "the image is damaged: pages of shared memory %llu",
				       (unsigned long long)shm);
		if (!pg->data)
			return 0;
		if (at + len > r->tree.shmems[shm]->size)
			len = r->tree.shmems[shm]->size - at;
		return pwrite(shmem_fd[shm], pg->data, len, (off_t)at) == (ssize_t)len
			? 0 : err_sys(e, "fill shared memory");
	}
	if (pg->mm == 0 || pg->mm > r->tree.task_count)
		return err_set(e, ERR_FAIL, "the image is damaged: pages of no process");
	k = &r->tree.tasks[pg->mm - 1];
	/* A run may go over the border of two areas that touch. */
	for (uint64_t done = 0; n == 0 && done < len; done += CKPT_PAGE)
		if (!has_area(k->mm, at + done, at + done + CKPT_PAGE, &fresh))
			n = err_set(e, ERR_FAIL, "the image is damaged: pages where process %u has no memory",
				    k->process->pid);
		else if (!pg->data && !fresh)
			n = ckpt_mem_write(k->pid, at + done, zeros, CKPT_PAGE) < 0
				? err_sys(e, "fill the memory of process %u", k->process->pid) : 0;
	if (n == 0 && pg->data)
		n = ckpt_mem_write(k->pid, at, pg->data, len);
	return n == -EFAULT ? err_code(e, n, "fill the memory of process %u", k->process->pid) : n;
}

int restore_fill(struct restore *r, struct ckpt_record *rec, int more, struct err *e)
{
	cleanup_close int pidfd = pidfd_open_pid(r->procs[0].task->pid);
	int *fds = ckpt_alloc(&r->tree.arena, (r->tree.shmem_count + 1) * sizeof(int));
	int n = 0;

	if (!fds || pidfd < 0)
		return err_sys(e, "restore shared memory");
	for (uint32_t i = 0; i < r->tree.shmem_count; i++) {
		fds[i] = (int)syscall(SYS_pidfd_getfd, pidfd, restore_fd_shmem(r, i + 1), 0);
		if (fds[i] < 0)
			n = err_sys(e, "take shared memory");
	}
	while (n == 0 && more > 0) {
		struct ckpt_pages pg;

		if (rec->type != CKPT_REC_PAGES)
			n = err_set(e, ERR_FAIL, "the image is damaged: a record behind the pages");
		if (n == 0)
			n = ckpt_read_pages(r->reader, rec, &pg, e);
		if (n == 0)
			n = put_pages(r, &pg, fds, e);
		if (n == 0)
			n = ckpt_progress(r->progress, &r->done, (uint64_t)pg.count * CKPT_PAGE, r->total, e);
		if (n == 0)
			more = ckpt_read(r->reader, rec, e);
	}
	for (uint32_t i = 0; i < r->tree.shmem_count; i++) {
		if (n == 0 && r->tree.shmems[i]->seals && fcntl(fds[i], F_ADD_SEALS, (int)r->tree.shmems[i]->seals) < 0)
			n = err_sys(e, "seal shared memory");
		fd_close(&fds[i]);
	}
	return n < 0 ? n : more < 0 ? more : 0;
}
