/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef CHECKPOINT_PEEK_H
#define CHECKPOINT_PEEK_H

#include "base/err.h"
#include "checkpoint/datagrams.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/un.h>

/*
 * Looks at what is queued in unix sockets, and datagrams of UDP, from within the pid namespace of the VPS: only there the kernel
 * tells the numbers of processes that have ended. A child of the engine's does it, in the engine's memory, and ends with it.
 */
struct ckpt_peeker;
#define CKPT_PEEK_MAX MIB(4) /* bytes of one message */
#define CKPT_PEEK_FDS 253 /* SCM_MAX_FD */

struct ckpt_peeked {
	const uint8_t *data; /* valid until the next call */
	size_t len;
	struct sockaddr_un from;
	size_t from_len; /* 0: it has no name */
	bool has_sender;
	struct ucred sender; /* pid as in the VPS, ids the host's */
	bool has_datagram; /* of the internet */
	struct ckpt_datagram datagram;
	int fds[CKPT_PEEK_FDS]; /* the caller's */
	size_t fd_count;
};

/* `init` is the first process of that namespace. NULL with *e filled; free takes NULL, and ends the child. */
struct ckpt_peeker *ckpt_peeker_new(pid_t init, struct err *e);
void ckpt_peeker_free(struct ckpt_peeker *p);
/*
 * All that is queued, from the first on: of a stream in pieces that begin where the sender or the open
 * files under way change. Nothing is taken out of it. `each` returns a negative value to stop.
 */
typedef int (*ckpt_peek_fn)(struct ckpt_peeked *m, void *arg, struct err *e);
int ckpt_peek(struct ckpt_peeker *p, int fd, ckpt_peek_fn each, void *arg, struct err *e);

#endif
