/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef CHECKPOINT_URING_H
#define CHECKPOINT_URING_H

#include "checkpoint/whose.h"

#include <linux/io_uring.h>
#include <stdbool.h>
#include <stddef.h>

/*
 * io_uring(7). A ring is an open file that two pieces of the kernel's memory belong to, which processes map: positions,
 * indexes and completions; and requests. The kernel counts requests and completions by itself as well, and nobody can
 * set that: a new ring is given so many that do nothing. What is under way is waited for before (drain.h).
 *
 * Threads of the kernel's, which do what would make the caller wait, belong to the process that asked for it. They are
 * not saved: they come as they are needed.
 */
typedef struct Ckpt__Uring Ckpt__Uring;
struct ckpt_batch;
struct ckpt_dump;
struct ckpt_late;
struct ckpt_seen;
struct ckpt_task;
struct ckpt_thread;
struct list;
struct restore;
struct restoring;

#define CKPT_URING_NAME "anon_inode:[io_uring]" /* of the file, and of what is mapped of it */
/* Requests of a ring's life, each of which takes some 60 ns to be made up for. */
#define CKPT_URING_AGE_MAX (1u << 28)
/* Of a ring for one thread alone, which makes up for them itself: calls, some microseconds each. */
#define CKPT_URING_CALLS_MAX (1u << 21)

/* Newer than some headers: Linux 6.5, 6.6. */
#define CKPT_URING_NO_MMAP (1u << 14)
#define CKPT_URING_NO_SQARRAY (1u << 16)
/* IORING_SETUP_* that rings are made again with. */
#define CKPT_URING_SAVED                                                                                              \
	(IORING_SETUP_CQSIZE | IORING_SETUP_CLAMP | IORING_SETUP_R_DISABLED | IORING_SETUP_SUBMIT_ALL |                \
	 IORING_SETUP_COOP_TASKRUN | IORING_SETUP_TASKRUN_FLAG | IORING_SETUP_SQE128 | IORING_SETUP_CQE32 |            \
	 IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN | CKPT_URING_NO_SQARRAY)

/* A ring of ours that is mapped. */
struct ckpt_uring {
	int fd;
	struct io_uring_params params;
	void *ring, *sqes; /* NULL: not mapped */
	size_t ring_size, sqes_size;
};

/* Where the kernel's memory may not be read: whether a thread has had to do with a ring at any time. It need not have one
 * open: what is registered with it holds one, too. (kinds/uring.c) */
int ckpt_uring_notice(struct ckpt_dump *d, struct ckpt_batch *b, struct ckpt_thread *th, struct err *e);
/* When nothing is under way: what rings hold, and who has mapped them. */
int ckpt_uring_resolve(struct ckpt_dump *d, struct err *e);

/* Then: what is registered with them, and which of them with threads. (uring_registered.c) */
int ckpt_uring_registered(struct ckpt_dump *d, struct err *e);
bool ckpt_uring_files_fit(const struct ckpt_tree *t, const Ckpt__Uring *u);
int ckpt_uring_late(struct ckpt_late *q, const Ckpt__File *f, struct err *e);
/* The task_struct of a stopped thread. (kinds/uring.c) */
int ckpt_uring_thread(struct ckpt_dump *d, pid_t tid, uint64_t *ret, struct err *e);
/* The struct io_uring_task of a stopped thread; 0: it has none. (kinds/uring.c) */
int ckpt_uring_task(struct ckpt_dump *d, pid_t tid, uint64_t *ret, struct err *e);

/* A new one, of ours; and one that is there, as such a one is laid out. Sizes and flags are those of the image.
 * (kinds/uring_open.c) */
int ckpt_uring_setup(struct ckpt_uring *u, const Ckpt__Uring *as, struct err *e);
int ckpt_uring_map(struct ckpt_uring *u, struct err *e);
/* One that has been through what that of the image has; its fd. `compat`: as a 32-bit program makes it. */
int ckpt_uring_open(const Ckpt__Uring *as, bool compat, struct err *e);
void ckpt_uring_unmap(struct ckpt_uring *u);
/* One that a task has open, mapped by us, until it is given up. *u is filled in any case. */
int ckpt_uring_take(struct ckpt_uring *u, const Ckpt__Uring *as, pid_t tid, int fd, struct err *e);
void ckpt_uring_give_up(struct ckpt_uring *u);
/* As it was before the requests that wait (uring_waiting.h) were made. */
Ckpt__Uring ckpt_uring_before(const Ckpt__Uring *as);
/* A request of one that is mapped, with so many in front of it, fewer than it has entries; and what was there before,
 * which is put back in reverse order. */
struct ckpt_uring_place {
	uint32_t slot, index, tail;
	struct io_uring_sqe sqe;
};
void ckpt_uring_put(const struct ckpt_uring *u, const struct io_uring_sqe *sqe, uint32_t behind,
		    struct ckpt_uring_place *ret);
void ckpt_uring_put_back(const struct ckpt_uring *u, const struct ckpt_uring_place *was);
/* One that is mapped: requests that do nothing, so many, ready to be submitted step by step; with the completions of
 * each taken out before the next. Then, when they are through, its contents. */
uint32_t ckpt_uring_step(const Ckpt__Uring *as);
void ckpt_uring_ready(struct ckpt_uring *u, bool silent, uint32_t times);
int ckpt_uring_finish(struct ckpt_uring *u, const Ckpt__Uring *as, struct err *e);

/* Whose threads are whose, by the host's numbers, and what is open where, by where the kernel has it. (uring_registered.c) */
struct ckpt_uring_known {
	struct ckpt_whose threads;
	struct ckpt_opened open;
};

/*
 * Rings for one thread alone (IORING_SETUP_SINGLE_ISSUER, DEFER_TASKRUN; Linux 6.0), which that thread enables and makes
 * up for what it has served. (uring_owner.c)
 */
int ckpt_uring_owner_collect(struct ckpt_dump *d, const Ckpt__File *f, const struct ckpt_seen *s, uint64_t ctx,
			     const struct ckpt_uring_known *known, uint64_t at, struct err *e);
bool ckpt_uring_owner_fits(const struct ckpt_tree *t, const Ckpt__File *f);
int restore_uring_owned(struct restore *r, struct restoring *p, size_t thread, struct list *l, struct err *e);
bool ckpt_uring_is(const struct ckpt_tree *t, const Ckpt__Area *a);
bool ckpt_uring_fits(const struct ckpt_tree *t, const Ckpt__Area *a);
int ckpt_uring_check(const struct ckpt_tree *t, const Ckpt__File *f, struct err *e);
/* All rings of an image together are made up for within the bounds of one, too: adds a ring; false: that is too much. */
struct ckpt_uring_cost {
	uint64_t requests, calls;
};
bool ckpt_uring_afford(struct ckpt_uring_cost *c, const Ckpt__Uring *u);
/* That there is none where the VPS is not given the feature, and not too much to make up for. */
int ckpt_uring_allow(const struct ckpt_tree *t, bool given, struct err *e);
/* Rings that threads have registered, and name by their places: on a dump, by where the kernel has which open file
 * (`file_at`, as tree.files, 0 where that is not known). (uring_rings.c) */
int ckpt_uring_rings_collect(struct ckpt_dump *d, const uint64_t *file_at, struct err *e);
/* The open files of a thread: its own table, or that of its process. (uring_rings.c) */
const Ckpt__FdTable *ckpt_uring_table(const struct ckpt_task *k, const Ckpt__Thread *th);
/* The fd by which a ring is open there; negative: it is not. (uring_rings.c) */
int64_t ckpt_uring_find(const struct ckpt_tree *t, const Ckpt__FdTable *table, const Ckpt__File *f);
int ckpt_uring_rings_check(const struct ckpt_tree *t, const struct ckpt_task *k, const Ckpt__Thread *th, struct err *e);
/* The thread does it, when its fds are there. */
void restore_uring_rings(const Ckpt__Thread *th, struct list *l);
/* Maps rings, when all other memory of a process has its place. (uring_areas.c) */
int restore_uring_areas(struct restore *r, struct restoring *p, struct list *l, struct err *e);

#endif
