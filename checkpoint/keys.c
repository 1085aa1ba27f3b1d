/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "checkpoint/keys.h"

#include "checkpoint/image.pb-c.h"
#include "checkpoint/xstate.h"

#include <errno.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#define PKRU 9 /* the component of XSAVE */
/* Behind all memory of a process, with page tables of five levels, too. */
#define NOWHERE ((1ull << 56) - CKPT_PAGE)

/*
 * pkey_mprotect(2) looks at the key first, and then for memory: EINVAL says that the key is not allocated, ENOMEM that it is,
 * and nothing is changed. The key of memory that may only be executed is the kernel's: not allocated (6.1 to 6.18).
 */
size_t ckpt_keys_ask(struct ckpt_asking *q)
{
	size_t first = q->count;

	for (uint64_t key = 1; (ckpt_xstate_here()->mask >> PKRU & 1) && key < CKPT_KEYS; key++)
		ckpt_ask(q, SYS_pkey_mprotect, NOWHERE, CKPT_PAGE, PROT_NONE, key);
	return first;
}

uint32_t ckpt_keys_take(const struct ckpt_asking *q, size_t first)
{
	uint32_t keys = 0;

	for (uint32_t key = 1; (ckpt_xstate_here()->mask >> PKRU & 1) && key < CKPT_KEYS; key++)
		if (q->call[first + key - 1].ret == -ENOMEM)
			keys |= 1u << key;
	return keys;
}

bool ckpt_keys_are_good(const Ckpt__Mm *mm)
{
	bool ok = !(mm->keys & ~0xfffeu);

	for (size_t i = 0; ok && i < mm->n_area; i++)
		ok = mm->area[i]->key < CKPT_KEYS;
	return ok;
}

/* Memory whose key the kernel chose: whoever lets it only be executed gets the key that is free. */
static bool is_own(const Ckpt__Mm *mm, const Ckpt__Area *a)
{
	return a->prot == PROT_EXEC && a->key && !(mm->keys >> a->key & 1);
}

/* 0: none. */
static uint32_t own_key(const Ckpt__Mm *mm)
{
	for (size_t i = 0; i < mm->n_area; i++)
		if (is_own(mm, mm->area[i]))
			return mm->area[i]->key;
	return 0;
}

static bool any(const Ckpt__Mm *mm)
{
	bool has = mm->keys;

	for (size_t i = 0; !has && i < mm->n_area; i++)
		has = mm->area[i]->key;
	return has;
}

static void give_up(uint32_t key, struct list *l)
{
	list_call(l, "give up a protection key", SYS_pkey_free, key, 0, 0, 0, 0, 0);
}

/* Memory may have a key that was given up since. */
void restore_keys_begin(const Ckpt__Mm *mm, struct list *l)
{
	if (!any(mm))
		return;
	for (unsigned key = 1; key < CKPT_KEYS; key++)
		list_call(l, "have a protection key", SYS_pkey_alloc, 0, 0, 0, 0, 0, 0);
	if (own_key(mm))
		give_up(own_key(mm), l);
}

void restore_keys_end(const Ckpt__Mm *mm, struct list *l)
{
	for (uint32_t key = 1; any(mm) && key < CKPT_KEYS; key++)
		if (!(mm->keys >> key & 1) && key != own_key(mm))
			give_up(key, l);
}

void restore_key_protect(const Ckpt__Mm *mm, const Ckpt__Area *a, struct list *l)
{
	uint64_t len = a->end - a->start;

	if (!a->key || is_own(mm, a))
		list_call(l, "protect memory", SYS_mprotect, a->start, len, a->prot, 0, 0, 0);
	else
		list_call(l, "protect memory by a key", SYS_pkey_mprotect, a->start, len, a->prot, a->key, 0, 0);
}
