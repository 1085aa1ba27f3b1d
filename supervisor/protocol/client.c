/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "supervisor/protocol/client.h"

#include "base/macro.h"
#include "base/parse.h"
#include "base/proc.h"
#include "base/sock.h"
#include "base/str.h"
#include "supervisor/protocol/interface.h"
#include "supervisor/protocol/spawn.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>

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
	uint64_t deadline_us; /* CLOCK_MONOTONIC; 0: none */
	const char *ahead;    /* the call that was sent already */
	struct buf in;
	size_t scanned;  /* bytes of `in` known to have no NUL */
	int fds[FD_MSG_MAX];
	size_t nfds;
};

enum { READ_QUICK = 1, READ_LONG = 2 };

/* Calls that change nothing, so that they may be asked again. */
static int read_kind(const char *method)
{
	static const char *const quick[] = { "Version",   "Settings", "List",   "Status",
					     "GetConfig", "Logs",     "Doctor", "Templates" };

	for (size_t i = 0; i < ARRAY_SIZE(quick); i++)
		if (STREQ(method, quick[i]))
			return READ_QUICK;
	return STREQ(method, "Wait") ? READ_LONG : 0;
}

static void drop_fds(struct client *c)
{
	while (c->nfds > 0)
		close(c->fds[--c->nfds]);
}

void client_reply_done(struct client_reply *r)
{
	json_decref(r->params);
	r->params = NULL;
	for (size_t i = 0; i < r->nfds; i++)
		fd_close(&r->fds[i]);
	r->nfds = 0;
}

void client_free(struct client *c)
{
	if (!c)
		return;
	drop_fds(c);
	buf_done(&c->in);
	fd_close(&c->fd);
	free(c);
}

static bool always_stop(int fd, void *ctx)
{
	char drain[256]; /* a signalfd record is 128 bytes */

	(void)ctx;
	return read(fd, drain, sizeof(drain)) > 0;
}

void client_cancel_on(struct client *c, int fd, bool (*stop)(int fd, void *ctx), void *ctx)
{
	c->cancel_fd = fd;
	c->stop = stop ? stop : always_stop;
	c->stop_ctx = ctx;
}

int client_fd(const struct client *c)
{
	return c->fd;
}

static int not_running(struct client *c, struct err *e)
{
	err_set(e, ERR_DAEMON, "vpsd does not run (nobody listens on %s)", c->path);
	err_hint(e, "%s", c->flags & CLIENT_START ? "only root can start it" : "vps daemon start");
	return -ESRCH;
}

/* connect(2) gives ECONNREFUSED for a file that is no socket too. */
static int not_a_socket(struct client *c, struct err *e)
{
	struct stat st;

	if (lstat(c->path, &st) < 0 || S_ISSOCK(st.st_mode))
		return 0;
	err_set(e, ERR_DAEMON, "%s is not a socket", c->path);
	return err_hint(e, "something else was put there; remove it");
}

static int check_peer(struct client *c, struct err *e)
{
	pid_t pid;
	uid_t uid;
	gid_t gid;
	int r = sock_peer(c->fd, &pid, &uid, &gid);

	if (r < 0)
		return err_code(e, r, "ask who listens on %s", c->path);
	if (uid == 0 || uid == geteuid())
		return 0;
	return err_set(e, ERR_DAEMON, "%s is not a socket of vpsd: it belongs to uid %u", c->path,
		       (unsigned)uid);
}

static int try_connect(struct client *c, struct err *e)
{
	fd_close(&c->fd);
	drop_fds(c);
	c->in.len = c->scanned = 0;
	c->cancelled = false;
	c->fd = sock_connect(c->path, SOCK_STREAM);
	if (c->fd >= 0)
		return check_peer(c, e);
	if (c->fd == -ENOENT || c->fd == -ENOTDIR)
		return -ENOENT;
	if (c->fd == -ECONNREFUSED)
		return not_a_socket(c, e) < 0 ? -EPROTO : -ENOENT;
	if (c->fd == -EACCES || c->fd == -EPERM) {
		err_set(e, ERR_DENIED, "connect to %s: Permission denied", c->path);
		err_hint(e, "vps is for root and the socket's group");
		return -EACCES;
	}
	if (c->fd == -EPROTOTYPE) {
		err_set(e, ERR_DAEMON, "%s is not a socket of vpsd", c->path);
		return -EPROTO;
	}
	err_code(e, c->fd, "connect to %s", c->path);
	e->code = ERR_DAEMON;
	return -EPROTO;
}

/* -ENOENT of try_connect() alone means that there is no vpsd (and e is not filled). */
static int reconnect(struct client *c, struct err *e)
{
	int r = try_connect(c, e);

	if (r == -ENOENT && (c->flags & CLIENT_START) && geteuid() == 0) {
		r = spawn_vpsd(&c->root, c->timeout_ms, e);
		if (r < 0)
			return r;
		r = try_connect(c, e);
	}
	return r == -ENOENT ? not_running(c, e) : r;
}

static int client_new(struct client **ret, const struct host_root *root, unsigned flags, struct err *e)
{
	const char *limit = getenv("VPS_TIMEOUT");
	cleanup_client struct client *c = calloc(1, sizeof(*c));
	uint64_t us;

	if (!c)
		return err_code(e, -ENOMEM, "connect to vpsd");
	c->fd = c->cancel_fd = -EBADF;
	c->root = *root;
	c->flags = flags;
	c->timeout_ms = 30000;
	if (limit && *limit) {
		if (parse_duration(limit, &us) < 0 || us < 1000 || us > 86400ULL * 1000000)
			return err_set(e, ERR_USAGE, "VPS_TIMEOUT: %.40s is not a duration", limit);
		c->timeout_ms = (int)(us / 1000);
	}
	snprintf(c->path, sizeof(c->path), "%s/vpsd.sock", root->run);
	*ret = TAKE_PTR(c);
	return 0;
}

int client_open(struct client **ret, const struct host_root *root, unsigned flags, struct err *e)
{
	cleanup_client struct client *c = NULL;
	int r = client_new(&c, root, flags, e);

	if (r == 0)
		r = reconnect(c, e);
	if (r < 0)
		return r;
	*ret = TAKE_PTR(c);
	return 0;
}

int client_adopt(struct client **ret, const struct host_root *root, int fd, const char *text, struct err *e)
{
	int r = client_new(ret, root, 0, e);

	if (r < 0)
		return r;
	(*ret)->fd = fd;
	(*ret)->ahead = text;
	return 0;
}

static int went_away(struct client *c, struct err *e)
{
	err_set(e, ERR_DAEMON, "vpsd went away before it answered");
	if (!read_kind(c->method->name))
		err_hint(e, "what it was doing is finished or undone when it runs again");
	return -EPIPE;
}

static int garbage(struct client *c, struct err *e, const char *what)
{
	err_set(e, ERR_DAEMON, "the answer on %s is not vpsd's: %s", c->path, what);
	return err_hint(e, "if vps has been upgraded, end the old vpsd: vps daemon stop");
}

/* Waits for the socket. 1: ready; -ECANCELED: the caller wants no more; -ETIMEDOUT. */
static int wait_socket(struct client *c, short events)
{
	for (;;) {
		struct pollfd p[] = { { .fd = c->fd, .events = events },
				      { .fd = c->cancel_fd, .events = POLLIN } };
		uint64_t now = c->deadline_us ? now_monotonic_us() : 0;
		int ms = !c->deadline_us     ? -1 :
			 now >= c->deadline_us ? 0 :
						 (int)((c->deadline_us - now + 999) / 1000);
		int n = poll(p, ARRAY_SIZE(p), ms);

		if (n < 0 && errno != EINTR)
			return -errno;
		if (n == 0)
			return -ETIMEDOUT;
		if (n > 0 && p[0].revents)
			return 1;
		if (n > 0 && p[1].revents && c->stop(c->cancel_fd, c->stop_ctx))
			return -ECANCELED;
	}
}

static int timed_out(struct client *c, struct err *e)
{
	err_set(e, ERR_DAEMON, "vpsd does not answer on %s", c->path);
	return err_hint(e, "its log is %s/vpsd.log", c->root.run);
}

static int send_all(struct client *c, const char *text, size_t len, const int *fds, size_t nfds,
		    struct err *e)
{
	while (len > 0) {
		/* MSG_DONTWAIT by poll: a vpsd that does not read must not hold us for ever. */
		ssize_t n = wait_socket(c, POLLOUT);

		if (n == -ECANCELED)
			return err_set(e, ERR_CANCELLED, "interrupted");
		if (n == -ETIMEDOUT)
			return timed_out(c, e);
		if (n > 0)
			n = fd_send(c->fd, text, len, fds, nfds);
		if (n == -EAGAIN)
			continue;
		if (n == -EPIPE || n == -ECONNRESET)
			return went_away(c, e);
		if (n < 0)
			return err_code(e, (int)n, "send to vpsd");
		text += n;
		len -= (size_t)n;
		nfds = 0; /* they went with the first byte */
	}
	return 0;
}

static int check_call(struct client *c, const char *method, json_t *in, struct err *e)
{
	const struct idl *i = protocol_idl(e);
	char path[64];

	if (!i)
		return -EINVAL;
	c->method = idl_method(i, method);
	if (!c->method)
		return err_set(e, ERR_FAIL, "there is no method %s", method);
	return idl_check(c->method->type, in, path, sizeof(path), e);
}

/* It was written by who knew less of what is asked: the two must not differ. */
static int sent_ahead(struct client *c, const char *text, struct err *e)
{
	bool same = STREQ(c->ahead, text);

	c->ahead = NULL;
	return same ? 0 : err_set(e, ERR_FAIL, "vpsd was asked for something else");
}

int client_send(struct client *c, const char *method, json_t *in, const int *fds, size_t nfds,
		bool more, struct err *e)
{
	cleanup_free char *text = NULL;
	json_t *call;
	int r = check_call(c, method, in, e);

	if (r < 0) {
		json_decref(in);
		return r;
	}
	call = json_pack("{s:s+, s:o}", "method", PROTOCOL_INTERFACE ".", method, "parameters",
			 in ? in : json_object());
	if (call && more)
		json_object_set_new(call, "more", json_true());
	text = call ? json_dumps(call, JSON_COMPACT) : NULL;
	json_decref(call);
	if (!text)
		return err_code(e, -ENOMEM, "call vpsd");
	if (strlen(text) > PROTOCOL_MESSAGE_MAX)
		return err_set(e, ERR_USAGE, "what is to be sent is larger than %u MiB",
			       PROTOCOL_MESSAGE_MAX >> 20);
	fd_set_nonblock(c->fd, true);
	c->more = more;
	if (c->ahead)
		return sent_ahead(c, text, e);
	c->deadline_us = read_kind(method) == READ_QUICK ?
				 now_monotonic_us() + (uint64_t)c->timeout_ms * 1000 :
				 0;
	return send_all(c, text, strlen(text) + 1, fds, nfds, e);
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
		r = wait_socket(c, POLLIN);
		if (r == -ETIMEDOUT)
			return timed_out(c, e);
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
			return r < 0 ? r : went_away(c, e);
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
	drop_fds(c);
	return r;
}

int client_call(struct client *c, const char *method, json_t *in, const int *fds, size_t nfds,
		struct client_reply *ret, struct err *e)
{
	json_t *again = read_kind(method) && in ? json_incref(in) : NULL;
	int r = client_send(c, method, in, fds, nfds, false, e);

	if (r == 0)
		r = client_recv(c, ret, e);
	if (r == -EPIPE && read_kind(method)) {
		r = reconnect(c, e);
		if (r == 0)
			r = client_send(c, method, json_incref(again), fds, nfds, false, e);
		if (r == 0)
			r = client_recv(c, ret, e);
	}
	json_decref(again);
	return r;
}

int client_drain(struct client *c, struct err *e)
{
	c->deadline_us = now_monotonic_us() + (uint64_t)c->timeout_ms * 1000;
	for (;;) {
		int r = wait_socket(c, POLLIN);

		if (r == -ETIMEDOUT)
			return timed_out(c, e);
		if (r < 0)
			return err_code(e, r, "wait for vpsd");
		r = read_some(c, e);
		c->in.len = c->scanned = 0;
		drop_fds(c);
		if (r <= 0)
			return r;
	}
}
