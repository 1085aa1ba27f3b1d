/* SPDX-License-Identifier: GPL-2.0-or-later */

/* What vpsd answers. */
#include "supervisor/protocol/client_internal.h"

#include "base/macro.h"
#include "base/proc.h"

#include <poll.h>
#include <sys/socket.h>

void client_reply_done(struct client_reply *r)
{
	json_decref(r->params);
	r->params = NULL;
	for (size_t i = 0; i < r->nfds; i++)
		fd_close(&r->fds[i]);
	r->nfds = 0;
}

static int garbage(struct client *c, struct err *e, const char *what)
{
	err_set(e, ERR_DAEMON, "the answer on %s is not vpsd's: %s", c->path, what);
	return err_hint(e, "if vps has been upgraded, end the old vpsd: vps daemon stop");
}

/* Reads some bytes and the fds that come with them. 0 at the end of the connection. */
static int read_some(struct client *c, struct err *e)
{
	char chunk[65536];
	size_t got = 0;
	ssize_t n = fd_recv(c->fd, chunk, sizeof(chunk), c->fds + c->nfds, FD_MSG_MAX - c->nfds,
			    &got);

	c->nfds += got;
	if (n == -EAGAIN)
		return 1;
	/* Set by unix_release_sock() for a peer that leaves something unread, or was never accepted. */
	c->unread = n == -ECONNRESET;
	if (n == 0 || n == -ECONNRESET)
		return 0;
	if (n < 0)
		return err_code(e, (int)n, "read from vpsd");
	if (buf_add(&c->in, chunk, (size_t)n) < 0)
		return err_code(e, -ENOMEM, "read from vpsd");
	return 1;
}

static int cancel(struct client *c, struct err *e)
{
	if (c->cancelled)
		return err_set(e, ERR_CANCELLED, "interrupted; vpsd still undoes it");
	c->cancelled = true;
	shutdown(c->fd, SHUT_WR);
	return 0;
}

/* Until `in` begins with a whole message; its length without the NUL. */
static int read_message(struct client *c, size_t *ret, struct err *e)
{
	for (;;) {
		char *nul = c->in.len > c->scanned ?
				    memchr(c->in.data + c->scanned, '\0', c->in.len - c->scanned) :
				    NULL;
		int r;

		if (nul) {
			*ret = (size_t)(nul - c->in.data);
			return 0;
		}
		c->scanned = c->in.len;
		if (c->in.len > PROTOCOL_MESSAGE_MAX)
			return garbage(c, e, "a message without end");
		r = client_wait(c, POLLIN);
		if (r == -ETIMEDOUT)
			return client_timed_out(c, e);
		if (r == -ECANCELED) {
			r = cancel(c, e);
			if (r < 0)
				return r;
			continue;
		}
		r = r < 0 ? err_code(e, r, "wait for vpsd") : read_some(c, e);
		if (r == 0 && c->cancelled)
			return err_set(e, ERR_CANCELLED, "interrupted");
		if (r <= 0)
			return r < 0 ? r : client_went_away(c, e);
	}
}

/* What the protocol itself answers with. */
static int service_error(struct client *c, const char *name, json_t *params, struct err *e)
{
	const char *parameter = json_string_value(json_object_get(params, "parameter"));

	if (STREQ(name, "InvalidParameter"))
		return err_set(e, ERR_USAGE, "%s is not a value for %s",
			       parameter ? parameter : "something", c->method->name);
	if (STREQ(name, "PermissionDenied"))
		return err_set(e, ERR_DENIED, "%s: Permission denied", c->method->name);
	if (STREQ(name, "MethodNotFound") || STREQ(name, "MethodNotImplemented") ||
	    STREQ(name, "InterfaceNotFound")) {
		err_set(e, ERR_DAEMON, "vpsd does not know %s", c->method->name);
		return err_hint(e, "it is of another version; end it: vps daemon stop");
	}
	return err_set(e, ERR_DAEMON, "vpsd answered %s with %.80s", c->method->name, name);
}

static int manager_error(struct client *c, json_t *params, struct err *e)
{
	const struct idl_member *failed = idl_error(protocol_idl(e), "Failed");
	json_int_t status;
	struct err bad;
	char path[64];

	if (idl_check(failed->type, params, path, sizeof(path), &bad) < 0)
		return garbage(c, e, bad.msg);
	status = json_integer_value(json_object_get(params, "status"));
	err_set(e, status > 0 && status < 128 ? (enum err_status)status : ERR_FAIL, "%s",
		json_string_value(json_object_get(params, "error")));
	return err_hint(e, "%s", json_string_value(json_object_get(params, "hint")));
}

static int error_reply(struct client *c, const char *error, json_t *params, struct err *e)
{
	static const char ours[] = PROTOCOL_INTERFACE ".";
	static const char service[] = "org.varlink.service.";

	if (STREQ(error, PROTOCOL_INTERFACE ".Failed"))
		return manager_error(c, params, e);
	if (strncmp(error, service, strlen(service)) == 0)
		return service_error(c, error + strlen(service), params, e);
	return garbage(c, e, strncmp(error, ours, strlen(ours)) == 0 ? "an unknown error of its own" :
								       "an error of another service");
}

/* A reply has `parameters`, `continues` and `error`, each optional, and nothing else. */
static int take_reply(struct client *c, json_t *m, struct client_reply *ret, struct err *e)
{
	const char *error = NULL;
	json_t *params = NULL;
	struct err bad;
	char path[64];
	int continues = 0;

	if (json_unpack(m, "{s?o, s?b, s?s !}", "parameters", &params, "continues", &continues,
			"error", &error) < 0)
		return garbage(c, e, "not a Varlink reply");
	c->unanswered = continues;
	if (error)
		return error_reply(c, error, params, e);
	if (continues && !c->more)
		return garbage(c, e, "more replies than one");
	if (idl_check(c->method->out, params, path, sizeof(path), &bad) < 0)
		return garbage(c, e, bad.msg);
	*ret = (struct client_reply){ .params = params ? json_incref(params) : json_object(),
				      .continues = continues, .nfds = c->nfds };
	memcpy(ret->fds, c->fds, sizeof(int) * c->nfds);
	c->nfds = 0;
	return 0;
}

int client_recv(struct client *c, struct client_reply *ret, struct err *e)
{
	json_t *m;
	size_t len = 0;
	int r = read_message(c, &len, e);

	if (r < 0)
		return r;
	m = json_loadb(c->in.data, len, 0, NULL);
	c->in.len -= len + 1;
	memmove(c->in.data, c->in.data + len + 1, c->in.len);
	c->scanned = 0;
	r = m ? take_reply(c, m, ret, e) : garbage(c, e, "not JSON");
	json_decref(m);
	client_drop_fds(c);
	return r;
}

bool client_in_doubt(const struct client *c)
{
	return c->unanswered;
}

int client_drain(struct client *c, struct err *e)
{
	c->deadline_us = now_monotonic_us() + (uint64_t)c->timeout_ms * 1000;
	for (;;) {
		int r = client_wait(c, POLLIN);

		if (r == -ETIMEDOUT)
			return client_timed_out(c, e);
		if (r < 0)
			return err_code(e, r, "wait for vpsd");
		r = read_some(c, e);
		c->in.len = c->scanned = 0;
		client_drop_fds(c);
		if (r <= 0)
			return r;
	}
}
