/* SPDX-License-Identifier: GPL-2.0-or-later */

/*
 * TCP sockets, made again. The first process of the VPS connects them in repair mode, in which no packet is
 * sent; the engine fills them, and brings them into the states behind ESTABLISHED with segments that it
 * sends in the peer's name, which the lock lets pass by their mark. They stay silent in repair mode until
 * the VPS runs: a restore that fails before then ends no connection.
 */
#include "base/fd.h"
#include "base/macro.h"
#include "base/proc.h"
#include "checkpoint/image.pb-c.h"
#include "checkpoint/restore_internal.h"
#include "checkpoint/segment.h"
#include "checkpoint/sockets.h"
#include "checkpoint/sockopt.h"
#include "checkpoint/tcp.h"
#include "netns/netns.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>

#define DATA_AT_ONCE 65536

static int set_int(int fd, int name, int v)
{
	return setsockopt(fd, SOL_TCP, name, &v, sizeof(v)) < 0 ? -errno : 0;
}

static int set_seq(int fd, int queue, uint32_t seq)
{
	int r = set_int(fd, TCP_REPAIR_QUEUE, queue);

	return r < 0 ? r : set_int(fd, TCP_QUEUE_SEQ, (int)seq);
}

static bool has_port(const Ckpt__Socket *s)
{
	const struct sockaddr_in *sa = (const void *)s->name.data;

	return sa->sin_port != 0; /* struct sockaddr_in6 has it at the same place */
}

static int bind_to(int fd, const ProtobufCBinaryData *name)
{
	return bind(fd, (const void *)name->data, (socklen_t)name->len) < 0 ? -errno : 0;
}

static int listen_again(int fd, const Ckpt__Socket *s, struct err *e)
{
	int r = ckpt_inet_bind(fd, s);

	if (r == 0 && listen(fd, (int)s->backlog) < 0)
		r = -errno;
	return r < 0 ? err_code(e, r, "listen at port %d again",
				ntohs(((const struct sockaddr_in *)(const void *)s->name.data)
					      ->sin_port)) :
		       0;
}

/* Of one that was closed by both sides nobody can tell who the peer was: any will do. */
static socklen_t peer_of(const Ckpt__Socket *s, uint32_t id, struct sockaddr_storage *ret)
{
	*ret = (struct sockaddr_storage){ 0 };
	if (s->peer.len) {
		memcpy(ret, s->peer.data, s->peer.len);
		return (socklen_t)s->peer.len;
	}
	if (s->family == AF_INET) {
		*(struct sockaddr_in *)ret =
			(struct sockaddr_in){ AF_INET,
					      htons((uint16_t)(1 + id % 65000)),
					      { htonl(INADDR_LOOPBACK) },
					      { 0 } };
		return sizeof(struct sockaddr_in);
	}
	struct sockaddr_in6 *a = (struct sockaddr_in6 *)ret;
	const struct sockaddr_in6 *own = (const void *)s->name.data;

	a->sin6_family = AF_INET6;
	a->sin6_port = htons((uint16_t)(1 + id % 65000));
	a->sin6_addr = in6addr_loopback;
	if (IN6_IS_ADDR_V4MAPPED(&own->sin6_addr)) {
		memset(&a->sin6_addr, 0, sizeof(a->sin6_addr));
		a->sin6_addr.s6_addr[10] = a->sin6_addr.s6_addr[11] = 0xff;
		a->sin6_addr.s6_addr[12] = 127;
		a->sin6_addr.s6_addr[15] = 1;
	}
	return sizeof(*a);
}

static int agree(int fd, const Ckpt__Tcp *t)
{
	struct tcp_repair_opt opt[4] = { { 2 /* MSS */, t->mss } };
	socklen_t n = 1;
	int r;

	if (t->options & TCPI_OPT_WSCALE)
		opt[n++] = (struct tcp_repair_opt){ 3, t->send_scale | t->receive_scale << 16 };
	if (t->options & TCPI_OPT_SACK)
		opt[n++] = (struct tcp_repair_opt){ 4, 0 };
	if (t->options & TCPI_OPT_TIMESTAMPS)
		opt[n++] = (struct tcp_repair_opt){ 8, 0 };
	r = setsockopt(fd, SOL_TCP, TCP_REPAIR_OPTIONS, opt, n * (socklen_t)sizeof(opt[0])) < 0 ?
		    -errno :
		    0;
	if (r == 0 && (t->options & TCPI_OPT_TIMESTAMPS))
		r = set_int(fd, TCP_TIMESTAMP, (int)t->timestamp);
	return r;
}

static int connect_again(int fd, const Ckpt__Socket *s, uint32_t id)
{
	struct sockaddr_storage peer;
	socklen_t len = peer_of(s, id, &peer);
	int r = set_seq(fd, TCP_SEND_QUEUE, s->tcp->send_seq);

	if (r == 0)
		r = set_seq(fd, TCP_RECV_QUEUE, s->tcp->receive_seq);
	if (r == 0 && s->state == TCP_SYN_SENT)
		return set_int(fd, TCP_REPAIR, TCP_REPAIR_OFF_NO_WP);
	if (r == 0 && connect(fd, (struct sockaddr *)&peer, len) < 0)
		r = -errno;
	if (r == 0 && s->state != TCP_CLOSE)
		r = agree(fd, s->tcp);
	return r;
}

int ckpt_tcp_make(int fd, const Ckpt__File *f, uint32_t id, struct err *e)
{
	const Ckpt__Socket *s = f->socket;
	int r;

	if (s->state == TCP_LISTEN)
		return listen_again(fd, s, e);
	if (!has_port(s))
		return 0;
	if (ckpt_socket_is_multipath(s)) {
		r = bind_to(fd, &s->name);
		return r < 0 ? err_code(e, r, "bind a socket of multipath TCP again") : 0;
	}
	/* Repair mode binds to a port whoever else has it. */
	r = set_int(fd, TCP_REPAIR, TCP_REPAIR_ON);
	if (r == 0)
		r = bind_to(fd, &s->name);
	if (r == 0)
		r = s->tcp ? connect_again(fd, s, id) :
			     set_int(fd, TCP_REPAIR, TCP_REPAIR_OFF_NO_WP);
	if (r < 0)
		return err_code(e, r, "make a TCP connection again");
	return s->tcp ? 0 : ckpt_sockopt_set(fd, s, SOL_SOCKET, SO_REUSEADDR, e);
}

/* From here on in the engine. */

static int put(int fd, int queue, const uint8_t *data, size_t len)
{
	int r = queue < 0 ? 0 : set_int(fd, TCP_REPAIR_QUEUE, queue);

	for (size_t at = 0; r == 0 && at < len;) {
		size_t n = len - at < DATA_AT_ONCE ? len - at : DATA_AT_ONCE;
		ssize_t sent = send(fd, data + at, n, MSG_DONTWAIT | MSG_NOSIGNAL);

		if (sent <= 0)
			return sent < 0 ? -errno : -EIO;
		at += (size_t)sent;
	}
	return r;
}

static size_t queued(const struct ckpt_tree *t, uint32_t id, uint32_t queue)
{
	size_t count, sum = 0;
	Ckpt__SocketData **q = ckpt_socket_queue(t, id, &count);

	for (size_t i = 0; i < count; i++)
		sum += q[i]->queue == queue ? q[i]->data.len : 0;
	return sum;
}

/* The bytes from `from` to `to` of a queue, into repair's or, with queue -1, as ordinary data. */
static int put_part(const struct ckpt_tree *t, int fd, uint32_t id, uint32_t queue, int repair,
		    size_t from, size_t to)
{
	size_t count, at = 0;
	Ckpt__SocketData **q = ckpt_socket_queue(t, id, &count);
	int r = 0;

	for (size_t i = 0; r == 0 && i < count; i++) {
		size_t len = q[i]->data.len, a, b;

		if (q[i]->queue != queue)
			continue;
		a = from > at ? from - at : 0;
		b = to - at < len ? to - at : len;
		if (at < to && a < b)
			r = put(fd, repair, q[i]->data.data + a, b - a);
		at += len;
	}
	return r;
}

/* Room for what is there, and as it was again. The kernel counts a good deal more than the bytes. */
static void make_room(int fd, int name, size_t len, int *was)
{
	int want = (int)(len < MIB(32) ? 4 * len + 65536 : MIB(128));
	socklen_t size = sizeof(*was);

	*was = 0;
	if (len)
		getsockopt(fd, SOL_SOCKET, name, was, &size);
	if (len && want > *was)
		setsockopt(fd, SOL_SOCKET, name == SO_SNDBUF ? SO_SNDBUFFORCE : SO_RCVBUFFORCE,
			   &want, sizeof(want));
	else
		*was = 0;
}

static void unmake_room(int fd, int name, const Ckpt__Socket *s, int was)
{
	int lock = ckpt_sockopt_number(s, SOL_SOCKET, 72 /* SO_BUF_LOCK */), half;

	if (!was)
		return;
	/* What nobody has set the kernel had let grow; left at the room made here it would take in more after each
	 * restore. */
	if (!(lock & (name == SO_SNDBUF ? 1 : 2)))
		was = ckpt_sockopt_number(s, SOL_SOCKET, name);
	half = (was < (128 << 20) ? was : 128 << 20) / 2;
	if (half > 0)
		setsockopt(fd, SOL_SOCKET, name == SO_SNDBUF ? SO_SNDBUFFORCE : SO_RCVBUFFORCE, &half, sizeof(half));
	setsockopt(fd, SOL_SOCKET, 72, &lock, sizeof(lock));
}

static int set_window(int fd, const Ckpt__Socket *s, uint32_t received)
{
	struct tcp_repair_window w;

	memcpy(&w, s->tcp->window.data, sizeof(w));
	/* It was told after a FIN that this one has not seen, or when there was less in the queue. */
	if ((int32_t)(w.rcv_wup - received) > 0)
		w.rcv_wup = received;
	if (w.max_window < w.snd_wnd)
		w.max_window = w.snd_wnd;
	return setsockopt(fd, SOL_TCP, TCP_REPAIR_WINDOW, &w, sizeof(w)) < 0 ? -errno : 0;
}

/* In the peer's name: that it has sent `flags`, and has received all before `ack`. */
static int say(const struct restore *r, uint32_t id, unsigned flags, uint32_t ack, struct err *e)
{
	const Ckpt__Socket *s = r->tree.files[id - 1]->socket;
	uint32_t space = r->tree.files[id - 1]->space;
	struct sockaddr_storage peer;
	cleanup_close int pidfd = pidfd_open_pid(r->procs[0].task->pid);
	cleanup_close int its =
		space ? (int)syscall(SYS_pidfd_getfd, pidfd, restore_fd_space(r, space), 0) :
			-EBADF;
	struct ckpt_segment g = { .netns = space ? its : r->netns,
				  .to = s->name.data,
				  .from = &peer,
				  .flags = flags,
				  .ack = ack,
				  .window = UINT16_MAX,
				  .seq = s->tcp->receive_seq + (uint32_t)queued(&r->tree, id, 0) };

	if (g.netns < 0)
		return err_sys(e, "take a network namespace");
	peer_of(s, id, &peer);
	return ckpt_segment_send(&g, e);
}

/*
 * The end of what the peer has to say, and once more: the first one's acknowledgement is put off by 40 ms, the second one's is
 * not, and so comes while nothing arrives. Later it might reach a peer that has forgotten the connection by now, as who has
 * closed his end may, and which would answer with a reset.
 */
static int say_last(struct restore *r, uint32_t id, uint32_t ack, struct err *e)
{
	int n = say(r, id, CKPT_SEGMENT_FIN, ack, e);

	return n < 0 ? n : say(r, id, CKPT_SEGMENT_FIN, ack, e);
}

/* Into the state behind ESTABLISHED (RFC 9293, 3.3.2). Where our FIN was not acknowledged, go_on() does the
 * rest: there may be data before it that was never sent. */
static int advance(struct restore *r, int fd, uint32_t id, struct err *e)
{
	const Ckpt__Socket *s = r->tree.files[id - 1]->socket;
	uint32_t ack = s->tcp->send_seq;
	bool acknowledged = s->state == TCP_FIN_WAIT2 || s->state == TCP_CLOSE;

	if (s->state == TCP_CLOSE && (s->shutdown & 4))
		return say(r, id, CKPT_SEGMENT_RST, ack, e);
	if (acknowledged &&
	    (set_int(fd, TCP_REPAIR_QUEUE, TCP_SEND_QUEUE) < 0 || shutdown(fd, SHUT_WR) < 0))
		return err_sys(e, "close a TCP connection again");
	if (s->state == TCP_CLOSE)
		return say(r, id, CKPT_SEGMENT_FIN, ack + acknowledged, e);
	if (s->state == TCP_CLOSE_WAIT || s->state == TCP_LAST_ACK)
		return say_last(r, id, ack, e);
	return acknowledged ? say(r, id, 0, ack + 1, e) : 0;
}

static int fill(struct restore *r, int fd, uint32_t id, struct err *e)
{
	const Ckpt__Socket *s = r->tree.files[id - 1]->socket;
	size_t in = queued(&r->tree, id, 0), out = queued(&r->tree, id, 1);
	uint32_t received = s->tcp->receive_seq + (uint32_t)in;
	int was_in, was_out, n;

	if (s->tcp->unsent > out)
		return err_set(e, ERR_FAIL, "the image is damaged: file %u", id);
	make_room(fd, SO_RCVBUF, in, &was_in);
	make_room(fd, SO_SNDBUF, out, &was_out);
	n = put_part(&r->tree, fd, id, 0, TCP_RECV_QUEUE, 0, in);
	if (n == 0)
		n = put_part(&r->tree, fd, id, 1, TCP_SEND_QUEUE, 0, out - s->tcp->unsent);
	if (n < 0)
		return err_code(e, n, "fill a TCP connection");
	n = advance(r, fd, id, e);
	if (n < 0)
		return n;
	if (s->state != TCP_CLOSE && set_window(fd, s, received) < 0)
		return err_sys(e, "set the window of a TCP connection");
	unmake_room(fd, SO_RCVBUF, s, was_in);
	if (!s->tcp->unsent)
		unmake_room(fd, SO_SNDBUF, s, was_out);
	return 0;
}

int restore_sockets_take(struct restore *r, struct err *e)
{
	cleanup_close int pidfd = pidfd_open_pid(r->procs[0].task->pid);
	struct rlimit lim;
	int n = 0;

	if (pidfd < 0 || getrlimit(RLIMIT_NOFILE, &lim) < 0)
		return err_sys(e, "restore sockets");
	lim.rlim_cur = lim.rlim_max;
	setrlimit(RLIMIT_NOFILE, &lim);
	r->tcp = ckpt_alloc(&r->tree.arena, (r->tree.file_count + 1) * sizeof(int));
	if (!r->tcp)
		return err_code(e, -ENOMEM, "restore sockets");
	for (size_t i = 0; i < r->tree.file_count; i++)
		r->tcp[i] = -EBADF;
	for (uint32_t id = 1; n == 0 && id <= r->tree.file_count; id++) {
		const Ckpt__Socket *s = r->tree.files[id - 1]->socket;
		int fd;

		if (!s || !ckpt_socket_is_tcp(s) || !s->tcp)
			continue;
		fd = (int)syscall(SYS_pidfd_getfd, pidfd, restore_fd_file(r, id), 0);
		if (fd < 0)
			return err_sys(e, "take a TCP connection");
		r->tcp[id - 1] = fd;
		if (s->state != TCP_SYN_SENT)
			n = fill(r, fd, id, e);
	}
	return n;
}

bool restore_is_orphan(const struct restore *r, const ProtobufCBinaryData *name)
{
	const struct sockaddr_in6 *in6 = (const void *)name->data;
	const struct sockaddr_in *in = (const void *)name->data;

	if (name->len < sizeof(*in) || (in->sin_family != AF_INET && name->len < sizeof(*in6)))
		return false;
	if (in->sin_family == AF_INET)
		return ckpt_given_has(&r->moved.gone, &in->sin_addr, 4);
	if (IN6_IS_ADDR_V4MAPPED(&in6->sin6_addr))
		return ckpt_given_has(&r->moved.gone, &in6->sin6_addr.s6_addr[12], 4);
	return ckpt_given_has(&r->moved.gone, &in6->sin6_addr, 16);
}

/* In repair mode the kernel tells the program (ECONNABORTED), and the peer, who goes on with the other, nothing. */
static void abandon(int fd)
{
	const struct sockaddr nobody = { .sa_family = AF_UNSPEC };

	(void)connect(fd, &nobody, sizeof(nobody));
	set_int(fd, TCP_REPAIR, TCP_REPAIR_OFF);
}

static void ask_again(struct restore *r, int fd, uint32_t id)
{
	const Ckpt__Socket *s = r->tree.files[id - 1]->socket;
	int flags = fcntl(fd, F_GETFL);

	fcntl(fd, F_SETFL, flags | O_NONBLOCK);
	(void)connect(fd, (const void *)s->peer.data, (socklen_t)s->peer.len);
	fcntl(fd, F_SETFL, flags);
}

/* Nothing of this fails on a connection that is as it was left; were it to, it would be the peer's loss of
 * a connection, against that of a VPS. */
static void go_on(struct restore *r, int fd, uint32_t id)
{
	const Ckpt__Socket *s = r->tree.files[id - 1]->socket;
	size_t out = queued(&r->tree, id, 1);
	struct err ignored;

	if (restore_is_orphan(r, &s->name)) {
		abandon(fd);
		return;
	}
	/* The probe that this sends is answered with what the peer has got meanwhile. */
	set_int(fd, TCP_REPAIR, TCP_REPAIR_OFF);
	ckpt_sockopt_set(fd, s, SOL_SOCKET, SO_REUSEADDR, &ignored);
	if (s->tcp->unsent) {
		put_part(&r->tree, fd, id, 1, -1, out - s->tcp->unsent, out);
		unmake_room(fd, SO_SNDBUF, s, ckpt_sockopt_number(s, SOL_SOCKET, SO_SNDBUF));
	}
	if (s->state == TCP_FIN_WAIT1 || s->state == TCP_CLOSING || s->state == TCP_LAST_ACK)
		shutdown(fd, SHUT_WR);
	if (s->state == TCP_CLOSING)
		say(r, id, CKPT_SEGMENT_FIN, s->tcp->send_seq, &ignored);
	if (s->state != TCP_CLOSE && (s->shutdown & 1))
		shutdown(fd, SHUT_RD);
}

static void for_connections(struct restore *r, bool asking, void (*fn)(struct restore *, int, uint32_t))
{
	for (uint32_t id = 1; r->tcp && id <= r->tree.file_count; id++)
		if (r->tcp[id - 1] >= 0 && (r->tree.files[id - 1]->socket->state == TCP_SYN_SENT) == asking)
			fn(r, r->tcp[id - 1], id);
}

int restore_sockets_unseal(struct restore *r, struct err *e)
{
	/* Until it has asked again it is not a connection's, and the answer to what it asked would be reset. */
	for_connections(r, true, ask_again);
	return r->netns < 0 ? 0 : netns_seal(r->netns, false, e);
}

void restore_sockets_commit(struct restore *r)
{
	for_connections(r, false, go_on);
}

void restore_sockets_done(struct restore *r)
{
	for (size_t i = 0; r->tcp && i < r->tree.file_count; i++)
		fd_close(&r->tcp[i]);
	fd_close(&r->netns);
}
