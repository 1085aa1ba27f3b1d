/* SPDX-License-Identifier: GPL-2.0-or-later */

/*
 * Pages that were loose till the tree was there, most of them of files' private mappings: some hundred in each process. What
 * is to be dropped before them takes lists in the processes; then they are written, for two processes at a time.
 */
#include "base/macro.h"
#include "checkpoint/family.h"
#include "checkpoint/image.pb-c.h"
#include "checkpoint/restore_early.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/uio.h>

#define AT_ONCE 256 /* records whose pages are placed together */
#define RUN 128u    /* pages of one write */

struct placing {
	struct restoring *p;
	uint32_t mm;
	uint64_t first, end;
	struct ckpt_ranges there;
	size_t k;       /* in `there` */
	bool any;
	struct iovec page[RUN], run[RUN]; /* what is written next, and where: pages that follow each other are one run */
	size_t count, runs;
};

struct placings {
	struct restore *r;
	struct placing *one;
	size_t count;
};

static int flush(struct placing *o)
{
	size_t len = o->count * CKPT_PAGE;
	ssize_t n;

	if (!len)
		return 0;
	n = process_vm_writev(o->p->task->pid, o->page, o->count, o->run, o->runs, 0);
	o->count = o->runs = 0;
	return n < 0 ? -errno : (size_t)n == len ? 0 : -EFAULT;
}

static int place_page(void *arg, uint64_t number, const uint8_t *data)
{
	struct placing *o = arg;
	uint64_t at = number * CKPT_PAGE;
	struct iovec *last;
	int n = 0;

	while (o->k < o->there.count && o->there.r[o->k].end <= at)
		o->k++;
	if (o->k == o->there.count || o->there.r[o->k].start > at)
		return 0;
	if (!restore_has_private(o->p->task->mm, at))
		return -EPROTO;
	o->any = true;
	if (o->count == RUN)
		n = flush(o);
	last = o->runs ? &o->run[o->runs - 1] : NULL;
	if (last && (uint64_t)(uintptr_t)last->iov_base + last->iov_len == at)
		last->iov_len += CKPT_PAGE;
	else
		o->run[o->runs++] = (struct iovec){ (void *)(uintptr_t)at, CKPT_PAGE };
	o->page[o->count++] = (struct iovec){ (void *)(uintptr_t)data, CKPT_PAGE };
	return n;
}

static int place(void *arg, size_t i, struct err *e)
{
	struct placings *s = arg;
	struct placing *o = &s->one[i];
	int n = ckpt_loose_each(s->r->early->loose, o->mm, o->first, o->end, place_page, o);

	if (n == 0)
		n = flush(o);
	return n < 0 ? err_code(e, n, "fill the memory of process %u", o->p->task->process->pid) : 0;
}

static int place_all(struct placings *s, struct err *e)
{
	int n;

	ckpt_loose_sort(s->r->early->loose);
	n = ckpt_in_halves(s->count, place, s, e);
	for (size_t i = 0; i < s->count; i++)
		s->one[i].p->placed = s->one[i].p->placed || s->one[i].any;
	return n;
}

/* Of one record. */
static int prepare(struct placings *s, const Ckpt__Populated *m, struct list *l, struct err *e)
{
	struct placing *o = &s->one[s->count++];
	int n;

	*o = (struct placing){ .p = restore_find_mm(s->r, m->mm), .mm = m->mm, .first = m->first, .end = m->end };
	n = o->p && m->end <= RESTORE_ADDRESS_MAX / CKPT_PAGE
		    ? ckpt_runs_read(m->run, m->n_run, m->first, m->end, &o->there) : -EPROTO;
	if (n < 0)
		return err_set(e, ERR_FAIL, "the image is damaged: which pages are there");
	return o->p->early ? early_drop_filled(s->r, o->p, m->first * CKPT_PAGE, m->end * CKPT_PAGE, &o->there, l, e)
			   : 0;
}

int restore_populated(struct restore *r, struct ckpt_record *rec, struct list *l, struct err *e)
{
	struct placings s = { .r = r, .one = calloc(AT_ONCE, sizeof(*s.one)) };
	int n = s.one ? 0 : err_code(e, -ENOMEM, "restore"), more = 1;

	while (n == 0 && more > 0 && rec->type == CKPT_REC_POPULATED && s.count < AT_ONCE) {
		n = prepare(&s, rec->message, l, e);
		if (n == 0)
			more = ckpt_read(r->reader, rec, e);
	}
	if (n == 0 && more >= 0)
		n = place_all(&s, e);
	for (size_t i = 0; i < s.count; i++)
		ckpt_ranges_done(&s.one[i].there);
	free(s.one);
	return n < 0 ? n : more;
}
