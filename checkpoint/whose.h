/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef CHECKPOINT_WHOSE_H
#define CHECKPOINT_WHOSE_H

#include "checkpoint/tree.h"

/*
 * Threads by their numbers, and open files by their tables: for who looks for one of many many times, while a VPS stands
 * still. Made when all are known, and let go of by its maker.
 */
typedef struct Ckpt__Fd Ckpt__Fd;

enum ckpt_whose_by {
	CKPT_BY_HOST,  /* the host's number of a thread */
	CKPT_BY_TID,   /* the VPS's */
	CKPT_BY_GROUP, /* the host's of a process group, of which one process is found */
};

struct ckpt_whose {
	struct ckpt_whose_thread {
		uint32_t number;
		const struct ckpt_task *task;
		size_t thread; /* of its threads */
	} *list;
	size_t count;
};

/* -ENOMEM. */
int ckpt_whose_make(const struct ckpt_tree *t, enum ckpt_whose_by by, struct ckpt_whose *ret);
/* NULL: nobody's. */
const struct ckpt_whose_thread *ckpt_whose_find(const struct ckpt_whose *w, uint32_t number);
void ckpt_whose_done(struct ckpt_whose *w);

/* What is open in all tables of open files, by a key that the maker gives each; 0: it is left out. */
struct ckpt_opened {
	struct ckpt_opened_fd {
		const Ckpt__FdTable *table;
		uint64_t key;
		uint32_t fd;
	} *list;
	size_t count;
};

int ckpt_opened_make(const struct ckpt_tree *t, uint64_t (*key)(const void *arg, const Ckpt__Fd *fd), const void *arg,
		     struct ckpt_opened *ret);
/* The lowest fd of that key; -1: there is none. */
int64_t ckpt_opened_find(const struct ckpt_opened *o, const Ckpt__FdTable *table, uint64_t key);
void ckpt_opened_done(struct ckpt_opened *o);

#endif
