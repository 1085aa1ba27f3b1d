/* SPDX-License-Identifier: GPL-2.0-or-later */

/* The steps of a plan, and what is known of the tree. */
#include "checkpoint/plan_internal.h"

#include <errno.h>
#include <string.h>

void *plan_grow(struct planner *q, void *old, size_t count, size_t *room, size_t size)
{
	void *p;

	if (count < *room)
		return old;
	*room = *room ? 2 * *room : 256;
	p = ckpt_alloc(q->a, *room * size);
	if (p && count)
		memcpy(p, old, count * size);
	return p;
}

int plan_emit(struct planner *q, enum ckpt_op_kind kind, size_t who, size_t by, uint32_t number)
{
	struct ckpt_op *ops = plan_grow(q, q->p->ops, q->p->op_count, &q->op_room, sizeof(*ops));

	if (!ops)
		return -ENOMEM;
	q->p->ops = ops;
	ops[q->p->op_count++] = (struct ckpt_op){ kind, who, by, number };
	return 0;
}

size_t plan_find(const struct planner *q, uint32_t pid)
{
	size_t lo = 0, hi = q->p->given;

	while (lo < hi) {
		size_t mid = (lo + hi) / 2;

		if (plan_node(q, q->by_pid[mid])->pid < pid)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo < q->p->given && plan_node(q, q->by_pid[lo])->pid == pid ? q->by_pid[lo] :
									CKPT_PLAN_OUTSIDE;
}

bool plan_is_above(const struct planner *q, size_t i, size_t of)
{
	if (i == 0)
		return true;
	while (of != CKPT_PLAN_OUTSIDE && of != i)
		of = plan_node(q, of)->parent;
	return of == i;
}

int plan_birth(struct planner *q, size_t i, size_t by)
{
	struct ckpt_plan_node *n = plan_node(q, i);

	n->born = true;
	n->session = by == CKPT_PLAN_OUTSIDE ? 0 : plan_node(q, by)->session;
	n->group = by == CKPT_PLAN_OUTSIDE ? 0 : plan_node(q, by)->group;
	return plan_emit(q, CKPT_OP_BIRTH, i, by, n->pid);
}

int plan_begin_session(struct planner *q, size_t i)
{
	struct ckpt_plan_node *n = plan_node(q, i);

	n->session = n->group = n->pid;
	return plan_emit(q, CKPT_OP_SESSION, i, CKPT_PLAN_OUTSIDE, n->pid);
}
