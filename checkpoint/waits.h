/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef CHECKPOINT_WAITS_H
#define CHECKPOINT_WAITS_H

#include "base/err.h"

#include <sys/types.h>

/*
 * Calls with a time-out that are under way, and of which a part is over: sleeps, poll(2), a relative FUTEX_WAIT. Of an
 * interrupted one the kernel keeps when it ends (the task's restart block), and goes on with that
 * (restart_syscall(2)). A dump reads it there; a restore has the thread begin such a call with what is left, and
 * interrupts it at once, so that the kernel has the like again: no register differs, and no memory.
 */
struct ckpt_dump;
struct restore;
struct restoring;
struct list;
typedef struct Ckpt__Thread Ckpt__Thread;

/* While the VPS runs: what takes a while. */
void ckpt_waits_look_ahead(struct ckpt_dump *d);
/* Fills t->wait_ns from the kernel's memory, where that may be read: without it the call begins anew. Its
 * registers are there. */
void ckpt_wait_collect(struct ckpt_dump *d, pid_t tid, Ckpt__Thread *t);
/* All of its threads, when they do nothing more for themselves but unmap what is ours: they begin the call, are
 * interrupted in it, and have been. Each for all processes before the next. */
int restore_waits(struct restore *r, struct restoring *p, struct list *l, struct err *e);
int restore_waits_enter(struct restore *r, struct restoring *p, struct list *l, struct err *e);
int restore_waits_finish(struct restore *r, struct restoring *p, struct list *l, struct err *e);

#endif
