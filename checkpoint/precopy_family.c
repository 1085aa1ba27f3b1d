/* SPDX-License-Identifier: GPL-2.0-or-later */

/*
 * Pages that children have from their parents, copy-on-write. The other side lets a child inherit them, too: it is
 * told of when its parent's memory holds what the two have in common. A page that two processes have in one frame
 * is written to by neither, as that would give the writer another. So what was read between two looks that found
 * the same frame in both is what the child has, too; whatever was not found again is sent as its own.
 */
#include "base/fd.h"
#include "base/macro.h"
#include "checkpoint/family.h"
#include "checkpoint/image.pb-c.h"
#include "checkpoint/oracle.h"
#include "checkpoint/precopy_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>

static bool is_same_kind(const struct area *a, const struct area *b)
{
	return !a->file && !b->file && !a->hopeless && !b->hopeless && a->stack == b->stack && a->huge == b->huge;
}

/* Compares what of the pages in `l` is in memory of the same kind in both; all lists are in order. */
static int compare(struct ckpt_pair *pair, const struct watched *child, const struct watched *parent,
		   const struct ckpt_ranges *l)
{
	size_t i = 0, k = 0, n = 0;
	int r = 0;

	while (r == 0 && i < child->areas.count && k < parent->areas.count && n < l->count) {
		const struct area *a = &child->areas.a[i], *b = &parent->areas.a[k];
		uint64_t start = a->start > b->start ? a->start : b->start, end = a->end < b->end ? a->end : b->end;

		start = start > l->r[n].start ? start : l->r[n].start;
		end = end < l->r[n].end ? end : l->r[n].end;
		if (start < end && is_same_kind(a, b))
			r = ckpt_pair_compare(pair, start, end);
		if (l->r[n].end <= a->end && l->r[n].end <= b->end)
			n++;
		else if (a->end <= b->end)
			i++;
		else
			k++;
	}
	return r;
}

/* -ESRCH and the like when one of them has ended: nothing is shared then. */
static int look(struct ckpt_pair *pair, const struct watched *child, const struct watched *parent,
		struct ckpt_ranges *l)
{
	cleanup_close int mine = ckpt_proc_open(child->tid, "pagemap"), its = ckpt_proc_open(parent->tid, "pagemap");
	int r;

	pair->child = mine;
	pair->parent = its;
	pair->shared = (struct ckpt_ranges){ 0 };
	r = compare(pair, child, parent, l);
	ckpt_ranges_done(l);
	*l = pair->shared;
	if (r < 0 && r != -ENOMEM)
		l->count = 0;
	return r == -ENOMEM ? r : 0;
}

static struct ckpt_source *source_of(struct ckpt_copy *c, const struct watched *w)
{
	for (size_t i = 0; i < c->count; i++)
		if (c->sources[i].mm == w->mm)
			return &c->sources[i];
	return NULL;
}

static bool is_new_child(const struct watched *w, const struct watched *parent)
{
	return w->there && !w->layout && w->family && w->ppid == parent->pid && w != parent;
}

static int append(struct ckpt_ranges *to, const struct ckpt_ranges *l)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < l->count; i++)
		r = ckpt_ranges_add(to, l->r[i].start, l->r[i].end, false);
	return r;
}

/* What a process has in common with its new children. */
static int find_shared(struct ckpt_precopy *p, struct ckpt_copy *c, const struct watched *w, struct ckpt_pair *pair,
		       struct ckpt_ranges *ret)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < p->count; i++) {
		struct watched *child = p->procs[i];
		const struct ckpt_source *s = is_new_child(child, w) ? source_of(c, child) : NULL;

		if (!s)
			continue;
		child->inherited.count = 0;
		child->heir_of = w->mm;
		r = append(&child->inherited, &s->ranges);
		if (r == 0)
			r = look(pair, child, w, &child->inherited);
		if (r == 0)
			r = append(ret, &child->inherited);
	}
	return r == 0 ? ckpt_ranges_unite(ret) : r;
}

/* Of `wanted`, what the other side does not have yet. */
static int send(struct ckpt_precopy *p, struct ckpt_copy *c, const struct watched *w, const struct ckpt_ranges *wanted,
		struct err *e)
{
	struct ckpt_copy first = { .w = p->w, .running = true, .progress = p->o->progress, .oracle = p->oracle };
	struct ckpt_source *from = source_of(c, w), *to;
	int r;

	if (!from)
		return 0;
	to = ckpt_copy_add(&first, w->mm, w->tid);
	if (!to)
		return err_code(e, -ENOMEM, "copy memory");
	to->family = true;
	r = ckpt_ranges_take_out(&from->ranges, wanted, &to->ranges);
	r = r < 0 ? err_code(e, r, "copy memory") : ckpt_copy_run(&first, e);
	c->before += first.done;
	ckpt_copy_done(&first);
	return r;
}

/* Looks again, and leaves out of the children's pages what is still shared. */
static int confirm(struct ckpt_precopy *p, struct ckpt_copy *c, const struct watched *w, struct ckpt_pair *pair)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < p->count; i++) {
		struct watched *child = p->procs[i];
		struct ckpt_source *s = is_new_child(child, w) ? source_of(c, child) : NULL;

		if (!s)
			continue;
		r = look(pair, child, w, &child->inherited);
		if (r == 0)
			r = ckpt_ranges_take_out(&s->ranges, &child->inherited, NULL);
		if (r == 0 && p->oracle)
			r = ckpt_oracle_inherit(p->oracle, w->mm, child->mm, &child->inherited);
	}
	return r;
}

static int tell(struct ckpt_precopy *p, struct ckpt_copy *c, struct watched *w, struct ckpt_pair *pair, struct err *e)
{
	struct ckpt_ranges wanted = { 0 };
	int r = ckpt_layout_write(p, w, e), n;

	w->told = true;
	ckpt_ranges_done(&w->inherited);
	if (r < 0)
		return r;
	n = find_shared(p, c, w, pair, &wanted);
	if (n == 0 && wanted.count)
		r = send(p, c, w, &wanted, e);
	if (n == 0 && r == 0 && wanted.count)
		n = confirm(p, c, w, pair);
	ckpt_ranges_done(&wanted);
	return n < 0 ? err_code(e, n, "look for memory that processes share") : r;
}

/* It comes behind its parent, whose turn is still to come. */
static bool waits(const struct ckpt_precopy *p, const struct watched *w)
{
	for (size_t i = 0; i < p->count; i++)
		if (p->procs[i]->pid == w->ppid && p->procs[i] != w)
			return p->procs[i]->there && !p->procs[i]->told;
	return false;
}

/* Begins a round: whether somebody is new. */
static bool begin(struct ckpt_precopy *p)
{
	bool new = false;

	for (size_t i = 0; i < p->count; i++) {
		p->procs[i]->told = false;
		new = new || (p->procs[i]->there && !p->procs[i]->layout);
	}
	return new;
}

int ckpt_layouts_tell(struct ckpt_precopy *p, struct ckpt_copy *c, struct err *e)
{
	cleanup_free struct ckpt_pair *pair = malloc(sizeof(*pair));
	bool more = begin(p);
	int r = pair ? 0 : err_code(e, -ENOMEM, "copy memory");

	/* Mostly nobody is, and any order will do. */
	for (size_t i = 0; r == 0 && !more && i < p->count; i++)
		if (p->procs[i]->there)
			r = ckpt_layout_write(p, p->procs[i], e);
	while (r == 0 && more) {
		more = false;
		for (size_t i = 0; r == 0 && i < p->count; i++) {
			struct watched *w = p->procs[i];

			if (!w->there || w->told || waits(p, w))
				continue;
			r = tell(p, c, w, pair, e);
			more = true;
		}
	}
	return r;
}
