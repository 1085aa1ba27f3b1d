/* SPDX-License-Identifier: GPL-2.0-or-later */

/*
 * Queries that others are to answer. Each try has a socket and an id of its own: the kernel gives a
 * socket without a port a random one (udp_lib_get_port()) and, once connected, passes on only what
 * comes from that server's address and port. A stranger would have to guess port and id within the
 * time of one reply.
 */
#include "supervisor/dns_internal.h"

#include "base/fd.h"
#include "base/log.h"
#include "base/macro.h"
#include "base/proc.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <sys/epoll.h>

#define RESOLV_CONF "/etc/resolv.conf"
#define LOOK_US 1000000
#define STRAY_MAX 64 /* datagrams that are no reply to the question, before the try is given up */

struct dns_pending {
	struct dns_pending *next, **at;
	struct dns *s;
	struct dns_source *src;
	int udp; /* the listener's */
	union dns_addr client;
	int fd;
	sd_event_source *io, *timer;
	uint16_t id;
	unsigned tries, strays;
	struct dns_query q;
	size_t len;
	uint8_t msg[];
};

/* --- the host's resolvers ----------------------------------------------------------------------- */

static bool is_ours(const struct dns *s, const union dns_addr *a)
{
	if (a->any.sa_family == AF_INET)
		return s->host.gw4.family && memcmp(&a->in.sin_addr, s->host.gw4.bytes, 4) == 0;
	return s->host.gw6.family && memcmp(&a->in6.sin6_addr, s->host.gw6.bytes, 16) == 0;
}

/* getaddrinfo(3) of a number asks nobody; it knows "fe80::1%eth0". */
static void add_server(struct dns *s, const char *text)
{
	const struct addrinfo hints = { .ai_flags = AI_NUMERICHOST | AI_NUMERICSERV,
					.ai_socktype = SOCK_DGRAM };
	struct dns_servers *list = &s->servers;
	struct addrinfo *found;

	if (list->count == DNS_SERVERS || getaddrinfo(text, "53", &hints, &found) != 0)
		return;
	if (found->ai_addrlen <= sizeof(list->addr[0])) {
		union dns_addr *a = &list->addr[list->count];

		memset(a, 0, sizeof(*a));
		memcpy(a, found->ai_addr, found->ai_addrlen);
		list->count += !is_ours(s, a);
	}
	freeaddrinfo(found);
}

/* It is a link on many hosts, so it is followed. */
static void read_servers(struct dns *s)
{
	char text[65536], *next = text, *line;
	cleanup_close int fd = open(RESOLV_CONF, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	ssize_t n = -1;

	s->servers.count = 0;
	if (fd >= 0 && fstat(fd, &s->servers.file) == 0 && S_ISREG(s->servers.file.st_mode))
		n = fd_read_full(fd, text, sizeof(text) - 1);
	text[n > 0 ? n : 0] = '\0';
	while ((line = strsep(&next, "\n"))) {
		if (strncmp(line, "nameserver", 10) != 0 || !strchr(" \t", line[10]) || !line[10])
			continue;
		line += 10 + strspn(line + 10, " \t");
		line[strcspn(line, " \t\r#;")] = '\0';
		add_server(s, line);
	}
	if (!s->servers.count)
		add_server(s, "127.0.0.1"); /* resolv.conf(5) */
}

const struct dns_servers *dns_servers_get(struct dns *s)
{
	uint64_t now = now_monotonic_us();
	const struct stat *was = &s->servers.file;
	struct stat st = { 0 };

	if (s->servers.count && now - s->servers.looked_us < LOOK_US)
		return &s->servers;
	s->servers.looked_us = now;
	stat(RESOLV_CONF, &st);
	if (!s->servers.count || st.st_dev != was->st_dev || st.st_ino != was->st_ino ||
	    st.st_size != was->st_size || st.st_mtim.tv_sec != was->st_mtim.tv_sec ||
	    st.st_mtim.tv_nsec != was->st_mtim.tv_nsec)
		read_servers(s);
	return &s->servers;
}

/* --- one query ---------------------------------------------------------------------------------- */

static void try_end(struct dns_pending *p)
{
	p->io = sd_event_source_disable_unref(p->io);
	p->timer = sd_event_source_disable_unref(p->timer);
	fd_close(&p->fd);
}

static void pending_free(struct dns_pending *p)
{
	try_end(p);
	*p->at = p->next;
	if (p->next)
		p->next->at = p->at;
	p->s->pending_count--;
	p->src->pending--;
	free(p);
}

static void reply(struct dns_pending *p, const uint8_t *msg, size_t len)
{
	sendto(p->udp, msg, len, MSG_DONTWAIT | MSG_NOSIGNAL, &p->client.any,
	       dns_addr_len(&p->client));
}

static void fail(struct dns_pending *p)
{
	uint8_t *buf = p->s->buf;

	reply(p, buf, dns_error(buf, p->q.udp_size, p->msg, &p->q, DNS_SERVFAIL));
	pending_free(p);
}

static int on_reply(sd_event_source *source, int fd, uint32_t revents, void *userdata);
static int on_timeout(sd_event_source *source, uint64_t usec, void *userdata);

static int ask(struct dns_pending *p, const union dns_addr *server)
{
	uint8_t id[2];
	struct iovec iov[] = { { id, 2 }, { p->msg + 2, p->len - 2 } };
	struct msghdr m = { .msg_iov = iov, .msg_iovlen = 2 };
	int r = dns_random_id(&p->id);

	if (r < 0)
		return r;
	dns_set_id(id, p->id);
	p->strays = 0;
	p->fd = socket(server->any.sa_family, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (p->fd < 0)
		return -errno;
	if (connect(p->fd, &server->any, dns_addr_len(server)) < 0 ||
	    sendmsg(p->fd, &m, MSG_NOSIGNAL) < 0)
		return -errno;
	r = dns_watch(p->s, &p->io, p->fd, EPOLLIN, on_reply, p);
	return r < 0 ? r : dns_timer(p->s, &p->timer, DNS_TRY_US, on_timeout, p);
}

/* Each server once, a single one twice. */
static void try_next(struct dns_pending *p)
{
	const struct dns_servers *list = dns_servers_get(p->s);
	unsigned most = list->count > 1 ? (unsigned)list->count : 2;

	try_end(p);
	while (list->count && p->tries < most) {
		if (ask(p, &list->addr[p->tries++ % list->count]) >= 0)
			return;
		try_end(p);
	}
	fail(p);
}

static int on_timeout(sd_event_source *source, uint64_t usec, void *userdata)
{
	(void)source;
	(void)usec;
	try_next(userdata);
	return 0;
}

static int on_reply(sd_event_source *source, int fd, uint32_t revents, void *userdata)
{
	struct dns_pending *p = userdata;
	uint8_t *buf = p->s->buf;
	ssize_t n = recv(fd, buf, DNS_MESSAGE_MAX, MSG_DONTWAIT);
	bool stray = n >= 0 && !dns_reply_matches(buf, (size_t)n, p->id, p->msg, &p->q);
	unsigned code;

	(void)source;
	(void)revents;
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return 0;
	if (n < 0 || (stray && ++p->strays >= STRAY_MAX)) {
		try_next(p); /* nobody listens there, or somebody guesses */
		return 0;
	}
	if (stray)
		return 0;
	code = dns_reply_code(buf);
	if ((code == DNS_SERVFAIL || code == DNS_REFUSED || code == DNS_NOTIMP) &&
	    p->tries < dns_servers_get(p->s)->count) {
		try_next(p);
		return 0;
	}
	if ((size_t)n > p->q.udp_size)
		n = (ssize_t)dns_truncated(buf, p->q.udp_size, p->msg, &p->q, code);
	else
		dns_set_id(buf, p->q.id);
	reply(p, buf, (size_t)n);
	pending_free(p);
	return 0;
}

void dns_forward(struct dns *s, int udp, const union dns_addr *client, struct dns_source *src,
		 const uint8_t *msg, size_t len, const struct dns_query *q)
{
	struct dns_pending *p = NULL;

	if (s->pending_count < DNS_PENDING && src->pending < DNS_SOURCE_PENDING)
		p = calloc(1, sizeof(*p) + len);
	if (!p) {
		sendto(udp, s->buf, dns_error(s->buf, q->udp_size, msg, q, DNS_SERVFAIL),
		       MSG_DONTWAIT | MSG_NOSIGNAL, &client->any, dns_addr_len(client));
		return;
	}
	p->s = s;
	p->src = src;
	p->udp = udp;
	p->client = *client;
	p->fd = -EBADF;
	p->q = *q;
	p->len = len;
	memcpy(p->msg, msg, len);
	p->next = s->pending;
	p->at = &s->pending;
	if (p->next)
		p->next->at = &p->next;
	s->pending = p;
	s->pending_count++;
	src->pending++;
	try_next(p);
}

void dns_forward_done(struct dns *s)
{
	while (s->pending)
		pending_free(s->pending);
}
