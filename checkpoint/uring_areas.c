/* SPDX-License-Identifier: GPL-2.0-or-later */

/*
 * Where a ring is mapped the kernel alone says (mmap(2) and mremap(2) with an address fail, seen on Linux 6.18). So a process that
 * gets its rings back has no other room left for a moment: all of its address space but their place is taken.
 */
#include "base/fd.h"
#include "base/macro.h"
#include "checkpoint/image.pb-c.h"
#include "checkpoint/restore_internal.h"
#include "checkpoint/uring.h"

#include <errno.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#define LOWEST 0x10000u /* vm.mmap_min_addr is no higher as a rule; what is below is tried last */

struct gaps {
	uint64_t *at; /* start and end, in turn */
	size_t count;
	uint64_t least; /* of any ring's memory: what is smaller holds none */
};

static int add(struct gaps *g, uint64_t start, uint64_t end)
{
	uint64_t *bigger;

	if (start >= end || end - start < g->least)
		return 0;
	bigger = reallocarray(g->at, g->count + 1, 2 * sizeof(*bigger));
	if (!bigger)
		return -ENOMEM;
	g->at = bigger;
	g->at[2 * g->count] = start;
	g->at[2 * g->count++ + 1] = end;
	return 0;
}

static int find_gaps(pid_t pid, struct gaps *g, struct err *e)
{
	cleanup_fclose FILE *f = ckpt_maps_open(pid);
	uint64_t last = LOWEST;
	struct ckpt_map m;
	int n, r = 0;

	if (!f)
		return err_sys(e, "open the map of process %d", (int)pid);
	/* Above that the kernel's own may be ([vsyscall]). */
	while (r == 0 && (n = ckpt_maps_next(f, &m)) > 0 && m.start < RESTORE_ADDRESS_MAX) {
		r = add(g, last, m.start);
		if (m.end > last)
			last = m.end;
	}
	if (r == 0)
		r = add(g, last, RESTORE_ADDRESS_MAX);
	return r < 0 ? err_code(e, r, "read the map of process %d", (int)pid) : 0;
}

static int fill(const struct gaps *g, bool take, struct restoring *p, struct list *l, struct err *e)
{
	int n = 0;

	for (size_t i = 0; n == 0 && i < g->count; i++) {
		uint64_t at = g->at[2 * i], size = g->at[2 * i + 1] - at;

		if (!list_fits(l, 1, 0))
			n = list_run(l, &p->batch, &p->threads[0], e);
		if (take)
			list_call(l, "take room", SYS_mmap, at, size, PROT_NONE,
				  MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED_NOREPLACE, UINT64_MAX, 0);
		else
			list_call(l, "give room back", SYS_munmap, at, size, 0, 0, 0, 0);
	}
	return n == 0 ? list_run(l, &p->batch, &p->threads[0], e) : n;
}

/* In the room that was kept for it, which is all there is. */
static int map_one(struct restore *r, struct restoring *p, const Ckpt__Area *a, struct list *l, struct err *e)
{
	int n;

	list_call(l, "give room back", SYS_munmap, a->start, a->end - a->start, 0, 0, 0, 0);
	list_call(l, "map an io_uring", SYS_mmap, 0, a->end - a->start, a->prot, MAP_SHARED,
		  (uint64_t)restore_fd_file(r, a->memfd_file), a->offset);
	n = list_run(l, &p->batch, &p->threads[0], e);
	if (n == 0 && (uint64_t)l->calls[1].ret != a->start)
		n = err_set(e, ERR_FAIL, "map an io_uring of process %u at its place", p->task->process->pid);
	return n;
}

static int map_all(struct restore *r, struct restoring *p, const struct gaps *g, struct list *l, struct err *e)
{
	const Ckpt__Mm *mm = p->task->mm;
	int n = fill(g, true, p, l, e);

	for (size_t i = 0; n == 0 && i < mm->n_area; i++)
		if (ckpt_uring_is(&r->tree, mm->area[i]))
			n = map_one(r, p, mm->area[i], l, e);
	return n == 0 ? fill(g, false, p, l, e) : n;
}

int restore_uring_areas(struct restore *r, struct restoring *p, struct list *l, struct err *e)
{
	const Ckpt__Mm *mm = p->task->mm;
	struct gaps g = { .least = UINT64_MAX };
	int n;

	for (size_t i = 0; i < mm->n_area; i++) {
		uint64_t size = mm->area[i]->end - mm->area[i]->start;

		if (size < g.least && ckpt_uring_is(&r->tree, mm->area[i]))
			g.least = size;
	}
	if (g.least == UINT64_MAX)
		return 0;
	n = find_gaps(p->batch.pid, &g, e);
	if (n == 0)
		n = map_all(r, p, &g, l, e);
	free(g.at);
	return n;
}
