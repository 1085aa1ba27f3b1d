/* SPDX-License-Identifier: GPL-2.0-or-later */

/*
 * TCP connections that wait to be accepted, saved. Nobody has an fd of one, and to accept one would take it out of its
 * listener's queue for good: what it is can only be read from the kernel's memory, of which each is one structure. Nobody could
 * send by it; what it has received is looked at as skbs.h does. Nothing arrives meanwhile (netns_lock()).
 */
#include "base/macro.h"
#include "checkpoint/handshake.h"
#include "checkpoint/image.pb-c.h"
#include "checkpoint/internal.h"
#include "checkpoint/skbs.h"
#include "checkpoint/sockets.h"
#include "checkpoint/tcp.h"

#include <errno.h>
#include <net/if.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <time.h>

#define SOCK_ROOM 16384u     /* a struct tcp_sock has some 2,500 bytes */
#define DATA_MAX MIB(64)     /* of one connection */
#define ECN_AS_KNOWN 0x0fu   /* TCP_ECN_*; what is above is of AccECN */
#define FLAGS_CHOSEN 0x385cu /* of enum sock_flags: what setsockopt(2) sets */
#define LOCKS_CHOSEN 3u      /* SOCK_SNDBUF_LOCK, SOCK_RCVBUF_LOCK */

enum what { AS_IS, SAME, NONE }; /* SAME: as the listener has it; NONE: zero */
enum {
	STATE, FAMILY, PEER_PORT, PORT, PEER4, OWN4, BOUND, FLAGS, LOCKS, ERROR, ROOM, COPIED, RECEIVED, SENT, ACKNOWLEDGED, WRITTEN,
	WINDOW, OFFSET, ECN, RECENT, TIMESTAMPS, SCALES, SACK, SEND_SCALE, RECEIVE_SCALE, MSS, MICROSECONDS, KNOWN
};

/* Members of what a struct tcp_sock begins with, and of itself. What a kernel does not have is zero. */
static const struct {
	const char *type, *member;
	enum what what;
} fields[] = {
	[STATE] = { "sock", "__sk_common.skc_state", AS_IS },
	[FAMILY] = { "sock", "__sk_common.skc_family", SAME },
	[PEER_PORT] = { "sock", "__sk_common.skc_dport", AS_IS },
	[PORT] = { "inet_sock", "inet_sport", SAME },
	[PEER4] = { "sock", "__sk_common.skc_daddr", AS_IS },
	[OWN4] = { "sock", "__sk_common.skc_rcv_saddr", AS_IS },
	[BOUND] = { "sock", "__sk_common.skc_bound_dev_if", AS_IS },
	[FLAGS] = { "sock", "__sk_common.skc_flags", AS_IS },
	[LOCKS] = { "sock", "sk_userlocks", AS_IS },
	[ERROR] = { "sock", "sk_err", AS_IS },
	[ROOM] = { "sock", "sk_rcvbuf", AS_IS },
	[COPIED] = { "tcp_sock", "copied_seq", AS_IS },
	[RECEIVED] = { "tcp_sock", "rcv_nxt", AS_IS },
	[SENT] = { "tcp_sock", "snd_nxt", AS_IS },
	[ACKNOWLEDGED] = { "tcp_sock", "snd_una", AS_IS },
	[WRITTEN] = { "tcp_sock", "write_seq", AS_IS },
	[WINDOW] = { "tcp_sock", "snd_wnd", AS_IS },
	[OFFSET] = { "tcp_sock", "tsoffset", AS_IS },
	[ECN] = { "tcp_sock", "ecn_flags", AS_IS },
	[RECENT] = { "tcp_sock", "rx_opt.ts_recent", AS_IS },
	[TIMESTAMPS] = { "tcp_sock", "rx_opt.tstamp_ok", AS_IS },
	[SCALES] = { "tcp_sock", "rx_opt.wscale_ok", AS_IS },
	[SACK] = { "tcp_sock", "rx_opt.sack_ok", AS_IS },
	[SEND_SCALE] = { "tcp_sock", "rx_opt.snd_wscale", AS_IS },
	[RECEIVE_SCALE] = { "tcp_sock", "rx_opt.rcv_wscale", AS_IS },
	[MSS] = { "tcp_sock", "rx_opt.mss_clamp", AS_IS },
	[MICROSECONDS] = { "tcp_sock", "tcp_usec_ts", AS_IS },
	[KNOWN] = { "sock", "sk_mark", SAME },
	{ "sock", "sk_priority", SAME },
	{ "sock", "sk_rcvlowat", SAME },
	{ "sock", "sk_lingertime", SAME },
	{ "sock", "sk_rcvtimeo", SAME },
	{ "sock", "sk_sndtimeo", SAME },
	{ "inet_sock", "tos", SAME },
	{ "inet_sock", "uc_ttl", SAME },
	{ "inet_sock", "min_ttl", SAME },
	{ "inet_connection_sock", "icsk_user_timeout", SAME },
	{ "inet_connection_sock", "icsk_ca_ops", SAME },
	{ "tcp_sock", "nonagle", SAME },
	{ "tcp_sock", "keepalive_time", SAME },
	{ "tcp_sock", "keepalive_intvl", SAME },
	{ "tcp_sock", "keepalive_probes", SAME },
	{ "tcp_sock", "linger2", SAME },
	{ "tcp_sock", "notsent_lowat", SAME },
	{ "sock", "sk_filter", NONE }, /* which our segments would have to pass */
	{ "inet_sock", "inet_opt", NONE },
	{ "inet_connection_sock", "icsk_ulp_ops", NONE },
	{ "tcp_sock", "urg_data", NONE },
	{ "tcp_sock", "saved_syn", NONE },
	{ "tcp_sock", "fastopen_rsk", NONE },
	{ "tcp_sock", "md5sig_info", NONE },
	{ "tcp_sock", "ao_info", NONE },
};
#define FIELDS ARRAY_SIZE(fields)

struct waiting {
	const struct ckpt_sock *k;
	struct ckpt_kernel *kernel;
	uint32_t size; /* of a struct tcp_sock */
	struct {
		uint32_t first, count; /* in bits; 0: there is no such member */
	} at[FIELDS];
	uint64_t own_v6, peer_v6, cb, seq; /* offsets, in it, and in a buffer */
	uint64_t listener[FIELDS];
	/* Of the connection that is looked at. */
	uint8_t sock[SOCK_ROOM];
	uint64_t v[FIELDS];
	uint32_t turn, end; /* end: the number of the next byte */
	uint8_t *data;
	size_t len;
};

static int odd(const struct waiting *w, const char *why, struct err *e)
{
	ckpt_sock_busy(w->k, "with connections that were not accepted", e);
	err_hint(e, "%s", why);
	return -EAGAIN;
}

static int find_fields(struct waiting *w, struct err *e)
{
	struct err ignored;
	int r = ckpt_kernel_size(w->kernel, "tcp_sock", &w->size, e);

	for (size_t i = 0; r == 0 && i < FIELDS; i++) {
		if (ckpt_kernel_bits(w->kernel, fields[i].type, fields[i].member, &w->at[i].first, &w->at[i].count, &ignored) < 0) {
			if (i < KNOWN)
				return err_set(e, ERR_UNSUPPORTED, "the kernel has no %s in its %s", fields[i].member, fields[i].type);
			continue;
		}
		if (!w->at[i].count || w->at[i].count > 64 || w->at[i].first / 8 + 8 > w->size)
			r = -EPROTO;
	}
	if (r == 0)
		r = ckpt_kernel_place(w->kernel, 0, "sock", "__sk_common.skc_v6_rcv_saddr", &w->own_v6, e);
	if (r == 0)
		r = ckpt_kernel_place(w->kernel, 0, "sock", "__sk_common.skc_v6_daddr", &w->peer_v6, e);
	if (r == 0)
		r = ckpt_kernel_place(w->kernel, 0, "sk_buff", "cb", &w->cb, e);
	if (r == 0)
		r = ckpt_kernel_place(w->kernel, 0, "tcp_skb_cb", "seq", &w->seq, e);
	if (r == -EPROTO || (r == 0 && (w->size > SOCK_ROOM || w->own_v6 + 16 > w->size || w->peer_v6 + 16 > w->size)))
		return err_set(e, ERR_UNSUPPORTED, "the kernel's sockets are not as they are known");
	return r;
}

/* All of it at once, as of one moment: timers of the kernel's go on. */
static int look(struct waiting *w, uint64_t sock, struct err *e)
{
	int r = ckpt_kernel_bytes(w->kernel, sock, w->sock, w->size, e);

	for (size_t i = 0; r == 0 && i < FIELDS; i++) {
		uint64_t v = 0;

		if (w->at[i].count)
			memcpy(&v, w->sock + w->at[i].first / 8, sizeof(v));
		v >>= w->at[i].first % 8;
		w->v[i] = w->at[i].count < 64 ? v & (((uint64_t)1 << w->at[i].count) - 1) : v;
	}
	return r;
}

static uint32_t number(const struct waiting *w, int field)
{
	return (uint32_t)w->v[field];
}

/* Who waits has the options that the listener had when the handshake ended. */
static bool is_like_listener(const struct waiting *w)
{
	for (size_t i = 0; i < FIELDS; i++)
		if (fields[i].what == SAME && w->v[i] != w->listener[i])
			return false;
	return !((w->v[FLAGS] ^ w->listener[FLAGS]) & FLAGS_CHOSEN) && !((w->v[LOCKS] ^ w->listener[LOCKS]) & LOCKS_CHOSEN);
}

static bool is_mapped(const struct waiting *w)
{
	return IN6_IS_ADDR_V4MAPPED((const struct in6_addr *)(const void *)(w->sock + w->peer_v6));
}

/* Nothing was sent by it, and what was agreed upon the kernel would take from us. */
static int check(const struct waiting *w, struct err *e)
{
	bool six = w->v[FAMILY] == AF_INET6 && !is_mapped(w);

	if (w->v[STATE] != TCP_ESTABLISHED && w->v[STATE] != TCP_CLOSE_WAIT && w->v[STATE] != TCP_CLOSE)
		return odd(w, "one of them is in the middle of its handshake", e);
	/* As a reset leaves it. */
	if (w->v[STATE] == TCP_CLOSE ? w->v[ERROR] != ECONNRESET && w->v[ERROR] != EPIPE : w->v[ERROR])
		return odd(w, "one of them has ended with an error", e);
	if (w->v[SENT] != w->v[ACKNOWLEDGED] || w->v[SENT] != w->v[WRITTEN])
		return odd(w, "by one of them something was sent", e);
	for (size_t i = 0; i < FIELDS; i++)
		if (fields[i].what == NONE && w->v[i])
			return odd(w, "one of them has signatures, filters, urgent data or a saved beginning", e);
	for (size_t i = 0; i < FIELDS; i++)
		if (STREQ(fields[i].member, "sk_filter") && w->listener[i])
			return odd(w, "who listens has a filter that came after one of them", e);
	if (!is_like_listener(w))
		return odd(w, "one of them has other options than who listens", e);
	if (w->v[MSS] < (six ? CKPT_AGREED_MSS6 : CKPT_AGREED_MSS4) || w->v[ECN] > ECN_AS_KNOWN || w->v[SEND_SCALE] > 14 ||
	    w->v[RECEIVE_SCALE] > 14)
		return odd(w, "the ends of one of them have agreed upon something rare", e);
	if (w->v[BOUND] != w->listener[BOUND] &&
	    !(six && IN6_IS_ADDR_LINKLOCAL((const struct in6_addr *)(const void *)(w->sock + w->peer_v6))))
		return odd(w, "one of them goes by another interface than who listens", e);
	return 0;
}

static int keep_name(const struct waiting *w, bool peer, ProtobufCBinaryData *ret)
{
	const uint8_t *six = w->sock + (peer ? w->peer_v6 : w->own_v6);
	struct sockaddr_in6 a6 = { .sin6_family = AF_INET6, .sin6_port = (in_port_t)w->v[peer ? PEER_PORT : PORT] };
	struct sockaddr_in a4 = { .sin_family = AF_INET,
				  .sin_port = a6.sin6_port,
				  .sin_addr.s_addr = number(w, peer ? PEER4 : OWN4) };
	bool v4 = w->v[FAMILY] == AF_INET;

	memcpy(&a6.sin6_addr, six, 16);
	if (IN6_IS_ADDR_LINKLOCAL(&a6.sin6_addr))
		a6.sin6_scope_id = number(w, BOUND);
	ret->len = v4 ? sizeof(a4) : sizeof(a6);
	ret->data = ckpt_memdup(ckpt_dump_arena(w->k->d), v4 ? (void *)&a4 : (void *)&a6, ret->len);
	return ret->data ? 0 : -ENOMEM;
}

/* As the kernel counts what it says of time, by a clock that no namespace has for itself. */
static uint32_t timestamp(const struct waiting *w)
{
	struct timespec t;
	uint64_t us;

	clock_gettime(CLOCK_MONOTONIC, &t);
	us = (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
	return (uint32_t)(w->v[MICROSECONDS] ? us : us / 1000) + number(w, OFFSET);
}

static int keep_agreed(const struct waiting *w, Ckpt__TcpWaiting *t)
{
	uint64_t window = w->v[WINDOW] >> w->v[SEND_SCALE];
	Ckpt__Tcp *tcp = ckpt_alloc(ckpt_dump_arena(w->k->d), sizeof(*tcp));

	if (!tcp)
		return -ENOMEM;
	ckpt__tcp__init(tcp);
	t->tcp = tcp;
	t->state = number(w, STATE);
	t->peer_timestamp = number(w, RECENT);
	t->peer_window = window < UINT16_MAX ? (uint32_t)window : UINT16_MAX;
	t->room = number(w, ROOM);
	tcp->send_seq = number(w, SENT);
	tcp->receive_seq = number(w, COPIED);
	tcp->mss = number(w, MSS);
	tcp->options = (w->v[TIMESTAMPS] ? TCPI_OPT_TIMESTAMPS : 0) | (w->v[SCALES] ? TCPI_OPT_WSCALE : 0) |
		       (w->v[SACK] ? TCPI_OPT_SACK : 0) | (w->v[ECN] & 1 ? TCPI_OPT_ECN : 0) |
		       (w->v[MICROSECONDS] ? CKPT_TCPI_OPT_MICROSECONDS : 0);
	tcp->send_scale = w->v[SCALES] ? number(w, SEND_SCALE) : 0;
	tcp->receive_scale = w->v[SCALES] ? number(w, RECEIVE_SCALE) : 0;
	tcp->timestamp = timestamp(w);
	return 0;
}

static int keep_data(struct waiting *w, bool all, struct err *e)
{
	size_t at = 0, n;

	for (; at < w->len && (all || w->len - at >= CKPT_SOCKET_PIECE); at += n) {
		n = w->len - at < CKPT_SOCKET_PIECE ? w->len - at : CKPT_SOCKET_PIECE;
		if (!ckpt_sock_queue(w->k, w->turn, w->data + at, n))
			return err_code(e, -ENOMEM, "collect TCP sockets");
	}
	memmove(w->data, w->data + at, w->len - at);
	w->len -= at;
	return 0;
}

/* Buffers follow one another, and may begin with what the one before has had. */
static int hear(const struct ckpt_skb *b, void *arg, struct err *e)
{
	struct waiting *w = arg;
	uint64_t seq = 0;
	uint32_t had;
	uint8_t *more;
	int r = ckpt_kernel_read(w->kernel, b->at + w->cb + w->seq, &seq, e);

	if (r < 0)
		return r;
	had = w->end - (uint32_t)seq;
	if (had > b->len || w->end - number(w, COPIED) + (b->len - had) > DATA_MAX)
		return odd(w, "what one of them has received is not as it is known", e);
	if (had == b->len)
		return 0;
	more = realloc(w->data, w->len + b->len - had);
	if (!more)
		return err_code(e, -ENOMEM, "collect TCP sockets");
	w->data = more;
	memcpy(w->data + w->len, b->data + had, b->len - had);
	w->len += b->len - had;
	w->end += (uint32_t)(b->len - had);
	return w->len < CKPT_SOCKET_PIECE ? 0 : keep_data(w, false, e);
}

/* What has a place in the queue's order behind what is not there yet is lost, and sent again: it was not acknowledged. */
static int collect_received(struct waiting *w, uint64_t sock, Ckpt__TcpWaiting *t, struct err *e)
{
	uint64_t queue = 0;
	uint32_t rest;
	int r = ckpt_kernel_place(w->kernel, sock, "sock", "sk_receive_queue", &queue, e);

	w->end = number(w, COPIED);
	w->len = 0;
	if (r == 0)
		r = ckpt_skbs_each(w->kernel, queue, false, hear, w, e);
	if (r == 0 && w->len)
		r = keep_data(w, true, e);
	free(TAKE_PTR(w->data));
	if (r < 0)
		return r;
	rest = number(w, RECEIVED) - w->end;
	if (rest > 1 || (t->state == TCP_ESTABLISHED && rest) || (t->state == TCP_CLOSE_WAIT && !rest))
		return odd(w, "what one of them has received is not as it is known", e);
	t->ended = rest;
	return 0;
}

static int collect_one(struct waiting *w, uint64_t sock, struct err *e)
{
	Ckpt__Socket *s = w->k->s;
	Ckpt__TcpWaiting *t = ckpt_alloc(ckpt_dump_arena(w->k->d), sizeof(*t));
	int r = t ? look(w, sock, e) : err_code(e, -ENOMEM, "collect TCP sockets");

	if (r == 0)
		r = check(w, e);
	if (r < 0)
		return r;
	ckpt__tcp_waiting__init(t);
	if (keep_agreed(w, t) < 0 || keep_name(w, false, &t->name) < 0 || keep_name(w, true, &t->peer) < 0)
		return err_code(e, -ENOMEM, "collect TCP sockets");
	r = collect_received(w, sock, t, e);
	if (r == 0)
		s->waiting[s->n_waiting++] = t;
	w->turn++;
	return r;
}

/* In the order in which they will be accepted. */
static int collect_all(struct waiting *w, uint64_t listener, uint32_t count, struct err *e)
{
	uint64_t request = 0, sock = 0;
	int r = look(w, listener, e);

	memcpy(w->listener, w->v, sizeof(w->listener));
	if (r == 0)
		r = ckpt_kernel_member(w->kernel, listener, "inet_connection_sock", "icsk_accept_queue.rskq_accept_head", 8, &request,
				       e);
	while (r == 0 && request && w->turn < count) {
		r = ckpt_kernel_member(w->kernel, request, "request_sock", "sk", 8, &sock, e);
		if (r == 0)
			r = collect_one(w, sock, e);
		if (r == 0)
			r = ckpt_kernel_member(w->kernel, request, "request_sock", "dl_next", 8, &request, e);
	}
	if (r == 0 && (request || w->turn != count))
		return odd(w, "more of them come", e);
	return r;
}

/* Where it goes on there may be no way to make them again. */
static bool may_come_again(struct ckpt_dump *d, struct err *e)
{
	if (d->waiting == CKPT_WAITING_HERE)
		d->waiting = ckpt_handshakes_known() ? CKPT_WAITING_CAN : CKPT_WAITING_CANNOT;
	if (d->waiting == CKPT_WAITING_CANNOT)
		err_set(e, ERR_UNSUPPORTED, "the kernel where it goes on cannot make them again");
	return d->waiting == CKPT_WAITING_CAN;
}

/* Which of a group it is could not be said where the group's program may not be replaced (SO_LOCK_FILTER). */
static bool is_locked(const struct ckpt_sock *k)
{
	int shares = 0, locked = 0;
	socklen_t len = sizeof(shares);

	getsockopt(k->fd, SOL_SOCKET, SO_REUSEPORT, &shares, &len);
	return shares && getsockopt(k->fd, SOL_SOCKET, SO_LOCK_FILTER, &locked, &len) == 0 && locked;
}

/* Addresses that are not the VPS's own, as proxies have: nothing could be sent to them from within. */
static bool is_foreign(const struct ckpt_sock *k)
{
	bool six = k->s->family == AF_INET6;
	int on = 0;
	socklen_t len = sizeof(on);

	return getsockopt(k->fd, six ? SOL_IPV6 : SOL_IP, six ? IPV6_TRANSPARENT : IP_TRANSPARENT, &on, &len) == 0 && on;
}

/* Segments of ours come by lo. */
static bool is_cut_off(const struct ckpt_sock *k)
{
	struct ifreq flags = { .ifr_name = "lo" }, mtu = { .ifr_name = "lo" };

	return ioctl(k->fd, SIOCGIFFLAGS, &flags) < 0 || !(flags.ifr_flags & IFF_UP) || ioctl(k->fd, SIOCGIFMTU, &mtu) < 0 ||
	       mtu.ifr_mtu < CKPT_HANDSHAKES_MTU;
}

int ckpt_waiting_collect(const struct ckpt_sock *k, uint32_t count, struct err *e)
{
	cleanup_free struct waiting *w = calloc(1, sizeof(*w));
	struct ckpt_dump *d = k->d;
	uint64_t listener = 0;
	char why[256];
	int r = 0;

	if (!w)
		return err_code(e, -ENOMEM, "collect TCP sockets");
	w->k = k;
	if (ckpt_socket_is_multipath(k->s) || is_foreign(k) || is_locked(k) || count > CKPT_WAITING_MAX)
		return odd(w, "they are by multipath TCP, of others' addresses, of one with a locked filter, or very many", e);
	if (is_cut_off(k))
		return odd(w, "the interface lo is down", e);
	k->s->waiting = ckpt_alloc(ckpt_dump_arena(d), count * sizeof(*k->s->waiting));
	if (!k->s->waiting)
		return err_code(e, -ENOMEM, "collect TCP sockets");
	if (!may_come_again(d, e) || (!d->kernel && ckpt_kernel_open(&d->kernel, e) < 0))
		r = -EOPNOTSUPP;
	w->kernel = d->kernel;
	if (r == 0)
		r = find_fields(w, e);
	if (r == 0)
		r = ckpt_skbs_sock(w->kernel, k->fd, &listener, e);
	if (r == 0)
		r = collect_all(w, listener, count, e);
	free(w->data);
	if (r == 0 || r == -EAGAIN || r == -ENOMEM)
		return r;
	snprintf(why, sizeof(why), "%s", e->msg);
	return odd(w, why, e);
}
