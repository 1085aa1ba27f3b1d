/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "checkpoint/plan_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static bool is_below(const struct planner *q, size_t i, size_t above)
{
	return i != CKPT_PLAN_OUTSIDE && plan_is_above(q, above, i);
}

/* A leader begins its session when all children that it had before are there. */
static int settle(struct planner *q, size_t i)
{
	struct ckpt_plan_node *n = plan_node(q, i);

	if (!n->born || !plan_is_leader(n) || n->session == n->sid)
		return 0;
	for (size_t k = 1; n->birth && k < q->p->given; k++)
		if (plan_node(q, k)->parent == i && !plan_node(q, k)->born && plan_node(q, k)->birth == n->birth)
			return 0;
	return plan_begin_session(q, i);
}

/* 0: born; 1: not yet; -EOPNOTSUPP: it cannot be. */
static int try_birth(struct planner *q, size_t i)
{
	struct ckpt_plan_node *n = plan_node(q, i);
	const struct ckpt_plan_node *p;
	size_t by = n->parent;
	int r = 0;

	if (n->parent == CKPT_PLAN_OUTSIDE) {
		if (!plan_is_leader(n) || n->birth)
			return -EOPNOTSUPP;
		r = plan_birth(q, i, by);
		return r == 0 ? settle(q, i) : r;
	}
	p = plan_node(q, n->parent);
	if (!p->born)
		return 1;
	if (n->birth && p->session != n->birth) {
		if (p->session != p->sid && p->sid == n->birth)
			return 1;
		r = n->by_children && is_below(q, plan_find(q, n->birth), i) ?
			    -EOPNOTSUPP :
			    plan_adoption(q, n->birth, n->parent, &by);
		n = plan_node(q, i);
		if (r == -EOPNOTSUPP && n->by_children) {
			/* Its children are those of others, then, that it has adopted. */
			n->birth = 0;
			by = n->parent;
			r = 0;
		}
	}
	if (r == 0)
		r = plan_hidden_group(q, i, by);
	if (r == 0)
		r = plan_birth(q, i, by);
	if (r == 0)
		r = settle(q, i);
	n = plan_node(q, i);
	if (r == 0 && plan_is_hidden(n) && n->group != n->pgid) {
		n->group = n->pgid;
		r = plan_emit(q, CKPT_OP_GROUP, i, by, n->pgid);
	}
	return r == 0 ? settle(q, n->parent) : r;
}

/* Parents' indices, sessions of birth. -EINVAL: that is no tree. */
static int relate(struct planner *q)
{
	for (size_t i = 0; i < q->p->given; i++) {
		struct ckpt_plan_node *n = plan_node(q, i);

		n->parent = n->ppid ? plan_find(q, n->ppid) : CKPT_PLAN_OUTSIDE;
		n->birth = plan_is_leader(n) ? 0 : n->sid;
		if (n->ppid && n->parent == CKPT_PLAN_OUTSIDE)
			return -EINVAL;
	}
	for (size_t i = 0; i < q->p->given; i++) {
		size_t up = plan_node(q, i)->parent, steps = 0;

		for (; up != CKPT_PLAN_OUTSIDE && steps <= q->p->given; steps++)
			up = plan_node(q, up)->parent;
		if (steps > q->p->given)
			return -EINVAL; /* a ring */
		plan_node(q, i)->depth = (uint32_t)steps;
	}
	return 0;
}

/* Whether somebody above is in that session, so that it can be where `i` was born. */
static bool is_from_above(const struct planner *q, uint32_t sid, size_t i)
{
	for (i = plan_node(q, i)->parent; i != CKPT_PLAN_OUTSIDE; i = plan_node(q, i)->parent)
		if (plan_node(q, i)->sid == sid)
			return true;
	return false;
}

/* What children need is passed up, the deepest first. A parent meets one such wish; others are of children
 * that it has adopted. */
static void pass_up(struct planner *q)
{
	for (size_t k = q->p->given; k-- > 1;) {
		const struct ckpt_plan_node *n = plan_node(q, q->by_depth[k]);
		struct ckpt_plan_node *p;

		if (!n->birth || n->parent == 0 || n->parent == CKPT_PLAN_OUTSIDE)
			continue;
		p = plan_node(q, n->parent);
		if (plan_is_leader(p) && p->parent != CKPT_PLAN_OUTSIDE && p->sid != n->birth &&
		    (!p->birth || is_from_above(q, n->birth, n->parent))) {
			p->birth = n->birth;
			p->by_children = true;
		}
	}
}

/* Stand-ins, the last first, so that none has a child that is one; then those that had ended. */
static int endings(struct planner *q)
{
	int r = 0;

	for (size_t i = q->p->count; r == 0 && i-- > q->p->given;) {
		size_t home = plan_node(q, i)->home;

		if (home)
			r = plan_emit(q, CKPT_OP_REAPER, home, CKPT_PLAN_OUTSIDE, 1);
		if (r == 0)
			r = plan_emit(q, CKPT_OP_END, i, plan_node(q, i)->parent, plan_node(q, i)->pid);
		if (r == 0 && home)
			r = plan_emit(q, CKPT_OP_REAPER, home, CKPT_PLAN_OUTSIDE, 0);
	}
	for (size_t i = 0; r == 0 && i < q->p->given; i++)
		if (plan_node(q, i)->ended)
			r = plan_emit(q, CKPT_OP_EXIT, i, CKPT_PLAN_OUTSIDE, 0);
	return r;
}

static int births(struct planner *q, size_t *stuck)
{
	size_t left = q->p->given - 1, before;

	plan_node(q, 0)->born = true;
	plan_node(q, 0)->session = plan_node(q, 0)->group = plan_node(q, 0)->sid;
	do {
		before = left;
		for (size_t k = 0; k < q->p->given; k++) {
			size_t i = q->by_depth[k];
			int r = plan_node(q, i)->born ? 1 : try_birth(q, i);

			if (!plan_node(q, i)->born)
				*stuck = i;
			if (r < 0)
				return r;
			left -= r == 0;
		}
	} while (left && left < before);
	return left ? -EOPNOTSUPP : 0;
}

/* Of two nodes, by which they are sorted. */
static int by_number(const void *a, const void *b, void *arg)
{
	const struct planner *q = arg;
	uint32_t x = plan_node(q, *(const size_t *)a)->pid, y = plan_node(q, *(const size_t *)b)->pid;

	return (x > y) - (x < y);
}

static int by_depth(const void *a, const void *b, void *arg)
{
	const struct planner *q = arg;
	size_t i = *(const size_t *)a, k = *(const size_t *)b;
	uint32_t x = plan_node(q, i)->depth, y = plan_node(q, k)->depth;

	return x == y ? (i > k) - (i < k) : (x > y) - (x < y);
}

static int prepare(struct planner *q, const struct ckpt_plan_node *nodes, size_t count,
		   const uint32_t *used, size_t used_count)
{
	int r;

	q->node_room = 2 * count;
	q->p->nodes = ckpt_alloc(q->a, q->node_room * sizeof(*nodes));
	q->by_pid = ckpt_alloc(q->a, count * sizeof(*q->by_pid));
	q->by_depth = ckpt_alloc(q->a, count * sizeof(*q->by_depth));
	q->taken = ckpt_alloc(q->a, PLAN_NUMBER_MAX / 8 + 1);
	if (!q->p->nodes || !q->by_pid || !q->by_depth || !q->taken)
		return -ENOMEM;
	memcpy(q->p->nodes, nodes, count * sizeof(*nodes));
	q->p->given = q->p->count = count;
	for (size_t i = 0; i < used_count; i++)
		if (used[i] < PLAN_NUMBER_MAX)
			q->taken[used[i] / 8] |= (uint8_t)(1u << (used[i] % 8));
	for (size_t i = 0; i < count; i++)
		q->by_pid[i] = q->by_depth[i] = i;
	qsort_r(q->by_pid, count, sizeof(*q->by_pid), by_number, q);
	r = relate(q);
	if (r < 0)
		return r;
	qsort_r(q->by_depth, count, sizeof(*q->by_depth), by_depth, q);
	pass_up(q);
	return 0;
}

int ckpt_plan_make(struct ckpt_plan *p, struct ckpt_arena *a, const struct ckpt_plan_node *nodes,
		   size_t count, const uint32_t *used, size_t used_count, size_t *ret_stuck,
		   struct err *e)
{
	struct planner q = { .p = p, .a = a };
	size_t stuck = 0;
	int r;

	*p = (struct ckpt_plan){ 0 };
	r = prepare(&q, nodes, count, used, used_count);
	if (r == 0)
		r = births(&q, &stuck);
	if (r == 0)
		r = plan_groups(&q, &stuck);
	if (r == 0)
		r = endings(&q);
	if (ret_stuck)
		*ret_stuck = stuck;
	if (r == -EOPNOTSUPP)
		return err_set(e, ERR_UNSUPPORTED,
			       "process %u is in a session or group that nothing can "
			       "bring it into again",
			       p->nodes[stuck].pid);
	return r < 0 ? err_code(e, r, "order the processes") : 0;
}
