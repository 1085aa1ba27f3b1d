/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Published ports as text, and whether a program on the host is in their way. */
#include "netns/internal.h"

#include "base/macro.h"
#include "base/parse.h"
#include "base/str.h"

#include <arpa/inet.h>
#include <sys/socket.h>

static const struct {
	uint8_t proto;
	const char *name;
} transports[] = {
	{ IPPROTO_TCP, "tcp" },
	{ IPPROTO_UDP, "udp" },
	{ NETNS_TCP_UDP, "tcp+udp" },
};

int netns_parse_port(const char *s, uint16_t *ret)
{
	uint64_t n;

	if (parse_u64(s, &n) < 0 || n == 0 || n > 65535)
		return -EINVAL;
	*ret = (uint16_t)n;
	return 0;
}

int netns_parse_ports(char *s, uint16_t *first, uint16_t *last)
{
	char *dash = strchr(s, '-');

	if (dash)
		*dash = '\0';
	if (netns_parse_port(s, first) < 0 || netns_parse_port(dash ? dash + 1 : s, last) < 0)
		return -EINVAL;
	return *first <= *last ? 0 : -EINVAL;
}

int netns_parse_transport(const char *s, uint8_t *ret)
{
	for (size_t i = 0; i < ARRAY_SIZE(transports); i++)
		if (transports[i].proto != NETNS_TCP_UDP && STREQ(s, transports[i].name)) {
			*ret = transports[i].proto;
			return 0;
		}
	return -EINVAL;
}

const char *netns_transport_name(uint8_t proto)
{
	for (size_t i = 0; i < ARRAY_SIZE(transports); i++)
		if (transports[i].proto == proto)
			return transports[i].name;
	return "";
}

static int publish_bad(const char *text, struct err *e)
{
	err_set(e, ERR_USAGE, "%.80s is not a port to publish", text);
	return err_hint(e, "as in 8080:80, 8080:80/udp, 192.0.2.1:8080:80/tcp or 8000-8010:9000-9010");
}

static bool is_any(const struct netns_addr *a)
{
	static const uint8_t zero[16];

	return memcmp(a->bytes, zero, sizeof(zero)) == 0;
}

static bool is_loopback(const struct netns_addr *a)
{
	struct in6_addr six;

	memcpy(&six, a->bytes, sizeof(six));
	return a->family == AF_INET ? a->bytes[0] == 127 : IN6_IS_ADDR_LOOPBACK(&six);
}

/* "192.0.2.1" or "[2001:db8::1]", without its prefix. */
static int publish_host(struct netns_publish *p, char *s, const char *text, struct err *e)
{
	size_t len = strlen(s);
	int r;

	if (*s == '[' && len > 2 && s[len - 1] == ']') {
		s[len - 1] = '\0';
		s++;
		if (!strchr(s, ':'))
			return publish_bad(text, e);
	} else if (strchr(s, ':')) {
		return publish_bad(text, e);
	}
	if (strchr(s, '/'))
		return publish_bad(text, e);
	r = netns_addr_parse(s, &p->host, e);
	if (r < 0)
		return r;
	if (is_any(&p->host) || is_loopback(&p->host) || netns_addr_is_host(&p->host))
		return 0;
	return err_set(e, ERR_USAGE, "%.80s: not an address that a host can have", text);
}

static int publish_transport(char *text, struct netns_publish *p)
{
	char *slash = strrchr(text, '/');

	if (!slash)
		return 0;
	*slash = '\0';
	if (!STREQ(slash + 1, "tcp+udp") && !STREQ(slash + 1, "udp+tcp"))
		return netns_parse_transport(slash + 1, &p->proto);
	p->proto = NETNS_TCP_UDP;
	return 0;
}

static int publish_ports(struct netns_publish *p, char *host, char *inside, const char *text, struct err *e)
{
	uint16_t host_last, last;

	if (netns_parse_ports(host, &p->host_port, &host_last) < 0 || netns_parse_ports(inside, &p->port, &last) < 0)
		return publish_bad(text, e);
	if (host_last - p->host_port != last - p->port)
		return err_set(e, ERR_USAGE, "%.80s: %d port%s of the host cannot lead to %d of the VPS", text,
			       host_last - p->host_port + 1, str_s((unsigned)(host_last - p->host_port + 1)),
			       last - p->port + 1);
	if (last - p->port >= NETNS_PORTS_MAX)
		return err_set(e, ERR_USAGE, "%.80s: more than %d ports", text, NETNS_PORTS_MAX);
	p->count = (uint16_t)(last - p->port + 1);
	return 0;
}

int netns_publish_parse(const char *text, struct netns_publish *ret, struct err *e)
{
	struct netns_publish p = { .proto = IPPROTO_TCP };
	char copy[128], *port, *host_port;
	int r;

	if (strlen(text) >= sizeof(copy))
		return publish_bad(text, e);
	strcpy(copy, text);
	if (publish_transport(copy, &p) < 0)
		return publish_bad(text, e);
	port = strrchr(copy, ':');
	if (!port)
		return publish_bad(text, e);
	*port++ = '\0';
	host_port = strrchr(copy, ':');
	if (host_port) {
		*host_port++ = '\0';
		r = publish_host(&p, copy, text, e);
		if (r < 0)
			return r;
	} else {
		host_port = copy;
	}
	r = publish_ports(&p, host_port, port, text, e);
	if (r == 0)
		*ret = p;
	return r;
}

static const char *format_ports(uint16_t first, uint16_t count, char buf[16])
{
	if (count > 1)
		snprintf(buf, 16, "%u-%u", first, first + count - 1U);
	else
		snprintf(buf, 16, "%u", first);
	return buf;
}

const char *netns_publish_format(const struct netns_publish *p, char buf[NETNS_TEXT_MAX])
{
	bool six = p->host.family == AF_INET6;
	char host[64] = "", host_ports[16], ports[16];

	if (p->host.family)
		netns_addr_format_host(&p->host, host);
	snprintf(buf, NETNS_TEXT_MAX, "%s%s%s%s%s:%s/%s", six ? "[" : "", host, six ? "]" : "",
		 p->host.family ? ":" : "", format_ports(p->host_port, p->count, host_ports),
		 format_ports(p->port, p->count, ports),
		 netns_transport_name(p->proto));
	return buf;
}

bool netns_publish_is_at_one(const struct netns_publish *p)
{
	return p->host.family && !is_any(&p->host);
}

unsigned netns_publish_ports(const struct netns_publish *p)
{
	return p->proto == NETNS_TCP_UDP ? p->count * 2U : p->count;
}

bool netns_publish_has(const struct netns_publish *p, uint16_t host_port)
{
	return host_port >= p->host_port && host_port - p->host_port < p->count;
}

static bool same_address(const struct netns_addr *a, const struct netns_addr *b)
{
	if (!a->family || !b->family)
		return true;
	return a->family == b->family && (is_any(a) || is_any(b) || netns_addr_equal(a, b));
}

uint16_t netns_publish_clash(const struct netns_publish *a, const struct netns_publish *b)
{
	uint16_t first = a->host_port > b->host_port ? a->host_port : b->host_port;

	if (a->proto != b->proto && a->proto != NETNS_TCP_UDP && b->proto != NETNS_TCP_UDP)
		return 0;
	if (!same_address(&a->host, &b->host))
		return 0;
	return netns_publish_has(a, first) && netns_publish_has(b, first) ? first : 0;
}

static int refused(const struct netns_publish *p, uint16_t port, struct err *e)
{
	char text[NETNS_TEXT_MAX];

	netns_publish_format(p, text);
	if (errno == EADDRINUSE && p->count > 1)
		return err_set(e, ERR_EXISTS, "publish %s: a program on the host has port %u", text, port);
	if (errno == EADDRINUSE)
		return err_set(e, ERR_EXISTS, "publish %s: a program on the host has this port", text);
	if (errno == EADDRNOTAVAIL)
		return err_set(e, ERR_NOT_FOUND, "publish %s: the host has no such address", text);
	return err_sys(e, "publish %s", text);
}

/* Binds it for a moment. `family`: of the socket. */
static int try_port(const struct netns_publish *p, int fd, int family, uint16_t port)
{
	struct sockaddr_in6 sa6 = { .sin6_family = AF_INET6, .sin6_port = htons(port) };
	struct sockaddr_in sa4 = { .sin_family = AF_INET, .sin_port = htons(port) };

	memcpy(&sa6.sin6_addr, p->host.bytes, 16);
	memcpy(&sa4.sin_addr, p->host.bytes, 4);
	return family == AF_INET6 ? bind(fd, (struct sockaddr *)&sa6, sizeof(sa6)) :
				    bind(fd, (struct sockaddr *)&sa4, sizeof(sa4));
}

static int port_is_free(const struct netns_publish *p, int type, uint16_t port, struct err *e)
{
	int only = p->host.family == AF_INET6, on = 1, family = p->host.family ? p->host.family : AF_INET6;
	cleanup_close int fd = socket(family, type | SOCK_CLOEXEC, 0);

	if (fd < 0 && !p->host.family) { /* no IPv6 on this host */
		family = AF_INET;
		fd = socket(family, type | SOCK_CLOEXEC, 0);
	}
	if (fd < 0)
		return err_sys(e, "open a socket to try port %u", port);
	/* Connections in TIME_WAIT do not make the port taken; a listening socket still does. */
	if (type == SOCK_STREAM)
		setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	if (family == AF_INET6)
		setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &only, sizeof(only));
	return try_port(p, fd, family, port) < 0 ? refused(p, port, e) : 0;
}

int netns_publish_is_free(const struct netns_publish *p, struct err *e)
{
	int r = 0;

	for (unsigned k = 0; r == 0 && k < p->count; k++) {
		uint16_t port = (uint16_t)(p->host_port + k);

		if (p->proto != IPPROTO_UDP)
			r = port_is_free(p, SOCK_STREAM, port, e);
		if (r == 0 && p->proto != IPPROTO_TCP)
			r = port_is_free(p, SOCK_DGRAM, port, e);
	}
	return r;
}
