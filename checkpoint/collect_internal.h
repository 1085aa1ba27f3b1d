/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef CHECKPOINT_COLLECT_INTERNAL_H
#define CHECKPOINT_COLLECT_INTERNAL_H

#include "checkpoint/ask.h"
#include "checkpoint/attributes.h"
#include "checkpoint/internal.h"
#include "checkpoint/policies.h"
#include "checkpoint/registrations.h"

/* Where the answers will be: indices of calls, addresses of what they fill. */
struct places {
	uint64_t uids, gids, groups, altstack, tid_address, pdeath, subreaper, actions, timers, limits, continued;
	size_t group_count, fsuid, fsgid, secure, brk, dumpable, thp, persona, ldt, keys, first_limit, fds, fd_count;
};

/* What a thread of the process is doing for us just now. */
enum visit_doing { VISIT_NOTHING, VISIT_MAPS, VISIT_ANSWERS, VISIT_UNMAPS };

/* A process on its way through the steps of collect.c, and the thread of it that is in the stub. */
struct visit {
	struct ckpt_dump *d;
	struct ckpt_task *k;
	const struct ckpt_process *p;
	bool over; /* it has been through all, or was given up */
	struct visit *second; /* for every other thread of a process; NULL */
	struct visit *spare;  /* what that may be */
	enum visit_doing doing;
	struct ckpt_batch b;
	struct ckpt_thread th;
	bool leader;
	bool has_ldt; /* the process */
	Ckpt__Thread *t;
	unsigned filters; /* of seccomp, that the thread has */
	struct places at;
	struct ckpt_attribute_places attributes;
	struct ckpt_registration_places registrations;
	struct ckpt_policy_places policies;
	struct ckpt_status status;
	struct ckpt_asking q;
};

/* The calls of one thread; the leader's ask for the process too. (collect_ask.c) */
void visit_ask(struct visit *v);
/* Behind ckpt_ask_finish(); some more may be run. (collect_ask.c) */
int visit_take(struct visit *v, struct err *e);

#endif
