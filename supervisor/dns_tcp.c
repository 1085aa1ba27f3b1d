/* SPDX-License-Identifier: GPL-2.0-or-later */

/*
 * Queries over TCP (RFC 7766), one after another on a connection, each with two bytes of length
 * before it; passed on over TCP too, since who asks that way wants what does not fit a datagram.
 * Each step has its time, which bytes that trickle in do not prolong.
 */
#include "supervisor/dns_internal.h"

#include "base/macro.h"

#include <errno.h>
#include <sys/epoll.h>

enum step { QUERY, ASK, ANSWER, REPLY };

struct dns_tcp {
	struct dns_tcp *next, **at;
	struct dns *s;
	struct dns_source *src;
	int fd, up;
	sd_event_source *io, *up_io, *timer;
	enum step step;
	unsigned queries, server;
	uint16_t id;
	struct dns_query q;
	size_t done; /* bytes of this step's message, its length included */
	uint8_t query[2 + DNS_QUERY_MAX];
	uint8_t ask[2 + DNS_QUERY_MAX];
	uint8_t reply[2 + DNS_MESSAGE_MAX];
};

static size_t message_len(const uint8_t *buf)
{
	return (size_t)buf[0] << 8 | buf[1];
}

static void set_len(uint8_t *buf, size_t len)
{
	buf[0] = (uint8_t)(len >> 8);
	buf[1] = (uint8_t)len;
}

static void up_end(struct dns_tcp *c)
{
	c->up_io = sd_event_source_disable_unref(c->up_io);
	fd_close(&c->up);
}

static void tcp_free(struct dns_tcp *c)
{
	up_end(c);
	c->io = sd_event_source_disable_unref(c->io);
	c->timer = sd_event_source_disable_unref(c->timer);
	fd_close(&c->fd);
	*c->at = c->next;
	if (c->next)
		c->next->at = c->at;
	c->s->connection_count--;
	c->src->connections--;
	free(c);
}

/* Reads on in a message. 1: it is whole; 0: more is to come; < 0: it will not. */
static int read_on(int fd, uint8_t *buf, size_t *done, size_t most)
{
	for (;;) {
		size_t want = *done < 2 ? 2 : 2 + message_len(buf);
		ssize_t n;

		if (*done >= 2 && (want - 2 < DNS_HEADER || want - 2 > most))
			return -EBADMSG;
		if (*done == want)
			return 1;
		n = recv(fd, buf + *done, want - *done, MSG_DONTWAIT);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 && errno == EAGAIN ? 0 : -EPIPE;
		*done += (size_t)n;
	}
}

static int write_on(int fd, const uint8_t *buf, size_t *done)
{
	size_t want = 2 + message_len(buf);

	while (*done < want) {
		ssize_t n = send(fd, buf + *done, want - *done, MSG_DONTWAIT | MSG_NOSIGNAL);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return errno == EAGAIN ? 0 : -errno;
		*done += (size_t)n;
	}
	return 1;
}

static int on_timeout(sd_event_source *source, uint64_t usec, void *userdata);
static int on_up(sd_event_source *source, int fd, uint32_t revents, void *userdata);

/* While the client is not to be heard its socket stays watched for its end (EPOLLHUP). */
static int go(struct dns_tcp *c, enum step step)
{
	static const uint32_t events[] = { [QUERY] = EPOLLIN, [REPLY] = EPOLLOUT };
	bool up = step == ASK || step == ANSWER;

	c->step = step;
	c->done = 0;
	if (!up)
		up_end(c);
	if (sd_event_source_set_io_events(c->io, up ? 0 : events[step]) < 0)
		return -ENOMEM;
	/* The servers' time is counted from the connection on. */
	return step == ANSWER ? 0
			      : dns_timer(c->s, &c->timer, up ? DNS_TCP_TRY_US : DNS_IDLE_US,
					  on_timeout, c);
}

static int answer(struct dns_tcp *c, size_t len)
{
	set_len(c->reply, len);
	return go(c, REPLY);
}

static int fail(struct dns_tcp *c)
{
	return answer(c, dns_error(c->reply + 2, DNS_MESSAGE_MAX, c->query + 2, &c->q, DNS_SERVFAIL));
}

static int connect_to(struct dns_tcp *c, const union dns_addr *server)
{
	int r = dns_random_id(&c->id);

	if (r < 0)
		return r;
	memcpy(c->ask, c->query, 2 + message_len(c->query));
	dns_set_id(c->ask + 2, c->id);
	c->up = socket(server->any.sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (c->up < 0)
		return -errno;
	if (connect(c->up, &server->any, dns_addr_len(server)) < 0 && errno != EINPROGRESS)
		return -errno;
	return dns_watch(c->s, &c->up_io, c->up, EPOLLOUT, on_up, c);
}

static int ask_next(struct dns_tcp *c)
{
	const struct dns_servers *list = dns_servers_get(c->s);

	up_end(c);
	while (c->server < list->count) {
		if (connect_to(c, &list->addr[c->server++]) >= 0)
			return go(c, ASK);
		up_end(c);
	}
	return fail(c);
}

/* A query has come whole. < 0: the connection is to end. */
static int take_query(struct dns_tcp *c)
{
	size_t len = message_len(c->query), n;
	int r = dns_query_parse(c->query + 2, len, &c->q);

	if (r < 0 || ++c->queries > DNS_CONNECTION_QUERIES ||
	    !dns_source_take(c->src, 1 + dns_zone_cost(c->s, &c->q)))
		return -EPERM;
	n = r > 0 ? dns_error(c->reply + 2, DNS_MESSAGE_MAX, c->query + 2, &c->q, (unsigned)r)
		  : dns_zone_answer(c->s, c->query + 2, &c->q, c->reply + 2, DNS_MESSAGE_MAX);
	c->server = 0;
	return n ? answer(c, n) : ask_next(c);
}

static int on_client(sd_event_source *source, int fd, uint32_t revents, void *userdata)
{
	struct dns_tcp *c = userdata;
	int r = 0;

	(void)source;
	if (revents & (EPOLLHUP | EPOLLERR)) {
		tcp_free(c);
		return 0;
	}
	if (c->step == QUERY) {
		r = read_on(fd, c->query, &c->done, DNS_QUERY_MAX);
		if (r > 0)
			r = take_query(c);
	} else if (c->step == REPLY) {
		r = write_on(fd, c->reply, &c->done);
		if (r > 0)
			r = go(c, QUERY);
	}
	if (r < 0)
		tcp_free(c);
	return 0;
}

static int take_reply(struct dns_tcp *c)
{
	size_t len = message_len(c->reply);

	if (!dns_reply_matches(c->reply + 2, len, c->id, c->query + 2, &c->q))
		return ask_next(c);
	dns_set_id(c->reply + 2, c->q.id);
	return answer(c, len);
}

static int on_up(sd_event_source *source, int fd, uint32_t revents, void *userdata)
{
	struct dns_tcp *c = userdata;
	int r;

	(void)source;
	(void)revents;
	if (c->step == ASK) {
		r = write_on(fd, c->ask, &c->done); /* a failed connect is told by the first send */
		if (r > 0 && (go(c, ANSWER) < 0 || sd_event_source_set_io_events(c->up_io, EPOLLIN) < 0))
			r = -ENOMEM;
		r = r < 0 ? ask_next(c) : 0;
	} else {
		r = read_on(fd, c->reply, &c->done, DNS_MESSAGE_MAX);
		if (r != 0)
			r = r < 0 ? ask_next(c) : take_reply(c);
	}
	if (r < 0)
		tcp_free(c);
	return 0;
}

static int on_timeout(sd_event_source *source, uint64_t usec, void *userdata)
{
	struct dns_tcp *c = userdata;

	(void)source;
	(void)usec;
	if ((c->step != ASK && c->step != ANSWER) || ask_next(c) < 0)
		tcp_free(c);
	return 0;
}

void dns_tcp_new(struct dns *s, int fd, struct dns_source *src)
{
	struct dns_tcp *c = malloc(sizeof(*c)); /* the buffers' pages come as they are used */

	if (!c) {
		close(fd);
		return;
	}
	memset(c, 0, offsetof(struct dns_tcp, query));
	c->s = s;
	c->src = src;
	c->fd = fd;
	c->up = -EBADF;
	c->next = s->connections;
	c->at = &s->connections;
	if (c->next)
		c->next->at = &c->next;
	s->connections = c;
	s->connection_count++;
	src->connections++;
	if (dns_watch(s, &c->io, fd, EPOLLIN, on_client, c) < 0 || go(c, QUERY) < 0)
		tcp_free(c);
}

void dns_tcp_done(struct dns *s)
{
	while (s->connections)
		tcp_free(s->connections);
}
