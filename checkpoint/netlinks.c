/* SPDX-License-Identifier: GPL-2.0-or-later */

/* The links of a network namespace. */
#include "checkpoint/netstate_internal.h"

#include "base/macro.h"
#include "checkpoint/tun.h"

#include <errno.h>
#include <linux/if_link.h>
#include <linux/if_vlan.h>
#include <linux/rtnetlink.h>
#include <linux/veth.h>
#include <net/if.h>

/* What a tenant can make whose whole description is in the kernel's answer. */
static const char *const kinds[] = { "dummy",	"bridge",    "veth",  "vlan", "vrf",	"ifb",
				     "macvlan", "ipip",	     "sit",   "gre",  "gretap", "ip6tnl",
				     "ip6gre",	"ip6gretap", "vxlan", "bond", "tun" };

struct link {
	const struct ifinfomsg *ifi;
	const char *name, *kind;
	const struct nlattr *data; /* of its kind */
	const struct nlattr *attr[64];
	uint32_t parent, master;
};

static void read_info(const struct nlattr *info, struct link *l)
{
	const struct nlattr *a;

	mnl_attr_for_each_nested(a, info)
	{
		if (mnl_attr_get_type(a) == IFLA_INFO_KIND &&
		    mnl_attr_validate(a, MNL_TYPE_NUL_STRING) >= 0)
			l->kind = mnl_attr_get_str(a);
		else if (mnl_attr_get_type(a) == IFLA_INFO_DATA)
			l->data = a;
	}
}

static uint32_t number(const struct nlattr *a)
{
	return a && mnl_attr_get_payload_len(a) == 4 ? mnl_attr_get_u32(a) : 0;
}

static void read_link(const struct nlmsghdr *m, struct link *l)
{
	const struct nlattr *a;

	*l = (struct link){ .ifi = mnl_nlmsg_get_payload(m), .name = "", .kind = "" };
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
	l->parent = number(l->attr[IFLA_LINK]);
	l->master = number(l->attr[IFLA_MASTER]);
}

static bool is_made(const struct link *l)
{
	for (size_t i = 0; i < ARRAY_SIZE(kinds); i++)
		if (STREQ(l->kind, kinds[i]))
			return true;
	return false;
}

static int refuse_link(const struct link *l, const char *const *configured, size_t count,
		       struct err *e)
{
	for (size_t i = 0; i < count; i++)
		if (STREQ(l->name, configured[i]))
			return 0;
	if (STREQ(l->name, "lo"))
		return 0;
	if (!is_made(l))
		return err_set(e, ERR_UNSUPPORTED,
			       "the VPS has an interface %s of kind %s, which cannot be saved yet",
			       l->name, l->kind[0] ? l->kind : "unknown");
	if (l->attr[IFLA_LINK_NETNSID])
		return err_set(e, ERR_UNSUPPORTED,
			       "the VPS has an interface %s whose other end is in another network "
			       "namespace, which cannot be saved yet",
			       l->name);
	return 0;
}

int net_links_refuse(const struct net_walk *all, const char *const *configured, size_t count,
		     struct err *e)
{
	struct net_walk w = *all;
	const struct nlmsghdr *m;
	int r = 0;

	w.part = CKPT_NET_LINK;
	while (r == 0 && (m = net_next(&w))) {
		struct link l;

		read_link(m, &l);
		r = refuse_link(&l, configured, count, e);
	}
	return r;
}

void net_links_localize(const struct net_walk *all, uint32_t base)
{
	struct net_walk w = *all;
	const struct nlmsghdr *m;

	w.part = CKPT_NET_LINK;
	while ((m = net_next(&w))) {
		struct link l;

		read_link(m, &l);
		if (STREQ(l.kind, "tun"))
			ckpt_tun_localize(l.data, base);
	}
}

uint32_t ckpt_netstate_number(Ckpt__NetState *const *states, size_t count, uint32_t ns, const char *name)
{
	struct net_walk w = { .states = states, .count = count, .ns = ns, .part = CKPT_NET_LINK };
	const struct nlmsghdr *m;

	while ((m = net_next(&w))) {
		struct link l;

		read_link(m, &l);
		if (STREQ(l.name, name))
			return l.ifi->ifi_index > 0 ? (uint32_t)l.ifi->ifi_index : 0;
	}
	return 0;
}

static bool is_there(uint32_t index)
{
	char name[IF_NAMESIZE];

	return if_indextoname(index, name) != NULL;
}

/* An attribute of the image may be longer than what it should hold, and than the room for the message. */
static void copy(struct nlmsghdr *q, const struct nlattr *a, size_t max)
{
	if (a && mnl_attr_get_payload_len(a) <= max)
		mnl_attr_put(q, a->nla_type, mnl_attr_get_payload_len(a), mnl_attr_get_payload(a));
}

static void put_own(struct nlmsghdr *q, const struct link *l)
{
	copy(q, l->attr[IFLA_IFNAME], IF_NAMESIZE);
	/* On top of another, more than that has by now may be too much (EINVAL): set_up() says it, too. */
	if (!l->parent)
		copy(q, l->attr[IFLA_MTU], 4);
	if (l->attr[IFLA_ADDRESS] && mnl_attr_get_payload_len(l->attr[IFLA_ADDRESS]) == 6)
		copy(q, l->attr[IFLA_ADDRESS], 6);
	copy(q, l->attr[IFLA_TXQLEN], 4);
}

/* What a bridge only tells: roots, timers, what it has learned. */
static bool is_told(const struct link *l, uint16_t type)
{
	return STREQ(l->kind, "bridge") &&
	       ((type >= IFLA_BR_ROOT_ID && type <= IFLA_BR_GC_TIMER) ||
		type == IFLA_BR_MCAST_QUERIER_STATE || type == IFLA_BR_PAD ||
		type == 48 /* IFLA_BR_FDB_N_LEARNED */);
}

static bool has_same(const struct nlattr *data, const struct nlattr *a)
{
	const struct nlattr *b;

	mnl_attr_for_each_nested(b, data)
	{
		if (b->nla_type == a->nla_type && b->nla_len == a->nla_len &&
		    memcmp(mnl_attr_get_payload(a), mnl_attr_get_payload(b),
			   mnl_attr_get_payload_len(a)) == 0)
			return true;
	}
	return false;
}

/* The kernel tells a VLAN's flags with a mask of all ones, and takes none with more than it knows (EINVAL, 6.12). */
static bool put_vlan_flags(struct nlmsghdr *q, const struct link *l, const struct nlattr *a)
{
	struct ifla_vlan_flags flags;

	if (!STREQ(l->kind, "vlan") || mnl_attr_get_type(a) != IFLA_VLAN_FLAGS ||
	    mnl_attr_get_payload_len(a) != sizeof(flags))
		return false;
	memcpy(&flags, mnl_attr_get_payload(a), sizeof(flags));
	flags.mask = VLAN_FLAG_REORDER_HDR | VLAN_FLAG_GVRP | VLAN_FLAG_LOOSE_BINDING |
		     VLAN_FLAG_MVRP | VLAN_FLAG_BRIDGE_BINDING;
	mnl_attr_put(q, IFLA_VLAN_FLAGS, sizeof(flags), &flags);
	return true;
}

/* `fresh`: what one has that was just made, or NULL. */
static void put_data(struct nlmsghdr *q, const struct link *l, const struct nlattr *fresh)
{
	struct nlattr *data = mnl_attr_nest_start(q, IFLA_INFO_DATA);
	const struct nlattr *a;

	mnl_attr_for_each_nested(a, l->data)
	{
		if (!put_vlan_flags(q, l, a) && !is_told(l, mnl_attr_get_type(a)) &&
		    !(fresh && has_same(fresh, a)))
			copy(q, a, SIZE_MAX);
	}
	mnl_attr_nest_end(q, data);
}

/* Both ends are made at once. */
static void put_veth(struct nlmsghdr *q, const struct net_walk *all, uint32_t peer)
{
	struct net_walk w = *all;
	const struct nlmsghdr *m;

	w.part = CKPT_NET_LINK;
	while ((m = net_next(&w))) {
		struct link l;

		read_link(m, &l);
		if ((uint32_t)l.ifi->ifi_index != peer)
			continue;
		struct nlattr *data = mnl_attr_nest_start(q, IFLA_INFO_DATA);
		struct nlattr *nest = mnl_attr_nest_start(q, VETH_INFO_PEER);
		struct ifinfomsg *ifi = mnl_nlmsg_put_extra_header(q, sizeof(*ifi));

		*ifi = (struct ifinfomsg){ .ifi_index = (int)peer };
		put_own(q, &l);
		mnl_attr_nest_end(q, nest);
		mnl_attr_nest_end(q, data);
		return;
	}
}

/* By a program's way, as netlink makes none; then it gets the rest. */
static int make_tun(struct nl *n, const struct link *l, struct err *e)
{
	struct ifinfomsg ifi = { .ifi_index = l->ifi->ifi_index };
	struct ckpt_tun t = { .index = (uint32_t)l->ifi->ifi_index, .data = l->data };
	struct nlmsghdr *q;
	int r;

	snprintf(t.name, sizeof(t.name), "%s", l->name);
	r = ckpt_tun_make(&t, e);
	if (r < 0)
		return r;
	q = nl_begin(n, RTM_NEWLINK, 0, &ifi, sizeof(ifi), "set");
	if (q)
		put_own(q, l);
	nl_end(n, q);
	return nl_talk(n, l->name, NULL, NULL, e);
}

static int make(struct nl *n, const struct net_walk *all, const struct link *l, struct err *e)
{
	struct ifinfomsg ifi = { .ifi_index = l->ifi->ifi_index };
	struct nlmsghdr *q =
		nl_begin(n, RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, &ifi, sizeof(ifi), "make");
	struct nlattr *info;

	if (q) {
		put_own(q, l);
		if (l->parent && !STREQ(l->kind, "veth"))
			copy(q, l->attr[IFLA_LINK], 4);
		info = mnl_attr_nest_start(q, IFLA_LINKINFO);
		mnl_attr_put_strz(q, IFLA_INFO_KIND, l->kind);
		if (STREQ(l->kind, "veth"))
			put_veth(q, all, l->parent);
		else if (l->data && !STREQ(l->kind, "bridge"))
			put_data(q, l, NULL);
		mnl_attr_nest_end(q, info);
	}
	nl_end(n, q);
	return nl_talk(n, l->name, NULL, NULL, e);
}

struct settling {
	struct nl *n;
	const struct link *want;
};

static int settle(enum ckpt_net_part p, const struct nlmsghdr *m, void *arg)
{
	struct settling *s = arg;
	struct ifinfomsg ifi = { .ifi_index = s->want->ifi->ifi_index };
	struct nlattr *info;
	struct nlmsghdr *q;
	struct link l;

	(void)p;
	read_link(m, &l);
	if (l.ifi->ifi_index != ifi.ifi_index || !l.data)
		return 0;
	q = nl_begin(s->n, RTM_NEWLINK, 0, &ifi, sizeof(ifi), "set");
	if (q) {
		info = mnl_attr_nest_start(q, IFLA_LINKINFO);
		mnl_attr_put_strz(q, IFLA_INFO_KIND, l.kind);
		put_data(q, s->want, l.data);
		mnl_attr_nest_end(q, info);
	}
	nl_end(s->n, q);
	return 0;
}

/* A kernel may tell of a bridge what it then refuses to be told: only what is not so already is said. */
static int settle_bridge(struct nl *n, const struct link *l, struct err *e)
{
	cleanup_nl struct nl other = NL_INIT;
	struct settling s = { &other, l };
	int r = nl_open(&other, NETLINK_ROUTE, -1, e);

	if (r == 0)
		r = net_list(n, NULL, CKPT_NET_LINK, settle, &s, e);
	return r == 0 ? nl_talk(&other, l->name, NULL, NULL, e) : r;
}

static int check(const struct link *l, struct err *e)
{
	char name[IF_NAMESIZE];

	if (if_indextoname((unsigned)l->ifi->ifi_index, name))
		return STREQ(name, l->name) ?
			       1 :
			       err_set(e, ERR_UNSUPPORTED, "interface %d is %s here, not %s",
				       l->ifi->ifi_index, name, l->name);
	if (!is_made(l))
		return err_set(e, ERR_UNSUPPORTED, "interface %s of kind %s cannot be made again",
			       l->name, l->kind);
	return 0;
}

int net_links_restore(struct nl *route, const struct net_walk *all, struct err *e)
{
	bool left = true;
	int r = 0;

	/* Those that stand on others come after them. */
	while (r == 0 && left) {
		struct net_walk w = *all;
		const struct nlmsghdr *m;
		bool moved = false;

		left = false;
		w.part = CKPT_NET_LINK;
		while (r == 0 && (m = net_next(&w))) {
			struct link l;
			int there;

			read_link(m, &l);
			there = check(&l, e);
			if (there < 0)
				return there;
			if (there)
				continue;
			if (l.parent && !STREQ(l.kind, "veth") && !is_there(l.parent)) {
				left = true;
				continue;
			}
			r = STREQ(l.kind, "tun") ? make_tun(route, &l, e) : make(route, all, &l, e);
			if (r == 0 && l.data && STREQ(l.kind, "bridge"))
				r = settle_bridge(route, &l, e);
			moved = true;
		}
		if (left && !moved && r == 0)
			return err_set(e, ERR_FAIL,
				       "the image is damaged: links that stand on each other");
	}
	return r;
}

#define FLAGS (IFF_UP | IFF_NOARP | IFF_PROMISC | IFF_ALLMULTI | IFF_MULTICAST)

static int set_up(struct nl *n, const struct link *l, struct err *e)
{
	struct ifinfomsg ifi = { .ifi_index = l->ifi->ifi_index,
				 .ifi_flags = l->ifi->ifi_flags & FLAGS,
				 .ifi_change = FLAGS };
	struct nlmsghdr *q;

	/* Promiscuous by its own flag, not by those who listen. */
	if (number(l->attr[IFLA_PROMISCUITY]) && !(l->ifi->ifi_flags & IFF_PROMISC))
		ifi.ifi_flags &= ~(unsigned)IFF_PROMISC;
	q = nl_begin(n, RTM_NEWLINK, 0, &ifi, sizeof(ifi), "set up");
	if (q) {
		copy(q, l->attr[IFLA_MTU], 4);
		copy(q, l->attr[IFLA_TXQLEN], 4);
		copy(q, l->attr[IFLA_IFALIAS], 256);
		if (l->master)
			copy(q, l->attr[IFLA_MASTER], 4);
	}
	nl_end(n, q);
	return nl_talk(n, l->name, NULL, NULL, e);
}

int net_links_up(struct nl *route, const struct net_walk *all, struct err *e)
{
	struct net_walk w = *all;
	const struct nlmsghdr *m;
	int r = 0;

	w.part = CKPT_NET_LINK;
	while (r == 0 && (m = net_next(&w))) {
		struct link l;

		read_link(m, &l);
		r = set_up(route, &l, e);
	}
	return r;
}
