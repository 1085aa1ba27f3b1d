/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "base/macro.h"
#include "checkpoint/clocks.h"
#include "checkpoint/image.pb-c.h"
#include "checkpoint/pidspaces.h"
#include "checkpoint/plan.h"

#include <errno.h>

static int bad(struct err *e, const char *what, uint32_t id)
{
	return err_set(e, ERR_FAIL, "the image is damaged: the pid namespace of %s %u", what, id);
}

static bool are_numbers(const uint32_t *v, size_t n, size_t depth)
{
	for (size_t i = 0; i < n; i++)
		if (v[i] == 0 || v[i] > CKPT_PID_MAX)
			return false;
	return n == depth;
}

static int check_thread(const struct ckpt_tree *t, const Ckpt__Thread *th, uint32_t space,
			struct err *e)
{
	uint32_t main = ckpt_space_main(t, CKPT_SPACE_PID), to = th->pid_children;
	bool ok = ckpt_pid_space(t, th) == space &&
		  are_numbers(th->numbers, th->n_numbers, ckpt_pid_depth(t, space)) &&
		  th->pid_empty < CKPT_PID_EMPTY_COUNT && !(to && th->pid_empty);

	if (ok && to)
		ok = to <= t->space_count && t->spaces[to - 1]->kind == CKPT_SPACE_PID &&
		     to != main && to != space && ckpt_pid_is_below(t, to, space);
	return ok ? 0 : bad(e, "thread", th->tid);
}

static int check_zombie(const struct ckpt_tree *t, const Ckpt__Zombie *z, struct err *e)
{
	uint32_t main = ckpt_space_main(t, CKPT_SPACE_PID),
		 space = z->pid_space == main ? 0 : z->pid_space;
	bool ok =
		space <= t->space_count && (!space || t->spaces[space - 1]->kind == CKPT_SPACE_PID);
	size_t depth = ok ? ckpt_pid_depth(t, space) : 0;

	ok = ok && are_numbers(z->numbers, z->n_numbers, depth) && z->n_pgids <= depth &&
	     z->n_sids <= depth && !(depth && z->numbers[depth - 1] == 1);
	return ok ? 0 : bad(e, "process", z->pid);
}

/* Each has one process 1. */
static int check_firsts(const struct ckpt_tree *t, struct err *e)
{
	for (uint32_t id = 1; id <= t->space_count; id++) {
		size_t n = 0;

		if (t->spaces[id - 1]->kind != CKPT_SPACE_PID ||
		    id == ckpt_space_main(t, CKPT_SPACE_PID))
			continue;
		for (size_t i = 0; i < t->task_count; i++)
			n += ckpt_pid_is_first(t, t->tasks[i].threads[0]) &&
			     ckpt_pid_space(t, t->tasks[i].threads[0]) == id;
		if (n != 1)
			return bad(e, "namespace", id);
	}
	return 0;
}

int ckpt_pidspaces_check(const struct ckpt_tree *t, struct err *e)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < t->task_count; i++) {
		const struct ckpt_task *k = &t->tasks[i];
		uint32_t space = ckpt_pid_space(t, k->threads[0]);
		size_t depth = ckpt_pid_depth(t, space);

		if (depth > CKPT_PID_LEVELS || k->process->n_pgids > depth ||
		    k->process->n_sids > depth)
			r = bad(e, "process", k->process->pid);
		for (size_t n = 0; r == 0 && n < k->thread_count; n++)
			r = check_thread(t, k->threads[n], space, e);
	}
	for (size_t i = 0; r == 0 && i < t->zombie_count; i++)
		r = check_zombie(t, t->zombies[i], e);
	return r == 0 ? check_firsts(t, e) : r;
}

/* Of a node of the plan: the user namespace that it is born in, and whose identity it has there. */
struct born {
	uint32_t user;
	const Ckpt__Thread *as;
};

static const Ckpt__Thread *leader(const struct ckpt_tree *t, size_t who)
{
	return who < t->task_count ? t->tasks[who].threads[0] : NULL;
}

static uint32_t norm(const struct ckpt_tree *t, uint32_t space, enum ckpt_space_kind kind)
{
	return space == ckpt_space_main(t, kind) ? 0 : space;
}

/* The parent is in the pid namespace above a new one, and in its own or one above that of its child. */
static bool is_reachable(const struct ckpt_tree *t, const struct ckpt_plan_node *n,
			 const struct ckpt_plan_node *by, bool first)
{
	if (!first)
		return ckpt_pid_is_below(t, n->space, by->space);
	return norm(t, t->spaces[n->space - 1]->parent, CKPT_SPACE_PID) == by->space;
}

/* What else it is in is what it is born with, or its own to enter. Process 1 has been brought there by its maker. */
static const char *foreign_space(const struct ckpt_tree *t, const Ckpt__Thread *th,
				 const Ckpt__Thread *as, uint32_t user)
{
	for (uint32_t k = 0; k < th->n_spaces; k++) {
		uint32_t id = th->spaces[k];
		bool same = k == CKPT_SPACE_MNT ? id == ckpt_space_main(t, k) : id == as->spaces[k];

		if (k != CKPT_SPACE_USER && k != CKPT_SPACE_PID && id && !same &&
		    !ckpt_user_is_below(t, t->spaces[id - 1]->owner, user))
			return ckpt_space_types[k].name;
	}
	return NULL;
}

/* Those that it is not born with have numbers where it is. */
static bool can_have_ids(const struct ckpt_tree *t, const Ckpt__Thread *th, const Ckpt__Thread *as,
			 uint32_t user)
{
	for (int i = 0; i < 4; i++)
		if ((th->outer_uids[i] != as->outer_uids[i] &&
		     ckpt_user_id(t, user, th->outer_uids[i], false) == UINT32_MAX) ||
		    (th->outer_gids[i] != as->outer_gids[i] &&
		     ckpt_user_id(t, user, th->outer_gids[i], true) == UINT32_MAX))
			return false;
	return true;
}

static int refuse(const struct ckpt_tree *t, size_t who, const char *why, struct err *e)
{
	const struct ckpt_task *k = &t->tasks[who];

	return err_set(e, ERR_UNSUPPORTED,
		       "process %d, in a nested pid namespace, %s, which cannot be saved yet",
		       k->pid ? (int)k->pid : (int)k->process->pid, why);
}

static int check_birth(const struct ckpt_tree *t, const struct ckpt_plan *p,
		       const struct ckpt_op *o, const struct born *by, struct born *b,
		       struct err *e)
{
	const struct ckpt_plan_node *n = &p->nodes[o->who];
	const Ckpt__Thread *th = leader(t, o->who);
	bool first = th && ckpt_pid_is_first(t, th);
	const char *space;

	*b = *by;
	if (n->space &&
	    (o->by == CKPT_PLAN_OUTSIDE || !is_reachable(t, n, &p->nodes[o->by], first)))
		return refuse(t, o->who < t->task_count ? o->who : 0,
			      "has a parent outside it that did not bring it there", e);
	if (first && norm(t, t->spaces[n->space - 1]->owner, CKPT_SPACE_USER) != by->user)
		*b = (struct born){ norm(t, t->spaces[n->space - 1]->owner, CKPT_SPACE_USER), th };
	if (th && n->space && t->tasks[o->who].process->files_group)
		return refuse(t, o->who, "shares its open files with another", e);
	if (!th || !b->user)
		return 0;
	if (th->n_outer_uids != 4 || !ckpt_user_is_below(t, th->spaces[CKPT_SPACE_USER], b->user))
		return refuse(t, o->who, "is not in the user namespace that owns that", e);
	if (t->tasks[o->who].process->fs_group)
		return refuse(t, o->who, "shares its directory with another", e);
	if (!can_have_ids(t, th, b->as, b->user))
		return refuse(t, o->who, "has ids that have no number in it", e);
	space = foreign_space(t, th, b->as, b->user);
	if (!space && ckpt_clock_holder(t, th->spaces[CKPT_SPACE_TIME], NULL) &&
	    !ckpt_user_is_below(t, t->spaces[th->spaces[CKPT_SPACE_TIME] - 1]->owner, b->user))
		space = ckpt_space_types[CKPT_SPACE_TIME].name;
	return space ? err_set(e, ERR_UNSUPPORTED,
			       "process %u, in a nested user namespace, has a %s namespace from "
			       "outside that, which cannot be saved yet",
			       n->pid, space) :
		       0;
}

int ckpt_births_check(const struct ckpt_tree *t, const struct ckpt_plan *p, struct err *e)
{
	cleanup_free struct born *born = calloc(p->count, sizeof(*born));
	static const struct born outside;
	int r = born ? 0 : err_code(e, -ENOMEM, "order the processes");

	for (size_t i = 0; r == 0 && i < p->op_count; i++) {
		const struct ckpt_op *o = &p->ops[i];

		if (o->kind == CKPT_OP_BIRTH)
			r = check_birth(t, p, o,
					o->by == CKPT_PLAN_OUTSIDE ? &outside : &born[o->by],
					&born[o->who], e);
	}
	return r;
}
