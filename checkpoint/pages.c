/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Which pages a stream gets at the final stop. */
#include "base/fd.h"
#include "base/macro.h"
#include "checkpoint/image.pb-c.h"
#include "checkpoint/internal.h"
#include "checkpoint/oracle.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>

static int open_of(pid_t pid, const char *name)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/%s", (int)pid, name);
	return open(path, O_RDONLY | O_CLOEXEC);
}

static int scan_failed(int r, pid_t pid, struct err *e)
{
	if (r == -ENOTTY)
		return err_set(e, ERR_UNSUPPORTED, "this kernel has no PAGEMAP_SCAN (Linux 6.7)");
	return err_code(e, r, "scan the memory of process %d", (int)pid);
}

static int add_task(struct ckpt_copy *c, const struct ckpt_task *k, struct err *e)
{
	cleanup_close int pagemap = open_of(k->pid, "pagemap"), mem = open_of(k->pid, "mem");
	struct ckpt_source *s;
	int r = 0;

	if (pagemap < 0 || mem < 0)
		return err_sys(e, "open the memory of process %d", (int)k->pid);
	s = ckpt_copy_add(c, k->process->mm, k->pid, mem);
	if (!s)
		return err_code(e, -ENOMEM, "copy memory");
	mem = -EBADF;
	for (size_t i = 0; r == 0 && i < k->mm->n_area; i++)
		if (!(k->mm->area[i]->flags & MAP_SHARED))
			r = ckpt_scan_own(pagemap, k->mm->area[i]->start, k->mm->area[i]->end, 0, &s->ranges);
	return r < 0 ? scan_failed(r, k->pid, e) : 0;
}

static int add_shmem(struct ckpt_copy *c, const struct ckpt_dump *d, size_t n, struct err *e)
{
	int fd = fcntl(d->shmem_fd[n], F_DUPFD_CLOEXEC, 0);
	struct ckpt_source *s;
	int r;

	if (fd < 0)
		return err_sys(e, "copy shared memory");
	s = ckpt_copy_add(c, CKPT_SHMEM_MM + n, 0, fd);
	if (!s) {
		close(fd);
		return err_code(e, -ENOMEM, "copy shared memory");
	}
	r = ckpt_scan_shared(fd, d->tree.shmems[n]->size, &s->ranges);
	return r < 0 ? err_code(e, r, "look for data in shared memory") : 0;
}

int ckpt_pages_dump(struct ckpt_dump *d, struct ckpt_writer *w, struct err *e)
{
	struct ckpt_copy c = { .w = w, .progress = d->progress, .oracle = ckpt_oracle_new() };
	int r = 0;

	for (size_t i = 0; r == 0 && i < d->tree.shmem_count; i++)
		r = add_shmem(&c, d, i, e);
	for (size_t i = 0; r == 0 && i < d->tree.task_count; i++)
		r = add_task(&c, &d->tree.tasks[i], e);
	if (r == 0)
		r = ckpt_copy_run(&c, e);
	if (r == 0 && c.oracle)
		r = ckpt_oracle_check(c.oracle, &d->tree, d->shmem_fd, e);
	ckpt_oracle_free(c.oracle);
	ckpt_copy_done(&c);
	return r;
}
