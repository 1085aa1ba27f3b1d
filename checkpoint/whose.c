/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "checkpoint/whose.h"

#include "base/macro.h"
#include "checkpoint/image.pb-c.h"

#include <errno.h>
#include <stdlib.h>

static int by_number(const void *one, const void *other)
{
	const struct ckpt_whose_thread *a = one, *b = other;

	return a->number < b->number ? -1 : a->number > b->number;
}

static uint32_t number_of(const struct ckpt_task *k, size_t thread, enum ckpt_whose_by by)
{
	if (by == CKPT_BY_GROUP)
		return (uint32_t)k->host_group;
	return by == CKPT_BY_HOST ? (uint32_t)k->tids[thread] : k->threads[thread]->tid;
}

int ckpt_whose_make(const struct ckpt_tree *t, enum ckpt_whose_by by, struct ckpt_whose *ret)
{
	size_t count = 0;

	*ret = (struct ckpt_whose){ 0 };
	for (size_t i = 0; i < t->task_count; i++)
		count += by == CKPT_BY_GROUP ? 1 : t->tasks[i].thread_count;
	ret->list = calloc(count + 1, sizeof(*ret->list));
	if (!ret->list)
		return -ENOMEM;
	for (size_t i = 0; i < t->task_count; i++)
		for (size_t n = 0; n < (by == CKPT_BY_GROUP ? 1 : t->tasks[i].thread_count); n++)
			ret->list[ret->count++] = (struct ckpt_whose_thread){ number_of(&t->tasks[i], n, by), &t->tasks[i], n };
	if (count)
		qsort(ret->list, count, sizeof(*ret->list), by_number);
	return 0;
}

const struct ckpt_whose_thread *ckpt_whose_find(const struct ckpt_whose *w, uint32_t number)
{
	struct ckpt_whose_thread key = { .number = number };

	return w->count ? bsearch(&key, w->list, w->count, sizeof(key), by_number) : NULL;
}

void ckpt_whose_done(struct ckpt_whose *w)
{
	free(TAKE_PTR(w->list));
	w->count = 0;
}

static int compare(const struct ckpt_opened_fd *a, const struct ckpt_opened_fd *b)
{
	if (a->table != b->table)
		return (uintptr_t)a->table < (uintptr_t)b->table ? -1 : 1;
	return a->key < b->key ? -1 : a->key > b->key;
}

static int by_table(const void *one, const void *other)
{
	const struct ckpt_opened_fd *a = one, *b = other;
	int n = compare(a, b);

	return n ? n : a->fd < b->fd ? -1 : a->fd > b->fd;
}

struct opening {
	uint64_t (*key)(const void *arg, const Ckpt__Fd *fd);
	const void *arg;
	struct ckpt_opened *to; /* whose list is NULL while they are counted */
};

static void add(struct opening *o, const Ckpt__FdTable *table)
{
	for (size_t i = 0; table && i < table->n_fd; i++) {
		uint64_t key = o->key(o->arg, table->fd[i]);

		if (key && o->to->list)
			o->to->list[o->to->count] = (struct ckpt_opened_fd){ table, key, table->fd[i]->fd };
		o->to->count += key != 0;
	}
}

static void add_all(struct opening *o, const struct ckpt_tree *t)
{
	o->to->count = 0;
	for (size_t i = 0; i < t->task_count; i++) {
		const struct ckpt_task *k = &t->tasks[i];

		add(o, k->fds);
		for (size_t n = 0; n < k->thread_count; n++)
			add(o, k->threads[n]->own ? k->threads[n]->own->fds : NULL);
	}
}

int ckpt_opened_make(const struct ckpt_tree *t, uint64_t (*key)(const void *arg, const Ckpt__Fd *fd), const void *arg,
		     struct ckpt_opened *ret)
{
	struct opening o = { key, arg, ret };

	*ret = (struct ckpt_opened){ 0 };
	add_all(&o, t);
	ret->list = calloc(ret->count + 1, sizeof(*ret->list));
	if (!ret->list)
		return -ENOMEM;
	add_all(&o, t);
	if (ret->count)
		qsort(ret->list, ret->count, sizeof(*ret->list), by_table);
	return 0;
}

int64_t ckpt_opened_find(const struct ckpt_opened *o, const Ckpt__FdTable *table, uint64_t key)
{
	struct ckpt_opened_fd wanted = { table, key, 0 };
	size_t from = 0, to = o->count;

	while (from < to) {
		size_t mid = from + (to - from) / 2;

		if (compare(&o->list[mid], &wanted) < 0)
			from = mid + 1;
		else
			to = mid;
	}
	return from < o->count && compare(&o->list[from], &wanted) == 0 ? (int64_t)o->list[from].fd : -1;
}

void ckpt_opened_done(struct ckpt_opened *o)
{
	free(TAKE_PTR(o->list));
	o->count = 0;
}
