/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef CHECKPOINT_GUARD_H
#define CHECKPOINT_GUARD_H

#include "base/err.h"

/*
 * While a TCP socket is in repair mode it is silent: an engine that died then would leave it so. A guard
 * is a process that shares the engine's memory and open files and does nothing but wait for its end: then it
 * takes the sockets out of repair mode that the engine had told it of, and freezes control groups again that are
 * thawed for a while (iced.h).
 */
struct ckpt_guard;
struct ckpt_guard *ckpt_guard_new(struct err *e);
/* Ends it. NULL is allowed. */
void ckpt_guard_free(struct ckpt_guard *g);
/* The socket, one's own fd, goes into repair mode, and comes out: SO_REUSEADDR is set to `reuse` then. */
int ckpt_guard_repair(struct ckpt_guard *g, int fd, int reuse);
int ckpt_guard_settle(struct ckpt_guard *g);
/* The cgroup.freeze of groups; the fds stay as they are until the guard ends or has been told to do it now. */
void ckpt_guard_freeze(struct ckpt_guard *g, const int *fds, size_t count);
void ckpt_guard_freeze_now(struct ckpt_guard *g);

#endif
