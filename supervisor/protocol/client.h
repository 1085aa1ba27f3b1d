/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef SUPERVISOR_PROTOCOL_CLIENT_H
#define SUPERVISOR_PROTOCOL_CLIENT_H

#include "base/err.h"
#include "base/fd.h"
#include "base/hostroot.h"

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

/*
 * Calls to vpsd, one after the other, over the control socket of a state root. What is sent and
 * what comes back is checked against the interface. Errors of vpsd arrive as it made them (status,
 * message, hint); that it cannot be reached, goes away or answers nonsense is ERR_DAEMON.
 *
 * A read (List, Status, Wait and the like) that vpsd left unanswered by going away is asked again of
 * the next vpsd; so is any call that nobody has read before its vpsd went away. Reads that answer at once fail with ERR_DAEMON when no answer comes in
 * 30 s, or in the duration that VPS_TIMEOUT says; other calls take as long as their work does.
 */
struct client;

struct client_reply {
	json_t *params; /* never NULL */
	bool continues; /* more replies follow */
	int fds[FD_MSG_MAX];
	size_t nfds;
};

/* Frees the parameters and closes the fds that nobody took (TAKE_FD). */
void client_reply_done(struct client_reply *r);

enum client_flags {
	CLIENT_START = 1, /* start vpsd when it does not run and the caller is root */
};

/*
 * Connects. The peer must be root's or the caller's own (SO_PEERCRED), else ERR_DAEMON; so is
 * a socket that is not there (-ESRCH then), with a hint how to start vpsd. *ret is freed with client_free().
 */
int client_open(struct client **ret, const struct host_root *root, unsigned flags, struct err *e);
/*
 * The same on a connection over which the first call has been sent already, for one that is not a read: `text`
 * is that message, which stays the caller's. client_send() of the same call then sends nothing.
 */
int client_adopt(struct client **ret, const struct host_root *root, unsigned flags, int fd, const char *text,
		 struct err *e);
void client_free(struct client *c);

/*
 * When this fd becomes readable during a call, `stop` is called, which reads from it and says
 * whether the call is to be cancelled; NULL always cancels. vpsd is told by the end of what we send,
 * and the answer is waited for until it has undone the work and closes, or until `stop` says so
 * again. The call fails with ERR_CANCELLED unless it was done before. -EBADF: no such fd.
 */
void client_cancel_on(struct client *c, int fd, bool (*stop)(int fd, void *ctx), void *ctx);

/*
 * Sends a call with fds, which stay the caller's. `in` is taken over in any case; NULL stands for
 * {}. `more` asks for several replies.
 */
int client_send(struct client *c, const char *method, json_t *in, const int *fds, size_t nfds,
		bool more, struct err *e);
/* The next reply to what was sent last. */
int client_recv(struct client *c, struct client_reply *ret, struct err *e);
/* Both, up to the first reply, and again when vpsd goes away before that, as told above. */
int client_ask(struct client *c, const char *method, json_t *in, const int *fds, size_t nfds, bool more,
	       struct client_reply *ret, struct err *e);
/* The same for a call with one reply. */
int client_call(struct client *c, const char *method, json_t *in, const int *fds, size_t nfds,
		struct client_reply *ret, struct err *e);

/* Whether the last call was sent and not answered: what it was to do may be done, or may still be. */
bool client_in_doubt(const struct client *c);

/* The socket, to be polled while something else goes on: an answer makes it readable. */
int client_fd(const struct client *c);

/* Waits until vpsd closes the connection (after Shutdown). */
int client_drain(struct client *c, struct err *e);

static inline void client_freep(struct client **c)
{
	client_free(*c);
}

#define cleanup_client __attribute__((cleanup(client_freep)))
#define cleanup_reply __attribute__((cleanup(client_reply_done)))

#endif
