/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef CHECKPOINT_OPTWATCH_H
#define CHECKPOINT_OPTWATCH_H

#include "checkpoint/alike.h"
#include "checkpoint/internal.h"

/*
 * Options of TCP connections, read while the VPS runs. A hundred calls for each are most of what a connection costs, and
 * nearly always they tell at the stop what they told a moment ago. That they do is known: a program on the VPS's control
 * group (BPF_CGROUP_SETSOCKOPT, Linux 5.3) marks each socket of which an option is set meanwhile, by storage that hangs on
 * the socket itself (BPF_MAP_TYPE_SK_STORAGE, Linux 5.2) and goes with it. It changes nothing of the call, and goes with
 * its fd. Where there is none of that, or few connections, all is read at the stop.
 */
struct ckpt_optwatch;

/* Reads those of the connections that these processes have; into d->optwatch, NULL when nothing is known. */
void ckpt_optwatch_look(struct ckpt_dump *d, const pid_t *pids, size_t n);
/* When all is stopped: what a connection, an open file of ours, still has, but for what the kernel changes by itself. NULL: it
 * must be read. */
struct ckpt_alike_list *ckpt_optwatch_get(const struct ckpt_dump *d, int fd);
void ckpt_optwatch_done(struct ckpt_dump *d);

#endif
