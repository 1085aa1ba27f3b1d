/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef CHECKPOINT_PAIRS_H
#define CHECKPOINT_PAIRS_H

#include "base/err.h"

#include <stddef.h>

/*
 * After a pre-copy: pairs of unix sockets without names, which most of a system's processes have of each other. The kernel
 * notes down who made one (SO_PEERCRED), and who did is there already: it makes all of them by one list, where for each the
 * helper that opens files would have to ask for it (lend.h). They lie in process 1's table, at the numbers of their
 * files, and the helper takes them from there.
 */
struct restore;
struct list;
struct ckpt_opening;

/* In the engine, before the helper begins: notes down in restore.paired which are there. */
int restore_pairs(struct restore *r, struct list *l, struct err *e);
/* In the helper: files i and k, which are a pair that is there. */
int ckpt_pair_take(const struct ckpt_opening *o, size_t i, size_t k, int ret_fds[2], struct err *e);

#endif
