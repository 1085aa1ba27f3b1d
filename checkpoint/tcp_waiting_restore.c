/* SPDX-License-Identifier: GPL-2.0-or-later */

/*
 * TCP connections that wait to be accepted, made again by the engine in the queues of their listeners, in their order: by the
 * segment that ends the handshake (handshake.h), then by segments with what they have received, in the peer's name. Whether it
 * has arrived sock_diag(7) tells.
 */
#include "base/fd.h"
#include "base/macro.h"
#include "base/proc.h"
#include "checkpoint/handshake.h"
#include "checkpoint/image.pb-c.h"
#include "checkpoint/restore_internal.h"
#include "checkpoint/segment.h"
#include "checkpoint/sockets.h"
#include "checkpoint/sockopt.h"
#include "checkpoint/tcp.h"
#include "netns/netns.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/inet_diag.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <linux/sock_diag.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>

#define PATIENCE 60000u    /* looks; when there was no use in that once, and they cannot all be waited for */
#define IMPATIENCE 2000u
#define LOST_MAX 64u       /* the rest is as these are */
#define LOOK_NS 50000
#define RECEIVE_WINDOW 232 /* where tcpi_rcv_wnd is in what the kernel tells (Linux 6.2) */
#define ROOM_MAX MIB(128)
#define BUF_LOCK 72        /* SO_BUF_LOCK, Linux 5.14 */

struct making {
	struct restore *r;
	int pidfd; /* of process 1 */
	bool entered;
	uint32_t space; /* as File.space */
	int netns, lock, diag;
	unsigned lost;
	unsigned patience; /* looks, until it is clear that what was sent does not arrive */
	/* The listener. */
	const Ckpt__Socket *s;
	int fd, room;
	Ckpt__SocketData **queue; /* what has not been sent yet */
	size_t queued;
};

struct seen {
	uint32_t state, received, window; /* state 0: there is none */
};

static bool is_address(const ProtobufCBinaryData *a, uint32_t family)
{
	const struct sockaddr *sa = (const void *)a->data;

	return a->len == (family == AF_INET ? sizeof(struct sockaddr_in) : sizeof(struct sockaddr_in6)) && sa->sa_family == family;
}

bool ckpt_waiting_is_good(const Ckpt__Socket *s)
{
	if (s->n_waiting && (!ckpt_socket_is_tcp(s) || ckpt_socket_is_multipath(s) || s->state != TCP_LISTEN))
		return false;
	for (size_t i = 0; i < s->n_waiting; i++) {
		const Ckpt__TcpWaiting *t = s->waiting[i];

		if (!is_address(&t->name, s->family) || !is_address(&t->peer, s->family) || !t->tcp || t->ended > 1 ||
		    t->peer_window > UINT16_MAX || t->room > ROOM_MAX || t->tcp->mss > UINT16_MAX || t->tcp->send_scale > 14 ||
		    t->tcp->receive_scale > 14)
			return false;
		if (t->state != TCP_CLOSE && t->state != (t->ended ? TCP_CLOSE_WAIT : TCP_ESTABLISHED))
			return false;
	}
	return s->n_waiting <= CKPT_WAITING_MAX;
}

int restore_waiting_check(struct restore *r, struct err *e)
{
	for (size_t i = 0; i < r->tree.file_count; i++) {
		const Ckpt__Socket *s = r->tree.files[i]->socket;

		if (s && s->n_waiting)
			return ckpt_handshakes_open(&r->handshakes, e);
	}
	return 0;
}

static int leave(struct making *m, struct err *e)
{
	int n = m->entered ? ckpt_handshakes_leave(m->r->handshakes, e) : 0;

	m->entered = false;
	fd_close(&m->diag);
	fd_close(&m->lock);
	fd_close(&m->netns);
	return n;
}

/* Into that of the listeners to come. Those that the VPS made are not sealed. */
static int enter(struct making *m, uint32_t space, struct err *e)
{
	int n = m->entered && m->space == space ? 1 : leave(m, e);

	if (n)
		return n < 0 ? n : 0;
	m->space = space;
	m->netns = space ? (int)syscall(SYS_pidfd_getfd, m->pidfd, restore_fd_space(m->r, space), 0) :
			   fcntl(m->r->netns, F_DUPFD_CLOEXEC, 3);
	if (m->netns < 0)
		return err_sys(e, "take a network namespace");
	m->lock = space ? netns_lock(m->netns, e) : -EBADF;
	m->diag = space && m->lock < 0 ? m->lock : netns_socket(m->netns, AF_NETLINK, SOCK_RAW, NETLINK_SOCK_DIAG, e);
	if (m->diag < 0)
		return m->diag;
	m->entered = true;
	return ckpt_handshakes_enter(m->r->handshakes, m->netns, e);
}

static void put_id(const Ckpt__TcpWaiting *t, struct inet_diag_req_v2 *q)
{
	const struct sockaddr_in *a4 = (const void *)t->name.data, *b4 = (const void *)t->peer.data;
	const struct sockaddr_in6 *a6 = (const void *)t->name.data, *b6 = (const void *)t->peer.data;

	q->sdiag_family = (uint8_t)a4->sin_family;
	q->id.idiag_sport = a4->sin_port;
	q->id.idiag_dport = b4->sin_port;
	q->id.idiag_cookie[0] = q->id.idiag_cookie[1] = INET_DIAG_NOCOOKIE;
	if (a4->sin_family == AF_INET) {
		q->id.idiag_src[0] = a4->sin_addr.s_addr;
		q->id.idiag_dst[0] = b4->sin_addr.s_addr;
	} else {
		memcpy(q->id.idiag_src, &a6->sin6_addr, 16);
		memcpy(q->id.idiag_dst, &b6->sin6_addr, 16);
		q->id.idiag_if = b6->sin6_scope_id;
	}
}

static void take(const struct nlmsghdr *h, struct seen *ret)
{
	const struct inet_diag_msg *m = NLMSG_DATA(h);
	int left = (int)h->nlmsg_len - (int)NLMSG_LENGTH(sizeof(*m));

	if (left < 0 || m->idiag_state == TCP_LISTEN)
		return;
	ret->state = m->idiag_state;
	ret->received = m->idiag_rqueue;
	for (const struct rtattr *a = (const void *)(m + 1); RTA_OK(a, left); a = RTA_NEXT(a, left))
		if (a->rta_type == INET_DIAG_INFO && RTA_PAYLOAD(a) >= RECEIVE_WINDOW + sizeof(ret->window))
			memcpy(&ret->window, (const uint8_t *)RTA_DATA(a) + RECEIVE_WINDOW, sizeof(ret->window));
}

static int look(struct making *m, const Ckpt__TcpWaiting *t, struct seen *ret, struct err *e)
{
	struct {
		struct nlmsghdr h;
		struct inet_diag_req_v2 r;
	} q = {
		.h = { .nlmsg_len = sizeof(q), .nlmsg_type = SOCK_DIAG_BY_FAMILY, .nlmsg_flags = NLM_F_REQUEST },
		.r = { .sdiag_protocol = IPPROTO_TCP, .idiag_states = UINT32_MAX, .idiag_ext = 1 << (INET_DIAG_INFO - 1) },
	};
	_Alignas(8) uint8_t buf[8192];
	const struct nlmsghdr *h = (const void *)buf;
	int bound = ckpt_sockopt_number(m->s, SOL_SOCKET, 62 /* SO_BINDTOIFINDEX */);
	ssize_t n;

	*ret = (struct seen){ 0 };
	put_id(t, &q.r);
	if (!q.r.id.idiag_if && bound > 0)
		q.r.id.idiag_if = (uint32_t)bound;
	if (send(m->diag, &q, sizeof(q), 0) < 0)
		return err_sys(e, "ask for a TCP connection");
	do
		n = recv(m->diag, buf, sizeof(buf), 0);
	while (n < 0 && errno == EINTR);
	if (n < 0 || !NLMSG_OK(h, (size_t)n))
		return err_sys(e, "hear of a TCP connection");
	/* Else it says that there is none. */
	if (h->nlmsg_type == SOCK_DIAG_BY_FAMILY)
		take(h, ret);
	return 0;
}

static int say(struct making *m, const Ckpt__TcpWaiting *t, unsigned flags, uint32_t seq, const void *data, size_t len,
	       struct err *e)
{
	struct ckpt_segment g = {
		.netns = m->netns, .to = t->name.data, .from = t->peer.data, .flags = flags, .seq = seq, .ack = t->tcp->send_seq,
		.window = (uint16_t)t->peer_window, .data = data, .len = len,
	};

	return ckpt_segment_send(&g, e);
}

/* The kernel has mostly worked off what was sent when we are back, on another processor (RPS) a moment later. */
static bool goes_on_looking(const struct making *m, unsigned *tries)
{
	if (*tries)
		nanosleep(&(struct timespec){ 0, LOOK_NS }, NULL);
	return (*tries)++ < m->patience;
}

static int lost(const char *what, const Ckpt__TcpWaiting *t, struct err *e)
{
	return err_set(e, ERR_FAIL, "%s a connection that waits to be accepted at port %d does not arrive", what,
		       ntohs(((const struct sockaddr_in *)(const void *)t->name.data)->sin_port));
}

static int set_int(int fd, int name, int v)
{
	return setsockopt(fd, SOL_SOCKET, name, &v, sizeof(v)) < 0 ? -errno : 0;
}

/* What is accepted has the listener's. */
static int set_room(struct making *m, int room)
{
	int r = room == m->room ? 0 : set_int(m->fd, SO_RCVBUFFORCE, room / 2);

	if (r == 0 && room != m->room)
		r = set_int(m->fd, BUF_LOCK, ckpt_sockopt_number(m->s, SOL_SOCKET, BUF_LOCK));
	m->room = room;
	return r;
}

static size_t received(const struct making *m, size_t turn)
{
	size_t sum = 0;

	for (size_t i = 0; i < m->queued && m->queue[i]->queue <= turn; i++)
		sum += m->queue[i]->queue == turn ? m->queue[i]->data.len : 0;
	return sum;
}

static uint32_t waiting(const struct making *m)
{
	struct ckpt_tcp_info info = { 0 };

	return ckpt_tcp_state(m->fd, &info) == TCP_LISTEN ? info.i.tcpi_unacked : 0;
}

static int shake_hands(struct making *m, size_t turn, struct err *e)
{
	const Ckpt__TcpWaiting *t = m->s->waiting[turn];
	uint32_t o = t->tcp->options;
	const struct ckpt_agreed a = {
		.peer_timestamp = t->peer_timestamp, .timestamp = t->tcp->timestamp, .mss = (uint16_t)t->tcp->mss,
		.receive_scale = (uint8_t)t->tcp->receive_scale, .send_scale = (uint8_t)t->tcp->send_scale,
		.ecn = o & TCPI_OPT_ECN, .scales = o & TCPI_OPT_WSCALE, .sack = o & TCPI_OPT_SACK,
		.timestamps = o & TCPI_OPT_TIMESTAMPS, .microseconds = o & CKPT_TCPI_OPT_MICROSECONDS,
	};
	uint32_t had = waiting(m);
	int r = ckpt_handshakes_next(m->r->handshakes, &a, e), said;

	if (r == 0)
		r = say(m, t, 0, t->tcp->receive_seq, NULL, 0, e);
	for (unsigned tries = 0; r == 0 && goes_on_looking(m, &tries);) {
		if (waiting(m) > had)
			return 0;
		said = ckpt_handshakes_said(m->r->handshakes);
		if (said < 0 && said != -EINPROGRESS)
			return err_code(e, said, "make a connection again that waits to be accepted");
	}
	return r < 0 ? r : lost("the handshake of", t, e);
}

static int await(struct making *m, const Ckpt__TcpWaiting *t, uint32_t state, size_t len, struct seen *ret, struct err *e)
{
	int r = 0;

	for (unsigned tries = 0; r == 0 && goes_on_looking(m, &tries);) {
		r = look(m, t, ret, e);
		if (r == 0 && ret->state == state && (state == 0 || ret->received == len))
			return 0;
	}
	return r < 0 ? r : lost("what was sent to", t, e);
}

/* No more than it takes. What it has had already it acknowledges at once, and makes room with that. */
static int pour(struct making *m, const Ckpt__TcpWaiting *t, const uint8_t *data, size_t len, size_t *done, struct err *e)
{
	size_t most = ckpt_handshakes_room(m->r->handshakes) - CKPT_SEGMENT_HEAD, n;
	struct seen seen;
	int r = 0;

	most = most < CKPT_SEGMENT_MAX ? most : CKPT_SEGMENT_MAX;
	for (size_t at = 0; r == 0 && at < len; at += n) {
		uint32_t seq = t->tcp->receive_seq + (uint32_t)*done;

		r = *done ? say(m, t, 0, seq - 1, "", 1, e) : 0;
		if (r == 0)
			r = await(m, t, TCP_ESTABLISHED, *done, &seen, e);
		n = r < 0 || seen.window > most ? most : seen.window;
		n = n < len - at ? n : len - at;
		if (r == 0 && !n)
			return lost("for want of room, what was sent to", t, e);
		if (r == 0)
			r = say(m, t, 0, seq, data + at, n, e);
		if (r == 0)
			*done += n;
	}
	return r;
}

static int end(struct making *m, const Ckpt__TcpWaiting *t, size_t len, struct err *e)
{
	uint32_t seq = t->tcp->receive_seq + (uint32_t)len;
	struct seen seen;
	int r = 0;

	/* The second one's acknowledgement is not put off until something may arrive (say_last()). */
	if (t->ended)
		r = say(m, t, CKPT_SEGMENT_FIN, seq, NULL, 0, e);
	if (t->ended && r == 0)
		r = say(m, t, CKPT_SEGMENT_FIN, seq, NULL, 0, e);
	if (r == 0 && (len || t->ended))
		r = await(m, t, t->ended ? TCP_CLOSE_WAIT : TCP_ESTABLISHED, len + t->ended, &seen, e);
	if (r < 0 || t->state != TCP_CLOSE)
		return r;
	r = say(m, t, CKPT_SEGMENT_RST, seq + t->ended, NULL, 0, e);
	return r < 0 ? r : await(m, t, 0, 0, &seen, e);
}

/* Better none than half of one. A reset counts only when it says exactly how much was received (RFC 5961); what was sent
 * last may have been. */
static void give_up(struct making *m, const Ckpt__TcpWaiting *t, size_t done)
{
	struct seen seen = { 0 };
	struct err ignored;

	if (look(m, t, &seen, &ignored) == 0 && seen.state)
		done = seen.received;
	say(m, t, CKPT_SEGMENT_RST, t->tcp->receive_seq + (uint32_t)done, NULL, 0, &ignored);
}

static int make(struct making *m, size_t turn, struct err *e)
{
	const Ckpt__TcpWaiting *t = m->s->waiting[turn];
	size_t len = received(m, turn), done = 0, need = 2 * len + 65536;
	bool begun;
	int r = len > MIB(64) ? -EFBIG : set_room(m, (int)(len > t->room / 4 && need > t->room ? need : t->room));

	if (r < 0)
		return err_code(e, r, "make room for a connection that waits to be accepted");
	r = shake_hands(m, turn, e);
	begun = r == 0;
	for (; m->queued && m->queue[0]->queue <= turn; m->queue++, m->queued--)
		if (r == 0 && m->queue[0]->queue == turn)
			r = pour(m, t, m->queue[0]->data.data, m->queue[0]->data.len, &done, e);
	if (r == 0)
		r = end(m, t, len, e);
	if (r < 0 && begun)
		give_up(m, t, done);
	return r;
}

/*
 * What the VPS's own rules (nftables) keep from arriving is lost, as is what is of an address that is not its own any more: the
 * peer hears a reset. But not while the VPS still runs elsewhere, which is when an image does not come from a file.
 */
static int make_or_lose(struct making *m, size_t turn, struct err *e)
{
	int r = m->lost < LOST_MAX ? make(m, turn, e) : 0;

	if (r == 0 || !m->r->total)
		return r;
	m->patience = IMPATIENCE;
	m->lost++;
	return 0;
}

/* More may wait than will have to from here on. */
static int fill(struct making *m, const Ckpt__File *f, uint32_t id, struct err *e)
{
	const Ckpt__Socket *s = f->socket;
	socklen_t size = sizeof(m->room);
	int was, r;

	m->s = s;
	m->queue = ckpt_socket_queue(&m->r->tree, id, &m->queued);
	if (getsockopt(m->fd, SOL_SOCKET, SO_RCVBUF, &m->room, &size) < 0 ||
	    (s->n_waiting > s->backlog && listen(m->fd, (int)s->n_waiting) < 0))
		return err_sys(e, "make room in the queue of a listener");
	was = m->room;
	r = ckpt_handshakes_for(m->r->handshakes, m->fd, e);
	for (size_t i = 0; r == 0 && i < s->n_waiting; i++)
		if (!restore_is_orphan(m->r, &s->waiting[i]->name))
			r = make_or_lose(m, i, e);
	if (r < 0)
		return r;
	if (set_room(m, was) < 0 || (s->n_waiting > s->backlog && listen(m->fd, (int)s->backlog) < 0))
		return err_sys(e, "give a listener its room");
	r = ckpt_handshakes_for(m->r->handshakes, -1, e);
	return r < 0 ? r : ckpt_sockopt_set(m->fd, s, SOL_SOCKET, SO_ATTACH_REUSEPORT_CBPF, e);
}

static int take_all(struct making *m, struct err *e)
{
	int r = 0;

	for (uint32_t id = 1; r == 0 && id <= m->r->tree.file_count; id++) {
		const Ckpt__File *f = m->r->tree.files[id - 1];

		if (!f->socket || !f->socket->n_waiting)
			continue;
		r = enter(m, f->space, e);
		if (r < 0)
			return r;
		m->fd = (int)syscall(SYS_pidfd_getfd, m->pidfd, restore_fd_file(m->r, id), 0);
		if (m->fd < 0)
			return err_sys(e, "take a listener");
		r = fill(m, f, id, e);
		fd_close(&m->fd);
	}
	return r;
}

int restore_waiting_take(struct restore *r, struct err *e)
{
	struct making m = { .r = r, .netns = -EBADF, .lock = -EBADF, .diag = -EBADF, .fd = -EBADF, .patience = PATIENCE };
	struct err ignored;
	int n;

	if (!r->handshakes)
		return 0;
	m.pidfd = pidfd_open_pid(r->procs[0].task->pid);
	n = m.pidfd < 0 ? err_sys(e, "restore sockets") : take_all(&m, e);
	if (leave(&m, n < 0 ? &ignored : e) < 0 && n == 0)
		n = -EIO;
	fd_close(&m.pidfd);
	ckpt_handshakes_close(TAKE_PTR(r->handshakes));
	return n;
}
