/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Links that a network namespace has not got, made again. */
#include "checkpoint/netlinks.h"
#include "checkpoint/netrare.h"

#include "base/macro.h"
#include "checkpoint/tun.h"

#include <errno.h>
#include <linux/if_link.h>
#include <linux/if_vlan.h>
#include <linux/rtnetlink.h>
#include <linux/veth.h>
#include <net/if.h>

#define LINKS_FROM 1000 /* numbers of those that go elsewhere */

bool net_link_is_there(uint32_t index)
{
	char name[IF_NAMESIZE];

	return if_indextoname(index, name) != NULL;
}

void net_link_copy(struct nlmsghdr *q, const struct nlattr *a, size_t max)
{
	if (a && mnl_attr_get_payload_len(a) <= max)
		mnl_attr_put(q, a->nla_type, mnl_attr_get_payload_len(a), mnl_attr_get_payload(a));
}

/* `name`: another than its own, or NULL. */
static void put_own(struct nlmsghdr *q, const struct net_link *l, const char *name)
{
	if (name)
		mnl_attr_put_strz(q, IFLA_IFNAME, name);
	else
		net_link_copy(q, l->attr[IFLA_IFNAME], IF_NAMESIZE);
	/* On top of another, more than that has by now may be too much (EINVAL): set_up() says it, too. */
	if (!l->parent)
		net_link_copy(q, l->attr[IFLA_MTU], 4);
	if (l->attr[IFLA_ADDRESS] && mnl_attr_get_payload_len(l->attr[IFLA_ADDRESS]) == 6)
		net_link_copy(q, l->attr[IFLA_ADDRESS], 6);
	net_link_copy(q, l->attr[IFLA_TXQLEN], 4);
	/* A pair that was told a number of queues uses them all, and one that was not, one of many. */
	if (!STREQ(l->kind, "veth") || l->queued) {
		net_link_copy(q, l->attr[IFLA_NUM_TX_QUEUES], 4);
		net_link_copy(q, l->attr[IFLA_NUM_RX_QUEUES], 4);
	}
}

/* What a bridge only tells: roots, timers, what it has learned; a macvlan: numbers (refused since Linux 5.11); and a bond:
 * ports that it has not yet (net_bonds_restore()). */
static bool is_told(const struct net_link *l, uint16_t type)
{
	if (STREQ(l->kind, "bond"))
		return type == IFLA_BOND_ACTIVE_SLAVE || type == IFLA_BOND_PRIMARY || type == IFLA_BOND_AD_INFO;
	if (STREQ(l->kind, "macvlan"))
		return type == IFLA_MACVLAN_MACADDR_COUNT || type == IFLA_MACVLAN_BC_QUEUE_LEN_USED;
	return STREQ(l->kind, "bridge") &&
	       ((type >= IFLA_BR_ROOT_ID && type <= IFLA_BR_GC_TIMER) ||
		type == IFLA_BR_MCAST_QUERIER_STATE || type == IFLA_BR_PAD ||
		type == 48 /* IFLA_BR_FDB_N_LEARNED */);
}

bool net_link_has(const struct nlattr *data, const struct nlattr *a)
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

/* The kernel tells a VLAN's flags with a mask of all ones, and takes none with more than it knows (EINVAL, 6.12).
 * Bound to the link below it a VLAN goes up with that, asked or not: net_links_up() binds it when all are up that are
 * to be. */
static bool put_vlan_flags(struct nlmsghdr *q, const struct net_link *l, const struct nlattr *a)
{
	struct ifla_vlan_flags flags;

	if (!STREQ(l->kind, "vlan") || mnl_attr_get_type(a) != IFLA_VLAN_FLAGS ||
	    mnl_attr_get_payload_len(a) != sizeof(flags))
		return false;
	memcpy(&flags, mnl_attr_get_payload(a), sizeof(flags));
	flags.mask = VLAN_FLAG_REORDER_HDR | VLAN_FLAG_GVRP | VLAN_FLAG_LOOSE_BINDING |
		     VLAN_FLAG_MVRP | VLAN_FLAG_BRIDGE_BINDING;
	flags.flags |= VLAN_FLAG_LOOSE_BINDING;
	mnl_attr_put(q, IFLA_VLAN_FLAGS, sizeof(flags), &flags);
	return true;
}

/* Told as numbers: one is taken as there or not, others, when they are there at all, for use of bits that are reserved
 * (6.18). */
static bool put_vxlan_flag(struct nlmsghdr *q, const struct net_link *l, const struct nlattr *a)
{
	uint16_t type = mnl_attr_get_type(a);
	bool on = mnl_attr_get_payload_len(a) == 1 && mnl_attr_get_u8(a);

	if (!STREQ(l->kind, "vxlan"))
		return false;
	if (type == IFLA_VXLAN_TTL_INHERIT && on)
		mnl_attr_put(q, type, 0, NULL);
	return type == IFLA_VXLAN_TTL_INHERIT ||
	       (!on && (type == IFLA_VXLAN_REMCSUM_RX || type == IFLA_VXLAN_REMCSUM_TX));
}

/* `fresh`: what one has that was just made, or NULL. */
static void put_data(struct nlmsghdr *q, const struct net_link *l, const struct nlattr *fresh)
{
	struct nlattr *data = mnl_attr_nest_start(q, IFLA_INFO_DATA);
	const struct nlattr *a;

	mnl_attr_for_each_nested(a, l->data)
	{
		if (!put_vlan_flags(q, l, a) && !put_vxlan_flag(q, l, a) && !is_told(l, mnl_attr_get_type(a)) &&
		    !(fresh && net_link_has(fresh, a)))
			net_link_copy(q, a, SIZE_MAX);
	}
	mnl_attr_nest_end(q, data);
}

/* What a link is until it goes to the namespace where it belongs. */
struct spare {
	char name[IF_NAMESIZE];
	uint32_t index;
};

/* Both ends are made at once; the other one comes first, and must not take the number of this. */
static void put_veth(struct nlmsghdr *q, const struct net_link *other, const struct spare *spare)
{
	struct nlattr *data = mnl_attr_nest_start(q, IFLA_INFO_DATA);
	struct nlattr *nest = mnl_attr_nest_start(q, VETH_INFO_PEER);
	struct ifinfomsg *ifi = mnl_nlmsg_put_extra_header(q, sizeof(*ifi));

	*ifi = (struct ifinfomsg){ .ifi_index = spare ? (int)spare->index : other->ifi->ifi_index };
	put_own(q, other, spare ? spare->name : NULL);
	mnl_attr_nest_end(q, nest);
	mnl_attr_nest_end(q, data);
}

/* By a program's way, as netlink makes none; then it gets the rest. */
static int make_tun(struct nl *n, const struct net_link *l, struct err *e)
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
		put_own(q, l, NULL);
	nl_end(n, q);
	return nl_talk(n, l->name, NULL, NULL, e);
}

/* A kernel may tell of them what it then refuses to be told (of a bond, what is of other modes): when they are there they
 * are told what is not so already. */
static bool is_settled(const struct net_link *l)
{
	return STREQ(l->kind, "bridge") || STREQ(l->kind, "bond");
}

/* Which all else of a bond depends on. */
static void put_mode(struct nlmsghdr *q, const struct net_link *l)
{
	struct nlattr *data = mnl_attr_nest_start(q, IFLA_INFO_DATA);

	net_link_copy(q, nl_nested(l->data, IFLA_BOND_MODE), 1);
	mnl_attr_nest_end(q, data);
}

/* `spare`: where it does not belong here, or NULL. `other`: the other end of a pair, and likewise. */
static int make(struct nl *n, const struct net_link *l, const struct spare *spare, const struct net_link *other,
		const struct spare *others, struct err *e)
{
	struct ifinfomsg ifi = { .ifi_index = spare ? (int)spare->index : l->ifi->ifi_index };
	struct nlmsghdr *q =
		nl_begin(n, RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, &ifi, sizeof(ifi), "make");
	struct nlattr *info;
	char subject[64];

	if (q) {
		put_own(q, l, spare ? spare->name : NULL);
		if (l->parent && !STREQ(l->kind, "veth"))
			net_link_copy(q, l->attr[IFLA_LINK], 4);
		info = mnl_attr_nest_start(q, IFLA_LINKINFO);
		mnl_attr_put_strz(q, IFLA_INFO_KIND, l->kind);
		if (other)
			put_veth(q, other, others);
		else if (l->data && STREQ(l->kind, "bond"))
			put_mode(q, l);
		else if (l->data && !is_settled(l))
			put_data(q, l, NULL);
		mnl_attr_nest_end(q, info);
	}
	nl_end(n, q);
	snprintf(subject, sizeof(subject), "interface %.16s of kind %.16s", l->name, l->kind);
	return nl_talk(n, subject, NULL, NULL, e);
}

struct settling {
	struct nl *n;
	const struct net_link *want;
};

static int settle(enum ckpt_net_part p, const struct nlmsghdr *m, void *arg)
{
	struct settling *s = arg;
	struct ifinfomsg ifi = { .ifi_index = s->want->ifi->ifi_index };
	struct nlattr *info;
	struct nlmsghdr *q;
	struct net_link l;

	(void)p;
	net_link_read(m, &l);
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

static int settle_fresh(struct nl *n, const struct net_link *l, struct err *e)
{
	cleanup_nl struct nl other = NL_INIT;
	struct settling s = { &other, l };
	int r = nl_open(&other, NETLINK_ROUTE, -1, e);

	if (r == 0)
		r = net_list(n, NULL, CKPT_NET_LINK, settle, &s, e);
	return r == 0 ? nl_talk(&other, l->name, NULL, NULL, e) : r;
}

/* 1: it is there, or need not be. */
static int check(const struct net_link *l, struct err *e)
{
	char name[IF_NAMESIZE];

	if (if_indextoname((unsigned)l->ifi->ifi_index, name))
		return STREQ(name, l->name) ?
			       1 :
			       err_set(e, ERR_UNSUPPORTED, "interface %d is %s here, not %s",
				       l->ifi->ifi_index, name, l->name);
	if (net_link_is_given(l))
		return 1; /* by a module that this host has not loaded */
	if (!net_link_is_made(l))
		return err_set(e, ERR_UNSUPPORTED, "interface %s of kind %s cannot be made again",
			       l->name, l->kind);
	return 0;
}

/* To where it belongs, by the name that it has here (IFLA_NEW_IFINDEX, Linux 5.13). */
static int move(struct nl *n, const struct spare *spare, const struct net_link *l, int netns, struct err *e)
{
	struct ifinfomsg ifi = { .ifi_index = (int)spare->index };
	struct nlmsghdr *q = nl_begin(n, RTM_NEWLINK, 0, &ifi, sizeof(ifi), "move");

	if (q) {
		mnl_attr_put_u32(q, IFLA_NET_NS_FD, (uint32_t)netns);
		net_link_copy(q, l->attr[IFLA_IFNAME], IF_NAMESIZE);
		mnl_attr_put_u32(q, IFLA_NEW_IFINDEX, (uint32_t)l->ifi->ifi_index);
	}
	nl_end(n, q);
	return nl_talk(n, l->name, NULL, NULL, e);
}

struct making {
	const struct ckpt_netplaces *at;
	struct net_walk all; /* of the namespace that the caller is in */
	const struct net_link *link;
	bool moved, left;
};

/* What neither is there nor is to come, in the caller's namespace. */
static void find_spare(const struct net_walk *all, uint32_t ns, struct spare *ret)
{
	struct net_link l;
	unsigned n = 0;

	do
		snprintf(ret->name, sizeof(ret->name), "spare%u", n++);
	while (if_nametoindex(ret->name));
	ret->index = LINKS_FROM;
	while (net_link_is_there(ret->index) || net_link_find(all, ns, ret->index, &l))
		ret->index++;
}

static int open_here(const struct making *k, uint32_t ns, struct nl *ret, struct err *e)
{
	return nl_open(ret, NETLINK_ROUTE, k->at->fd[ns], e);
}

/* As one that the configuration gave it; or the image is damaged. */
static int no_other_end(const struct net_link *l, struct err *e)
{
	err_set(e, ERR_STATE, "it was saved with interface %s, which leads to its host and is not given to it any more",
		l->name);
	return err_hint(e, "set `net` as it was then");
}

static int make_pair(struct making *k, struct nl *n, const struct net_link *l, struct err *e)
{
	struct net_link other;
	struct spare spare;
	uint32_t where = l->away ? l->where : k->all.ns;
	struct net_walk there = k->all;
	int r;

	if (!net_link_find(&k->all, where, l->parent, &other) || !STREQ(other.kind, "veth"))
		return no_other_end(l, e);
	there.ns = where;
	other.queued = net_has_channels(&there, l->parent);
	if (where == k->all.ns)
		return make(n, l, NULL, &other, NULL, e);
	find_spare(&k->all, k->all.ns, &spare);
	r = make(n, l, NULL, &other, &spare, e);
	return r == 0 ? move(n, &spare, &other, k->at->fd[where], e) : r;
}

/* In the namespace of its parent, or where it sends from: what it stands on is told by that. */
static int make_there(void *arg, struct err *e)
{
	struct making *k = arg;
	const struct net_link *l = k->link;
	cleanup_nl struct nl n = NL_INIT;
	struct spare spare;
	int r;

	if (l->parent && !net_link_is_there(l->parent)) {
		k->left = true;
		return 0;
	}
	find_spare(&k->all, l->where, &spare);
	r = open_here(k, l->where, &n, e);
	if (r == 0)
		r = make(&n, l, &spare, NULL, NULL, e);
	k->moved = true;
	return r == 0 ? move(&n, &spare, l, k->at->fd[k->all.ns], e) : r;
}

static int make_here(struct making *k, struct nl *n, const struct net_link *l, struct err *e)
{
	int r;

	if (l->parent && !STREQ(l->kind, "veth") && !net_link_is_there(l->parent)) {
		k->left = true;
		return 0;
	}
	k->moved = true;
	if (STREQ(l->kind, "veth"))
		r = make_pair(k, n, l, e);
	else
		r = STREQ(l->kind, "tun") ? make_tun(n, l, e) : make(n, l, NULL, NULL, NULL, e);
	return r == 0 && l->data && is_settled(l) ? settle_fresh(n, l, e) : r;
}

/* All that can be made by now, in the namespace that the caller has entered. */
static int make_all(void *arg, struct err *e)
{
	struct making *k = arg;
	cleanup_nl struct nl n = NL_INIT;
	struct net_walk w = k->all;
	struct net_link l;
	int r = open_here(k, k->all.ns, &n, e);

	while (r == 0 && net_link_next(&w, &l)) {
		r = check(&l, e);
		if (r != 0) {
			r = r < 0 ? r : 0;
			continue;
		}
		l.queued = net_has_channels(&k->all, (uint32_t)l.ifi->ifi_index);
		k->link = &l;
		if (l.away && l.parent && l.where == k->all.ns)
			r = no_other_end(&l, e);
		else if (!l.away || STREQ(l.kind, "veth"))
			r = make_here(k, &n, &l, e);
		else
			r = net_within(k->at, l.where, k->all.ns, make_there, k, e);
	}
	return r;
}

int net_links_restore(const struct ckpt_netplaces *at, const struct net_walk *all, struct err *e)
{
	struct making k = { .at = at, .all = *all, .left = true };
	int r = 0;

	/* Those that stand on others come after them, in whatever namespace. */
	while (r == 0 && k.left) {
		k.moved = k.left = false;
		for (uint32_t ns = 0; r == 0 && ns < at->count; ns++) {
			k.all.ns = ns;
			if (at->fd[ns] >= 0)
				r = net_within(at, ns, 0, make_all, &k, e);
		}
		if (k.left && !k.moved && r == 0)
			return err_set(e, ERR_FAIL,
				       "the image is damaged: links that stand on each other");
	}
	return r;
}
