/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef CHECKPOINT_LOCKED_H
#define CHECKPOINT_LOCKED_H

struct ckpt_dump;
struct ckpt_task;
struct list;
typedef struct Ckpt__Mm Ckpt__Mm;

/* Whether memory that a process maps is locked from its birth on (mlockall(2), MCL_FUTURE), which nothing but the
 * kernel's own memory tells: where that may not be read (kernel.h) it is not known. While the VPS runs it is asked for
 * once, so that it is known where it is. */
void ckpt_locked_look_ahead(struct ckpt_dump *d);
void ckpt_locked_collect(struct ckpt_dump *d, struct ckpt_task *k, int mem);
/* By the process itself, when it maps nothing more. */
void restore_locked(const Ckpt__Mm *mm, struct list *l);

#endif
