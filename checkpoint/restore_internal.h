/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef CHECKPOINT_RESTORE_INTERNAL_H
#define CHECKPOINT_RESTORE_INTERNAL_H

#include "checkpoint/internal.h"
#include "checkpoint/maps.h"
#include "checkpoint/netgiven.h"
#include "checkpoint/plan.h"
#include "checkpoint/xstate.h"
#include "runtime/vps.h"

#include <pthread.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#ifndef MFD_EXEC
#define MFD_EXEC 0x10u /* Linux 6.3 */
#endif

/* Memory of ours in every restored process: a page for the stub, the list, room for arguments. */
#define RESTORE_REGION 262144u
#define RESTORE_ADDRESS_MAX CKPT_ADDRESS_MAX
#define RESTORE_ROOM (RESTORE_REGION - CKPT_PAGE - CKPT_BATCH_LIST)

#define RESTORE_FILLERS 4 /* threads */

struct ckpt_loose;
struct early;
struct restore_ahead;
struct early_set;

/* One process while it is restored. */
struct restoring {
	struct ckpt_task *task;      /* NULL: a zombie or a stand-in */
	struct ckpt_batch batch;
	struct ckpt_thread *threads; /* as task->threads; [0] from its birth on */
	int *area_fd;                /* of the first process: the fd that holds each area's file, or -1 */
	int exe_fd;
	int place;                   /* which of the places is its root, the next its directory; -1: as usual */
	int *own_place;              /* likewise of each thread that has its own, else 0 */
	bool parent;                 /* it has children already */
	struct early *early;         /* what memory it was born with, in a pre-copy or by its parent; or NULL */
	bool placed;                 /* pages that a pre-copy had no place for have been put into its memory */
	bool bequeathed, heir, stranger; /* it has put in place what it leaves; has what it inherits; and more */
	size_t filters;              /* seccomp filters of its own that its first thread has by now */
	/* Its pid namespace and its children's by now, and the user namespace that it is in (record ids, 0 for
	 * process 1's); its numbers in pid namespaces below process 1's; whose identity it was born with there. */
	uint32_t space, children, user;
	const uint32_t *numbers;
	size_t level;
	const Ckpt__Thread *as;
	uint32_t login;              /* as in ProcessMore, by now */
	bool joined;                 /* it is in all its namespaces */
	bool subject;                /* it has its threads before its open files: subjects.h */
};

struct restore {
	struct ckpt_tree tree;
	struct ckpt_reader *reader;
	int lender;                  /* of a helper: lend.h; else -EBADF */
	int proc;                    /* the host's /proc, while the first process opens things */
	struct ckpt_plan plan;
	struct restore_ahead *ahead; /* restore_ahead.c */
	struct rt_vps *vps;          /* NULL: not started yet */
	const struct ckpt_progress *progress; /* or NULL */
	uint64_t done, total;        /* bytes of memory */
	uint64_t comes_us;           /* of a pipe: its first record was there by then, and nobody had read it */
	uint64_t not_before_us;      /* the clocks have caught up then (restore_clocks_check()) */
	const Ckpt__File **rings;    /* those of the tree's files that are io_urings, which each thread looks through */
	size_t ring_count;
	uint32_t *watchers;          /* ids of those that dnotify watches: likewise each process */
	size_t watcher_count;
	struct restoring *procs;     /* as plan.nodes: tree.tasks, tree.zombies, stand-ins */
	/* fds of the first process, inherited by all: files from `base` on, then shared memory, then
	 * what is only mapped. */
	int base;
	pid_t maker;                 /* restore_births.c: the one that there is now; 0: none */
	struct mapped {
		char *path;
		enum mapped_write { MAPPED_READ, MAPPED_MAY_WRITE, MAPPED_WRITE } write;
		uint32_t space;      /* mount namespace; 0: process 1's */
		uint32_t shmem, ghost; /* instead: one of these, opened again for reading alone */
	} **mapped;
	size_t mapped_count;
	size_t place_count;
	uint32_t *devpts;            /* records of those that terminals are opened in before anything is mounted */
	size_t devpts_count;
	uint64_t region;
	int *shmem_fd;               /* ours, while they are filled: as tree.shmems */
	struct ckpt_decoder *decoders[RESTORE_FILLERS];
	struct early_set *early;     /* NULL: no pre-copy went before */
	struct ckpt_loose *heirs;    /* pages that are inherited; NULL: none */
	pthread_mutex_t heirs_lock;
	struct ckpt_netsame *netsame; /* which switches need not be set; NULL: it is not known */
	struct ckpt_xstate xstate;   /* how the image has the registers */
	bool full;                   /* with one process more there would be too many */
	struct ckpt_moved moved;     /* addresses that are others than when it was saved */
	int netns;                   /* of the VPS, sealed; -EBADF when it has no use for it */
	int *tcp;                    /* as tree.files: TCP connections, in repair mode */
	struct ckpt_handshakes *handshakes; /* for those that wait to be accepted; or NULL */
	bool *paired;                /* as tree.files: it and its other end are in process 1's table already (pairs.h) */
	bool fills_late;             /* sockets are filled when all is open: something opened late is on its way in one */
};

static inline int restore_fd_file(const struct restore *r, uint32_t id)
{
	return r->base + (int)id - 1;
}

static inline int restore_fd_shmem(const struct restore *r, uint32_t id)
{
	return r->base + (int)(r->tree.file_count + id) - 1;
}

static inline int restore_fd_mapped(const struct restore *r, size_t i)
{
	return r->base + (int)(r->tree.file_count + r->tree.shmem_count + i);
}

static inline int restore_fd_space(const struct restore *r, uint32_t id)
{
	return restore_fd_mapped(r, r->mapped_count + id) - 1;
}

static inline int restore_fd_place(const struct restore *r, int i)
{
	return restore_fd_mapped(r, r->mapped_count + r->tree.space_count) + i;
}

/* /proc/sys/kernel/ns_last_pid of the VPS. */
static inline int restore_fd_last_pid(const struct restore *r)
{
	return restore_fd_place(r, (int)r->place_count);
}

static inline int restore_fd_ghost(const struct restore *r, uint32_t id)
{
	return restore_fd_last_pid(r) + (int)id;
}

/* A pair of sockets, over which open files go from process 1 to who has a table of its own. */
static inline int restore_fd_pair(const struct restore *r, int i)
{
	return restore_fd_ghost(r, (uint32_t)r->tree.ghost_count + 1) + i;
}

/* struct ckpt_opening's scratch. */
static inline int restore_fd_scratch(const struct restore *r)
{
	return restore_fd_pair(r, 2);
}

/* The other end of the socket that is file i + 1, until that is filled late. */
static inline int restore_fd_mate(const struct restore *r, size_t i)
{
	return restore_fd_scratch(r) + 1 + (int)i;
}

/* Each has two mounts. (restore_devpts.c) */
static inline int restore_fd_devpts(const struct restore *r, size_t i, int which)
{
	return restore_fd_mate(r, r->fills_late ? r->tree.file_count : 0) + 2 * (int)i + which;
}

static inline int restore_fd_end(const struct restore *r)
{
	return restore_fd_devpts(r, r->devpts_count, 0);
}

/* Which are needed; makes them, and fills fds (as tree.supers) with those of the first mounts. (restore_devpts.c) */
int restore_devpts_plan(struct restore *r, struct err *e);
int restore_devpts_make(struct restore *r, int *fds, struct err *e);

/* In the first process: opens everything; then gives up all else and waits. (restore_open.c) */
int restore_open(void *restore, struct err *e);
/* The same in two steps, before and after all processes are born (restore_births.h): namespaces but for those of
 * mounts, and terminals; by a helper that is not process 1 all else. */
int restore_open_first(void *restore, struct err *e);
int restore_open_last(void *restore, struct err *e);
/* What that opens, a step each: shared memory, and what is mapped (restore_open_memory.c); deleted files
 * (restore_open_ghosts.c). */
int restore_open_shmems(struct restore *r, struct ckpt_opening *o, struct err *e);
int restore_open_mapped(struct restore *r, struct ckpt_opening *o, struct err *e);
int restore_open_ghosts(struct restore *r, struct ckpt_opening *o, struct err *e);
/* Moves an fd to this number; it is closed whatever happens. (restore_open.c) */
int restore_place_fd(int fd, int at, struct err *e);
/* Its directory is in /proc, maybe another process's, which is not there yet when places are opened. (restore_spaces.c) */
bool restore_goes_late(const struct restoring *p);
/* In a helper, when all files are open: the sockets that were left empty. */
int restore_fill_sockets(void *restore, struct err *e);
/*
 * Keeps the fds from `first` up to `end`, closes all others but 0 to 2, and waits, in another program: only
 * execve(2) makes an address space that belongs to the VPS's user namespace. Those of all processes are copies of
 * such; were they copies of the engine's, the VPS's root could look at none that is not dumpable
 * (__ptrace_may_access() in the kernel). (restore_wait.c)
 */
_Noreturn void restore_wait(int first, int end);
void restore_stay(void *restore);

/* A list of calls in the making, with what their arguments point to. (restore_list.c) */
struct list {
	struct ckpt_call calls[CKPT_BATCH_MAX];
	const char *what[CKPT_BATCH_MAX]; /* NULL: may fail */
	size_t count;
	uint8_t room[RESTORE_ROOM];
	size_t used;
	uint64_t room_at;                 /* in the task */
	bool overflow;                    /* something did not fit: it will not run */
	struct ckpt_batch *place;         /* where it runs, and who runs it; NULL: it does not */
	struct ckpt_thread *thread;
};
void list_init(struct list *l, const struct restore *r);
void list_call(struct list *l, const char *what, uint64_t nr, uint64_t a, uint64_t b, uint64_t c,
	       uint64_t d, uint64_t e5, uint64_t f);
/* Copies an argument; its address in the task, 0 when there is no room. */
uint64_t list_put(struct list *l, const void *data, size_t len);
/* True when `calls` more and `bytes` of arguments fit. */
int list_fits(const struct list *l, size_t calls, size_t bytes);
/* How many lists are under way at a time. */
#define RESTORE_LISTS 16
/* Runs it, empties it. Or in two parts: what it does meanwhile, others are given something to do in. */
int list_start(struct list *l, struct ckpt_batch *b, struct ckpt_thread *t, struct err *e);
int list_finish(struct list *l, struct err *e); /* also when it does not run */
int list_run(struct list *l, struct ckpt_batch *b, struct ckpt_thread *t, struct err *e);

/* The first process, as the runtime has made it, becomes an empty address space with our memory in it; then
 * all others are made, stopped from birth, with their parents, sessions and groups. (restore_tree.c) */
int restore_take_over(struct restore *r, struct restoring *p, pid_t pid, uint32_t number, struct list *l,
		      struct err *e);
int restore_fork_tree(struct restore *r, struct list *l, struct err *e);
/* How a birth of the plan is made. */
uint64_t restore_share_flags(const struct restore *r, const struct ckpt_op *o);
uint32_t restore_exit_signal(const struct restore *r, size_t who);

/* Its memory before it is filled, and into the list in `l` what comes then: protection, advice, guards,
 * names, locks. (restore_areas.c) */
int restore_memory(struct restore *r, struct restoring *p, struct list *l, struct err *e);
int restore_dress(struct restoring *p, struct list *l, struct err *e);
/*
 * The steps of a task. What each of them has the task do last may be under way when it returns, by the list in `l`: it
 * is for list_finish() to say how that went. First what it does for itself, then what is done to it from outside, then
 * its threads. (restore_task.c)
 */
int restore_process(struct restore *r, struct restoring *p, struct list *l, struct err *e);
int restore_outside(struct restore *r, struct restoring *p, struct list *l, struct err *e);
int restore_threads(struct restore *r, struct restoring *p, struct list *l, struct err *e);
/* Signals that wait, and timers; our memory goes; registers. (restore_registers.c) */
int restore_signals(struct restore *r, struct restoring *p, struct list *l, struct err *e);
int restore_unmap_own(struct restore *r, struct restoring *p, struct list *l, struct err *e);
int restore_registers(struct restore *r, struct restoring *p, struct list *l, struct err *e);

/* What open files need when all processes are there. (late.c) */
int restore_late(struct restore *r, struct list *l, struct err *e);
/* Locks of open files, in the first process once all are open; and into the list of a process, when that closes no fd
 * any more. (locks.c) */
int restore_file_locks(const struct restore *r, struct err *e);
/* Those of what is opened late. */
int restore_late_locks(struct ckpt_late *q, uint32_t id, const Ckpt__File *f);
int restore_table_locks(struct restoring *p, size_t thread, const Ckpt__FdTable *t, struct list *l, struct err *e);
/* The thread puts what is open where its table has it. (restore_task.c) */
int restore_place_fds(struct restore *r, struct restoring *p, size_t thread, const Ckpt__FdTable *t, struct list *l,
		      struct err *e);
/* Who is sent signals for open files; last of all that is late. (owners.c) */
int restore_owners(struct restore *r, struct list *l, struct err *e);
/* A signal says for which fd it is sent (si_fd): the one by which it was asked for. In a process that has it. (owners.c) */
void restore_told_fd(const Ckpt__File *f, uint32_t fd, struct list *l);
/* Adds what an epoll watches. (kinds/epoll.c) */
int restore_epoll(struct restore *r, uint32_t id, struct list *l, struct err *e);
/* Those that have open files of their own by now get what restore_late() opened; then nobody shares them who
 * should not. (restore_tables.c) */
int restore_tables(struct restore *r, struct list *l, struct err *e);
/* From process 1 to a process that did not inherit it: all that it has opened. */
int restore_fetch(struct restore *r, struct restoring *p, struct list *l, struct err *e);
/* Puts pages where they belong; called by several threads at once. */
typedef int restore_put(struct restore *r, const struct ckpt_pages *pg, struct err *e);
/* From the record of pages in `rec` to the next of another kind, which is in `rec` then (1); 0: the trailer.
 * (restore_fill.c) */
int restore_fill(struct restore *r, struct ckpt_record *rec, restore_put *put, struct err *e);
/* From the record in `rec` (when `more` is 1) to the trailer. (restore_fill.c) */
int restore_contents(struct restore *r, struct ckpt_record *rec, int more, struct list *l, struct err *e);
struct restoring *restore_find_mm(struct restore *r, uint64_t mm);
/* True when private memory is at this page. */
bool restore_has_private(const Ckpt__Mm *mm, uint64_t at);

/*
 * A stream that begins with a pre-copy, whose first record is in `rec`. The VPS is started and its memory filled while
 * the source runs (restore_early.c): from the record in `rec` up to the header, which is in it then (1). When the tree
 * has been read: what is there becomes part of it, and files are opened (early_settle.c).
 */
int restore_early_begin(struct restore *r, struct ckpt_record *rec, const struct rt_spec *spec,
			const struct rt_stdio *stdio, int (*network)(void *r, int netns_fd, struct err *e),
			struct err *e);
int restore_early_read(struct restore *r, struct ckpt_record *rec, struct list *l, struct err *e);
int restore_early_settle(struct restore *r, struct list *l, struct err *e);
/* One that no task of the tree has. (early_settle.c) */
pid_t restore_free_number(const struct ckpt_tree *t);
/* ERR_STATE: the setting rlimit's nofile is too low for one process to have all of them while they are made. (restore_open.c) */
int restore_too_many_files(const struct restore *r, struct err *e);
/* So that it may have all those that are planned. (early_settle.c) */
int restore_raise_files(const struct restore *r, const struct restoring *p, struct err *e);
/* A copy of ours does something in the VPS for process 1, which runs no code of ours any more; with `take` what it
 * has opened is taken by that. (early_settle.c) */
int restore_by_helper(struct restore *r, int (*fn)(void *restore, struct err *e), bool take, struct list *l,
		      struct err *e);
/* That an op of the plan has been carried out. */
bool restore_early_is_born(const struct restore *r, const struct ckpt_op *o);
/* Maps the private anonymous areas that are not there yet; which these are. */
int restore_early_map(struct restore *r, struct restoring *p, struct list *l, struct err *e);
bool restore_early_has(const struct restoring *p, const Ckpt__Area *a);
/* Shared memory that is mapped by an fd of its own (area_fd), as what others map it by can be written to. */
bool restore_is_read_only(const struct restore *r, const Ckpt__Area *a);
/*
 * Memory that is inherited (heirs.c): read before anybody is born, when there is such; put in place by a
 * process before its first child is born; what a child has by birth; what of that is not its own is
 * dropped, when its memory is mapped; and what it could not be born with is copied, when all is filled.
 */
int restore_heritage(struct restore *r, struct ckpt_record *rec, int more, struct err *e);
int restore_bequeath(struct restore *r, size_t who, struct list *l, struct err *e);
int restore_inherit(struct restore *r, size_t by, size_t who, struct err *e);
/* Of a parent that was born early, by a child that was not told of before the end: before and after its birth; what
 * it could not be born with is copied, too. (early_heirs.c) */
int restore_late_bequeath(struct restore *r, size_t by, size_t who, struct list *l, struct err *e);
int restore_late_inherit(struct restore *r, size_t by, size_t who, struct list *l, struct err *e);
int restore_disown(struct restore *r, struct restoring *p, struct list *l, struct err *e);
int restore_copy_inherited(struct restore *r, struct err *e);
void restore_heirs_done(struct restore *r);
/* Of this record and those like it that follow: drops pages that have gone away, places those that had no place; reads the next
 * record. (early_place.c) */
int restore_populated(struct restore *r, struct ckpt_record *rec, struct list *l, struct err *e);
/* A copy of the fd of shared memory that is there; negative: none. */
int restore_early_shmem(const struct restore *r, uint32_t id);
void restore_early_leave_shmem(struct restore *r, uint32_t id); /* which nothing is put into any more */
/* What was seen of process 1's network before, or NULL. */
const struct ckpt_netlook *restore_early_look(const struct restore *r);
/* Tasks that are not part of the tree: their count. `tids` may be NULL. */
size_t restore_early_tids(const struct restore *r, pid_t *tids);
void restore_early_done(struct restore *r);

/* The numbers of a new task, in its own pid namespace first; further out, and without any, the next there. */
struct restore_numbers {
	int32_t tid[33];
	size_t count;
};

/* clone3(2) of one task with these numbers, through `parent`; `exit_signal` is a process's. (restore_list.c) */
#define RESTORE_THREAD (CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD | CLONE_SYSVSEM)
int restore_clone(struct list *l, struct ckpt_batch *b, struct ckpt_thread *parent, uint64_t flags,
		  uint32_t exit_signal, const struct restore_numbers *numbers, pid_t *ret, struct err *e);

/* The thread puts its seccomp filters from `from` up to `to` on itself. (restore_task.c) */
int restore_filters(struct restore *r, struct restoring *p, size_t thread, size_t from, size_t to,
		    struct list *l, struct err *e);
/* The first thread, those that all threads of its process have. (restore_task.c) */
int restore_share_filters(struct restore *r, struct restoring *p, struct list *l, struct err *e);

#endif
