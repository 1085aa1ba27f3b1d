/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "supervisor/protocol/client_internal.h"

#include "base/macro.h"
#include "base/parse.h"
#include "base/proc.h"
#include "base/sock.h"
#include "supervisor/protocol/spawn.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>

#define TRIES 10 /* to reach a vpsd that does not go away meanwhile */

enum { READ_QUICK = 1, READ_LONG = 2 };

/* Calls that change nothing, so that they may be asked again. */
static int read_kind(const char *method)
{
	static const char *const quick[] = { "Version",  "Settings", "List", "Status", "Stats",    "StatsAll",
					     "Counters", "GetConfig", "Logs", "Doctor", "Templates" };

	for (size_t i = 0; i < ARRAY_SIZE(quick); i++)
		if (STREQ(method, quick[i]))
			return READ_QUICK;
	return STREQ(method, "Wait") || STREQ(method, "Movable") ? READ_LONG : 0;
}

void client_drop_fds(struct client *c)
{
	while (c->nfds > 0)
		close(c->fds[--c->nfds]);
}

void client_free(struct client *c)
{
	if (!c)
		return;
	client_drop_fds(c);
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
	client_drop_fds(c);
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
	bool may_start = (c->flags & CLIENT_START) && geteuid() == 0;
	int r = try_connect(c, e);

	/* Who listened when ours was to start may be gone when it is asked. */
	for (int i = 0; r == -ENOENT && may_start && i < TRIES; i++) {
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

int client_adopt(struct client **ret, const struct host_root *root, unsigned flags, int fd, const char *text,
		 struct err *e)
{
	int r = client_new(ret, root, flags, e);

	if (r < 0)
		return r;
	(*ret)->fd = fd;
	(*ret)->ahead = text;
	return 0;
}

int client_went_away(struct client *c, struct err *e)
{
	err_set(e, ERR_DAEMON, "vpsd went away before it answered");
	if (!read_kind(c->method->name))
		err_hint(e, "what it was doing is finished or undone when it runs again");
	return -EPIPE;
}

int client_wait(struct client *c, short events)
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

int client_timed_out(struct client *c, struct err *e)
{
	err_set(e, ERR_DAEMON, "vpsd does not answer on %s", c->path);
	return err_hint(e, "its log is %s/vpsd.log", c->root.run);
}

static int send_all(struct client *c, const char *text, size_t len, const int *fds, size_t nfds,
		    struct err *e)
{
	while (len > 0) {
		/* MSG_DONTWAIT by poll: a vpsd that does not read must not hold us for ever. */
		ssize_t n = client_wait(c, POLLOUT);

		if (n == -ECANCELED)
			return err_set(e, ERR_CANCELLED, "interrupted");
		if (n == -ETIMEDOUT)
			return client_timed_out(c, e);
		if (n > 0)
			n = fd_send(c->fd, text, len, fds, nfds);
		if (n == -EAGAIN)
			continue;
		c->unread = n == -EPIPE || n == -ECONNRESET;
		if (c->unread)
			return client_went_away(c, e);
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
	r = c->fd < 0 ? reconnect(c, e) : 0; /* the call before this one found nobody */
	if (r < 0)
		return r;
	fd_set_nonblock(c->fd, true);
	c->more = more;
	c->unread = false;
	c->unanswered = true;
	if (c->ahead)
		return sent_ahead(c, text, e);
	c->deadline_us = read_kind(method) == READ_QUICK ?
				 now_monotonic_us() + (uint64_t)c->timeout_ms * 1000 :
				 0;
	return send_all(c, text, strlen(text) + 1, fds, nfds, e);
}

/*
 * Whether a call may be asked again of the next vpsd when this one went away: it changes nothing, or nobody has
 * read it. So it is when a vpsd has died, and a child of it, born a moment before, has the socket until its own
 * program begins.
 */
static bool may_ask_again(const struct client *c)
{
	return read_kind(c->method->name) || c->unread;
}

int client_ask(struct client *c, const char *method, json_t *in, const int *fds, size_t nfds, bool more,
	       struct client_reply *ret, struct err *e)
{
	json_t *again = json_incref(in);
	int r = client_send(c, method, in, fds, nfds, more, e);

	if (r == 0)
		r = client_recv(c, ret, e);
	for (int i = 0; r == -EPIPE && may_ask_again(c) && i < TRIES; i++) {
		r = reconnect(c, e);
		if (r == 0)
			r = client_send(c, method, json_incref(again), fds, nfds, more, e);
		if (r == 0)
			r = client_recv(c, ret, e);
	}
	json_decref(again);
	return r;
}

int client_call(struct client *c, const char *method, json_t *in, const int *fds, size_t nfds,
		struct client_reply *ret, struct err *e)
{
	return client_ask(c, method, in, fds, nfds, false, ret, e);
}
