/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "checkpoint/policies.h"

#include "base/macro.h"
#include "checkpoint/image.pb-c.h"
#include "checkpoint/restore_internal.h"

#include <errno.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#define NODES (8 * CKPT_POLICY_BYTES)
#define OF_ADDRESS 2 /* MPOL_F_ADDR */

/* Program text takes no memory of the process's own. */
static bool may_have(const Ckpt__Area *a)
{
	return (a->flags & (MAP_ANONYMOUS | MAP_SHARED)) || (a->prot & PROT_WRITE);
}

static size_t ask(struct ckpt_asking *q, const Ckpt__Area *a, uint64_t mode, uint64_t nodes)
{
	size_t n = ckpt_ask(q, SYS_get_mempolicy, mode, nodes, nodes ? NODES + 1 : 0, a->start);

	q->call[n].args[4] = OF_ADDRESS;
	return n;
}

void ckpt_policies_ask(struct ckpt_asking *q, const struct ckpt_task *k, struct ckpt_policy_places *at)
{
	size_t calls = CKPT_BATCH_MAX - q->count, modes = (sizeof(q->answers) - q->size) / sizeof(int), n = 0;

	at->area = at->end;
	at->call = q->count;
	calls = calls < modes ? calls : modes;
	while (at->end < k->mm->n_area && n < calls)
		n += may_have(k->mm->area[at->end++]);
	at->modes = n ? ckpt_ask_room(q, n * sizeof(int)) : 0;
	for (size_t i = at->area, m = 0; i < at->end; i++)
		if (may_have(k->mm->area[i]))
			ask(q, k->mm->area[i], at->modes + m++ * sizeof(int), 0);
}

void ckpt_policies_take(const struct ckpt_asking *q, struct ckpt_task *k, const struct ckpt_policy_places *at)
{
	for (size_t i = at->area, m = 0; i < at->end; i++) {
		Ckpt__Area *a = k->mm->area[i];
		int mode;

		if (!may_have(a))
			continue;
		memcpy(&mode, ckpt_ask_answer(q, at->modes + m * sizeof(int)), sizeof(mode));
		a->policy = q->call[at->call + m++].ret == 0 ? (uint32_t)mode : 0;
	}
}

static int run(struct ckpt_asking *q, struct ckpt_batch *b, struct ckpt_thread *t, struct err *e)
{
	int r = ckpt_ask_start(q, b, t, e);

	return r == 0 ? ckpt_ask_finish(q, b, t, e) : r;
}

static int ask_nodes(struct ckpt_dump *d, struct ckpt_asking *q, Ckpt__Area *a, struct ckpt_batch *b,
		     struct ckpt_thread *t, struct err *e)
{
	uint64_t mode, nodes;
	int r;

	ckpt_ask_init(q, b);
	mode = ckpt_ask_room(q, sizeof(int));
	nodes = ckpt_ask_room(q, CKPT_POLICY_BYTES);
	ask(q, a, mode, nodes);
	r = run(q, b, t, e);
	if (r < 0)
		return r;
	a->nodes.len = CKPT_POLICY_BYTES;
	a->nodes.data = ckpt_memdup(&d->tree.arena, ckpt_ask_answer(q, nodes), CKPT_POLICY_BYTES);
	return a->nodes.data ? 0 : err_code(e, -ENOMEM, "collect memory areas");
}

int ckpt_policies_finish(struct ckpt_dump *d, struct ckpt_asking *q, struct ckpt_task *k, struct ckpt_policy_places *at,
			 struct ckpt_batch *b, struct ckpt_thread *t, struct err *e)
{
	int r = 0;

	while (r == 0 && at->end < k->mm->n_area) {
		ckpt_ask_init(q, b);
		ckpt_policies_ask(q, k, at);
		r = q->count ? run(q, b, t, e) : 0;
		if (r == 0)
			ckpt_policies_take(q, k, at);
	}
	for (size_t i = 0; r == 0 && i < k->mm->n_area; i++)
		if (k->mm->area[i]->policy)
			r = ask_nodes(d, q, k->mm->area[i], b, t, e);
	return r;
}

bool ckpt_policy_fits(const Ckpt__Area *a)
{
	return a->nodes.len == (a->policy ? CKPT_POLICY_BYTES : 0);
}

void restore_area_policy(const Ckpt__Area *a, struct list *l)
{
	if (a->policy)
		list_call(l, NULL, SYS_mbind, a->start, a->end - a->start, a->policy,
			  list_put(l, a->nodes.data, a->nodes.len), NODES + 1, 0);
}
