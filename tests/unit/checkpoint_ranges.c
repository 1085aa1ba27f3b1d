/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "checkpoint/family.h"
#include "checkpoint/loose.h"
#include "checkpoint/scan.h"
#include "tests/unit/tap.h"

#include <errno.h>

#define P(n) ((uint64_t)(n) * 4096)

static int append(void *arg, const struct ckpt_range *part)
{
	return ckpt_ranges_add(arg, part->start, part->end, part->written);
}

TEST(joined)
{
	struct ckpt_ranges l = { 0 };

	ckpt_ranges_add(&l, P(1), P(2), true);
	ckpt_ranges_add(&l, P(2), P(4), true);
	ckpt_ranges_add(&l, P(4), P(5), false);
	ckpt_ranges_add(&l, P(6), P(7), false);
	eq_int((int)l.count, 3, "what touches and is alike is one");
	ckpt_ranges_cut(&l, 1, P(3));
	ok(l.count == 1 && l.r[0].end == P(3), "cut in the middle of what was joined");
	ckpt_ranges_done(&l);
}

TEST(subtracted)
{
	struct ckpt_ranges a = { 0 }, b = { 0 }, left = { 0 };

	ckpt_ranges_add(&a, P(0), P(10), false);
	ckpt_ranges_add(&a, P(20), P(30), true);
	ckpt_ranges_add(&b, P(2), P(4), false);
	ckpt_ranges_add(&b, P(8), P(25), false);
	eq_int(ckpt_ranges_subtract(&a, &b, append, &left), 0, "subtracted");
	ok(left.count == 3 && left.r[0].end == P(2) && left.r[1].start == P(4) && left.r[1].end == P(8),
	   "two parts are left of the first");
	ok(left.r[2].start == P(20) && left.r[2].end == P(30), "the second is of another kind: all of it");
	ckpt_ranges_done(&a);
	ckpt_ranges_done(&b);
	ckpt_ranges_done(&left);
}

TEST(united)
{
	struct ckpt_ranges l = { 0 };

	eq_int(ckpt_ranges_unite(&l), 0, "nothing");
	ckpt_ranges_add(&l, P(5), P(9), true);
	ckpt_ranges_add(&l, P(1), P(6), false);
	ckpt_ranges_add(&l, P(2), P(3), true);
	ckpt_ranges_add(&l, P(11), P(12), true);
	ckpt_ranges_unite(&l);
	ok(l.count == 2 && l.r[0].start == P(1) && l.r[0].end == P(9) && l.r[1].start == P(11), "in order, once each");
	ckpt_ranges_done(&l);
}

TEST(runs)
{
	static const uint64_t run[] = { 3, 2, 1, 4 }, odd[] = { 1, 2, 3 }, far[] = { 5, 6 }, huge[] = { UINT64_MAX, 2 };
	struct ckpt_ranges l = { 0 }, again = { 0 };
	struct ckpt_arena arena = { 0 };
	uint64_t *out;
	size_t n;

	eq_int(ckpt_runs_read(run, 4, 0, 10, &l), 0, "read");
	ok(l.count == 2 && l.r[0].start == P(3) && l.r[1].start == P(6) && l.r[1].end == P(10), "as they say");
	out = ckpt_runs_write(&arena, &l, &n);
	ok(out && n == 4 && ckpt_runs_read(out, n, 0, 10, &again) == 0 && again.count == 2 &&
	   again.r[1].end == P(10), "written and read again");
	eq_int(ckpt_runs_read(run, 4, 0, 9, &again), -EPROTO, "beyond the end");
	eq_int(ckpt_runs_read(odd, 3, 0, 100, &again), -EPROTO, "half a pair");
	eq_int(ckpt_runs_read(far, 2, 4, 10, &again), -EPROTO, "beyond the end from another beginning");
	eq_int(ckpt_runs_read(huge, 2, 0, 100, &again), -EPROTO, "no sum overflows");
	eq_int(ckpt_runs_read(run, 0, 10, 9, &again), -EPROTO, "an end before the beginning");
	ckpt_ranges_done(&l);
	ckpt_ranges_done(&again);
	ckpt_arena_done(&arena);
}

struct seen {
	uint64_t number[8];
	uint8_t first[8];
	size_t count;
};

static int see(void *arg, uint64_t number, const uint8_t *data)
{
	struct seen *s = arg;

	s->number[s->count] = number;
	s->first[s->count++] = data[0];
	return 0;
}

TEST(loose)
{
	static uint8_t page[4096];
	struct ckpt_loose *l = ckpt_loose_new(4);
	struct seen s = { 0 };

	page[0] = 1;
	ok(l && ckpt_loose_put(l, 1, 30, page) == 0 && ckpt_loose_put(l, 1, 10, page) == 0, "two pages");
	page[0] = 2;
	ok(ckpt_loose_put(l, 1, 30, page) == 0 && ckpt_loose_put(l, 1, 20, page) == 0, "one again, and a third");
	ckpt_loose_drop(l, 1, 20);
	eq_int(ckpt_loose_put(l, 2, 30, NULL), 0, "of another address space");
	eq_int(ckpt_loose_put(l, 2, 31, NULL), -E2BIG, "no more than were allowed");
	ckpt_loose_each(l, 1, 0, 100, see, &s);
	ok(s.count == 2 && s.number[0] == 10 && s.first[0] == 1 && s.number[1] == 30 && s.first[1] == 2,
	   "in order, the last copy, without what was dropped");
	eq_int(ckpt_loose_put(l, 1, 20, page), 0, "put after a look");
	s.count = 0;
	ckpt_loose_each(l, 1, 11, 30, see, &s);
	ok(s.count == 1 && s.number[0] == 20, "a part of them");
	ckpt_loose_free(l);
}
