/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Processes that a plan has besides those that were saved: they stand in for parents and leaders that are no more. */
#include "checkpoint/plan_internal.h"

#include <errno.h>

static uint32_t free_number(struct planner *q)
{
	for (uint32_t n = 2; n < PLAN_NUMBER_MAX; n++)
		if (!(q->taken[n / 8] >> (n % 8) & 1)) {
			q->taken[n / 8] |= (uint8_t)(1u << (n % 8));
			return n;
		}
	return 0;
}

int plan_add_standin(struct planner *q, uint32_t number, size_t by, size_t home, size_t *ret)
{
	struct ckpt_plan_node *nodes =
		plan_grow(q, q->p->nodes, q->p->count, &q->node_room, sizeof(*nodes));

	if (!nodes)
		return -ENOMEM;
	q->p->nodes = nodes;
	*ret = q->p->count++;
	if (number == 0)
		number = free_number(q);
	if (number == 0)
		return -EAGAIN;
	nodes[*ret] = (struct ckpt_plan_node){
		.pid = number,
		.parent = by,
		.home = home,
		.depth = nodes[by].depth + 1,
		.space = nodes[by].space,
		.level = nodes[by].level,
		.group_level = nodes[by].level,
		.session_level = nodes[by].level,
	};
	return plan_birth(q, *ret, by);
}

/* Of those who adopt members of a session whose leader has ended, the one deepest in the tree: the
 * session begins below it, and all others are above. */
static size_t session_home(const struct planner *q, uint32_t sid)
{
	size_t home = 0;

	for (size_t i = 1; i < q->p->given; i++) {
		const struct ckpt_plan_node *n = plan_node(q, i), *p;

		if (n->birth != sid || n->parent == CKPT_PLAN_OUTSIDE)
			continue;
		p = plan_node(q, n->parent);
		if (p->sid != sid && p->birth != sid && p->depth > plan_node(q, home)->depth)
			home = n->parent;
	}
	return home;
}

size_t plan_find_standin(const struct planner *q, uint32_t session, size_t home, uint32_t pid)
{
	for (size_t i = q->p->given; i < q->p->count; i++) {
		const struct ckpt_plan_node *n = plan_node(q, i);

		if (pid ? n->pid == pid :
			  n->session == session && n->home == home && n->group == session)
			return i;
	}
	return CKPT_PLAN_OUTSIDE;
}

/* How deep in pid namespaces the leader of a session was. */
static uint32_t session_level(const struct planner *q, uint32_t sid)
{
	for (size_t i = 0; i < q->p->given; i++)
		if (plan_node(q, i)->sid == sid)
			return plan_node(q, i)->session_level;
	return 0;
}

/* The stand-in that leads a session in the place of a process that is no more. 1: not yet. */
static int leader_standin(struct planner *q, uint32_t sid, size_t *ret)
{
	size_t home;
	int r;

	*ret = plan_find_standin(q, 0, 0, sid);
	if (*ret != CKPT_PLAN_OUTSIDE)
		return 0;
	home = session_home(q, sid);
	if (!plan_node(q, home)->born)
		return 1;
	if (plan_node(q, home)->level != session_level(q, sid))
		return -EOPNOTSUPP;
	r = plan_add_standin(q, sid, home, home, ret);
	return r == 0 ? plan_begin_session(q, *ret) : r;
}

int plan_adoption(struct planner *q, uint32_t sid, size_t parent, size_t *ret)
{
	size_t leader = plan_find(q, sid);
	int r;

	if (leader != CKPT_PLAN_OUTSIDE) {
		if (!plan_is_leader(plan_node(q, leader)) || !plan_is_above(q, parent, leader))
			return -EOPNOTSUPP;
		if (!plan_node(q, leader)->born || plan_node(q, leader)->session != sid)
			return 1;
	} else {
		r = leader_standin(q, sid, &leader);
		if (r != 0)
			return r;
		if (!plan_is_above(q, parent, plan_node(q, leader)->home))
			return -EOPNOTSUPP;
	}
	/* Orphans stay in their parent's pid namespace. */
	if (plan_node(q, leader)->space != plan_node(q, parent)->space)
		return -EOPNOTSUPP;
	*ret = plan_find_standin(q, sid, parent, 0);
	return *ret == CKPT_PLAN_OUTSIDE ? plan_add_standin(q, 0, leader, parent, ret) : 0;
}
