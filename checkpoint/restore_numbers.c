/* SPDX-License-Identifier: GPL-2.0-or-later */

/* The numbers of processes in nested pid namespaces: which they have, and which are given next. */
#include "checkpoint/restore_births.h"

#include "base/fd.h"
#include "base/macro.h"
#include "checkpoint/enter.h"
#include "checkpoint/image.pb-c.h"
#include "checkpoint/restore_spaces.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/utsname.h>

uint32_t restore_number_at(const uint32_t *numbers, size_t level, uint32_t number)
{
	return level ? numbers[level - 1] : number;
}

static bool is_taken(const struct restore *r, size_t level, uint32_t number)
{
	for (size_t i = 0; i < r->plan.count; i++)
		if (r->procs[i].level > level && r->procs[i].numbers[level] == number)
			return true;
	for (size_t i = 0; i < r->tree.task_count; i++)
		for (size_t k = 0; k < r->tree.tasks[i].thread_count; k++) {
			const Ckpt__Thread *t = r->tree.tasks[i].threads[k];

			if (t->n_numbers > level && t->numbers[level] == number)
				return true;
		}
	return false;
}

void restore_fill_numbers(const struct restore *r, uint32_t *numbers, size_t levels)
{
	for (size_t level = 0; level < levels; level++)
		for (uint32_t v = 32000; !numbers[level]; v--)
			numbers[level] = is_taken(r, level, v) ? 0 : v;
}

/* The numbers of a process that is no more but for its group or session; else ones that nobody has. */
static int number_standin(struct restore *r, size_t who, struct err *e)
{
	const struct ckpt_plan_node *n = &r->plan.nodes[who];
	struct restoring *p = &r->procs[who];
	uint32_t *numbers = ckpt_alloc(&r->tree.arena, (n->level + 1) * sizeof(*numbers));

	if (!numbers)
		return err_code(e, -ENOMEM, "restore");
	for (size_t i = 0; n->level && i < r->tree.task_count; i++) {
		const Ckpt__Process *k = r->tree.tasks[i].process;

		if (k->pgid == n->pid && k->n_pgids >= n->level)
			memcpy(numbers, k->pgids, n->level * sizeof(*numbers));
		else if (k->sid == n->pid && k->n_sids >= n->level)
			memcpy(numbers, k->sids, n->level * sizeof(*numbers));
	}
	restore_fill_numbers(r, numbers, n->level);
	p->numbers = numbers;
	p->level = n->level;
	return 0;
}

int restore_births_prepare(struct restore *r, struct err *e)
{
	int n = 0;

	for (size_t i = 0; i < r->plan.count; i++) {
		struct restoring *p = &r->procs[i];

		p->space = p->children = r->plan.nodes[i].space;
		if (i < r->tree.task_count) {
			p->numbers = r->tree.tasks[i].threads[0]->numbers;
			p->level = r->tree.tasks[i].threads[0]->n_numbers;
		} else if (i < r->plan.given) {
			p->numbers = r->tree.zombies[i - r->tree.task_count]->numbers;
			p->level = r->tree.zombies[i - r->tree.task_count]->n_numbers;
		}
	}
	for (size_t i = r->plan.given; n == 0 && i < r->plan.count; i++)
		n = number_standin(r, i, e);
	return n;
}

uint32_t restore_number_for(const struct restore *r, uint32_t number, size_t viewer)
{
	const struct restoring *v = &r->procs[viewer];

	if (v->level == 0)
		return number;
	for (size_t i = 0; i < r->plan.count; i++)
		if (r->plan.nodes[i].pid == number)
			return r->procs[i].level >= v->level &&
					       ckpt_pid_is_below(&r->tree, r->procs[i].space,
								 v->space) ?
				       r->procs[i].numbers[v->level - 1] :
				       0;
	return 0;
}

struct settling {
	int proc;
	uint32_t last, max, most; /* most: who has the highest */
};

/* Its own since Linux 6.14, else the host's, which is nobody's to change here. */
static bool has_own_max(void)
{
	struct utsname u;
	int major = 0, minor = 0;

	return uname(&u) == 0 && sscanf(u.release, "%d.%d", &major, &minor) == 2 && (major > 6 || (major == 6 && minor >= 14));
}

static int settle(void *arg, struct err *e)
{
	const struct settling *s = arg;
	cleanup_free char *now = NULL;
	uint32_t max = CKPT_PID_MAX;
	char text[16];
	int n;

	if (fd_read_file_at(s->proc, "sys/kernel/pid_max", 64, &now, NULL) == 0)
		max = (uint32_t)atol(now);
	snprintf(text, sizeof(text), "%u", s->max);
	if (s->max && s->max != max && has_own_max() && fd_write_file_at(s->proc, "sys/kernel/pid_max", text) == 0)
		max = s->max;
	/* Here they may not go as high. */
	snprintf(text, sizeof(text), "%u", s->last < max ? s->last : s->most);
	n = fd_write_file_at(s->proc, "sys/kernel/ns_last_pid", text);
	return n < 0 ? err_code(e, n, "set the last number of a pid namespace") : 0;
}

static uint32_t highest(const struct restore *r, uint32_t space, size_t level)
{
	uint32_t last = 1;

	for (size_t i = 0; i < r->tree.task_count; i++)
		for (size_t k = 0; k < r->tree.tasks[i].thread_count; k++) {
			const Ckpt__Thread *t = r->tree.tasks[i].threads[k];

			if (ckpt_pid_is_below(&r->tree, r->procs[i].space, space) &&
			    restore_number_at(t->numbers, level, t->tid) > last)
				last = restore_number_at(t->numbers, level, t->tid);
		}
	return last;
}

/*
 * Whom the next process there comes behind. A program that keeps the number of one that has ended finds no other by
 * it for as long as it would have (the kernel counts on). Where that was not looked at, it is who has most.
 */
static uint32_t last_number(const struct restore *r, uint32_t id, size_t level)
{
	uint32_t known = id ? r->tree.spaces[id - 1]->last_number : 0;

	return known ? known : highest(r, level ? id : 0, level);
}

/* Some have numbers beyond what is the limit by now: so it is set when all are born. */
static bool main_max_is_low(const struct restore *r)
{
	uint32_t main = ckpt_space_main(&r->tree, CKPT_SPACE_PID), max = main ? r->tree.spaces[main - 1]->pid_max : 0;
	uint32_t most = highest(r, 0, 0);

	for (size_t i = 0; i < r->plan.count; i++) /* zombies and those who stand in for the dead, too */
		most = r->plan.nodes[i].pid > most ? r->plan.nodes[i].pid : most;
	return max && max <= most && has_own_max();
}

bool restore_counts_up(const struct restore *r)
{
	bool any = restore_is_nested(r) || main_max_is_low(r);

	for (size_t i = 0; !any && i < r->tree.task_count; i++)
		any = r->tree.tasks[i].thread_count > 1 && restore_has_own_user(r, &r->procs[i]);
	return any;
}

int restore_settle_own_numbers(const struct restore *r, struct err *e)
{
	uint32_t main = ckpt_space_main(&r->tree, CKPT_SPACE_PID);
	struct settling s = { r->proc, last_number(r, main, 0), main ? r->tree.spaces[main - 1]->pid_max : 0,
			      highest(r, 0, 0) };

	return restore_counts_up(r) ? 0 : settle(&s, e);
}

static int settle_space(const struct restore *r, uint32_t id, pid_t first, size_t level, struct err *e)
{
	cleanup_close int fd = ckpt_space_open((int)first, "pid", e);
	struct settling s = { r->proc, last_number(r, id, level), r->tree.spaces[id - 1]->pid_max,
			      highest(r, level ? id : 0, level) };

	return fd < 0 ? fd : ckpt_within(&fd, 1, settle, &s, e);
}

int restore_settle_numbers(struct restore *r, struct err *e)
{
	uint32_t main = ckpt_space_main(&r->tree, CKPT_SPACE_PID);
	int n = 0;

	if (restore_counts_up(r))
		n = main ? settle_space(r, main, rt_init_pid(r->vps), 0, e) : rt_last_number(r->vps, (pid_t)highest(r, 0, 0), e);
	for (uint32_t id = 1; n == 0 && id <= r->tree.space_count; id++)
		if (r->tree.spaces[id - 1]->kind == CKPT_SPACE_PID && id != main)
			n = settle_space(r, id, restore_first_of(r, id)->task->pid, ckpt_pid_depth(&r->tree, id), e);
	return n;
}
