/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Rules of nftables, in one transaction, and the connections that the kernel tracks. */
#include "checkpoint/netstate_internal.h"

#include "base/macro.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/netfilter/nf_conntrack_common.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter/nfnetlink_conntrack.h>
#include <stddef.h>
#include <string.h>
#include <sys/socket.h>

static void batch(struct nl *n, uint16_t type)
{
	struct nfgenmsg g = { .version = NFNETLINK_V0, .res_id = htons(NFNL_SUBSYS_NFTABLES) };

	nl_end(n, nl_begin(n, type, 0, &g, sizeof(g), "restore the rules"));
}

static void put_rule(struct nl *n, enum ckpt_net_part p, const struct nlmsghdr *m, uint32_t id)
{
	uint16_t flags = p == CKPT_NET_FILTER ? NLM_F_CREATE | NLM_F_APPEND : NLM_F_CREATE;
	struct nlmsghdr *q = nl_begin(n, net_parts[p].add, flags, mnl_nlmsg_get_payload(m),
				      sizeof(struct nfgenmsg), net_parts[p].name);
	const struct nlattr *a;

	if (q) {
		mnl_attr_for_each(a, m, sizeof(struct nfgenmsg))
		{
			mnl_attr_put(q, a->nla_type, mnl_attr_get_payload_len(a),
				     mnl_attr_get_payload(a));
		}
		/* The kernel wants one for the transaction; rules name their sets. */
		if (p == CKPT_NET_SET)
			mnl_attr_put_u32(q, NFTA_SET_ID, htonl(id));
	}
	nl_end(n, q);
}

static int restore_rules(struct nl *n, const struct net_walk *all, struct err *e)
{
	uint32_t id = 0;

	batch(n, NFNL_MSG_BATCH_BEGIN);
	for (enum ckpt_net_part p = CKPT_NET_TABLE; p <= CKPT_NET_FILTER; p++) {
		struct net_walk w = *all;
		const struct nlmsghdr *m;

		w.part = p;
		while ((m = net_next(&w)))
			put_rule(n, p, m, ++id);
	}
	batch(n, NFNL_MSG_BATCH_END);
	return id ? nl_talk(n, "nftables", NULL, NULL, e) : (n->count = 0, n->len = 0, 0);
}

/* Of an address and port on one side of a tuple. */
struct end {
	const void *ip;
	size_t len;
	const struct nlattr *port;
};

static void take_end(uint16_t what, const struct nlattr *a, bool source, struct end *r)
{
	uint16_t type = mnl_attr_get_type(a);
	size_t len = mnl_attr_get_payload_len(a);
	bool v4 = type == (source ? CTA_IP_V4_SRC : CTA_IP_V4_DST) && len == 4;
	bool v6 = type == (source ? CTA_IP_V6_SRC : CTA_IP_V6_DST) && len == 16;

	if (what == CTA_TUPLE_IP && (v4 || v6)) {
		r->ip = mnl_attr_get_payload(a);
		r->len = len;
	} else if (what == CTA_TUPLE_PROTO && len == 2 &&
		   type == (source ? CTA_PROTO_SRC_PORT : CTA_PROTO_DST_PORT)) {
		r->port = a;
	}
}

static struct end find_end(const struct nlattr *tuple, bool source)
{
	struct end r = { 0 };
	const struct nlattr *a, *b;

	mnl_attr_for_each_nested(a, tuple)
	{
		mnl_attr_for_each_nested(b, a)
		{
			take_end(mnl_attr_get_type(a), b, source, &r);
		}
	}
	return r;
}

/* Translated: the answer does not go, or come, where the question came from, or went. */
static void put_nat(struct nlmsghdr *q, uint16_t type, const struct end *from, const struct end *to)
{
	struct nlattr *nat, *proto;
	bool v4 = to->len == 4;

	if (!from->ip || !to->ip || from->len != to->len ||
	    (memcmp(from->ip, to->ip, to->len) == 0 &&
	     (!from->port || !to->port ||
	      mnl_attr_get_u16(from->port) == mnl_attr_get_u16(to->port))))
		return;
	nat = mnl_attr_nest_start(q, type);
	mnl_attr_put(q, v4 ? CTA_NAT_V4_MINIP : CTA_NAT_V6_MINIP, to->len, to->ip);
	mnl_attr_put(q, v4 ? CTA_NAT_V4_MAXIP : CTA_NAT_V6_MAXIP, to->len, to->ip);
	if (to->port) {
		proto = mnl_attr_nest_start(q, CTA_NAT_PROTO);
		mnl_attr_put_u16(q, CTA_PROTONAT_PORT_MIN, mnl_attr_get_u16(to->port));
		mnl_attr_put_u16(q, CTA_PROTONAT_PORT_MAX, mnl_attr_get_u16(to->port));
		mnl_attr_nest_end(q, proto);
	}
	mnl_attr_nest_end(q, nat);
}

static int restore_tracked(struct nl *n, const struct nlmsghdr *m, struct err *e)
{
	const uint32_t keep = IPS_SEEN_REPLY | IPS_ASSURED | IPS_CONFIRMED | IPS_FIXED_TIMEOUT;
	struct nlmsghdr *q =
		nl_begin(n, net_parts[CKPT_NET_TRACKED].add, NLM_F_CREATE | NLM_F_EXCL,
			 mnl_nlmsg_get_payload(m), sizeof(struct nfgenmsg), "track again");
	const struct nlattr *a, *orig = NULL, *reply = NULL;

	if (q) {
		mnl_attr_for_each(a, m, sizeof(struct nfgenmsg))
		{
			if (mnl_attr_get_type(a) == CTA_TUPLE_ORIG)
				orig = a;
			if (mnl_attr_get_type(a) == CTA_TUPLE_REPLY)
				reply = a;
			if (mnl_attr_get_type(a) == CTA_STATUS && mnl_attr_get_payload_len(a) == 4)
				mnl_attr_put_u32(q, CTA_STATUS,
						 htonl(ntohl(mnl_attr_get_u32(a)) & keep));
			else
				mnl_attr_put(q, a->nla_type, mnl_attr_get_payload_len(a),
					     mnl_attr_get_payload(a));
		}
		if (orig && reply) {
			struct end os = find_end(orig, true), od = find_end(orig, false),
				   rs = find_end(reply, true), rd = find_end(reply, false);

			put_nat(q, CTA_NAT_SRC, &os, &rd);
			put_nat(q, CTA_NAT_DST, &od, &rs);
		}
	}
	nl_end(n, q);
	nl_ignore(n, EEXIST);
	return nl_talk(n, "a connection", NULL, NULL, e);
}

int net_filter_restore(struct nl *filter, const struct net_walk *all, struct err *e)
{
	struct net_walk w = *all;
	const struct nlmsghdr *m;
	int r = restore_rules(filter, all, e);

	w.part = CKPT_NET_TRACKED;
	while (r == 0 && (m = net_next(&w)))
		r = restore_tracked(filter, m, e);
	return r;
}
