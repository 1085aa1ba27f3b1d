/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef CHECKPOINT_LOOSE_H
#define CHECKPOINT_LOOSE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * Pages that have come before there is a place for them: copies by address space and number; what comes
 * last counts. Leaves; from one thread at a time.
 */
struct ckpt_loose;
struct ckpt_loose *ckpt_loose_new(size_t max_pages);
void ckpt_loose_free(struct ckpt_loose *l);
/* `data` is a page; NULL: zeros. -ENOMEM, -E2BIG when there are more than were allowed. */
int ckpt_loose_put(struct ckpt_loose *l, uint64_t mm, uint64_t number, const uint8_t *data);
void ckpt_loose_drop(struct ckpt_loose *l, uint64_t mm, uint64_t number);
/* NULL when there is none. Not after ckpt_loose_each(), until the next is put. */
const uint8_t *ckpt_loose_get(const struct ckpt_loose *l, uint64_t mm, uint64_t number);
bool ckpt_loose_is_empty(const struct ckpt_loose *l);

/* Those of [first, end), in order, each with its page (never NULL); stops at a negative value. After ckpt_loose_sort(), which
 * the first one does, and until the next is put, several threads may do so at a time. */
void ckpt_loose_sort(struct ckpt_loose *l);
int ckpt_loose_each(struct ckpt_loose *l, uint64_t mm, uint64_t first, uint64_t end,
		    int (*each)(void *arg, uint64_t number, const uint8_t *data), void *arg);

#endif
