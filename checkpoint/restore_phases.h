/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef CHECKPOINT_RESTORE_PHASES_H
#define CHECKPOINT_RESTORE_PHASES_H

#include "cgroup/stats.h"
#include "checkpoint/image/image.h"
#include "checkpoint/restore_internal.h"

#include <sched.h>

/* What restore.c does one after the other when the tree has been read. */

/* No process of the image has memory there, or close by. (restore_plan.c) */
bool restore_is_free(const struct ckpt_tree *t, uint64_t start, uint64_t end);
/* A place for our own memory that none of the processes uses; the numbers of all fds that the first one opens. */
int restore_plan_region(struct restore *r, struct err *e);
int restore_plan_fds(struct restore *r, struct err *e);

/* Control groups, made beside what is read until they are taken. `prepared`, which is taken over: they are there already
 * (rt_prepare()); NULL. What was not taken is undone in the end. (restore_ahead.c) */
int restore_ahead_begin(struct restore *r, const struct rt_spec *spec, struct rt_vps *prepared, struct err *e);
int restore_ahead_take(struct restore *r, struct rt_vps **ret, struct err *e);
void restore_ahead_done(struct restore *r);

/* Starts the VPS, up to where init would be executed, if that was not done early. (restore_start.c) */
int restore_start(struct restore *r, const struct rt_spec *spec, const struct rt_stdio *stdio, struct err *e);
/* No segment meets a port where nobody listens yet, and is answered with a reset. `restore` as the runtime passes it. */
int restore_hold_network(void *restore, int netns_fd, struct err *e);

/* Everything that is there is stopped; nothing of it has run. `rec`: the first record behind the tree, when `more` is
 * 1. `l`: RESTORE_LISTS of them. (restore_build.c) */
int restore_build(struct restore *r, struct ckpt_record *rec, int more, struct list *l, struct err *e);

/* The engine, which is the caller, and the few tasks of a small VPS run on one processor, when they do: from the take-over of
 * the first on. Our threads inherit that: it is left while some may be made. (restore_near.c) */
struct restore_near {
	int cpu;         /* -1: they do not */
	cpu_set_t usual; /* the engine's before that */
};
void restore_near_begin(const struct restore *r, struct restore_near *n);
void restore_near_leave(const struct restore_near *n);
void restore_near_return(const struct restore_near *n);

/* What the first process has left of its network's switches for later, if it has. (restore_networks.c) */
int restore_networks_last(struct restore *r, struct err *e);

/*
 * The clocks of a VPS that is started before the tree is there, as `how` is to have them, from the first records of the
 * stream: `rec`, which is the next one then (1). They are not behind what its processes will have seen last, unless the
 * hosts' clocks do not go alike: that is found when all has been read, while the source can still go on, and the rest is
 * waited for. (restore_clocks.c)
 */
uint64_t restore_clocks_begin(int fd);
int restore_clocks_read(struct restore *r, struct ckpt_record *rec, struct rt_restore *how, struct err *e);
int restore_clocks_check(struct restore *r, struct err *e);
void restore_clocks_await(const struct restore *r);

/* Into the freezer of the group, which lets all go on at once; with `paused` not before somebody thaws it. Or all that
 * there is ends. (restore_commit.c) */
int restore_let_go(struct restore *r, bool paused, struct err *e);
void restore_end_all(struct restore *r);

/* A limit of the group that is too low shows as a process that is gone or was not born, and that as any failure of the
 * system. When there is one, it is what `e` says afterwards. restore_blame() is what is behind it. (restore_limits.c) */
void restore_blame_limits(const struct rt_vps *vps, const struct rt_spec *spec, struct err *e);
void restore_blame(const struct cgroup_stats *s, const struct rt_spec *spec, struct err *e);

#endif
