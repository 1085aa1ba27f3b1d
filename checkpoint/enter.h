/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef CHECKPOINT_ENTER_H
#define CHECKPOINT_ENTER_H

#include "base/err.h"
#include "checkpoint/spaces.h"

#include <stddef.h>

/*
 * Runs a function in a child that shares the caller's memory and fds, but has namespaces, root,
 * working directory and identity of its own; the caller waits. It enters the namespaces first, in
 * the order given (-EBADF: skipped), and becomes root where one of them is a user namespace; where
 * one is a pid namespace the function runs in a child of that child, which has a number there. What
 * the function returns is returned. It must not start threads, nor leave things to atexit(3).
 */
int ckpt_within(const int *spaces, size_t count, int (*run)(void *arg, struct err *e), void *arg,
		struct err *e);

/* In no other namespaces: once begun it is done to its end, though the caller be killed meanwhile (CLONE_VFORK waits, the
 * child does not die with who waits for it: clone(2)). 40 us. */
int ckpt_outlive(int (*run)(void *arg, struct err *e), void *arg, struct err *e);

/*
 * The same in this very thread, which goes into the namespace and comes back: a tenth of the time. For those that
 * a thread can leave again, of_thread in ckpt_space_types.
 */
int ckpt_visit(enum ckpt_space_kind kind, int space, int (*run)(void *arg, struct err *e), void *arg, struct err *e);

/* An fd of a namespace of a process, "mnt" or the like (namespaces(7)). */
int ckpt_space_open(int pid, const char *name, struct err *e);

#endif
