/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef SUPERVISOR_PROTOCOL_CLIENT_INTERNAL_H
#define SUPERVISOR_PROTOCOL_CLIENT_INTERNAL_H

#include "base/fd.h"
#include "base/str.h"
#include "supervisor/protocol/client.h"
#include "supervisor/protocol/interface.h"

/* Inside client*.c. */

struct client {
	struct host_root root;
	char path[512];
	unsigned flags;
	int timeout_ms;
	int fd;
	int cancel_fd;
	bool (*stop)(int fd, void *ctx);
	void *stop_ctx;
	bool cancelled;
	const struct idl_member *method; /* of the last call */
	bool more;
	bool unanswered;
	bool unread; /* who was asked went away before it had read the whole call */
	uint64_t deadline_us; /* CLOCK_MONOTONIC; 0: none */
	const char *ahead;    /* the call that was sent already */
	struct buf in;
	size_t scanned;  /* bytes of `in` known to have no NUL */
	int fds[FD_MSG_MAX];
	size_t nfds;
};

void client_drop_fds(struct client *c);
/* Waits for the socket. 1: ready; -ECANCELED: the caller wants no more; -ETIMEDOUT. */
int client_wait(struct client *c, short events);
int client_timed_out(struct client *c, struct err *e);
/* -EPIPE; c->unread says whether it had read what it was asked. */
int client_went_away(struct client *c, struct err *e);

#endif
