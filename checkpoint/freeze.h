/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef CHECKPOINT_FREEZE_H
#define CHECKPOINT_FREEZE_H

#include "base/err.h"
#include "cgroup/cgroup.h"
#include "checkpoint/iced.h"
#include "checkpoint/timeouts.h"

#include <stdbool.h>
#include <sys/types.h>

/*
 * One process, all of whose threads are stopped by us; tids[0] is the first thread's. Where that has ended before the
 * others it is a zombie in which there is nothing to be seen (/proc/PID has no memory, files, namespaces): `pid` is
 * that of a thread that lives, by whose number all of /proc/PID can be looked at, too.
 */
struct ckpt_process {
	pid_t pid;
	pid_t leader; /* the process's own number; pid, or that of a thread that has ended */
	pid_t *tids;
	size_t count;
	const uint64_t *stat; /* the numbers of /proc/PID/stat, from ckpt_order() on: the arena's */
	int stop_signal; /* what it had been stopped by before (SIGSTOP and the like); 0: it ran */
};

struct ckpt_frozen {
	struct ckpt_process *procs;
	size_t count;
	struct ckpt_iced iced;
	bool shared; /* some of them may share their memory */
	struct ckpt_timeouts timeouts;
	unsigned stops; /* how often a thread goes to sleep until it is stopped: in the freezer and for its tracer, or once */
};

/*
 * Stops every thread of every process in the group and the groups below it, in PTRACE_EVENT_STOP,
 * traced by the calling thread. The group is frozen while that is done, and thawed afterwards (a
 * frozen task cannot run a list of calls), with what the tenant has frozen in it: what enters it later is not stopped. An interrupted call
 * that the kernel would end with EINTR though no handler ran (epoll_wait(2), see signal(7)) is
 * marked to be issued again.
 *
 * *ret is zeroed, or what ckpt_freeze_look() has left. On failure everything runs on as before, and it is zeroed. ERR_TIMEOUT when a task does not stop, ERR_STATE when one
 * is traced by somebody else.
 */
int ckpt_freeze(const struct cgroup *c, struct ckpt_frozen *ret, struct err *e);

/* Right before, while all runs: who waits with a time-out that a stop interrupts (timeouts.h). */
void ckpt_freeze_look(const struct cgroup *c, struct ckpt_frozen *f);

/* The same for one process that runs on meanwhile in a running group; it may have ended: no process. */
int ckpt_freeze_one(pid_t pid, struct ckpt_frozen *ret, struct err *e);

/* The processes of the group and of those below it, as they are now; the caller frees them. */
int ckpt_list(const struct cgroup *c, pid_t **ret, size_t *count, struct err *e);

/* Whether that process (`leader`) is among them. *at is where it was, and where to look first. */
bool ckpt_is_frozen(const struct ckpt_frozen *f, pid_t pid, size_t *at);

/* Lets all of them go. Idempotent. */
void ckpt_unfreeze(struct ckpt_frozen *f);

/* As ckpt_unfreeze() after all have been killed. Waits until they are gone, but for children of the
 * caller. */
void ckpt_frozen_reap(struct ckpt_frozen *f);

#endif
