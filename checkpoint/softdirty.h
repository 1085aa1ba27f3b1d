/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef CHECKPOINT_SOFTDIRTY_H
#define CHECKPOINT_SOFTDIRTY_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/*
 * Writes to the memory of a process where there is no userfaultfd that tells of them: the soft-dirty
 * marks of its pages (the kernel's admin-guide/mm/soft-dirty.rst, CONFIG_MEM_SOFT_DIRTY), read by
 * CKPT_SCAN_SOFT. A mark is set by each write and taken off by us, for all pages at once; as reading and
 * taking off are two steps, the process must not run meanwhile.
 *
 * The marks are the process's, too: one that takes them off itself (/proc/self/clear_refs, as some
 * garbage collectors do) would hide its writes from us. So one page, the canary, is marked by us each
 * time: when its mark has gone nothing is known. The process must not write to it itself: it is one of
 * what was made read-only after it was filled, as what the dynamic linker leaves. A process that has
 * none is sent whole each time.
 */
bool ckpt_soft_known(void);

/* A canary in memory that the process may not write to; 0: none. */
uint64_t ckpt_soft_choose(int pagemap, uint64_t start, uint64_t end);

/* Takes all marks off, but for the canary's, whose contents stay. Leaf. */
int ckpt_soft_clear(pid_t pid, uint64_t canary);

/* Whether marks since ckpt_soft_clear() tell of all writes. */
bool ckpt_soft_holds(int pagemap, uint64_t canary);

#endif
