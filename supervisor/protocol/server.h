/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef SUPERVISOR_PROTOCOL_SERVER_H
#define SUPERVISOR_PROTOCOL_SERVER_H

#include "base/err.h"
#include "supervisor/protocol/idl.h"

#include <jansson.h>
#include <stdbool.h>
#include <sys/types.h>
#include <systemd/sd-event.h>

/*
 * The server's end of the control socket: Varlink (https://varlink.org), messages of JSON with a
 * NUL after each, over a Unix stream socket, fds by SCM_RIGHTS. org.varlink.service is answered
 * here. What does not fit the interface never reaches a method, and a reply that does not fit it
 * never leaves (builds without NDEBUG).
 *
 * A client has one call under way at a time; what it sends meanwhile waits in its socket. All
 * sockets are non-blocking, and a client that sends too much, does not read its answers or holds
 * too many connections loses its own connection only.
 */
struct server;
struct server_call;

#define SERVER_INPUT_MAX (2u << 20)  /* bytes of one message without its NUL */
#define SERVER_OUTPUT_MAX (8u << 20) /* bytes that wait for a client to read them */
#define SERVER_FDS_MAX 16            /* fds of a client that no call has taken yet */
#define SERVER_CLIENTS_MAX 256       /* connections of users other than root */
#define SERVER_UID_MAX 64            /* connections of one such user */
#define SERVER_ROOT_MAX 1024         /* connections of root */
/* Unanswered calls, those of gone clients and those that want no answer too: */
#define SERVER_CALLS_MAX 512                         /* of users other than root */
#define SERVER_UID_CALLS_MAX 128                     /* of one such user, */
#define SERVER_UID_CALLS_BYTES (2 * SERVER_INPUT_MAX) /* and their bytes: parsed they take some 30 times as many */
#define SERVER_ROOT_CALLS_MAX 2048                   /* of root */

enum server_method_flags {
	SERVER_MORE = 1, /* several replies: ExpectedMore without `more` */
};

/* `call` answers the call, at once or later; see server_reply(). */
struct server_method {
	const char *name; /* as in the interface */
	void (*call)(struct server_call *c, void *userdata);
	unsigned flags;
	unsigned fds; /* fds that must come with it; 0: those that come are closed */
};

/*
 * `methods` must cover the interface; a method that it has and the table has not is answered with
 * MethodNotImplemented. `idl` and `text` (its text) must outlive the server.
 */
int server_new(struct server **ret, sd_event *event, const struct idl *idl, const char *text,
	       const struct server_method *methods, size_t count, void *userdata, struct err *e);
/* Closes all connections. Calls that are not answered stay valid and must still be answered. */
void server_free(struct server *s);

/* Takes connections from a listening non-blocking socket, which it takes over. */
int server_listen(struct server *s, int fd, struct err *e);
/* A connection that exists already; takes fd over in any case. -EPERM, -EUSERS: refused. */
int server_add(struct server *s, int fd);
/* Connections there are. */
size_t server_clients(const struct server *s);

/*
 * A call lives until it is answered, also when its client has gone: whoever holds it answers it
 * exactly once with server_reply() or server_fail(), which free it.
 */
json_t *call_params(const struct server_call *c); /* borrowed; {} when there are none */
bool call_more(const struct server_call *c);
uid_t call_uid(const struct server_call *c);
gid_t call_gid(const struct server_call *c);
pid_t call_pid(const struct server_call *c);
/* The i-th fd that came with it, to be owned by the caller; -EBADF when taken or not there. */
int call_take_fd(struct server_call *c, size_t i);

/* Parameters by name, NULL, `def` or false when absent. Types are as the interface has them. */
const char *call_string(const struct server_call *c, const char *name);
bool call_bool(const struct server_call *c, const char *name);
json_int_t call_int(const struct server_call *c, const char *name, json_int_t def);

/*
 * The client has closed its connection, or the writing half of it (it wants the call cancelled and
 * the answer that tells how it went). fn is called once, not from within call_on_cancel(); it may
 * answer the call.
 */
void call_on_cancel(struct server_call *c, void (*fn)(struct server_call *c, void *userdata),
		    void *userdata);

/* A pointer of its holder's, kept with the call. */
void call_set_data(struct server_call *c, void *data);
void *call_data(const struct server_call *c);

/* Takes `params` over (NULL: {}); the fds, at most FD_MSG_MAX, stay the caller's. Frees c. */
void server_reply(struct server_call *c, json_t *params, const int *fds, size_t nfds);
/* One of several replies. False when the client is gone: the end should be near. */
bool server_continue(struct server_call *c, json_t *params);
/* io.vps.Manager.Failed with the error's status, message and hint. Frees c. */
void server_fail(struct server_call *c, const struct err *e);

#endif
