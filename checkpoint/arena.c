/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Memory that goes as a whole, with what hangs on it. */
#include "checkpoint/tree.h"

#include "base/macro.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define MANY MIB(4) /* bytes, that are found faster in huge pages */
#define CHUNK KIB(128) /* malloc(3) takes a new mapping: memory from its heap it would clear, and touch all of it */

struct ckpt_chunk {
	struct ckpt_chunk *next;
	_Alignas(16) uint8_t data[];
};

/* Filled from its end, so that what is left is all that is to be known. */
static int add_chunk(struct ckpt_arena *a, struct ckpt_chunk *c, size_t room)
{
	if (!c)
		return -ENOMEM;
	c->next = a->chunks;
	a->chunks = c;
	a->left = room;
	return 0;
}

int ckpt_arena_reserve(struct ckpt_arena *a, size_t size)
{
	struct ckpt_chunk *c;

	size = (size + 15) & ~(size_t)15; /* as it is filled from its end */
	c = malloc(sizeof(*c) + size);
	if (c && size >= MANY)
		madvise((void *)(((uintptr_t)c + CKPT_PAGE - 1) & ~(uintptr_t)(CKPT_PAGE - 1)),
			(size - CKPT_PAGE) & ~(size_t)(CKPT_PAGE - 1), MADV_HUGEPAGE);
	if (c)
		explicit_bzero(c, sizeof(*c) + size); /* not calloc(3), which leaves it to the kernel */
	return add_chunk(a, c, size);
}

void *ckpt_alloc(struct ckpt_arena *a, size_t size)
{
	size = (size + 15) & ~(size_t)15;
	if (size > a->left) {
		size_t room = size > CHUNK / 4 ? size : CHUNK;

		if (add_chunk(a, calloc(1, sizeof(struct ckpt_chunk) + room), room) < 0)
			return NULL;
	}
	a->left -= size;
	return a->chunks->data + a->left;
}

char *ckpt_strdup(struct ckpt_arena *a, const char *s)
{
	return ckpt_memdup(a, s, strlen(s) + 1);
}

void *ckpt_memdup(struct ckpt_arena *a, const void *p, size_t len)
{
	void *copy = ckpt_alloc(a, len ? len : 1);

	if (copy && len)
		memcpy(copy, p, len);
	return copy;
}

void ckpt_arena_done(struct ckpt_arena *a)
{
	while (a->chunks) {
		struct ckpt_chunk *next = a->chunks->next;

		free(a->chunks);
		a->chunks = next;
	}
	a->left = 0;
}

/* Grown in powers of two: the room is known from the count. */
int ckpt_push(struct ckpt_arena *a, void *array, size_t *count, void *item)
{
	void **items;

	memcpy(&items, array, sizeof(items));
	if ((*count & (*count - 1)) == 0) {
		void **grown = ckpt_alloc(a, (*count ? 2 * *count : 1) * sizeof(*grown));

		if (!grown)
			return -ENOMEM;
		if (*count)
			memcpy(grown, items, *count * sizeof(*grown));
		items = grown;
		memcpy(array, &items, sizeof(items));
	}
	items[(*count)++] = item;
	return 0;
}
