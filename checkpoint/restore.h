/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef CHECKPOINT_RESTORE_H
#define CHECKPOINT_RESTORE_H

#include "base/err.h"
#include "checkpoint/progress.h"
#include "runtime/vps.h"

/*
 * Builds the VPS `spec` with the processes of the stream that `fd` holds, in the place of init. Namespaces, limits,
 * seccomp and devices are the spec's, never the stream's. `stdio` and `prepared` as for rt_start(); `spec` must outlive the VPS.
 * ptrace(2) is bound to threads: all calls for one handle are made by the same one.
 *
 * Prepare reads to the trailer (of a pipe or socket perhaps what follows it, too) and returns when everything is
 * there, found good and stopped: nothing of it has run. A stream with rounds of pre-copy (precopy.h) is read as it
 * comes: memory is put in place while the source runs. On failure no process and no kernel object is left.
 *
 * If the engine dies before the commit, everything is killed with it.
 */
struct ckpt_restore;
int ckpt_restore_prepare(const struct rt_spec *spec, const struct rt_stdio *stdio, struct rt_vps *prepared, int fd,
			 const struct ckpt_progress *progress, struct ckpt_restore **ret, struct err *e);

/* What was built, for its cgroup and network: stays the handle's until the commit. */
struct rt_vps *ckpt_restore_vps(const struct ckpt_restore *r);

/*
 * Lets all of it run at the same instant: the write that thaws its group. An engine that dies in here
 * leaves a VPS that has not run at all (killed, or frozen) or one that runs. With `paused` its group stays
 * frozen: the holder thaws it. On success the handle is good for ckpt_restore_free() alone, which takes milliseconds
 * after many rounds and can wait until nobody waits for the VPS; on failure nothing is left, as after an abort.
 */
int ckpt_restore_commit(struct ckpt_restore *r, bool paused, struct rt_vps **ret, struct err *e);
void ckpt_restore_free(struct ckpt_restore *r); /* NULL is allowed */
/* Nothing is left, and the handle is freed. NULL is allowed. */
void ckpt_restore_abort(struct ckpt_restore *r);

/* Both phases at once. */
int ckpt_restore(const struct rt_spec *spec, const struct rt_stdio *stdio, int fd, struct rt_vps **ret,
		 struct err *e);

#endif
