/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "netns/internal.h"

#include "base/fd.h"
#include "base/macro.h"
#include "netns/rt.h"

#include <dirent.h>
#include <fcntl.h>
#include <linux/if_addr.h>
#include <linux/if_link.h>
#include <linux/ip.h>
#include <linux/rtnetlink.h>
#include <net/if.h>

/* The bridge of a state root: the gateway of its VPSs, also of the routed ones. */

#define ALIAS "bridge of the state root " /* and the tag: what tells ours from others' */

int netns_sysctl(const char *path, const char *value, struct err *e)
{
	cleanup_free char *now = NULL;
	int r = fd_read_file_at(AT_FDCWD, path, 64, &now, NULL);

	if (r == -ENOENT)
		return 0;
	if (r == 0 && strncmp(now, value, strlen(value)) == 0 && now[strlen(value)] == '\n')
		return 0;
	r = fd_write_file_at(AT_FDCWD, path, value);
	return r < 0 ? err_code(e, r, "write %s to %s", value, path) : 0;
}

int netns_link_ipv6(const char *link, struct err *e)
{
	char path[96];

	snprintf(path, sizeof(path), "/proc/sys/net/ipv6/conf/%s/disable_ipv6", link);
	return netns_sysctl(path, "0", e);
}

/*
 * A host that forwards IPv6 no longer takes its own default route from router advertisements,
 * unless accept_ra is 2 (ip-sysctl): the interfaces that use them now are told so before.
 */
static int keep_router_adverts(struct err *e)
{
	cleanup_closedir DIR *d = opendir("/proc/sys/net/ipv6/conf");
	struct dirent *de;

	while (d && (de = readdir(d))) {
		cleanup_free char *now = NULL;
		char path[320];
		int r;

		if (*de->d_name == '.' || STREQ(de->d_name, "all") || STREQ(de->d_name, "lo"))
			continue;
		snprintf(path, sizeof(path), "/proc/sys/net/ipv6/conf/%s/accept_ra", de->d_name);
		if (fd_read_file_at(AT_FDCWD, path, 64, &now, NULL) < 0 || *now != '1')
			continue;
		r = netns_sysctl(path, "2", e);
		if (r < 0)
			return r;
	}
	return 0;
}

static const char forward4[] = "/proc/sys/net/ipv4/ip_forward";
static const char forward6[] = "/proc/sys/net/ipv6/conf/all/forwarding";

static bool is_on(const char *path)
{
	cleanup_free char *now = NULL;

	return fd_read_file_at(AT_FDCWD, path, 64, &now, NULL) == 0 && *now == '1';
}

bool netns_forwards(const struct netns_host *h)
{
	return (!h->gw4.family || is_on(forward4)) && (!h->gw6.family || is_on(forward6));
}

static int forward_on(const struct netns_host *h, struct err *e)
{
	int r = 0;

	if (h->gw4.family)
		r = netns_sysctl(forward4, "1", e);
	if (r < 0 || !h->gw6.family || is_on(forward6))
		return r;
	r = keep_router_adverts(e);
	return r < 0 ? r : netns_sysctl(forward6, "1", e);
}

struct look {
	bool is_bridge, is_ours, is_root; /* ours: of this state root; root: of any */
	const char *alias;
};

static int look_at_link(const struct nlmsghdr *m, void *ctx)
{
	const struct nlattr *alias, *info;
	struct look *l = ctx;

	if (m->nlmsg_type != RTM_NEWLINK)
		return 0;
	alias = nl_attr(m, sizeof(struct ifinfomsg), IFLA_IFALIAS);
	info = nl_attr(m, sizeof(struct ifinfomsg), IFLA_LINKINFO);
	l->is_ours = nl_attr_is(alias, l->alias);
	l->is_root = alias && strncmp(mnl_attr_get_str(alias), ALIAS, strlen(ALIAS)) == 0;
	l->is_bridge = nl_attr_is(nl_nested(info, IFLA_INFO_KIND), "bridge");
	return 0;
}

static int count_bridge(const struct nlmsghdr *m, void *ctx)
{
	struct look l = { .alias = "" };

	if (m->nlmsg_type == RTM_NEWLINK)
		look_at_link(m, &l);
	*(int *)ctx += l.is_bridge && !l.is_root;
	return 0;
}

/*
 * Where br_netfilter is in the kernel, frames on bridges pass the IP hooks, and a connection to a
 * published port that comes back to its own bridge is bridged there, from one isolated port to the
 * other: lost. It costs time besides. It is turned off unless there are other bridges, whose users
 * may need it.
 */
static int no_bridge_netfilter(struct nl *n, struct err *e)
{
	struct ifinfomsg ifi = { 0 };
	int bridges = 0, r;

	if (access("/proc/sys/net/bridge", F_OK) < 0)
		return 0;
	nl_end(n, nl_begin(n, RTM_GETLINK, NLM_F_DUMP, &ifi, sizeof(ifi), "list the links"));
	r = nl_talk(n, "the host", count_bridge, &bridges, e);
	if (r < 0 || bridges)
		return r;
	r = netns_sysctl("/proc/sys/net/bridge/bridge-nf-call-iptables", "0", e);
	return r < 0 ? r : netns_sysctl("/proc/sys/net/bridge/bridge-nf-call-ip6tables", "0", e);
}

struct route_check {
	const struct netns_host *h;
	int bridge; /* its index, 0 when it is not there */
	struct netns_addr clash;
	const struct netns_addr *pool;
};

static int check_route(const struct nlmsghdr *m, void *ctx)
{
	const struct rtmsg *rt = mnl_nlmsg_get_payload(m);
	struct netns_addr dst = { .family = rt->rtm_family, .prefix = rt->rtm_dst_len };
	struct route_check *c = ctx;
	const struct netns_addr *pool = rt->rtm_family == AF_INET ? &c->h->gw4 : &c->h->gw6;
	const struct nlattr *a;
	int oif;

	if (m->nlmsg_type != RTM_NEWROUTE || rt->rtm_table != RT_TABLE_MAIN ||
	    rt->rtm_type != RTN_UNICAST || rt->rtm_protocol == NETNS_PROTOCOL || dst.prefix == 0 ||
	    !pool->family || c->clash.family)
		return 0;
	a = nl_attr(m, sizeof(*rt), RTA_DST);
	if (a && mnl_attr_get_payload_len(a) == netns_addr_len(&dst))
		memcpy(dst.bytes, mnl_attr_get_payload(a), netns_addr_len(&dst));
	a = nl_attr(m, sizeof(*rt), RTA_OIF);
	oif = a ? (int)mnl_attr_get_u32(a) : 0;
	/* A network that holds the pool is in the way only when it is on a link of the host; a route
	 * through a gateway to a wider one gives way to the narrower. */
	if ((oif && oif == c->bridge) ||
	    !(netns_addr_in(&dst, pool) ||
	      (netns_addr_in(pool, &dst) && rt->rtm_scope == RT_SCOPE_LINK)))
		return 0;
	c->clash = dst;
	c->pool = pool;
	return 0;
}

/* A pool and a route that overlap: c->clash has no family when there are none. */
static int find_overlap(const struct netns_host *h, struct nl *n, int bridge, struct route_check *c, struct err *e)
{
	*c = (struct route_check){ .h = h, .bridge = bridge };
	for (int k = 0; k < 2; k++) {
		struct rtmsg rt = { .rtm_family = k ? AF_INET6 : AF_INET };
		int r;

		nl_end(n,
		       nl_begin(n, RTM_GETROUTE, NLM_F_DUMP, &rt, sizeof(rt), "list the routes"));
		r = nl_talk(n, "the host", check_route, c, e);
		if (r < 0)
			return r;
	}
	return 0;
}

static int check_overlap(const struct netns_host *h, struct nl *n, int bridge, struct err *e)
{
	struct netns_addr pool;
	struct route_check c;
	char a[64], b[64];
	int r = find_overlap(h, n, bridge, &c, e);

	if (r < 0 || !c.clash.family)
		return r;
	pool = netns_addr_net(c.pool);
	err_set(e, ERR_USAGE, "the pool %s overlaps the host's route to %s",
		netns_addr_format(&pool, a), netns_addr_format(&c.clash, b));
	return err_hint(e, "choose another pool for this state root, see vpsd(8)");
}

#define CHOICES 16

int netns_host_choose(struct netns_host *h, const char *tag, const char *pool4, const char *pool6, struct err *e)
{
	cleanup_nl struct nl n = NL_INIT;
	struct netns_host left; /* of whose pools only those are there that are left to us */
	struct route_check c;
	int r = nl_open(&n, NETLINK_ROUTE, -EBADF, e);

	for (unsigned nth = 0; r == 0 && nth < CHOICES; nth++) {
		r = netns_host_init_nth(h, tag, nth, pool4, pool6, e);
		if (r < 0)
			return r;
		left = *h;
		if (pool4)
			left.gw4.family = 0;
		if (pool6)
			left.gw6.family = 0;
		r = find_overlap(&left, &n, nl_ifindex(&n, h->bridge), &c, e);
		if (r == 0 && !c.clash.family)
			return nth > 0;
	}
	return r < 0 ? r : netns_host_init(h, tag, pool4, pool6, e);
}

static int check_name(const struct netns_host *h, struct nl *n, int index, const char *alias,
		      struct err *e)
{
	struct ifinfomsg ifi = { .ifi_index = index };
	struct look l = { .alias = alias };
	int r;

	nl_end(n, nl_begin(n, RTM_GETLINK, 0, &ifi, sizeof(ifi), "look at the bridge"));
	r = nl_talk(n, h->bridge, look_at_link, &l, e);
	if (r < 0 || (l.is_bridge && l.is_ours))
		return r;
	err_set(e, ERR_EXISTS, "the host has a link %s that is none of ours", h->bridge);
	return err_hint(e, "rename or remove it: ip link delete %s", h->bridge);
}

static void create_bridge(const struct netns_host *h, struct nl *n)
{
	struct ifinfomsg ifi = { 0 };
	struct nlmsghdr *m = nl_begin(n, RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, &ifi, sizeof(ifi),
				      "add the bridge");
	/* The gateway's MAC goes by its address, so that a VPS that moves to another host finds its
	 * gateway as it knew it; and a bridge with a MAC of its own keeps it when ports come. */
	const struct netns_addr *gw = h->gw4.family ? &h->gw4 : &h->gw6;
	uint8_t mac[6] = { 0x02, 0x76 };
	struct nlattr *info, *data;

	memcpy(mac + 2, gw->bytes + netns_addr_len(gw) - (h->gw4.family ? 4 : 12), 4);
	if (m) {
		mnl_attr_put_strz(m, IFLA_IFNAME, h->bridge);
		mnl_attr_put(m, IFLA_ADDRESS, 6, mac);
		info = mnl_attr_nest_start(m, IFLA_LINKINFO);
		mnl_attr_put_strz(m, IFLA_INFO_KIND, "bridge");
		data = mnl_attr_nest_start(m, IFLA_INFO_DATA);
		/* Without a querier snooping gains nothing, and tenants could fill its table. */
		mnl_attr_put_u8(m, IFLA_BR_MCAST_SNOOPING, 0);
		mnl_attr_put_u32(m, IFLA_BR_FORWARD_DELAY, 0);
		mnl_attr_nest_end(m, data);
		mnl_attr_nest_end(m, info);
	}
	nl_end(n, m);
}

static void dress_bridge(const struct netns_host *h, struct nl *n, const char *alias)
{
	struct ifinfomsg ifi = { .ifi_flags = IFF_UP, .ifi_change = IFF_UP };
	struct nlmsghdr *m = nl_begin(n, RTM_NEWLINK, 0, &ifi, sizeof(ifi), "set up the bridge");
	struct nlattr *spec, *inet, *conf;

	if (m) {
		mnl_attr_put_strz(m, IFLA_IFNAME, h->bridge);
		mnl_attr_put_strz(m, IFLA_IFALIAS, alias);
		spec = mnl_attr_nest_start(m, IFLA_AF_SPEC);
		inet = mnl_attr_nest_start(m, AF_INET);
		conf = mnl_attr_nest_start(m, IFLA_INET_CONF);
		mnl_attr_put_u32(m, IPV4_DEVCONF_FORWARDING, 1);
		mnl_attr_put_u32(m, IPV4_DEVCONF_RP_FILTER, 1);
		/* A port published on 127.0.0.1 is answered over the bridge; the rules see to it
		 * that nothing else comes to 127/8 that way. */
		mnl_attr_put_u32(m, IPV4_DEVCONF_ROUTE_LOCALNET, 1);
		/* A VPS that believes its neighbours on its link is answered by the host. */
		mnl_attr_put_u32(m, IPV4_DEVCONF_PROXY_ARP_PVLAN, 1);
		mnl_attr_put_u32(m, IPV4_DEVCONF_ACCEPT_REDIRECTS, 0);
		mnl_attr_put_u32(m, IPV4_DEVCONF_SEND_REDIRECTS, 0);
		mnl_attr_nest_end(m, conf);
		mnl_attr_nest_end(m, inet);
		mnl_attr_nest_end(m, spec);
	}
	nl_end(n, m);
}

static void give_address(struct nl *n, int index, const struct netns_addr *a)
{
	struct ifaddrmsg ia = {
		.ifa_family = (uint8_t)a->family,
		.ifa_prefixlen = a->prefix,
		.ifa_index = (uint32_t)index,
	};
	struct nlmsghdr *m;

	if (!a->family)
		return;
	if (a->family == AF_INET6)
		ia.ifa_flags = IFA_F_NODAD;
	m = nl_begin(n, RTM_NEWADDR, NLM_F_CREATE | NLM_F_REPLACE, &ia, sizeof(ia),
		     "add the gateway's address");
	if (m) {
		mnl_attr_put(m, IFA_LOCAL, netns_addr_len(a), a->bytes);
		mnl_attr_put(m, IFA_ADDRESS, netns_addr_len(a), a->bytes);
	}
	nl_end(n, m);
}

int netns_bridge_up(const struct netns_host *h, struct nl *n, struct err *e)
{
	int index = nl_ifindex(n, h->bridge), r;
	char alias[64];

	if (!h->gw4.family && !h->gw6.family)
		return err_set(e, ERR_USAGE, "the host has no pool of addresses, so no bridge");
	snprintf(alias, sizeof(alias), ALIAS "%s", h->tag);
	if (index)
		r = check_name(h, n, index, alias, e);
	else
		r = check_overlap(h, n, index, e);
	if (r == 0 && !index)
		r = no_bridge_netfilter(n, e);
	if (r < 0)
		return r;
	if (!index)
		create_bridge(h, n);
	dress_bridge(h, n, alias);
	r = nl_talk(n, h->bridge, NULL, NULL, e);
	if (r < 0)
		return r;
	r = h->gw6.family ? netns_link_ipv6(h->bridge, e) : 0;
	if (r < 0)
		return r;
	index = nl_ifindex(n, h->bridge);
	give_address(n, index, &h->gw4);
	give_address(n, index, &h->gw6);
	if (h->gw6.family)
		netns_rt_loopback6(n, index);
	netns_rt_no_proxy_delay(n, index);
	r = nl_talk(n, h->bridge, NULL, NULL, e);
	return r < 0 ? r : forward_on(h, e);
}

int netns_bridge_down(const struct netns_host *h, struct nl *n, struct err *e)
{
	int index = nl_ifindex(n, h->bridge), r;
	struct ifinfomsg ifi = { .ifi_index = index };
	struct err other;
	char alias[64];

	snprintf(alias, sizeof(alias), ALIAS "%s", h->tag);
	if (!index)
		return 0;
	r = check_name(h, n, index, alias, &other);
	if (r == err_errno(ERR_EXISTS))
		return 0; /* not ours to remove */
	nl_end(n, nl_begin(n, RTM_DELLINK, 0, &ifi, sizeof(ifi), "remove the bridge"));
	nl_ignore(n, ENODEV);
	return nl_talk(n, h->bridge, NULL, NULL, e);
}
