/* SPDX-License-Identifier: GPL-2.0-or-later */

/*
 * What is registered with rings, and which of them with threads: the kernel holds open files then, by its own pointers.
 * Those of the VPS are found by where it has them.
 */
#include "base/fd.h"
#include "base/macro.h"
#include "checkpoint/image.pb-c.h"
#include "checkpoint/internal.h"
#include "checkpoint/kernel.h"
#include "checkpoint/uring.h"

#include <errno.h>
#include <fcntl.h>

/* The slots of a task's table of open files. */
static int find_slots(struct ckpt_dump *d, pid_t pid, uint64_t *ret, struct err *e)
{
	cleanup_close int fd = -EBADF;
	char path[64];
	uint64_t at;
	int r;

	snprintf(path, sizeof(path), "/proc/%d", (int)pid);
	fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return err_sys(e, "open %s", path);
	r = ckpt_kernel_task(d->kernel, fd, &at, e);
	if (r == 0)
		r = ckpt_kernel_member(d->kernel, at, "task_struct", "files", 8, &at, e);
	if (r == 0)
		r = ckpt_kernel_member(d->kernel, at, "files_struct", "fdt", 8, &at, e);
	return r == 0 ? ckpt_kernel_member(d->kernel, at, "fdtable", "fd", 8, ret, e) : r;
}

static int find_files(struct ckpt_dump *d, uint64_t *file_at, struct err *e)
{
	uint64_t slots = 0;
	pid_t of = 0;
	int r = 0;

	for (size_t i = 0; r == 0 && i < d->tree.file_count; i++) {
		const struct ckpt_seen *s = d->files.by_file[i];

		if (s->pid == 0)
			continue;
		if (s->pid != of)
			r = find_slots(d, s->pid, &slots, e);
		of = s->pid;
		if (r == 0)
			r = ckpt_kernel_read(d->kernel, slots + 8 * (uint64_t)s->fd, &file_at[i], e);
	}
	return r;
}

int ckpt_uring_registered(struct ckpt_dump *d, struct err *e)
{
	cleanup_free uint64_t *file_at = NULL;
	int r;

	if (!d->urings)
		return 0;
	file_at = calloc(d->tree.file_count + 1, sizeof(*file_at));
	if (!file_at)
		return err_code(e, -ENOMEM, "collect files");
	r = find_files(d, file_at, e);
	return r == 0 ? ckpt_uring_rings_collect(d, file_at, e) : r;
}
