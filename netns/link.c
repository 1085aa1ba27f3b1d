/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "netns/internal.h"

#include "base/macro.h"
#include "netns/rt.h"

#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <linux/veth.h>
#include <net/if.h>
#include <sys/ioctl.h>

/*
 * The links of a VPS in three rounds with the kernel: make them (host), dress the host's ends
 * (host), dress the VPS's ends (in the VPS's namespace). Making the pair with the far end already
 * in the VPS's namespace saves a move, which costs more than the pair itself.
 */

bool netns_if_has_link(const struct netns_if *i)
{
	return i->mode == NETNS_BRIDGE || i->mode == NETNS_ROUTED;
}

bool netns_if_is_ours(const struct netns_if *i)
{
	return i->mode == NETNS_ROUTED || (i->mode == NETNS_BRIDGE && !*i->parent);
}

const char *netns_link_name(const struct netns_host *h, const char *uuid, unsigned i, char buf[16])
{
	static const char digit[] = "abcdefghijklmnopqrstuvwxyz234567";
	uint64_t root = netns_hash(h->tag, "link"), own = netns_hash(uuid, h->tag);
	char *p = buf;

	/* 20 bits of the state root, so that its links can be told from others', and 40 of the VPS:
	 * two of 10,000 share a name once in 20,000 such hosts, and then the second one's start
	 * fails with EEXIST. */
	*p++ = 'v';
	for (int k = 0; k < 4; k++, root >>= 5)
		*p++ = digit[root & 31];
	for (int k = 0; k < 8; k++, own >>= 5)
		*p++ = digit[own & 31];
	*p++ = (char)('0' + i);
	*p = '\0';
	return buf;
}

void netns_link_remove(struct nl *n, const char *name, const char *what)
{
	struct ifinfomsg ifi = { 0 };
	struct nlmsghdr *m = nl_begin(n, RTM_DELLINK, 0, &ifi, sizeof(ifi), what);

	if (m)
		mnl_attr_put_strz(m, IFLA_IFNAME, name);
	nl_end(n, m);
	nl_ignore(n, ENODEV);
}

static void put_veth(struct nlmsghdr *m, const struct netns_if *i, uint32_t number, int netns_fd)
{
	struct nlattr *info, *data, *peer;
	struct ifinfomsg *ifi;

	info = mnl_attr_nest_start(m, IFLA_LINKINFO);
	mnl_attr_put_strz(m, IFLA_INFO_KIND, "veth");
	data = mnl_attr_nest_start(m, IFLA_INFO_DATA);
	peer = mnl_attr_nest_start(m, VETH_INFO_PEER);
	ifi = mnl_nlmsg_put_extra_header(m, sizeof(*ifi));
	ifi->ifi_index = (int)number;
	mnl_attr_put_strz(m, IFLA_IFNAME, i->name);
	mnl_attr_put(m, IFLA_ADDRESS, 6, i->mac);
	mnl_attr_put_u32(m, IFLA_NET_NS_FD, (uint32_t)netns_fd);
	mnl_attr_put_u32(m, IFLA_NUM_TX_QUEUES, 1);
	mnl_attr_put_u32(m, IFLA_NUM_RX_QUEUES, 1);
	if (i->mtu)
		mnl_attr_put_u32(m, IFLA_MTU, i->mtu);
	mnl_attr_nest_end(m, peer);
	mnl_attr_nest_end(m, data);
	mnl_attr_nest_end(m, info);
}

/* Any that is far from those which the kernel gives itself. */
static int far_number(void)
{
	return (int)(0x40000000u | arc4random() >> 2);
}

static void add_veth(struct nl *n, const struct netns_if *i, const struct netns_made *d, int master,
		     uint32_t number, int netns_fd)
{
	/* The kernel (6.18) numbers the peer as it is told only when this end is given a number, too. */
	struct ifinfomsg ifi = { .ifi_index = number ? far_number() : 0 };
	struct nlmsghdr *m = nl_begin(n, RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, &ifi, sizeof(ifi),
				      "add the link");

	if (m) {
		mnl_attr_put_strz(m, IFLA_IFNAME, d->name);
		mnl_attr_put(m, IFLA_ADDRESS, 6, d->mac);
		/* One queue: by default a pair has memory for one on each CPU of the host. */
		mnl_attr_put_u32(m, IFLA_NUM_TX_QUEUES, 1);
		mnl_attr_put_u32(m, IFLA_NUM_RX_QUEUES, 1);
		if (i->mtu)
			mnl_attr_put_u32(m, IFLA_MTU, i->mtu);
		if (master)
			mnl_attr_put_u32(m, IFLA_MASTER, (uint32_t)master);
		put_veth(m, i, number, netns_fd);
	}
	nl_end(n, m);
}

/* In the namespace, or, when it has a `number` here, under this `name` beside its parent. */
static void add_macvlan(struct nl *n, const struct netns_if *i, const char *name, int parent, int number, int netns_fd)
{
	struct ifinfomsg ifi = { .ifi_index = number };
	struct nlmsghdr *m = nl_begin(n, RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, &ifi, sizeof(ifi),
				      "add the macvlan");
	struct nlattr *info, *data;

	if (m) {
		mnl_attr_put_strz(m, IFLA_IFNAME, name);
		mnl_attr_put(m, IFLA_ADDRESS, 6, i->mac);
		mnl_attr_put_u32(m, IFLA_LINK, (uint32_t)parent);
		if (!number)
			mnl_attr_put_u32(m, IFLA_NET_NS_FD, (uint32_t)netns_fd);
		if (i->mtu)
			mnl_attr_put_u32(m, IFLA_MTU, i->mtu);
		info = mnl_attr_nest_start(m, IFLA_LINKINFO);
		mnl_attr_put_strz(m, IFLA_INFO_KIND, "macvlan");
		data = mnl_attr_nest_start(m, IFLA_INFO_DATA);
		mnl_attr_put_u32(m, IFLA_MACVLAN_MODE, MACVLAN_MODE_BRIDGE);
		mnl_attr_nest_end(m, data);
		mnl_attr_nest_end(m, info);
	}
	nl_end(n, m);
}

/*
 * Into the namespace, where it gets a number of its own (IFLA_NEW_IFINDEX, Linux 5.13). Asked for when a link is made, a
 * number is looked for where the caller is (6.12; not in 6.18), and may be another link's there.
 */
static void move_macvlan(struct nl *n, const struct netns_if *i, int from, uint32_t number, int netns_fd)
{
	struct ifinfomsg ifi = { .ifi_index = from };
	struct nlmsghdr *m = nl_begin(n, RTM_NEWLINK, 0, &ifi, sizeof(ifi), "give the macvlan to the VPS");

	if (m) {
		mnl_attr_put_strz(m, IFLA_IFNAME, i->name);
		mnl_attr_put_u32(m, IFLA_NET_NS_FD, (uint32_t)netns_fd);
		mnl_attr_put_u32(m, IFLA_NEW_IFINDEX, number);
	}
	nl_end(n, m);
}

static void add_numbered_macvlan(struct nl *n, const struct netns_host *h, const struct netns_vps *v, size_t k,
				 int parent, int number, int netns_fd)
{
	char name[16];

	add_macvlan(n, &v->ifs[k], netns_link_name(h, v->uuid, (unsigned)k, name), parent, number, netns_fd);
	move_macvlan(n, &v->ifs[k], number, v->number[k], netns_fd);
}

/* Those that were not given away. */
static void drop_links(struct nl *n, const int *numbers, size_t count)
{
	struct err ignored;

	for (size_t k = 0; k < count; k++) {
		struct ifinfomsg ifi = { .ifi_index = numbers[k] };

		if (!numbers[k])
			continue;
		nl_end(n, nl_begin(n, RTM_DELLINK, 0, &ifi, sizeof(ifi), "remove the link"));
		nl_ignore(n, ENODEV);
	}
	nl_talk(n, "", NULL, NULL, &ignored);
}

int netns_link_master(const struct nl *n, const struct netns_host *h, const struct netns_if *i,
		       int *ret, struct err *e)
{
	const char *name = *i->parent ? i->parent : h->bridge;

	*ret = nl_ifindex(n, name);
	if (*ret || i->mode == NETNS_ROUTED)
		return 0;
	if (!*i->parent)
		return err_set(e, ERR_FAIL, "the bridge %s is not there", name);
	return err_set(e, ERR_NOT_FOUND, "parent=%s: the host has no such interface", name);
}

/* A macvlan takes no larger frames than its parent. */
static int check_mtu(const struct nl *n, const struct netns_if *i, struct err *e)
{
	struct ifreq ifr = { 0 };

	snprintf(ifr.ifr_name, sizeof(ifr.ifr_name), "%s", i->parent);
	if (ioctl(n->fd, SIOCGIFMTU, &ifr) < 0 || i->mtu <= (unsigned)ifr.ifr_mtu)
		return 0;
	return err_set(e, ERR_USAGE, "mtu=%u: %s takes %d at most", i->mtu, i->parent, ifr.ifr_mtu);
}

int netns_links_make(struct nl *n, const struct netns_host *h, const struct netns_vps *v,
		     struct netns_made *made, int netns_fd, struct err *e)
{
	int moved[NETNS_IF_MAX] = { 0 }, r;

	for (size_t k = 0; k < v->if_count; k++) {
		const struct netns_if *i = &v->ifs[k];
		int master;

		if (made[k].kept || i->mode == NETNS_NONE || i->mode == NETNS_HOST)
			continue;
		r = netns_link_master(n, h, i, &master, e);
		if (r < 0)
			return r;
		r = i->mode == NETNS_MACVLAN ? check_mtu(n, i, e) : 0;
		if (r < 0)
			return r;
		if (i->mode == NETNS_MACVLAN && v->number[k]) {
			moved[k] = far_number();
			add_numbered_macvlan(n, h, v, k, master, moved[k], netns_fd);
			continue;
		}
		if (i->mode == NETNS_MACVLAN) {
			add_macvlan(n, i, i->name, master, 0, netns_fd);
			continue;
		}
		netns_link_remove(n, made[k].name, "remove the earlier link");
		add_veth(n, i, &made[k], i->mode == NETNS_BRIDGE ? master : 0, v->number[k], netns_fd);
		if (i->rate_out)
			netns_ifb_add(n, h, made[k].ifb);
	}
	r = nl_talk(n, v->name, NULL, NULL, e);
	if (r < 0)
		drop_links(n, moved, v->if_count);
	if (r == -EXFULL) /* br_add_if() has no port number left */
		err_hint(e, "a bridge has at most 1023 ports: use mode=routed for more");
	for (size_t k = 0; k < v->if_count && r == 0; k++) {
		if (!netns_if_has_link(&v->ifs[k]))
			continue;
		made[k].index = nl_ifindex(n, made[k].name);
		made[k].ifb_index = nl_ifindex(n, made[k].ifb);
	}
	return r;
}

int netns_links_inside(const struct netns_vps *v, const struct netns_made *made, int netns_fd,
		       struct err *e)
{
	cleanup_nl struct nl n = NL_INIT;
	struct err ignored;
	int r = nl_open(&n, NETLINK_ROUTE, netns_fd, e);

	if (r < 0)
		return r;
	for (size_t k = 0; k < v->if_count; k++) {
		const struct netns_if *i = &v->ifs[k];

		if (made[k].kept || i->mode == NETNS_NONE || i->mode == NETNS_HOST)
			continue;
		if (i->mode == NETNS_MACVLAN && v->held)
			netns_inside_mute(&n, nl_ifindex(&n, i->name), true);
		if (i->mode == NETNS_MACVLAN)
			r = netns_inside_await(&n, i, nl_ifindex(&n, i->name), v->name, e);
		if (r < 0)
			return r;
		netns_inside_up(&n, i, made[k].mac, nl_ifindex(&n, i->name));
		if (v->if_count > 1)
			netns_inside_answer(&n, v, (unsigned)k, made[k].mac, nl_ifindex(&n, i->name));
	}
	r = nl_talk(&n, v->name, NULL, NULL, e);
	if (r == 0 && v->if_count > 1 && made[0].kept) {
		/* It was alone, or had its rules taken away. What the tenant has made of it since is its own affair. */
		netns_inside_answer(&n, v, 0, made[0].mac, nl_ifindex(&n, v->ifs[0].name));
		nl_talk(&n, v->name, NULL, NULL, &ignored);
	}
	return r;
}

void netns_links_name(const struct netns_host *h, const struct netns_vps *v,
		      struct netns_made made[NETNS_IF_MAX])
{
	for (unsigned k = 0; k < v->if_count; k++) {
		char what[32];

		netns_link_name(h, v->uuid, k, made[k].name);
		netns_ifb_name(h, v->uuid, k, made[k].ifb);
		/*
		 * Not of the host but of the VPS: a VPS that moved finds its gateway's MAC again. And high: a bridge
		 * that was given no MAC takes the lowest of its ports (br_stp_recalculate_bridge_id(), Linux 6.18), which
		 * must stay that of the host's own card.
		 */
		snprintf(what, sizeof(what), "host %u", k);
		netns_mac_of(v->uuid, what, made[k].mac);
		made[k].mac[0] = 0xfe;
	}
}

int netns_links_down(const struct netns_host *h, const struct netns_vps *v, unsigned kept,
		     struct err *e)
{
	cleanup_nl struct nl n = NL_INIT;
	int bridge, r = nl_open(&n, NETLINK_ROUTE, -EBADF, e);
	char name[16];

	if (r < 0)
		return r;
	bridge = nl_ifindex(&n, h->bridge);
	for (unsigned k = 0; k < v->if_count; k++) {
		const struct netns_if *i = &v->ifs[k];
		int parent = i->mode == NETNS_ROUTED && *i->parent ? nl_ifindex(&n, i->parent) : 0;

		if (kept & 1u << k || !netns_if_has_link(i))
			continue;
		netns_link_remove(&n, netns_link_name(h, v->uuid, k, name), "remove the link");
		if (nl_ifindex(&n, netns_ifb_name(h, v->uuid, k, name)))
			netns_link_remove(&n, name, "remove the shaping interface");
		for (size_t a = 0; a < i->addr_count; a++) {
			if (parent)
				netns_rt_no_neighbour(&n, parent, &i->addr[a], true);
			if (i->mode != NETNS_BRIDGE || *i->parent || !bridge)
				continue;
			netns_rt_no_neighbour(&n, bridge, &i->addr[a], false);
			if (!netns_addr_in(&i->addr[a], &h->gw4) &&
			    !netns_addr_in(&i->addr[a], &h->gw6))
				netns_rt_route(&n, RTM_DELROUTE, 0, bridge, &i->addr[a]);
		}
	}
	return nl_talk(&n, v->name, NULL, NULL, e);
}
