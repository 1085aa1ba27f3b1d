/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "netns/internal.h"

#include "base/macro.h"
#include "netns/rt.h"

#include <linux/fib_rules.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <time.h>

/* The VPS's end of an interface, in its own namespace. */

#define MAC_PAUSE_NS 5000000
#define MAC_TRIES 1000
#define SOURCE_TABLE 100 /* table 101 is the second interface's */

/* The table that is asked for what is sent from an interface's addresses. */
static uint32_t table_of(unsigned number)
{
	return SOURCE_TABLE + number;
}

/* `table` 0: the main one, unless another interface's default route is there. */
static void add_gateway(struct nl *n, int index, const struct netns_addr *gw, bool in_network,
			uint32_t table)
{
	/* For IPv6 onlink is refused when the main table has the gateway on another interface (Linux
	 * 6.18, ip6_route_check_nh_onlink()); a table of its own has the route to it. */
	bool onlink = !in_network && !(table && gw->family == AF_INET6);
	struct rtmsg rt = {
		.rtm_family = (uint8_t)gw->family,
		.rtm_table = RT_TABLE_MAIN,
		.rtm_protocol = RTPROT_STATIC,
		.rtm_scope = RT_SCOPE_UNIVERSE,
		.rtm_type = RTN_UNICAST,
		.rtm_flags = onlink ? RTNH_F_ONLINK : 0,
	};
	struct nlmsghdr *m = nl_begin(n, RTM_NEWROUTE, NLM_F_CREATE | NLM_F_EXCL, &rt, sizeof(rt),
				      "set the default route");

	if (m) {
		mnl_attr_put(m, RTA_GATEWAY, netns_addr_len(gw), gw->bytes);
		mnl_attr_put_u32(m, RTA_OIF, (uint32_t)index);
		if (table)
			mnl_attr_put_u32(m, RTA_TABLE, table);
	}
	nl_end(n, m);
	nl_ignore(n, EEXIST);
	if (onlink && gw->family == AF_INET6)
		nl_ignore(n, EINVAL); /* an earlier interface has this gateway, and the default route */
}

/* So that the tenant's own `ip route add … via GATEWAY` works. */
static void add_gateway_link(struct nl *n, int index, const struct netns_addr *gw, uint32_t table)
{
	struct rtmsg rt = netns_rt_host_route(gw);
	struct nlmsghdr *m;

	rt.rtm_protocol = RTPROT_STATIC;
	m = nl_begin(n, RTM_NEWROUTE, NLM_F_CREATE | NLM_F_EXCL, &rt, sizeof(rt),
		     "set the route to the gateway");
	if (m) {
		mnl_attr_put(m, RTA_DST, netns_addr_len(gw), gw->bytes);
		mnl_attr_put_u32(m, RTA_OIF, (uint32_t)index);
		if (table)
			mnl_attr_put_u32(m, RTA_TABLE, table);
	}
	nl_end(n, m);
	nl_ignore(n, EEXIST);
}

/* An address's network, as the kernel puts it into the main table. */
static void add_network(struct nl *n, int index, const struct netns_addr *a, uint32_t table)
{
	struct netns_addr net = netns_addr_net(a);
	struct rtmsg rt = netns_rt_host_route(&net);
	struct nlmsghdr *m;

	rt.rtm_protocol = RTPROT_STATIC;
	rt.rtm_dst_len = a->prefix;
	m = nl_begin(n, RTM_NEWROUTE, NLM_F_CREATE | NLM_F_EXCL, &rt, sizeof(rt), "set the route to the network");
	if (m) {
		mnl_attr_put(m, RTA_DST, netns_addr_len(&net), net.bytes);
		mnl_attr_put(m, RTA_PREFSRC, netns_addr_len(a), a->bytes);
		mnl_attr_put_u32(m, RTA_OIF, (uint32_t)index);
		mnl_attr_put_u32(m, RTA_TABLE, table);
	}
	nl_end(n, m);
	nl_ignore(n, EEXIST);
}

/* What is sent from this address, to that network or (NULL) to all, goes by this table: adds or deletes the rule. */
static void source_rule(struct nl *n, uint16_t type, const struct netns_addr *a, const struct netns_addr *to,
			uint32_t table)
{
	struct fib_rule_hdr fr = {
		.family = (uint8_t)a->family,
		.src_len = a->family == AF_INET ? 32 : 128,
		.dst_len = to ? (uint8_t)to->prefix : 0,
		.action = FR_ACT_TO_TBL,
	};
	bool add = type == RTM_NEWRULE;
	struct nlmsghdr *m = nl_begin(n, type, add ? NLM_F_CREATE | NLM_F_EXCL : 0, &fr, sizeof(fr),
				      add ? "add the rule for the interface's routes"
					  : "remove the rule for the interface's routes");

	if (m) {
		mnl_attr_put(m, FRA_SRC, netns_addr_len(a), a->bytes);
		if (to)
			mnl_attr_put(m, FRA_DST, netns_addr_len(to), to->bytes);
		mnl_attr_put_u32(m, FRA_TABLE, table);
		mnl_attr_put_u32(m, FRA_PRIORITY, 1000 + table);
	}
	nl_end(n, m);
	if (add)
		nl_ignore(n, EEXIST);
	if (!add) { /* the tenant may have removed it, or the kernel has no IPv6 */
		nl_ignore(n, ENOENT);
		nl_ignore(n, EAFNOSUPPORT);
	}
}

static bool gw_in_networks(const struct netns_if *i, const struct netns_addr *gw)
{
	for (size_t k = 0; k < i->addr_count; k++)
		if (netns_addr_in(gw, &i->addr[k]))
			return true;
	return false;
}

/* Gives it its addresses, and sets it up. */
static void raise_link(struct nl *n, const struct netns_if *i, int index)
{
	struct ifinfomsg ifi = { .ifi_index = index, .ifi_flags = IFF_UP, .ifi_change = IFF_UP };
	struct netns_addr own;

	/* Before the link goes up: the kernel would add the same one, and wait a second for
	 * duplicate address detection. No IPv6 in this kernel: EOPNOTSUPP. */
	netns_link_local(i->mac, &own);
	netns_rt_addr(n, index, &own, true);
	nl_ignore(n, EOPNOTSUPP);
	for (size_t k = 0; k < i->addr_count; k++)
		netns_rt_addr(n, index, &i->addr[k], !netns_if_is_ours(i));
	nl_end(n, nl_begin(n, RTM_NEWLINK, 0, &ifi, sizeof(ifi), "set up the interface"));
}

/* Up, but without carrier: it can have addresses and routes, and switches hear nothing of it. */
void netns_inside_mute(struct nl *n, int index, bool on)
{
	struct ifinfomsg ifi = { .ifi_index = index };
	struct nlmsghdr *m = nl_begin(n, RTM_NEWLINK, 0, &ifi, sizeof(ifi), "hold the interface");

	if (m)
		mnl_attr_put_u8(m, IFLA_PROTO_DOWN, on);
	nl_end(n, m);
	nl_ignore(n, EOPNOTSUPP); /* before Linux 4.2; it is heard too early then */
}

int netns_inside_await(struct nl *n, const struct netns_if *i, int index, const char *subject, struct err *e)
{
	const struct timespec pause = { 0, MAC_PAUSE_NS };
	int r;

	for (unsigned k = 0;; k++) {
		raise_link(n, i, index);
		r = nl_talk(n, subject, NULL, NULL, e);
		if (r != -EADDRINUSE || k == MAC_TRIES)
			return r;
		nanosleep(&pause, NULL);
	}
}

/* The main table has a route of its own to the gateway (add_gateways()); link-local addresses are on the link anyway. */
static bool has_gateway_link(const struct netns_if *i, const struct netns_addr *gw)
{
	return gw->family && !(gw->family == AF_INET6 && gw->bytes[0] == 0xfe) &&
	       (netns_if_is_ours(i) || !gw_in_networks(i, gw));
}

/* The routes by its gateways; `table` 0: the main one. */
static void add_gateways(struct nl *n, const struct netns_if *i, const struct netns_addr gw[2], int index,
			 uint32_t table)
{
	for (int f = 0; f < 2; f++) {
		bool in_network = !has_gateway_link(i, &gw[f]);

		if (!gw[f].family)
			continue;
		if (!in_network)
			add_gateway_link(n, index, &gw[f], table);
		add_gateway(n, index, &gw[f], in_network, table);
	}
}

static void gateways_of(const struct netns_if *i, const uint8_t host_mac[6], struct netns_addr ret[2])
{
	ret[0] = i->gw4;
	ret[1] = i->gw6;
	if (i->mode == NETNS_ROUTED && !i->gw6.family)
		netns_link_local(host_mac, &ret[1]);
}

void netns_inside_up(struct nl *n, const struct netns_if *i, const uint8_t host_mac[6], int index)
{
	struct netns_addr gw[2];

	raise_link(n, i, index);
	gateways_of(i, host_mac, gw);
	add_gateways(n, i, gw, index, 0);
}

/* The main table reaches it by the interface. */
static bool has_network(const struct netns_if *i, const struct netns_addr *a)
{
	return !netns_if_is_ours(i) && a->prefix < netns_addr_len(a) * 8;
}

/* The rules for an address of the first interface: where the main table has the way by another one. */
static void first_rules(struct nl *n, uint16_t type, const struct netns_vps *v, const struct netns_addr *a)
{
	const struct netns_addr *own = a->family == AF_INET ? &v->ifs[0].gw4 : &v->ifs[0].gw6;

	for (size_t k = 1; k < v->if_count; k++) {
		const struct netns_if *i = &v->ifs[k];
		const struct netns_addr *gw = a->family == AF_INET ? &i->gw4 : &i->gw6;

		for (size_t b = 0; b < i->addr_count; b++) {
			struct netns_addr net = netns_addr_net(&i->addr[b]);

			if (net.family == a->family && has_network(i, &net))
				source_rule(n, type, a, &net, table_of(0));
		}
		if (has_gateway_link(i, gw) && !netns_addr_equal(gw, own)) {
			struct netns_addr alone = *gw;

			alone.prefix = (uint8_t)(netns_addr_len(gw) * 8);
			source_rule(n, type, a, &alone, table_of(0));
		}
	}
}

/*
 * In the main table the default route is the first interface's, and a neighbour on the network of another is reached
 * by that one. What answers must leave as the question came, or it would be taken for false. From the first interface
 * only what goes to those networks is taken from the main table: there the tenant's own routes are.
 */
void netns_inside_answer(struct nl *n, const struct netns_vps *v, unsigned number, const uint8_t host_mac[6],
			 int index)
{
	const struct netns_if *i = &v->ifs[number];
	struct netns_addr gw[2];

	gateways_of(i, host_mac, gw);
	for (size_t k = 0; k < i->addr_count; k++) {
		const struct netns_addr *a = &i->addr[k];

		if (!gw[a->family == AF_INET6].family)
			continue;
		if (has_network(i, a))
			add_network(n, index, a, table_of(number));
		if (number)
			source_rule(n, RTM_NEWRULE, a, NULL, table_of(number));
		else
			first_rules(n, RTM_NEWRULE, v, a);
	}
	add_gateways(n, i, gw, index, table_of(number));
}

/* Those to a network first: the kernel takes any of them for the one to all. */
void netns_inside_answer_not(struct nl *n, const struct netns_vps *v, unsigned number)
{
	const struct netns_if *i = &v->ifs[number];

	for (size_t k = 0; k < i->addr_count; k++) {
		if (!number)
			first_rules(n, RTM_DELRULE, v, &i->addr[k]);
		source_rule(n, RTM_DELRULE, &i->addr[k], NULL, table_of(number));
	}
}

void netns_inside_down(struct nl *n, const struct netns_if *i)
{
	struct ifinfomsg ifi = { 0 };
	struct nlmsghdr *m;

	if (i->mode != NETNS_MACVLAN)
		return;
	m = nl_begin(n, RTM_DELLINK, 0, &ifi, sizeof(ifi), "remove the interface");
	if (m)
		mnl_attr_put_strz(m, IFLA_IFNAME, i->name);
	nl_end(n, m);
	nl_ignore(n, ENODEV);
}
