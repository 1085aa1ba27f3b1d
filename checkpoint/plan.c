/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "checkpoint/plan.h"

#include "base/macro.h"
#include "checkpoint/image.pb-c.h"
#include "checkpoint/pidspaces.h"

#include <errno.h>

#define NUMBER_MAX 32000 /* of a stand-in without a number of its own: below the least pid_max */

struct planner {
	struct ckpt_plan *p;
	struct ckpt_arena *a;
	size_t *by_pid; /* indices of the given nodes, by number */
	size_t *by_depth; /* likewise, parents first */
	uint8_t *taken; /* a bit for each number below NUMBER_MAX */
	size_t node_room, op_room;
};

static struct ckpt_plan_node *node(const struct planner *q, size_t i)
{
	return &q->p->nodes[i];
}

static void *grow(struct planner *q, void *old, size_t count, size_t *room, size_t size)
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

static int emit(struct planner *q, enum ckpt_op_kind kind, size_t who, size_t by, uint32_t number)
{
	struct ckpt_op *ops = grow(q, q->p->ops, q->p->op_count, &q->op_room, sizeof(*ops));

	if (!ops)
		return -ENOMEM;
	q->p->ops = ops;
	ops[q->p->op_count++] = (struct ckpt_op){ kind, who, by, number };
	return 0;
}

/* The given node of that number, or CKPT_PLAN_OUTSIDE. */
static size_t find(const struct planner *q, uint32_t pid)
{
	size_t lo = 0, hi = q->p->given;

	while (lo < hi) {
		size_t mid = (lo + hi) / 2;

		if (node(q, q->by_pid[mid])->pid < pid)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo < q->p->given && node(q, q->by_pid[lo])->pid == pid ? q->by_pid[lo] :
									CKPT_PLAN_OUTSIDE;
}

static bool is_leader(const struct ckpt_plan_node *n)
{
	return n->sid == n->pid;
}

/* Whether `of` is `i` or one of its descendants; all of a VPS end up with process 1. */
static bool is_above(const struct planner *q, size_t i, size_t of)
{
	if (i == 0)
		return true;
	while (of != CKPT_PLAN_OUTSIDE && of != i)
		of = node(q, of)->parent;
	return of == i;
}

static bool is_below(const struct planner *q, size_t i, size_t above)
{
	return i != CKPT_PLAN_OUTSIDE && is_above(q, above, i);
}

static int birth(struct planner *q, size_t i, size_t by)
{
	struct ckpt_plan_node *n = node(q, i);

	n->born = true;
	n->session = by == CKPT_PLAN_OUTSIDE ? 0 : node(q, by)->session;
	n->group = by == CKPT_PLAN_OUTSIDE ? 0 : node(q, by)->group;
	return emit(q, CKPT_OP_BIRTH, i, by, n->pid);
}

static int begin_session(struct planner *q, size_t i)
{
	struct ckpt_plan_node *n = node(q, i);

	n->session = n->group = n->pid;
	return emit(q, CKPT_OP_SESSION, i, CKPT_PLAN_OUTSIDE, n->pid);
}

static uint32_t free_number(struct planner *q)
{
	for (uint32_t n = 2; n < NUMBER_MAX; n++)
		if (!(q->taken[n / 8] >> (n % 8) & 1)) {
			q->taken[n / 8] |= (uint8_t)(1u << (n % 8));
			return n;
		}
	return 0;
}

/* number 0: any. A negative errno value, or 0 and the new node's index. */
static int add_standin(struct planner *q, uint32_t number, size_t by, size_t home, size_t *ret)
{
	struct ckpt_plan_node *nodes =
		grow(q, q->p->nodes, q->p->count, &q->node_room, sizeof(*nodes));

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
	return birth(q, *ret, by);
}

/* Of those who adopt members of a session whose leader has ended, the one deepest in the tree: the
 * session begins below it, and all others are above. */
static size_t session_home(const struct planner *q, uint32_t sid)
{
	size_t home = 0;

	for (size_t i = 1; i < q->p->given; i++) {
		const struct ckpt_plan_node *n = node(q, i), *p;

		if (n->birth != sid || n->parent == CKPT_PLAN_OUTSIDE)
			continue;
		p = node(q, n->parent);
		if (p->sid != sid && p->birth != sid && p->depth > node(q, home)->depth)
			home = n->parent;
	}
	return home;
}

static size_t find_standin(const struct planner *q, uint32_t session, size_t home, uint32_t pid)
{
	for (size_t i = q->p->given; i < q->p->count; i++) {
		const struct ckpt_plan_node *n = node(q, i);

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
		if (node(q, i)->sid == sid)
			return node(q, i)->session_level;
	return 0;
}

/* The stand-in that leads a session in the place of a process that is no more. 1: not yet. */
static int leader_standin(struct planner *q, uint32_t sid, size_t *ret)
{
	size_t home;
	int r;

	*ret = find_standin(q, 0, 0, sid);
	if (*ret != CKPT_PLAN_OUTSIDE)
		return 0;
	home = session_home(q, sid);
	if (!node(q, home)->born)
		return 1;
	if (node(q, home)->level != session_level(q, sid))
		return -EOPNOTSUPP;
	r = add_standin(q, sid, home, home, ret);
	return r == 0 ? begin_session(q, *ret) : r;
}

/* Who gives birth to a process that `parent` is to adopt. 1: not yet; -EOPNOTSUPP: nobody can. */
static int adoption(struct planner *q, uint32_t sid, size_t parent, size_t *ret)
{
	size_t leader = find(q, sid);
	int r;

	if (leader != CKPT_PLAN_OUTSIDE) {
		if (!is_leader(node(q, leader)) || !is_above(q, parent, leader))
			return -EOPNOTSUPP;
		if (!node(q, leader)->born || node(q, leader)->session != sid)
			return 1;
	} else {
		r = leader_standin(q, sid, &leader);
		if (r != 0)
			return r;
		if (!is_above(q, parent, node(q, leader)->home))
			return -EOPNOTSUPP;
	}
	/* Orphans stay in their parent's pid namespace. */
	if (node(q, leader)->space != node(q, parent)->space)
		return -EOPNOTSUPP;
	*ret = find_standin(q, sid, parent, 0);
	return *ret == CKPT_PLAN_OUTSIDE ? add_standin(q, 0, leader, parent, ret) : 0;
}

static int set_group(struct planner *q, size_t i, uint32_t g)
{
	node(q, i)->group = g;
	return emit(q, CKPT_OP_GROUP, i, CKPT_PLAN_OUTSIDE, g);
}

/* Makes sure that group `g` of `member`'s session is there, whose leader is `level` pid namespaces deep, and stays
 * until its members have come. */
static int make_group(struct planner *q, uint32_t g, uint32_t level, size_t member)
{
	size_t leader = find(q, g), holder;
	bool given = leader != CKPT_PLAN_OUTSIDE;
	int r;

	if (g == node(q, member)->session)
		return 0;
	if (g == 0)
		return -EOPNOTSUPP; /* of a pid namespace above the VPS's */
	if (!given)
		leader = find_standin(q, 0, 0, g);
	if (leader != CKPT_PLAN_OUTSIDE && node(q, leader)->session != node(q, member)->session)
		return -EOPNOTSUPP;
	if (leader != CKPT_PLAN_OUTSIDE && node(q, leader)->group == g)
		return 0;
	if (leader == CKPT_PLAN_OUTSIDE && node(q, member)->level != level)
		return -EOPNOTSUPP;
	r = leader == CKPT_PLAN_OUTSIDE ? add_standin(q, g, member, 0, &leader) : 0;
	if (r == 0)
		r = set_group(q, leader, g);
	if (r < 0 || !given || node(q, leader)->pgid == g)
		return r;
	/* Its leader goes on into another group. */
	r = add_standin(q, 0, leader, 0, &holder);
	return r == 0 ? set_group(q, holder, g) : r;
}

static bool is_hidden(const struct ckpt_plan_node *n)
{
	return n->group_level < n->level;
}

/* Who sees no number of its group is born into it, or is put there by a parent who does. 0: it can be; 1: not
 * yet. */
static int hidden_group(struct planner *q, size_t i, size_t by)
{
	struct ckpt_plan_node *n = node(q, i);
	size_t leader = find(q, n->pgid);

	if (!is_hidden(n) || node(q, by)->group == n->pgid)
		return 0;
	if (node(q, by)->level > n->group_level)
		return -EOPNOTSUPP;
	if (node(q, by)->session == n->pgid)
		return 0;
	if (leader != CKPT_PLAN_OUTSIDE &&
	    (!node(q, leader)->born || node(q, leader)->session != node(q, by)->session))
		return 1;
	return make_group(q, n->pgid, n->group_level, by);
}

/* A leader begins its session when all children that it had before are there. */
static int settle(struct planner *q, size_t i)
{
	struct ckpt_plan_node *n = node(q, i);

	if (!n->born || !is_leader(n) || n->session == n->sid)
		return 0;
	for (size_t k = 1; n->birth && k < q->p->given; k++)
		if (node(q, k)->parent == i && !node(q, k)->born && node(q, k)->birth == n->birth)
			return 0;
	return begin_session(q, i);
}

/* 0: born; 1: not yet; -EOPNOTSUPP: it cannot be. */
static int try_birth(struct planner *q, size_t i)
{
	struct ckpt_plan_node *n = node(q, i);
	const struct ckpt_plan_node *p;
	size_t by = n->parent;
	int r = 0;

	if (n->parent == CKPT_PLAN_OUTSIDE) {
		if (!is_leader(n) || n->birth)
			return -EOPNOTSUPP;
		r = birth(q, i, by);
		return r == 0 ? settle(q, i) : r;
	}
	p = node(q, n->parent);
	if (!p->born)
		return 1;
	if (n->birth && p->session != n->birth) {
		if (p->session != p->sid && p->sid == n->birth)
			return 1;
		r = n->by_children && is_below(q, find(q, n->birth), i) ?
			    -EOPNOTSUPP :
			    adoption(q, n->birth, n->parent, &by);
		n = node(q, i);
		if (r == -EOPNOTSUPP && n->by_children) {
			/* Its children are those of others, then, that it has adopted. */
			n->birth = 0;
			by = n->parent;
			r = 0;
		}
	}
	if (r == 0)
		r = hidden_group(q, i, by);
	if (r == 0)
		r = birth(q, i, by);
	if (r == 0)
		r = settle(q, i);
	n = node(q, i);
	if (r == 0 && is_hidden(n) && n->group != n->pgid) {
		n->group = n->pgid;
		r = emit(q, CKPT_OP_GROUP, i, by, n->pgid);
	}
	return r == 0 ? settle(q, n->parent) : r;
}

/* Parents' indices, sessions of birth. -EINVAL: that is no tree. */
static int relate(struct planner *q)
{
	for (size_t i = 0; i < q->p->given; i++) {
		struct ckpt_plan_node *n = node(q, i);

		n->parent = n->ppid ? find(q, n->ppid) : CKPT_PLAN_OUTSIDE;
		n->birth = is_leader(n) ? 0 : n->sid;
		if (n->ppid && n->parent == CKPT_PLAN_OUTSIDE)
			return -EINVAL;
	}
	for (size_t i = 0; i < q->p->given; i++) {
		size_t up = node(q, i)->parent, steps = 0;

		for (; up != CKPT_PLAN_OUTSIDE && steps <= q->p->given; steps++)
			up = node(q, up)->parent;
		if (steps > q->p->given)
			return -EINVAL; /* a ring */
		node(q, i)->depth = (uint32_t)steps;
	}
	return 0;
}

/* Whether somebody above is in that session, so that it can be where `i` was born. */
static bool is_from_above(const struct planner *q, uint32_t sid, size_t i)
{
	for (i = node(q, i)->parent; i != CKPT_PLAN_OUTSIDE; i = node(q, i)->parent)
		if (node(q, i)->sid == sid)
			return true;
	return false;
}

/* What children need is passed up, the deepest first. A parent meets one such wish; others are of children
 * that it has adopted. */
static void pass_up(struct planner *q)
{
	for (size_t k = q->p->given; k-- > 1;) {
		const struct ckpt_plan_node *n = node(q, q->by_depth[k]);
		struct ckpt_plan_node *p;

		if (!n->birth || n->parent == 0 || n->parent == CKPT_PLAN_OUTSIDE)
			continue;
		p = node(q, n->parent);
		if (is_leader(p) && p->parent != CKPT_PLAN_OUTSIDE && p->sid != n->birth &&
		    (!p->birth || is_from_above(q, n->birth, n->parent))) {
			p->birth = n->birth;
			p->by_children = true;
		}
	}
}

static int groups(struct planner *q, size_t *stuck)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < q->p->given; i++) {
		*stuck = i;
		r = is_hidden(node(q, i)) ? 0 : make_group(q, node(q, i)->pgid, node(q, i)->group_level, i);
		if (r == 0 && node(q, i)->foreground)
			r = make_group(q, node(q, i)->foreground, node(q, i)->level, i);
	}
	for (size_t i = 0; r == 0 && i < q->p->given; i++) {
		const struct ckpt_plan_node *n = node(q, i);

		*stuck = i;
		if (n->group == n->pgid)
			continue;
		if (is_leader(n))
			return -EOPNOTSUPP;
		r = set_group(q, i, n->pgid);
	}
	for (size_t i = 0; r == 0 && i < q->p->given; i++)
		if (node(q, i)->foreground)
			r = emit(q, CKPT_OP_FOREGROUND, i, CKPT_PLAN_OUTSIDE,
				 node(q, i)->foreground);
	return r;
}

/* Stand-ins, the last first, so that none has a child that is one; then those that had ended. */
static int endings(struct planner *q)
{
	int r = 0;

	for (size_t i = q->p->count; r == 0 && i-- > q->p->given;) {
		size_t home = node(q, i)->home;

		if (home)
			r = emit(q, CKPT_OP_REAPER, home, CKPT_PLAN_OUTSIDE, 1);
		if (r == 0)
			r = emit(q, CKPT_OP_END, i, node(q, i)->parent, node(q, i)->pid);
		if (r == 0 && home)
			r = emit(q, CKPT_OP_REAPER, home, CKPT_PLAN_OUTSIDE, 0);
	}
	for (size_t i = 0; r == 0 && i < q->p->given; i++)
		if (node(q, i)->ended)
			r = emit(q, CKPT_OP_EXIT, i, CKPT_PLAN_OUTSIDE, 0);
	return r;
}

static int births(struct planner *q, size_t *stuck)
{
	size_t left = q->p->given - 1, before;

	node(q, 0)->born = true;
	node(q, 0)->session = node(q, 0)->group = node(q, 0)->sid;
	do {
		before = left;
		for (size_t k = 0; k < q->p->given; k++) {
			size_t i = q->by_depth[k];
			int r = node(q, i)->born ? 1 : try_birth(q, i);

			if (!node(q, i)->born)
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
	uint32_t x = node(q, *(const size_t *)a)->pid, y = node(q, *(const size_t *)b)->pid;

	return (x > y) - (x < y);
}

static int by_depth(const void *a, const void *b, void *arg)
{
	const struct planner *q = arg;
	size_t i = *(const size_t *)a, k = *(const size_t *)b;
	uint32_t x = node(q, i)->depth, y = node(q, k)->depth;

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
	q->taken = ckpt_alloc(q->a, NUMBER_MAX / 8 + 1);
	if (!q->p->nodes || !q->by_pid || !q->by_depth || !q->taken)
		return -ENOMEM;
	memcpy(q->p->nodes, nodes, count * sizeof(*nodes));
	q->p->given = q->p->count = count;
	for (size_t i = 0; i < used_count; i++)
		if (used[i] < NUMBER_MAX)
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
		r = groups(&q, &stuck);
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

/* How many of the levels below process 1's have a number. */
static uint32_t seen(const uint32_t *numbers, size_t n)
{
	uint32_t level = 0;

	while (level < n && numbers[level])
		level++;
	return level;
}

static void set_space(const struct ckpt_tree *t, struct ckpt_plan_node *n, const struct ckpt_task *k)
{
	const Ckpt__Process *p = k->process;

	n->space = ckpt_pid_space(t, k->threads[0]);
	n->level = (uint32_t)k->threads[0]->n_numbers;
	n->group_level = seen(p->pgids, p->n_pgids);
	n->session_level = seen(p->sids, p->n_sids);
}

int ckpt_plan_tree(struct ckpt_plan *p, struct ckpt_tree *t, size_t *ret_stuck, struct err *e)
{
	size_t count = t->task_count + t->zombie_count, used_count = 0, tids = 0;
	struct ckpt_plan_node *nodes = ckpt_alloc(&t->arena, count * sizeof(*nodes));
	uint32_t *used;

	for (size_t i = 0; i < t->task_count; i++)
		tids += t->tasks[i].thread_count;
	used = ckpt_alloc(&t->arena, (3 * count + tids) * sizeof(*used));
	if (!nodes || !used)
		return err_code(e, -ENOMEM, "order the processes");
	for (size_t i = 0; i < t->task_count; i++) {
		const Ckpt__Process *k = t->tasks[i].process;

		nodes[i] = (struct ckpt_plan_node){
			k->pid,
			k->ppid,
			k->pgid,
			k->sid,
			k->sid == k->pid && k->terminal ? k->foreground : 0,
		};
		set_space(t, &nodes[i], &t->tasks[i]);
		for (size_t n = 0; n < t->tasks[i].thread_count; n++)
			used[used_count++] = t->tasks[i].threads[n]->tid;
	}
	for (size_t i = 0; i < t->zombie_count; i++) {
		const Ckpt__Zombie *z = t->zombies[i];

		nodes[t->task_count + i] = (struct ckpt_plan_node){
			z->pid, z->ppid, z->pgid, z->sid, .ended = true,
			.space = z->pid_space == ckpt_space_main(t, CKPT_SPACE_PID) ? 0 : z->pid_space,
			.level = (uint32_t)z->n_numbers, .group_level = seen(z->pgids, z->n_pgids),
			.session_level = seen(z->sids, z->n_sids),
		};
	}
	for (size_t i = 0; i < count; i++) {
		used[used_count++] = nodes[i].pid;
		used[used_count++] = nodes[i].pgid;
		used[used_count++] = nodes[i].sid;
	}
	return ckpt_plan_make(p, &t->arena, nodes, count, used, used_count, ret_stuck, e);
}
