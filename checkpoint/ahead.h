/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef CHECKPOINT_AHEAD_H
#define CHECKPOINT_AHEAD_H

#include "checkpoint/mountinfo.h"
#include "checkpoint/spaces.h"

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

/*
 * Ways into the namespaces of a VPS, opened while it runs: what takes a process of ours that enters them, and
 * mounts of ours whose end the kernel makes us wait for. At the stop only contents are read through them. What is
 * not here, as it has come since, is opened then. They are closed when the VPS runs on.
 */
struct ckpt_ahead {
	struct ckpt_ahead_space {
		ino_t ino;
		int root;      /* of a mount namespace: "/", O_PATH */
		int mountinfo; /* as a process of it sees it; read from the beginning */
		int queues;    /* of an ipc namespace: its message queues */
		int pid_max;   /* of a pid namespace: that file of /proc/sys/kernel */
		uint32_t last_number; /* which its last process had then */
		int limits[CKPT_USER_SYSCTLS]; /* of the VPS's user namespace: those files */
	} *space;
	size_t count;
	struct ckpt_ahead_super {
		dev_t dev;
		int fd; /* all of a file system that is in memory, which nothing covers */
		char *at; /* where it was found to be mounted, in its namespace */
	} *super;
	size_t super_count;
	pthread_t thread;
	bool closing; /* by the thread */
	unsigned births; /* processes of ours that have had a number in the VPS meanwhile */
};

/* Looks at the namespaces of these processes, and at the user namespace of process 1; `proc` is the host's /proc. What
 * cannot be opened is left out. */
void ckpt_ahead_look(struct ckpt_ahead *a, int proc, pid_t init, const pid_t *pids, size_t n);
/* Of one process, the mount namespace alone. */
void ckpt_ahead_look_mounts(struct ckpt_ahead *a, int proc, pid_t pid);
/* NULL: it is not known. */
const struct ckpt_ahead_space *ckpt_ahead_space(const struct ckpt_ahead *a, ino_t ino);
/* -EBADF; else still ours. */
int ckpt_ahead_super(const struct ckpt_ahead *a, dev_t dev);
/* Nothing is looked at any more: begins to close, beside what the caller does until done(). */
void ckpt_ahead_let_go(struct ckpt_ahead *a);
void ckpt_ahead_done(struct ckpt_ahead *a);

#endif
