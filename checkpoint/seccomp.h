/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef CHECKPOINT_SECCOMP_H
#define CHECKPOINT_SECCOMP_H

#include "base/err.h"
#include "checkpoint/tree.h"

#include <sys/types.h>

/*
 * The system call filters that tasks put on themselves, above those that the runtime and the machine put
 * on the whole VPS (those come from the local start, never from an image). A task's filters are a chain
 * that its children inherit; which of two equal chains are one in the kernel cannot be seen, so equal
 * beginnings are taken as inherited, and are again when they are restored.
 */
struct ckpt_dump;
struct list;

/* Fills t->seccomp of a stopped thread that has `count` filters in all (seccomp(2),
 * PTRACE_SECCOMP_GET_FILTER, Linux 4.4: for a tracer with CAP_SYS_ADMIN and without filters). */
int ckpt_seccomp_collect(struct ckpt_dump *d, pid_t tid, unsigned count, Ckpt__Thread *t,
			 struct err *e);

/* That the filters of an image's thread are there and may be programs. */
int ckpt_seccomp_check(const struct ckpt_tree *t, const Ckpt__Thread *th, struct err *e);

/* How many filters both begin with. */
size_t ckpt_seccomp_common(const Ckpt__Thread *a, const Ckpt__Thread *b);

/* The thread whose list it is puts its filters from `from` up to `to` on itself. Those that do not fit into
 * the list are left: the result is the first that was not put. Needs CAP_SYS_ADMIN or no_new_privs. */
size_t ckpt_seccomp_put(const struct ckpt_tree *t, const Ckpt__Thread *th, size_t from, size_t to,
			struct list *l);

#endif
