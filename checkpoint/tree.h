/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef CHECKPOINT_TREE_H
#define CHECKPOINT_TREE_H

#include "base/err.h"
#include "checkpoint/image/image.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* Messages, from image.proto: checkpoint/image.pb-c.h, which is made by the build, has them. */
typedef struct Ckpt__Credentials Ckpt__Credentials;
typedef struct Ckpt__FdTable Ckpt__FdTable;
typedef struct Ckpt__File Ckpt__File;
typedef struct Ckpt__Group Ckpt__Group;
typedef struct Ckpt__Ghost Ckpt__Ghost;
typedef struct Ckpt__Area Ckpt__Area;
typedef struct Ckpt__Header Ckpt__Header;
typedef struct Ckpt__Layout Ckpt__Layout;
typedef struct Ckpt__IpcObject Ckpt__IpcObject;
typedef struct Ckpt__Mm Ckpt__Mm;
typedef struct Ckpt__Mount Ckpt__Mount;
typedef struct Ckpt__NetState Ckpt__NetState;
typedef struct Ckpt__Mqueue Ckpt__Mqueue;
typedef struct Ckpt__PendingSignals Ckpt__PendingSignals;
typedef struct Ckpt__Populated Ckpt__Populated;
typedef struct Ckpt__Process Ckpt__Process;
typedef struct Ckpt__ProcessMore Ckpt__ProcessMore;
typedef struct Ckpt__SeccompFilter Ckpt__SeccompFilter;
typedef struct Ckpt__Shmem Ckpt__Shmem;
typedef struct Ckpt__Socket Ckpt__Socket;
typedef struct Ckpt__SocketData Ckpt__SocketData;
typedef struct Ckpt__SocketOptions Ckpt__SocketOptions;
typedef struct Ckpt__SignalActions Ckpt__SignalActions;
typedef struct Ckpt__Space Ckpt__Space;
typedef struct Ckpt__Super Ckpt__Super;
typedef struct Ckpt__Thread Ckpt__Thread;
typedef struct Ckpt__TmpfsEntry Ckpt__TmpfsEntry;
typedef struct Ckpt__Watch Ckpt__Watch;
typedef struct Ckpt__Zombie Ckpt__Zombie;

/*
 * A VPS's processes and objects in memory, as an image has them: what a dump collects and a restore
 * reads. Everything hangs on one arena and goes with it.
 */
struct ckpt_chunk;
struct ckpt_arena {
	struct ckpt_chunk *chunks;
	size_t left;
};

/* Makes room for so many bytes, in memory that the kernel need not find any more: it has been written to. -ENOMEM. */
int ckpt_arena_reserve(struct ckpt_arena *a, size_t size);
/* Zeroed; NULL when out of memory. */
void *ckpt_alloc(struct ckpt_arena *a, size_t size);
char *ckpt_strdup(struct ckpt_arena *a, const char *s);
void *ckpt_memdup(struct ckpt_arena *a, const void *p, size_t len);
void ckpt_arena_done(struct ckpt_arena *a);

struct ckpt_task {
	Ckpt__Process *process;
	Ckpt__SignalActions *actions;
	Ckpt__FdTable *fds;
	Ckpt__Mm *mm;
	Ckpt__Thread **threads;     /* the leader's first */
	size_t thread_count;
	Ckpt__PendingSignals **pending;
	size_t pending_count;
	/* dump: as the host sees it. restore: likewise, once it is there. */
	pid_t pid;                  /* dump: as struct ckpt_process has it */
	pid_t leader;               /* dump */
	pid_t *tids;
	pid_t host_group;
	uint32_t host_terminal;     /* tty_nr and tpgid of proc(5) */
	pid_t host_foreground;
	bool has_continued;         /* dump: children that go on again, see continued.h */
};

/* A piece of a deleted file's contents, in the spool. */
struct ckpt_piece {
	uint32_t ghost;             /* its id */
	uint64_t offset, len, at;
};

struct ckpt_tree {
	struct ckpt_arena arena;
	Ckpt__Header *header;
	struct ckpt_task *tasks;
	size_t task_count;
	Ckpt__Zombie **zombies;
	size_t zombie_count;
	Ckpt__File **files;         /* file n has id n + 1 */
	size_t file_count;
	Ckpt__Shmem **shmems;       /* likewise */
	size_t shmem_count;
	Ckpt__SeccompFilter **filters; /* filter n has id n + 1 */
	size_t filter_count;
	Ckpt__SocketData **queues;  /* in the order of their files */
	size_t queue_count;
	Ckpt__SocketOptions **options; /* ids as those of files; alike.h */
	size_t options_count;
	Ckpt__NetState **nets;      /* netstate.h */
	size_t net_count;
	Ckpt__TmpfsEntry **tmpfs;   /* parents before what is in them */
	size_t tmpfs_count;
	Ckpt__IpcObject **ipc;
	size_t ipc_count;
	Ckpt__Mqueue **mqueues;     /* ids as those of files */
	size_t mqueue_count;
	Ckpt__Space **spaces;       /* namespace n has id n + 1, owners first; so have the next three */
	size_t space_count;
	Ckpt__Super **supers;
	size_t super_count;
	Ckpt__Mount **mounts;       /* parents before what is mounted in them */
	size_t mount_count;
	Ckpt__Group **groups;       /* likewise */
	size_t group_count;
	Ckpt__Ghost **ghosts;       /* ids as those of files; ghosts.h */
	size_t ghost_count;
	struct ckpt_piece **pieces;
	size_t piece_count;
	struct ckpt_placed {
		char dir[40];       /* below the root of each file system in memory that has some */
		const int *fd;      /* by the number of its Shmem less 1, under which it is there */
		size_t count;
	} *placed;                  /* files that were filled before the tree was known; NULL: none */
	int spool;                  /* the contents of ghosts, while `has_spool`; the tree's */
	bool has_spool;
	uint64_t spooled;
};

/* MAP_DROPPABLE (Linux 6.11), in the place of MAP_PRIVATE. */
#define CKPT_MAP_DROPPABLE 0x08u

/* Pages of shared memory n are those of "address space" CKPT_SHMEM_MM + n. */
#define CKPT_SHMEM_MM ((uint64_t)1 << 32)

#define CKPT_GROUPS_MAX 1024 /* supplementary groups of a thread */
#define CKPT_FD_MAX (1u << 20) /* the highest fd of a process (fs.nr_open) */

/* Appends a slot to an array of pointers in the arena; -ENOMEM. */
int ckpt_push(struct ckpt_arena *a, void *array, size_t *count, void *item);

void ckpt_tree_done(struct ckpt_tree *t);

/* All but the pages. */
int ckpt_tree_write(const struct ckpt_tree *t, struct ckpt_writer *w, struct err *e);
/*
 * Reads records until the first of pages or the trailer, and checks that what they say holds
 * together (ids that are there, addresses in order, counts), so that a restore need not.
 * 1: *first is a record of pages; 0: the trailer came.
 */
int ckpt_tree_read(struct ckpt_tree *t, struct ckpt_reader *r, struct ckpt_record *first,
		   struct err *e);
/* The same from a record on that has been read: it is in *first. */
int ckpt_tree_read_on(struct ckpt_tree *t, struct ckpt_reader *r, struct ckpt_record *first,
		      struct err *e);

#endif
