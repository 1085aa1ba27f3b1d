/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef CHECKPOINT_REGISTRATIONS_H
#define CHECKPOINT_REGISTRATIONS_H

#include "checkpoint/ask.h"
#include "checkpoint/restore_internal.h"

#include <stdbool.h>

/*
 * What a process has asked the kernel for or been given, and the kernel says of it: membarrier(2) registrations,
 * where its memory is to lie (set_mempolicy(2)), the use of AMX, merging of pages (KSM), the priority of its
 * session (sched(7), autogroup), how futexes are sorted (PR_FUTEX_HASH, Linux 6.16), that it numbers its timers itself, who has logged in (/proc/PID/loginuid).
 */
struct ckpt_registration_places {
	size_t first;
	uint64_t mode, nodes, xcomp, core;
};

/* The questions of one thread, and its answers. */
void ckpt_registrations_ask(struct ckpt_asking *q, struct ckpt_registration_places *at,
			    bool leader);
int ckpt_registrations_take(struct ckpt_dump *d, const struct ckpt_asking *q,
			    const struct ckpt_registration_places *at, Ckpt__Thread *t,
			    struct ckpt_task *leads, struct err *e);
/* What is in files of /proc. */
int ckpt_registrations_files(struct ckpt_dump *d, const struct ckpt_task *k,
			     Ckpt__ProcessMore *m, struct err *e);
/* Who has logged in, and one more, as a VPS whose ids begin at `base` has it; 0: nobody of its own. */
uint32_t ckpt_login(pid_t pid, uint32_t base, uint32_t count);
int ckpt_registrations_check(const struct ckpt_task *k, const Ckpt__Thread *t, struct err *e);

/* By the first thread, before there are others; by each thread; from outside. */
void restore_registrations(const struct ckpt_task *k, struct list *l);
/* By the first thread, when there are others. */
void restore_futex_hash(const struct ckpt_task *k, struct list *l);
void restore_policy(const Ckpt__Thread *t, struct list *l);
int restore_autogroup(const struct restoring *p, struct err *e);
/* At its birth, so that its children inherit it, and the session's number with it. Which number that is nobody can
 * choose. Not when one of the host's came with the engine: that stays. */
int restore_login(struct restore *r, struct restoring *p, uint32_t login, uint32_t inherited,
		  struct list *l, struct err *e);

#endif
