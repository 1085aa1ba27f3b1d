/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "checkpoint/family.h"

#include "base/fd.h"
#include "base/macro.h"
#include "checkpoint/image.pb-c.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>

#define ENTRY_PRESENT (1ull << 63)
#define ENTRY_EXCLUSIVE (1ull << 56)
#define ENTRY_FRAME ((1ull << 55) - 1)

int ckpt_runs_read(const uint64_t *run, size_t n, uint64_t first, uint64_t end, struct ckpt_ranges *ret)
{
	uint64_t at = first;

	if (n % 2 || end < first)
		return -EPROTO;
	for (size_t i = 0; i < n; i += 2) {
		if (run[i] > end - at || run[i + 1] > end - at - run[i])
			return -EPROTO;
		at += run[i];
		if (run[i + 1] && ckpt_ranges_add(ret, at * CKPT_PAGE, (at + run[i + 1]) * CKPT_PAGE, false) < 0)
			return -ENOMEM;
		at += run[i + 1];
	}
	return 0;
}

uint64_t *ckpt_runs_write(struct ckpt_arena *a, const struct ckpt_ranges *l, size_t *ret_n)
{
	uint64_t *run = ckpt_alloc(a, (2 * l->count + 1) * sizeof(*run)), at = 0;

	for (size_t i = 0; run && i < l->count; i++) {
		run[2 * i] = l->r[i].start / CKPT_PAGE - at;
		run[2 * i + 1] = (l->r[i].end - l->r[i].start) / CKPT_PAGE;
		at = l->r[i].end / CKPT_PAGE;
	}
	*ret_n = 2 * l->count;
	return run;
}

/* A page that one process alone has mapped is nobody else's. */
int ckpt_pair_compare(struct ckpt_pair *p, uint64_t start, uint64_t end)
{
	for (uint64_t at = start; at < end;) {
		size_t n = (end - at) / CKPT_PAGE < CKPT_PAIR_PAGES ? (end - at) / CKPT_PAGE : CKPT_PAIR_PAGES,
		       len = n * sizeof(uint64_t);
		off_t off = (off_t)(at / CKPT_PAGE * sizeof(uint64_t));

		if (pread(p->child, p->mine, len, off) != (ssize_t)len ||
		    pread(p->parent, p->its, len, off) != (ssize_t)len)
			return -EIO;
		for (size_t i = 0; i < n; i++, at += CKPT_PAGE) {
			uint64_t m = p->mine[i];

			if ((m & ENTRY_PRESENT) && !(m & ENTRY_EXCLUSIVE) && (m & ENTRY_FRAME) &&
			    (p->its[i] & ENTRY_PRESENT) && !((m ^ p->its[i]) & ENTRY_FRAME) &&
			    ckpt_ranges_add(&p->shared, at, at + CKPT_PAGE, false) < 0)
				return -ENOMEM;
		}
	}
	return 0;
}

static bool is_plain(const Ckpt__Area *a)
{
	return (a->flags & MAP_PRIVATE) && (a->flags & MAP_ANONYMOUS);
}

/* The part of an area that is in the same kind of area of another process too; both lists are in order. */
static bool common(const Ckpt__Mm *mine, size_t *i, const Ckpt__Mm *its, size_t *k, struct ckpt_range *ret)
{
	while (*i < mine->n_area && *k < its->n_area) {
		const Ckpt__Area *a = mine->area[*i], *b = its->area[*k];

		ret->start = a->start > b->start ? a->start : b->start;
		ret->end = a->end < b->end ? a->end : b->end;
		if (a->end < b->end)
			++*i;
		else
			++*k;
		if (ret->start < ret->end && is_plain(a) && is_plain(b) && a->flags == b->flags && a->huge == b->huge)
			return true;
	}
	return false;
}

/* What of the pages to be sent is in both: holes are not looked at. */
static int compare_sent(struct ckpt_pair *p, const struct ckpt_ranges *sent, const struct ckpt_range *in, size_t *k)
{
	int r = 0;

	while (*k < sent->count && sent->r[*k].end <= in->start)
		++*k;
	for (size_t i = *k; r == 0 && i < sent->count && sent->r[i].start < in->end; i++)
		r = ckpt_pair_compare(p, sent->r[i].start > in->start ? sent->r[i].start : in->start,
			    sent->r[i].end < in->end ? sent->r[i].end : in->end);
	return r;
}

int ckpt_family_shared(struct ckpt_pair *p, const struct ckpt_task *child, const struct ckpt_task *parent,
		       const struct ckpt_ranges *sent)
{
	cleanup_close int mine = -EBADF, its = -EBADF;
	size_t i = 0, k = 0, n = 0;
	struct ckpt_range both;
	int r = 0;

	p->shared = (struct ckpt_ranges){ 0 };
	p->child = p->parent = -EBADF;
	while (r == 0 && common(child->mm, &i, parent->mm, &k, &both)) {
		if (mine < 0) {
			p->child = mine = ckpt_proc_open(child->pid, "pagemap");
			p->parent = its = ckpt_proc_open(parent->pid, "pagemap");
			if (mine < 0 || its < 0)
				return mine < 0 ? mine : its;
		}
		r = compare_sent(p, sent, &both, &n);
	}
	return r;
}

static int append(void *arg, const struct ckpt_range *part)
{
	return ckpt_ranges_add(arg, part->start, part->end, part->written);
}

int ckpt_ranges_take_out(struct ckpt_ranges *l, const struct ckpt_ranges *without, struct ckpt_ranges *ret_cut)
{
	struct ckpt_ranges left = { 0 };
	int r;

	for (size_t i = 0; i < l->count; i++)
		l->r[i].written = false;
	r = ckpt_ranges_subtract(l, without, append, &left);
	if (r == 0 && ret_cut)
		r = ckpt_ranges_subtract(l, &left, append, ret_cut);
	ckpt_ranges_done(l);
	*l = left;
	return r;
}

static size_t parent_of(const struct ckpt_tree *t, size_t i)
{
	size_t k = 0;

	while (k < t->task_count && (k == i || t->tasks[k].process->pid != t->tasks[i].process->ppid))
		k++;
	return k;
}

static int find_all(struct ckpt_dump *d, size_t first, struct ckpt_ranges *wanted, struct ckpt_pair *p)
{
	struct ckpt_tree *t = &d->tree;
	int r = 0;

	for (size_t i = 1; r == 0 && i < t->task_count; i++) {
		struct ckpt_source *s = &d->copy.sources[first + i];
		size_t parent = parent_of(t, i);

		if (parent == t->task_count)
			continue;
		r = ckpt_family_shared(p, &t->tasks[i], &t->tasks[parent], &s->ranges);
		if (r == 0 && p->shared.count) {
			t->tasks[i].mm->inherited =
				ckpt_runs_write(&t->arena, &p->shared, &t->tasks[i].mm->n_inherited);
			r = t->tasks[i].mm->inherited ? ckpt_ranges_take_out(&s->ranges, &p->shared, NULL) : -ENOMEM;
		}
		for (size_t k = 0; r == 0 && k < p->shared.count; k++)
			r = ckpt_ranges_add(&wanted[parent], p->shared.r[k].start, p->shared.r[k].end, false);
		ckpt_ranges_done(&p->shared);
	}
	return r;
}

int ckpt_family_find(struct ckpt_dump *d, size_t first, struct ckpt_copy *heritage, struct err *e)
{
	struct ckpt_ranges *wanted = calloc(d->tree.task_count, sizeof(*wanted));
	cleanup_free struct ckpt_pair *p = malloc(sizeof(*p));
	int r = wanted && p ? find_all(d, first, wanted, p) : -ENOMEM;

	for (size_t i = 0; r == 0 && i < d->tree.task_count; i++) {
		struct ckpt_source *from = &d->copy.sources[first + i], *to;

		if (!wanted[i].count)
			continue;
		r = ckpt_ranges_unite(&wanted[i]);
		to = ckpt_copy_add(heritage, from->mm, from->pid);
		if (to)
			to->family = true;
		if (r == 0)
			r = to ? ckpt_ranges_take_out(&from->ranges, &wanted[i], &to->ranges) : -ENOMEM;
	}
	for (size_t i = 0; wanted && i < d->tree.task_count; i++)
		ckpt_ranges_done(&wanted[i]);
	free(wanted);
	return r < 0 ? err_code(e, r, "look for memory that processes share") : 0;
}
