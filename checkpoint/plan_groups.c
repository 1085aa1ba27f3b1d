/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Process groups of a plan, whose leaders may be no more, or of a pid namespace above. */
#include "checkpoint/plan_internal.h"

#include <errno.h>

static int set_group(struct planner *q, size_t i, uint32_t g)
{
	plan_node(q, i)->group = g;
	return plan_emit(q, CKPT_OP_GROUP, i, CKPT_PLAN_OUTSIDE, g);
}

/* Makes sure that group `g` of `member`'s session is there, whose leader is `level` pid namespaces deep, and stays
 * until its members have come. */
static int make_group(struct planner *q, uint32_t g, uint32_t level, size_t member)
{
	size_t leader = plan_find(q, g), holder;
	bool given = leader != CKPT_PLAN_OUTSIDE;
	int r;

	if (g == plan_node(q, member)->session)
		return 0;
	if (g == 0)
		return -EOPNOTSUPP; /* of a pid namespace above the VPS's */
	if (!given)
		leader = plan_find_standin(q, 0, 0, g);
	if (leader != CKPT_PLAN_OUTSIDE && plan_node(q, leader)->session != plan_node(q, member)->session)
		return -EOPNOTSUPP;
	if (leader != CKPT_PLAN_OUTSIDE && plan_node(q, leader)->group == g)
		return 0;
	if (leader == CKPT_PLAN_OUTSIDE && plan_node(q, member)->level != level)
		return -EOPNOTSUPP;
	r = leader == CKPT_PLAN_OUTSIDE ? plan_add_standin(q, g, member, 0, &leader) : 0;
	if (r == 0)
		r = set_group(q, leader, g);
	if (r < 0 || !given || plan_node(q, leader)->pgid == g)
		return r;
	/* Its leader goes on into another group. */
	r = plan_add_standin(q, 0, leader, 0, &holder);
	return r == 0 ? set_group(q, holder, g) : r;
}

int plan_hidden_group(struct planner *q, size_t i, size_t by)
{
	struct ckpt_plan_node *n = plan_node(q, i);
	size_t leader = plan_find(q, n->pgid);

	if (!plan_is_hidden(n) || plan_node(q, by)->group == n->pgid)
		return 0;
	if (plan_node(q, by)->level > n->group_level)
		return -EOPNOTSUPP;
	if (plan_node(q, by)->session == n->pgid)
		return 0;
	if (leader != CKPT_PLAN_OUTSIDE &&
	    (!plan_node(q, leader)->born || plan_node(q, leader)->session != plan_node(q, by)->session))
		return 1;
	return make_group(q, n->pgid, n->group_level, by);
}

int plan_groups(struct planner *q, size_t *stuck)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < q->p->given; i++) {
		*stuck = i;
		r = plan_is_hidden(plan_node(q, i)) ? 0 : make_group(q, plan_node(q, i)->pgid, plan_node(q, i)->group_level, i);
		if (r == 0 && plan_node(q, i)->foreground)
			r = make_group(q, plan_node(q, i)->foreground, plan_node(q, i)->level, i);
	}
	for (size_t i = 0; r == 0 && i < q->p->given; i++) {
		const struct ckpt_plan_node *n = plan_node(q, i);

		*stuck = i;
		if (n->group == n->pgid)
			continue;
		if (plan_is_leader(n))
			return -EOPNOTSUPP;
		r = set_group(q, i, n->pgid);
	}
	for (size_t i = 0; r == 0 && i < q->p->given; i++)
		if (plan_node(q, i)->foreground)
			r = plan_emit(q, CKPT_OP_FOREGROUND, i, CKPT_PLAN_OUTSIDE,
				 plan_node(q, i)->foreground);
	return r;
}
