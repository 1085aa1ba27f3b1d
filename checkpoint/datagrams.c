/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Datagrams that wait, looked at. */
#include "checkpoint/datagrams.h"

#include "base/macro.h"
#include "checkpoint/image.pb-c.h"
#include "checkpoint/internal.h"
#include "checkpoint/peek.h"
#include "checkpoint/sockets.h"

#include <netinet/udp.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>

#ifndef IPV6_RECVORIGDSTADDR
#define IPV6_RECVORIGDSTADDR 74 /* linux/in6.h */
#endif
#ifndef UDP_GRO
#define UDP_GRO 104 /* linux/udp.h, Linux 5.0 */
#endif

/* A socket for IPv6 has those of IPv4, too. */
static const struct {
	int level, name;
} options[CKPT_DATAGRAM_OPTIONS] = {
	{ SOL_IP, IP_RECVORIGDSTADDR },	    { SOL_IP, IP_RECVTTL },	      { SOL_IP, IP_RECVTOS },
	{ SOL_IPV6, IPV6_RECVORIGDSTADDR }, { SOL_IPV6, IPV6_RECVHOPLIMIT }, { SOL_IPV6, IPV6_RECVTCLASS },
};

void ckpt_datagrams_prepare(int fd, struct ckpt_datagram_options *o)
{
	const int on = 1;

	for (size_t i = 0; i < ARRAY_SIZE(options); i++) {
		socklen_t len = sizeof(o->was[i]);

		if (getsockopt(fd, options[i].level, options[i].name, &o->was[i], &len) < 0)
			o->was[i] = -1;
		else if (!o->was[i])
			setsockopt(fd, options[i].level, options[i].name, &on, sizeof(on));
	}
}

void ckpt_datagrams_restore(int fd, const struct ckpt_datagram_options *o)
{
	for (size_t i = 0; i < ARRAY_SIZE(options); i++)
		if (!o->was[i])
			setsockopt(fd, options[i].level, options[i].name, &o->was[i], sizeof(o->was[i]));
}

static void map(const struct sockaddr_in *from, struct sockaddr_in6 *ret)
{
	*ret = (struct sockaddr_in6){ .sin6_family = AF_INET6, .sin6_port = from->sin_port };
	ret->sin6_addr.s6_addr[10] = ret->sin6_addr.s6_addr[11] = 0xff;
	memcpy(&ret->sin6_addr.s6_addr[12], &from->sin_addr, 4);
}

static void read_to(const struct cmsghdr *h, struct ckpt_datagram *d)
{
	struct sockaddr_in to;

	if (h->cmsg_level == SOL_IPV6) {
		memcpy(&d->to.v6, CMSG_DATA(h), sizeof(d->to.v6));
		return;
	}
	memcpy(&to, CMSG_DATA(h), sizeof(to));
	if (d->from.v4.sin_family == AF_INET6)
		map(&to, &d->to.v6);
	else
		d->to.v4 = to;
}

static uint32_t number(const struct cmsghdr *h)
{
	int v = 0;

	memcpy(&v, CMSG_DATA(h), h->cmsg_len - CMSG_LEN(0) < sizeof(v) ? h->cmsg_len - CMSG_LEN(0) : sizeof(v));
	return (uint32_t)v;
}

bool ckpt_datagram_read(const struct msghdr *m, struct ckpt_datagram *ret)
{
	*ret = (struct ckpt_datagram){ .ttl = 64 };
	if (m->msg_namelen > sizeof(ret->from))
		return false;
	memcpy(&ret->from, m->msg_name, m->msg_namelen);
	for (struct cmsghdr *h = CMSG_FIRSTHDR(m); h; h = CMSG_NXTHDR((struct msghdr *)(uintptr_t)m, h)) {
		bool v4 = h->cmsg_level == SOL_IP, v6 = h->cmsg_level == SOL_IPV6;

		if ((v4 && h->cmsg_type == IP_ORIGDSTADDR) || (v6 && h->cmsg_type == IPV6_RECVORIGDSTADDR))
			read_to(h, ret);
		else if ((v4 && h->cmsg_type == IP_TTL) || (v6 && h->cmsg_type == IPV6_HOPLIMIT))
			ret->ttl = number(h);
		else if ((v4 && h->cmsg_type == IP_TOS) || (v6 && h->cmsg_type == IPV6_TCLASS))
			ret->tos = number(h);
		else if (h->cmsg_level == SOL_UDP && h->cmsg_type == UDP_GRO)
			ret->segment = number(h);
	}
	return ret->to.v4.sin_family && ret->to.v4.sin_family == ret->from.v4.sin_family;
}

static size_t size_of(const Ckpt__Socket *s)
{
	return s->family == AF_INET ? sizeof(struct sockaddr_in) : sizeof(struct sockaddr_in6);
}

static int keep(struct ckpt_peeked *m, void *arg, struct err *e)
{
	const struct ckpt_sock *k = arg;
	struct ckpt_arena *a = ckpt_dump_arena(k->d);
	Ckpt__SocketData *q;

	if (!m->has_datagram || m->len > CKPT_DATAGRAM_MAX)
		return 0;
	q = ckpt_sock_queue(k, 0, m->data, m->len);
	if (!q)
		return err_code(e, -ENOMEM, "collect sockets");
	q->from.len = q->to.len = size_of(k->s);
	q->from.data = ckpt_memdup(a, &m->datagram.from, q->from.len);
	q->to.data = ckpt_memdup(a, &m->datagram.to, q->to.len);
	q->tos = m->datagram.tos & 255;
	q->ttl = m->datagram.ttl & 255;
	q->segment = m->datagram.segment;
	return q->from.data && q->to.data ? 0 : err_code(e, -ENOMEM, "collect sockets");
}

/* An error that waits would be taken by who looks; then what is behind it is left. */
int ckpt_datagrams_collect(const struct ckpt_sock *k, struct err *e)
{
	struct pollfd p = { k->fd, POLLIN, 0 };

	if (k->s->type != SOCK_DGRAM || k->s->protocol != IPPROTO_UDP || poll(&p, 1, 0) <= 0 || !(p.revents & POLLIN) ||
	    (p.revents & POLLERR))
		return 0;
	if (!k->d->peeker)
		k->d->peeker = ckpt_peeker_new(k->d->init, e);
	return k->d->peeker ? ckpt_peek(k->d->peeker, k->fd, keep, (void *)(uintptr_t)k, e) : -EIO;
}

static bool is_address(const Ckpt__Socket *s, const ProtobufCBinaryData *a)
{
	sa_family_t family;

	if (a->len != size_of(s))
		return false;
	memcpy(&family, a->data, sizeof(family));
	return family == s->family;
}

bool ckpt_datagram_is_good(const Ckpt__Socket *s, const Ckpt__SocketData *q)
{
	return s->type == SOCK_DGRAM && s->protocol == IPPROTO_UDP && !q->n_rights && !q->sender &&
	       q->data.len <= CKPT_DATAGRAM_MAX && is_address(s, &q->to) &&
	       (q->queue ? !q->from.len : is_address(s, &q->from)) && q->tos <= 255 && q->ttl <= 255 &&
	       q->segment <= CKPT_DATAGRAM_MAX;
}
