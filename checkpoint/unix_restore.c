/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Unix sockets, made again. Connections come first, each through a listener of its own that has the name only for it;
 * then what has a name for itself. */
#include "checkpoint/unix.h"

#include "base/fd.h"
#include "base/macro.h"
#include "base/path.h"
#include "checkpoint/as.h"
#include "checkpoint/lend.h"
#include "checkpoint/pairs.h"
#include "checkpoint/image.pb-c.h"
#include "checkpoint/sockopt.h"
#include "checkpoint/tcp.h"
#include "checkpoint/unix_restore.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

ProtobufCBinaryData unix_address(const struct unix_place *at, struct sockaddr_un *sa)
{
	*sa = (struct sockaddr_un){ .sun_family = AF_UNIX };
	/* One that was moved to a name which no address has room for is not found. */
	snprintf(sa->sun_path, sizeof(sa->sun_path), "%s", at->base);
	return (ProtobufCBinaryData){ sizeof(*sa), (uint8_t *)sa };
}

static int call_connect(void *arg, struct err *e)
{
	const struct unix_call *c = arg;

	return connect(c->fd, (const void *)c->name.data, (socklen_t)c->name.len) < 0 ?
		       err_sys(e, "use the name of a unix socket again") :
		       0;
}

/* As `who`: by the process of that number when it is there already. */
static int call_as(const struct ckpt_opening *o, const Ckpt__Credentials *who, int root,
		   int (*fn)(void *arg, struct err *e), void *arg, struct ckpt_lend *q, int ret_fds[2], struct err *e)
{
	if (o->lender >= 0 && who && ckpt_lend_is_taken((pid_t)who->pid))
		return ckpt_lend_ask(o->lender, who, q, ret_fds, e);
	return ckpt_as(who, root, fn, arg, e);
}

int unix_connect(const struct ckpt_opening *o, const Ckpt__Credentials *who, struct unix_place *to, int fd,
		 const ProtobufCBinaryData *name, struct err *e)
{
	struct ckpt_lend q = { .op = CKPT_LEND_CONNECT, .fd = fd, .place = -1, .len = (uint32_t)name->len };
	cleanup_close int dir = TAKE_FD(to->dir), place = -EBADF;
	struct sockaddr_un sa;
	struct unix_call c = { fd, dir < 0 ? *name : unix_address(to, &sa) };

	if (name->len > sizeof(q.addr))
		return err_set(e, ERR_FAIL, "the image is damaged: the name of a unix socket");
	memcpy(q.addr, name->data, name->len);
	if (dir >= 0 && o->lender >= 0) {
		q.place = place = openat(dir, to->base, O_PATH | O_NOFOLLOW | O_CLOEXEC);
		if (place < 0)
			return err_sys(e, "open %s", to->base);
	}
	return call_as(o, who, dir, call_connect, &c, &q, NULL, e);
}

struct listening {
	int fd, backlog;
};

static int call_listen(void *arg, struct err *e)
{
	const struct listening *l = arg;

	return listen(l->fd, l->backlog) < 0 ? err_sys(e, "listen at a unix socket again") : 0;
}

static int listen_as(const struct ckpt_opening *o, const Ckpt__Credentials *who, int fd, int backlog, struct err *e)
{
	struct listening l = { fd, backlog };
	struct ckpt_lend q = { .op = CKPT_LEND_LISTEN, .fd = fd, .place = -1, .value = (uint32_t)backlog };

	return call_as(o, who, -EBADF, call_listen, &l, &q, NULL, e);
}

struct pairing {
	int type, fds[2];
};

static int call_pair(void *arg, struct err *e)
{
	struct pairing *p = arg;

	return socketpair(AF_UNIX, p->type | SOCK_CLOEXEC, 0, p->fds) < 0 ?
		       err_sys(e, "make a pair of unix sockets") :
		       0;
}

/* One that was accepted, by its listener's name, and the one that connected to it. */
struct connection {
	const ProtobufCBinaryData *name, *client_name;
	const Ckpt__Credentials *accepted, *client; /* what either says of the other end */
	int type;
	size_t i; /* of a scratch root */
	bool bind_client;
};

static int connect_pair(const struct ckpt_opening *o, const struct connection *c, int ret[2],
			struct err *e)
{
	uint32_t space = o->tree->files[c->i]->space;
	cleanup_close int t = ckpt_opening_socket(o, space, AF_UNIX, c->type, 0, e);
	cleanup_close int client =
		t < 0 ? -EBADF : ckpt_opening_socket(o, space, AF_UNIX, c->type, 0, e);
	struct unix_place at = UNIX_NOWHERE;
	int r = t < 0 ? t : client < 0 ? client : 0;

	if (r == 0)
		r = unix_bind_aside(o, c->i, t, c->name, &at, e);
	if (r == 0)
		r = listen_as(o, c->client, t, 1, e);
	/* Which may have the same name, and is in another root then. */
	if (r == 0 && c->bind_client)
		r = unix_bind_aside(o, c->i + o->tree->file_count, client, c->client_name, NULL, e);
	if (r == 0)
		r = unix_connect(o, c->accepted, &at, client, c->name, e);
	fd_close(&at.dir);
	if (r < 0)
		return r;
	ret[0] = accept4(t, NULL, NULL, SOCK_CLOEXEC);
	if (ret[0] < 0)
		return err_sys(e, "accept a unix socket again");
	ret[1] = TAKE_FD(client);
	return 0;
}

/* A closed other end stays open until what it said is there again. */
static int keep_mate(struct ckpt_opening *o, size_t i, int fd, struct err *e)
{
	o->mates[i] = fcntl(fd, F_DUPFD_CLOEXEC, o->end);
	close(fd);
	return o->mates[i] < 0 ? err_sys(e, "keep a unix socket") : 0;
}

/* fds[0] is file i, fds[1] its other end, file k or nobody's. */
static int place_pair(struct ckpt_opening *o, size_t i, size_t k, int fds[2], struct err *e)
{
	int r = ckpt_socket_place(o, i, fds[0], e);

	close(fds[0]);
	if (k == UNIX_NOBODY)
		return r < 0 ? (close(fds[1]), r) : keep_mate(o, i, fds[1], e);
	if (r == 0)
		r = ckpt_socket_place(o, k, fds[1], e);
	close(fds[1]);
	return r;
}

/* Who of two is the accepted one: it has its listener's name and none of its own. */
static bool is_accepted(const Ckpt__Socket *s)
{
	return unix_is_named(&s->name) && s->local->bound == CKPT_UNIX_UNBOUND;
}

static int make_connected(struct ckpt_opening *o, size_t i, struct err *e)
{
	const Ckpt__Socket *s = o->tree->files[i]->socket, *other = NULL;
	size_t k = s->local->link == CKPT_UNIX_PAIR ? s->local->peer - 1 : UNIX_NOBODY;
	uint32_t space = o->tree->files[i]->space;
	struct pairing p = { .type = (int)s->type };
	struct ckpt_lend q = { .op = CKPT_LEND_PAIR, .fd = o->lender, .place = -1 };
	cleanup_close int net = -EBADF;
	struct connection c = { .type = (int)s->type, .i = i };
	int fds[2], r;

	if (k != UNIX_NOBODY)
		other = o->tree->files[k]->socket;
	if (o->paired && o->paired[i]) {
		r = ckpt_pair_take(o, i, k, p.fds, e);
		return r < 0 ? r : place_pair(o, i, k, p.fds, e);
	}
	if (!unix_is_named(&s->name) && !unix_is_named(&s->peer)) {
		q.value = s->type;
		r = space ? ckpt_opening_enter(o, space, e) : 0;
		if (r == 0 && space && o->lender >= 0)
			q.place = net = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
		if (r == 0)
			r = call_as(o, s->local->credentials, -EBADF, call_pair, &p, &q, p.fds, e);
		if (r == 0 && space)
			r = ckpt_opening_enter(o, 0, e);
		return r < 0 ? r : place_pair(o, i, k, p.fds, e);
	}
	if (is_accepted(s) || !unix_is_named(&s->peer) ||
	    (other && !is_accepted(other) && !unix_is_named(&other->name))) {
		c.name = &s->name;
		c.client_name = &s->peer;
		c.accepted = s->local->credentials;
		c.client = other ? other->local->credentials : NULL;
		c.bind_client = !other || other->local->bound != CKPT_UNIX_LIVE;
		r = connect_pair(o, &c, fds, e);
	} else {
		c.name = &s->peer;
		c.client_name = &s->name;
		c.accepted = other ? other->local->credentials : NULL;
		c.client = s->local->credentials;
		c.bind_client = s->local->bound != CKPT_UNIX_LIVE;
		r = connect_pair(o, &c, fds, e);
		if (r == 0) {
			int accepted = fds[0];

			fds[0] = fds[1];
			fds[1] = accepted;
		}
	}
	return r < 0 ? r : place_pair(o, i, k, fds, e);
}

static int bind_again(struct ckpt_opening *o, size_t i, struct err *e)
{
	const Ckpt__Socket *s = o->tree->files[i]->socket;
	bool connected = s->type != SOCK_DGRAM &&
			 (s->local->link == CKPT_UNIX_PAIR || s->local->link == CKPT_UNIX_ALONE ||
			  s->local->link == CKPT_UNIX_RESET);

	if (s->local->bound == CKPT_UNIX_LIVE)
		return unix_bind_live(o, i, e);
	if (s->local->bound == CKPT_UNIX_UNBOUND || connected)
		return 0; /* with its connection */
	return unix_bind_aside(o, i, o->fds[i], &s->name, NULL, e);
}

static bool is_unix(const struct ckpt_opening *o, size_t i)
{
	return o->tree->files[i]->socket && o->tree->files[i]->socket->family == AF_UNIX;
}

/* With its other end at once, or alone for now. */
static int make(struct ckpt_opening *o, size_t i, struct err *e)
{
	const Ckpt__Socket *s = o->tree->files[i]->socket;
	enum ckpt_unix_link link = s->local->link;
	int fd, r;

	if (link == CKPT_UNIX_PAIR ||
	    ((link == CKPT_UNIX_ALONE || link == CKPT_UNIX_RESET) && s->type != SOCK_DGRAM) ||
	    (link == CKPT_UNIX_ALONE && !unix_is_named(&s->peer)))
		return o->fds[i] >= 0 ? 0 : make_connected(o, i, e);
	fd = ckpt_opening_socket(o, o->tree->files[i]->space, AF_UNIX, (int)s->type, 0, e);
	if (fd < 0)
		return fd;
	r = ckpt_socket_place(o, i, fd, e);
	close(fd);
	return r;
}

static uint32_t count_waiting(const struct ckpt_opening *o, size_t listener)
{
	uint32_t n = 0;

	for (size_t i = 0; i < o->tree->file_count; i++)
		n += is_unix(o, i) && o->tree->files[i]->socket->local->link == CKPT_UNIX_WAITING &&
		     o->tree->files[i]->socket->local->peer == listener + 1;
	return n;
}

/* It may have been told to let fewer wait than already did: who connects to it now is not to wait for room. */
static int listen_wide(struct ckpt_opening *o, size_t i, struct err *e)
{
	const Ckpt__Socket *s = o->tree->files[i]->socket;
	uint32_t waiting = s->state == TCP_LISTEN ? count_waiting(o, i) : 0;

	if (s->state != TCP_LISTEN)
		return 0;
	if (waiting && ckpt_sockopts_hand_on(o->fds[i], s, e) < 0)
		return -EIO;
	return listen_as(o, s->local->credentials, o->fds[i], (int)(s->backlog > waiting ? s->backlog : waiting), e);
}

static int listen_narrow(struct ckpt_opening *o, size_t i, struct err *e)
{
	const Ckpt__Socket *s = o->tree->files[i]->socket;

	return s->state == TCP_LISTEN && s->backlog < count_waiting(o, i) ?
		       listen_as(o, s->local->credentials, o->fds[i], (int)s->backlog, e) :
		       0;
}

static int wait_again(struct ckpt_opening *o, size_t i, struct err *e)
{
	const Ckpt__Socket *s = o->tree->files[i]->socket;
	Ckpt__Credentials owner = CKPT__CREDENTIALS__INIT, *who = s->local->connector;
	struct unix_place to = UNIX_NOWHERE;
	int r;

	/* Where nobody can tell who connected, who owns it is the best guess. */
	owner.uid = s->uid;
	owner.gid = s->gid;
	r = unix_find(o, s->local->peer - 1, &to, e);
	return r == 0 ? unix_connect(o, who ? who : &owner, &to, o->fds[i], &s->peer, e) : r;
}

static int by_turn(const void *one, const void *other, void *arg)
{
	const struct ckpt_tree *t = arg;
	uint32_t a = t->files[*(const uint32_t *)one]->socket->local->turn, b = t->files[*(const uint32_t *)other]->socket->local->turn;

	return (a > b) - (a < b);
}

/* Who waits longest is accepted first. */
static int wait_in_turn(struct ckpt_opening *o, struct err *e)
{
	cleanup_free uint32_t *waiting = calloc(o->tree->file_count + 1, sizeof(*waiting));
	size_t n = 0;
	int r = 0;

	if (!waiting)
		return err_code(e, -ENOMEM, "restore unix sockets");
	for (size_t i = 0; i < o->tree->file_count; i++)
		if (is_unix(o, i) && o->tree->files[i]->socket->local->link == CKPT_UNIX_WAITING)
			waiting[n++] = (uint32_t)i;
	qsort_r(waiting, n, sizeof(*waiting), by_turn, (void *)(uintptr_t)o->tree);
	for (size_t i = 0; r == 0 && i < n; i++)
		r = wait_again(o, waiting[i], e);
	return r;
}

static int each(struct ckpt_opening *o, int (*pass)(struct ckpt_opening *o, size_t i, struct err *e), struct err *e)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < o->tree->file_count; i++)
		if (is_unix(o, i))
			r = pass(o, i, e);
	return r;
}

static int set_options(struct ckpt_opening *o, size_t i, struct err *e)
{
	const Ckpt__Socket *s = o->tree->files[i]->socket;
	int r = ckpt_sockopts_set(o->fds[i], s, CKPT_SOCKOPT_EARLY, e);

	return r == 0 ? ckpt_sockopts_set(o->fds[i], s, CKPT_SOCKOPT_BOUND, e) : r;
}

int ckpt_unix_make(struct ckpt_opening *o, struct err *e)
{
	static int (*const passes[])(struct ckpt_opening * o, size_t i, struct err * e) = { make, bind_again, listen_wide };
	int r = 0;

	for (size_t p = 0; r == 0 && p < ARRAY_SIZE(passes); p++)
		r = each(o, passes[p], e);
	if (r == 0)
		r = wait_in_turn(o, e);
	if (r == 0)
		r = each(o, listen_narrow, e);
	return r == 0 ? each(o, set_options, e) : r;
}
