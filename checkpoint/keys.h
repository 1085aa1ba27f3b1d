/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef CHECKPOINT_KEYS_H
#define CHECKPOINT_KEYS_H

#include "checkpoint/ask.h"
#include "checkpoint/restore_internal.h"

#include <stdbool.h>

/*
 * Protection keys of memory (pkeys(7)): those that a process has allocated, by number, and the key of each area, also the one
 * that the kernel takes by itself for memory that may only be executed. What a thread may do by a key is in a register of
 * its own (PKRU), saved with the others.
 */
#define CKPT_KEYS 16 /* of this architecture; key 0 is everybody's */

/* The questions of a process; where the first is among the calls. */
size_t ckpt_keys_ask(struct ckpt_asking *q);
/* A bit for each that is allocated. */
uint32_t ckpt_keys_take(const struct ckpt_asking *q, size_t first);
bool ckpt_keys_are_good(const Ckpt__Mm *mm);

/* Around the protection of its areas: all keys, so that each area can be given its own; those that it has. */
void restore_keys_begin(const Ckpt__Mm *mm, struct list *l);
void restore_keys_end(const Ckpt__Mm *mm, struct list *l);
/* As it is to be. */
void restore_key_protect(const Ckpt__Mm *mm, const Ckpt__Area *a, struct list *l);

#endif
