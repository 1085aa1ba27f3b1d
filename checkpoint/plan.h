/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef CHECKPOINT_PLAN_H
#define CHECKPOINT_PLAN_H

#include "base/err.h"
#include "checkpoint/tree.h"

#include <stdbool.h>
#include <stdint.h>

/*
 * In which order processes are born so that each has its parent, session and group again. The kernel
 * lets a process only inherit these or begin new ones, and gives orphans to the nearest subreaper or to
 * process 1. So
 *
 * - a child that was born before its parent began a session of its own is born before that again;
 * - a child that its parent adopted is born by a stand-in in the session that it is in, which ends:
 *   of the session's leader when that lives, else in its place and with its number. The parent is made a
 *   subreaper meanwhile;
 * - a group without its leader is led by a stand-in while its members join it.
 *
 * This is arithmetic on numbers: a dump asks whether there is a plan, a restore carries it out.
 */
#define CKPT_PLAN_OUTSIDE SIZE_MAX

struct ckpt_plan_node {
	uint32_t pid, ppid, pgid, sid; /* as the VPS sees them; ppid 0: outside of it */
	uint32_t foreground; /* of a leader with a terminal: the group in its foreground; 0: none */
	bool ended; /* a zombie */
	/* Pid namespaces (pidspaces.h): its own, which lies so many levels below process 1's; how many of them
	 * its group's and session's leaders are below it. One that sees no number of its group cannot enter it. */
	uint32_t space, level, group_level, session_level;
	/* The plan's own. */
	size_t parent; /* index; of a stand-in: who makes it */
	size_t home; /* of a stand-in: who adopts its children */
	uint32_t birth; /* the session to be born in; 0: any */
	bool by_children; /* it is only for the sake of its children */
	bool born;
	uint32_t session, group; /* by now */
	uint32_t depth;
};

enum ckpt_op_kind {
	CKPT_OP_BIRTH, /* `who`, by `by`, or CKPT_PLAN_OUTSIDE */
	CKPT_OP_SESSION, /* who: setsid(2); and takes its terminal */
	CKPT_OP_GROUP, /* who: joins or leads group `number`; or its parent `by`, which sees it, puts it there */
	CKPT_OP_FOREGROUND, /* who: puts group `number` into the foreground of its terminal */
	CKPT_OP_REAPER, /* who: adopts orphans from now on (number 1) or no more (0) */
	CKPT_OP_END, /* the stand-in who ends, and `by` waits for it */
	CKPT_OP_EXIT, /* who, a zombie, ends */
};

struct ckpt_op {
	enum ckpt_op_kind kind;
	size_t who, by;
	uint32_t number;
};

struct ckpt_plan {
	struct ckpt_plan_node *nodes; /* those given, in their order, then stand-ins */
	size_t given, count;
	struct ckpt_op *ops;
	size_t op_count;
};

/*
 * `nodes[0]` is process 1; parents need not come first. `used` are all numbers that no stand-in may get.
 * Everything is in the arena. ERR_UNSUPPORTED, with the process named, when there is no plan. *ret_stuck
 * (may be NULL) is then its index.
 */
int ckpt_plan_make(struct ckpt_plan *p, struct ckpt_arena *a, const struct ckpt_plan_node *nodes,
		   size_t count, const uint32_t *used, size_t used_count, size_t *ret_stuck,
		   struct err *e);

/* The nodes of a tree: its processes, then its zombies; and their plan. */
int ckpt_plan_tree(struct ckpt_plan *p, struct ckpt_tree *t, size_t *ret_stuck, struct err *e);

#endif
