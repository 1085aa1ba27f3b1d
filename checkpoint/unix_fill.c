/* SPDX-License-Identifier: GPL-2.0-or-later */

/* What is queued in unix sockets, sent again: by the other end, or by who has or had the sender's name. */
#include "base/fd.h"
#include "base/macro.h"
#include "checkpoint/as.h"
#include "checkpoint/lend.h"
#include "checkpoint/sockopt.h"
#include "checkpoint/tcp.h"
#include "checkpoint/unix_restore.h"

#include <errno.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

#define RIGHTS_MAX 253 /* SCM_MAX_FD */

struct sending {
	const struct ckpt_opening *o;
	int fd;
	const ProtobufCBinaryData *to; /* NULL: to the other end */
	int root; /* in which `to` leads there; negative: the VPS's */
	const Ckpt__SocketData *q;
	size_t done;
	pid_t as; /* who is said to have sent it; 0: who does */
};

union control {
	uint8_t buf[CMSG_SPACE(sizeof(int) * RIGHTS_MAX) + CMSG_SPACE(sizeof(struct ucred))];
	struct cmsghdr align;
};

static void put_control(const struct sending *s, struct msghdr *m, union control *c)
{
	const Ckpt__SocketData *q = s->q;
	struct ucred u = { s->as ? s->as : (pid_t)syscall(SYS_getpid), 0, 0 };
	struct cmsghdr *h = &c->align;
	size_t len = 0;

	if (q->n_rights && s->done == 0) {
		h->cmsg_level = SOL_SOCKET;
		h->cmsg_type = SCM_RIGHTS;
		h->cmsg_len = CMSG_LEN(q->n_rights * sizeof(int));
		for (size_t i = 0; i < q->n_rights; i++)
			((int *)(void *)CMSG_DATA(h))[i] = s->o->fds[q->rights[i] - 1];
		len = CMSG_SPACE(q->n_rights * sizeof(int));
		h = (struct cmsghdr *)(void *)(c->buf + len);
	}
	if (q->sender) {
		u.uid = q->sender->uid;
		u.gid = q->sender->gid;
		h->cmsg_level = SOL_SOCKET;
		h->cmsg_type = SCM_CREDENTIALS;
		h->cmsg_len = CMSG_LEN(sizeof(u));
		memcpy(CMSG_DATA(h), &u, sizeof(u));
		len += CMSG_SPACE(sizeof(u));
	}
	m->msg_control = len ? c->buf : NULL;
	m->msg_controllen = len;
}

static int call_send(void *arg, struct err *e)
{
	struct sending *s = arg;
	union control c = { { 0 } };
	struct iovec iov = { s->q->data.data + s->done, s->q->data.len - s->done };
	struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1 };
	ssize_t n;

	if (s->to) {
		m.msg_name = s->to->data;
		m.msg_namelen = (socklen_t)s->to->len;
	}
	put_control(s, &m, &c);
	n = sendmsg(s->fd, &m, MSG_DONTWAIT | MSG_NOSIGNAL);
	if (n < 0)
		return err_sys(e, "fill a unix socket");
	s->done += (size_t)n;
	return 0;
}

static int send_all(struct sending *s, struct err *e)
{
	const Ckpt__Credentials *who = s->q->sender;
	int r;

	/* Root may say that anybody who is there has sent it. */
	if (s->o->lender >= 0 && who && ckpt_lend_is_taken((pid_t)who->pid)) {
		s->as = (pid_t)who->pid;
		who = NULL;
	}
	do
		r = ckpt_as(who, s->root, call_send, s, e);
	while (r == 0 && s->done < s->q->data.len);
	return r;
}

static bool same_bytes(const ProtobufCBinaryData *a, const ProtobufCBinaryData *b)
{
	return a->len == b->len && memcmp(a->data, b->data, a->len) == 0;
}

/* Who has the name that a datagram came from; -1: nobody, any more. */
static int find_sender(const struct ckpt_opening *o, const ProtobufCBinaryData *from)
{
	for (size_t i = 0; from->len && i < o->tree->file_count; i++) {
		const Ckpt__Socket *s = o->tree->files[i]->socket;

		if (s && s->family == AF_UNIX && s->type == SOCK_DGRAM &&
		    same_bytes(&s->name, from))
			return o->fds[i];
	}
	return -1;
}

/* A datagram for one that has a name. */
static int send_to(const struct ckpt_opening *o, size_t i, const Ckpt__SocketData *q, struct err *e)
{
	const Ckpt__Socket *s = o->tree->files[i]->socket;
	struct sending m = { .o = o, .to = &s->name, .root = -EBADF, .q = q, .fd = find_sender(o, &q->from) };
	struct unix_place at = UNIX_NOWHERE;
	cleanup_close int own = -EBADF;
	ProtobufCBinaryData to;
	struct sockaddr_un sa;
	int r = 0;

	if (m.fd < 0) {
		m.fd = own = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
		if (own < 0)
			return err_sys(e, "make a unix socket");
		r = unix_bind_aside(o, o->tree->file_count + i, own, &q->from, NULL, e);
	}
	if (r == 0)
		r = unix_find(o, i, &at, e);
	if (r == 0 && at.dir >= 0) {
		to = unix_address(&at, &sa);
		m.to = &to;
		m.root = at.dir;
	}
	r = r == 0 ? send_all(&m, e) : r;
	fd_close(&at.dir);
	return r;
}

/* What does not fit into the buffer that the sender has now came from a bigger one. */
static int widen(int fd, int *was)
{
	int most = 1 << 30;
	socklen_t len = sizeof(*was);

	*was = 0;
	getsockopt(fd, SOL_SOCKET, SO_SNDBUF, was, &len);
	return setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &most, sizeof(most));
}

static void narrow(int fd, const Ckpt__Socket *s, int was)
{
	const int lock_nothing = 0;
	int half = was / 2;

	setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &half, sizeof(half));
	/* Its options have been set; nobody had locked this one when it is not among them. */
	if (s)
		ckpt_sockopt_set(fd, s, SOL_SOCKET, 72 /* SO_BUF_LOCK */, &(struct err){ 0 });
	else
		setsockopt(fd, SOL_SOCKET, 72, &lock_nothing, sizeof(lock_nothing));
}

static int fill(struct ckpt_opening *o, size_t i, struct err *e)
{
	const Ckpt__Socket *s = o->tree->files[i]->socket;
	bool pair = s->local->link == CKPT_UNIX_PAIR, waits = s->local->link == CKPT_UNIX_WAITING;
	/* Who waits has said it. */
	int mate = pair ? o->fds[s->local->peer - 1] : waits ? o->fds[i] : o->mates[i], was, r = 0;
	size_t count;
	Ckpt__SocketData **q = ckpt_socket_queue(o->tree, (uint32_t)i + 1, &count);

	if (mate < 0 && count && s->name.len <= sizeof(sa_family_t))
		return err_set(e, ERR_FAIL, "the image is damaged: what is queued for file %zu",
			       i + 1);
	if (mate >= 0 && count)
		widen(mate, &was);
	for (size_t k = 0; r == 0 && k < count; k++) {
		struct sending m = { .o = o, .root = -EBADF, .fd = mate, .q = q[k] };

		r = mate < 0 ? send_to(o, i, q[k], e) : send_all(&m, e);
	}
	if (mate >= 0 && count)
		narrow(mate, pair ? o->tree->files[s->local->peer - 1]->socket : waits ? s : NULL, was);
	return r;
}

/* The other end that is not there any more goes; with something unread, that is an error at this one. */
static int end(struct ckpt_opening *o, size_t i, struct err *e)
{
	const Ckpt__Socket *s = o->tree->files[i]->socket;
	enum ckpt_unix_link link = s->local->link;

	if (o->mates[i] >= 0) {
		if (link == CKPT_UNIX_RESET &&
		    send(o->fds[i], "", 1, MSG_DONTWAIT | MSG_NOSIGNAL) < 0)
			return err_sys(e, "leave something in a unix socket");
		close(o->mates[i]);
		o->mates[i] = -1;
		return 0;
	}
	if (s->shutdown && s->shutdown <= 3 &&
	    shutdown(o->fds[i], (int)s->shutdown - 1) < 0 && errno != ENOTCONN)
		return err_sys(e, "shut a unix socket down");
	return 0;
}

static bool is_unix(const struct ckpt_opening *o, size_t i)
{
	return o->tree->files[i]->socket && o->tree->files[i]->socket->family == AF_UNIX;
}

int ckpt_unix_fill(struct ckpt_opening *o, struct err *e)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < o->tree->file_count; i++)
		if (is_unix(o, i))
			r = fill(o, i, e);
	for (size_t i = 0; r == 0 && i < o->tree->file_count; i++)
		if (is_unix(o, i))
			r = end(o, i, e);
	return r;
}

static int connect_dead(const struct ckpt_opening *o, size_t i, struct err *e)
{
	const Ckpt__Socket *s = o->tree->files[i]->socket;
	cleanup_close int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	struct unix_place at = UNIX_NOWHERE;
	int r;

	if (fd < 0)
		return err_sys(e, "make a unix socket");
	r = unix_bind_aside(o, o->tree->file_count + i, fd, &s->peer, &at, e);
	return r < 0 ? r : unix_connect(o, NULL, &at, o->fds[i], &s->peer, e);
}

static int connect_one(const struct ckpt_opening *o, size_t i, struct err *e)
{
	const Ckpt__Socket *s = o->tree->files[i]->socket;
	const ProtobufCBinaryData *name = &s->peer;
	struct unix_place at = UNIX_NOWHERE;
	int r;

	if (s->local->link == CKPT_UNIX_ALONE && s->type == SOCK_DGRAM && unix_is_named(name))
		return connect_dead(o, i, e);
	if (s->local->link == CKPT_UNIX_TO) {
		name = &o->tree->files[s->local->peer - 1]->socket->name;
		r = unix_find(o, s->local->peer - 1, &at, e);
	} else if (s->local->link == CKPT_UNIX_OUTSIDE)
		r = unix_find_name(name, &at, e);
	else
		return 0;
	return r == 0 ? unix_connect(o, NULL, &at, o->fds[i], name, e) : r;
}

static bool is_mutual(const struct ckpt_opening *o, size_t i)
{
	const Ckpt__UnixSocket *u = o->tree->files[i]->socket->local;

	return o->tree->files[u->peer - 1]->socket->local->link == CKPT_UNIX_TO &&
	       o->tree->files[u->peer - 1]->socket->local->peer == i + 1;
}

/* Whoever sends to one that itself sends on was connected before that. */
int ckpt_unix_link(struct ckpt_opening *o, struct err *e)
{
	size_t n = o->tree->file_count;
	cleanup_free uint32_t *waiting = calloc(n + 1, sizeof(*waiting));
	cleanup_free bool *done = calloc(n + 1, sizeof(*done));
	bool more = true, forced = false;
	int r = 0;

	if (!waiting || !done)
		return err_code(e, -ENOMEM, "restore unix sockets");
	for (size_t i = 0; i < n; i++)
		if (is_unix(o, i) && o->tree->files[i]->socket->local->link == CKPT_UNIX_TO)
			waiting[o->tree->files[i]->socket->local->peer - 1] += !is_mutual(o, i);
	while (r == 0 && more) {
		bool moved = false;

		more = false;
		for (size_t i = 0; r == 0 && i < n; i++) {
			const Ckpt__UnixSocket *u =
				is_unix(o, i) ? o->tree->files[i]->socket->local : NULL;

			if (!u || done[i] || (waiting[i] && !forced)) {
				more |= u && !done[i];
				continue;
			}
			r = connect_one(o, i, e);
			done[i] = moved = true;
			if (u->link == CKPT_UNIX_TO && !is_mutual(o, i))
				waiting[u->peer - 1]--;
		}
		forced = !moved;
	}
	return r;
}

static bool is_good_credentials(const Ckpt__Credentials *c)
{
	return !c ||
	       (c->pid <= 4194304 && c->uid <= 65535 && c->gid <= 65535 && c->n_groups <= 65536);
}

bool ckpt_unix_is_good(const struct ckpt_tree *t, const Ckpt__File *f)
{
	const Ckpt__Socket *s = f->socket, *peer = NULL;
	const Ckpt__UnixSocket *u = s->local;

	if (!u || u->bound >= CKPT_UNIX_BOUND_COUNT || u->link >= CKPT_UNIX_LINK_COUNT ||
	    u->peer > t->file_count || !is_good_credentials(u->credentials) ||
	    !is_good_credentials(u->connector) ||
	    strlen(u->dir) > 4096 || strlen(u->path) > 4096 || (u->path[0] && u->path[0] != '/') ||
	    (s->type != SOCK_STREAM && s->type != SOCK_DGRAM && s->type != SOCK_SEQPACKET))
		return false;
	if (u->bound == CKPT_UNIX_LIVE &&
	    (s->name.len <= sizeof(sa_family_t) || !s->name.data[sizeof(sa_family_t)]))
		return false;
	if (u->link != CKPT_UNIX_PAIR && u->link != CKPT_UNIX_TO && u->link != CKPT_UNIX_WAITING)
		return true;
	if (u->peer)
		peer = t->files[u->peer - 1]->socket;
	/* It may send to itself. */
	if (!peer || (peer == s && u->link != CKPT_UNIX_TO) || peer->family != AF_UNIX || !peer->local || peer->type != s->type)
		return false;
	if (u->link == CKPT_UNIX_PAIR)
		return peer->local->link == CKPT_UNIX_PAIR && peer->local->peer &&
		       peer->local->peer <= t->file_count && t->files[peer->local->peer - 1] == f;
	return u->link == CKPT_UNIX_TO ?
		       s->type == SOCK_DGRAM && peer->name.len > sizeof(sa_family_t) :
		       s->type != SOCK_DGRAM && peer->state == TCP_LISTEN && same_bytes(&s->peer, &peer->name);
}
