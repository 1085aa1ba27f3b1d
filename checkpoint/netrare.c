/* SPDX-License-Identifier: GPL-2.0-or-later */

/* What a network namespace can have and few do. */
#include "checkpoint/netrare.h"
#include "checkpoint/netlinks.h"

#include "base/fd.h"
#include "base/macro.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fib_rules.h>
#include <linux/if_addrlabel.h>
#include <linux/if_bridge.h>
#include <linux/if_link.h>
#include <linux/neighbour.h>
#include <linux/rtnetlink.h>
#include <stdlib.h>
#include <sys/utsname.h>
#include <unistd.h>

#define FAMILY_IPMR 128 /* RTNL_FAMILY_* */
#define FAMILY_IP6MR 129

static int refuse(const char *what, struct err *e)
{
	return err_set(e, ERR_UNSUPPORTED, "the VPS's network has %s, which cannot be saved yet", what);
}

/* That for all, which each namespace has. */
static bool is_usual_rule(const struct nlmsghdr *m)
{
	const struct nlattr *a = nl_attr(m, sizeof(struct fib_rule_hdr), FRA_PRIORITY);

	return a && mnl_attr_get_payload_len(a) == 4 && mnl_attr_get_u32(a) == 0x7fff;
}

static int refuse_link(const struct nlmsghdr *m, struct err *e)
{
	const struct nlattr *xdp;
	struct br_boolopt_multi on;
	struct net_link l;

	net_link_read(m, &l);
	xdp = l.attr[IFLA_XDP] ? nl_nested(l.attr[IFLA_XDP], IFLA_XDP_ATTACHED) : NULL;
	if (xdp && mnl_attr_get_payload_len(xdp) && mnl_attr_get_u8(xdp))
		return refuse("a program at a link (XDP)", e);
	if (STREQ(l.kind, "bridge") && l.data) {
		const struct nlattr *a = nl_nested(l.data, IFLA_BR_MULTI_BOOLOPT);

		if (a && mnl_attr_get_payload_len(a) == sizeof(on)) {
			memcpy(&on, mnl_attr_get_payload(a), sizeof(on));
			if (on.optval & (1u << 1 | 1u << 2)) /* BR_BOOLOPT_MCAST_VLAN_SNOOPING, BR_BOOLOPT_MST_ENABLE */
				return refuse("a bridge that treats groups or trees by VLAN", e);
		}
	}
	return 0;
}

bool net_rare_is_foreign(enum ckpt_net_part p, const struct nlmsghdr *m)
{
	const struct rtmsg *rt = mnl_nlmsg_get_payload(m);

	if (p == CKPT_NET_ROUTE)
		return rt->rtm_family == AF_MPLS || rt->rtm_family == FAMILY_IPMR || rt->rtm_family == FAMILY_IP6MR;
	return p == CKPT_NET_RULE && (rt->rtm_family == FAMILY_IPMR || rt->rtm_family == FAMILY_IP6MR) && !is_usual_rule(m);
}

int net_rare_refuse_message(enum ckpt_net_part p, const struct nlmsghdr *m, struct err *e)
{
	const struct rtmsg *rt = mnl_nlmsg_get_payload(m);

	if (p == CKPT_NET_LINK)
		return refuse_link(m, e);
	if (net_rare_is_foreign(p, m))
		return refuse(rt->rtm_family == AF_MPLS ? "routes of MPLS" : "multicast routing", e);
	return 0;
}

bool net_rare_is_kept(enum ckpt_net_part p, const struct nlmsghdr *m)
{
	return p != CKPT_NET_FORWARDING || net_bridge_is_kept(m);
}

void net_rare_settle(enum ckpt_net_part p, const struct nlmsghdr *m, struct nlmsghdr *out)
{
	if (p == CKPT_NET_FORWARDING)
		net_bridge_settle(m, out);
	if (p == CKPT_NET_LABEL)
		((struct ifaddrlblmsg *)mnl_nlmsg_get_payload(out))->ifal_seq = 0;
}

bool net_rare_is_removable(enum ckpt_net_part p, const struct nlmsghdr *m)
{
	const struct ndmsg *nd = mnl_nlmsg_get_payload(m);

	if (p != CKPT_NET_FORWARDING)
		return true;
	/* A tunnel leads where it was told when it was made; to a port an address of its own belongs. */
	return nd->ndm_flags & NTF_SELF ? nl_attr(m, sizeof(*nd), NDA_DST) || nl_attr(m, sizeof(*nd), NDA_NH_ID) :
					  !(nd->ndm_state & NUD_PERMANENT);
}

bool net_rare_has(const struct net_walk *all, enum ckpt_net_part p)
{
	struct net_walk w = *all;

	w.part = p;
	return net_next(&w) != NULL;
}

void net_rare_say_one(struct nl *n, enum ckpt_net_part p, const struct nlmsghdr *m, uint16_t flags, int ignore)
{
	const struct net_part *part = &net_parts[p];
	struct nlmsghdr *q = nl_begin(n, part->add, flags, mnl_nlmsg_get_payload(m), part->fixed, "restore");
	const struct nlattr *a;

	if (q)
		mnl_attr_for_each(a, m, part->fixed)
			mnl_attr_put(q, a->nla_type, mnl_attr_get_payload_len(a), mnl_attr_get_payload(a));
	nl_end(n, q);
	if (ignore)
		nl_ignore(n, ignore);
}

int net_rare_say(struct nl *n, const struct net_walk *all, enum ckpt_net_part p, uint16_t flags, int ignore, struct err *e)
{
	struct net_walk w = *all;
	const struct nlmsghdr *m;
	int r = 0;

	w.part = p;
	while (r == 0 && (m = net_next(&w))) {
		net_rare_say_one(n, p, m, flags, ignore);
		r = nl_talk_if_much(n, net_parts[p].name, e);
	}
	return r;
}

/* What each namespace begins with (Linux 6.18, RFC 6724): where it is all so, nothing is saved. */
static const struct {
	uint8_t bits, label, first[4], middle, last;
} usual_labels[] = {
	{ 0, 1, { 0 }, 0, 0 },
	{ 7, 5, { 0xfc }, 0, 0 },
	{ 10, 11, { 0xfe, 0xc0 }, 0, 0 },
	{ 16, 2, { 0x20, 0x02 }, 0, 0 },
	{ 16, 12, { 0x3f, 0xfe }, 0, 0 },
	{ 32, 6, { 0x20, 0x01 }, 0, 0 },
	{ 28, 7, { 0x20, 0x01, 0x00, 0x10 }, 0, 0 },
	{ 96, 4, { 0 }, 0xff, 0 },
	{ 96, 3, { 0 }, 0, 0 },
	{ 128, 0, { 0 }, 0, 1 },
};

static bool is_usual_label(const struct nlmsghdr *m)
{
	const struct ifaddrlblmsg *l = mnl_nlmsg_get_payload(m);
	const struct nlattr *address = nl_attr(m, sizeof(*l), IFAL_ADDRESS), *label = nl_attr(m, sizeof(*l), IFAL_LABEL);

	if (!address || mnl_attr_get_payload_len(address) != 16 || !label || mnl_attr_get_payload_len(label) != 4 || l->ifal_index)
		return false;
	for (size_t i = 0; i < ARRAY_SIZE(usual_labels); i++) {
		uint8_t a[16] = { 0 };

		memcpy(a, usual_labels[i].first, 4);
		a[10] = a[11] = usual_labels[i].middle;
		a[15] = usual_labels[i].last;
		if (l->ifal_prefixlen == usual_labels[i].bits && mnl_attr_get_u32(label) == usual_labels[i].label &&
		    memcmp(a, mnl_attr_get_payload(address), sizeof(a)) == 0)
			return true;
	}
	return false;
}

struct labels {
	size_t usual, others;
};

static int count_label(enum ckpt_net_part p, const struct nlmsghdr *m, void *arg)
{
	struct labels *l = arg;

	(void)p;
	if (is_usual_label(m))
		l->usual++;
	else
		l->others++;
	return 0;
}

static int collect_labels(const struct net_rare *r, struct err *e)
{
	struct labels l = { 0, 0 };
	int n = net_list(r->route, r->filter, CKPT_NET_LABEL, count_label, &l, e);

	if (n < 0 || (!l.others && (l.usual == ARRAY_SIZE(usual_labels) || !l.usual)))
		return n;
	return net_list(r->route, r->filter, CKPT_NET_LABEL, r->fn, r->arg, e);
}

/* In the list of what is part of the kernel, "kernel/net/netfilter/NAME.ko" a line. */
static bool is_built_in(const char *module)
{
	static char *list;
	static bool has_looked;
	char path[128], name[64];
	struct utsname u;

	if (!has_looked && uname(&u) == 0) {
		snprintf(path, sizeof(path), "/lib/modules/%s/modules.builtin", u.release);
		fd_read_file_at(AT_FDCWD, path, MIB(1), &list, NULL);
	}
	has_looked = true;
	snprintf(name, sizeof(name), "/%s.ko", module);
	return !list || strstr(list, name);
}

bool net_rare_has_module(const char *module)
{
	char path[128];

	snprintf(path, sizeof(path), "/sys/module/%s", module);
	return access(path, F_OK) == 0 || access("/proc/modules", F_OK) < 0 || is_built_in(module);
}

int net_rare_collect(const struct net_rare *r, struct err *e)
{
	static const struct {
		enum ckpt_net_part part;
		const char *module;
	} plain[] = { { CKPT_NET_TIMEOUT, "nfnetlink_cttimeout" }, { CKPT_NET_ACCOUNT, "nfnetlink_acct" } };
	int n = net_bridge_collect(r, e);

	if (n == 0)
		n = collect_labels(r, e);
	for (size_t i = 0; n == 0 && i < ARRAY_SIZE(plain); i++)
		if (net_rare_has_module(plain[i].module))
			n = net_list(r->route, r->filter, plain[i].part, r->fn, r->arg, e);
	if (n == 0 && net_rare_has_module("ip_set"))
		n = net_sets_collect(r, e);
	if (n == 0 && net_rare_has(r->links, CKPT_NET_TRACKED))
		n = net_list(r->route, r->filter, CKPT_NET_EXPECTED, r->fn, r->arg, e);
	if (n == 0)
		n = net_xfrm_collect(r, e);
	return n == 0 ? net_generic_collect(r, e) : n;
}

int net_rare_restore(struct nl *route, struct nl *filter, const struct net_walk *all, struct err *e)
{
	int r = net_bridge_restore(route, all, e);

	if (r == 0 && net_rare_has(all, CKPT_NET_LABEL))
		r = net_sync(route, CKPT_NET_LABEL, all, e);
	if (r == 0) {
		r = net_rare_say(filter, all, CKPT_NET_TIMEOUT, NLM_F_CREATE, EEXIST, e);
		if (r == 0)
			r = net_rare_say(filter, all, CKPT_NET_ACCOUNT, NLM_F_CREATE, EEXIST, e);
		r = r < 0 ? r : nl_talk(filter, "netfilter", NULL, NULL, e);
	}
	if (r == 0)
		r = net_sets_restore(filter, all, e);
	if (r == 0)
		r = net_xfrm_restore(all, e);
	if (r == 0)
		r = net_heard_restore(all, e);
	return r == 0 ? net_generic_restore(all, e) : r;
}

/* Once those are there that they belong to. Some may be gone by now, or are of a helper that this kernel has not: who
 * waits for one connects again. */
int net_expected_restore(struct nl *filter, const struct net_walk *all, struct err *e)
{
	struct net_walk w = *all;
	const struct nlmsghdr *m;
	struct err ignored;
	int r = 0;

	w.part = CKPT_NET_EXPECTED;
	while (r == 0 && (m = net_next(&w))) {
		net_rare_say_one(filter, CKPT_NET_EXPECTED, m, NLM_F_CREATE, ENOENT);
		if (nl_talk(filter, "netfilter", NULL, NULL, &ignored) == -ENOMEM)
			r = err_code(e, -ENOMEM, "restore the network");
	}
	return r;
}
