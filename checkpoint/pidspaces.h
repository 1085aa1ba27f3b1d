/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef CHECKPOINT_PIDSPACES_H
#define CHECKPOINT_PIDSPACES_H

#include "checkpoint/internal.h"

/*
 * Pid namespaces below the VPS's own. A process is known by its number in that (Process.pid and all that
 * refers to it); what it is numbered in those below stands beside it (Thread.numbers).
 */
#define CKPT_PID_LEVELS 32 /* MAX_PID_NS_LEVEL of the kernel */
#define CKPT_PID_MAX 4194304 /* PID_MAX_LIMIT */
#define CKPT_PID_MAX_LEAST 301 /* to which pid_max can be set */

/* In a namespace that nobody is in nobody can be: a thread's children to come begin it, or fail (ENOMEM). */
enum ckpt_pid_empty { CKPT_PID_NONE, CKPT_PID_UNBORN, CKPT_PID_DEAD, CKPT_PID_EMPTY_COUNT };

/* How many pid namespaces are above that of this process, as far as they are seen here. */
size_t ckpt_pid_level(pid_t pid);
/* Of a line of /proc/PID/status (NSpid and its like) the number at that level; 0: none. */
uint32_t ckpt_pid_number(const struct ckpt_status *s, const char *key, size_t level);
/* The number of process 1 of a pid namespace in the one above. */
uint32_t ckpt_pid_parents_number(pid_t pid);
/* The numbers below the VPS's own level, outermost first. -ENOMEM. */
int ckpt_pid_inner(struct ckpt_dump *d, const struct ckpt_status *s, const char *key,
		   uint32_t **ret, size_t *n);
/* The record of the pid namespace that one is in. Negative: *e is filled. */
int ckpt_pidspace_parent(struct ckpt_dump *d, int fd, struct err *e);
/* Which pid namespace the children of a thread will be in. */
int ckpt_pid_children(struct ckpt_dump *d, pid_t tid, Ckpt__Thread *t, struct err *e);
/* Where a zombie was. */
int ckpt_pid_of_zombie(struct ckpt_dump *d, const struct ckpt_task *parent, pid_t pid,
		       const struct ckpt_status *s, Ckpt__Zombie *z, struct err *e);

/* The pid namespace that a thread is in; 0: process 1's. */
uint32_t ckpt_pid_space(const struct ckpt_tree *t, const Ckpt__Thread *th);
/* True for process 1 of a nested one. */
bool ckpt_pid_is_first(const struct ckpt_tree *t, const Ckpt__Thread *th);
/* How many levels a pid namespace lies below process 1's. */
size_t ckpt_pid_depth(const struct ckpt_tree *t, uint32_t space);
/* True for the namespace itself and those below it; 0 is process 1's. */
bool ckpt_pid_is_below(const struct ckpt_tree *t, uint32_t space, uint32_t above);
/* Likewise of user namespaces. */
bool ckpt_user_is_below(const struct ckpt_tree *t, uint32_t space, uint32_t above);
/* An id of process 1's user namespace as another numbers it; UINT32_MAX: not at all. */
uint32_t ckpt_user_id(const struct ckpt_tree *t, uint32_t user, uint32_t id, bool is_group);
/* That what an image says of them holds together. (pidspaces_check.c) */
int ckpt_pidspaces_check(const struct ckpt_tree *t, struct err *e);
/* That the births of a plan can be made with the rights that there are then. ERR_UNSUPPORTED names who cannot be
 * born. (pidspaces_check.c) */
struct ckpt_plan;
int ckpt_births_check(const struct ckpt_tree *t, const struct ckpt_plan *p, struct err *e);

#endif
