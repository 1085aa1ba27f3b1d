/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef CHECKPOINT_SUBJECTS_H
#define CHECKPOINT_SUBJECTS_H

#include "checkpoint/restore_internal.h"

/* The number of the process or thread that a file is of, which is there; 0: none. */
uint32_t ckpt_subject_number(const Ckpt__File *f);
/* True when it is of a thread other than its process's first: it can only be opened when that is there. */
bool ckpt_file_is_of_thread(const struct ckpt_tree *t, const Ckpt__File *f);
/* That such threads can be born early. ERR_UNSUPPORTED. */
int ckpt_subjects_check(const struct ckpt_tree *t, struct err *e);
/* Bears all threads of the processes that have such. */
int restore_subjects(struct restore *r, struct list *l, struct err *e);

#endif
