/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef CHECKPOINT_LEADERS_H
#define CHECKPOINT_LEADERS_H

#include "checkpoint/restore_internal.h"

/*
 * Processes whose first thread has ended before the others, as by pthread_exit(3) in main(). It is a zombie without
 * memory, files and namespaces until the last one ends, whose parent hears the first one's status then. A dump looks at
 * such a process by another thread (struct ckpt_process); a restore makes it like any other, and has its first thread
 * end when it has made the others.
 */

/* Puts the first thread, when it has ended, before those that were collected. */
int ckpt_leader_collect(struct ckpt_dump *d, struct ckpt_task *k, struct err *e);
/* Of an image. */
int ckpt_leader_check(const struct ckpt_task *k, struct err *e);

/*
 * A step of a restore, when all have their threads, and what only the first one can do is done (signals that wait for the
 * process may be said to come from anybody by nobody else, rt_sigqueueinfo(2)): a first thread that is to have ended
 * ends, and `p` and its task are without it from then on, as if the next one were the first.
 */
int restore_leader(struct restore *r, struct restoring *p, struct list *l, struct err *e);
/* Its children hear of its end when they have asked for a signal (PR_SET_PDEATHSIG), which they have heard before:
 * whether that of `p` is set later, and the step that does so. */
bool restore_is_tied_late(const struct restore *r, const struct restoring *p);
int restore_tie(struct restore *r, struct restoring *p, struct list *l, struct err *e);

#endif
