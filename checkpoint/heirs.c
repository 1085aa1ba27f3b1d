/* SPDX-License-Identifier: GPL-2.0-or-later */

/*
 * Memory that children inherit again. What a parent leaves to any of its children is put in place before the
 * first of them is born; whatever else they are born with they drop. A child that is not born by the parent of
 * its pages (a stand-in's, one from outside) gets copies in the end.
 */
#include "base/fd.h"
#include "base/macro.h"
#include "checkpoint/family.h"
#include "checkpoint/hugetlb.h"
#include "checkpoint/image.pb-c.h"
#include "checkpoint/restore_early.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>

#define END (RESTORE_ADDRESS_MAX / CKPT_PAGE)

static int keep(struct restore *r, const struct ckpt_pages *pg, struct err *e)
{
	int n = 0;

	if (pg->mm >= CKPT_SHMEM_MM || pg->encoding == CKPT_PAGES_REF)
		return err_set(e, ERR_FAIL, "the image is damaged: pages that nobody inherits");
	pthread_mutex_lock(&r->heirs_lock);
	for (uint32_t i = 0; n == 0 && i < pg->count; i++)
		n = ckpt_loose_put(r->heirs, pg->mm, pg->first + i, pg->data ? pg->data + (size_t)i * CKPT_PAGE : NULL);
	pthread_mutex_unlock(&r->heirs_lock);
	return n < 0 ? err_code(e, n, "keep memory that is inherited") : 0;
}

int restore_heritage(struct restore *r, struct ckpt_record *rec, int more, struct err *e)
{
	long pages = sysconf(_SC_PHYS_PAGES);
	bool any = false;

	for (size_t i = 0; i < r->tree.task_count; i++)
		any |= r->tree.tasks[i].mm->n_inherited > 0;
	if (!any || r->early)
		return more;
	pthread_mutex_init(&r->heirs_lock, NULL);
	r->heirs = ckpt_loose_new(pages > 0 ? (size_t)pages / 2 : 1 << 20);
	if (!r->heirs)
		return err_code(e, -ENOMEM, "restore");
	if (more > 0 && rec->type == CKPT_REC_PAGES)
		more = restore_fill(r, rec, keep, e);
	if (more < 0)
		return more;
	if (more == 0 || rec->type != CKPT_REC_HERITAGE)
		return err_set(e, ERR_FAIL, "the image is damaged: what is inherited is not there");
	return ckpt_read(r->reader, rec, e);
}

static int read_inherited(const struct ckpt_task *k, struct ckpt_ranges *ret)
{
	return ckpt_runs_read(k->mm->inherited, k->mm->n_inherited, 0, END, ret);
}

/* What all children of a process inherit from it. */
static int read_wanted(const struct restore *r, const struct ckpt_task *k, struct ckpt_ranges *ret)
{
	int n = 0;

	for (size_t i = 0; n == 0 && i < r->tree.task_count; i++)
		if (r->tree.tasks[i].process->ppid == k->process->pid)
			n = read_inherited(&r->tree.tasks[i], ret);
	return n == 0 ? ckpt_ranges_unite(ret) : n;
}

static bool overlaps(const struct ckpt_ranges *l, const Ckpt__Area *a, size_t *at)
{
	while (*at < l->count && l->r[*at].end <= a->start)
		++*at;
	return *at < l->count && l->r[*at].start < a->end;
}

/* Its areas that have to be there: with what is inherited in them, or there already. */
static int want(struct early *w, const Ckpt__Mm *mm, const struct ckpt_ranges *wanted)
{
	size_t i = 0, k = 0;

	w->wanted.count = 0;
	for (size_t n = 0; n < mm->n_area; n++) {
		const Ckpt__Area *a = mm->area[n];
		bool inherits, is_there;

		if (!(a->flags & MAP_PRIVATE) || !(a->flags & MAP_ANONYMOUS))
			continue;
		inherits = overlaps(wanted, a, &i);
		is_there = overlaps(&w->mapped, a, &k);
		if (!inherits && !is_there && !a->huge)
			continue;
		if (ckpt_ranges_add_how(&w->wanted, a->start, a->end, ckpt_huge_map_flags(a)) < 0)
			return -ENOMEM;
	}
	return 0;
}

static struct early *attach(struct restore *r, struct restoring *p)
{
	if (!p->early)
		p->early = ckpt_alloc(&r->tree.arena, sizeof(*p->early));
	return p->early;
}

static int place(void *arg, uint64_t number, const uint8_t *data)
{
	const struct restoring *p = arg;
	uint64_t at = number * CKPT_PAGE;

	return restore_has_private(p->task->mm, at) ? ckpt_mem_write(p->task->pid, at, data, CKPT_PAGE) : -EPROTO;
}

int restore_bequeath(struct restore *r, size_t who, struct list *l, struct err *e)
{
	struct restoring *p = &r->procs[who];
	struct ckpt_ranges wanted = { 0 };
	int n;

	if (!r->heirs || !p->task || p->bequeathed)
		return 0;
	p->bequeathed = true;
	n = read_wanted(r, p->task, &wanted);
	if (n < 0)
		err_code(e, n, "restore what process %u leaves to its children", p->task->process->pid);
	if (n == 0 && wanted.count) {
		n = attach(r, p) ? want(p->early, p->task->mm, &wanted) : -ENOMEM;
		if (n < 0)
			err_code(e, n, "restore");
		if (n == 0)
			n = early_sync(r, p->early, p, true, l, e);
		if (n == 0)
			n = restore_huge(r, p, true, l, e);
		if (n == 0) {
			n = ckpt_loose_each(r->heirs, p->task->process->mm, 0, END, place, p);
			if (n < 0)
				err_code(e, n, "fill the memory of process %u", p->task->process->pid);
		}
	}
	ckpt_ranges_done(&wanted);
	return n;
}

int restore_inherit(struct restore *r, size_t by, size_t who, struct err *e)
{
	const struct restoring *parent = &r->procs[by];
	struct restoring *p = &r->procs[who];

	if (!r->heirs || !parent->early || !parent->early->mapped.count)
		return 0;
	if (!attach(r, p))
		return err_code(e, -ENOMEM, "restore");
	for (size_t i = 0; i < parent->early->mapped.count; i++) {
		const struct ckpt_range *m = &parent->early->mapped.r[i];

		if (ckpt_ranges_add_how(&p->early->mapped, m->start, m->end, m->how) < 0)
			return err_code(e, -ENOMEM, "restore");
	}
	p->heir = p->task && parent->task && p->task->process->ppid == parent->task->process->pid;
	p->stranger = true;
	return 0;
}

static int add_page(void *arg, uint64_t number, const uint8_t *data)
{
	(void)data;
	return ckpt_ranges_add(arg, number * CKPT_PAGE, (number + 1) * CKPT_PAGE, false);
}

int restore_disown(struct restore *r, struct restoring *p, struct list *l, struct err *e)
{
	struct ckpt_ranges own = { 0 };
	int n = 0;

	if (!r->heirs || !p->stranger)
		return 0;
	if (p->heir)
		n = read_inherited(p->task, &own);
	if (n == 0 && p->bequeathed)
		n = ckpt_loose_each(r->heirs, p->task->process->mm, 0, END, add_page, &own);
	if (n == 0)
		n = ckpt_ranges_unite(&own);
	if (n < 0)
		err_code(e, n, "restore the memory of process %u", p->task->process->pid);
	if (n == 0)
		n = early_drop(r, p, &own, l, e);
	ckpt_ranges_done(&own);
	return n;
}

static int copy_range(const struct restoring *from, const struct restoring *to, const struct ckpt_range *t)
{
	cleanup_close int mem = ckpt_proc_open(from->task->pid, "mem");
	uint8_t page[CKPT_PAGE];
	int n = mem < 0 ? mem : 0;

	for (uint64_t at = t->start; n == 0 && at < t->end; at += CKPT_PAGE) {
		if (!restore_has_private(to->task->mm, at) || !restore_has_private(from->task->mm, at))
			return -EPROTO;
		/* Not process_vm_readv(2): it would take the page from those who share it (copy.h). */
		if (pread(mem, page, CKPT_PAGE, (off_t)at) != CKPT_PAGE)
			return -EFAULT;
		n = ckpt_mem_write(to->task->pid, at, page, CKPT_PAGE);
	}
	return n;
}

/* After a pre-copy some of it may be there. Not all that is mapped was put there: where the kernel makes huge pages by
 * itself, one comes with the first of its pages. */
static int read_missing(const struct restoring *p, struct ckpt_ranges *ret)
{
	int n = read_inherited(p->task, ret);

	if (n == 0 && p->early)
		n = ckpt_ranges_unite(&p->early->filled);
	return n == 0 && p->early ? ckpt_ranges_take_out(ret, &p->early->filled, NULL) : n;
}

/* Parents are complete before their children are looked at: they come first. */
int restore_copy_inherited(struct restore *r, struct err *e)
{
	for (size_t i = 0; (r->heirs || r->early) && i < r->tree.task_count; i++) {
		const struct restoring *p = &r->procs[i], *from = NULL;
		struct ckpt_ranges l = { 0 };
		int n = 0;

		if (p->heir || !p->task->mm->n_inherited)
			continue;
		for (size_t k = 0; k < i; k++)
			if (r->tree.tasks[k].process->pid == p->task->process->ppid)
				from = &r->procs[k];
		n = from ? read_missing(p, &l) : -EPROTO;
		for (size_t k = 0; n == 0 && k < l.count; k++)
			n = copy_range(from, p, &l.r[k]);
		ckpt_ranges_done(&l);
		if (n < 0)
			return err_code(e, n, "fill the memory of process %u", p->task->process->pid);
	}
	return 0;
}

void restore_heirs_done(struct restore *r)
{
	for (size_t i = 0; r->procs && i < r->plan.count; i++)
		if (r->procs[i].early) {
			ckpt_ranges_done(&r->procs[i].early->mapped);
			ckpt_ranges_done(&r->procs[i].early->wanted);
			ckpt_ranges_done(&r->procs[i].early->inherited);
			ckpt_ranges_done(&r->procs[i].early->filled);
		}
	if (!r->heirs)
		return;
	ckpt_loose_free(r->heirs);
	pthread_mutex_destroy(&r->heirs_lock);
}
