/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef CHECKPOINT_MOVES_H
#define CHECKPOINT_MOVES_H

#include <stdatomic.h>

/*
 * Hears that memory which is watched was moved or mapped once more (mremap(2)), or that pages were taken out of it
 * (madvise(2)), from userfaultfds that tell of it (ckpt_watch_open()). The process waits until it was heard, so a thread of its own listens, from the first fd on.
 */
struct ckpt_moves;

/* NULL: no memory, or no thread. */
struct ckpt_moves *ckpt_moves_new(void);
/* Processes that wait are let go of when their fds are closed, and not before. */
void ckpt_moves_free(struct ckpt_moves *m);
/* A leaf. Both stay the caller's, and there until the end or ckpt_moves_close(). `moved` counts what happened. */
int ckpt_moves_add(struct ckpt_moves *m, int uffd, atomic_uint *moved);
/* Closes it, of which nothing is heard any more. Idempotent; m may be NULL. */
void ckpt_moves_close(struct ckpt_moves *m, int *uffd);
/* Whatever happened before is told when this returns, which is soon, whatever happens meanwhile. */
void ckpt_moves_settle(struct ckpt_moves *m);

#endif
