/* SPDX-License-Identifier: GPL-2.0-or-later */

/* What the configuration gave to a VPS's network when it was saved, beside what it gives to who is restored. */
#include "checkpoint/netgiven.h"

#include "base/macro.h"
#include "checkpoint/netstate_internal.h"
#include "runtime/network.h"

#include <linux/fib_rules.h>
#include <linux/rtnetlink.h>

static void add(struct ckpt_given *g, const struct netns_addr *a)
{
	if (a->family && g->count < CKPT_GIVEN_MAX)
		g->addr[g->count++] = *a;
}

/* The link-local address that the runtime makes of a MAC, as the kernel would. */
static void add_local(struct ckpt_given *g, const uint8_t mac[6])
{
	struct netns_addr a;

	netns_link_local(mac, &a);
	add(g, &a);
}

static void add_interface(struct ckpt_given *g, const char *uuid, const struct netns_if *i, unsigned k)
{
	uint8_t host[6];
	char what[32];

	for (size_t n = 0; n < i->addr_count; n++)
		add(g, &i->addr[n]);
	add(g, &i->gw4);
	add(g, &i->gw6);
	if (i->mode == NETNS_NONE || i->mode == NETNS_HOST)
		return;
	add_local(g, i->mac);
	/* The host's end is the gateway of a routed one. */
	snprintf(what, sizeof(what), "host %u", k);
	netns_mac_of(uuid, what, host);
	add_local(g, host);
}

static int given_by(const struct rt_spec *spec, struct ckpt_given *ret, struct err *e)
{
	struct rt_network n;
	int r = rt_spec_network(spec, &n, e);

	ret->count = 0;
	if (r < 0)
		return r;
	for (unsigned k = 0; k < n.vps.if_count; k++)
		add_interface(ret, spec->uuid, &n.vps.ifs[k], k);
	rt_network_done(&n);
	return 0;
}

int ckpt_given_save(const struct rt_spec *spec, struct ckpt_arena *a, Ckpt__Header *h, struct err *e)
{
	struct ckpt_given g;
	int r = given_by(spec, &g, e);

	if (r < 0)
		return r;
	h->given = ckpt_alloc(a, (g.count + 1) * sizeof(*h->given));
	for (size_t i = 0; h->given && i < g.count; i++) {
		ProtobufCBinaryData *d = &h->given[i];

		d->len = g.addr[i].family == AF_INET ? 4 : 16;
		d->data = ckpt_memdup(a, g.addr[i].bytes, d->len);
		if (!d->data)
			return err_code(e, -ENOMEM, "collect the network");
		h->n_given++;
	}
	return h->given ? 0 : err_code(e, -ENOMEM, "collect the network");
}

int ckpt_given_check(const Ckpt__Header *h, struct err *e)
{
	bool good = h->n_given <= CKPT_GIVEN_MAX;

	for (size_t i = 0; good && i < h->n_given; i++)
		good = h->given[i].len == 4 || h->given[i].len == 16;
	return good ? 0 : err_set(e, ERR_FAIL, "the image is damaged: the addresses of a network");
}

static struct netns_addr address_of(const void *data, size_t len)
{
	struct netns_addr a = { .family = len == 4 ? AF_INET : AF_INET6 };

	memcpy(a.bytes, data, len);
	return a;
}

bool ckpt_given_has(const struct ckpt_given *g, const void *address, size_t len)
{
	struct netns_addr a;

	if (len != 4 && len != 16)
		return false;
	a = address_of(address, len);
	for (size_t i = 0; i < g->count; i++)
		if (netns_addr_equal(&g->addr[i], &a))
			return true;
	return false;
}

static void add_missing(struct ckpt_given *to, const struct ckpt_given *from, const struct ckpt_given *other)
{
	for (size_t i = 0; i < from->count; i++)
		if (!ckpt_given_has(other, from->addr[i].bytes, from->addr[i].family == AF_INET ? 4 : 16))
			add(to, &from->addr[i]);
}

int ckpt_moved_find(const Ckpt__Header *h, const struct rt_spec *spec, struct ckpt_moved *ret, struct err *e)
{
	struct ckpt_given then = { .count = 0 }, now;
	int r;

	*ret = (struct ckpt_moved){ .gone.count = 0 };
	if (!h->n_given) /* an older image: it is not known */
		return 0;
	for (size_t i = 0; i < h->n_given; i++) {
		struct netns_addr a = address_of(h->given[i].data, h->given[i].len);

		add(&then, &a);
	}
	r = given_by(spec, &now, e);
	add_missing(&ret->gone, &then, &now);
	add_missing(&ret->come, &now, &then);
	return r;
}

bool net_mentions(enum ckpt_net_part p, const struct nlmsghdr *m, const struct ckpt_given *g)
{
	/* Attributes that hold an address: of addresses, of routes (gateway, whole destination, source), of rules. */
	static const uint64_t where[CKPT_NET_PART_COUNT] = {
		[CKPT_NET_ADDRESS] = 1u << IFA_ADDRESS | 1u << IFA_LOCAL,
		[CKPT_NET_ROUTE] = 1u << RTA_GATEWAY | 1u << RTA_DST | 1u << RTA_PREFSRC,
		[CKPT_NET_RULE] = 1u << FRA_SRC,
	};
	const struct nlattr *a;

	if (!g->count || !where[p])
		return false;
	mnl_attr_for_each(a, m, net_parts[p].fixed) {
		uint16_t type = mnl_attr_get_type(a);

		if (type < 64 && where[p] >> type & 1 &&
		    ckpt_given_has(g, mnl_attr_get_payload(a), mnl_attr_get_payload_len(a)))
			return true;
	}
	return false;
}

struct leaving {
	const struct ckpt_given *gone;
	struct nl n; /* collects what is to be said: nothing is, while the kernel lists */
};

static int take_address(enum ckpt_net_part p, const struct nlmsghdr *m, void *arg)
{
	const struct ifaddrmsg *ifa = mnl_nlmsg_get_payload(m);
	struct leaving *l = arg;
	struct nlmsghdr *q;
	const struct nlattr *a;

	if (!net_mentions(p, m, l->gone))
		return 0;
	q = nl_begin(&l->n, RTM_DELADDR, 0, ifa, sizeof(*ifa), "take away an earlier address");
	mnl_attr_for_each(a, m, sizeof(*ifa))
		if (q && (mnl_attr_get_type(a) == IFA_LOCAL || mnl_attr_get_type(a) == IFA_ADDRESS))
			mnl_attr_put(q, a->nla_type, mnl_attr_get_payload_len(a), mnl_attr_get_payload(a));
	nl_end(&l->n, q);
	nl_ignore(&l->n, EADDRNOTAVAIL);
	return 0;
}

int ckpt_moved_leave(const struct ckpt_moved *moved, int netns_fd, struct err *e)
{
	cleanup_nl struct nl list = NL_INIT;
	struct leaving l = { &moved->gone, NL_INIT };
	int r;

	if (!moved->gone.count)
		return 0;
	r = nl_open(&list, NETLINK_ROUTE, netns_fd, e);
	if (r == 0)
		r = nl_open(&l.n, NETLINK_ROUTE, netns_fd, e);
	if (r == 0)
		r = net_list(&list, NULL, CKPT_NET_ADDRESS, take_address, &l, e);
	if (r == 0)
		r = nl_talk(&l.n, "the VPS's network", NULL, NULL, e);
	nl_done(&l.n);
	return r;
}
