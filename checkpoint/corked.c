/* SPDX-License-Identifier: GPL-2.0-or-later */

/*
 * A datagram of UDP that is half written (UDP_CORK, MSG_MORE): what has been said of it so far, and to whom it goes, is read from
 * the kernel's memory (skbs.h). It is kept as it will be sent, in fragments that begin with room for their headers.
 */
#include "base/macro.h"
#include "checkpoint/datagrams.h"
#include "checkpoint/image.pb-c.h"
#include "checkpoint/internal.h"
#include "checkpoint/skbs.h"
#include "checkpoint/sockets.h"

#include <errno.h>
#include <netinet/ip.h>
#include <netinet/ip6.h>
#include <netinet/udp.h>
#include <string.h>
#include <sys/socket.h>

struct corked {
	const struct ckpt_sock *k;
	struct ckpt_kernel *kernel;
	uint64_t sock, family; /* of the packet: a socket for IPv6 sends either */
	uint8_t data[CKPT_DATAGRAM_MAX];
	size_t len, fragments;
};

static int refuse(const struct corked *c, struct err *e)
{
	return ckpt_sock_busy(c->k, "with a datagram that was not sent yet (corked)", e);
}

static int add(const struct ckpt_skb *b, void *arg, struct err *e)
{
	struct corked *c = arg;
	size_t head = c->family == AF_INET ? sizeof(struct iphdr) : sizeof(struct ip6_hdr);

	head += c->fragments++ ? 0 : sizeof(struct udphdr);
	if (b->len < head || b->len - head > sizeof(c->data) - c->len)
		return refuse(c, e);
	memcpy(c->data + c->len, b->data + head, b->len - head);
	c->len += b->len - head;
	return 0;
}

/* Where it goes, as the socket's family names it. */
static int read_to(const struct corked *c, union ckpt_inet *ret, struct err *e)
{
	bool four = c->family == AF_INET, wide = c->k->s->family == AF_INET6;
	uint8_t addr[16] = { [10] = 0xff, 0xff };
	uint64_t at = 0, port = 0;
	int r = ckpt_kernel_place(c->kernel, c->sock, "inet_sock", four ? "cork.fl.u.ip4.daddr" : "cork.fl.u.ip6.daddr", &at, e);

	if (r == 0)
		r = ckpt_kernel_bytes(c->kernel, at, four ? addr + 12 : addr, four ? 4 : 16, e);
	if (r == 0)
		r = ckpt_kernel_member(c->kernel, c->sock, "inet_sock",
				       four ? "cork.fl.u.ip4.uli.ports.dport" : "cork.fl.u.ip6.uli.ports.dport", 2, &port, e);
	*ret = (union ckpt_inet){ .v4 = { .sin_family = wide ? AF_INET6 : AF_INET, .sin_port = (in_port_t)port } };
	memcpy(wide ? (void *)&ret->v6.sin6_addr : (void *)&ret->v4.sin_addr, wide ? addr : addr + 12, wide ? 16 : 4);
	if (r == 0 && !four && IN6_IS_ADDR_LINKLOCAL(&ret->v6.sin6_addr)) {
		r = ckpt_kernel_member(c->kernel, c->sock, "inet_sock", "cork.fl.u.ip6.__fl_common.flowic_oif", 4, &port, e);
		ret->v6.sin6_scope_id = (uint32_t)port;
	}
	return r;
}

/* What a message may have asked for besides, and another one could not without knowing. */
static int is_plain(const struct corked *c, bool *ret, struct err *e)
{
	uint64_t segment = 0, v4 = 0, v6 = 0, pinet6 = 0;
	int r = ckpt_kernel_member(c->kernel, c->sock, "inet_sock", "cork.base.gso_size", 2, &segment, e);

	if (r == 0)
		r = ckpt_kernel_member(c->kernel, c->sock, "inet_sock", "cork.base.opt", 8, &v4, e);
	if (r == 0 && c->family == AF_INET6) {
		r = ckpt_kernel_member(c->kernel, c->sock, "inet_sock", "pinet6", 8, &pinet6, e);
		if (r == 0)
			r = ckpt_kernel_member(c->kernel, pinet6, "ipv6_pinfo", "cork.opt", 8, &v6, e);
	}
	*ret = !segment && (c->family == AF_INET6 || !v4) && !v6;
	return r;
}

static int keep(const struct corked *c, struct err *e)
{
	Ckpt__SocketData *q = ckpt_sock_queue(c->k, 1, c->data, c->len);
	union ckpt_inet to;
	int r = q ? read_to(c, &to, e) : err_code(e, -ENOMEM, "collect sockets");

	if (r < 0)
		return r;
	q->to.len = c->k->s->family == AF_INET ? sizeof(to.v4) : sizeof(to.v6);
	q->to.data = ckpt_memdup(ckpt_dump_arena(c->k->d), &to, q->to.len);
	return q->to.data ? 0 : err_code(e, -ENOMEM, "collect sockets");
}

static int read_all(struct corked *c, struct err *e)
{
	uint64_t queue = 0, len = 0;
	bool plain = false;
	int r = ckpt_skbs_sock(c->kernel, c->k->fd, &c->sock, e);

	if (r == 0)
		r = ckpt_kernel_member(c->kernel, c->sock, "udp_sock", "pending", 4, &c->family, e);
	/* What is on its way to the wire is counted, too. */
	if (r == 0 && c->family != AF_INET && c->family != AF_INET6)
		return refuse(c, e);
	if (r == 0)
		r = is_plain(c, &plain, e);
	if (r == 0)
		r = ckpt_kernel_member(c->kernel, c->sock, "udp_sock", "len", 2, &len, e);
	if (r == 0)
		r = ckpt_kernel_place(c->kernel, c->sock, "sock", "sk_write_queue", &queue, e);
	if (r == 0)
		r = ckpt_skbs_each(c->kernel, queue, false, add, c, e);
	if (r == 0 && (!plain || c->len + sizeof(struct udphdr) != len))
		return refuse(c, e);
	return r == 0 ? keep(c, e) : r;
}

int ckpt_corked_collect(const struct ckpt_sock *k, struct err *e)
{
	cleanup_free struct corked *c = calloc(1, sizeof(*c));
	struct err ignored;

	if (!c)
		return err_code(e, -ENOMEM, "collect sockets");
	c->k = k;
	if (k->s->type != SOCK_DGRAM || k->s->protocol != IPPROTO_UDP || (k->s->shutdown & 2) ||
	    (!k->d->kernel && ckpt_kernel_open(&k->d->kernel, &ignored) < 0))
		return refuse(c, e);
	c->kernel = k->d->kernel;
	return read_all(c, e);
}

/* Nothing leaves for that. Where there is no way any more it is lost. */
void ckpt_corked_say(const struct ckpt_tree *t, size_t i, int fd)
{
	size_t count;
	Ckpt__SocketData **q = ckpt_socket_queue(t, (uint32_t)i + 1, &count);

	for (size_t n = 0; n < count; n++)
		if (q[n]->queue == 1)
			(void)sendto(fd, q[n]->data.data, q[n]->data.len, MSG_MORE | MSG_DONTWAIT | MSG_NOSIGNAL,
				     (const void *)q[n]->to.data, (socklen_t)q[n]->to.len);
}
