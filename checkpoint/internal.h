/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef CHECKPOINT_INTERNAL_H
#define CHECKPOINT_INTERNAL_H

#include "checkpoint/ahead.h"
#include "checkpoint/batch.h"
#include "checkpoint/dump.h"
#include "checkpoint/flags.h"
#include "checkpoint/freeze.h"
#include "checkpoint/copy.h"
#include "checkpoint/drain.h"
#include "checkpoint/kinds.h"
#include "checkpoint/spaces.h"
#include "checkpoint/tree.h"
#include "checkpoint/uring_waiting.h"
#include "runtime/spec.h"

#include <pthread.h>

/* Parts of /proc/PID/status and stat. */
struct ckpt_status {
	char text[16384]; /* CKPT_GROUPS_MAX groups take up to 11 bytes each */
};
int ckpt_status_read(pid_t pid, struct ckpt_status *s);
/* What a stop will look at of a process and its threads is looked at once: it takes a third of the time then.
 * (warm.c) */
void ckpt_warm(pid_t pid);
/* A file of a process, for reading; a negative errno value. */
int ckpt_proc_open(pid_t pid, const char *name);
/* What follows "Key:", which is not the first line's; NULL. */
const char *ckpt_status_line(const char *text, const char *key);
/* Up to `max` numbers of the line, in base; their count. 0 when there is no such line. */
size_t ckpt_status_numbers(const struct ckpt_status *s, const char *key, int base, uint64_t *ret,
			   size_t max);
/* The n-th field (proc(5): from 3 on) of /proc/PID/stat. */
int ckpt_stat_read(pid_t pid, uint64_t field[53]);

/*
 * Calls it for each number below `count`, in order, half of them in a thread of its own where they are many: for what needs
 * no ptrace(2), which is bound to a thread. The first error. (halves.c)
 */
typedef int (*ckpt_each)(void *arg, size_t i, struct err *e);
int ckpt_in_halves(size_t count, ckpt_each fn, void *arg, struct err *e);

struct ckpt_dump_options;

/* A deleted file that is saved. */
struct ckpt_held {
	dev_t dev;
	ino_t ino;
	int fd;
};

#define CKPT_PLACES 256 /* buckets of what ckpt_place_find() knows */

struct ckpt_dump {
	struct ckpt_tree tree;
	pthread_mutex_t arena_lock; /* while two work at once */
	const struct cgroup *cgroup;
	const struct ckpt_progress *progress; /* or NULL */
	struct ckpt_precopy *precopy; /* that went before, or NULL */
	struct ckpt_check *check; /* obstacles are gathered, nothing is written; else NULL */
	uint64_t bytes;         /* of the stream */
	struct ckpt_copy copy, heritage; /* the pages that it gets; those that come first */
	bool held;
	bool paused;            /* by the VPS's holder: an abort leaves it frozen */
	enum ckpt_waiting waiting;
	struct ckpt_frozen frozen;
	struct ckpt_flags flags;
	struct ckpt_flags attached; /* read at the stop, last of `attached_of` (areas.c) */
	pid_t attached_of;
	struct ckpt_ahead ahead;
	struct ckpt_lookout *lookout; /* looks at what stands still; NULL */
	const struct ckpt_looked_place *program; /* one that may be executed; NULL */
	struct ckpt_collect files;
	int root;               /* of the VPS, O_PATH */
	void *known_files;      /* of areas.c: of tsearch(3) */
	struct ckpt_place {     /* files that were found; by inode (ghosts.c) */
		dev_t dev;
		ino_t ino;
		uint64_t mount;
		char *path;
		struct ckpt_place *next;
	} *places[CKPT_PLACES];
	struct ckpt_held **ghosts; /* as tree.ghosts */
	size_t ghost_count;
	struct ckpt_network *network; /* what it has, collected by a thread; NULL */
	struct ckpt_guard *guard;     /* likewise */
	struct ckpt_shuts *shuts; /* UDP sockets that are shut down (inet_shut.c); NULL until one is looked at */
	struct ckpt_alike *alike; /* options that connections have in common (alike.h) */
	struct ckpt_optwatch *optwatch; /* options that were read ahead (optwatch.h); NULL */
	struct ckpt_unix_table *unixes; /* unix sockets (unix_diag.c), likewise */
	struct ckpt_kernel *kernel; /* NULL until something asks it */
	bool urings;            /* somebody has an io_uring */
	bool blind;             /* nobody could look for requests that are under way (drain.h) */
	struct ckpt_uring_waits waits; /* who has had to do with one */
	struct ckpt_uring_left left; /* requests of these that wait */
	struct ckpt_peeker *peeker; /* NULL while nothing needs it */
	struct {
		uint32_t space; /* as File.space */
		int fd;         /* netns_lock() */
	} net_lock[256];
	size_t net_lock_count;
	uint64_t socks_cookie;  /* of the network namespace in which a socket was seen last (spaces.c); 0: none was */
	uint32_t socks_space;   /* which is that, as File.space */
	pid_t socks_of;         /* whose socket was taken last (sockets.c) */
	int socks_pidfd;
	pid_t init;  /* the host's number of process 1's first thread that lives */
	pid_t first; /* and of process 1 */
	size_t level;           /* ckpt_pid_level() */
	uint32_t uid_base, uid_count; /* the host's id of the VPS's 0 */
	uint64_t tmpfs_bytes;
	const struct rt_spec *spec;
	struct ckpt_spaces spaces;
	int proc;               /* the host's /proc */
	int group;              /* of the VPS, v2 */
	char group_path[4096];  /* as /proc/PID/cgroup has it */
	uint64_t shmem_dev[1024], shmem_ino[1024]; /* as tree.shmems */
	int shmem_fd[1024];
	unsigned base_filters;  /* seccomp filters that every process of a VPS has */
};

/*
 * What a refusal becomes when a VPS is only checked: it is noted, and 0 returned, so that the look goes
 * on with the next of its kind. Else, and after other errors, r. `fd` is -1 for what is no file. The
 * other one is for what leaves a process half looked at. (check.c)
 */
int ckpt_note(struct ckpt_dump *d, int r, pid_t pid, int fd, struct err *e);
int ckpt_note_cut(struct ckpt_dump *d, int r, pid_t pid, struct err *e);
/* Freezes, collects and lets go. (dump.c) */
int ckpt_dump_look(const struct cgroup *c, pid_t init, const struct ckpt_dump_options *o,
		   struct ckpt_check *check, struct err *e);

/* Memory areas of a process, by /proc/PID/maps. (areas.c) */
int ckpt_areas_collect(struct ckpt_dump *d, struct ckpt_task *k, struct err *e);
void ckpt_areas_done(struct ckpt_dump *d);
bool ckpt_shmem_is_sysv(int fd);
/* Whether two open files of System V memory, of the same inode number, are one: that is its id, which is told in each ipc
 * namespace anew. */
bool ckpt_shmem_is_same(int a, int b);
/* Kernel, processor and clocks of the VPS now. (dump_collect.c) */
/* CLOCK_MONOTONIC and CLOCK_BOOTTIME of a process's time namespace are the host's and so much (ns). (clocks.c) */
int ckpt_clock_offsets(pid_t pid, int64_t ret[2], struct err *e);
/* Which of the host's ids are the VPS's, in order from its 0 on. (dump_collect.c) */
int ckpt_ids_of(pid_t init, uint32_t *base, uint32_t *count, struct err *e);
int ckpt_header_collect(struct ckpt_arena *a, pid_t init, const struct ckpt_dump_options *o,
			Ckpt__Header **ret, struct err *e);
/* That, and all that stands still; with a check that is partial, up to its processes. (dump_collect.c) */
int ckpt_dump_collect(struct ckpt_dump *d, const struct ckpt_dump_options *o, struct err *e);
/* As ckpt_dump_prepare(), to the writer and with the numbers of a pre-copy. (dump.c) */
struct ckpt_dump_result;
int ckpt_dump_after(struct ckpt_precopy *p, const struct cgroup *c, pid_t init, struct ckpt_writer *w,
		    const struct ckpt_dump_options *o, struct ckpt_dump **ret,
		    struct ckpt_dump_result *result, struct err *e);
/* Right before that: rounds for what was written while things were looked at, by so many processes of ours that had a
 * number in the VPS. (precopy.c) */
int ckpt_precopy_catch_up(struct ckpt_precopy *p, unsigned births, struct err *e);
/* When all is stopped. True when at this moment much shared memory would have to be read whole, which at another it would
 * not: that takes longer than to let go and try again. (precopy_doubts.c) */
bool ckpt_precopy_stop(struct ckpt_precopy *p);
/* While all is stopped: one more round, by a thread that has the stream until it was waited for. There need not be
 * one. (precopy_last.c) */
void ckpt_last_start(struct ckpt_precopy *p);
int ckpt_last_wait(struct ckpt_precopy *p, struct err *e);
/* Of a dump after a pre-copy: before and after its objects are collected, and its pages.
 * (precopy_final.c) */
int ckpt_final_begin(struct ckpt_dump *d, struct err *e);
int ckpt_final_number(struct ckpt_dump *d, struct err *e);
int ckpt_final_scan(struct ckpt_dump *d, struct err *e);
int ckpt_final_pages(struct ckpt_dump *d, struct ckpt_writer *w, struct err *e);

/* The pages of private areas, and of the shared memory: which there are, before the tree is written, as
 * guards are part of it; and themselves. (pages.c) */
int ckpt_pages_scan(struct ckpt_dump *d, struct err *e);
/* The memory of each process, in order, and which may have pages in common with another: those that began as copies of
 * one have their stack at the same (random) address. (pages.c) */
int ckpt_sources_add(struct ckpt_dump *d, struct err *e);
/* May be called by both halves at once. */
int ckpt_guards_keep(struct ckpt_dump *d, Ckpt__Area *area, const struct ckpt_ranges *guards);
/* Of shared memory, which is not scanned for what a process made its own. Not of what is larger than 256 MiB: the kernel
 * tells only who looks at every page (0.1 ms for so much), and databases map it in hundreds of processes. */
int ckpt_guards_shared(struct ckpt_dump *d, int pagemap, Ckpt__Area *a);
int ckpt_pages_dump(struct ckpt_dump *d, struct ckpt_writer *w, struct err *e);
/* Registers in restart_syscall(2) become those of the call that it goes on with. (restarted.c) */
void ckpt_restarted_call(pid_t tid, struct user_regs_struct *regs);
/* All processes that were frozen, their threads and signals. (collect.c) */
int ckpt_tasks_collect(struct ckpt_dump *d, struct err *e);
/* What lies in the file systems that are in memory. (tmpfs.c) */
int ckpt_tmpfs_collect(struct ckpt_dump *d, struct err *e);
/* There again: everything of file system `super` below the directory `root`, where what is not of the image is
 * removed, but for device nodes and `keep`, a path or NULL. (restore_tmpfs.c) */
int ckpt_tmpfs_restore(const struct ckpt_tree *t, uint32_t super, int root, const char *keep, struct err *e);
/* What a file holds, but for its holes, into one that is empty. (restore_tmpfs.c) */
int ckpt_copy_data(int from, int to);
/* Puts the frozen processes in order, parents before children, init first. (relate.c) */
int ckpt_order(struct ckpt_dump *d, pid_t init, struct err *e);
/* What has left the group, and is about to be a zombie: until it is one, or gone; -EAGAIN when that takes long, as it may
 * until all are let go. (ending.c) */
int ckpt_ending_await(pid_t pid, struct err *e);
/* The parent of a process; not one that is about to leave it to another. (ending.c) */
int ckpt_ending_parent(const struct ckpt_frozen *f, pid_t pid, pid_t *ret, struct err *e);
/* The children of a process that have ended and were not waited for, once they have sent it their signal. (relate.c) */
int ckpt_zombies_collect(struct ckpt_dump *d, const struct ckpt_task *k, struct err *e);
/* Parents as the VPS numbers them, what processes share, and that all of them can be born again that way.
 * (relate.c) */
int ckpt_relate(struct ckpt_dump *d, struct err *e);
/* What is seen of it from outside, its status read before. *ret_filters is how many seccomp filters a thread has.
 * (collect_outside.c) */
int ckpt_process_outside(struct ckpt_dump *d, struct ckpt_task *k, const struct ckpt_status *s, struct err *e);
int ckpt_thread_outside(struct ckpt_dump *d, struct ckpt_task *k, pid_t tid, const struct ckpt_status *s,
			Ckpt__Thread *t, unsigned *ret_filters, struct err *e);
/* The part of that which a status has. (collect_outside.c) */
int ckpt_thread_status(struct ckpt_dump *d, pid_t tid, const struct ckpt_status *s, Ckpt__Thread *t, unsigned *ret_filters);
/* Registers, signal mask and what the kernel is told by pointers. (collect_outside.c) */
int ckpt_registers_collect(struct ckpt_arena *a, pid_t tid, Ckpt__Thread *t, struct err *e);
/* Pending signals of a thread, or those of its process. (collect_outside.c) */
int ckpt_pending_collect(struct ckpt_dump *d, struct ckpt_task *k, pid_t tid, bool shared, uint32_t ns_tid,
			 struct err *e);
/* Of frozen processes, one that waits for its child to become another program, and the child; whether any share
 * memory. `pids` are numbers of threads that have memory, and are sorted. (vfork.c) */
bool ckpt_vfork_find(pid_t *pids, size_t count, bool *ret_shared, pid_t *ret_parent, pid_t *ret_child);
/* Controlling terminals, once all files are collected. (relate.c) */
int ckpt_terminals_resolve(struct ckpt_dump *d, struct err *e);
/* Locks that belong to an open file, and to the process through one of its fds. (locks.c) */
int ckpt_file_locks(struct ckpt_dump *d, const struct ckpt_fd *f, Ckpt__File *out, struct err *e);
int ckpt_fd_locks(struct ckpt_dump *d, struct ckpt_fd *f, Ckpt__FdTable *t, struct err *e);
/* F_GETOWN and F_GETSIG; as the VPS numbers processes, once all are known. (owners.c) */
int ckpt_owner_collect(struct ckpt_dump *d, const struct ckpt_fd *f, Ckpt__File *out, struct err *e);
int ckpt_owners_resolve(struct ckpt_dump *d, struct err *e);
/* Another path of a file whose name `lost` is gone, in the namespace with this root; NULL when none is found.
 * (names.c) */
char *ckpt_name_find(struct ckpt_dump *d, int root, const char *lost, const struct stat *st);
/* The file descriptors, of a process and of a task that has a table. (files.c) */
int ckpt_table_collect(struct ckpt_dump *d, pid_t tid, Ckpt__FdTable *t, struct err *e);
int ckpt_fds_collect(struct ckpt_dump *d, struct ckpt_task *k, struct err *e);

/*
 * What the VPS has made of its network (netstate.h), collected by a thread of its own beside all else: it
 * is told in hundreds of small files. look_ahead() while the VPS runs, and prepare(), which waits for what that has begun, before
 * anything else of these; start() when it is stopped; collect() waits for
 * it, and keeps what it has found in d->tree until done(), when the VPS is let go. Nested namespaces likewise: those that processes are in are
 * known ahead. (network.c)
 */
int ckpt_network_look_ahead(struct ckpt_dump *d, struct err *e);
int ckpt_network_prepare(struct ckpt_dump *d, const pid_t *pids, size_t n, struct err *e);
int ckpt_network_start(struct ckpt_dump *d, struct err *e);
int ckpt_network_collect(struct ckpt_dump *d, struct err *e);
void ckpt_network_done(struct ckpt_dump *d);

#endif
