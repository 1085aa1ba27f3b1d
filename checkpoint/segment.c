/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "checkpoint/segment.h"

#include "base/macro.h"
#include "netns/netns.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/ip.h>
#include <netinet/ip6.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/socket.h>

struct ends {
	int family;
	uint8_t from[16], to[16];
	size_t len; /* of an address */
	uint16_t from_port, to_port;
	uint32_t scope;
};

/* An IPv4 connection of a dual-stack socket goes by IPv4. */
static void look(const struct ckpt_segment *g, struct ends *e)
{
	const struct sockaddr_in *a4 = g->from, *b4 = g->to;
	const struct sockaddr_in6 *a6 = g->from, *b6 = g->to;

	*e = (struct ends){ .family = b4->sin_family,
			    .from_port = a4->sin_port,
			    .to_port = b4->sin_port };
	if (e->family == AF_INET) {
		memcpy(e->from, &a4->sin_addr, 4);
		memcpy(e->to, &b4->sin_addr, 4);
	} else if (IN6_IS_ADDR_V4MAPPED(&b6->sin6_addr)) {
		e->family = AF_INET;
		memcpy(e->from, a6->sin6_addr.s6_addr + 12, 4);
		memcpy(e->to, b6->sin6_addr.s6_addr + 12, 4);
	} else {
		memcpy(e->from, &a6->sin6_addr, 16);
		memcpy(e->to, &b6->sin6_addr, 16);
		e->scope = b6->sin6_scope_id;
	}
	e->len = e->family == AF_INET ? 4 : 16;
}

static uint32_t sum(const void *data, size_t len, uint32_t start)
{
	const uint8_t *p = data;

	for (size_t i = 0; i + 1 < len; i += 2)
		start += (uint32_t)(p[i] << 8 | p[i + 1]);
	return len & 1 ? start + (uint32_t)(p[len - 1] << 8) : start;
}

static void put_tcp(const struct ckpt_segment *g, const struct ends *e, struct tcphdr *t)
{
	uint32_t s;

	*t = (struct tcphdr){ .source = e->from_port,
			      .dest = e->to_port,
			      .seq = htonl(g->seq),
			      .ack_seq = htonl(g->ack),
			      .doff = sizeof(*t) / 4,
			      .ack = 1,
			      .fin = g->flags & CKPT_SEGMENT_FIN ? 1 : 0,
			      .rst = g->flags & CKPT_SEGMENT_RST ? 1 : 0,
			      .window = htons(g->window) };
	s = sum(e->from, e->len, sum(e->to, e->len, (uint32_t)(IPPROTO_TCP + sizeof(*t) + g->len)));
	s = sum(g->data, g->len, sum(t, sizeof(*t), s));
	s = (s >> 16) + (s & 0xffff);
	t->check = htons((uint16_t) ~(s + (s >> 16)));
}

static size_t put_ip(const struct ends *e, size_t len, uint8_t *buf)
{
	if (e->family == AF_INET) {
		struct iphdr ip = { .version = 4,
				    .ihl = 5,
				    .ttl = 64,
				    .protocol = IPPROTO_TCP,
				    .tot_len = htons((uint16_t)(sizeof(ip) + len)) };

		memcpy(&ip.saddr, e->from, 4);
		memcpy(&ip.daddr, e->to, 4);
		memcpy(buf, &ip, sizeof(ip)); /* the kernel does its checksum (raw(7)) */
		return sizeof(ip);
	}
	struct ip6_hdr ip = { 0 };

	ip.ip6_vfc = 0x60;
	ip.ip6_plen = htons((uint16_t)len);
	ip.ip6_nxt = IPPROTO_TCP;
	ip.ip6_hlim = 64;
	memcpy(&ip.ip6_src, e->from, 16);
	memcpy(&ip.ip6_dst, e->to, 16);
	memcpy(buf, &ip, sizeof(ip));
	return sizeof(ip);
}

int ckpt_segment_send(const struct ckpt_segment *g, struct err *e)
{
	struct sockaddr_in to4 = { .sin_family = AF_INET };
	struct sockaddr_in6 to6 = { .sin6_family = AF_INET6 };
	uint32_t mark = NETNS_LOCK_MARK;
	uint8_t head[CKPT_SEGMENT_HEAD];
	struct iovec iov[2] = { { head, 0 }, { (void *)(uintptr_t)g->data, g->len } };
	struct msghdr m = { .msg_iov = iov, .msg_iovlen = g->len ? 2 : 1 };
	struct tcphdr t;
	struct ends ends;
	cleanup_close int fd = -EBADF;

	if (g->len > CKPT_SEGMENT_MAX)
		return err_code(e, -EMSGSIZE, "send a segment of a TCP connection");
	look(g, &ends);
	memcpy(&to4.sin_addr, ends.to, 4);
	memcpy(&to6.sin6_addr, ends.to, 16);
	to6.sin6_scope_id = ends.scope;
	fd = netns_socket(g->netns, ends.family, SOCK_RAW, IPPROTO_RAW, e);
	if (fd < 0)
		return fd;
	put_tcp(g, &ends, &t);
	iov[0].iov_len = put_ip(&ends, sizeof(t) + g->len, head);
	memcpy(head + iov[0].iov_len, &t, sizeof(t));
	iov[0].iov_len += sizeof(t);
	m.msg_name = ends.family == AF_INET ? (void *)&to4 : (void *)&to6;
	m.msg_namelen = ends.family == AF_INET ? sizeof(to4) : sizeof(to6);
	if (setsockopt(fd, SOL_SOCKET, SO_MARK, &mark, sizeof(mark)) < 0 || sendmsg(fd, &m, 0) < 0)
		return err_sys(e, "send a segment of a TCP connection");
	return 0;
}
