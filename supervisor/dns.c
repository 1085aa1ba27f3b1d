/* SPDX-License-Identifier: GPL-2.0-or-later */

/*
 * The sockets of the bridge's name server, who may ask how much, and how much of vpsd's time all of
 * it may take.
 */
#include "supervisor/dns_internal.h"

#include "base/log.h"
#include "base/macro.h"
#include "base/proc.h"

#include <arpa/inet.h>
#include <errno.h>
#include <sys/epoll.h>
#include <sys/random.h>

#define BATCH 32
#define PROBES 8

socklen_t dns_addr_len(const union dns_addr *a)
{
	return a->any.sa_family == AF_INET ? sizeof(a->in) : sizeof(a->in6);
}

int dns_random_id(uint16_t *ret)
{
	/* It does not wait: long before vpsd the kernel had its entropy. */
	return getrandom(ret, sizeof(*ret), GRND_NONBLOCK) == sizeof(*ret) ? 0 : -EAGAIN;
}

int dns_watch(struct dns *s, sd_event_source **ret, int fd, uint32_t events, sd_event_io_handler_t io,
	      void *userdata)
{
	int r = sd_event_add_io(s->d->event, ret, fd, events, io, userdata);

	return r < 0 ? r : sd_event_source_set_priority(*ret, SD_EVENT_PRIORITY_NORMAL + 10);
}

int dns_timer(struct dns *s, sd_event_source **ret, uint64_t us, sd_event_time_handler_t fire,
	      void *userdata)
{
	*ret = sd_event_source_disable_unref(*ret);
	return sd_event_add_time_relative(s->d->event, ret, CLOCK_MONOTONIC, us, 0, fire, userdata);
}

size_t dns_error(uint8_t *buf, size_t size, const uint8_t *asked, const struct dns_query *q,
		 unsigned code)
{
	struct dns_reply r;

	dns_reply_begin(&r, buf, size, asked, q, code, false);
	return dns_reply_end(&r);
}

/* --- who asks ----------------------------------------------------------------------------------- */

static struct in6_addr source_key(const union dns_addr *from)
{
	struct in6_addr key = { 0 };

	if (from->any.sa_family == AF_INET6)
		return from->in6.sin6_addr;
	key.s6_addr[10] = key.s6_addr[11] = 0xff;
	memcpy(key.s6_addr + 12, &from->in.sin_addr, 4);
	return key;
}

/* The seed keeps tenants from choosing addresses that share a place with another's. */
static size_t source_hash(const struct dns *s, const struct in6_addr *key)
{
	uint64_t h = s->seed;

	for (size_t i = 0; i < sizeof(key->s6_addr); i++)
		h = (h ^ key->s6_addr[i]) * 1099511628211ULL;
	return (size_t)(h ^ h >> 32);
}

struct dns_source *dns_source_get(struct dns *s, const union dns_addr *from)
{
	struct in6_addr key = source_key(from);
	size_t at = source_hash(s, &key);
	struct dns_source *oldest = NULL;

	for (size_t i = 0; i < PROBES; i++) {
		struct dns_source *src = &s->sources[(at + i) % DNS_SOURCES];

		if (src->seen_us && memcmp(&src->addr, &key, sizeof(key)) == 0)
			return src;
		if (!src->pending && !src->connections && (!oldest || src->seen_us < oldest->seen_us))
			oldest = src;
	}
	if (oldest)
		*oldest = (struct dns_source){ .addr = key,
					       .seen_us = now_monotonic_us(),
					       .tokens = DNS_BURST * 1000000ULL };
	return oldest;
}

bool dns_source_take(struct dns_source *src, unsigned cost)
{
	uint64_t now = now_monotonic_us(), most = DNS_BURST * 1000000ULL;
	uint64_t since = now - src->seen_us;

	src->seen_us = now;
	src->tokens += since > 10000000 ? most : since * DNS_RATE;
	if (src->tokens > most)
		src->tokens = most;
	if (src->tokens < cost * 1000000ULL)
		return false;
	src->tokens -= cost * 1000000ULL;
	return true;
}

/* --- how much of the time ----------------------------------------------------------------------- */

static void listen_again(struct dns *s, int on)
{
	for (size_t i = 0; i < s->listeners; i++) {
		sd_event_source_set_enabled(s->on[i].udp_io, on);
		sd_event_source_set_enabled(s->on[i].tcp_io, on);
	}
}

static int on_resume(sd_event_source *source, uint64_t usec, void *userdata)
{
	struct dns *s = userdata;

	(void)source;
	(void)usec;
	listen_again(s, SD_EVENT_ON);
	return 0;
}

static uint64_t budget_begin(struct dns *s)
{
	uint64_t now = now_monotonic_us();

	if (now - s->window_us >= DNS_WINDOW_US) {
		s->window_us = now;
		s->used_us = 0;
	}
	return now;
}

static void budget_end(struct dns *s, uint64_t begun)
{
	s->used_us += now_monotonic_us() - begun;
	if (s->used_us < DNS_BUDGET_US)
		return;
	if (dns_timer(s, &s->resume, DNS_WINDOW_US, on_resume, s) >= 0)
		listen_again(s, SD_EVENT_OFF);
}

/* --- listening ---------------------------------------------------------------------------------- */

static void take_query(struct dns_listener *l, const union dns_addr *from, const uint8_t *msg,
		       size_t len)
{
	struct dns *s = l->s;
	struct dns_source *src = dns_source_get(s, from);
	struct dns_query q;
	size_t n;
	int r;

	if (!src || !dns_source_take(src, 1))
		return;
	r = dns_query_parse(msg, len, &q);
	if (r < 0)
		return;
	if (r == 0 && !dns_source_take(src, dns_zone_cost(s, &q)))
		return;
	n = r > 0 ? dns_error(s->buf, q.udp_size, msg, &q, (unsigned)r)
		  : dns_zone_answer(s, msg, &q, s->buf, q.udp_size);
	if (n)
		sendto(l->udp, s->buf, n, MSG_DONTWAIT | MSG_NOSIGNAL, &from->any, dns_addr_len(from));
	else
		dns_forward(s, l->udp, from, src, msg, len, &q);
}

static int on_udp(sd_event_source *source, int fd, uint32_t revents, void *userdata)
{
	static uint8_t buf[BATCH][DNS_QUERY_MAX + 1];
	struct mmsghdr m[BATCH] = { 0 };
	union dns_addr from[BATCH];
	struct iovec iov[BATCH];
	struct dns_listener *l = userdata;
	uint64_t begun = budget_begin(l->s);
	int n;

	(void)source;
	(void)revents;
	for (size_t i = 0; i < BATCH; i++) {
		iov[i] = (struct iovec){ buf[i], sizeof(buf[i]) };
		m[i].msg_hdr = (struct msghdr){ .msg_name = &from[i],
						.msg_namelen = sizeof(from[i]),
						.msg_iov = &iov[i],
						.msg_iovlen = 1 };
	}
	n = recvmmsg(fd, m, BATCH, MSG_DONTWAIT, NULL);
	for (int i = 0; i < n; i++)
		if (m[i].msg_hdr.msg_namelen >= sizeof(struct sockaddr_in))
			take_query(l, &from[i], buf[i], m[i].msg_len);
	budget_end(l->s, begun);
	return 0;
}

static int on_tcp(sd_event_source *source, int fd, uint32_t revents, void *userdata)
{
	struct dns_listener *l = userdata;
	struct dns *s = l->s;
	uint64_t begun = budget_begin(s);
	union dns_addr from = { 0 };
	socklen_t len = sizeof(from);
	int conn = accept4(fd, &from.any, &len, SOCK_CLOEXEC | SOCK_NONBLOCK);
	struct dns_source *src;

	(void)source;
	(void)revents;
	if (conn < 0) {
		if (errno == EMFILE || errno == ENFILE)
			s->used_us = DNS_BUDGET_US; /* it stays readable: look again later */
		budget_end(s, begun);
		return 0;
	}
	src = dns_source_get(s, &from);
	if (!src || !dns_source_take(src, 1) || s->connection_count >= DNS_CONNECTIONS ||
	    src->connections >= DNS_SOURCE_CONNECTIONS)
		close(conn);
	else
		dns_tcp_new(s, conn, src);
	budget_end(s, begun);
	return 0;
}

/* Bound to the gateway's address and to the bridge: what comes in by another link is not for us, even
 * when it is sent to that address. The host's own programs get through: for what goes over lo the
 * kernel takes the link that the address is on (ip_route_output_key_hash_rcu()). */
static int open_socket(const struct dns *s, const struct netns_addr *gw, int type, struct err *e)
{
	union dns_addr a = { 0 };
	cleanup_close int fd = socket(gw->family, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	const char *bridge = s->host.bridge;
	int on = 1, size = 1024 * 1024;
	char text[64];

	a.any.sa_family = (sa_family_t)gw->family;
	if (gw->family == AF_INET) {
		a.in.sin_port = htons(53);
		memcpy(&a.in.sin_addr, gw->bytes, 4);
	} else {
		a.in6.sin6_port = htons(53);
		memcpy(&a.in6.sin6_addr, gw->bytes, 16);
	}
	if (fd < 0)
		return err_sys(e, "make a socket for the name server");
	if (setsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, bridge, (socklen_t)strlen(bridge) + 1) < 0)
		return err_sys(e, "bind the name server to %s", bridge);
	/* For TCP: connections of the vpsd before may still be in TIME_WAIT. For UDP it would let us
	 * share the port with another program that has said the same. */
	if (type == SOCK_STREAM)
		setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	else
		setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof(size));
	if (bind(fd, &a.any, dns_addr_len(&a)) < 0 || (type == SOCK_STREAM && listen(fd, 64) < 0))
		return err_sys(e, "bind the name server to %s port 53",
			       netns_addr_format_host(gw, text));
	return TAKE_FD(fd);
}

static int listen_on(struct dns *s, const struct netns_addr *gw, struct err *e)
{
	struct dns_listener *l = &s->on[s->listeners];
	int r;

	*l = (struct dns_listener){ .s = s, .family = gw->family, .udp = -EBADF, .tcp = -EBADF };
	s->listeners++;
	l->udp = open_socket(s, gw, SOCK_DGRAM, e);
	if (l->udp < 0)
		return l->udp;
	l->tcp = open_socket(s, gw, SOCK_STREAM, e);
	if (l->tcp < 0)
		return l->tcp;
	r = dns_watch(s, &l->udp_io, l->udp, EPOLLIN, on_udp, l);
	if (r >= 0)
		r = dns_watch(s, &l->tcp_io, l->tcp, EPOLLIN, on_tcp, l);
	return r < 0 ? err_code(e, r, "watch the name server's sockets") : 0;
}

bool dns_serves(const struct dns *s, int family)
{
	for (size_t i = 0; i < s->listeners; i++)
		if (s->on[i].family == family)
			return true;
	return false;
}

static void listen_end(struct dns_listener *l)
{
	l->udp_io = sd_event_source_disable_unref(l->udp_io);
	l->tcp_io = sd_event_source_disable_unref(l->tcp_io);
	fd_close(&l->udp);
	fd_close(&l->tcp);
}

void dns_down(struct dns *s)
{
	if (!s)
		return;
	s->resume = sd_event_source_disable_unref(s->resume);
	dns_forward_done(s);
	dns_tcp_done(s);
	for (size_t i = 0; i < s->listeners; i++)
		listen_end(&s->on[i]);
	free(s);
}

int dns_up(struct sup_daemon *d, const struct netns_host *h, struct dns **ret, struct err *e)
{
	struct dns *s = calloc(1, sizeof(*s));
	int r = 0;

	if (!s)
		return err_code(e, -ENOMEM, "prepare the name server");
	s->d = d;
	s->host = *h;
	if (getrandom(&s->seed, sizeof(s->seed), GRND_NONBLOCK) != sizeof(s->seed))
		r = err_code(e, -EAGAIN, "get random bytes for the name server");
	if (r == 0 && h->gw4.family)
		r = listen_on(s, &h->gw4, e);
	if (r == 0 && h->gw6.family)
		r = listen_on(s, &h->gw6, e);
	/* A host without IPv6; then nobody else has that port there either. */
	if (s->listeners && s->on[s->listeners - 1].family == AF_INET6 &&
	    (r == -EAFNOSUPPORT || r == -EADDRNOTAVAIL)) {
		listen_end(&s->on[--s->listeners]);
		r = 0;
	}
	if (r == 0 && !s->listeners)
		r = err_set(e, ERR_UNSUPPORTED, "the bridge has no address for a name server");
	if (r < 0) {
		dns_down(s);
		return r;
	}
	*ret = s;
	return 0;
}
