/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef CHECKPOINT_POLICIES_H
#define CHECKPOINT_POLICIES_H

#include "checkpoint/ask.h"
#include "checkpoint/internal.h"

/*
 * On which nodes single areas of memory are to lie: mbind(2). /proc/PID/numa_maps tells, but looks at each page and
 * does not tell an area's policy from the process's: the process is asked (get_mempolicy(2), MPOL_F_ADDR). Most have
 * none, so the nodes are asked for afterwards. Of shared memory, parts of which may have policies of their own, that
 * of its beginning.
 */
struct ckpt_policy_places {
	size_t area, end;  /* those that are asked about */
	size_t call;       /* the first one's */
	uint64_t modes;
};

/* As many areas from `at->end` on as there is room for. */
void ckpt_policies_ask(struct ckpt_asking *q, const struct ckpt_task *k, struct ckpt_policy_places *at);
void ckpt_policies_take(const struct ckpt_asking *q, struct ckpt_task *k, const struct ckpt_policy_places *at);
/* The rest of the areas, and nodes; by lists of their own, where there are any. */
int ckpt_policies_finish(struct ckpt_dump *d, struct ckpt_asking *q, struct ckpt_task *k, struct ckpt_policy_places *at,
			 struct ckpt_batch *b, struct ckpt_thread *t, struct err *e);

bool ckpt_policy_fits(const Ckpt__Area *a);
struct list;
/* At most so many bytes of arguments. Nodes that are not here are no reason to fail: it is advice. */
#define CKPT_POLICY_BYTES 128
void restore_area_policy(const Ckpt__Area *a, struct list *l);

#endif
