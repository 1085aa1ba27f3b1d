/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef CHECKPOINT_PARENTS_H
#define CHECKPOINT_PARENTS_H

#include <stdbool.h>
#include <sys/types.h>

/*
 * Hears who makes processes, those included that have ended by the time somebody looks: the kernel's records of that, of all
 * processors (perf_event_open(2), PERF_RECORD_FORK). A birth is on record before the child runs, and, when its parent is in
 * no call any more, before that runs on.
 */
struct ckpt_parents;

/* NULL: the kernel has no such records, or we no right to them. */
struct ckpt_parents *ckpt_parents_new(void);
void ckpt_parents_free(struct ckpt_parents *p);
/* Tells of each process that was made since the last time who made it, by our numbers. False: some have been missed. */
bool ckpt_parents_read(struct ckpt_parents *p, void (*each)(void *arg, pid_t parent), void *arg);

#endif
