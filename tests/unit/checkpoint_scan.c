/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "base/fd.h"
#include "base/macro.h"
#include "checkpoint/scan.h"
#include "checkpoint/watch.h"
#include "tests/unit/tap.h"

#include <fcntl.h>
#include <sys/mman.h>

#define PAGE 4096ul
#define PAGES 4096          /* eight page tables, and some of them not there */
#define GUARD_INSTALL 102
#define GUARD_REMOVE 103

static char *memory;
static int pagemap = -EBADF, uffd = -EBADF;

static bool set_up(void)
{
	if (!memory) {
		memory = mmap(NULL, PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		pagemap = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
		uffd = ckpt_watch_own();
		if (memory == MAP_FAILED || pagemap < 0 || uffd < 0)
			return false;
		madvise(memory, PAGES * PAGE, MADV_NOHUGEPAGE);
	}
	return ckpt_watch_range(uffd, (uintptr_t)memory, (uintptr_t)memory + PAGES * PAGE) == 0;
}

static int scan(unsigned how, struct ckpt_ranges *own, struct ckpt_ranges *guards)
{
	own->count = guards->count = 0;
	return ckpt_scan_own(pagemap, (uintptr_t)memory, (uintptr_t)memory + PAGES * PAGE, how | CKPT_SCAN_ANON, own,
			     how & CKPT_SCAN_PROTECT ? NULL : guards);
}

static bool same(const struct ckpt_ranges *a, const struct ckpt_ranges *b)
{
	if (a->count != b->count)
		return false;
	for (size_t i = 0; i < a->count; i++)
		if (a->r[i].start != b->r[i].start || a->r[i].end != b->r[i].end || a->r[i].written != b->r[i].written)
			return false;
	return true;
}

static unsigned draw(unsigned below)
{
	static uint64_t seed = 88172645463325252;

	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return (unsigned)(seed % below);
}

/* What programs do with their memory, to a few pages or to the whole of several page tables. */
static void change(void)
{
	size_t count = draw(8) ? 1 + draw(40) : 1024,
	       at = draw(PAGES - (unsigned)count) & (count == 1024 ? ~511u : ~0u);
	char *start = memory + at * PAGE;

	switch (draw(6)) {
	case 0:
		madvise(start, count * PAGE, MADV_DONTNEED);
		break;
	case 1:
		madvise(start, (count / 8 + 1) * PAGE, GUARD_INSTALL);
		break;
	case 2:
		for (size_t i = 0; i < count; i++) { /* the zero page */
			madvise(start + i * PAGE, PAGE, GUARD_REMOVE);
			(void)*(volatile char *)(start + i * PAGE);
		}
		break;
	default:
		madvise(start, count * PAGE, GUARD_REMOVE);
		for (size_t i = 0; i < count; i++)
			start[i * PAGE]++;
	}
}

/* Written, dropped, guarded and read in any order: marks alone tell as much as a close look does. */
TEST(marks)
{
	struct ckpt_ranges quick = { 0 }, close = { 0 }, guards = { 0 }, guards_close = { 0 };
	bool all = true, written = true, guarded = true;

	if (!ckpt_watch_known() || !set_up())
		skip("writes to memory are not seen here");
	if (!ckpt_scan_marks_tell())
		skip("the marks of this kernel tell too little");
	for (int round = 0; round < 300; round++) {
		for (unsigned n = draw(60); n; n--)
			change();
		all &= scan(CKPT_SCAN_WATCHED | CKPT_SCAN_MARKS, &quick, &guards) == 0;
		scan(0, &close, &guards_close);
		all &= same(&quick, &close);
		guarded &= same(&guards, &guards_close);
		scan(CKPT_SCAN_WATCHED | CKPT_SCAN_MARKS | CKPT_SCAN_WRITTEN, &quick, &guards);
		scan(CKPT_SCAN_WRITTEN, &close, &guards_close);
		written &= same(&quick, &close);
		if (draw(3) == 0)
			scan(CKPT_SCAN_WATCHED | CKPT_SCAN_PROTECT | CKPT_SCAN_WRITTEN, &quick, &guards);
	}
	ok(all, "which pages are there");
	ok(written, "which were written to");
	ok(guarded, "which guard others");
	ckpt_ranges_done(&quick);
	ckpt_ranges_done(&close);
	ckpt_ranges_done(&guards);
	ckpt_ranges_done(&guards_close);
}

/* A mark on a guard page would make it look like a page that is there. */
TEST(guards_are_not_protected)
{
	struct ckpt_ranges own = { 0 }, guards = { 0 };

	if (!ckpt_watch_known() || !set_up())
		skip("writes to memory are not seen here");
	madvise(memory, PAGES * PAGE, MADV_DONTNEED);
	madvise(memory, PAGES * PAGE, GUARD_REMOVE);
	if (madvise(memory + PAGE, PAGE, GUARD_INSTALL) < 0)
		skip("no guard pages here");
	memory[0] = 1;
	scan(CKPT_SCAN_WATCHED | CKPT_SCAN_PROTECT | CKPT_SCAN_ANEW, &own, &guards);
	eq_int(scan(CKPT_SCAN_WATCHED, &own, &guards), 0, "looked");
	ok(own.count == 1 && own.r[0].end == (uintptr_t)memory + PAGE, "the page before it is there");
	ok(guards.count <= 1, "one guard, where the kernel tells of them");
	if (ckpt_scan_marks_tell())
		ok(guards.count == 1 && guards.r[0].start == (uintptr_t)memory + PAGE, "the guard is one still");
	ckpt_ranges_done(&own);
	ckpt_ranges_done(&guards);
}
