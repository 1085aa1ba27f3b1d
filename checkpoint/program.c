/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "checkpoint/program.h"

#include "base/macro.h"
#include "checkpoint/image.pb-c.h"
#include "checkpoint/internal.h"
#include "checkpoint/kinds.h"

#include <errno.h>
#include <linux/prctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>

/* Of the file system that only the kernel has: a deleted file of the tenant's may be called the same. */
static bool is_memfd(const struct stat *st)
{
	cleanup_close int fd = memfd_create("trial", MFD_CLOEXEC);
	struct stat its;

	return fd >= 0 && fstat(fd, &its) == 0 && st->st_dev == its.st_dev;
}

int ckpt_program_memfd(struct ckpt_dump *d, struct ckpt_task *k, int r, struct err *e)
{
	char path[64], link[4096];
	struct stat st;
	ssize_t n;

	snprintf(path, sizeof(path), "/proc/%d/exe", (int)k->pid);
	n = readlink(path, link, sizeof(link) - 1);
	if (n < 7 || strncmp(link, "/memfd:", 7) != 0 || stat(path, &st) < 0 || !is_memfd(&st))
		return r;
	link[n] = '\0';
	r = ckpt_memfd_add(d, path, link, e);
	if (r < 0)
		return r;
	d->tree.shmems[r - 1]->executed = 1;
	k->mm->exe_memfd = (uint32_t)r;
	k->mm->exe = ckpt_strdup(&d->tree.arena, link);
	return k->mm->exe ? 0 : err_code(e, -ENOMEM, "collect process %d", (int)k->pid);
}

void restore_set_map(const Ckpt__Mm *mm, int exe_fd, struct list *l)
{
	struct prctl_mm_map map = {
		.start_code = mm->start_code, .end_code = mm->end_code, .start_data = mm->start_data,
		.end_data = mm->end_data, .start_brk = mm->start_brk, .brk = mm->brk,
		.start_stack = mm->start_stack, .arg_start = mm->arg_start, .arg_end = mm->arg_end,
		.env_start = mm->env_start, .env_end = mm->env_end, .auxv_size = (uint32_t)mm->auxv.len,
		.exe_fd = (uint32_t)exe_fd,
	};

	map.auxv = (void *)(uintptr_t)list_put(l, mm->auxv.data, mm->auxv.len); /* NOLINT */
	list_call(l, exe_fd < 0 ? "set the memory map" : "set the memory map and the program", SYS_prctl, PR_SET_MM,
		  PR_SET_MM_MAP, list_put(l, &map, sizeof(map)), sizeof(map), 0, 0);
}

int restore_program(struct restore *r, struct restoring *p, struct list *l, struct err *e)
{
	if (!p->task->mm->exe_memfd)
		return 0;
	list_init(l, r);
	restore_set_map(p->task->mm, p->exe_fd, l);
	return list_start(l, &p->batch, &p->threads[0], e);
}
