/* SPDX-License-Identifier: GPL-2.0-or-later */

/*
 * The tables of bridges and of vxlan tunnels, as far as somebody has written them: VLANs of ports, where link-layer
 * addresses are, groups. What they learn by themselves they learn again.
 */
#include "checkpoint/netlinks.h"
#include "checkpoint/netrare.h"

#include "base/macro.h"

#include <errno.h>
#include <linux/if_bridge.h>
#include <linux/if_link.h>
#include <linux/neighbour.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <stdlib.h>

/* Newer than some headers: Linux 6.2 to 6.4. */
#define ATTR_SRC_LIST 2 /* MDBE_ATTR_* */
#define ATTR_GROUP_MODE 3
#define ATTR_RTPROT 4
#define ATTR_DST 5
#define ENTRY_MAX_GROUPS 8 /* BRIDGE_VLANDB_ENTRY_* */
#define ENTRY_NEIGH_SUPPRESS 9
#define EATTR_DST 6 /* MDBA_MDB_EATTR_*, and on: as MDBE_ATTR_DST and on */
#define EATTR_LAST 10

static uint32_t number(const struct nlattr *a)
{
	return a && mnl_attr_get_payload_len(a) == 4 ? mnl_attr_get_u32(a) : 0;
}

bool net_bridge_is_kept(const struct nlmsghdr *m)
{
	const struct ndmsg *nd = mnl_nlmsg_get_payload(m);
	const struct nlattr *mac = nl_attr(m, sizeof(*nd), NDA_LLADDR);
	bool leads = nl_attr(m, sizeof(*nd), NDA_DST) || nl_attr(m, sizeof(*nd), NDA_NH_ID);

	if (nd->ndm_family != AF_BRIDGE || !mac || mnl_attr_get_payload_len(mac) != 6)
		return false;
	/* Groups that a link hears: of those who have joined them. */
	if (nd->ndm_flags & NTF_SELF && !leads && *(const uint8_t *)mnl_attr_get_payload(mac) & 1)
		return false;
	return nd->ndm_state & (NUD_PERMANENT | NUD_NOARP) || nd->ndm_flags & (NTF_EXT_LEARNED | NTF_STICKY);
}

/* Told of a bridge is whose table it is in; asked for is by which way it is to come there. */
void net_bridge_settle(const struct nlmsghdr *m, struct nlmsghdr *out)
{
	struct ndmsg *nd = mnl_nlmsg_get_payload(out);
	uint32_t master = number(nl_attr(m, sizeof(*nd), NDA_MASTER));

	nd->ndm_flags &= NTF_EXT_LEARNED | NTF_STICKY | NTF_ROUTER | NTF_SELF | NTF_MASTER;
	nd->ndm_type = 0;
	if (nd->ndm_flags & NTF_EXT_LEARNED && !(nd->ndm_state & (NUD_PERMANENT | NUD_NOARP)))
		nd->ndm_state = NUD_REACHABLE;
	if (master)
		nd->ndm_flags = (uint8_t)((nd->ndm_flags & ~NTF_SELF) |
					  (master == (uint32_t)nd->ndm_ifindex ? NTF_SELF : NTF_MASTER));
}

/* Their addresses alone: the times are those of groups that were learned. */
static void put_sources(struct nlmsghdr *q, const struct nlattr *told)
{
	struct nlattr *list = mnl_attr_nest_start(q, ATTR_SRC_LIST), *one;
	const struct nlattr *a, *address;

	mnl_attr_for_each_nested(a, told) {
		address = nl_nested(a, MDBA_MDB_SRCATTR_ADDRESS);
		if (!address)
			continue;
		one = mnl_attr_nest_start(q, 1 /* MDBE_SRC_LIST_ENTRY */);
		mnl_attr_put(q, 1 /* MDBE_SRCATTR_ADDRESS */, mnl_attr_get_payload_len(address),
			     mnl_attr_get_payload(address));
		mnl_attr_nest_end(q, one);
	}
	mnl_attr_nest_end(q, list);
}

static bool has_byte(const struct nlattr *a, uint8_t byte)
{
	return mnl_attr_get_payload_len(a) == 1 && mnl_attr_get_u8(a) == byte;
}

/* Told of each port's, but not taken with a source, nor by older kernels: what holds when nothing is said. */
static bool goes_without_saying(const struct nlattr *a, bool has_source)
{
	switch (mnl_attr_get_type(a)) {
	case MDBA_MDB_EATTR_GROUP_MODE:
		return has_source || has_byte(a, MCAST_EXCLUDE);
	case MDBA_MDB_EATTR_SRC_LIST:
		return has_source;
	case MDBA_MDB_EATTR_RTPROT:
		return has_byte(a, RTPROT_STATIC);
	default:
		return false;
	}
}

/* What is told of one in the words in which it is asked for. False: the kernel has made it, of another's sources. */
static bool put_told(struct nlmsghdr *q, const struct nlattr *a)
{
	static const uint16_t asked[] = {
		[MDBA_MDB_EATTR_SOURCE] = MDBE_ATTR_SOURCE,
		[MDBA_MDB_EATTR_GROUP_MODE] = ATTR_GROUP_MODE,
		[MDBA_MDB_EATTR_RTPROT] = ATTR_RTPROT,
	};
	uint16_t type = mnl_attr_get_type(a), to = type < ARRAY_SIZE(asked) ? asked[type] : 0;

	if (type == MDBA_MDB_EATTR_RTPROT && has_byte(a, RTPROT_KERNEL))
		return false;
	if (type >= EATTR_DST && type <= EATTR_LAST)
		to = (uint16_t)(type - EATTR_DST + ATTR_DST);
	if (type == MDBA_MDB_EATTR_SRC_LIST)
		put_sources(q, a);
	else if (to)
		mnl_attr_put(q, to, mnl_attr_get_payload_len(a), mnl_attr_get_payload(a));
	return true;
}

/* Attributes follow the entry, within its own. */
static int take_group(const struct net_rare *r, const struct br_port_msg *bridge, const struct nlattr *told)
{
	const char *at = mnl_attr_get_payload(told), *end = at + mnl_attr_get_payload_len(told);
	const struct nlattr *a;
	bool has_source = false;
	union {
		struct nlmsghdr m;
		char room[16384];
	} buf;
	struct nlmsghdr *q;
	struct br_mdb_entry entry;
	struct nlattr *nest;

	if (end - at < (long)sizeof(entry) || end - at > 8192)
		return end - at > 8192 ? -EMSGSIZE : 0;
	memcpy(&entry, at, sizeof(entry));
	if (entry.state != MDB_PERMANENT)
		return 0;
	entry.flags = 0;
	memset(&buf, 0, sizeof(buf));
	q = mnl_nlmsg_put_header(&buf);
	*(struct br_port_msg *)mnl_nlmsg_put_extra_header(q, sizeof(*bridge)) =
		(struct br_port_msg){ .family = AF_BRIDGE, .ifindex = bridge->ifindex }; /* which is not told */
	mnl_attr_put(q, MDBA_SET_ENTRY, sizeof(entry), &entry);
	nest = mnl_attr_nest_start(q, MDBA_SET_ENTRY_ATTRS);
	for (a = (const void *)(at + MNL_ALIGN(sizeof(entry))); mnl_attr_ok(a, (int)(end - (const char *)a)); a = mnl_attr_next(a))
		has_source |= mnl_attr_get_type(a) == MDBA_MDB_EATTR_SOURCE;
	for (a = (const void *)(at + MNL_ALIGN(sizeof(entry))); mnl_attr_ok(a, (int)(end - (const char *)a)); a = mnl_attr_next(a))
		if (!goes_without_saying(a, has_source) && !put_told(q, a))
			return 0;
	if ((char *)mnl_nlmsg_get_payload_tail(q) > (char *)mnl_attr_get_payload(nest))
		mnl_attr_nest_end(q, nest);
	else
		mnl_attr_nest_cancel(q, nest);
	return r->fn(CKPT_NET_GROUP, q, r->arg);
}

static int hear_groups(const struct nlmsghdr *m, void *arg)
{
	const struct br_port_msg *bridge = mnl_nlmsg_get_payload(m);
	const struct nlattr *all, *group, *entry;
	int r = 0;

	if (m->nlmsg_len < NLMSG_LENGTH(sizeof(*bridge)))
		return 0;
	all = nl_attr(m, sizeof(*bridge), MDBA_MDB);
	if (!all)
		return 0;
	mnl_attr_for_each_nested(group, all)
		mnl_attr_for_each_nested(entry, group)
			if (r == 0)
				r = take_group(arg, bridge, entry);
	return r;
}

int net_bridge_collect(const struct net_rare *r, struct err *e)
{
	const struct net_part *p = &net_parts[CKPT_NET_GROUP];
	struct br_port_msg ask = { .family = AF_BRIDGE };
	int n = 0;

	if (r->has_bridges)
		n = net_list(r->route, r->filter, CKPT_NET_VLAN, r->fn, r->arg, e);
	if (n == 0 && r->has_tunnels)
		n = net_list(r->route, r->filter, CKPT_NET_TUNNEL, r->fn, r->arg, e);
	if (n == 0) /* any link can have more addresses of its own */
		n = net_list(r->route, r->filter, CKPT_NET_FORWARDING, r->fn, r->arg, e);
	if (n < 0 || !(r->has_bridges || r->has_tunnels))
		return n;
	nl_end(r->route, nl_begin(r->route, p->get, NLM_F_DUMP, &ask, sizeof(ask), "list"));
	nl_ignore(r->route, EOPNOTSUPP);
	return nl_talk(r->route, p->name, hear_groups, (void *)(uintptr_t)r, e);
}

/* A port's own address: the kernel puts it there, and it may be another now (netgiven.h). */
bool net_bridge_is_own(const struct net_walk *all, const struct nlmsghdr *m)
{
	const struct ndmsg *nd = mnl_nlmsg_get_payload(m);
	const struct nlattr *mac = nl_attr(m, sizeof(*nd), NDA_LLADDR);
	struct net_link l;

	return nd->ndm_state & NUD_PERMANENT && mac && net_link_find(all, all->ns, (uint32_t)nd->ndm_ifindex, &l) &&
	       l.attr[IFLA_ADDRESS] && l.attr[IFLA_ADDRESS]->nla_len == mac->nla_len &&
	       memcmp(mnl_attr_get_payload(mac), mnl_attr_get_payload(l.attr[IFLA_ADDRESS]), mnl_attr_get_payload_len(mac)) == 0;
}

/* A value that is not the one of a new VLAN. */
static bool is_set(const struct nlattr *a, uint32_t fresh)
{
	size_t len = mnl_attr_get_payload_len(a);

	return len == 1 ? mnl_attr_get_u8(a) != fresh : len == 4 && mnl_attr_get_u32(a) != fresh;
}

/* Not all that is told may be said: some want a bridge that is otherwise than most. */
static bool is_to_say(const struct nlattr *a)
{
	switch (mnl_attr_get_type(a)) {
	case BRIDGE_VLANDB_ENTRY_STATE:
		return is_set(a, BR_STATE_FORWARDING);
	case BRIDGE_VLANDB_ENTRY_MCAST_ROUTER:
		return is_set(a, MDB_RTR_TYPE_TEMP_QUERY);
	case ENTRY_MAX_GROUPS:
	case ENTRY_NEIGH_SUPPRESS:
		return is_set(a, 0);
	default:
		return false;
	}
}

/* It is told without the word for what is to be done with it (RTM_SETLINK: it is to be there). */
static void put_tunnel(struct nlmsghdr *q, const struct nlattr *told)
{
	const struct nlattr *id = nl_nested(told, BRIDGE_VLANDB_TINFO_ID);
	struct nlattr *nest;

	if (!id || mnl_attr_get_payload_len(id) != 4)
		return;
	nest = mnl_attr_nest_start(q, BRIDGE_VLANDB_ENTRY_TUNNEL_INFO);
	net_link_copy(q, id, 4);
	mnl_attr_put_u32(q, BRIDGE_VLANDB_TINFO_CMD, RTM_SETLINK);
	mnl_attr_nest_end(q, nest);
}

/* One or a range; `whole`: with what is set of it. */
static void say_vlan(struct nl *n, uint16_t type, const struct br_vlan_msg *dev, const struct nlattr *told, bool whole)
{
	const struct nlattr *a, *info = nl_nested(told, BRIDGE_VLANDB_ENTRY_INFO);
	struct bridge_vlan_info v;
	bool tunnel = false; /* there is one: each that is said is longer than it was told */
	struct nlmsghdr *q;
	struct nlattr *nest;

	if (!info || mnl_attr_get_payload_len(info) != sizeof(v))
		return;
	memcpy(&v, mnl_attr_get_payload(info), sizeof(v));
	v.flags &= BRIDGE_VLAN_INFO_PVID | BRIDGE_VLAN_INFO_UNTAGGED;
	q = nl_begin(n, type, 0, dev, sizeof(*dev), type == RTM_NEWVLAN ? "restore" : "remove");
	if (q) {
		nest = mnl_attr_nest_start(q, BRIDGE_VLANDB_ENTRY);
		mnl_attr_put(q, BRIDGE_VLANDB_ENTRY_INFO, sizeof(v), &v);
		mnl_attr_for_each_nested(a, told) {
			uint16_t what = mnl_attr_get_type(a);

			if (what == BRIDGE_VLANDB_ENTRY_RANGE || (whole && what != BRIDGE_VLANDB_ENTRY_TUNNEL_INFO && is_to_say(a)))
				net_link_copy(q, a, 4);
			else if (whole && !tunnel && (tunnel = what == BRIDGE_VLANDB_ENTRY_TUNNEL_INFO))
				put_tunnel(q, a);
		}
		mnl_attr_nest_end(q, nest);
	}
	nl_end(n, q);
	if (type == RTM_DELVLAN)
		nl_ignore(n, ENOENT);
}

static void say_vlans(struct nl *n, uint16_t type, const struct nlmsghdr *m)
{
	struct br_vlan_msg dev = *(const struct br_vlan_msg *)mnl_nlmsg_get_payload(m);
	const struct nlattr *a;

	mnl_attr_for_each(a, m, sizeof(dev))
		if (mnl_attr_get_type(a) == BRIDGE_VLANDB_ENTRY)
			say_vlan(n, type, &dev, a, type == RTM_NEWVLAN);
}

struct vlans {
	const struct net_walk *all;
	struct nl say;
	bool *there; /* of each in the image */
};

/* What a port has from its bridge goes, unless that is all that it is to have. */
static int remove_vlans(enum ckpt_net_part p, const struct nlmsghdr *m, void *arg)
{
	struct vlans *v = arg;
	struct net_walk w = *v->all;
	uint8_t now[NET_MESSAGE_MAX];
	const struct nlmsghdr *want;
	int len = net_normal(p, m, now);

	w.part = p;
	for (size_t i = 0; len > 0 && (want = net_next(&w)); i++)
		if (want->nlmsg_len == (uint32_t)len &&
		    memcmp(mnl_nlmsg_get_payload(want), now + MNL_NLMSG_HDRLEN, (size_t)len - MNL_NLMSG_HDRLEN) == 0) {
			v->there[i] = true;
			return 0;
		}
	say_vlans(&v->say, RTM_DELVLAN, m);
	return len < 0 ? len : 0;
}

static size_t count_vlans(const struct net_walk *all)
{
	struct net_walk w = *all;
	size_t n = 0;

	w.part = CKPT_NET_VLAN;
	while (net_next(&w))
		n++;
	return n;
}

static int restore_vlans(struct nl *route, const struct net_walk *all, struct err *e)
{
	cleanup_free bool *there = calloc(count_vlans(all) + 1, sizeof(*there));
	struct vlans v = { all, NL_INIT, there };
	struct net_walk w = *all;
	const struct nlmsghdr *m;
	int r = there ? nl_open(&v.say, NETLINK_ROUTE, -1, e) : err_code(e, -ENOMEM, "restore VLANs");

	w.part = CKPT_NET_VLAN;
	if (r == 0)
		r = net_list(route, NULL, CKPT_NET_VLAN, remove_vlans, &v, e);
	for (size_t i = 0; r == 0 && (m = net_next(&w)); i++)
		if (!there[i]) {
			say_vlans(&v.say, RTM_NEWVLAN, m);
			r = nl_talk_if_much(&v.say, "VLANs of a bridge", e);
		}
	if (r == 0)
		r = nl_talk(&v.say, "VLANs of a bridge", NULL, NULL, e);
	nl_done(&v.say);
	return r;
}

/* A bridge that is down takes none (and had them when it went down). */
static int restore_groups(struct nl *route, const struct net_walk *all, struct err *e)
{
	struct net_walk w = *all;
	const struct nlmsghdr *m;
	int r = 0;

	w.part = CKPT_NET_GROUP;
	while (r == 0 && (m = net_next(&w))) {
		const struct br_port_msg *bridge = mnl_nlmsg_get_payload(m);
		struct net_link l;

		if (net_link_find(all, all->ns, bridge->ifindex, &l) && l.ifi->ifi_flags & IFF_UP)
			net_rare_say_one(route, CKPT_NET_GROUP, m, NLM_F_CREATE, EEXIST);
		r = nl_talk_if_much(route, net_parts[CKPT_NET_GROUP].name, e);
	}
	return r < 0 ? r : nl_talk(route, net_parts[CKPT_NET_GROUP].name, NULL, NULL, e);
}

/* What is not in the image may be in one that was just made. */
static bool has_kind(const struct net_walk *all, const char *kind)
{
	struct net_walk w = *all;
	struct net_link l;

	while (net_link_next(&w, &l))
		if (STREQ(l.kind, kind))
			return true;
	return false;
}

int net_bridge_restore(struct nl *route, const struct net_walk *all, struct err *e)
{
	bool vlans = net_rare_has(all, CKPT_NET_VLAN) || has_kind(all, "bridge"), forwards = net_rare_has(all, CKPT_NET_FORWARDING);
	int r = 0;

	if (net_rare_has(all, CKPT_NET_TUNNEL)) {
		r = net_rare_say(route, all, CKPT_NET_TUNNEL, NLM_F_CREATE, EEXIST, e);
		r = r < 0 ? r : nl_talk(route, net_parts[CKPT_NET_TUNNEL].name, NULL, NULL, e);
	}
	/* What is said without a VLAN the kernel puts into each that the port is in: so before those are there, too. */
	if (r == 0 && vlans && forwards)
		r = net_sync(route, CKPT_NET_FORWARDING, all, e);
	if (r == 0 && vlans)
		r = restore_vlans(route, all, e);
	if (r == 0 && (forwards || has_kind(all, "vxlan")))
		r = net_sync(route, CKPT_NET_FORWARDING, all, e);
	return r == 0 && net_rare_has(all, CKPT_NET_GROUP) ? restore_groups(route, all, e) : r;
}
