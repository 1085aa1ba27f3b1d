/* SPDX-License-Identifier: GPL-2.0-or-later */

/*
 * TCP sockets, saved: by the repair mode (TCP_REPAIR, Linux 3.5), in which the kernel tells the sequence
 * numbers and both queues. The VPS is stopped, and nothing arrives (netns_lock()). Switching it on makes
 * SO_REUSEADDR forget its value, so that is put back.
 */
#include "checkpoint/tcp.h"
#include "base/macro.h"
#include "checkpoint/guard.h"
#include "checkpoint/image.pb-c.h"
#include "checkpoint/internal.h"
#include "checkpoint/optwatch.h"
#include "checkpoint/sockets.h"
#include "checkpoint/sockopt.h"

#include <errno.h>
#include <linux/sockios.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#define QUEUE_MAX MIB(64)
#define FEW 16384   /* bytes: what is read beside them takes more memory */
#define SPARE 65536 /* the head of the first unacknowledged segment may have been acknowledged */

static int set_int(int fd, int name, int v)
{
	return setsockopt(fd, SOL_TCP, name, &v, sizeof(v)) < 0 ? -errno : 0;
}

static int get_u32(int fd, int name, uint32_t *ret)
{
	socklen_t len = sizeof(*ret);

	*ret = 0;
	return getsockopt(fd, SOL_TCP, name, ret, &len) < 0 ? -errno : 0;
}

int ckpt_tcp_state(int fd, struct ckpt_tcp_info *ret)
{
	struct ckpt_tcp_info info = { .i = { 0 } };
	socklen_t len = sizeof(info);

	if (getsockopt(fd, SOL_TCP, TCP_INFO, &info, &len) < 0)
		return -errno;
	if (ret)
		*ret = info;
	return info.i.tcpi_state;
}

/* In the tree's memory already. */
static int keep(const struct ckpt_sock *k, uint32_t queue, uint8_t *data, size_t len)
{
	for (size_t at = 0; at < len; at += CKPT_SOCKET_PIECE) {
		Ckpt__SocketData *q = ckpt_sock_queue(k, queue, NULL, 0);

		if (!q)
			return -ENOMEM;
		q->data.data = data + at;
		q->data.len = len - at < CKPT_SOCKET_PIECE ? len - at : CKPT_SOCKET_PIECE;
	}
	return 0;
}

/* Looked at, not taken. Of what is unacknowledged the last `len` bytes. */
static int peek(const struct ckpt_sock *k, uint32_t queue, size_t len)
{
	size_t room = len + (queue ? SPARE : 0);
	uint8_t few[FEW + SPARE], *buf;
	ssize_t n;

	if (len == 0)
		return 0;
	if (len > QUEUE_MAX)
		return -EFBIG;
	buf = len <= FEW ? few : ckpt_alloc(ckpt_dump_arena(k->d), room);
	if (!buf)
		return -ENOMEM;
	n = recv(k->fd, buf, room, MSG_PEEK | MSG_DONTWAIT);
	if (n < 0)
		return -errno;
	if (n < (ssize_t)len)
		return -EIO;
	buf += (size_t)n - len;
	if (len <= FEW)
		buf = ckpt_memdup(ckpt_dump_arena(k->d), buf, len);
	return buf ? keep(k, queue, buf, len) : -ENOMEM;
}

static bool has_received_fin(int state)
{
	return state == TCP_CLOSE_WAIT || state == TCP_CLOSING || state == TCP_LAST_ACK;
}

static bool has_queued_fin(int state)
{
	return state == TCP_FIN_WAIT1 || state == TCP_CLOSING || state == TCP_LAST_ACK;
}

/* Of an open connection on whose way nothing is. */
static bool has_sent_all(const struct ckpt_sock *k, const struct ckpt_tcp_info *info)
{
	return k->s->state == TCP_ESTABLISHED && !info->i.tcpi_unacked && !info->unsent;
}

static int send_side(const struct ckpt_sock *k, const struct ckpt_tcp_info *info, Ckpt__Tcp *t)
{
	int out = 0, unsent = 0, state = (int)k->s->state, r;
	bool fin = has_queued_fin(state);
	uint32_t seq;

	r = set_int(k->fd, TCP_REPAIR_QUEUE, TCP_SEND_QUEUE);
	if (r == 0)
		r = get_u32(k->fd, TCP_QUEUE_SEQ, &seq);
	if (r == 0 && state != TCP_CLOSE && state != TCP_SYN_SENT && !has_sent_all(k, info) &&
	    (ioctl(k->fd, SIOCOUTQ, &out) < 0 || ioctl(k->fd, SIOCOUTQNSD, &unsent) < 0))
		r = -errno;
	if (r < 0)
		return r;
	/* A FIN has a number of its own, behind the data, and counts as unsent with it. */
	if (fin && unsent)
		unsent--;
	t->unsent = (uint32_t)unsent;
	t->send_seq = seq - (uint32_t)out - (state == TCP_FIN_WAIT2 || state == TCP_SYN_SENT);
	return peek(k, 1, (size_t)(out - fin));
}

static int receive_side(const struct ckpt_sock *k, Ckpt__Tcp *t)
{
	int in = 0, off = ckpt_sockopt_number(k->s, SOL_SOCKET, SO_PEEK_OFF), none = -1, r;
	uint32_t seq;

	r = set_int(k->fd, TCP_REPAIR_QUEUE, TCP_RECV_QUEUE);
	if (r == 0)
		r = get_u32(k->fd, TCP_QUEUE_SEQ, &seq);
	if (r == 0 && k->s->state != TCP_SYN_SENT && ioctl(k->fd, SIOCINQ, &in) < 0)
		r = -errno;
	if (r < 0)
		return r;
	t->receive_seq = seq - (uint32_t)in - has_received_fin((int)k->s->state);
	if (off >= 0)
		setsockopt(k->fd, SOL_SOCKET, SO_PEEK_OFF, &none, sizeof(none));
	r = peek(k, 0, (size_t)in);
	if (off >= 0)
		setsockopt(k->fd, SOL_SOCKET, SO_PEEK_OFF, &off, sizeof(off));
	return r;
}

static int agreed(const struct ckpt_sock *k, const struct tcp_info *i, Ckpt__Tcp *t)
{
	struct tcp_repair_window w = { 0 };
	socklen_t len = sizeof(w);
	int r = get_u32(k->fd, TCP_MAXSEG, &t->mss);

	t->options = i->tcpi_options & (TCPI_OPT_TIMESTAMPS | TCPI_OPT_SACK | TCPI_OPT_WSCALE);
	t->send_scale = i->tcpi_snd_wscale;
	t->receive_scale = i->tcpi_rcv_wscale;
	if (r == 0 && (t->options & TCPI_OPT_TIMESTAMPS))
		r = get_u32(k->fd, TCP_TIMESTAMP, &t->timestamp);
	if (r == 0 && getsockopt(k->fd, SOL_TCP, TCP_REPAIR_WINDOW, &w, &len) < 0)
		r = -errno;
	t->window.data = ckpt_memdup(ckpt_dump_arena(k->d), &w, sizeof(w));
	t->window.len = sizeof(w);
	return r < 0 ? r : t->window.data ? 0 : -ENOMEM;
}

/* What is urgent is not to be had again with its mark. With SO_OOBINLINE it is not received apart, and only told of. */
static bool has_urgent(const struct ckpt_sock *k)
{
	struct pollfd p = { k->fd, POLLPRI, 0 };
	char c;
	ssize_t n;

	if (ckpt_sockopt_number(k->s, SOL_SOCKET, SO_OOBINLINE))
		return poll(&p, 1, 0) > 0 && (p.revents & POLLPRI);
	n = recv(k->fd, &c, 1, MSG_OOB | MSG_PEEK | MSG_DONTWAIT);
	return n > 0 || (n < 0 && errno == EAGAIN);
}

static int repair(const struct ckpt_sock *k, const struct ckpt_tcp_info *info, struct err *e)
{
	int r = ckpt_guard_repair(k->d->guard, k->fd,
				  ckpt_sockopt_number(k->s, SOL_SOCKET, SO_REUSEADDR));

	if (r == 0)
		r = send_side(k, info, k->s->tcp);
	if (r == 0)
		r = receive_side(k, k->s->tcp);
	if (r == 0 && k->s->state != TCP_SYN_SENT && k->s->state != TCP_CLOSE)
		r = agreed(k, &info->i, k->s->tcp);
	ckpt_guard_settle(k->d->guard);
	if (r == -EFBIG)
		return ckpt_sock_refuse(k, "with very much in it", e);
	return r < 0 ? err_code(e, r, "look at the TCP connection of process %d, fd %d",
				(int)k->pid, k->number) :
		       0;
}

int ckpt_tcp_silence(const struct ckpt_sock *k, bool silent)
{
	struct err ignored;
	int r = set_int(k->fd, TCP_REPAIR, silent ? TCP_REPAIR_ON : TCP_REPAIR_OFF_NO_WP);

	if (!silent)
		ckpt_sockopt_set(k->fd, k->s, SOL_SOCKET, SO_REUSEADDR, &ignored);
	return r;
}

/* Closed by both sides, or by an error, and perhaps with something left to be read. */
static int was_connected(const struct ckpt_sock *k)
{
	struct pollfd p = { k->fd, POLLIN | POLLRDHUP, 0 };

	poll(&p, 1, 0);
	if (p.revents & POLLRDHUP)
		k->s->shutdown = p.revents & POLLERR ? 7 : 3;
	return k->s->shutdown;
}

static int check(const struct ckpt_sock *k, bool known, struct err *e)
{
	char ulp[16] = { 0 };
	socklen_t len = sizeof(ulp);

	/* Of one that listens and one that was not connected yet nothing differs; but its connections have no repair
	 * mode, those that fell back to TCP neither. Those that were accepted from peers without it are plain ones. */
	if (ckpt_socket_is_multipath(k->s) &&
	    (k->s->state == TCP_CLOSE ? was_connected(k) : k->s->state != TCP_LISTEN))
		return ckpt_sock_refuse(k, "connected by multipath TCP", e);
	/* Multipath TCP is one, too. It is set as an option is. */
	if (!known && !ckpt_socket_is_multipath(k->s) && getsockopt(k->fd, SOL_TCP, TCP_ULP, ulp, &len) == 0 && len && ulp[0])
		return ckpt_sock_refuse(k, "that the kernel encrypts (ULP)", e);
	if (k->s->state == TCP_SYN_RECV)
		return ckpt_sock_busy(k, "in the middle of its handshake", e);
	return 0;
}

/* Of a connection most were read ahead. */
static int collect_options(const struct ckpt_sock *k, struct ckpt_alike_list *known, struct err *e)
{
	struct ckpt_arena *a = ckpt_dump_arena(k->d);
	size_t own;
	int r;

	if (k->s->state != TCP_ESTABLISHED || ckpt_socket_is_multipath(k->s))
		return ckpt_sockopts_collect(a, k->fd, k->s, e);
	r = ckpt_sockopts_collect_own(a, k->fd, k->s, e);
	if (r < 0 || known)
		return r < 0 ? r : ckpt_alike_take(&k->d->tree, k->s, known, e);
	own = k->s->n_option;
	r = ckpt_sockopts_collect_rest(a, k->fd, k->s, e);
	return r < 0 ? r : ckpt_alike_share(&k->d->tree, &k->d->alike, k->s, own, e);
}

int ckpt_tcp_collect(const struct ckpt_sock *k, struct err *e)
{
	struct ckpt_alike_list *known;
	struct ckpt_tcp_info info;
	int r = ckpt_tcp_state(k->fd, &info);

	if (r < 0)
		return err_code(e, r, "look at a TCP socket");
	k->s->state = (uint32_t)r;
	known = r == TCP_ESTABLISHED ? ckpt_optwatch_get(k->d, k->fd) : NULL;
	r = check(k, known, e);
	if (r == 0)
		r = ckpt_sock_names(k, e);
	if (r == 0)
		r = collect_options(k, known, e);
	if (r == 0 && k->s->state != TCP_LISTEN && !ckpt_socket_is_multipath(k->s) && has_urgent(k))
		r = ckpt_sock_refuse(k, "with urgent data in it", e);
	if (r < 0)
		return r;
	if (k->s->state == TCP_LISTEN) {
		k->s->backlog = info.i.tcpi_sacked;
		return info.i.tcpi_unacked ? ckpt_waiting_collect(k, info.i.tcpi_unacked, e) : 0;
	}
	if (k->s->state == TCP_CLOSE && !was_connected(k))
		return 0;
	k->s->tcp = ckpt_alloc(ckpt_dump_arena(k->d), sizeof(*k->s->tcp));
	if (!k->s->tcp)
		return err_code(e, -ENOMEM, "collect a TCP socket");
	ckpt__tcp__init(k->s->tcp);
	if (!k->d->guard)
		k->d->guard = ckpt_guard_new(e);
	if (!k->d->guard)
		return -EIO;
	return repair(k, &info, e);
}
