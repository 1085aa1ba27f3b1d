/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef CHECKPOINT_PRECOPY_H
#define CHECKPOINT_PRECOPY_H

#include "base/err.h"
#include "checkpoint/dump.h"

#include <stdint.h>

/*
 * Memory that is sent while the VPS runs, so that the pause carries only what was written last. The
 * reader of the stream is ckpt_restore_prepare(), which puts pages in place as they come.
 *
 *   ckpt_precopy_open()      rounds of ckpt_precopy_round(), until few pages are left
 *   ckpt_precopy_finish()    as ckpt_dump_prepare(): the VPS stands, the stream is complete
 *   ckpt_dump_commit() or ckpt_dump_abort(), then ckpt_precopy_close()
 *
 * Writes are seen by userfaultfd(2) in its asynchronous write-protect mode (UFFD_FEATURE_WP_ASYNC) and
 * PAGEMAP_SCAN, both of Linux 6.7: each process is stopped for a moment when it is first met, and pays
 * about a microsecond for the first write to a page in a round. What a process maps later, processes
 * that are born, executed anew or moved with mremap(2) are met in the next round. Without the former,
 * soft-dirty marks tell, and all stands still at the beginning of each round (softdirty.h).
 *
 * All calls for one handle are made by the same thread.
 */
struct ckpt_precopy;

struct ckpt_precopy_stats {
	unsigned round;         /* from 1 on */
	uint64_t pages, bytes;  /* written to the stream in this round */
	uint64_t duration_us;
	uint64_t dirty_pages;   /* written to since the round began: what the next would send */
};

/* Nothing is touched yet. ERR_UNSUPPORTED when this kernel cannot see writes: ckpt_dump_prepare() then
 * sends everything in the pause. ERR_STATE when its group is frozen, as a paused VPS's, or one's whose engine
 * died in a freeze: thaw it or do without. Arguments as for ckpt_dump_prepare(). */
int ckpt_precopy_open(const struct cgroup *c, pid_t init, int fd, const struct ckpt_dump_options *o,
		      struct ckpt_precopy **ret, struct err *e);

/* To be called once, before the first round, when the reader is known to have read what ckpt_precopy_open() wrote: the clocks
 * begin there with what they are here now. */
int ckpt_precopy_clocks(struct ckpt_precopy *p, struct err *e);
/* Sends what was written since the last round; all memory in the first. Who reads the stream slowly
 * sets the pace. On failure (ERR_CANCELLED) the VPS runs on, and the stream is worthless. */
int ckpt_precopy_round(struct ckpt_precopy *p, struct ckpt_precopy_stats *ret, struct err *e);

/* Stops the VPS and completes the stream. On failure the VPS runs on. */
int ckpt_precopy_finish(struct ckpt_precopy *p, struct ckpt_dump **ret,
			struct ckpt_dump_result *result, struct err *e);

/* Writes are no longer watched, and the VPS keeps no trace of it. The dump's handle must be gone. */
void ckpt_precopy_close(struct ckpt_precopy *p);

#endif
