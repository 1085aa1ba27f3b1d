/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef CHECKPOINT_RESTORE_SPACES_H
#define CHECKPOINT_RESTORE_SPACES_H

#include "checkpoint/restore_internal.h"

#include <stdbool.h>

/*
 * Where a restore makes namespaces, mounts and control groups again. In the first process, as
 * long as it is the engine's copy: restore_spaces() and restore_places(); by lists in each task:
 * restore_join().
 */

/* Control groups and namespaces; then mounts and what lies in them. Afterwards restore_fd_space() is an
 * fd of each namespace, and the caller is back in its own. */
int restore_spaces(struct restore *r, struct err *e);
/* What user namespaces limit in them, as soon as all is made that counts (namespaces(7)); by whoever enters them. The
 * first process still has them open. */
int restore_user_limits(const struct restore *r, struct err *e);
int restore_all_mounts(struct restore *r, struct err *e);
/* The directories of those processes that have them elsewhere. */
int restore_places(const struct restore *r, struct err *e);
/* All networks, from what the runtime has given them. (restore_networks.c) */
int restore_networks(const struct restore *r, struct err *e);
/* Into a mount or network namespace of the image, to open something there; 0: back to process
 * 1's. */
int restore_enter(const struct restore *r, uint32_t space, struct err *e);
/* Keeps an fd of a namespace, which is taken (negative: errno is its error), for the tree. */
int restore_space_take(const struct restore *r, uint32_t id, int fd, struct err *e);
/* All mount namespaces. `proc` is the VPS's /proc. (restore_mounts.c) */
int restore_mounts(struct restore *r, int proc, struct err *e);

/* The task enters its namespaces, but for that of users, its root and directory. */
int restore_join(struct restore *r, struct restoring *p, struct list *l, struct err *e);
/* When all is opened: its user namespace, where it has no more rights over what is outside of
 * it. It gets its threads here when later nobody could give them their numbers or their own
 * namespaces. */
int restore_join_user(struct restore *r, struct restoring *p, struct list *l, struct err *e);
/* Once all threads are there: which control groups those are in, and what the groups are set to. */
int restore_settle_groups(struct restore *r, int group, int user, struct err *e);
/* True when it needs a place: another root, directory or mount namespace than process 1's. */
bool restore_is_elsewhere(const struct restore *r, const struct ckpt_task *k);
bool restore_has_early_threads(const struct restore *r, const struct restoring *p);
/* True when it is not in its user namespace yet. */
bool restore_has_own_user(const struct restore *r, const struct restoring *p);

#endif
