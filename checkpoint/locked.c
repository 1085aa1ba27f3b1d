/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "checkpoint/locked.h"

#include "base/fd.h"
#include "base/macro.h"
#include "checkpoint/image.pb-c.h"
#include "checkpoint/kernel.h"
#include "checkpoint/restore_internal.h"

#include <errno.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

/* linux/mm.h: what a new area begins with. */
#define VM_LOCKED 0x2000u
#define VM_LOCKONFAULT 0x80000u

/* By an open /proc/PID/mem. */
static uint64_t future_flags(struct ckpt_kernel *kn, int mem)
{
	struct err ignored;
	uint64_t mm, flags;

	return kn && mem >= 0 && ckpt_kernel_file(kn, mem, &mm, &ignored) == 0 &&
	       ckpt_kernel_member(kn, mm, "mm_struct", "def_flags", 8, &flags, &ignored) == 0 ? flags : 0;
}

void ckpt_locked_look_ahead(struct ckpt_dump *d)
{
	cleanup_close int mem = ckpt_proc_open(getpid(), "mem");

	future_flags(d->kernel, mem);
}

void ckpt_locked_collect(struct ckpt_dump *d, struct ckpt_task *k, int mem)
{
	uint64_t flags = future_flags(d->kernel, mem);

	if (flags & VM_LOCKED)
		k->mm->lock_future = MCL_FUTURE | (flags & VM_LOCKONFAULT ? MCL_ONFAULT : 0);
}

void restore_locked(const Ckpt__Mm *mm, struct list *l)
{
	if (mm->lock_future & MCL_FUTURE)
		list_call(l, "lock memory to come", SYS_mlockall, MCL_FUTURE | (mm->lock_future & MCL_ONFAULT), 0, 0, 0,
			  0, 0);
}
