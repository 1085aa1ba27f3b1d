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

/* Waits, up to a second at a time in which none ends, up to five in all; but not for requests that can be made again
 * (uring_waiting.h). ERR_UNSUPPORTED, with the process: its requests do not end, or are too many. Where the kernel's memory may not be read (kernel.h) nothing is done. */
int ckpt_drain(struct ckpt_dump *d, struct err *e);
/* For who meets a ring or a context: an error when that was not done. */
int ckpt_drained(struct ckpt_dump *d, struct err *e);

/* Threads that have had to do with an io_uring at any time, process by process, and the rings that they have open.
 * (uring_find.c) */
struct ckpt_uring_waits {
	struct ckpt_uring_wait {
		size_t process; /* of those that are frozen */
		pid_t tid;
		uint64_t task, tctx; /* its struct task_struct, and io_uring_task */
		size_t table;
		size_t serves;  /* of its table's rings the first that it serves; 0: none, else from 1 on */
	} *list;
	size_t count;
	struct ckpt_uring_table {
		uint64_t files; /* the kernel's files_struct */
		size_t owner;   /* one of `list` that has it */
		struct ckpt_uring_open {
			int fd;
			uint64_t ctx;
			size_t next; /* that the same one serves */
		} *ring;
		size_t count;
	} *tables;
	size_t table_count;
	struct ckpt_uring_key {
		uint64_t at;  /* in the kernel's memory */
		size_t of;
	} *by_tctx, *by_task; /* as many as `list` */
	struct ckpt_uring_key *threads; /* all, by their task_struct: their tids */
	size_t thread_count;
	struct ckpt_uring_key *rings; /* by their `ctx`, each once, and a table that it is in */
	size_t ring_count;
};
int ckpt_uring_waits_find(struct ckpt_dump *d, struct ckpt_uring_waits *w, struct err *e);
void ckpt_uring_waits_done(struct ckpt_uring_waits *w);
/* NULL: nobody. By the thread's io_uring_task, or task_struct. */
const struct ckpt_uring_wait *ckpt_uring_waits_of(const struct ckpt_uring_waits *w, uint64_t tctx);
const struct ckpt_uring_wait *ckpt_uring_waits_of_task(const struct ckpt_uring_waits *w, uint64_t task);
/* Of any thread, by its task_struct; 0: it is nobody's. */
pid_t ckpt_uring_waits_tid(const struct ckpt_uring_waits *w, uint64_t task);
/* (uring_drain.c) */
/* How many requests are under way, *ret_who one that has made some of them, and what is left that need not end. -EAGAIN
 * and -E2BIG as of ckpt_uring_asked_find(), *ret_who has that ring open. */
int ckpt_uring_waits_count(struct ckpt_dump *d, const struct ckpt_uring_waits *w, uint64_t *ret,
			   const struct ckpt_uring_wait **ret_who, struct ckpt_uring_left *ret_left, struct err *e);
/* Lets them put into their rings what is complete, which they do themselves on their way out of a call. */
int ckpt_uring_waits_serve(struct ckpt_dump *d, const struct ckpt_uring_waits *w, struct err *e);

/* How many requests of its contexts are under way. (aio.c) */
int ckpt_aio_pending(struct ckpt_dump *d, pid_t pid, uint64_t *ret, struct err *e);

#endif
