/* SPDX-License-Identifier: GPL-2.0-or-later */

/* The memory of one process: mapped so that it can be filled, and made what it was when it is full. */
#include "base/macro.h"
#include "checkpoint/aio.h"
#include "checkpoint/hugetlb.h"
#include "checkpoint/image.pb-c.h"
#include "checkpoint/ipc.h"
#include "checkpoint/keys.h"
#include "checkpoint/policies.h"
#include "checkpoint/program.h"
#include "checkpoint/restore_internal.h"
#include "checkpoint/uring.h"

#include <asm/prctl.h>
#include <errno.h>
#include <linux/prctl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>

#ifndef ARCH_MAP_VDSO_64
#define ARCH_MAP_VDSO_32 0x2002
#define ARCH_MAP_VDSO_64 0x2003
#endif
#ifndef PR_SET_VMA
#define PR_SET_VMA 0x53564d41
#define PR_SET_VMA_ANON_NAME 0
#endif
#ifndef MLOCK_ONFAULT
#define MLOCK_ONFAULT 1
#endif
#ifndef SYS_mseal
#define SYS_mseal 462 /* Linux 6.10 */
#endif
#define GUARD_INSTALL 102 /* MADV_GUARD_INSTALL, Linux 6.13 */
#define NAME_MAX_LEN 80   /* ANON_VMA_NAME_MAX_LEN */

/* While it is filled: private memory can be written, the rest is as it will be, unless that is a matter of keys. */
static uint32_t filling_prot(const Ckpt__Area *a)
{
	if (!(a->flags & MAP_SHARED))
		return PROT_READ | PROT_WRITE;
	return a->key ? PROT_NONE : a->prot;
}

static const struct {
	uint32_t bit;
	int advice;
	bool first; /* before it is filled: how it is filled depends on it */
} advices[] = {
	{ CKPT_ADVICE_HUGEPAGE, MADV_HUGEPAGE, true },     { CKPT_ADVICE_NOHUGEPAGE, MADV_NOHUGEPAGE, true },
	{ CKPT_ADVICE_DONTFORK, MADV_DONTFORK, false },    { CKPT_ADVICE_WIPEONFORK, MADV_WIPEONFORK, false },
	{ CKPT_ADVICE_MERGEABLE, MADV_MERGEABLE, false },  { CKPT_ADVICE_DONTDUMP, MADV_DONTDUMP, false },
	{ CKPT_ADVICE_RANDOM, MADV_RANDOM, false },        { CKPT_ADVICE_SEQUENTIAL, MADV_SEQUENTIAL, false },
};

/* Lists are run when they are full: room for all calls of one area. */
static int room(struct restoring *p, struct list *l, struct err *e)
{
	return list_fits(l, ARRAY_SIZE(advices) + 5, NAME_MAX_LEN + 17 + CKPT_POLICY_BYTES)
		? 0 : list_run(l, &p->batch, &p->threads[0], e);
}

static void advise(const Ckpt__Area *a, bool first, struct list *l)
{
	for (size_t i = 0; i < ARRAY_SIZE(advices); i++)
		if (advices[i].first == first && (a->advice & advices[i].bit))
			list_call(l, "advise on memory", SYS_madvise, a->start, a->end - a->start,
				  (uint64_t)advices[i].advice, 0, 0, 0);
}

static int map_areas(struct restore *r, struct restoring *p, struct list *l, struct err *e)
{
	const Ckpt__Mm *mm = p->task->mm;
	int n = p->early ? restore_early_map(r, p, l, e) : 0;

	for (size_t i = 0; n == 0 && i < mm->n_area; i++) {
		const Ckpt__Area *a = mm->area[i];
		uint64_t flags = (a->flags & (MAP_SHARED | MAP_PRIVATE | CKPT_MAP_DROPPABLE)) | ckpt_huge_map_flags(a) |
				 MAP_FIXED_NOREPLACE, fd = UINT64_MAX;

		n = room(p, l, e);
		if (a->shmem && r->tree.shmems[a->shmem - 1]->sysv)
			continue; /* when all else has its place */
		if (a->aio || ckpt_uring_is(&r->tree, a)) /* likewise; until then nothing else may be put there */
			flags = (flags & ~(uint64_t)MAP_SHARED) | MAP_PRIVATE | MAP_ANONYMOUS;
		else if (restore_is_read_only(r, a))
			fd = (uint64_t)p->area_fd[i];
		else if (a->shmem)
			fd = (uint64_t)restore_fd_shmem(r, a->shmem);
		else if (a->memfd_file)
			fd = (uint64_t)restore_fd_file(r, a->memfd_file);
		else if (a->path[0])
			fd = (uint64_t)p->area_fd[i];
		else
			flags |= MAP_ANONYMOUS;
		if (!restore_early_has(p, a))
			list_call(l, a->huge ? CKPT_HUGE_MAP : "map memory", SYS_mmap, a->start, a->end - a->start, filling_prot(a), flags,
				  fd, a->offset);
		advise(a, true, l);
		restore_area_policy(a, l);
	}
	return n;
}

/* What the kernel itself maps, when all else has its place. */
static int map_objects(struct restore *r, struct restoring *p, struct list *l, struct err *e)
{
	const Ckpt__Mm *mm = p->task->mm;
	bool any = false;
	int n;

	for (size_t i = 0; i < mm->n_area; i++)
		any |= mm->area[i]->aio || mm->area[i]->huge || ckpt_uring_is(&r->tree, mm->area[i]) ||
		       (mm->area[i]->shmem && r->tree.shmems[mm->area[i]->shmem - 1]->sysv);
	if (!any)
		return 0;
	n = list_run(l, &p->batch, &p->threads[0], e);
	if (n == 0)
		n = restore_huge(r, p, false, l, e);
	if (n == 0)
		n = restore_shm(r, p, l, e);
	if (n == 0)
		n = restore_aio(p, l, e);
	return n == 0 ? restore_uring_areas(r, p, l, e) : n;
}

int restore_memory(struct restore *r, struct restoring *p, struct list *l, struct err *e)
{
	const Ckpt__Mm *mm = p->task->mm;
	int n;

	list_init(l, r);
	n = map_areas(r, p, l, e);
	if (n == 0)
		n = map_objects(r, p, l, e);
	if (n == 0 && !list_fits(l, 2, sizeof(struct prctl_mm_map) + mm->auxv.len + 64))
		n = list_run(l, &p->batch, &p->threads[0], e);
	if (n < 0)
		return n;
	if (mm->vdso)
		list_call(l, "map the vdso", SYS_arch_prctl, mm->compat_vdso.len ? ARCH_MAP_VDSO_32 : ARCH_MAP_VDSO_64,
			  mm->vdso, 0, 0, 0, 0);
	restore_set_map(mm, mm->exe_memfd ? -1 : p->exe_fd, l);
	return list_start(l, &p->batch, &p->threads[0], e);
}

static int put_guards(struct restoring *p, const Ckpt__Area *a, struct list *l, struct err *e)
{
	uint64_t at = a->start;
	int n = 0;

	for (size_t i = 0; n == 0 && i + 1 < a->n_guard; i += 2) {
		n = room(p, l, e);
		at += a->guard[i] * CKPT_PAGE;
		list_call(l, "guard memory", SYS_madvise, at, a->guard[i + 1] * CKPT_PAGE, GUARD_INSTALL, 0, 0, 0);
		at += a->guard[i + 1] * CKPT_PAGE;
	}
	return n;
}

static void name_area(const Ckpt__Area *a, struct list *l)
{
	char name[NAME_MAX_LEN] = { 0 };

	snprintf(name, sizeof(name), "%s", a->name);
	/* Without CONFIG_ANON_VMA_NAME there are none. */
	list_call(l, NULL, SYS_prctl, PR_SET_VMA, PR_SET_VMA_ANON_NAME, a->start, a->end - a->start,
		  list_put(l, name, sizeof(name)), 0);
}

/* What is locked counts against a limit that may have been lowered since. */
static int allow_locks(const struct restoring *p, struct err *e)
{
	struct rlimit64 lim;

	for (size_t i = 0; i < p->task->mm->n_area; i++) {
		if (!p->task->mm->area[i]->locked)
			continue;
		if (prlimit64(p->batch.pid, RLIMIT_MEMLOCK, NULL, &lim) < 0)
			return err_sys(e, "read the limits of process %u", p->task->process->pid);
		lim.rlim_cur = lim.rlim_max;
		if (prlimit64(p->batch.pid, RLIMIT_MEMLOCK, &lim, NULL) < 0)
			return err_sys(e, "raise the limit of locked memory");
		return 0;
	}
	return 0;
}

/* Nothing can be done to it any more afterwards. */
static int seal(struct restoring *p, struct list *l, struct err *e)
{
	const Ckpt__Mm *mm = p->task->mm;
	int n = 0;

	for (size_t i = 0; n == 0 && i < mm->n_area; i++) {
		if (!mm->area[i]->sealed)
			continue;
		n = room(p, l, e);
		list_call(l, "seal memory", SYS_mseal, mm->area[i]->start, mm->area[i]->end - mm->area[i]->start, 0, 0, 0, 0);
	}
	return n;
}

static int room_for_keys(struct restoring *p, struct list *l, struct err *e)
{
	return list_fits(l, CKPT_KEYS, 0) ? 0 : list_run(l, &p->batch, &p->threads[0], e);
}

int restore_dress(struct restoring *p, struct list *l, struct err *e)
{
	const Ckpt__Mm *mm = p->task->mm;
	int n = allow_locks(p, e);

	if (n == 0)
		n = room_for_keys(p, l, e);
	restore_keys_begin(mm, l);
	for (size_t i = 0; n == 0 && i < mm->n_area; i++) {
		const Ckpt__Area *a = mm->area[i];

		n = put_guards(p, a, l, e);
		if (n == 0)
			n = room(p, l, e);
		if (a->key || a->prot != filling_prot(a))
			restore_key_protect(mm, a, l);
		advise(a, false, l);
		if (a->name[0])
			name_area(a, l);
		if (a->locked)
			list_call(l, "lock memory", SYS_mlock2, a->start, a->end - a->start,
				  a->locked & CKPT_LOCKED_ONFAULT ? MLOCK_ONFAULT : 0, 0, 0, 0);
	}
	if (n == 0)
		n = room_for_keys(p, l, e);
	restore_keys_end(mm, l);
	return n == 0 ? seal(p, l, e) : n;
}
