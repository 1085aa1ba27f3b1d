/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef CHECKPOINT_KINDS_H
#define CHECKPOINT_KINDS_H

#include "base/err.h"
#include "checkpoint/tree.h"

#include <errno.h>
#include <stdbool.h>
#include <sys/stat.h>

/*
 * A kind of open file. One file under kinds/, one row in kinds.c, one program under
 * tests/checkpoint/. The numbers are in images: never change one.
 */
enum ckpt_file_kind {
	CKPT_FILE_REGULAR = 1,  /* and directories, devices, FIFOs: opened by path */
	CKPT_FILE_CONSOLE,
	CKPT_FILE_PIPE,
	CKPT_FILE_EVENTFD,
	CKPT_FILE_EPOLL,
	CKPT_FILE_TIMERFD,
	CKPT_FILE_SIGNALFD,
	CKPT_FILE_MEMFD,
	CKPT_FILE_UNIX,
	/* From 20 on in tens, a ten for a field: tree, namespaces, sockets, files. */
	CKPT_FILE_PTY_MASTER = 20,
	CKPT_FILE_PTY_SLAVE,
	CKPT_FILE_NSFS = 30,
	CKPT_FILE_INET = 40,
	CKPT_FILE_NETLINK,
	CKPT_FILE_PACKET,
	CKPT_FILE_TUN,
	CKPT_FILE_FOREIGN = 49, /* sockets that are refused; in no image */
	CKPT_FILE_INOTIFY = 50,
	CKPT_FILE_VIRTUAL,
	CKPT_FILE_PIDFD,
	CKPT_FILE_MQUEUE,
	CKPT_FILE_FANOTIFY,
	CKPT_FILE_URING,
	CKPT_FILE_KIND_COUNT = 60,
};

struct ckpt_dump;

/* What is known of an open file of a stopped process. */
struct ckpt_fd {
	pid_t pid;           /* or we ourselves, when no process of the VPS has it */
	int fd;
	int own;             /* the same open file, ours (pidfd_getfd(2)) */
	struct stat st;
	char link[4096];     /* /proc/PID/fd/N */
	const char *info;    /* /proc/PID/fdinfo/N; of a place (O_PATH) empty */
	unsigned flags;      /* O_* */
};

/* Open files that were seen: kcmp(2) tells the same one from an equal one. */
struct ckpt_seen {
	dev_t dev;
	ino_t ino;
	pid_t pid;
	int fd;
	uint32_t file;       /* its id; 0 until it is collected */
};

struct ckpt_collect {
	void *root;          /* of tsearch(3) */
	struct ckpt_seen **by_file;
	size_t count;
	void *inodes;        /* likewise: the first file of each, for kinds that ask */
	int *held;           /* fds of ours that are the only ones */
	size_t held_count;
};

/* While files are opened again, in the first process of the restored VPS. */
struct ckpt_opening {
	const struct ckpt_tree *tree;
	int base;            /* file n's number is base + n - 1 */
	int *fds;            /* as tree->files; -1: not yet */
	int *shmems;         /* as tree->shmems */
	int spaces;          /* the fd of the first namespace; those of the others follow it */
	int *ghosts;         /* as tree->ghosts */
	int *devpts;         /* as tree->supers: one that was made for terminals, detached; -1: none */
	int *mates;          /* as tree->files: the other end of a socket, one that was closed; -1: none */
	int end;             /* numbers from here on are nobody's */
	const bool *paired;  /* NULL, or as tree->files: it and its other end are there already (pairs.h) */
	int lender;          /* asks processes that are there already (lend.h); -EBADF */
	int scratch;         /* an fd: a file system for names that are not there any more, when one was needed */
};

/*
 * Calls that the first process makes when all processes are there. (late.c) Room is asked for first;
 * `what` names the call when it fails. A file that is opened late: a call that returns 3 (the lowest
 * free number), then ckpt_late_opened().
 */
struct ckpt_late;
int ckpt_late_room(struct ckpt_late *q, size_t calls, size_t bytes);
void ckpt_late_call(struct ckpt_late *q, const char *what, uint64_t nr, uint64_t a, uint64_t b,
		    uint64_t c, uint64_t d);
void ckpt_late_call5(struct ckpt_late *q, const char *what, uint64_t nr, const uint64_t args[5]);
/* A path of the image: it leads through no magic link (path_open_no_magic()). */
void ckpt_late_open(struct ckpt_late *q, const char *what, uint64_t path, int flags);
uint64_t ckpt_late_put(struct ckpt_late *q, const void *data, size_t len);
/* Where the file, or another, is in the first process. */
uint64_t ckpt_late_fd(const struct ckpt_late *q);
int ckpt_late_fd_of(const struct ckpt_late *q, uint32_t file);
void ckpt_late_opened(struct ckpt_late *q, const char *what);
/* Into a mount namespace of the image, and with 0 back to process 1's; up to six calls. Both do nothing
 * when it is that. */
void ckpt_late_enter(struct ckpt_late *q, uint32_t space);
/* A list of mounts was opened: who polls it is to hear of a change. */
void ckpt_late_mounts(struct ckpt_late *q);

#define CKPT_LATE 0x7fffffff

struct ckpt_kind {
	const char *name;
	bool (*is)(const struct ckpt_fd *f);
	/* Fills kind-specific fields of `out`; flags, pos and path (the link) are filled. */
	int (*dump)(struct ckpt_dump *d, const struct ckpt_fd *f, Ckpt__File *out, struct err *e);
	/* A new fd, any number; CKPT_LATE: late() opens it; or a negative errno value with *e filled. */
	int (*open)(struct ckpt_opening *o, const Ckpt__File *f, struct err *e);
	/* True when open() needs no more: pos and flags are not set afterwards. */
	bool complete;
	/* What takes all processes to be there. */
	int (*late)(struct ckpt_late *l, const Ckpt__File *f, struct err *e);
};

extern const struct ckpt_kind ckpt_kind_regular, ckpt_kind_console, ckpt_kind_pipe,
	ckpt_kind_eventfd, ckpt_kind_epoll, ckpt_kind_timerfd, ckpt_kind_signalfd, ckpt_kind_memfd,
	ckpt_kind_unix, ckpt_kind_inotify, ckpt_kind_fanotify, ckpt_kind_uring, ckpt_kind_virtual, ckpt_kind_mqueue, ckpt_kind_pidfd, ckpt_kind_inet, ckpt_kind_foreign,
	ckpt_kind_nsfs, ckpt_kind_netlink, ckpt_kind_packet, ckpt_kind_tun, ckpt_kind_pty_master, ckpt_kind_pty_slave;
extern const struct ckpt_kind *const ckpt_kinds[CKPT_FILE_KIND_COUNT];

/*
 * While files are opened: into a mount or network namespace of the image, to open something there; 0: back to
 * process 1's. And socket(2) in a network namespace; the caller stays in process 1's. (restore_spaces.c)
 */
int ckpt_opening_enter(const struct ckpt_opening *o, uint32_t space, struct err *e);
int ckpt_opening_socket(const struct ckpt_opening *o, uint32_t space, int family, int type, int protocol,
			struct err *e);

/* What a kind's dump() may use. */
struct ckpt_arena *ckpt_dump_arena(struct ckpt_dump *d);
const struct ckpt_tree *ckpt_dump_tree(const struct ckpt_dump *d);
int ckpt_dump_root(const struct ckpt_dump *d);
/* A sock_diag socket in a network namespace (0: process 1's); stays the dump's. (spaces.c) */
int ckpt_dump_diag(struct ckpt_dump *d, uint32_t space, struct err *e);
/* One more open file, that no process has. -ENOMEM. */
int ckpt_file_push(struct ckpt_dump *d, Ckpt__File *f);
/* The VPS's number for a user or group id of the host's; 65534 for one that is none of its own. */
uint32_t ckpt_dump_id(const struct ckpt_dump *d, uint32_t id);
Ckpt__Shmem *ckpt_dump_shmem(struct ckpt_dump *d, int id);
/* Shared memory by its open file; the id, from 1. Takes the fd. */
int ckpt_shmem_add(struct ckpt_dump *d, int fd, const char *name, struct err *e);
/* The memfd at `path`, a link of /proc that reads `link`; the record's number. (kinds/memfd.c) */
int ckpt_memfd_add(struct ckpt_dump *d, const char *path, const char *link, struct err *e);

/* The number behind "key:" in fdinfo, in base; 0 or -ENOENT. */
int ckpt_info_number(const struct ckpt_fd *f, const char *key, int base, uint64_t *ret);
/* The text of /proc/PID/fdinfo/N; the caller frees it. */
int ckpt_fd_info(pid_t pid, int fd, char **ret, struct err *e);

/*
 * The id of the open file behind a descriptor of ours, which is taken: for what no process of the VPS
 * need have in its table, like a file on its way in a socket. On restore it is opened like all others and
 * is restore_fd_file() in every process until its own fds are placed.
 */
int ckpt_file_add(struct ckpt_dump *d, int fd, uint32_t *ret, struct err *e);
/* Of virtual files, as their value. */
enum ckpt_virtual {
	CKPT_VIRTUAL_PLAIN,
	CKPT_VIRTUAL_ENDED,    /* of a process that has ended, though there may be another of that number */
	CKPT_VIRTUAL_TRIGGERS, /* a file of pressure with a trigger */
};
/* True when open() will say CKPT_LATE. */
bool ckpt_file_opens_late(const Ckpt__File *f);
void ckpt_collect_done(struct ckpt_collect *c);
/* The first file with the inode that was asked for: while it is collected it is itself. 0: no memory. */
uint32_t ckpt_first_of(struct ckpt_dump *d, const struct ckpt_fd *f);
/* Which files epolls watch, once all files are collected. (kinds/epoll.c) */
int ckpt_epoll_resolve(struct ckpt_dump *d, struct err *e);
/* That pidfds are of processes that are saved. (kinds/pidfd.c) */
int ckpt_pidfds_check(const struct ckpt_tree *t, struct err *e);
/* Likewise for what inotifies watch. (kinds/inotify.c) */
int ckpt_inotify_resolve(struct ckpt_dump *d, struct err *e);
struct ckpt_handle_places;
/* From fdinfo's "ino:…" on: what is watched by w, where a path leads to it. Else ckpt_inotify_resolve() looks for it. */
int ckpt_watch_find(struct ckpt_dump *d, struct ckpt_handle_places *places, const char *ino, Ckpt__Watch *w,
		    struct err *e);
/* Places it in the tree, and in late calls: the path to it, after the namespace was entered. */
bool ckpt_watch_is_good(const struct ckpt_tree *t, const Ckpt__Watch *w);
int ckpt_watch_place(struct ckpt_late *q, const Ckpt__Watch *w, uint64_t *ret_path);
int ckpt_fanotify_check(const struct ckpt_tree *t, const Ckpt__File *f, struct err *e);
/* That what an image says of these holds together. */
int ckpt_epoll_check(const struct ckpt_tree *t, const Ckpt__File *f, struct err *e);
int ckpt_locks_check(const Ckpt__File *f, const Ckpt__FdTable *t, struct err *e);
int ckpt_owner_check(const Ckpt__File *f, struct err *e);
int ckpt_inotify_check(const struct ckpt_tree *t, const Ckpt__File *f, struct err *e);

#endif
