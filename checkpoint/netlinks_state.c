/* SPDX-License-Identifier: GPL-2.0-or-later */

/* What links were told beside what they are: states (RFC 2863), tokens of IPv6, what bonds know of their ports. */
#include "checkpoint/netlinks.h"

#include "base/fd.h"
#include "base/macro.h"

#include <errno.h>
#include <linux/ethtool.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <sys/ioctl.h>

/* Of linux/if.h, which older C libraries do not let beside net/if.h. */
#define IF_OPER_TESTING 4
#define IF_OPER_DORMANT 5
#define IF_OPER_UP 6

static uint8_t byte(const struct nlattr *a)
{
	return a && mnl_attr_get_payload_len(a) == 1 ? mnl_attr_get_u8(a) : 0;
}

static int for_each_link(struct nl *route, const struct net_walk *all,
			 int (*f)(struct nl *n, const struct net_link *l, struct err *e), struct err *e)
{
	struct net_walk w = *all;
	const struct nlmsghdr *m;
	int r = 0;

	w.part = CKPT_NET_LINK;
	while (r == 0 && (m = net_next(&w))) {
		struct net_link l;

		net_link_read(m, &l);
		if (!net_link_is_given(&l) || net_link_is_there((uint32_t)l.ifi->ifi_index))
			r = f(route, &l, e);
	}
	return r < 0 ? r : nl_talk(route, "a link", NULL, NULL, e);
}

static struct nlmsghdr *begin(struct nl *n, const struct net_link *l, const char *what)
{
	struct ifinfomsg ifi = { .ifi_index = l->ifi->ifi_index };

	return nl_begin(n, RTM_NEWLINK, 0, &ifi, sizeof(ifi), what);
}

/* The part of an IPv6 address that a link has whatever its router says; NULL: none. */
static const struct nlattr *token_of(const struct net_link *l)
{
	static const uint8_t none[16];
	const struct nlattr *inet6 = l->attr[IFLA_AF_SPEC] ? nl_nested(l->attr[IFLA_AF_SPEC], AF_INET6) : NULL;
	const struct nlattr *token = inet6 ? nl_nested(inet6, IFLA_INET6_TOKEN) : NULL;

	return token && mnl_attr_get_payload_len(token) == sizeof(none) &&
			       memcmp(mnl_attr_get_payload(token), none, sizeof(none)) != 0 ?
		       token :
		       NULL;
}

static int say_token(struct nl *n, const struct net_link *l, struct err *e)
{
	struct nlmsghdr *q = begin(n, l, "set the token");
	struct nlattr *spec, *inet6;

	if (q) {
		spec = mnl_attr_nest_start(q, IFLA_AF_SPEC);
		inet6 = mnl_attr_nest_start(q, AF_INET6);
		net_link_copy(q, token_of(l), 16);
		mnl_attr_nest_end(q, inet6);
		mnl_attr_nest_end(q, spec);
	}
	nl_end(n, q);
	return nl_talk(n, l->name, NULL, NULL, e);
}

/* One is taken only while the link listens to routers and asks for them, which it may have ceased to do since. */
static int set_token(struct nl *n, const struct net_link *l, struct err *e)
{
	static const struct {
		const char *name, *value;
	} must[] = { { "accept_ra", "2\n" }, { "router_solicitations", "-1\n" } };
	cleanup_close int root = token_of(l) ? net_switches_root(e) : -EBADF;
	char path[ARRAY_SIZE(must)][64], *was[ARRAY_SIZE(must)] = { NULL };
	struct err ignored;
	int r = 0;

	if (root < 0)
		return token_of(l) ? root : 0;
	for (size_t i = 0; r == 0 && i < ARRAY_SIZE(must); i++) {
		snprintf(path[i], sizeof(path[i]), "ipv6/conf/%.15s/%s", l->name, must[i].name);
		r = fd_read_file_at(root, path[i], 64, &was[i], NULL);
		if (r < 0)
			err_code(e, r, "read %s", path[i]);
		else
			r = net_switch_set(root, path[i], must[i].value, e);
		r = r < 0 ? r : 0;
	}
	if (r == 0)
		r = say_token(n, l, e);
	for (size_t i = 0; i < ARRAY_SIZE(must); i++) {
		if (was[i])
			net_switch_set(root, path[i], was[i], &ignored);
		free(was[i]);
	}
	return r;
}

int net_tokens_restore(struct nl *route, const struct net_walk *all, struct err *e)
{
	return for_each_link(route, all, set_token, e);
}

static void say_port(struct nl *n, const struct net_link *l, const struct nlattr *queue, const struct nlattr *prio)
{
	struct nlmsghdr *q = begin(n, l, "set");
	struct nlattr *info, *data;

	if (q) {
		info = mnl_attr_nest_start(q, IFLA_LINKINFO);
		mnl_attr_put_strz(q, IFLA_INFO_SLAVE_KIND, "bond");
		data = mnl_attr_nest_start(q, IFLA_INFO_SLAVE_DATA);
		net_link_copy(q, queue, 2);
		net_link_copy(q, prio, 4);
		mnl_attr_nest_end(q, data);
		mnl_attr_nest_end(q, info);
	}
	nl_end(n, q);
}

/* `ignore`: errnos, or 0. */
static void say_bond(struct nl *n, const struct net_link *l, uint16_t type, int ignore, int ignore_too)
{
	const struct nlattr *a = STREQ(l->kind, "bond") && l->data ? nl_nested(l->data, type) : NULL;
	struct nlattr *info, *data;
	struct nlmsghdr *q;

	if (!net_link_number(a))
		return;
	q = begin(n, l, "set");
	if (q) {
		info = mnl_attr_nest_start(q, IFLA_LINKINFO);
		mnl_attr_put_strz(q, IFLA_INFO_KIND, "bond");
		data = mnl_attr_nest_start(q, IFLA_INFO_DATA);
		net_link_copy(q, a, 4);
		mnl_attr_nest_end(q, data);
		mnl_attr_nest_end(q, info);
	}
	nl_end(n, q);
	if (ignore)
		nl_ignore(n, ignore);
	if (ignore_too)
		nl_ignore(n, ignore_too);
}

static int set_bond(struct nl *n, const struct net_link *l, struct err *e)
{
	const struct nlattr *queue = l->bonded ? nl_nested(l->bonded, IFLA_BOND_SLAVE_QUEUE_ID) : NULL;
	const struct nlattr *prio = l->bonded ? nl_nested(l->bonded, IFLA_BOND_SLAVE_PRIO) : NULL;

	if (queue && (mnl_attr_get_payload_len(queue) != 2 || !mnl_attr_get_u16(queue)))
		queue = NULL;
	if (!net_link_number(prio))
		prio = NULL;
	if (queue || prio)
		say_port(n, l, queue, prio);
	say_bond(n, l, IFLA_BOND_PRIMARY, 0, 0);
	return nl_talk_if_much(n, l->name, e);
}

int net_bonds_restore(struct nl *route, const struct net_walk *all, struct err *e)
{
	return for_each_link(route, all, set_bond, e);
}

/* Whether its state follows from its carrier, where nobody has set it. */
static bool settles(const struct net_link *l)
{
	static const char *const kinds[] = { "veth", "bridge", "vlan", "macvlan", "ipvlan", "bond" };

	for (size_t i = 0; i < ARRAY_SIZE(kinds); i++)
		if (STREQ(l->kind, kinds[i]))
			return true;
	return false;
}

/* Its carrier is what it was told. */
static bool obeys(const struct net_link *l)
{
	return STREQ(l->kind, "dummy") || STREQ(l->kind, "tun");
}

static void say_byte(struct nl *n, const struct net_link *l, uint16_t type, const char *what)
{
	struct nlmsghdr *q = begin(n, l, what);

	if (q)
		net_link_copy(q, l->attr[type], 1);
	nl_end(n, q);
}

/* The kernel looks at a carrier that has changed some time later, and what its mode makes of that is another state than
 * what was set: it looks now. */
static void settle(struct nl *n, const struct net_link *l)
{
	struct ethtool_value v = { .cmd = ETHTOOL_GLINK };
	struct ifreq ifr = { .ifr_data = (void *)&v };

	snprintf(ifr.ifr_name, sizeof(ifr.ifr_name), "%s", l->name);
	(void)ioctl(n->fd, SIOCETHTOOL, &ifr); /* those that have no carrier need it not */
}

/* Down for a reason: those are told as they are to be said. */
static void say_proto_down(struct nl *n, const struct net_link *l)
{
	const struct nlattr *reason = l->attr[IFLA_PROTO_DOWN_REASON] ?
					      nl_nested(l->attr[IFLA_PROTO_DOWN_REASON], IFLA_PROTO_DOWN_REASON_VALUE) :
					      NULL;
	struct nlmsghdr *q = begin(n, l, "set down");
	struct nlattr *nest;

	if (q) {
		if (net_link_number(reason)) {
			nest = mnl_attr_nest_start(q, IFLA_PROTO_DOWN_REASON);
			net_link_copy(q, reason, 4);
			mnl_attr_nest_end(q, nest);
		}
		net_link_copy(q, l->attr[IFLA_PROTO_DOWN], 1);
	}
	nl_end(n, q);
}

static int set_state(struct nl *n, const struct net_link *l, struct err *e)
{
	const uint8_t mode = byte(l->attr[IFLA_LINKMODE]), state = byte(l->attr[IFLA_OPERSTATE]);

	if (mode) {
		settle(n, l);
		say_byte(n, l, IFLA_LINKMODE, "set the mode");
	}
	if (state == IF_OPER_DORMANT || state == IF_OPER_TESTING || (state == IF_OPER_UP && (mode || !settles(l))))
		say_byte(n, l, IFLA_OPERSTATE, "set the state");
	/* It may not be up any more, or the bond chooses by itself. */
	say_bond(n, l, IFLA_BOND_ACTIVE_SLAVE, EINVAL, EACCES);
	if (l->attr[IFLA_CARRIER] && !byte(l->attr[IFLA_CARRIER]) && obeys(l)) {
		say_byte(n, l, IFLA_CARRIER, "take the carrier");
		nl_ignore(n, EOPNOTSUPP);
	}
	/* Macvlans of the configuration are held so while the VPS comes (netns_inside_mute()). */
	if (byte(l->attr[IFLA_PROTO_DOWN]) && !STREQ(l->kind, "macvlan"))
		say_proto_down(n, l);
	return nl_talk_if_much(n, l->name, e);
}

int net_states_restore(struct nl *route, const struct net_walk *all, struct err *e)
{
	return for_each_link(route, all, set_state, e);
}
