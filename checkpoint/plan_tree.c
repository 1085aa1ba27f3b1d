/* SPDX-License-Identifier: GPL-2.0-or-later */

/* What a plan is made of, from a tree. */
#include "checkpoint/image.pb-c.h"
#include "checkpoint/pidspaces.h"
#include "checkpoint/plan.h"

#include <errno.h>

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
