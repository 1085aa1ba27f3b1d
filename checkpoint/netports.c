/* SPDX-License-Identifier: GPL-2.0-or-later */

/* What a bridge is told of each of its ports: whether frames go back where they came from, and the like. */
#include "checkpoint/netlinks.h"

#include "base/macro.h"

#include <errno.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>

static const uint16_t kept[] = {
	IFLA_BRPORT_PRIORITY,	  IFLA_BRPORT_MODE,	     IFLA_BRPORT_GUARD,
	IFLA_BRPORT_PROTECT,	  IFLA_BRPORT_FAST_LEAVE,    IFLA_BRPORT_LEARNING,
	IFLA_BRPORT_UNICAST_FLOOD, IFLA_BRPORT_PROXYARP,     IFLA_BRPORT_PROXYARP_WIFI,
	IFLA_BRPORT_MULTICAST_ROUTER, IFLA_BRPORT_MCAST_FLOOD, IFLA_BRPORT_MCAST_TO_UCAST,
	IFLA_BRPORT_VLAN_TUNNEL,  IFLA_BRPORT_BCAST_FLOOD,   IFLA_BRPORT_NEIGH_SUPPRESS,
	IFLA_BRPORT_ISOLATED,	  IFLA_BRPORT_LOCKED,
};

static bool is_kept(uint16_t type)
{
	for (size_t i = 0; i < ARRAY_SIZE(kept); i++)
		if (kept[i] == type)
			return true;
	return false;
}

struct settling {
	const struct net_walk *all;
	struct nl *n;
};

static bool find(const struct net_walk *all, const struct net_link *now, struct net_link *ret)
{
	return net_link_find(all, all->ns, (uint32_t)now->ifi->ifi_index, ret) && ret->port &&
	       ret->master == now->master;
}

/* Only what is not so already: a kernel may not take all that it tells. */
static int settle(enum ckpt_net_part p, const struct nlmsghdr *m, void *arg)
{
	struct settling *s = arg;
	struct net_link now, want;
	struct ifinfomsg ifi = { 0 };
	struct nlattr *info, *data;
	const struct nlattr *a;
	struct nlmsghdr *q;

	(void)p;
	net_link_read(m, &now);
	if (!now.port || !find(s->all, &now, &want))
		return 0;
	ifi.ifi_index = now.ifi->ifi_index;
	q = nl_begin(s->n, RTM_NEWLINK, 0, &ifi, sizeof(ifi), "set");
	if (!q)
		return -ENOMEM;
	info = mnl_attr_nest_start(q, IFLA_LINKINFO);
	mnl_attr_put_strz(q, IFLA_INFO_SLAVE_KIND, "bridge");
	data = mnl_attr_nest_start(q, IFLA_INFO_SLAVE_DATA);
	mnl_attr_for_each_nested(a, want.port)
	{
		if (is_kept(mnl_attr_get_type(a)) && !net_link_has(now.port, a))
			net_link_copy(q, a, 8);
	}
	mnl_attr_nest_end(q, data);
	mnl_attr_nest_end(q, info);
	nl_end(s->n, q);
	return 0;
}

static bool has_ports(const struct net_walk *all)
{
	struct net_walk w = *all;
	struct net_link l = { .port = NULL };

	while (!l.port && net_link_next(&w, &l))
		;
	return l.port != NULL;
}

int net_ports_restore(struct nl *route, const struct net_walk *all, struct err *e)
{
	cleanup_nl struct nl other = NL_INIT;
	struct settling s = { all, &other };
	int r;

	if (!has_ports(all))
		return 0;
	r = nl_open(&other, NETLINK_ROUTE, -1, e);
	if (r == 0)
		r = net_list(route, NULL, CKPT_NET_LINK, settle, &s, e);
	return r == 0 ? nl_talk(&other, "a bridge's port", NULL, NULL, e) : r;
}
