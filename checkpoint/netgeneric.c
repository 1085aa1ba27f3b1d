/* SPDX-License-Identifier: GPL-2.0-or-later */

/* What is set by generic netlink: addresses of multipath TCP, and what ethtool(8) sets. Tunnels of L2TP and FOU are found,
 * and refused. */
#include "checkpoint/netrare.h"

#include "base/macro.h"

#include <errno.h>
#include <linux/ethtool_netlink.h>
#include <linux/genetlink.h>
#include <linux/mptcp.h>

#define SUBFLOWS 2 /* that a new namespace has */

struct families {
	uint16_t mptcp, l2tp, fou, ethtool;
};

static int hear_family(const struct nlmsghdr *m, void *arg)
{
	struct families *f = arg;
	const struct nlattr *id = nl_attr(m, GENL_HDRLEN, CTRL_ATTR_FAMILY_ID), *name = nl_attr(m, GENL_HDRLEN, CTRL_ATTR_FAMILY_NAME);
	uint16_t *to = nl_attr_is(name, MPTCP_PM_NAME) ? &f->mptcp :
		       nl_attr_is(name, "l2tp")	       ? &f->l2tp :
		       nl_attr_is(name, "fou")	       ? &f->fou :
		       nl_attr_is(name, ETHTOOL_GENL_NAME) ? &f->ethtool :
							 NULL;

	if (to && id && mnl_attr_get_payload_len(id) == 2)
		*to = mnl_attr_get_u16(id);
	return 0;
}

/* All at once: to be asked for one by its name a kernel may load its module. */
static int find_families(struct nl *n, struct families *f, struct err *e)
{
	struct genlmsghdr g = { .cmd = CTRL_CMD_GETFAMILY, .version = 2 };

	nl_end(n, nl_begin(n, GENL_ID_CTRL, NLM_F_DUMP, &g, sizeof(g), "list"));
	return nl_talk(n, "families of netlink", hear_family, f, e);
}

static uint32_t number(const struct nlmsghdr *m, uint16_t type)
{
	const struct nlattr *a = nl_attr(m, GENL_HDRLEN, type);

	return a && mnl_attr_get_payload_len(a) == 4 ? mnl_attr_get_u32(a) : 0;
}

static int hear_limits(const struct nlmsghdr *m, void *arg)
{
	const struct net_rare *r = arg;

	if (number(m, MPTCP_PM_ATTR_RCV_ADD_ADDRS) == 0 && number(m, MPTCP_PM_ATTR_SUBFLOWS) == SUBFLOWS)
		return 0;
	return r->fn(CKPT_NET_PATHS, m, r->arg);
}

static int hear_endpoint(const struct nlmsghdr *m, void *arg)
{
	const struct net_rare *r = arg;
	const struct nlattr *a = nl_attr(m, GENL_HDRLEN, MPTCP_PM_ATTR_ADDR);
	const struct nlattr *flags = a ? nl_nested(a, MPTCP_PM_ADDR_ATTR_FLAGS) : NULL;

	/* Implicit: the kernel's own, of a connection. */
	if (!a || (flags && mnl_attr_get_payload_len(flags) == 4 && mnl_attr_get_u32(flags) & MPTCP_PM_ADDR_FLAG_IMPLICIT))
		return 0;
	return r->fn(CKPT_NET_ENDPOINT, m, r->arg);
}

static int ask(struct nl *n, uint16_t family, uint8_t cmd, uint16_t flags, nl_data_fn fn, void *arg, struct err *e)
{
	struct genlmsghdr g = { .cmd = cmd, .version = 1 };

	nl_end(n, nl_begin(n, family, flags, &g, sizeof(g), "list"));
	nl_ignore(n, EOPNOTSUPP);
	return nl_talk(n, "what generic netlink sets", fn, arg, e);
}

static int hear_any(const struct nlmsghdr *m, void *arg)
{
	(void)m;
	*(bool *)arg = true;
	return 0;
}

static int refuse(struct nl *n, uint16_t family, uint8_t cmd, const char *what, struct err *e)
{
	bool any = false;
	int r = family ? ask(n, family, cmd, NLM_F_DUMP, hear_any, &any, e) : 0;

	return r == 0 && any ? err_set(e, ERR_UNSUPPORTED, "the VPS's network has %s, which cannot be saved yet", what) : r;
}

int net_generic_collect(const struct net_rare *r, struct err *e)
{
	struct nl *n = r->generic;
	struct families f = { 0 };
	void *arg = (void *)(uintptr_t)r;
	int done = find_families(n, &f, e);

	if (done == 0 && f.mptcp)
		done = ask(n, f.mptcp, MPTCP_PM_CMD_GET_LIMITS, 0, hear_limits, arg, e);
	if (done == 0 && f.mptcp)
		done = ask(n, f.mptcp, MPTCP_PM_CMD_GET_ADDR, NLM_F_DUMP, hear_endpoint, arg, e);
	if (done == 0)
		done = refuse(n, f.l2tp, 4 /* L2TP_CMD_TUNNEL_GET */, "tunnels of L2TP", e);
	if (done == 0)
		done = refuse(n, f.fou, 3 /* FOU_CMD_GET */, "ports of FOU", e);
	return done == 0 && f.ethtool ? net_ethtool_collect(r, f.ethtool, e) : done;
}

int net_generic_prepare(struct nl *generic, struct err *e)
{
	struct families f = { 0 };
	int r = find_families(generic, &f, e);

	return r == 0 && f.ethtool ? net_ethtool_prepare(generic, f.ethtool, e) : r;
}

static void say(struct nl *n, const struct net_walk *all, enum ckpt_net_part p, uint16_t family, uint8_t cmd, int ignore)
{
	struct genlmsghdr g = { .cmd = cmd, .version = 1 };
	struct net_walk w = *all;
	const struct nlmsghdr *m;
	const struct nlattr *a;

	w.part = p;
	while ((m = net_next(&w))) {
		struct nlmsghdr *q = nl_begin(n, family, 0, &g, sizeof(g), "restore");

		if (q)
			mnl_attr_for_each(a, m, GENL_HDRLEN)
				mnl_attr_put(q, a->nla_type, mnl_attr_get_payload_len(a), mnl_attr_get_payload(a));
		nl_end(n, q);
		if (ignore)
			nl_ignore(n, ignore);
	}
}

static int restore_paths(struct nl *n, uint16_t mptcp, const struct net_walk *all, struct err *e)
{
	if (!net_rare_has(all, CKPT_NET_PATHS) && !net_rare_has(all, CKPT_NET_ENDPOINT))
		return 0;
	if (!mptcp)
		return err_set(e, ERR_UNSUPPORTED, "the VPS has addresses for multipath TCP, which this host's kernel has not");
	say(n, all, CKPT_NET_PATHS, mptcp, MPTCP_PM_CMD_SET_LIMITS, 0);
	say(n, all, CKPT_NET_ENDPOINT, mptcp, MPTCP_PM_CMD_ADD_ADDR, EEXIST);
	return nl_talk(n, "addresses of multipath TCP", NULL, NULL, e);
}

static int restore_features(struct nl *n, uint16_t ethtool, const struct net_walk *all, struct err *e)
{
	if (!net_rare_has(all, CKPT_NET_FEATURES) && !net_rare_has(all, CKPT_NET_CHANNELS))
		return 0;
	if (!ethtool)
		return err_set(e, ERR_UNSUPPORTED, "the VPS's links have features set, which this host's kernel cannot");
	return net_ethtool_restore(n, ethtool, all, e);
}

int net_generic_restore(const struct net_walk *all, struct err *e)
{
	static const enum ckpt_net_part parts[] = { CKPT_NET_PATHS, CKPT_NET_ENDPOINT, CKPT_NET_FEATURES,
						    CKPT_NET_CHANNELS };
	cleanup_nl struct nl n = NL_INIT;
	struct families f = { 0 };
	bool any = false;
	int r;

	for (size_t i = 0; i < ARRAY_SIZE(parts); i++)
		any |= net_rare_has(all, parts[i]);
	if (!any)
		return 0;
	r = nl_open(&n, NETLINK_GENERIC, -1, e);
	if (r == 0)
		r = find_families(&n, &f, e);
	if (r == 0)
		r = restore_paths(&n, f.mptcp, all, e);
	return r == 0 ? restore_features(&n, f.ethtool, all, e) : r;
}
