/* SPDX-License-Identifier: GPL-2.0-or-later */

/*
 * Children that were born between the last round and the stop: what they have from a parent that was told of is not
 * sent once more, if the other side has it by then; nor what their own children have from that. All is stopped: what is
 * in one frame stays there.
 */
#include "base/macro.h"
#include "checkpoint/family.h"
#include "checkpoint/image.pb-c.h"
#include "checkpoint/precopy_internal.h"

#include <errno.h>

static size_t parent_of(const struct ckpt_tree *t, size_t i)
{
	size_t k = 0;

	while (k < t->task_count && (k == i || t->tasks[k].process->pid != t->tasks[i].process->ppid))
		k++;
	return k;
}

static bool is_told(struct ckpt_dump *d, size_t i)
{
	for (size_t k = 0; k < d->precopy->count; k++)
		if (d->precopy->procs[k]->pid == d->tree.tasks[i].leader)
			return d->precopy->procs[k]->layout != 0;
	return false;
}

/* Somebody whose memory the other side has, some of it at least: the parent of such a one comes first. */
static bool is_there(struct ckpt_dump *d, size_t i)
{
	return is_told(d, i) || d->tree.tasks[i].mm->n_inherited;
}

static int take_written(const struct ckpt_ranges *l, struct ckpt_ranges *ret)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < l->count; i++)
		if (l->r[i].written)
			r = ckpt_ranges_add(ret, l->r[i].start, l->r[i].end, false);
	return r;
}

/* They are there, but need not be sent. */
static int mark(struct ckpt_ranges *l, const struct ckpt_ranges *inherited)
{
	struct ckpt_ranges all = { 0 };
	size_t k = 0;
	int r = 0;

	for (size_t i = 0; r == 0 && i < l->count; i++)
		for (uint64_t at = l->r[i].start, end; r == 0 && at < l->r[i].end; at = end) {
			bool in;

			while (k < inherited->count && inherited->r[k].end <= at)
				k++;
			in = k < inherited->count && inherited->r[k].start <= at;
			end = k == inherited->count ? l->r[i].end : in ? inherited->r[k].end : inherited->r[k].start;
			end = end < l->r[i].end ? end : l->r[i].end;
			r = ckpt_ranges_add(&all, at, end, !in && l->r[i].written);
		}
	ckpt_ranges_done(l);
	*l = all;
	return r;
}

static int find_one(struct ckpt_dump *d, size_t i, size_t parent, struct ckpt_pair *pair)
{
	struct ckpt_task *k = &d->tree.tasks[i];
	struct ckpt_ranges *l = &d->copy.sources[i].ranges, written = { 0 };
	int r = ckpt_family_shared(pair, k, &d->tree.tasks[parent], l);

	if (r == 0)
		r = take_written(&d->copy.sources[parent].ranges, &written);
	if (r == 0)
		r = ckpt_ranges_take_out(&pair->shared, &written, NULL);
	if (r == 0 && pair->shared.count) {
		k->mm->inherited = ckpt_runs_write(&d->tree.arena, &pair->shared, &k->mm->n_inherited);
		r = k->mm->inherited ? mark(l, &pair->shared) : -ENOMEM;
	}
	ckpt_ranges_done(&pair->shared);
	ckpt_ranges_done(&written);
	return r;
}

int ckpt_final_heirs(struct ckpt_dump *d, struct err *e)
{
	cleanup_free struct ckpt_pair *pair = malloc(sizeof(*pair));
	int r = pair ? 0 : -ENOMEM;

	for (size_t i = 1; r == 0 && i < d->tree.task_count; i++) {
		size_t parent = parent_of(&d->tree, i);

		if (parent < i && d->copy.sources[i].family && !is_told(d, i) && is_there(d, parent))
			r = find_one(d, i, parent, pair);
	}
	return r < 0 ? err_code(e, r, "look for memory that processes share") : 0;
}
