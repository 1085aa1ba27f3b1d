/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Private memory gets its huge pages by the process that has it. */
#include "base/fd.h"
#include "base/macro.h"
#include "checkpoint/family.h"
#include "checkpoint/hugetlb.h"
#include "checkpoint/image.pb-c.h"
#include "checkpoint/restore_internal.h"

#include <errno.h>
#include <sys/mman.h>
#include <sys/syscall.h>

struct taking {
	struct restoring *p;
	struct list *l;
	struct err *e;
};

static int take(void *arg, const struct ckpt_range *part)
{
	struct taking *t = arg;
	int n = list_fits(t->l, 1, 0) ? 0 : list_run(t->l, &t->p->batch, &t->p->threads[0], t->e);

	list_call(t->l, CKPT_HUGE_TAKE, SYS_madvise, part->start, part->end - part->start,
		  MADV_POPULATE_WRITE, 0, 0, 0);
	return n;
}

/* What is there already may be shared copy-on-write, and must stay so. */
int restore_huge_pages(struct restoring *p, const struct ckpt_ranges *areas, const struct ckpt_ranges *present,
		       struct list *l, struct err *e)
{
	cleanup_close int pagemap = -EBADF;
	struct ckpt_ranges own = { 0 };
	struct taking t = { p, l, e };
	int n = 0;

	if (!present->count)
		return 0;
	pagemap = ckpt_proc_open(p->task->pid, "pagemap");
	n = pagemap < 0 ? pagemap : 0;
	for (size_t i = 0; n == 0 && i < areas->count; i++)
		n = ckpt_scan_own(pagemap, areas->r[i].start, areas->r[i].end, 0, &own, NULL);
	if (n == 0)
		n = ckpt_ranges_unite(&own);
	if (n < 0)
		err_code(e, n, "look at the memory of process %d", (int)p->task->pid);
	if (n == 0)
		n = ckpt_ranges_subtract(present, &own, take, &t);
	if (n == 0)
		n = list_run(l, &p->batch, &p->threads[0], e);
	ckpt_ranges_done(&own);
	return n;
}

int restore_huge(struct restore *r, struct restoring *p, bool plain, struct list *l, struct err *e)
{
	struct ckpt_ranges areas = { 0 }, present = { 0 };
	const Ckpt__Mm *mm = p->task->mm;
	int n = 0;

	for (size_t i = 0; n == 0 && i < mm->n_area; i++) {
		const Ckpt__Area *a = mm->area[i];

		if (!a->huge || (a->flags & MAP_SHARED) || (plain && !(a->flags & MAP_ANONYMOUS)))
			continue;
		n = ckpt_ranges_add(&areas, a->start, a->end, false);
		if (n == 0)
			n = ckpt_runs_read(a->present, a->n_present, 0, RESTORE_ADDRESS_MAX / CKPT_PAGE, &present);
	}
	if (n < 0)
		err_code(e, n, "restore memory of huge pages");
	if (n == 0)
		list_init(l, r);
	if (n == 0)
		n = restore_huge_pages(p, &areas, &present, l, e);
	ckpt_ranges_done(&areas);
	ckpt_ranges_done(&present);
	return n;
}
