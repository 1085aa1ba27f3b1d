/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef CHECKPOINT_CLOCKS_H
#define CHECKPOINT_CLOCKS_H

#include "checkpoint/restore_internal.h"

/*
 * Time namespaces (time_namespaces(7)). Who has made one by unshare(2) is not in it, its children are: it is *held* by a
 * thread that nothing but such a call of its own gives it to again (setns(2) takes the caller there as well). All others
 * are made by the first process (restore_spaces.c); of a held one an fd of the VPS's /proc stands in its place, by
 * which its members find it with whom it is held by.
 */

/* How far the clocks of a time namespace are ahead of the host's, CLOCK_MONOTONIC and CLOCK_BOOTTIME, in nanoseconds. `pid`:
 * somebody who is in it, or whose children will be; 0: nobody is known. */
int ckpt_clock_offsets_in(int space, pid_t pid, int64_t ret[2], struct err *e);
/* From what is in timens_offsets. 0 or -EPROTO. */
int ckpt_clock_parse(const char *text, int64_t ret[2]);
/* Text for timens_offsets, of clocks that are `delta` (Space.offsets) ahead of others. */
#define CKPT_OFFSETS_TEXT 128
int ckpt_clock_format(const char *delta, const int64_t base[2], char ret[CKPT_OFFSETS_TEXT], struct err *e);

/* The thread that holds a time namespace, and where that is; NULL: none. */
const Ckpt__Thread *ckpt_clock_holder(const struct ckpt_tree *t, uint32_t space, size_t *ret_task);
/* That threads can be given again what they hold; by name, what cannot be saved. */
int ckpt_clocks_check(const struct ckpt_tree *t, struct err *e);
bool ckpt_holds_clocks(const struct ckpt_task *k);
/* True when threads of the process hold one together, or it is in a held one: its threads come after that. */
bool ckpt_clocks_before_threads(const struct ckpt_tree *t, const struct ckpt_task *k);

/* Before its user namespace, while it has one thread: into a time namespace that is held by somebody who has it. */
int restore_enter_clocks(struct restore *r, struct restoring *p, struct list *l, struct err *e);
/* One of its threads makes what it holds, which belongs to the user namespace that it is in now; what belongs to
 * another, or is there already, is passed over. */
int restore_hold_clocks(struct restore *r, struct restoring *p, size_t thread, uint32_t user, struct list *l,
			struct err *e);

#endif
