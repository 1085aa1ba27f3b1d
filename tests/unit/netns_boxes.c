/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "tests/unit/tap.h"

#include "base/macro.h"
#include "netns/boxes.h"
#include "netns/internal.h"

/* Firewall rules cut into boxes, against the plain reading of the list. */

struct packet {
	uint8_t proto, from[16];
	uint16_t port;
};

/* 1 allow, 0 deny, -1 no rule */
static int by_list(const struct netns_rule *r, size_t n, int family, const struct packet *p)
{
	struct netns_addr a = { .family = family };

	memcpy(a.bytes, p->from, 16);
	for (size_t i = 0; i < n; i++) {
		uint8_t proto = r[i].proto;

		if (proto == IPPROTO_ICMP && family == AF_INET6)
			proto = IPPROTO_ICMPV6;
		if (proto == NETNS_TCP_UDP && p->proto != IPPROTO_TCP && p->proto != IPPROTO_UDP)
			continue;
		if (proto && proto != NETNS_TCP_UDP && proto != p->proto)
			continue;
		if (p->port < r[i].port_first || p->port > r[i].port_last)
			continue;
		if (r[i].from.family && !netns_addr_in(&a, &r[i].from))
			continue;
		return r[i].allow;
	}
	return -1;
}

/* As above; -2 when two boxes hold it. */
static int by_boxes(const struct netns_box *b, size_t n, const struct packet *p)
{
	int verdict = -1;

	for (size_t i = 0; i < n; i++) {
		if (p->proto < b[i].proto_first || p->proto > b[i].proto_last ||
		    p->port < b[i].port_first || p->port > b[i].port_last ||
		    memcmp(p->from, b[i].from_first, 16) < 0 ||
		    memcmp(p->from, b[i].from_last, 16) > 0)
			continue;
		if (verdict != -1)
			return -2;
		verdict = b[i].allow;
	}
	return verdict;
}

static uint32_t seed = 1;

static unsigned any(unsigned below)
{
	seed = seed * 1664525 + 1013904223;
	return (seed >> 8) % below;
}

static void any_addr(int family, uint8_t b[16])
{
	static const uint8_t few[] = { 0, 1, 127, 128, 255 };

	memset(b, 0, 16);
	for (int i = 0; i < (family == AF_INET ? 4 : 16); i++)
		b[i] = few[any(ARRAY_SIZE(few))];
}

static uint16_t any_port(void)
{
	static const uint16_t few[] = { 0, 1, 79, 80, 81, 443, 8000, 8099, 8100, 65534, 65535 };

	return few[any(ARRAY_SIZE(few))];
}

static uint8_t any_proto(void)
{
	static const uint8_t few[] = { 0, 1, 2, 6, 17, 47, 58, 254 };

	return few[any(ARRAY_SIZE(few))];
}

static struct netns_rule any_rule(int family)
{
	struct netns_rule r = { .allow = any(2), .port_last = 65535 };
	uint16_t a = any_port(), b = any_port();

	switch (any(4)) {
	case 0:
		r.proto = NETNS_TCP_UDP;
		break;
	case 1:
		r.proto = any(2) ? IPPROTO_TCP : IPPROTO_UDP;
		break;
	case 2:
		r.proto = any(2) ? IPPROTO_ICMP : 47;
	}
	if (r.proto == NETNS_TCP_UDP || r.proto == IPPROTO_TCP || r.proto == IPPROTO_UDP) {
		r.port_first = a < b ? a : b;
		r.port_last = a < b ? b : a;
	}
	if (any(2)) {
		struct netns_addr from = { .family =
						   any(5) ? family : AF_INET + AF_INET6 - family };

		any_addr(from.family, from.bytes);
		from.prefix = (uint8_t)any(from.family == AF_INET ? 33 : 129);
		r.from = netns_addr_net(&from);
	}
	return r;
}

TEST(like_the_list)
{
	size_t wrong = 0, twice = 0, tried = 0, most = 0;

	for (int round = 0; round < 400; round++) {
		int family = any(2) ? AF_INET : AF_INET6;
		cleanup_free struct netns_box *box = NULL;
		struct netns_rule rule[12];
		size_t n = 1 + any(ARRAY_SIZE(rule)), count;
		struct err e = { 0 };

		for (size_t i = 0; i < n; i++)
			rule[i] = any_rule(family);
		if (netns_boxes(rule, n, family, &box, &count, &e) < 0) {
			ok(false, "%s", e.msg);
			return;
		}
		most = count > most ? count : most;
		for (int k = 0; k < 500; k++, tried++) {
			struct packet p = { .proto = any_proto(), .port = any_port() };
			int list, boxes;

			any_addr(family, p.from);
			list = by_list(rule, n, family, &p);
			boxes = by_boxes(box, count, &p);
			twice += boxes == -2;
			wrong += list != boxes;
		}
	}
	eq_int(wrong, 0, "%zu packets, each verdict that of the first rule that matches", tried);
	eq_int(twice, 0, "no two boxes overlap");
	ok(most > 20, "up to %zu boxes", most);
}

TEST(few_boxes)
{
	static const struct {
		const char *rule[3];
		size_t count;
	} cases[] = {
		{ { "allow any" }, 1 },
		{ { "allow 80/tcp", "allow any" }, 1 }, /* the same verdict: joined */
		{ { "allow tcp 80-89", "allow tcp 90-99" }, 1 },
		{ { "allow from 10.0.0.0/9", "allow from 10.128.0.0/9" }, 1 },
		{ { "allow from 10.0.0.0/8", "deny from 10.0.0.0/8" }, 1 },
		{ { "deny 80/tcp", "allow any" }, 5 },
		{ { "allow from fd00::/8" }, 0 },
	};

	for (size_t k = 0; k < ARRAY_SIZE(cases); k++) {
		cleanup_free struct netns_box *box = NULL;
		struct netns_rule rule[3];
		struct err e = { 0 };
		size_t n = 0, count;

		for (; n < 3 && cases[k].rule[n]; n++)
			netns_rule_parse(cases[k].rule[n], &rule[n], &e);
		ok(netns_boxes(rule, n, AF_INET, &box, &count, &e) == 0, "%s %s", cases[k].rule[0],
		   e.msg);
		eq_int(count, cases[k].count, "boxes");
	}
}

TEST(too_many)
{
	cleanup_free struct netns_box *box = NULL;
	struct netns_rule rule[NETNS_RULE_MAX] = { 0 };
	struct err e = { 0 };
	size_t count = 0;

	/* Each further slice of ports has one more source cut out of it. */
	for (unsigned i = 0; i < NETNS_RULE_MAX; i++) {
		rule[i] = (struct netns_rule){ .proto = NETNS_TCP_UDP,
					       .port_first = (uint16_t)(10 * i + 1),
					       .port_last = 65535 };
		rule[i].from = (struct netns_addr){ .family = AF_INET,
						    .prefix = 32,
						    .bytes = { 10, 0, 0, (uint8_t)(2 * i) } };
	}
	rule[NETNS_RULE_MAX - 1] = (struct netns_rule){ .allow = true, .port_last = 65535 };
	ok(netns_boxes(rule, 10, AF_INET, &box, &count, &e) == 0 && count > 90, "ten: %zu boxes",
	   count);
	free(TAKE_PTR(box));
	ok(netns_boxes(rule, NETNS_RULE_MAX, AF_INET, &box, &count, &e) < 0, "the longest list: %s",
	   e.msg);
	eq_int(e.code, ERR_USAGE, "the list is to blame");
	ok(!box, "nothing is left to free");
}
