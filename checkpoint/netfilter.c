/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Rules of nftables, in one transaction, and the connections that the kernel tracks. */
#include "checkpoint/netstate_internal.h"

#include "base/macro.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/if_ether.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_conntrack_common.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter/nfnetlink_conntrack.h>
#include <netinet/ip.h>
#include <netinet/ip6.h>
#include <stddef.h>
#include <string.h>
#include <sys/socket.h>

static void batch(struct nl *n, uint16_t type)
{
	struct nfgenmsg g = { .version = NFNETLINK_V0, .res_id = htons(NFNL_SUBSYS_NFTABLES) };

	nl_end(n, nl_begin(n, type, 0, &g, sizeof(g), "restore the rules"));
}

static bool take_u32(const struct nlattr *nest, uint16_t type, uint32_t *ret)
{
	const struct nlattr *a = nest ? nl_nested(nest, type) : NULL;

	if (!a || mnl_attr_get_payload_len(a) != 4)
		return false;
	*ret = ntohl(mnl_attr_get_u32(a));
	return true;
}

/* Where a packet's protocol is; of a frame that is the one of what is in it. */
struct protocol {
	uint32_t key, base, offset, len;
};

static struct protocol protocol_of(uint8_t family)
{
	if (family == NFPROTO_BRIDGE)
		return (struct protocol){ NFT_META_PROTOCOL, NFT_PAYLOAD_LL_HEADER, offsetof(struct ethhdr, h_proto), 2 };
	return (struct protocol){ NFT_META_L4PROTO, NFT_PAYLOAD_NETWORK_HEADER,
				  family == NFPROTO_IPV6 ? offsetof(struct ip6_hdr, ip6_nxt) : offsetof(struct iphdr, protocol), 1 };
}

static bool is_loaded(const struct nlattr *name, const struct nlattr *data, const struct protocol *p, uint32_t *reg)
{
	uint32_t base, offset, len, key;

	if (nl_attr_is(name, "meta"))
		return take_u32(data, NFTA_META_DREG, reg) && take_u32(data, NFTA_META_KEY, &key) && key == p->key;
	return nl_attr_is(name, "payload") && take_u32(data, NFTA_PAYLOAD_DREG, reg) &&
	       take_u32(data, NFTA_PAYLOAD_BASE, &base) && take_u32(data, NFTA_PAYLOAD_OFFSET, &offset) &&
	       take_u32(data, NFTA_PAYLOAD_LEN, &len) && base == p->base && len == p->len && offset == p->offset;
}

/* A comparison of that register with a number. */
static bool is_compared(const struct nlattr *name, const struct nlattr *data, const struct protocol *p,
			uint32_t reg, uint16_t *ret, uint32_t *flags)
{
	const struct nlattr *value = data ? nl_nested(data, NFTA_CMP_DATA) : NULL;
	uint32_t from, op;

	value = value ? nl_nested(value, NFTA_DATA_VALUE) : NULL;
	if (!nl_attr_is(name, "cmp") || !value || mnl_attr_get_payload_len(value) != p->len || !take_u32(data, NFTA_CMP_SREG, &from) ||
	    !take_u32(data, NFTA_CMP_OP, &op) || from != reg || (op != NFT_CMP_EQ && op != NFT_CMP_NEQ))
		return false;
	/* The one of a frame as it stands there, as ebtables-nft says it. */
	*ret = p->len == 1 ? mnl_attr_get_u8(value) : mnl_attr_get_u16(value);
	*flags = op == NFT_CMP_NEQ ? NFT_RULE_COMPAT_F_INV : 0;
	return true;
}

/* Matches and targets of iptables(8) ask the rule for which protocol it is. The kernel does not tell what it was told of
 * that (net/netfilter/nft_compat.c; iptables-nft says it with each): the rule compares it before. */
static void put_compat(struct nlmsghdr *q, const struct nlmsghdr *m)
{
	const struct nfgenmsg *g = mnl_nlmsg_get_payload(m);
	const struct nlattr *a, *list = nl_attr(m, sizeof(*g), NFTA_RULE_EXPRESSIONS);
	const struct protocol p = protocol_of(g->nfgen_family);
	bool loaded = false, has = false, compared = false;
	uint32_t reg = 0, flags = 0;
	struct nlattr *nest;
	uint16_t protocol = 0;

	if (!list || nl_attr(m, sizeof(*g), NFTA_RULE_COMPAT))
		return;
	mnl_attr_for_each_nested(a, list)
	{
		const struct nlattr *name = nl_nested(a, NFTA_EXPR_NAME), *data = nl_nested(a, NFTA_EXPR_DATA);

		has |= nl_attr_is(name, "match") || nl_attr_is(name, "target");
		if (!compared && loaded)
			compared = is_compared(name, data, &p, reg, &protocol, &flags);
		loaded = is_loaded(name, data, &p, &reg);
	}
	if (!has || !compared)
		return;
	nest = mnl_attr_nest_start(q, NFTA_RULE_COMPAT);
	mnl_attr_put_u32(q, NFTA_RULE_COMPAT_PROTO, htonl(protocol));
	mnl_attr_put_u32(q, NFTA_RULE_COMPAT_FLAGS, htonl(flags));
	mnl_attr_nest_end(q, nest);
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
		if (p == CKPT_NET_FILTER)
			put_compat(q, m);
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
