/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef SUPERVISOR_PROTOCOL_SERVER_INTERNAL_H
#define SUPERVISOR_PROTOCOL_SERVER_INTERNAL_H

#include "base/fd.h"
#include "base/str.h"
#include "supervisor/protocol/server.h"

#include <stdint.h>

/* Bytes that arrive, cut into messages. Fds belong to the message that began last in the bytes
 * they came with: the kernel ends a recvmsg(2) after the piece that carries them, and they are sent
 * with a message's first byte. */
struct frames {
	struct buf buf;
	size_t scanned;   /* no NUL before it */
	uint64_t base;    /* position of buf.data[0] in the stream */
	struct frame_fd {
		int fd;
		uint64_t at; /* where its message begins in the stream */
	} fds[SERVER_FDS_MAX];
	size_t nfds;
};

struct frame {
	char *text; /* NUL-terminated, in the buffer */
	size_t len;
	int fds[SERVER_FDS_MAX];
	size_t nfds;
};

/* Takes bytes in, and the fds over in any case. -EMSGSIZE: more than there may be. */
int frames_feed(struct frames *f, const void *data, size_t len, const int *fds, size_t nfds);
/* 1 and a message, 0 when none is complete. The fds are the caller's. */
int frames_next(struct frames *f, struct frame *ret);
/* Takes what frames_next() gave out of the buffer. */
void frames_drop(struct frames *f, const struct frame *frame);
/* A message is complete. */
bool frames_ready(struct frames *f);
void frames_done(struct frames *f);

/* A message that waits for its client; fds go with its first byte. */
struct packet {
	struct packet *next;
	size_t len, sent;
	int fds[FD_MSG_MAX];
	size_t nfds;
	char data[];
};

struct client_conn {
	struct server *server;
	struct client_conn *next, **link;
	sd_event_source *io;
	sd_event_source *more; /* fires once: another message is in the buffer */
	int fd;
	pid_t pid;
	uid_t uid;
	gid_t gid;
	struct frames in;
	struct packet *out, **out_end;
	size_t out_len;
	struct server_call *call; /* under way */
	bool eof;      /* it has closed its writing half */
	unsigned busy; /* how deep the stack is in it; freed only when 0 */
	bool dead;     /* closed; to be freed */
};

struct server_call {
	struct server *server;
	struct client_conn *client; /* NULL: gone, or it wants no answer */
	const struct idl_member *member;
	json_t *message, *params;
	size_t bytes; /* of the message */
	bool more, oneway;
	int fds[SERVER_FDS_MAX];
	size_t nfds;
	pid_t pid;
	uid_t uid;
	gid_t gid;
	void (*cancel)(struct server_call *c, void *userdata);
	void *cancel_data;
	void *data;
	struct server_call *next, **link; /* of the server's unanswered calls */
};

struct server {
	sd_event *event;
	const struct idl *idl;
	const char *text;
	const struct server_method *methods;
	size_t method_count;
	void *userdata;
	sd_event_source *listen;
	int listen_fd;
	struct client_conn *clients;
	size_t client_count;
	struct server_call *calls;
};

/* conn.c */
int conn_new(struct server *s, int fd, pid_t pid, uid_t uid, gid_t gid);
void conn_close(struct client_conn *c);
/* Between these two it is not freed. */
void conn_enter(struct client_conn *c);
void conn_leave(struct client_conn *c);
/* Queues one message, taking `message` over. Closes the connection when it cannot. */
void conn_send(struct client_conn *c, json_t *message, const int *fds, size_t nfds);
/* The call under way has been answered: on with the next message. */
void conn_answered(struct client_conn *c);

/* call.c */
/* Handles one message; false: it is none, and the connection is to be closed. Takes the fds. */
bool call_dispatch(struct client_conn *c, struct frame *f);
void call_cancel(struct server_call *c);
void call_forget_client(struct server_call *c);

#endif
