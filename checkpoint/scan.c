/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "checkpoint/scan.h"

#include "base/array.h"
#include "checkpoint/hugetlb.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

/* Not in the headers of Linux 6.1. */
struct page_region {
	uint64_t start, end, categories;
};
struct scan_arg {
	uint64_t size, flags, start, end, walk_end, vec, vec_len, max_pages;
	uint64_t category_inverted, category_mask, category_anyof_mask, return_mask;
};
#define SCAN _IOWR('f', 16, struct scan_arg)
#define WP_MATCHING 1u
#define CHECK_WPASYNC 2u
#define IS_WRITTEN (1u << 1)
#define IS_FILE (1u << 2)
#define IS_PRESENT (1u << 3)
#define IS_SWAPPED (1u << 4)
#define IS_PFNZERO (1u << 5)
#define IS_SOFT_DIRTY (1u << 7)
#define IS_GUARD (1u << 8)

#define REGIONS 512
#define CLOSE_BY (64 * 4096) /* as long as a call takes */

static int append(struct ckpt_ranges *l, const struct ckpt_range *new)
{
	struct ckpt_range *last = l->count ? &l->r[l->count - 1] : NULL;

	if (last && last->end == new->start && last->written == new->written && last->how == new->how) {
		last->end = new->end;
		return 0;
	}
	if (array_grow(&l->r, l->count, &l->room, 256) < 0)
		return -ENOMEM;
	l->r[l->count++] = *new;
	return 0;
}

int ckpt_ranges_add(struct ckpt_ranges *l, uint64_t start, uint64_t end, bool written)
{
	return append(l, &(struct ckpt_range){ start, end, written, 0 });
}

int ckpt_ranges_add_how(struct ckpt_ranges *l, uint64_t start, uint64_t end, uint32_t how)
{
	return append(l, &(struct ckpt_range){ start, end, false, how });
}

static bool is_alike(const struct ckpt_range *a, const struct ckpt_range *b)
{
	return a->written == b->written && !((a->how ^ b->how) & ~(uint32_t)MAP_NORESERVE);
}

void ckpt_ranges_cut(struct ckpt_ranges *l, size_t count, uint64_t at)
{
	l->count = count;
	if (count && l->r[count - 1].end > at)
		l->r[count - 1].end = at;
}

int ckpt_ranges_subtract(const struct ckpt_ranges *a, const struct ckpt_ranges *b,
			 int (*each)(void *arg, const struct ckpt_range *part), void *arg)
{
	size_t k = 0;

	for (size_t i = 0; i < a->count; i++) {
		struct ckpt_range part = a->r[i];

		while (k < b->count && b->r[k].end <= part.start)
			k++;
		for (size_t n = k; part.start < part.end; n++) {
			const struct ckpt_range *other = n < b->count ? &b->r[n] : NULL;
			struct ckpt_range here = part;
			int r;

			if (other && !is_alike(other, &part) && other->start < part.end)
				continue;
			if (other && other->start < part.end)
				here.end = other->start;
			r = here.start < here.end ? each(arg, &here) : 0;
			if (r < 0)
				return r;
			part.start = other && other->start < part.end ? other->end : part.end;
		}
	}
	return 0;
}

void ckpt_ranges_done(struct ckpt_ranges *l)
{
	free(l->r);
	*l = (struct ckpt_ranges){ 0 };
}

static int by_start(const void *a, const void *b)
{
	const struct ckpt_range *x = a, *y = b;

	return x->start < y->start ? -1 : x->start > y->start;
}

int ckpt_ranges_unite(struct ckpt_ranges *l)
{
	struct ckpt_ranges once = { 0 };
	uint64_t last = 0;
	int r = 0;

	if (l->count)
		qsort(l->r, l->count, sizeof(*l->r), by_start);
	for (size_t i = 0; r == 0 && i < l->count; i++) {
		uint64_t start = l->r[i].start > last ? l->r[i].start : last;

		if (start < l->r[i].end) {
			last = l->r[i].end;
			r = ckpt_ranges_add(&once, start, last, false);
		}
	}
	ckpt_ranges_done(l);
	*l = once;
	return r;
}

/* A category that the kernel does not know must not be asked for. */
static uint64_t guard_category(int pagemap)
{
	static _Atomic int known; /* 0: not yet asked, 1: it is, 2: it is not */
	struct scan_arg s = {
		.size = sizeof(s), .start = 4096, .end = 8192, .category_mask = IS_GUARD, .return_mask = IS_GUARD,
	};

	if (!known) /* another failure says nothing about that: the next one tells */
		known = ioctl(pagemap, SCAN, &s) >= 0 ? 1 : errno == EINVAL ? 2 : 0;
	return known == 1 ? IS_GUARD : 0;
}

struct scanning {
	int pagemap;
	unsigned how;
	struct ckpt_ranges *ret, *guards;
	uint64_t from, to; /* what is to be looked at closely, of what has been gone through */
};

/* Calls each for the regions that match; `s` has the categories. */
static int scan(struct scanning *sc, struct scan_arg s, uint64_t end,
		int (*each)(struct scanning *sc, const struct page_region *p))
{
	struct page_region regions[REGIONS];

	s.size = sizeof(s);
	s.end = end;
	s.vec = (uint64_t)(uintptr_t)regions;
	s.vec_len = REGIONS;
	while (s.start < end) {
		int n = ioctl(sc->pagemap, SCAN, &s), r = 0;

		if (n < 0)
			return -errno;
		for (int i = 0; r == 0 && i < n; i++)
			r = each(sc, &regions[i]);
		if (r < 0)
			return r;
		if (s.walk_end <= s.start)
			break;
		s.start = s.walk_end;
	}
	return 0;
}

static int take(struct scanning *sc, const struct page_region *p)
{
	if (p->categories & IS_GUARD)
		return sc->guards ? ckpt_ranges_add(sc->guards, p->start, p->end, false) : 0;
	return ckpt_ranges_add(sc->ret, p->start, p->end, sc->how & CKPT_SCAN_ANEW || p->categories);
}

/*
 * Present or swapped must be asked for: scans that only ask for what is written match holes, too, and give them page
 * tables when they protect. Guard pages would be protected like what is swapped out, and then not be told from memory
 * that is there.
 */
static int scan_closely(struct scanning *sc, uint64_t start, uint64_t end)
{
	unsigned how = sc->how;
	uint64_t written = how & CKPT_SCAN_SOFT ? IS_SOFT_DIRTY : IS_WRITTEN, guard = guard_category(sc->pagemap);
	/* To tell a file's page the kernel looks at each, which takes several times as long as the rest. */
	uint64_t none = IS_PFNZERO | (how & CKPT_SCAN_ANON ? 0 : IS_FILE) | (how & CKPT_SCAN_PROTECT ? guard : 0);
	const struct scan_arg s = {
		.start = start,
		.flags = (how & CKPT_SCAN_PROTECT ? WP_MATCHING : 0) | (how & CKPT_SCAN_WATCHED ? CHECK_WPASYNC : 0),
		.category_inverted = none,
		.category_mask = none | (how & CKPT_SCAN_WRITTEN ? written : 0),
		.category_anyof_mask = IS_PRESENT | (how & CKPT_SCAN_HUGE ? 0 : IS_SWAPPED),
		.return_mask = written | guard | (how & CKPT_SCAN_FILE ? IS_SWAPPED : 0),
	};

	return scan(sc, s, end, take);
}

/* Only its own pages were ever protected, so what was not written to since is one. */
static int take_unwritten(struct scanning *sc, const struct page_region *p)
{
	return p->categories ? scan_closely(sc, p->start, p->end) : ckpt_ranges_add(sc->ret, p->start, p->end, false);
}

/* What is left to be looked at, and then up to `end` what was not written to. */
static int take_before(struct scanning *sc, uint64_t end)
{
	int r = sc->from < sc->to ? scan_closely(sc, sc->from, sc->to) : 0;

	if (r == 0 && sc->to < end && !(sc->how & CKPT_SCAN_WRITTEN))
		r = ckpt_ranges_add(sc->ret, sc->to, end, false);
	return r;
}

/* Pieces that lie close to each other are looked at as one, as each takes a call. */
static int gather(struct scanning *sc, const struct page_region *p)
{
	int r = 0;

	if (sc->from == sc->to || p->start - sc->to > CLOSE_BY) {
		r = take_before(sc, p->start);
		sc->from = p->start;
	}
	sc->to = p->end;
	return r;
}

/* Only what the page tables say is asked for, and what is not simply there is looked at closely. */
static int scan_tables(struct scanning *sc, uint64_t start, uint64_t end)
{
	const struct scan_arg s = {
		.start = start, .flags = CHECK_WPASYNC, .category_anyof_mask = IS_PRESENT | IS_SWAPPED,
		.category_mask = sc->how & CKPT_SCAN_WRITTEN ? IS_WRITTEN : 0,
		.return_mask = IS_WRITTEN | guard_category(sc->pagemap),
	};

	return scan(sc, s, end, take_unwritten);
}

/* Nothing but whether it is neither written to nor a hole. */
static int scan_marks(struct scanning *sc, uint64_t start, uint64_t end)
{
	const struct scan_arg s = {
		.start = start, .flags = CHECK_WPASYNC, .category_mask = IS_WRITTEN, .return_mask = IS_WRITTEN,
	};
	int r;

	sc->from = sc->to = start;
	r = scan(sc, s, end, gather);
	return r == 0 ? take_before(sc, end) : r;
}

/*
 * To tell the zero page and those of files the kernel looks at each page's own record: 16 ms a GiB. What is there, and
 * whether it was written to, is in the page tables: 1.4 ms. For marks alone it has a loop of its own: 0.3 ms
 * (Linux 6.18).
 */
int ckpt_scan_own(int pagemap, uint64_t start, uint64_t end, unsigned how, struct ckpt_ranges *ret,
		  struct ckpt_ranges *guards)
{
	struct scanning sc = { pagemap, how, ret, guards, 0, 0 };

	if (!(how & CKPT_SCAN_WATCHED) || how & (CKPT_SCAN_FILE | CKPT_SCAN_HUGE | CKPT_SCAN_ANEW))
		return scan_closely(&sc, start, end);
	return how & CKPT_SCAN_MARKS || ckpt_scan_marks_tell() ? scan_marks(&sc, start, end)
							       : scan_tables(&sc, start, end);
}

int ckpt_scan_guards(int pagemap, uint64_t start, uint64_t end, struct ckpt_ranges *guards)
{
	struct scanning sc = { .pagemap = pagemap, .guards = guards };
	const struct scan_arg s = { .start = start, .category_mask = IS_GUARD, .return_mask = IS_GUARD };

	return guard_category(pagemap) ? scan(&sc, s, end, take) : 0;
}

int ckpt_scan_unmarked(int pagemap, uint64_t start, uint64_t end, bool protect, struct ckpt_ranges *ret)
{
	struct scanning sc = { .pagemap = pagemap, .ret = ret };
	uint64_t guard = protect ? guard_category(pagemap) : 0;
	const struct scan_arg s = {
		.start = start, .flags = CHECK_WPASYNC | (protect ? WP_MATCHING : 0),
		.category_inverted = guard, .category_mask = IS_WRITTEN | guard, .return_mask = IS_WRITTEN,
	};

	return scan(&sc, s, end, take);
}

int ckpt_scan_shared(int fd, uint64_t size, struct ckpt_ranges *ret)
{
	uint32_t huge = ckpt_huge_of(fd);
	off_t at = 0, hole;
	int r = 0;

	if (huge)
		return ckpt_huge_scan(fd, size, huge, ret);
	while (r == 0 && (at = lseek(fd, at, SEEK_DATA)) >= 0 && (uint64_t)at < size) {
		hole = lseek(fd, at, SEEK_HOLE);
		if (hole < 0)
			return errno == ENXIO ? 0 : -errno; /* it was cut off there meanwhile */
		if ((uint64_t)hole > size)
			hole = (off_t)size; /* or has grown */
		r = ckpt_ranges_add(ret, (uint64_t)at & ~(uint64_t)4095,
				    ((uint64_t)hole + 4095) & ~(uint64_t)4095, true);
		at = hole;
	}
	return r < 0 ? r : at < 0 && errno != ENXIO ? -errno : 0;
}
