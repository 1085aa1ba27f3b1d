/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef CHECKPOINT_DRAIN_H
#define CHECKPOINT_DRAIN_H

#include "base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/*
 * Requests of io_uring(7) and asynchronous I/O (io_submit(2)) go on while the processes that made them are stopped, and
 * change files, their positions, eventfds, pipes, sockets, tables of open files. So they are waited for when all has
 * stopped and before anything is looked at. Nothing new is asked for meanwhile; who waits for another's request is
 * served by that.
 */
struct ckpt_batch;
struct ckpt_dump;
struct ckpt_frozen;
struct ckpt_thread;
struct ckpt_uring_left;

/* Waits up to a second, but not for requests that can be made again (uring_waiting.h). ERR_UNSUPPORTED, with the process:
 * its requests do not end. Where the kernel's memory may not be read (kernel.h) nothing is done: contexts and rings are refused when they are met. */
int ckpt_drain(struct ckpt_dump *d, struct err *e);

/* Threads that have had to do with an io_uring at any time. (uring_drain.c) */
struct ckpt_uring_waits {
	struct ckpt_uring_wait {
		size_t process; /* of those that are frozen */
		pid_t tid;
		uint64_t tctx;  /* its struct io_uring_task */
		size_t table;
	} *list;
	size_t count;
	struct ckpt_uring_table {
		uint64_t files; /* the kernel's files_struct */
		struct {
			int fd;
			uint64_t ctx;
		} *ring;
		size_t count;
	} *tables;
	size_t table_count;
};
int ckpt_uring_waits_find(struct ckpt_dump *d, struct ckpt_uring_waits *w, struct err *e);
void ckpt_uring_waits_done(struct ckpt_uring_waits *w);
/* How many requests are under way, *ret_who one that has made some of them, and what is left that need not end. */
int ckpt_uring_waits_count(struct ckpt_dump *d, const struct ckpt_uring_waits *w, uint64_t *ret,
			   const struct ckpt_uring_wait **ret_who, struct ckpt_uring_left *ret_left, struct err *e);
/* Lets them put into their rings what is complete, which they do themselves on their way out of a call. */
int ckpt_uring_waits_serve(struct ckpt_dump *d, const struct ckpt_uring_waits *w, struct err *e);

/* How many requests of its contexts are under way. (aio.c) */
int ckpt_aio_pending(struct ckpt_dump *d, pid_t pid, uint64_t *ret, struct err *e);

#endif
