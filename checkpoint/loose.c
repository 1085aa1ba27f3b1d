/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "checkpoint/loose.h"

#include "checkpoint/image/image.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

/* Open addressing; mm 0 is a free slot. A slot that was dropped keeps its key and has no data. */
struct slot {
	uint64_t mm, number;
	uint8_t *data;
};

struct ckpt_loose {
	struct slot *slots;
	size_t count, room, max; /* room: a power of two */
	bool sorted;             /* slots are in order, not hashed: */
	size_t used;             /* the first ones */
};

struct ckpt_loose *ckpt_loose_new(size_t max_pages)
{
	struct ckpt_loose *l = calloc(1, sizeof(*l));

	if (l)
		l->max = max_pages;
	return l;
}

void ckpt_loose_free(struct ckpt_loose *l)
{
	if (!l)
		return;
	for (size_t i = 0; i < l->room; i++)
		free(l->slots[i].data);
	free(l->slots);
	free(l);
}

bool ckpt_loose_is_empty(const struct ckpt_loose *l)
{
	return l->count == 0;
}

static struct slot *find(const struct ckpt_loose *l, uint64_t mm, uint64_t number)
{
	uint64_t key[2] = { mm, number };
	size_t at = XXH3_64bits(key, sizeof(key)) & (l->room - 1);

	while (l->slots[at].mm && (l->slots[at].mm != mm || l->slots[at].number != number))
		at = (at + 1) & (l->room - 1);
	return &l->slots[at];
}

static int grow(struct ckpt_loose *l)
{
	struct ckpt_loose bigger = { .room = l->room ? 2 * l->room : 4096 };

	if (2 * (l->count + 1) <= l->room && !l->sorted)
		return 0;
	bigger.slots = calloc(bigger.room, sizeof(*bigger.slots));
	if (!bigger.slots)
		return -ENOMEM;
	for (size_t i = 0; i < l->room; i++)
		if (l->slots[i].mm)
			*find(&bigger, l->slots[i].mm, l->slots[i].number) = l->slots[i];
	free(l->slots);
	l->slots = bigger.slots;
	l->room = bigger.room;
	l->sorted = false;
	return 0;
}

int ckpt_loose_put(struct ckpt_loose *l, uint64_t mm, uint64_t number, const uint8_t *data)
{
	struct slot *s;
	int r = grow(l);

	if (r < 0)
		return r;
	s = find(l, mm, number);
	if (!s->mm && l->count == l->max)
		return -E2BIG;
	l->count += !s->mm;
	s->mm = mm;
	s->number = number;
	if (!s->data)
		s->data = malloc(CKPT_PAGE);
	if (!s->data)
		return -ENOMEM;
	if (data)
		memcpy(s->data, data, CKPT_PAGE);
	else
		memset(s->data, 0, CKPT_PAGE);
	return 0;
}

void ckpt_loose_drop(struct ckpt_loose *l, uint64_t mm, uint64_t number)
{
	struct slot *s;

	if (!l->count || l->sorted)
		return;
	s = find(l, mm, number);
	free(s->data);
	s->data = NULL;
}

const uint8_t *ckpt_loose_get(const struct ckpt_loose *l, uint64_t mm, uint64_t number)
{
	return l->count && !l->sorted ? find(l, mm, number)->data : NULL;
}

static int in_order(const void *a, const void *b)
{
	const struct slot *x = a, *y = b;

	if (x->mm != y->mm)
		return x->mm < y->mm ? -1 : 1;
	return x->number < y->number ? -1 : x->number > y->number;
}

void ckpt_loose_sort(struct ckpt_loose *l)
{
	size_t n = 0;

	if (l->sorted)
		return;
	for (size_t i = 0; i < l->room; i++)
		if (l->slots[i].mm)
			l->slots[n++] = l->slots[i];
	for (size_t i = n; i < l->room; i++)
		l->slots[i] = (struct slot){ 0 };
	if (n)
		qsort(l->slots, n, sizeof(*l->slots), in_order);
	l->used = n;
	l->sorted = true;
}

int ckpt_loose_each(struct ckpt_loose *l, uint64_t mm, uint64_t first, uint64_t end,
		    int (*each)(void *arg, uint64_t number, const uint8_t *data), void *arg)
{
	size_t lo = 0, hi;
	int r = 0;

	ckpt_loose_sort(l);
	hi = l->used;
	while (lo < hi) {
		size_t mid = (lo + hi) / 2;
		struct slot key = { mm, first, NULL };

		if (in_order(&l->slots[mid], &key) < 0)
			lo = mid + 1;
		else
			hi = mid;
	}
	for (; r == 0 && lo < l->used && l->slots[lo].mm == mm && l->slots[lo].number < end; lo++)
		if (l->slots[lo].data)
			r = each(arg, l->slots[lo].number, l->slots[lo].data);
	return r;
}
