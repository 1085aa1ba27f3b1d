/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef CHECKPOINT_URING_WAITING_H
#define CHECKPOINT_URING_WAITING_H

#include "base/err.h"

#include <linux/io_uring.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * Requests of io_uring(7) that wait for something that may never come: polls, time-outs, receives, accepts, reads of
 * what is empty. They are not waited for, and not cancelled, as a completion would tell of that. What was asked for is
 * in the kernel's memory. The thread asks for it again when it is restored: as the last of the requests that a ring's
 * count is made up with.
 *
 * A thread that runs our lists may complete one of them, and change files that have been looked at: so the same ones
 * must be there, and no completion have come, when rings are read (else the dump begins anew).
 */
typedef struct Ckpt__File Ckpt__File;
typedef struct Ckpt__Uring Ckpt__Uring;
struct ckpt_dump;
struct ckpt_kernel;
struct ckpt_seen;
struct ckpt_tree;
struct ckpt_uring_known;
struct list;
struct restore;
struct restoring;

/* So many of a ring, and of all rings together, none of which may keep the VPS stopped, or a restore busy, for long. */
#define CKPT_URING_ASKED_MAX 4096u
#define CKPT_URING_ASKED_ALL (4 * CKPT_URING_ASKED_MAX)

struct ckpt_uring_request {
	uint64_t at, tctx, file; /* the kernel's struct io_kiocb, io_uring_task, file or 0 */
	struct io_uring_sqe sqe; /* without a file */
	uint64_t time_ns;
};

/* Those of a ring (its struct io_ring_ctx) that can be made again. */
struct ckpt_uring_asked {
	struct ckpt_uring_request *list;
	size_t count, seen; /* that can; that were looked at */
	uint32_t cq_tail;   /* completions so far */
};
/* (uring_waiting.c) -EAGAIN: they change; -E2BIG: too many (or they change). Nothing is found where the kernel tells too
 * little (before Linux 6.13). */
int ckpt_uring_asked_find(struct ckpt_kernel *k, uint64_t ctx, struct ckpt_uring_asked *ret, struct err *e);
void ckpt_uring_asked_done(struct ckpt_uring_asked *a);
/* Whether none has gone, and nothing was completed. */
bool ckpt_uring_asked_same(const struct ckpt_uring_asked *a, const struct ckpt_uring_asked *b);

/* Those that were there when all else had ended, by ring, in the order of `ctx`. (uring_drain.c) */
struct ckpt_uring_left {
	struct ckpt_uring_left_ring {
		uint64_t ctx;
		struct ckpt_uring_asked asked;
	} *ring;
	size_t count, seen; /* rings; requests of all that were looked at */
	uint64_t all;       /* requests that are under way, others too */
};
/* NULL: that ring was not there. */
const struct ckpt_uring_asked *ckpt_uring_left_of(const struct ckpt_uring_left *l, uint64_t ctx);
bool ckpt_uring_left_same(const struct ckpt_uring_left *a, const struct ckpt_uring_left *b);
void ckpt_uring_left_done(struct ckpt_uring_left *l);

/* Into the ring's record; the kernel has the ring's open file `at`. (uring_again.c) */
int ckpt_uring_asked_collect(struct ckpt_dump *d, const Ckpt__File *f, const struct ckpt_seen *s, uint64_t ctx,
			     const struct ckpt_uring_known *known, uint64_t at, struct err *e);
/* All of an image. */
int ckpt_uring_asked_check(const struct ckpt_tree *t, struct err *e);
/* What a process's threads asked for, when it has all else. */
int restore_uring_requests(struct restore *r, struct restoring *p, struct list *l, struct err *e);

#endif
