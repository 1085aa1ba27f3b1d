/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef CHECKPOINT_DNOTIFY_H
#define CHECKPOINT_DNOTIFY_H

#include "checkpoint/restore_internal.h"

/* Of an open file that has an owner. */
int ckpt_dnotify_collect(struct ckpt_dump *d, const struct ckpt_fd *f, Ckpt__File *out, struct err *e);
/* Whose it is, once all processes are known. */
int ckpt_dnotify_resolve(struct ckpt_dump *d, struct err *e);
/* When the process has its open files: it is what the kernel takes for who watches. */
int restore_dnotify(const struct restore *r, struct restoring *p, struct list *l, struct err *e);

#endif
