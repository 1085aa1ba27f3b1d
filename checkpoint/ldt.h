/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef CHECKPOINT_LDT_H
#define CHECKPOINT_LDT_H

#include "checkpoint/ask.h"
#include "checkpoint/image.pb-c.h"
#include "checkpoint/internal.h"

struct list;
struct restoring;

/* Whether a process has local descriptors (modify_ldt(2)): the call whose result is more than 0 then. It has 32 bits:
 * the kernel does not extend the sign of an error of this call. */
size_t ckpt_ldt_ask(struct ckpt_asking *q);
/* Reads them all, by a list over what was answered. */
int ckpt_ldt_collect(struct ckpt_dump *d, struct ckpt_task *k, struct ckpt_batch *b, struct ckpt_thread *t, struct err *e);
/* Of an image. */
int ckpt_ldt_check(const Ckpt__Mm *mm, struct err *e);
/* Into the list, which is run when it is full. */
int restore_ldt(struct restoring *p, struct list *l, struct err *e);

#endif
