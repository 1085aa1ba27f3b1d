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
	CKPT_FILE_NSFS = 30,
	CKPT_FILE_KIND_COUNT = 60,
};

struct ckpt_dump;

/* What is known of an open file of a stopped process. */
struct ckpt_fd {
	pid_t pid, ns_pid;
	int fd;
	int own;             /* the same open file, ours (pidfd_getfd(2)) */
	struct stat st;
	char link[4096];     /* /proc/PID/fd/N */
	char info[16384];    /* /proc/PID/fdinfo/N */
	size_t info_len;
	unsigned flags;      /* O_* */
	uint64_t pos;
};

/* Open files that were seen: kcmp(2) tells the same one from an equal one. */
struct ckpt_collect {
	struct ckpt_seen {
		dev_t dev;
		ino_t ino;
		pid_t pid;
		int fd;
		uint32_t file;
	} *seen;
	size_t count, room;
};

/* While files are opened again, in the first process of the restored VPS. */
struct ckpt_opening {
	const struct ckpt_tree *tree;
	int *fds;            /* as tree->files; -1: not yet */
	int *shmems;         /* as tree->shmems */
	int spaces;          /* the fd of the first namespace; those of the others follow it */
	int *mates;          /* as tree->files: made with its other end; -1: not */
};

struct ckpt_kind {
	const char *name;
	bool (*is)(const struct ckpt_fd *f);
	/* Fills kind-specific fields of `out`; flags, pos and path (the link) are filled. */
	int (*dump)(struct ckpt_dump *d, const struct ckpt_fd *f, Ckpt__File *out, struct err *e);
	/* A new fd, any number, or a negative errno value with *e filled. */
	int (*open)(struct ckpt_opening *o, const Ckpt__File *f, struct err *e);
	/* True when open() needs no more: pos and flags are not set afterwards. */
	bool complete;
};

extern const struct ckpt_kind ckpt_kind_regular, ckpt_kind_console, ckpt_kind_pipe,
	ckpt_kind_eventfd, ckpt_kind_epoll, ckpt_kind_timerfd, ckpt_kind_signalfd, ckpt_kind_memfd,
	ckpt_kind_unix, ckpt_kind_nsfs;
extern const struct ckpt_kind *const ckpt_kinds[CKPT_FILE_KIND_COUNT];

/* What a kind's dump() may use. */
struct ckpt_arena *ckpt_dump_arena(struct ckpt_dump *d);
const struct ckpt_tree *ckpt_dump_tree(const struct ckpt_dump *d);
int ckpt_dump_root(const struct ckpt_dump *d);
/* A sock_diag socket in the VPS's network namespace; stays the dump's. */
int ckpt_dump_diag(struct ckpt_dump *d, struct err *e);
Ckpt__Shmem *ckpt_dump_shmem(struct ckpt_dump *d, int id);
/* Shared memory by its open file; the id, from 1. Takes the fd. */
int ckpt_shmem_add(struct ckpt_dump *d, int fd, const char *name, struct err *e);

/* That all pairs of unix sockets are whole. (kinds/unix.c) */
int ckpt_unix_check(const struct ckpt_tree *t, struct err *e);

/* The number behind "key:" in fdinfo, in base; 0 or -ENOENT. */
int ckpt_info_number(const struct ckpt_fd *f, const char *key, int base, uint64_t *ret);

#endif
