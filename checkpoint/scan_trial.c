/* SPDX-License-Identifier: GPL-2.0-or-later */

/*
 * What the marks of protected memory tell by themselves differs from kernel to kernel: holes read as unwritten where
 * they have no page table, or everywhere, and an entry that is no page (swapped out, moving, a guard) is taken for one
 * whose mark is a bit of something else. Nothing says which it is but a try.
 */
#include "base/fd.h"
#include "base/macro.h"
#include "checkpoint/scan.h"
#include "checkpoint/watch.h"

#include <fcntl.h>
#include <sys/mman.h>

#define PAGE 4096ul
#define TABLE MIB(2)        /* what one page table maps */
#define GUARD_INSTALL 102   /* MADV_GUARD_INSTALL, Linux 6.13 */
enum { KEPT, DROPPED = 2, GUARDED = 4, WRITTEN = 6 };

/* The second table's range has nothing in it. */
static bool set_up(int pagemap, char *at)
{
	struct ckpt_ranges ignored = { 0 };
	int r;

	at[KEPT * PAGE] = at[DROPPED * PAGE] = at[WRITTEN * PAGE] = 1;
	if (madvise(at + GUARDED * PAGE, PAGE, GUARD_INSTALL) < 0)
		return false;
	r = ckpt_scan_own(pagemap, (uintptr_t)at, (uintptr_t)at + 2 * TABLE,
			  CKPT_SCAN_PROTECT | CKPT_SCAN_WATCHED | CKPT_SCAN_ANON | CKPT_SCAN_ANEW, &ignored, NULL);
	ckpt_ranges_done(&ignored);
	at[WRITTEN * PAGE] = 2;
	return r == 0 && madvise(at + DROPPED * PAGE, PAGE, MADV_DONTNEED) == 0;
}

static bool is_page(const struct ckpt_ranges *l, size_t i, const char *at, bool written)
{
	return l->r[i].start == (uintptr_t)at && l->r[i].end == (uintptr_t)at + PAGE && l->r[i].written == written;
}

static bool try(int pagemap, int uffd, char *at)
{
	struct ckpt_ranges own = { 0 }, guards = { 0 };
	bool told;

	if (ckpt_watch_range(uffd, (uintptr_t)at, (uintptr_t)at + 2 * TABLE) < 0 || !set_up(pagemap, at))
		return false;
	told = ckpt_scan_own(pagemap, (uintptr_t)at, (uintptr_t)at + 2 * TABLE,
			     CKPT_SCAN_WATCHED | CKPT_SCAN_ANON | CKPT_SCAN_MARKS, &own, &guards) == 0 &&
	       own.count == 2 && is_page(&own, 0, at + KEPT * PAGE, false) &&
	       is_page(&own, 1, at + WRITTEN * PAGE, true) && guards.count == 1 &&
	       is_page(&guards, 0, at + GUARDED * PAGE, false);
	ckpt_ranges_done(&own);
	ckpt_ranges_done(&guards);
	return told;
}

static bool tried(void)
{
	cleanup_close int pagemap = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC), uffd = ckpt_watch_own();
	char *room = mmap(NULL, 3 * TABLE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	bool told = false;

	if (room == MAP_FAILED)
		return false;
	/* A huge page would be one entry. */
	madvise(room, 3 * TABLE, MADV_NOHUGEPAGE);
	if (pagemap >= 0 && uffd >= 0)
		told = try(pagemap, uffd, room + (TABLE - (uintptr_t)room % TABLE) % TABLE);
	munmap(room, 3 * TABLE);
	return told;
}

bool ckpt_scan_marks_tell(void)
{
	static _Atomic int known; /* 0: not yet tried, 1: they do, 2: they do not */

	if (!known)
		known = tried() ? 1 : 2;
	return known == 1;
}
