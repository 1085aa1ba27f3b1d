/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef CHECKPOINT_RESTORE_EARLY_H
#define CHECKPOINT_RESTORE_EARLY_H

#include "checkpoint/loose.h"
#include "checkpoint/restore_internal.h"
#include "checkpoint/scan.h"

#include <pthread.h>

/*
 * What a pre-copy has built before the tree of processes is known: the VPS, and processes with nothing but
 * memory, born as their parents and sessions were when they were first told of. When the tree is there, those
 * that could be born in the same way become its processes, with the memory that they have; of others the
 * pages are taken out and put where they belong.
 */
struct early {
	uint32_t mm, pid, ppid, sid;
	struct early *parent;      /* or NULL */
	bool born, tried, leads;   /* `leads`: it has begun a session */
	bool terminal;             /* inherited at birth from a leader who has it: not before that is there */
	bool kept;                 /* it has become one of the tree's */
	uint32_t session, login;
	uint32_t heir_of;          /* address space that it has pages from */
	struct ckpt_ranges inherited; /* these, until it has been born or they were copied */
	struct ckpt_ranges wanted, mapped; /* private anonymous areas, with flags of mmap(2) */
	struct ckpt_ranges huge;   /* pages that these have, of huge ones */
	struct ckpt_ranges filled; /* where pages were put, perhaps twice; no other is there */
	size_t filled_room;        /* when there are as many pieces they are put in order */
	struct restoring p;
	struct ckpt_task task;
	struct ckpt_thread thread;
};

struct early_shmem {
	int fd;
	uint64_t size;
	uint32_t huge;
	int its;                   /* its number in process 1 */
	bool file;                 /* it lies in memory that is mounted (early_files.c) */
	struct ckpt_ranges taken;  /* of such: pages that process 1 has taken, so that the VPS pays for them */
};

/* A tmpfs that is mounted nowhere yet. */
struct early_mount {
	char *place;
	int fd, its;               /* ours; its number in process 1 */
};

struct early_set {
	struct early **all;        /* by age: parents before children */
	size_t count;
	bool changed;              /* some have been told of since they were looked at */
	struct early_shmem *shmems;
	size_t shmem_count;
	struct early_mount *mounts;
	size_t mount_count;
	char dir[40];              /* of files (struct ckpt_placed); "": there are none */
	struct ckpt_netlook *look; /* of process 1's network; NULL: it is the host's */
	struct ckpt_loose *loose;
	pthread_mutex_t lock;      /* of `loose`, and of all `filled` */
};

/* By its pid, or its number as an address space; NULL. (restore_early.c) */
struct early *early_by_pid(const struct early_set *s, uint32_t pid);
struct early *early_by_mm(const struct early_set *s, uint64_t mm);

/* Unmaps what is mapped and not wanted, maps the rest; `mapped` is as `wanted` then. While the VPS is not
 * complete, children are kept from inheriting it: it is theirs no more than its pages. (early_memory.c) */
int early_sync(struct restore *r, struct early *w, struct restoring *p, bool inherit, struct list *l,
	       struct err *e);
/* The same, when the caller runs the list. */
int early_sync_later(struct restore *r, struct early *w, struct restoring *p, bool inherit, struct list *l,
		     struct err *e);
/* What a child inherits of its parent: before and after its birth; that it shall, and does not. (early_heirs.c) */
int early_bequeath(struct restore *r, struct early *w, struct early *parent, struct list *l, struct err *e);
int early_inherit(struct restore *r, struct early *w, struct early *parent, struct list *l, struct err *e);
int early_copy_inherited(struct restore *r, uint64_t mm, uint64_t from, const struct ckpt_ranges *pages, struct err *e);
/* A page, or zeros, that has no place yet. (early_memory.c) */
int early_keep_loose(struct early_set *s, uint64_t mm, uint64_t at, uint64_t end, const uint8_t *data);
/* Pages, from any thread. (early_memory.c) */
restore_put early_put;
/* What is in its memory becomes loose. (early_memory.c) */
int early_salvage(struct restore *r, struct early *w, struct err *e);
/* Drops the pages of its mapped memory that are not in `there`. (early_memory.c) */
int early_drop(struct restore *r, struct restoring *p, const struct ckpt_ranges *there, struct list *l, struct err *e);
/* The same of what lies between two addresses. What it has is what was put there: the page tables of all of it are not
 * looked at in the pause. (early_memory.c) */
int early_drop_filled(struct restore *r, struct restoring *p, uint64_t first, uint64_t last,
		      const struct ckpt_ranges *there, struct list *l, struct err *e);
/* Takes an open file of process 1's. (restore_early.c) */
int early_take_fd(const struct early *first, int its, struct err *e);
/* An open file for what the source has in a file system in memory: in the runtime's, or a new one. -EXDEV without *e: there
 * can be none.
 * Process 1 takes the pages that it is said to have; whether these are among them, from any thread. When the tree is there it
 * is told where they are. (early_files.c) */
int early_file_make(struct restore *r, const Ckpt__Shmem *m, uint64_t id, int *ret_its, struct list *l, struct err *e);
int early_file_take(struct restore *r, struct early_shmem *s, const Ckpt__Shmem *m, struct list *l, struct err *e);
bool early_file_has(const struct early_shmem *s, uint64_t at, uint64_t end);
int early_files_settle(struct restore *r, struct err *e);
/* A tmpfs for files that are said to be in one which is mounted at `place`: 1: there can be none. (early_mounts.c) */
int early_mount_open(struct restore *r, struct early *first, const char *place, int *ret_its, struct list *l,
		     struct err *e);
void early_mounts_done(struct early_set *s);
/* Remembers that pages were put there; with the lock. (early_memory.c) */
int early_note_filled(struct early *w, uint64_t start, uint64_t end);

#endif
