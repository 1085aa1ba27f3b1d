/* SPDX-License-Identifier: GPL-2.0-or-later */

/*
 * One more round, when all is stopped and no request is under way (drain.h): a thread sends what was written last while the
 * objects are collected. What it cannot tell, and what this engine itself changes meanwhile, the final scan finds.
 */
#include "base/fd.h"
#include "base/macro.h"
#include "checkpoint/precopy_internal.h"
#include "checkpoint/times.h"

#include <errno.h>
#include <sys/mman.h>

/* No process is met anew, as that would take a list in it: the final scan finds them unwatched. */
static int scan_area(int pagemap, const struct area *a, struct ckpt_ranges *ret)
{
	unsigned how = CKPT_SCAN_PROTECT | CKPT_SCAN_WATCHED | CKPT_SCAN_WRITTEN | area_kind(a);
	size_t before = ret->count;
	int r = ckpt_scan_own(pagemap, a->start, a->end, how, ret, NULL);

	if (r != -EPERM)
		return r;
	/* The marks of a part may be set by now. */
	ckpt_ranges_cut(ret, before, a->start);
	return ckpt_scan_own(pagemap, a->start, a->end, CKPT_SCAN_ANEW | (how & CKPT_SCAN_HUGE), ret, NULL);
}

/*
 * Of a file's private memory that is not writable hardly ever a page is written to (by a debugger, or as it was writable for
 * a moment), and each library has four such areas: the final scan finds those pages.
 */
static bool is_worth_it(const struct area *a)
{
	return !a->hopeless && (!a->file || (a->prot & PROT_WRITE));
}

static int scan_process(const struct watched *w, struct ckpt_copy *c)
{
	cleanup_close int pagemap = ckpt_proc_open(w->tid, "pagemap");
	struct ckpt_source *s = pagemap < 0 ? NULL : ckpt_copy_add(c, w->mm, w->tid);
	int r = 0;

	if (pagemap == -EMFILE || pagemap == -ENFILE)
		return pagemap;
	if (pagemap < 0)
		return 0; /* it has ended */
	if (!s)
		return -ENOMEM;
	s->family = w->family;
	for (size_t i = 0; r == 0 && i < w->areas.count; i++)
		if (is_worth_it(&w->areas.a[i]))
			r = scan_area(pagemap, &w->areas.a[i], &s->ranges);
	if (r == -ESRCH) { /* another program, with memory of its own */
		s->ranges.count = 0;
		r = 0;
	}
	return r;
}

static int last_round(void *precopy, struct err *e)
{
	struct ckpt_precopy *p = precopy;
	struct ckpt_copy c = { .w = p->w, .running = true, .oracle = p->oracle };
	uint64_t shared;
	int r = ckpt_round_begin(p, e);

	ckpt_time(NULL);
	for (size_t i = 0; r == 0 && i < p->count; i++) {
		if (!p->procs[i]->there || p->procs[i]->uffd < 0)
			continue;
		r = scan_process(p->procs[i], &c);
		if (r < 0)
			err_code(e, r, "scan the memory of process %d", (int)p->procs[i]->pid);
	}
	ckpt_time("last round: scan");
	if (r == 0)
		r = ckpt_copy_run(&c, e);
	/* What requests of rings have written may have left no mark: it is read whole. */
	if (r == 0 && !p->rings && ckpt_steady_last(p) < 0)
		r = err_code(e, -ENOMEM, "copy shared memory");
	ckpt_time("last round: marks of shared memory");
	if (r == 0)
		r = ckpt_shared_send(p, &shared, e);
	for (size_t i = 0; r == 0 && i < p->shared_count; i++)
		p->shared[i].last = true;
	if (r == 0)
		r = ckpt_write_flush(p->w, e);
	ckpt_time("last round: pages");
	ckpt_copy_done(&c);
	return r;
}

void ckpt_last_start(struct ckpt_precopy *p)
{
	for (size_t i = 0; i < p->shared_count; i++)
		p->shared[i].last = false;
	p->last = calloc(1, sizeof(*p->last));
	if (p->last)
		ckpt_job_start(p->last, true, last_round, p);
}

int ckpt_last_wait(struct ckpt_precopy *p, struct err *e)
{
	cleanup_free struct ckpt_job *l = TAKE_PTR(p->last);

	return l ? ckpt_job_wait(l, e) : 0;
}
