/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef CHECKPOINT_WATCH_H
#define CHECKPOINT_WATCH_H

#include "base/err.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/*
 * Sees writes to the memory of a process that runs: userfaultfd(2) with UFFD_FEATURE_WP_ASYNC (Linux
 * 6.7), with which a write to a protected page only takes the mark off it, that PAGEMAP_SCAN reads and
 * sets (scan.h). Nobody has to answer faults, and the process cannot tell.
 *
 * The fd is made in the process, which is stopped for that moment, and taken from it: it stands for the
 * address space that the process has then. Memory mapped later, moved by mremap(2), or inherited by a
 * child is not watched (UFFD_FEATURE_EVENT_* would have them wait for us, and a child have all page tables of its parent's). Closing it, or the engine's
 * death, takes all marks away.
 */

/* Whether this kernel can. */
bool ckpt_watch_known(void);

/* A leaf. One for the caller's own memory. */
int ckpt_watch_own(void);

/* The fd, the caller's; -ESRCH when the process has ended, *e filled for all errors. With `moves` mremap(2) and madvise(2)
 * (MADV_REMOVE, MADV_DONTNEED) of what it watches wait until that was read from it (moves.h). */
int ckpt_watch_open(pid_t pid, bool moves, struct err *e);

/* A leaf. Pages of the range are marked by the next CKPT_SCAN_PROTECT. -EINVAL and others for memory that
 * cannot be watched, or that belongs to an address space that is gone. */
int ckpt_watch_range(int uffd, uint64_t start, uint64_t end);

#endif
