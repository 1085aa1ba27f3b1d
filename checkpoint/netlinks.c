/* SPDX-License-Identifier: GPL-2.0-or-later */

/* The links of a network namespace. */
#include "checkpoint/netlinks.h"

#include "base/macro.h"
#include "checkpoint/tun.h"

#include <errno.h>
#include <linux/if_link.h>
#include <linux/if_vlan.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <net/if_arp.h>

/* What a tenant can make whose whole description is in the kernel's answer. */
static const char *const kinds[] = { "dummy",	"bridge",    "veth",  "vlan", "vrf",	"ifb",
				     "macvlan", "ipip",	     "sit",   "gre",  "gretap", "ip6tnl",
				     "ip6gre",	"ip6gretap", "vxlan", "bond", "tun",	"ipvlan", "wireguard" };

static const char *const given[] = { "tunl0",	"gre0",	    "gretap0", "erspan0", "ip_vti0",
				     "ip6_vti0", "sit0",    "ip6tnl0", "ip6gre0" };

static void read_info(const struct nlattr *info, struct net_link *l)
{
	const struct nlattr *a, *port = NULL;
	const char *master = "";

	mnl_attr_for_each_nested(a, info)
	{
		if (mnl_attr_get_type(a) == IFLA_INFO_KIND &&
		    mnl_attr_validate(a, MNL_TYPE_NUL_STRING) >= 0)
			l->kind = mnl_attr_get_str(a);
		else if (mnl_attr_get_type(a) == IFLA_INFO_DATA)
			l->data = a;
		else if (mnl_attr_get_type(a) == IFLA_INFO_SLAVE_KIND &&
			 mnl_attr_validate(a, MNL_TYPE_NUL_STRING) >= 0)
			master = mnl_attr_get_str(a);
		else if (mnl_attr_get_type(a) == IFLA_INFO_SLAVE_DATA)
			port = a;
	}
	l->port = STREQ(master, "bridge") ? port : NULL;
	l->bonded = STREQ(master, "bond") ? port : NULL;
}

uint32_t net_link_number(const struct nlattr *a)
{
	return a && mnl_attr_get_payload_len(a) == 4 ? mnl_attr_get_u32(a) : 0;
}

/* It is nothing without its parent. */
static bool stands(const struct net_link *l)
{
	return STREQ(l->kind, "vlan") || STREQ(l->kind, "macvlan") || STREQ(l->kind, "ipvlan") ||
	       STREQ(l->kind, "veth");
}

void net_link_read(const struct nlmsghdr *m, struct net_link *l)
{
	const struct nlattr *a;

	*l = (struct net_link){ .ifi = mnl_nlmsg_get_payload(m), .name = "", .kind = "" };
	mnl_attr_for_each(a, m, sizeof(*l->ifi))
	{
		if (mnl_attr_get_type(a) < ARRAY_SIZE(l->attr))
			l->attr[mnl_attr_get_type(a)] = a;
	}
	if (l->attr[IFLA_IFNAME] &&
	    mnl_attr_validate(l->attr[IFLA_IFNAME], MNL_TYPE_NUL_STRING) >= 0)
		l->name = mnl_attr_get_str(l->attr[IFLA_IFNAME]);
	if (l->attr[IFLA_LINKINFO])
		read_info(l->attr[IFLA_LINKINFO], l);
	l->parent = net_link_number(l->attr[IFLA_LINK]);
	l->master = net_link_number(l->attr[IFLA_MASTER]);
	l->away = l->attr[IFLA_LINK_NETNSID] != NULL;
	l->where = net_link_number(l->attr[IFLA_LINK_NETNSID]);
	/* A tunnel that sends from another namespace tells its own number for want of a parent. */
	if (l->away && l->parent == (uint32_t)l->ifi->ifi_index && !stands(l))
		l->parent = 0;
	if (!l->parent && l->data && STREQ(l->kind, "vxlan")) /* which tells it in its own way */
		l->parent = net_link_number(nl_nested(l->data, IFLA_VXLAN_LINK));
}

bool net_link_next(struct net_walk *w, struct net_link *ret)
{
	const struct nlmsghdr *m;

	w->part = CKPT_NET_LINK;
	m = net_next(w);
	if (m)
		net_link_read(m, ret);
	return m != NULL;
}

bool net_link_find(const struct net_walk *all, uint32_t ns, uint32_t index, struct net_link *ret)
{
	struct net_walk w = { .states = all->states, .count = all->count, .ns = ns };

	while (net_link_next(&w, ret))
		if ((uint32_t)ret->ifi->ifi_index == index)
			return true;
	return false;
}

bool net_link_is_made(const struct net_link *l)
{
	for (size_t i = 0; i < ARRAY_SIZE(kinds); i++)
		if (STREQ(l->kind, kinds[i]))
			return true;
	return false;
}

bool net_link_is_given(const struct net_link *l)
{
	for (size_t i = 0; i < ARRAY_SIZE(given); i++)
		if (STREQ(l->name, given[i]))
			return true;
	return false;
}

static int refuse_link(const struct net_link *l, const char *const *configured, size_t count,
		       struct err *e)
{
	for (size_t i = 0; i < count; i++)
		if (STREQ(l->name, configured[i]))
			return 0;
	if (STREQ(l->name, "lo") || net_link_is_given(l))
		return 0;
	if (!net_link_is_made(l))
		return err_set(e, ERR_UNSUPPORTED,
			       "the VPS has an interface %s of kind %s, which cannot be saved yet",
			       l->name, l->kind[0] ? l->kind : "unknown");
	return 0;
}

int net_links_refuse(const struct net_walk *all, const char *const *configured, size_t count,
		     struct err *e)
{
	struct net_walk w = *all;
	struct net_link l;
	int r = 0;

	while (r == 0 && net_link_next(&w, &l))
		r = refuse_link(&l, configured, count, e);
	return r;
}

void net_links_localize(const struct net_walk *all, uint32_t base)
{
	struct net_walk w = *all;
	struct net_link l;

	while (net_link_next(&w, &l))
		if (STREQ(l.kind, "tun"))
			ckpt_tun_localize(l.data, base);
}

uint32_t ckpt_netstate_number(Ckpt__NetState *const *states, size_t count, uint32_t ns, const char *name)
{
	struct net_walk w = { .states = states, .count = count, .ns = ns };
	struct net_link l;

	while (net_link_next(&w, &l))
		if (STREQ(l.name, name))
			return l.ifi->ifi_index > 0 ? (uint32_t)l.ifi->ifi_index : 0;
	return 0;
}

#define FLAGS (IFF_UP | IFF_NOARP | IFF_PROMISC | IFF_ALLMULTI | IFF_MULTICAST)

/* What a new link has. */
static const struct {
	uint16_t type;
	uint32_t usual;
} sizes[] = {
	{ IFLA_GSO_MAX_SIZE, 65536 },
	{ IFLA_GRO_MAX_SIZE, 65536 },
	{ 63 /* IFLA_GSO_IPV4_MAX_SIZE, Linux 6.3 */, 65536 },
	{ NET_GRO_IPV4_MAX_SIZE, 65536 },
	{ IFLA_GSO_MAX_SEGS, 65535 },
};

static bool is_set(const struct net_link *l, size_t i)
{
	return l->attr[sizes[i].type] && net_link_number(l->attr[sizes[i].type]) != sizes[i].usual;
}

/* Those that have been set; or a driver has them, or whatever is below the link, which here may allow less (EINVAL). */
static void say_sizes(struct nl *n, const struct net_link *l)
{
	struct ifinfomsg ifi = { .ifi_index = l->ifi->ifi_index };
	struct nlmsghdr *q = nl_begin(n, RTM_NEWLINK, 0, &ifi, sizeof(ifi), "size");

	for (size_t i = 0; q && i < ARRAY_SIZE(sizes); i++)
		if (is_set(l, i))
			net_link_copy(q, l->attr[sizes[i].type], 4);
	nl_end(n, q);
	nl_ignore(n, EINVAL);
}

static bool has_sizes(const struct net_link *l)
{
	bool any = false;

	for (size_t i = 0; i < ARRAY_SIZE(sizes); i++)
		any |= is_set(l, i);
	return any;
}

/* Where all hear, but for what somebody has set (of tunnels it is where they lead). */
static bool has_broadcast(const struct net_link *l)
{
	static const uint8_t all[6] = { 0xff, 0xff, 0xff, 0xff, 0xff, 0xff };
	const struct nlattr *a = l->attr[IFLA_BROADCAST];

	return l->ifi->ifi_type == ARPHRD_ETHER && a && mnl_attr_get_payload_len(a) == sizeof(all) &&
	       memcmp(mnl_attr_get_payload(a), all, sizeof(all)) != 0;
}

/* One by one: what it has already is not made again. */
static void name_again(struct nl *n, const struct net_link *l)
{
	struct ifinfomsg ifi = { .ifi_index = l->ifi->ifi_index };
	const struct nlattr *a;

	if (l->attr[IFLA_PROP_LIST])
		mnl_attr_for_each_nested(a, l->attr[IFLA_PROP_LIST]) {
			struct nlmsghdr *q = nl_begin(n, RTM_NEWLINKPROP, NLM_F_CREATE | NLM_F_EXCL | NLM_F_APPEND, &ifi,
						      sizeof(ifi), "give a name");
			struct nlattr *nest = q ? mnl_attr_nest_start(q, IFLA_PROP_LIST) : NULL;

			if (q) {
				net_link_copy(q, a, 128); /* ALTIFNAMSIZ */
				mnl_attr_nest_end(q, nest);
			}
			nl_end(n, q);
			nl_ignore(n, EEXIST);
		}
}

/* While it is down, and a kernel may set flags before it looks at what else is said in a request (6.12). */
static void enslave(struct nl *n, const struct net_link *l)
{
	struct ifinfomsg ifi = { .ifi_index = l->ifi->ifi_index, .ifi_change = IFF_UP };
	struct nlmsghdr *q;

	/* Those of the configuration are up already. */
	nl_end(n, nl_begin(n, RTM_NEWLINK, 0, &ifi, sizeof(ifi), "set down"));
	ifi.ifi_change = 0;
	q = nl_begin(n, RTM_NEWLINK, 0, &ifi, sizeof(ifi), "set up");
	if (q)
		net_link_copy(q, l->attr[IFLA_MASTER], 4);
	nl_end(n, q);
}

static int set_up(struct nl *n, const struct net_link *l, struct err *e)
{
	struct ifinfomsg ifi = { .ifi_index = l->ifi->ifi_index,
				 .ifi_flags = l->ifi->ifi_flags & FLAGS,
				 .ifi_change = FLAGS };
	struct nlmsghdr *q;

	/* Promiscuous by its own flag, not by those who listen. */
	if (net_link_number(l->attr[IFLA_PROMISCUITY]) && !(l->ifi->ifi_flags & IFF_PROMISC))
		ifi.ifi_flags &= ~(unsigned)IFF_PROMISC;
	if (l->bonded && l->master)
		enslave(n, l);
	q = nl_begin(n, RTM_NEWLINK, 0, &ifi, sizeof(ifi), "set up");
	if (q) {
		net_link_copy(q, l->attr[IFLA_MTU], 4);
		net_link_copy(q, l->attr[IFLA_TXQLEN], 4);
		net_link_copy(q, l->attr[IFLA_IFALIAS], 256);
		net_link_copy(q, l->attr[IFLA_GROUP], 4);
		if (has_broadcast(l))
			net_link_copy(q, l->attr[IFLA_BROADCAST], 6);
		if (l->master && !l->bonded)
			net_link_copy(q, l->attr[IFLA_MASTER], 4);
	}
	nl_end(n, q);
	if (has_sizes(l))
		say_sizes(n, l);
	name_again(n, l);
	return nl_talk(n, l->name, NULL, NULL, e);
}

/* A VLAN is made unbound. */
static int bind_vlan(struct nl *n, const struct net_link *l, struct err *e)
{
	struct ifinfomsg ifi = { .ifi_index = l->ifi->ifi_index };
	struct ifla_vlan_flags flags = { 0, VLAN_FLAG_LOOSE_BINDING };
	struct nlattr *info, *data;
	const struct nlattr *a;
	struct nlmsghdr *q;

	if (!STREQ(l->kind, "vlan") || !l->data)
		return 0;
	mnl_attr_for_each_nested(a, l->data)
	{
		if (mnl_attr_get_type(a) == IFLA_VLAN_FLAGS && mnl_attr_get_payload_len(a) == sizeof(flags))
			memcpy(&flags.flags, mnl_attr_get_payload(a), sizeof(flags.flags));
	}
	q = nl_begin(n, RTM_NEWLINK, 0, &ifi, sizeof(ifi), "bind");
	if (q) {
		info = mnl_attr_nest_start(q, IFLA_LINKINFO);
		mnl_attr_put_strz(q, IFLA_INFO_KIND, "vlan");
		data = mnl_attr_nest_start(q, IFLA_INFO_DATA);
		mnl_attr_put(q, IFLA_VLAN_FLAGS, sizeof(flags), &flags);
		mnl_attr_nest_end(q, data);
		mnl_attr_nest_end(q, info);
	}
	nl_end(n, q);
	return nl_talk(n, l->name, NULL, NULL, e);
}

static int for_each_link(struct nl *route, const struct net_walk *all,
			 int (*f)(struct nl *n, const struct net_link *l, struct err *e), struct err *e)
{
	struct net_walk w = *all;
	struct net_link l;
	int r = 0;

	while (r == 0 && net_link_next(&w, &l))
		if (!net_link_is_given(&l) || net_link_is_there((uint32_t)l.ifi->ifi_index))
			r = f(route, &l, e);
	return r;
}

int net_links_up(struct nl *route, const struct net_walk *all, struct err *e)
{
	int r = net_tokens_restore(route, all, e);

	if (r == 0)
		r = for_each_link(route, all, set_up, e);
	if (r == 0)
		r = net_bonds_restore(route, all, e);
	return r < 0 ? r : for_each_link(route, all, bind_vlan, e);
}
