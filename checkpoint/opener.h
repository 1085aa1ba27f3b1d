/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef CHECKPOINT_OPENER_H
#define CHECKPOINT_OPENER_H

#include "checkpoint/kinds.h"

/*
 * Whom a process may move into a control group is decided by the rights of who opened the group's file (f_cred,
 * Linux 5.16), not of who writes to it: a user's manager has those of that user. They are read from the kernel's
 * memory (kernel.h), and process 1 takes them on while it opens the file again. Where that may not be read the file
 * is root's afterwards.
 */
int ckpt_opener_collect(struct ckpt_dump *d, const struct ckpt_fd *f, Ckpt__File *out, struct err *e);
int ckpt_opener_check(const Ckpt__File *f, struct err *e);

/* Around the call that opens it; room for CKPT_OPENER_CALLS more, and CKPT_OPENER_BYTES. Nothing for other files. */
#define CKPT_OPENER_CALLS 6
#define CKPT_OPENER_BYTES (CKPT_GROUPS_MAX * sizeof(uint32_t))
void ckpt_opener_become(struct ckpt_late *q, const Ckpt__File *f);
void ckpt_opener_return(struct ckpt_late *q, const Ckpt__File *f);

#endif
