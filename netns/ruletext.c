/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "netns/net.h"

#include "base/macro.h"
#include "base/parse.h"
#include "netns/internal.h"

#include <arpa/inet.h>

static int rule_bad(const char *text, struct err *e)
{
	err_set(e, ERR_USAGE, "%.80s is not a firewall rule", text);
	return err_hint(
		e,
		"as in: allow 80/tcp, deny from 192.0.2.0/24, allow tcp 8000-8099 from fd00::/8");
}

static int rule_proto(const char *s, uint8_t *ret)
{
	uint64_t n;

	if (netns_parse_transport(s, ret) == 0)
		return 0;
	if (STREQ(s, "any"))
		*ret = 0;
	else if (STREQ(s, "icmp"))
		*ret = IPPROTO_ICMP;
	else if (parse_u64(s, &n) == 0 && n > 0 && n < NETNS_TCP_UDP && n != IPPROTO_ICMPV6)
		*ret = (uint8_t)n;
	else
		return -EINVAL;
	return 0;
}

/* "80", "80/tcp", "8000-8099/udp" */
static int rule_ports(char *s, struct netns_rule *r, bool proto_given)
{
	char *slash = strchr(s, '/');

	if (slash) {
		*slash = '\0';
		if (proto_given || netns_parse_transport(slash + 1, &r->proto) < 0)
			return -EINVAL;
	} else if (!proto_given) {
		r->proto = NETNS_TCP_UDP;
	}
	if (r->proto != IPPROTO_TCP && r->proto != IPPROTO_UDP && r->proto != NETNS_TCP_UDP)
		return -EINVAL;
	return netns_parse_ports(s, &r->port_first, &r->port_last);
}

static bool is_word(const char *s)
{
	return STREQ(s, "any") || STREQ(s, "tcp") || STREQ(s, "udp") || STREQ(s, "icmp");
}

int netns_rule_parse(const char *text, struct netns_rule *ret, struct err *e)
{
	struct netns_rule r = { .port_last = 65535 };
	char copy[128], *next = copy, *word[6];
	size_t n = 0, at = 1;
	bool proto = false, some = false;

	if (strlen(text) >= sizeof(copy))
		return rule_bad(text, e);
	strcpy(copy, text);
	while (n < ARRAY_SIZE(word) && (word[n] = strsep(&next, " ")))
		n += *word[n] != '\0';
	if (next || n < 2 || (!STREQ(word[0], "allow") && !STREQ(word[0], "deny")))
		return rule_bad(text, e);
	r.allow = *word[0] == 'a';
	/* A number alone is a port; as a protocol it follows the word proto. */
	if (STREQ(word[at], "proto") && at + 1 < n) {
		proto = some = true;
		if (rule_proto(word[at + 1], &r.proto) < 0)
			return rule_bad(text, e);
		at += 2;
	} else if (is_word(word[at])) {
		proto = some = true;
		rule_proto(word[at++], &r.proto);
	}
	if (at < n && !STREQ(word[at], "from")) {
		some = true;
		if (rule_ports(word[at++], &r, proto) < 0)
			return rule_bad(text, e);
	}
	if (at + 2 == n && STREQ(word[at], "from")) {
		int bad = netns_addr_parse(word[at + 1], &r.from, e);

		if (bad < 0)
			return bad;
		r.from = netns_addr_net(&r.from);
		at += 2;
		some = true;
	}
	if (at != n || !some)
		return rule_bad(text, e);
	*ret = r;
	return 0;
}

const char *netns_rule_format(const struct netns_rule *r, char buf[NETNS_TEXT_MAX])
{
	char proto[16] = "", port[32] = "", from[80] = "", a[64];

	if (r->proto == IPPROTO_ICMP)
		strcpy(proto, " icmp");
	else if (r->proto == IPPROTO_TCP || r->proto == IPPROTO_UDP)
		snprintf(proto, sizeof(proto), " %s", netns_transport_name(r->proto));
	else if (r->proto && r->proto != NETNS_TCP_UDP)
		snprintf(proto, sizeof(proto), " proto %u", r->proto);
	if (r->port_first && r->port_first == r->port_last)
		snprintf(port, sizeof(port), " %u", r->port_first);
	else if (r->port_first)
		snprintf(port, sizeof(port), " %u-%u", r->port_first, r->port_last);
	if (r->from.family)
		snprintf(from, sizeof(from), " from %s", netns_addr_format(&r->from, a));
	if (!*proto && !*port && !*from)
		strcpy(proto, " any");
	snprintf(buf, NETNS_TEXT_MAX, "%s%s%s%s", r->allow ? "allow" : "deny", proto, port, from);
	return buf;
}

static int allow_bad(const char *text, struct err *e)
{
	err_set(e, ERR_USAGE, "%.80s is not the name of a VPS, an address or host", text);
	return err_hint(e, "for example db1:5432/tcp, 192.0.2.0/24 or host:53/udp");
}

/* Cuts ":80/tcp" off the end. An IPv6 address with a port stands in brackets. */
static int allow_port(char *s, struct netns_allow *a)
{
	char *bracket = strrchr(s, ']'), *colon = strrchr(s, ':'), *slash;

	if (bracket && (*s != '[' || (bracket[1] && bracket[1] != ':')))
		return -EINVAL;
	if (bracket ? !bracket[1] : !colon || strchr(s, ':') != colon)
		return 0;
	*colon = '\0';
	slash = strchr(colon + 1, '/');
	a->proto = NETNS_TCP_UDP;
	if (slash) {
		*slash = '\0';
		if (netns_parse_transport(slash + 1, &a->proto) < 0)
			return -EINVAL;
	}
	return netns_parse_port(colon + 1, &a->port);
}

int netns_allow_parse(const char *text, struct netns_allow *ret, struct err *e)
{
	struct netns_allow a = { 0 };
	char copy[128], *s = copy;
	struct err other;
	size_t len;

	if (strlen(text) >= sizeof(copy))
		return allow_bad(text, e);
	strcpy(copy, text);
	if (allow_port(copy, &a) < 0)
		return allow_bad(text, e);
	len = strlen(s);
	if (*s == '[' && s[len - 1] == ']') {
		s[len - 1] = '\0';
		s++;
		if (!strchr(s, ':'))
			return allow_bad(text, e);
	}
	if (STREQ(s, "host")) {
		a.peer = NETNS_PEER_HOST;
	} else if (s == copy && name_is_valid(s) && netns_addr_parse(s, &a.addr, &other) < 0) {
		a.peer = NETNS_PEER_NAME;
		snprintf(a.name, sizeof(a.name), "%s", s);
	} else {
		a.peer = NETNS_PEER_ADDR;
		if (netns_addr_parse(s, &a.addr, &other) < 0)
			return allow_bad(text, e);
		a.addr = netns_addr_net(&a.addr);
	}
	*ret = a;
	return 0;
}

const char *netns_allow_format(const struct netns_allow *a, char buf[NETNS_TEXT_MAX])
{
	char addr[64], port[16] = "";
	const char *who = a->peer == NETNS_PEER_HOST ? "host" : a->name;
	bool brackets = a->peer == NETNS_PEER_ADDR && a->addr.family == AF_INET6 && a->port;

	if (a->peer == NETNS_PEER_ADDR)
		who = netns_addr_format(&a->addr, addr);
	if (a->port)
		snprintf(port, sizeof(port), ":%u%s", a->port,
			 a->proto == IPPROTO_TCP ? "/tcp" :
			 a->proto == IPPROTO_UDP ? "/udp" :
						   "");
	snprintf(buf, NETNS_TEXT_MAX, brackets ? "[%s]%s" : "%s%s", who, port);
	return buf;
}
