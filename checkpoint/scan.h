/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef CHECKPOINT_SCAN_H
#define CHECKPOINT_SCAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * Which pages of an address space are there, by PAGEMAP_SCAN (Linux 6.7; the kernel's
 * admin-guide/mm/pagemap.rst) on /proc/PID/pagemap. Leaves: negative errno values; -ENOTTY on
 * kernels before that.
 */
struct ckpt_range {
	uint64_t start, end; /* addresses */
	bool written;
	uint32_t how;        /* of memory to be mapped: flags of mmap(2) */
};

/* In order; ranges that touch and are alike are one. */
struct ckpt_ranges {
	struct ckpt_range *r;
	size_t count, room;
};
int ckpt_ranges_add(struct ckpt_ranges *l, uint64_t start, uint64_t end, bool written);
int ckpt_ranges_add_how(struct ckpt_ranges *l, uint64_t start, uint64_t end, uint32_t how);
/* Puts them in order, each page once; `written` is not set. -ENOMEM. */
int ckpt_ranges_unite(struct ckpt_ranges *l);
/* Back to `count` ranges, as they were before anything from address `at` on was added. */
void ckpt_ranges_cut(struct ckpt_ranges *l, size_t count, uint64_t at);
/* Calls `each` for the parts of `a` that are not in `b`, or in it with another `written` or `how`, reservations
 * (MAP_NORESERVE) aside; both are in order. Stops at a negative value. */
int ckpt_ranges_subtract(const struct ckpt_ranges *a, const struct ckpt_ranges *b,
			 int (*each)(void *arg, const struct ckpt_range *part), void *arg);
void ckpt_ranges_done(struct ckpt_ranges *l);

enum {
	CKPT_SCAN_WRITTEN = 1, /* only what was written to since it was protected */
	CKPT_SCAN_PROTECT = 2, /* and protects that again */
	CKPT_SCAN_WATCHED = 4, /* -EPERM when there is memory of which writes are not seen */
	/* Private memory of a file: what is swapped out counts as written. The mark of a protected page that
	 * MADV_DONTNEED has dropped looks like that (seen on Linux 6.18), and reads as the file again. */
	CKPT_SCAN_FILE = 8,
	CKPT_SCAN_ANEW = 16,   /* all counts as written */
	CKPT_SCAN_SOFT = 32,   /* written is what has a soft-dirty mark (softdirty.h) */
	CKPT_SCAN_ANON = 64,   /* memory of no file: it need not be looked for a file's pages, which takes long */
	/* Of huge pages, which are never swapped out: the mark of a protected one that MADV_DONTNEED has dropped
	 * looks so. */
	CKPT_SCAN_HUGE = 256,
	CKPT_SCAN_MARKS = 128, /* as where ckpt_scan_marks_tell(), whether that is known or not */
};

/*
 * Appends the pages that the process made its own: not those of a file, not holes, not the zero page
 * that reading a hole maps. `written` is set as the kernel tells; unwatched pages count as written. Guard
 * pages (MADV_GUARD_INSTALL, Linux 6.13) are none; they are appended to `guards` when it is not NULL, by kernels
 * that tell of them (Linux 6.15).
 */
int ckpt_scan_own(int pagemap, uint64_t start, uint64_t end, unsigned how, struct ckpt_ranges *ret,
		  struct ckpt_ranges *guards);
/* Guard pages alone, likewise: of shared memory. */
int ckpt_scan_guards(int pagemap, uint64_t start, uint64_t end, struct ckpt_ranges *guards);

/*
 * Whether this kernel counts as written all that is no page: holes, with page tables and without (Linux 6.18.44, not
 * before), guard pages, and what is swapped out and not protected (Linux 6.12). Then what does not count as written is
 * there, and is known without asking whether it is, which takes four times as long. It is tried once, on memory of the
 * caller's. (scan_trial.c)
 */
bool ckpt_scan_marks_tell(void);

/* All that has no mark, holes and what was dropped included, of memory that is watched and was marked whole: where
 * ckpt_scan_marks_tell(). -EPERM as for CKPT_SCAN_WATCHED. With `protect` it gets marks, and guard pages, which must get
 * none, are left out. */
int ckpt_scan_unmarked(int pagemap, uint64_t start, uint64_t end, bool protect, struct ckpt_ranges *ret);

/* The pages of shared memory that are no holes. Moves the file's position. */
int ckpt_scan_shared(int fd, uint64_t size, struct ckpt_ranges *ret);

#endif
