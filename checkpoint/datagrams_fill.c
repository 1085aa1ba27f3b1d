/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Datagrams that waited, sent again: as packets with their senders' addresses, which pass the lock by a mark. */
#include "base/fd.h"
#include "base/macro.h"
#include "base/proc.h"
#include "checkpoint/datagrams.h"
#include "checkpoint/image.pb-c.h"
#include "checkpoint/sockets.h"
#include "netns/netns.h"

#include <errno.h>
#include <netinet/ip.h>
#include <netinet/ip6.h>
#include <netinet/udp.h>

#include <string.h>
#include <sys/socket.h>
#include <time.h>

#define SO_MEMINFO_ 55 /* Linux 4.12 */
#define HEADERS (sizeof(struct ip6_hdr) + sizeof(struct udphdr))
#define PATIENCE_US 1000000 /* for one that is under way */
#define LOOK_NS 50000
#define LOOK_US 1000        /* at most, what is slept in between */
#define LOST_MOST 2         /* so many that do not come; then no other would */

struct filling {
	int fd; /* the socket's */
	uint16_t port; /* that it has meanwhile */
	int raw[2]; /* for IPv4 and IPv6 */
	struct ckpt_opening *o;
	uint32_t space;
	bool wide; /* the socket is for IPv6 */
	unsigned lost;
	uint8_t packet[HEADERS + CKPT_DATAGRAM_MAX + 1];
};

/* One packet: addresses as they are on the way. */
struct way {
	int family;
	const uint8_t *from, *to;
	size_t len;
	uint16_t from_port;
	uint32_t scope;
};

static void look(const Ckpt__SocketData *q, struct way *w)
{
	const struct sockaddr_in *a4 = (const void *)q->from.data, *b4 = (const void *)q->to.data;
	const struct sockaddr_in6 *a6 = (const void *)q->from.data, *b6 = (const void *)q->to.data;
	bool mapped = a4->sin_family == AF_INET6 && IN6_IS_ADDR_V4MAPPED(&b6->sin6_addr);

	*w = (struct way){ .family = mapped ? AF_INET : a4->sin_family, .from_port = a4->sin_port };
	w->len = w->family == AF_INET ? 4 : 16;
	if (a4->sin_family == AF_INET) {
		w->from = (const uint8_t *)&a4->sin_addr;
		w->to = (const uint8_t *)&b4->sin_addr;
	} else {
		w->from = a6->sin6_addr.s6_addr + 16 - w->len;
		w->to = b6->sin6_addr.s6_addr + 16 - w->len;
		w->scope = mapped ? 0 : b6->sin6_scope_id;
	}
}

static uint32_t sum(const uint8_t *p, size_t len, uint32_t start)
{
	for (size_t i = 0; i < len; i++)
		start += i % 2 ? p[i] : (uint32_t)p[i] << 8;
	return start;
}

static size_t put_ip(const struct way *w, const Ckpt__SocketData *q, size_t len, uint8_t *buf)
{
	if (w->family == AF_INET) {
		struct iphdr ip = { .version = 4, .ihl = 5, .ttl = (uint8_t)q->ttl, .tos = (uint8_t)q->tos,
				    .protocol = IPPROTO_UDP, .tot_len = htons((uint16_t)(sizeof(ip) + len)) };

		memcpy(&ip.saddr, w->from, 4);
		memcpy(&ip.daddr, w->to, 4);
		memcpy(buf, &ip, sizeof(ip)); /* the kernel does its checksum (raw(7)) */
		return sizeof(ip);
	}
	struct ip6_hdr ip = { 0 };

	ip.ip6_flow = htonl(6u << 28 | q->tos << 20);
	ip.ip6_plen = htons((uint16_t)len);
	ip.ip6_nxt = IPPROTO_UDP;
	ip.ip6_hlim = (uint8_t)q->ttl;
	memcpy(&ip.ip6_src, w->from, 16);
	memcpy(&ip.ip6_dst, w->to, 16);
	memcpy(buf, &ip, sizeof(ip));
	return sizeof(ip);
}

static size_t put_packet(struct filling *f, const struct way *w, const Ckpt__SocketData *q, size_t at, size_t len)
{
	struct udphdr u = { .source = w->from_port, .dest = f->port, .len = htons((uint16_t)(sizeof(u) + len)) };
	size_t head = put_ip(w, q, sizeof(u) + len, f->packet);
	uint32_t s = sum(w->from, w->len, sum(w->to, w->len, (uint32_t)(IPPROTO_UDP + sizeof(u) + len)));

	s = sum(q->data.data + at, len, sum((const uint8_t *)&u, sizeof(u), s));
	s = (s >> 16) + (s & 0xffff);
	s = ~(s + (s >> 16)) & 0xffff;
	u.check = htons((uint16_t)(s ? s : 0xffff));
	memcpy(f->packet + head, &u, sizeof(u));
	memcpy(f->packet + head + sizeof(u), q->data.data + at, len);
	return head + sizeof(u) + len;
}

/* True when it is an address of the VPS's own, and of nobody else's, so that no packet leaves it: what is sent there comes
 * from there. */
static bool is_own(const struct filling *f, const struct way *w)
{
	bool six = w->family == AF_INET6;
	struct sockaddr_in6 a = { .sin6_family = (sa_family_t)w->family, .sin6_port = htons(9), .sin6_scope_id = w->scope };
	uint8_t *addr = six ? a.sin6_addr.s6_addr : (uint8_t *)&((struct sockaddr_in *)(void *)&a)->sin_addr;
	socklen_t len = six ? sizeof(a) : sizeof(struct sockaddr_in);
	cleanup_close int probe = -EBADF;
	struct err ignored;

	memcpy(addr, w->to, w->len);
	probe = ckpt_opening_socket(f->o, f->space, w->family, SOCK_DGRAM, 0, &ignored);
	return probe >= 0 && connect(probe, (void *)&a, len) == 0 && getsockname(probe, (void *)&a, &len) == 0 &&
	       memcmp(addr, w->to, w->len) == 0;
}

static uint32_t fullness(int fd)
{
	uint32_t info[16] = { 0 };
	socklen_t len = sizeof(info);

	return getsockopt(fd, SOL_SOCKET, SO_MEMINFO_, info, &len) < 0 ? 0 : info[0];
}

/* A packet within a host is mostly there when sendto(2) returns; on a busy one the kernel puts that off. */
static bool has_come(int fd, uint32_t before)
{
	struct wait_limit limit = wait_limit(PATIENCE_US);

	while (fullness(fd) == before)
		if (wait_limit_is_over(&limit, LOOK_US))
			return false;
		else
			nanosleep(&(struct timespec){ 0, LOOK_NS }, NULL);
	return true;
}

static int open_raw(struct filling *f, int family)
{
	uint32_t mark = NETNS_LOCK_MARK;
	int *fd = &f->raw[family == AF_INET6];
	struct err ignored;

	if (*fd < 0)
		*fd = ckpt_opening_socket(f->o, f->space, family, SOCK_RAW, IPPROTO_RAW, &ignored);
	if (*fd >= 0 && setsockopt(*fd, SOL_SOCKET, SO_MARK, &mark, sizeof(mark)) < 0)
		fd_close(fd);
	return *fd;
}

/* One that the kernel does not take is lost alone. False: several have not come, and no other would. */
static bool send_one(struct filling *f, const struct way *w, const Ckpt__SocketData *q, size_t at, size_t len)
{
	struct sockaddr_in to4 = { .sin_family = AF_INET };
	struct sockaddr_in6 to6 = { .sin6_family = AF_INET6, .sin6_scope_id = w->scope };
	size_t size = put_packet(f, w, q, at, len);
	uint32_t before = fullness(f->fd);
	bool six = w->family == AF_INET6;
	int fd = open_raw(f, w->family);

	memcpy(six ? (void *)&to6.sin6_addr : (void *)&to4.sin_addr, w->to, w->len);
	if (fd >= 0 && sendto(fd, f->packet, size, MSG_DONTWAIT, six ? (void *)&to6 : (void *)&to4,
			      six ? sizeof(to6) : sizeof(to4)) >= 0)
		f->lost += !has_come(f->fd, before);
	return f->lost < LOST_MOST;
}

static bool send_again(struct filling *f, const Ckpt__SocketData *q)
{
	size_t at = 0, most = q->segment ? q->segment : q->data.len;
	struct way w;
	bool come;

	if (!q->from.len) /* among others an image has it where it pleases */
		return true;
	look(q, &w);
	if (!is_own(f, &w))
		return true;
	do {
		size_t len = q->data.len - at < most ? q->data.len - at : most;

		come = send_one(f, &w, q, at, len);
		at += len;
	} while (come && at < q->data.len);
	return come;
}

/* At all addresses, for both protocols, with room, and with a note of where each came in. 1: no port is free. */
static int open_up(struct filling *f, int was[static 2], struct err *e)
{
	struct sockaddr_in6 any = { .sin6_family = f->wide ? AF_INET6 : AF_INET };
	socklen_t len = f->wide ? sizeof(any) : sizeof(struct sockaddr_in), size = sizeof(int);
	int most = 1 << 29, on = 1, off = 0, r;

	was[1] = 0;
	getsockopt(f->fd, SOL_SOCKET, SO_RCVBUF, &was[0], &size);
	setsockopt(f->fd, SOL_SOCKET, SO_RCVBUF, &most, sizeof(most));
	if (f->wide && getsockopt(f->fd, SOL_IPV6, IPV6_V6ONLY, &was[1], &size) == 0)
		setsockopt(f->fd, SOL_IPV6, IPV6_V6ONLY, &off, sizeof(off));
	setsockopt(f->fd, f->wide ? SOL_IPV6 : SOL_IP, f->wide ? IPV6_RECVPKTINFO : IP_PKTINFO, &on, sizeof(on));
	r = bind(f->fd, (void *)&any, len);
	if (r < 0 && errno == EADDRINUSE)
		return 1;
	if (r < 0 || getsockname(f->fd, (void *)&any, &len) < 0)
		return err_sys(e, "bind a datagram socket for a while");
	f->port = any.sin6_port; /* struct sockaddr_in has it at the same place */
	return 0;
}

/* A port that the kernel has chosen goes when the socket is disconnected. */
static int close_up(struct filling *f, const int was[static 2], struct err *e)
{
	const struct sockaddr nobody = { .sa_family = AF_UNSPEC };
	int off = 0, half = was[0] / 2, none = 0;

	if (connect(f->fd, &nobody, sizeof(nobody)) < 0)
		return err_sys(e, "take a datagram socket's port from it again");
	setsockopt(f->fd, f->wide ? SOL_IPV6 : SOL_IP, f->wide ? IPV6_RECVPKTINFO : IP_PKTINFO, &off, sizeof(off));
	if (f->wide)
		setsockopt(f->fd, SOL_IPV6, IPV6_V6ONLY, &was[1], sizeof(was[1]));
	setsockopt(f->fd, SOL_SOCKET, SO_RCVBUF, &half, sizeof(half));
	setsockopt(f->fd, SOL_SOCKET, 72 /* SO_BUF_LOCK */, &none, sizeof(none));
	return 0;
}

int ckpt_datagrams_fill(struct ckpt_opening *o, size_t i, int fd, struct err *e)
{
	size_t count;
	Ckpt__SocketData **q = ckpt_socket_queue(o->tree, (uint32_t)i + 1, &count);

	cleanup_free struct filling *f = NULL;
	int was[2], r;

	/* The last may be one that it sends. */
	while (count && q[count - 1]->queue)
		count--;
	if (!count)
		return 0;
	f = calloc(1, sizeof(*f));
	if (!f)
		return err_code(e, -ENOMEM, "restore datagram sockets");
	*f = (struct filling){ .fd = fd, .raw = { -EBADF, -EBADF }, .o = o,
			       .space = o->tree->files[i]->space, .wide = o->tree->files[i]->socket->family == AF_INET6 };
	r = open_up(f, was, e);
	for (size_t n = 0; r == 0 && n < count && send_again(f, q[n]); n++)
		;
	fd_close(&f->raw[0]);
	fd_close(&f->raw[1]);
	return r >= 0 ? close_up(f, was, e) : r;
}
