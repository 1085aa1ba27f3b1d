/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef CHECKPOINT_PLAN_INTERNAL_H
#define CHECKPOINT_PLAN_INTERNAL_H

#include "checkpoint/plan.h"

/* Inside plan*.c: a plan in the making. Functions return a negative errno value, 0, or 1 where something has to come
 * before; -EOPNOTSUPP: there is no way. */

#define PLAN_NUMBER_MAX 32000 /* of a stand-in without a number of its own: below the least pid_max */

struct planner {
	struct ckpt_plan *p;
	struct ckpt_arena *a;
	size_t *by_pid; /* indices of the given nodes, by number */
	size_t *by_depth; /* likewise, parents first */
	uint8_t *taken; /* a bit for each number below PLAN_NUMBER_MAX */
	size_t node_room, op_room;
};

static inline struct ckpt_plan_node *plan_node(const struct planner *q, size_t i)
{
	return &q->p->nodes[i];
}

static inline bool plan_is_leader(const struct ckpt_plan_node *n)
{
	return n->sid == n->pid;
}

/* Its group's leader is of a pid namespace above its own: it sees no number of the group. */
static inline bool plan_is_hidden(const struct ckpt_plan_node *n)
{
	return n->group_level < n->level;
}

/* plan_steps.c: what is done to one process. */
int plan_emit(struct planner *q, enum ckpt_op_kind kind, size_t who, size_t by, uint32_t number);
int plan_birth(struct planner *q, size_t i, size_t by);
int plan_begin_session(struct planner *q, size_t i);
/* The given node of that number, or CKPT_PLAN_OUTSIDE. */
size_t plan_find(const struct planner *q, uint32_t pid);
/* Whether `of` is `i` or one of its descendants; all of a VPS end up with process 1. */
bool plan_is_above(const struct planner *q, size_t i, size_t of);
/* Room for one more than `count` in an array of the arena's. */
void *plan_grow(struct planner *q, void *old, size_t count, size_t *room, size_t size);

/* plan_standins.c */
/* One more node, born by `by`, of this number; 0: any. */
int plan_add_standin(struct planner *q, uint32_t number, size_t by, size_t home, size_t *ret);
/* That of number `pid`, or (0) one in this session whose children `home` adopts; CKPT_PLAN_OUTSIDE: none. */
size_t plan_find_standin(const struct planner *q, uint32_t session, size_t home, uint32_t pid);
/* Who gives birth to a process of session `sid` that `parent` is to adopt. */
int plan_adoption(struct planner *q, uint32_t sid, size_t parent, size_t *ret);

/* plan_groups.c */
/* Who sees no number of its group is born into it, or is put there by a parent who does. 0: it can be. */
int plan_hidden_group(struct planner *q, size_t i, size_t by);
/* All processes are there: each joins its group. *stuck is the one that cannot. */
int plan_groups(struct planner *q, size_t *stuck);

#endif
