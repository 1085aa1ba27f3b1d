/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef CHECKPOINT_PROGRAM_H
#define CHECKPOINT_PROGRAM_H

#include "checkpoint/restore_internal.h"

/*
 * Programs that were executed from a memfd (fexecve(3)), as container runtimes do with copies of themselves. Nobody has
 * it open, and while it is executed nobody can for writing (ETXTBSY): a restore makes it the process's program when it is
 * filled and nothing of ours is left that could write to it.
 */

/* Of one whose program has no place (`r` and *e say why): sets mm->exe_memfd where that is so; else r. */
int ckpt_program_memfd(struct ckpt_dump *d, struct ckpt_task *k, int r, struct err *e);
/* Where its memory is told to be (PR_SET_MM_MAP), with the fd of its program; -1: that comes later. Two calls at most are
 * added to a list with room for them. */
void restore_set_map(const Ckpt__Mm *mm, int exe_fd, struct list *l);
/* The step of a restore behind that which fills memory. */
int restore_program(struct restore *r, struct restoring *p, struct list *l, struct err *e);

#endif
