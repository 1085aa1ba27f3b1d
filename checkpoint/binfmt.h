/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef CHECKPOINT_BINFMT_H
#define CHECKPOINT_BINFMT_H

#include "checkpoint/internal.h"

/*
 * What is registered in a binfmt_misc of a user namespace of the tenant's (Linux 6.7): saved as what the kernel says
 * of it, entries of the file system by their names, and registered again.
 */
bool ckpt_binfmt_is(const Ckpt__Super *s);
int ckpt_binfmt_collect(struct ckpt_dump *d, uint32_t super, int root, struct err *e);
int ckpt_binfmt_restore(const struct ckpt_tree *t, uint32_t super, int root, struct err *e);

#endif
