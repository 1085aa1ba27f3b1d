/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef CHECKPOINT_OWN_H
#define CHECKPOINT_OWN_H

#include "checkpoint/restore_internal.h"

/*
 * What a thread has for itself that nearly all share with their process: a table of open files, a directory, root and
 * umask (unshare(2), CLONE_FILES and CLONE_FS), and with these a mount namespace. It is born before its process gives
 * up what all have opened (subjects.h), and takes its part of that.
 */

/* Of a stopped thread that is not its process's first; t->own stays NULL when it has nothing. */
int ckpt_own_collect(struct ckpt_dump *d, const struct ckpt_task *k, pid_t tid, Ckpt__Thread *t, struct err *e);
bool ckpt_has_own(const struct ckpt_task *k);
/* That what an image says of it holds together. */
int ckpt_own_check(const struct ckpt_tree *t, const struct ckpt_task *k, const Ckpt__Thread *th, struct err *e);
/* As its process still has all that was opened. */
int restore_own(struct restore *r, struct restoring *p, struct list *l, struct err *e);

#endif
