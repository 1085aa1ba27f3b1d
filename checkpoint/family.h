/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef CHECKPOINT_FAMILY_H
#define CHECKPOINT_FAMILY_H

#include "checkpoint/internal.h"

/*
 * Pages that a child has from its parent, never written since by either: the same page frame at the same
 * address (pagemap(5), which takes CAP_SYS_ADMIN). An image has them once, and a restore lets the child inherit
 * them again. In private anonymous memory alone, where nearly all of it is.
 */

/* Takes what is inherited out of the children's sources and notes it in their Mm; what is left of it in the
 * parents' moves to `heritage`, whose pages are to be written first. `first` is the source of the first task.
 * (family.c) */
int ckpt_family_find(struct ckpt_dump *d, size_t first, struct ckpt_copy *heritage, struct err *e);

/* Two processes and what they have in common. Zeroed but for the files; `shared` is the caller's. */
#define CKPT_PAIR_PAGES 4096
struct ckpt_pair {
	int child, parent; /* /proc/PID/pagemap */
	uint64_t mine[CKPT_PAIR_PAGES], its[CKPT_PAIR_PAGES];
	struct ckpt_ranges shared;
};
/* Appends the pages of [start, end) that both have from one of them. */
int ckpt_pair_compare(struct ckpt_pair *p, uint64_t start, uint64_t end);

/* Which of the pages in `sent` a child has from its parent: in p->shared, which need not be set before. */
int ckpt_family_shared(struct ckpt_pair *p, const struct ckpt_task *child, const struct ckpt_task *parent,
		       const struct ckpt_ranges *sent);

/* l = l - without; what is cut off is in *ret_cut when that is not NULL. */
int ckpt_ranges_take_out(struct ckpt_ranges *l, const struct ckpt_ranges *without, struct ckpt_ranges *ret_cut);

/* "In turn: pages that are not, pages that are", as images have it. -EPROTO when they reach too far. */
int ckpt_runs_read(const uint64_t *run, size_t n, uint64_t first, uint64_t end, struct ckpt_ranges *ret);
/* NULL when out of memory; *ret_n numbers. */
uint64_t *ckpt_runs_write(struct ckpt_arena *a, const struct ckpt_ranges *l, size_t *ret_n);

#endif
