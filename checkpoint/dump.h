/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef CHECKPOINT_DUMP_H
#define CHECKPOINT_DUMP_H

#include "base/err.h"
#include "cgroup/cgroup.h"
#include "checkpoint/image/image.h"
#include "checkpoint/progress.h"
#include "runtime/spec.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct ckpt_dump_options {
	const struct rt_spec *spec; /* as it was started: its name, its volumes */
	const char *id;             /* the image's, a UUID; NULL: it has none */
	bool files;                 /* the VPS's files follow the stream: said in its header */
	enum ckpt_compression compression;
	bool paused;            /* its holder keeps it frozen: so it is again after an abort */
	bool durable;           /* fsync before the stream counts as written */
	bool leave_running;     /* ckpt_dump() alone */
	const struct ckpt_progress *progress; /* NULL: nobody asks */
	/* Called once all stands still, before the rest of the stream is written: what else is to be
	 * saved of this instant (files). Its failure is the dump's. Called again when the VPS had to go on for some
	 * milliseconds, for what had to be finished first. May be NULL. */
	int (*stopped)(void *arg, struct err *e);
	/* Called after each `stopped` that succeeded, when all has been looked at or that has failed, and before the rest of the
	 * stream is written or the VPS goes on: what `stopped` has left to be done meanwhile is done. May be NULL. */
	int (*settled)(void *arg, struct err *e);
	void *stopped_arg; /* of both */
	/* Called when a VPS that was only looked at goes on, its connections too. Or NULL. */
	void (*goes_on)(void *stopped_arg);
};

struct ckpt_dump_result {
	uint64_t frozen_us, bytes; /* frozen_us: until the stream was written */
	size_t processes, threads, files;
};

/*
 * Saves the processes of a VPS in two phases. `init` is the host's pid of its process 1, `c` its group;
 * `c`, what it points to and `o` must outlive the handle. ptrace(2) is bound to threads: all calls for
 * one handle are made by the same one.
 *
 * Prepare stops the VPS and writes the whole stream to `fd`, trailer included. Nothing inside runs from
 * then on until one of the two below. On failure (ERR_UNSUPPORTED with the object, pid and fd when
 * something cannot be saved, ERR_CANCELLED) the VPS runs on as if nothing had been; what was written to
 * `fd` is no image, as it has no trailer. `result` may be NULL.
 *
 * It may use all of the host's processors meanwhile (rt_hurry()); who lets it run on sees to it that it
 * gets its own share again.
 *
 * An engine that dies before the commit leaves the VPS running untouched, unless it is held.
 */
struct ckpt_dump;
int ckpt_dump_prepare(const struct cgroup *c, pid_t init, int fd, const struct ckpt_dump_options *o,
		      struct ckpt_dump **ret, struct ckpt_dump_result *result, struct err *e);

/*
 * From here on an engine that dies leaves the VPS frozen (cgroup.freeze), not running: for a switch-over
 * whose source may never go on by itself. Who finds it so decides: cgroup_thaw() lets it run on
 * untouched, cgroup_kill() ends it. On failure it is not held.
 */
int ckpt_dump_hold(struct ckpt_dump *d, struct err *e);

/* Kills and reaps everything in the group, and frees the handle. On failure nothing was killed, and the
 * handle is as before. */
int ckpt_dump_commit(struct ckpt_dump *d, struct err *e);
/* Lets the VPS run on, untouched, and frees the handle. NULL is allowed. */
void ckpt_dump_abort(struct ckpt_dump *d);

/* Both phases at once: prepare, then commit or, with `leave_running`, abort. */
int ckpt_dump(const struct cgroup *c, pid_t init, int fd, const struct ckpt_dump_options *o,
	      struct ckpt_dump_result *ret, struct err *e);

#endif
