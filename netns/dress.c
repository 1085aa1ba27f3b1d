/* SPDX-License-Identifier: GPL-2.0-or-later */

/* The host's ends of the links: what the bridge and the routes are told of them. */
#include "netns/internal.h"

#include "netns/rt.h"

#include <linux/if_bridge.h>
#include <linux/if_link.h>
#include <linux/ip.h>
#include <linux/neighbour.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <sys/ioctl.h>

#define GROUP_FORWARD 0xfffd /* 01:80:c2:00:00:00 to :0f, but for :01, which the kernel always drops */

static void put_port(struct nlmsghdr *m, bool isolated)
{
	struct nlattr *info, *data;

	info = mnl_attr_nest_start(m, IFLA_LINKINFO);
	mnl_attr_put_strz(m, IFLA_INFO_SLAVE_KIND, "bridge");
	data = mnl_attr_nest_start(m, IFLA_INFO_SLAVE_DATA);
	/* The one MAC behind the port is known: the bridge learns nothing from its frames and sends
	 * it no frame for unknown addresses. */
	mnl_attr_put_u8(m, IFLA_BRPORT_LEARNING, 0);
	mnl_attr_put_u8(m, IFLA_BRPORT_UNICAST_FLOOD, 0);
	mnl_attr_put_u8(m, IFLA_BRPORT_GUARD, 1);
	mnl_attr_put_u8(m, IFLA_BRPORT_PROTECT, 1);
	/* Isolated ports exchange nothing with each other (Linux 4.18): VPSs on our own bridge talk
	 * by way of the host's IP layer, where the rules stand and connections are tracked. */
	mnl_attr_put_u8(m, IFLA_BRPORT_ISOLATED, isolated);
	/* Frames to the group addresses of bridges, LLDP's too, pass by the rules as others do (Linux 4.15); they
	 * stop them. */
	mnl_attr_put_u16(m, IFLA_BRPORT_GROUP_FWD_MASK, GROUP_FORWARD);
	mnl_attr_nest_end(m, data);
	mnl_attr_nest_end(m, info);
}

static void put_conf(struct nlmsghdr *m, bool routed)
{
	struct nlattr *spec, *inet, *conf;

	spec = mnl_attr_nest_start(m, IFLA_AF_SPEC);
	if (routed) {
		inet = mnl_attr_nest_start(m, AF_INET);
		conf = mnl_attr_nest_start(m, IFLA_INET_CONF);
		/* The host answers for whatever gateway the VPS was told. */
		mnl_attr_put_u32(m, IPV4_DEVCONF_PROXY_ARP, 1);
		mnl_attr_put_u32(m, IPV4_DEVCONF_RP_FILTER, 1);
		mnl_attr_put_u32(m, IPV4_DEVCONF_FORWARDING, 1);
		mnl_attr_put_u32(m, IPV4_DEVCONF_ROUTE_LOCALNET, 1); /* as the bridge has it */
		mnl_attr_nest_end(m, conf);
		mnl_attr_nest_end(m, inet);
	}
	/* A port of a bridge needs no address; a routed one's is set by hand, without waiting for
	 * duplicate address detection. A kernel without IPv6 refuses the attribute. */
	if (netns_has_ipv6()) {
		inet = mnl_attr_nest_start(m, AF_INET6);
		mnl_attr_put_u8(m, IFLA_INET6_ADDR_GEN_MODE, IN6_ADDR_GEN_MODE_NONE);
		mnl_attr_nest_end(m, inet);
	}
	mnl_attr_nest_end(m, spec);
}

/* `change`: IFF_UP or nothing. */
static void dress_link(struct nl *n, const struct netns_host *h, const struct netns_vps *v,
		       const struct netns_if *i, int index, unsigned change)
{
	struct ifinfomsg ifi = { .ifi_index = index, .ifi_flags = v->held ? 0 : IFF_UP, .ifi_change = change };
	struct nlmsghdr *m = nl_begin(n, RTM_NEWLINK, 0, &ifi, sizeof(ifi), "set up the link");
	char alias[96];

	if (m) {
		snprintf(alias, sizeof(alias), "%s %s %s", h->tag, v->name, i->name);
		mnl_attr_put_strz(m, IFLA_IFALIAS, alias);
		put_conf(m, i->mode == NETNS_ROUTED);
		if (i->mode == NETNS_BRIDGE)
			put_port(m, !*i->parent || v->isolate);
	}
	nl_end(n, m);
}

static void add_fdb(struct nl *n, int index, const uint8_t mac[6])
{
	struct ndmsg nd = { .ndm_family = AF_BRIDGE, .ndm_ifindex = index };
	struct nlmsghdr *m;

	nd.ndm_state = NUD_NOARP;
	/* Sticky (Linux 4.20): also a static entry follows a frame that comes in at another port with that
	 * address, and of a VPS that has just moved here some may be on their way. */
	nd.ndm_flags = NTF_MASTER | NTF_STICKY;
	m = nl_begin(n, RTM_NEWNEIGH, NLM_F_CREATE | NLM_F_REPLACE, &nd, sizeof(nd),
		     "tell the bridge the address");
	if (m)
		mnl_attr_put(m, NDA_LLADDR, 6, mac);
	nl_end(n, m);
}

/* `again`: it may be there. Else another one to the same address is in the way. */
static void add_route(struct nl *n, int index, const struct netns_addr *a, bool again)
{
	netns_rt_route(n, RTM_NEWROUTE, NLM_F_CREATE | NLM_F_EXCL, index, a);
	if (again)
		nl_ignore(n, EEXIST);
}

static void dress_bridged(struct nl *n, const struct netns_host *h, const struct netns_if *i,
			  const struct netns_made *d, int master, bool again)
{
	add_fdb(n, d->index, i->mac);
	if (*i->parent)
		return;
	for (size_t k = 0; k < i->addr_count; k++) {
		netns_rt_neighbour(n, master, &i->addr[k], i->mac);
		if (!netns_addr_in(&i->addr[k], &h->gw4) && !netns_addr_in(&i->addr[k], &h->gw6))
			add_route(n, master, &i->addr[k], again);
	}
}

static int dress_routed(struct nl *n, const struct netns_if *i, const struct netns_made *d, bool again, struct err *e)
{
	struct netns_addr own;
	char path[96];
	int parent = *i->parent ? nl_ifindex(n, i->parent) : 0, r;

	if (*i->parent && !parent)
		return err_set(e, ERR_NOT_FOUND, "parent=%s: the host has no such interface",
			       i->parent);
	r = netns_link_ipv6(d->name, e);
	if (r < 0)
		return r;
	netns_rt_no_proxy_delay(n, d->index);
	netns_link_local(d->mac, &own);
	netns_rt_addr(n, d->index, &own, true);
	nl_ignore(n, EOPNOTSUPP); /* the kernel has no IPv6 */
	for (size_t k = 0; k < i->addr_count; k++) {
		netns_rt_neighbour(n, d->index, &i->addr[k], i->mac);
		add_route(n, d->index, &i->addr[k], again);
		if (i->addr[k].family == AF_INET6)
			netns_rt_loopback6(n, d->index);
		if (!parent)
			continue;
		netns_rt_proxy(n, parent, &i->addr[k]);
		if (i->addr[k].family != AF_INET6)
			continue;
		/* Unlike ARP, neighbour discovery looks at its proxies only when told so. */
		snprintf(path, sizeof(path), "/proc/sys/net/ipv6/conf/%s/proxy_ndp", i->parent);
		r = netns_sysctl(path, "1", e);
		if (r < 0)
			return r;
	}
	return 0;
}

int netns_links_dress(struct nl *n, const struct netns_host *h, const struct netns_vps *v,
		      const struct netns_made *made, struct err *e)
{
	for (size_t k = 0; k < v->if_count; k++) {
		const struct netns_if *i = &v->ifs[k];
		int master, r;

		if (made[k].kept || !netns_if_has_link(i))
			continue;
		r = netns_link_master(n, h, i, &master, e);
		if (r < 0)
			return r;
		netns_put_clsact(n, made[k].index); /* before it is up */
		dress_link(n, h, v, i, made[k].index, IFF_UP);
		/* Until it is let go the way to it may lead to another host. */
		if (v->held)
			continue;
		if (i->mode == NETNS_BRIDGE)
			dress_bridged(n, h, i, &made[k], master, false);
		else
			r = dress_routed(n, i, &made[k], false, e);
		if (r < 0)
			return r;
		if (i->rate_in)
			netns_shape_in(n, made[k].index, i->rate_in);
		if (i->rate_out)
			netns_shape_out(n, made[k].index, made[k].ifb_index, i->rate_out);
	}
	return nl_talk(n, v->name, NULL, NULL, e);
}

/* One that is held until it is let go is not dressed before. */
static bool is_up(const struct nl *n, const char *link)
{
	struct ifreq ifr = { 0 };

	snprintf(ifr.ifr_name, sizeof(ifr.ifr_name), "%s", link);
	return ioctl(n->fd, SIOCGIFFLAGS, &ifr) == 0 && ifr.ifr_flags & IFF_UP;
}

/* Of its own: a port's options can be set only when it is one. */
static void join(struct nl *n, int index, int bridge)
{
	struct ifinfomsg ifi = { .ifi_index = index };
	struct nlmsghdr *m = nl_begin(n, RTM_NEWLINK, 0, &ifi, sizeof(ifi), "join the bridge");

	if (m)
		mnl_attr_put_u32(m, IFLA_MASTER, (uint32_t)bridge);
	nl_end(n, m);
}

static int dress_again(struct nl *n, const struct netns_host *h, const struct netns_vps *v, const struct netns_if *i,
		       const struct netns_made *d, struct err *e)
{
	int master, r = netns_link_master(n, h, i, &master, e);

	if (r < 0)
		return r;
	if (i->mode == NETNS_BRIDGE)
		join(n, d->index, master);
	if (!is_up(n, d->name))
		return 0;
	dress_link(n, h, v, i, d->index, 0);
	if (i->mode == NETNS_ROUTED)
		return dress_routed(n, i, d, true, e);
	dress_bridged(n, h, i, d, master, true);
	return 0;
}

int netns_vps_attach(const struct netns_host *h, const struct netns_vps *v, struct err *e)
{
	struct netns_made made[NETNS_IF_MAX] = { 0 };
	cleanup_nl struct nl n = NL_INIT;
	int r = nl_open(&n, NETLINK_ROUTE, -EBADF, e);

	netns_links_name(h, v, made);
	for (size_t k = 0; r == 0 && k < v->if_count; k++) {
		if (!netns_if_has_link(&v->ifs[k]))
			continue;
		made[k].index = nl_ifindex(&n, made[k].name);
		if (made[k].index)
			r = dress_again(&n, h, v, &v->ifs[k], &made[k], e);
	}
	return r < 0 ? r : nl_talk(&n, v->name, NULL, NULL, e);
}
