/* SPDX-License-Identifier: GPL-2.0-or-later */

/*
 * Children that are born while only memory is known inherit what the source says they share with their parents: when
 * they are told of, their parents' memory holds it. All else that they are born with they drop.
 */
#include "base/fd.h"
#include "base/macro.h"
#include "checkpoint/family.h"
#include "checkpoint/image.pb-c.h"
#include "checkpoint/restore_early.h"

#include <errno.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#define PRESENT (1ull << 63)

/* The parts of a parent's memory in which there is some of it; both are in order. */
static int pick(const struct early *parent, const struct ckpt_ranges *inherited, struct ckpt_ranges *ret)
{
	size_t k = 0;

	for (size_t i = 0; i < parent->mapped.count; i++) {
		const struct ckpt_range *m = &parent->mapped.r[i];

		while (k < inherited->count && inherited->r[k].end <= m->start)
			k++;
		if (k < inherited->count && inherited->r[k].start < m->end &&
		    ckpt_ranges_add_how(ret, m->start, m->end, m->how) < 0)
			return -ENOMEM;
	}
	return 0;
}

static int advise(struct restore *r, struct restoring *p, const struct ckpt_ranges *areas, int advice, struct list *l,
		  struct err *e)
{
	int n = 0;

	list_init(l, r);
	for (size_t i = 0; n == 0 && i < areas->count; i++) {
		n = list_fits(l, 1, 0) ? 0 : list_run(l, &p->batch, &p->threads[0], e);
		list_call(l, "let a child have memory", SYS_madvise, areas->r[i].start,
			  areas->r[i].end - areas->r[i].start, (uint64_t)advice, 0, 0, 0);
	}
	return n == 0 ? list_run(l, &p->batch, &p->threads[0], e) : n;
}

static bool is_heir(const struct early *w, const struct early *parent)
{
	return w->inherited.count && w->heir_of == parent->mm;
}

int early_bequeath(struct restore *r, struct early *w, struct early *parent, struct list *l, struct err *e)
{
	int n;

	if (!is_heir(w, parent))
		return 0;
	w->mapped.count = 0;
	n = pick(parent, &w->inherited, &w->mapped);
	return n < 0 ? err_code(e, n, "restore") : advise(r, &parent->p, &w->mapped, MADV_DOFORK, l, e);
}

/* What it was born with, and has not dropped, is in its place. */
static int note_born_with(struct restore *r, struct early *w, struct ckpt_ranges *own, struct err *e)
{
	cleanup_close int pagemap = ckpt_proc_open(w->task.pid, "pagemap");
	int n = pagemap < 0 ? pagemap : 0;

	for (size_t i = 0; n == 0 && i < w->mapped.count; i++)
		n = ckpt_scan_own(pagemap, w->mapped.r[i].start, w->mapped.r[i].end, 0, own, NULL);
	if (n == 0)
		n = ckpt_ranges_unite(own);
	pthread_mutex_lock(&r->early->lock);
	for (size_t i = 0; n == 0 && i < own->count; i++)
		n = early_note_filled(w, own->r[i].start, own->r[i].end);
	pthread_mutex_unlock(&r->early->lock);
	return n < 0 ? err_code(e, n, "look at the memory of process %u", w->pid) : 0;
}

/* What it should have been born with and was not had no place in its parent. */
static int copy_missing(struct restore *r, struct early *w, struct err *e)
{
	struct ckpt_ranges own = { 0 };
	int n = note_born_with(r, w, &own, e);

	if (n == 0) {
		n = ckpt_ranges_take_out(&w->inherited, &own, NULL);
		n = n < 0 ? err_code(e, n, "look at the memory of process %u", w->pid)
			  : early_copy_inherited(r, w->mm, w->heir_of, &w->inherited, e);
	}
	ckpt_ranges_done(&own);
	return n;
}

int early_inherit(struct restore *r, struct early *w, struct early *parent, struct list *l, struct err *e)
{
	int n;

	if (!is_heir(w, parent))
		return 0;
	n = advise(r, &parent->p, &w->mapped, MADV_DONTFORK, l, e);
	if (n == 0)
		n = advise(r, &w->p, &w->mapped, MADV_DONTFORK, l, e);
	if (n == 0)
		n = early_drop(r, &w->p, &w->inherited, l, e);
	if (n == 0)
		n = copy_missing(r, w, e);
	w->inherited.count = 0;
	return n;
}

static bool is_late_heir(const struct restore *r, size_t by, size_t who)
{
	const struct restoring *parent = &r->procs[by], *p = &r->procs[who];

	return r->early && p->task && p->task->mm->n_inherited && parent->task && parent->early &&
	       p->task->process->ppid == parent->task->process->pid;
}

int restore_late_bequeath(struct restore *r, size_t by, size_t who, struct list *l, struct err *e)
{
	struct restoring *p = &r->procs[who];
	struct early *w;
	int n;

	if (!is_late_heir(r, by, who))
		return 0;
	w = ckpt_alloc(&r->tree.arena, sizeof(*w));
	n = w ? ckpt_runs_read(p->task->mm->inherited, p->task->mm->n_inherited, 0, RESTORE_ADDRESS_MAX / CKPT_PAGE,
			       &w->inherited) : -ENOMEM;
	if (n == 0)
		n = pick(r->procs[by].early, &w->inherited, &w->mapped);
	p->early = w;
	return n < 0 ? err_code(e, n, "restore") : advise(r, &r->procs[by], &w->mapped, MADV_DOFORK, l, e);
}

/* What is missing then is copied in the end (heirs.c). */
int restore_late_inherit(struct restore *r, size_t by, size_t who, struct list *l, struct err *e)
{
	struct restoring *p = &r->procs[who];
	struct ckpt_ranges own = { 0 };
	int n;

	if (!is_late_heir(r, by, who))
		return 0;
	p->early->mm = p->task->process->mm;
	p->early->pid = p->task->process->pid;
	p->early->task.pid = p->task->pid;
	n = advise(r, &r->procs[by], &p->early->mapped, MADV_DONTFORK, l, e);
	if (n == 0)
		n = advise(r, p, &p->early->mapped, MADV_DONTFORK, l, e);
	if (n == 0)
		n = early_drop(r, p, &p->early->inherited, l, e);
	if (n == 0)
		n = note_born_with(r, p->early, &own, e);
	ckpt_ranges_done(&own);
	return n;
}

/* A page of an address space, wherever it is: 1; 0: nowhere, it reads as zeros. */
static int read_page(const struct early_set *s, uint64_t mm, int pagemap, int mem, uint64_t number, uint8_t *page)
{
	const uint8_t *loose = ckpt_loose_get(s->loose, mm, number);
	uint64_t entry = 0;

	if (loose) {
		memcpy(page, loose, CKPT_PAGE);
		return 1;
	}
	if (pagemap < 0 || pread(pagemap, &entry, sizeof(entry), (off_t)(number * sizeof(entry))) != sizeof(entry) ||
	    !(entry & PRESENT))
		return 0;
	return pread(mem, page, CKPT_PAGE, (off_t)(number * CKPT_PAGE)) == CKPT_PAGE ? 1 : -EFAULT;
}

int early_copy_inherited(struct restore *r, uint64_t mm, uint64_t heir_of, const struct ckpt_ranges *pages,
			 struct err *e)
{
	struct early_set *s = r->early;
	const struct early *from = pages->count ? early_by_mm(s, heir_of) : NULL;
	cleanup_close int pagemap = from && from->born ? ckpt_proc_open(from->task.pid, "pagemap") : -EBADF;
	cleanup_close int mem = pagemap >= 0 ? ckpt_proc_open(from->task.pid, "mem") : -EBADF;
	uint8_t page[CKPT_PAGE];
	int n = 0;

	for (size_t i = 0; n >= 0 && i < pages->count; i++)
		for (uint64_t at = pages->r[i].start; n >= 0 && at < pages->r[i].end; at += CKPT_PAGE) {
			n = read_page(s, heir_of, pagemap, mem, at / CKPT_PAGE, page);
			if (n > 0)
				n = early_keep_loose(s, mm, at, at + CKPT_PAGE, page);
		}
	return n < 0 ? err_code(e, n, "copy what process %u inherits", from ? from->pid : 0) : 0;
}
