/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef CHECKPOINT_GROUPS_H
#define CHECKPOINT_GROUPS_H

#include "base/err.h"
#include "cgroup/cgroup.h"
#include "checkpoint/tree.h"

#include <sys/types.h>

typedef struct Ckpt__Setting Ckpt__Setting;

#define CKPT_XATTRS_MAX 65536 /* XATTR_LIST_MAX: all names of one file */

struct ckpt_dump;
/* A task's v2 group below the VPS's: "" is that. */
int ckpt_group_path(const struct ckpt_dump *d, pid_t tid, char *ret, size_t size, struct err *e);

/* As the engine's cgroup namespace has it. Negative errno value. */
int ckpt_group_of(pid_t tid, char *ret, size_t size);

/* Extended attributes of a file, the link /proc/self/fd/N of an open one, appended to a list. */
int ckpt_xattrs_read(struct ckpt_arena *a, const char *path, Ckpt__Setting ***list, size_t *count);

/*
 * A restore, in this order, between which are the births of the tasks: the groups themselves, by
 * the first process in the tenant's own tree of groups (`root` is that); which processes are in
 * which; the controllers of the groups below each, which are given only while no process is in the
 * group itself, and before there is memory, which stays charged to the group that has it first,
 * and before files of theirs are opened or watched; which threads are elsewhere than their process;
 * settings, which bind from then on. All but the first are done with the rights of the VPS's root
 * (`user` is its user namespace).
 */
int ckpt_groups_make(const struct ckpt_tree *t, int root, struct err *e);
int ckpt_groups_place(const struct ckpt_tree *t, int group, int user, struct err *e);
int ckpt_groups_enable(const struct ckpt_tree *t, int group, int user, struct err *e);
int ckpt_groups_place_threads(const struct ckpt_tree *t, int group, int user, struct err *e);
int ckpt_groups_set(const struct ckpt_tree *t, int group, int user, struct err *e);
/* All who watch cgroup.events of a group are told of a change, as all are frozen and thawed: when nothing in them needs to
 * run any more, and before those of the tenant's are frozen. */
int ckpt_groups_stir(int group, struct err *e);
/* Those that the tenant had frozen, when nothing in them needs to run any more. */
int ckpt_groups_freeze(const struct ckpt_tree *t, int group, int user, struct err *e);

/*
 * The first move between groups after a quiet while waits for an RCU grace period (10 ms and more
 * seen), and a quiet is soon as long as one. A child that moves nothing waits for it meanwhile, and
 * goes on until ckpt_groups_await(), which must be called, also after errors, and takes NULL. No thread: others fork
 * meanwhile. No copy of our memory either, which takes milliseconds, and as long again until we have our own pages
 * back. NULL: there is no such child.
 */
struct ckpt_warm;
struct ckpt_warm *ckpt_groups_warm(const struct ckpt_tree *t, int group, pid_t init);
void ckpt_groups_await(struct ckpt_warm *w);

#endif
