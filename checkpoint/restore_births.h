/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef CHECKPOINT_RESTORE_BIRTHS_H
#define CHECKPOINT_RESTORE_BIRTHS_H

#include "checkpoint/pidspaces.h"
#include "checkpoint/restore_internal.h"

/*
 * Births in pid namespaces of the tenant's own. Process 1 of one is born with CLONE_NEWPID by its parent, or, when
 * another user namespace owns it than its parent is in, by a maker that the parent has for that and that has
 * entered the user namespace: it and all that descend from it are there from their birth on. So processes come
 * before mounts and open files then, but for terminals (restore_open.c).
 */

/* Some process is in one, or its children would be. */
bool restore_is_nested(const struct restore *r);
/* Who is born where, with which numbers; before the plan is carried out. */
int restore_births_prepare(struct restore *r, struct err *e);
/* A birth of the plan: *ret is the host's pid. */
int restore_bear(struct restore *r, const struct ckpt_op *o, struct list *l, pid_t *ret,
		 struct err *e);
/* As `viewer` (an index of the plan) numbers the process or group of this number; 0: it does not see it. */
uint32_t restore_number_for(const struct restore *r, uint32_t number, size_t viewer);
/* A thread of `p`, which is in the user namespace `user` by now. */
int restore_bear_thread(struct restore *r, struct restoring *p, size_t i, uint32_t user,
			struct list *l, struct err *e);
/* Which pid namespace its threads' children will be in; `late` when it has all its threads, and its user namespace. */
int restore_children(struct restore *r, struct restoring *p, bool late, struct list *l,
		     struct err *e);
/* Keeps fds of all, in a process that sees the VPS's /proc. */
int restore_take_pidspaces(const struct restore *r, int proc, struct err *e);
/* Some tasks get their numbers by being the next: nobody who bears them may choose. */
bool restore_counts_up(const struct restore *r);
/* Which numbers are given next, in these and in the VPS's own: those of processes that have ended are not given
 * again too soon. And how high they go. */
int restore_settle_numbers(struct restore *r, struct err *e);
/* In the VPS's own where that can be said when files are opened, as it does not count who is born with a number of his
 * own (set_tid): by who opens them. */
int restore_settle_own_numbers(const struct restore *r, struct err *e);

/* Process 1 of a pid namespace, by its record's id; 0 is the VPS's own. */
struct restoring *restore_first_of(const struct restore *r, uint32_t space);
/* A task's number at a level: of those in nested namespaces, or at 0 that in the VPS's own. (restore_numbers.c) */
uint32_t restore_number_at(const uint32_t *numbers, size_t level, uint32_t number);
/* Those that are 0 become ones that nobody has. (restore_numbers.c) */
void restore_fill_numbers(const struct restore *r, uint32_t *numbers, size_t levels);

/* The user namespace `to`, with the identity of `t`, set as the one has it that `p` is in: in the other some ids may
 * have no number. (restore_join.c) */
void restore_enter_user(const struct restore *r, const struct restoring *p, const Ckpt__Thread *t,
			uint32_t to, struct list *l);
/* Namespaces other than of mounts that belong to whom it will have no rights over. (restore_join.c) */
void restore_join_outer(const struct restore *r, const Ckpt__Thread *t, uint32_t user,
			struct list *l);

#endif
