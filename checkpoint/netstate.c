/* SPDX-License-Identifier: GPL-2.0-or-later */

/* What a network namespace has, listed. */
#include "checkpoint/netlinks.h"
#include "checkpoint/netrare.h"

#include "base/macro.h"
#include "netns/netns.h"

#include <errno.h>
#include <linux/fib_rules.h>
#include <linux/genetlink.h>
#include <linux/if_addrlabel.h>
#include <linux/if_bridge.h>
#include <linux/if_link.h>
#include <linux/netfilter/ipset/ip_set.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter/nfnetlink_acct.h>
#include <linux/netfilter/nfnetlink_conntrack.h>
#include <linux/netfilter/nfnetlink_cttimeout.h>
#include <linux/nexthop.h>
#include <linux/rtnetlink.h>
#include <linux/xfrm.h>

#define BIT(n) ((uint64_t)1 << (n))
#define NFT(msg) (NFNL_SUBSYS_NFTABLES << 8 | (msg))
#define CT(msg) (NFNL_SUBSYS_CTNETLINK << 8 | (msg))
#define EXPECTED(msg) (NFNL_SUBSYS_CTNETLINK_EXP << 8 | (msg))
#define TIMEOUT(msg) (NFNL_SUBSYS_CTNETLINK_TIMEOUT << 8 | (msg))
#define ACCOUNT(msg) (NFNL_SUBSYS_ACCT << 8 | (msg))
#define IPSET(msg) (NFNL_SUBSYS_IPSET << 8 | (msg))

const struct net_part net_parts[CKPT_NET_PART_COUNT] = {
	[CKPT_NET_LINK] = { "link", NETLINK_ROUTE, RTM_GETLINK, RTM_NEWLINK, RTM_DELLINK, sizeof(struct ifinfomsg), 0 },
	[CKPT_NET_ADDRESS] = { "address", NETLINK_ROUTE, RTM_GETADDR, RTM_NEWADDR, RTM_DELADDR,
			       sizeof(struct ifaddrmsg), 0 },
	[CKPT_NET_NEIGHBOUR] = { "neighbour", NETLINK_ROUTE, RTM_GETNEIGH, RTM_NEWNEIGH, RTM_DELNEIGH,
				 sizeof(struct ndmsg), BIT(NDA_CACHEINFO) | BIT(NDA_PROBES) },
	[CKPT_NET_ROUTE] = { "route", NETLINK_ROUTE, RTM_GETROUTE, RTM_NEWROUTE, RTM_DELROUTE, sizeof(struct rtmsg),
			     BIT(RTA_CACHEINFO) },
	[CKPT_NET_RULE] = { "rule", NETLINK_ROUTE, RTM_GETRULE, RTM_NEWRULE, RTM_DELRULE, sizeof(struct fib_rule_hdr),
			    0 },
	[CKPT_NET_TABLE] = { "table", NETLINK_NETFILTER, NFT(NFT_MSG_GETTABLE), NFT(NFT_MSG_NEWTABLE), 0,
			     sizeof(struct nfgenmsg), BIT(NFTA_TABLE_USE) | BIT(NFTA_TABLE_HANDLE) },
	[CKPT_NET_CHAIN] = { "chain", NETLINK_NETFILTER, NFT(NFT_MSG_GETCHAIN), NFT(NFT_MSG_NEWCHAIN), 0,
			     sizeof(struct nfgenmsg), BIT(NFTA_CHAIN_HANDLE) | BIT(NFTA_CHAIN_USE) },
	[CKPT_NET_SET] = { "set", NETLINK_NETFILTER, NFT(NFT_MSG_GETSET), NFT(NFT_MSG_NEWSET), 0,
			   sizeof(struct nfgenmsg), BIT(NFTA_SET_HANDLE) | BIT(19) | BIT(20) /* type and count, 6.16 */ },
	[CKPT_NET_OBJECT] = { "object", NETLINK_NETFILTER, NFT(NFT_MSG_GETOBJ), NFT(NFT_MSG_NEWOBJ), 0,
			      sizeof(struct nfgenmsg), BIT(NFTA_OBJ_USE) | BIT(NFTA_OBJ_HANDLE) },
	[CKPT_NET_FLOWTABLE] = { "flowtable", NETLINK_NETFILTER, NFT(NFT_MSG_GETFLOWTABLE), NFT(NFT_MSG_NEWFLOWTABLE), 0,
				 sizeof(struct nfgenmsg), BIT(NFTA_FLOWTABLE_USE) | BIT(NFTA_FLOWTABLE_HANDLE) },
	[CKPT_NET_ELEMENT] = { "element", NETLINK_NETFILTER, NFT(NFT_MSG_GETSETELEM), NFT(NFT_MSG_NEWSETELEM), 0,
			       sizeof(struct nfgenmsg), 0 },
	[CKPT_NET_FILTER] = { "rule", NETLINK_NETFILTER, NFT(NFT_MSG_GETRULE), NFT(NFT_MSG_NEWRULE), 0,
			      sizeof(struct nfgenmsg), BIT(NFTA_RULE_HANDLE) | BIT(NFTA_RULE_POSITION) },
	[CKPT_NET_TRACKED] = { "tracked connection", NETLINK_NETFILTER, CT(IPCTNL_MSG_CT_GET), CT(IPCTNL_MSG_CT_NEW), 0,
			       sizeof(struct nfgenmsg),
			       BIT(CTA_COUNTERS_ORIG) | BIT(CTA_COUNTERS_REPLY) | BIT(CTA_USE) | BIT(CTA_ID) |
			       BIT(CTA_SECMARK) | BIT(CTA_SECCTX) | BIT(CTA_TIMESTAMP) },
	[CKPT_NET_NEXTHOP] = { "nexthop", NETLINK_ROUTE, RTM_GETNEXTHOP, RTM_NEWNEXTHOP, RTM_DELNEXTHOP,
			       sizeof(struct nhmsg), ~(BIT(NHA_RES_BUCKET) - 1) /* statistics, Linux 6.9 */ },
	[CKPT_NET_DISCIPLINE] = { "queueing discipline", NETLINK_ROUTE, RTM_GETQDISC, RTM_NEWQDISC, RTM_DELQDISC,
				  sizeof(struct tcmsg),
				  ~(BIT(TCA_KIND) | BIT(TCA_OPTIONS) | BIT(TCA_STAB) | BIT(TCA_INGRESS_BLOCK) | BIT(TCA_EGRESS_BLOCK)) },
	/* Its family has another number on each machine: in an image the first one. */
	[CKPT_NET_WIREGUARD] = { "interface of WireGuard", NETLINK_GENERIC, 0, NLMSG_MIN_TYPE, 0, GENL_HDRLEN, 0 },
	[CKPT_NET_CLASS] = { "class", NETLINK_ROUTE, RTM_GETTCLASS, RTM_NEWTCLASS, RTM_DELTCLASS, sizeof(struct tcmsg),
			     ~(BIT(TCA_KIND) | BIT(TCA_OPTIONS)) },
	[CKPT_NET_CLASSIFIER] = { "filter", NETLINK_ROUTE, RTM_GETTFILTER, RTM_NEWTFILTER, RTM_DELTFILTER,
				  sizeof(struct tcmsg), ~(BIT(TCA_KIND) | BIT(TCA_OPTIONS) | BIT(TCA_CHAIN)) },
	[CKPT_NET_VLAN] = { "VLAN", NETLINK_ROUTE, RTM_GETVLAN, RTM_NEWVLAN, RTM_DELVLAN, sizeof(struct br_vlan_msg), 0,
			    AF_BRIDGE },
	[CKPT_NET_TUNNEL] = { "tunnelled network", NETLINK_ROUTE, RTM_GETTUNNEL, RTM_NEWTUNNEL, RTM_DELTUNNEL,
			      sizeof(struct tunnel_msg), 0, AF_BRIDGE },
	[CKPT_NET_FORWARDING] = { "forwarding entry", NETLINK_ROUTE, RTM_GETNEIGH, RTM_NEWNEIGH, RTM_DELNEIGH,
				  sizeof(struct ndmsg),
				  BIT(NDA_CACHEINFO) | BIT(NDA_PROBES) | BIT(NDA_MASTER) | BIT(NDA_LINK_NETNSID), AF_BRIDGE },
	[CKPT_NET_GROUP] = { "group", NETLINK_ROUTE, RTM_GETMDB, RTM_NEWMDB, RTM_DELMDB, sizeof(struct br_port_msg), 0,
			     AF_BRIDGE },
	[CKPT_NET_LABEL] = { "address label", NETLINK_ROUTE, RTM_GETADDRLABEL, RTM_NEWADDRLABEL, RTM_DELADDRLABEL,
			     sizeof(struct ifaddrlblmsg), 0, AF_INET6 },
	[CKPT_NET_IPSET] = { "set", NETLINK_NETFILTER, IPSET(IPSET_CMD_LIST), IPSET(IPSET_CMD_CREATE), 0,
			     sizeof(struct nfgenmsg), 0, 0 },
	[CKPT_NET_IPSET_MEMBERS] = { "member of a set", NETLINK_NETFILTER, IPSET(IPSET_CMD_LIST), IPSET(IPSET_CMD_ADD), 0,
				     sizeof(struct nfgenmsg), 0, 0 },
	[CKPT_NET_TIMEOUT] = { "timeout policy", NETLINK_NETFILTER, TIMEOUT(IPCTNL_MSG_TIMEOUT_GET),
			       TIMEOUT(IPCTNL_MSG_TIMEOUT_NEW), 0, sizeof(struct nfgenmsg), BIT(CTA_TIMEOUT_USE), 0 },
	[CKPT_NET_ACCOUNT] = { "counter", NETLINK_NETFILTER, ACCOUNT(NFNL_MSG_ACCT_GET), ACCOUNT(NFNL_MSG_ACCT_NEW), 0,
			       sizeof(struct nfgenmsg), BIT(NFACCT_USE), 0 },
	[CKPT_NET_SA] = { "association of IPsec", NETLINK_XFRM, XFRM_MSG_GETSA, XFRM_MSG_NEWSA, 0,
			  sizeof(struct xfrm_usersa_info), BIT(XFRMA_LASTUSED) | BIT(XFRMA_PAD), 0 },
	[CKPT_NET_POLICY] = { "policy of IPsec", NETLINK_XFRM, XFRM_MSG_GETPOLICY, XFRM_MSG_NEWPOLICY, 0,
			      sizeof(struct xfrm_userpolicy_info), BIT(XFRMA_LASTUSED) | BIT(XFRMA_PAD), 0 },
	[CKPT_NET_POLICY_DEFAULT] = { "default of IPsec", NETLINK_XFRM, XFRM_MSG_GETDEFAULT, XFRM_MSG_SETDEFAULT, 0,
				      sizeof(struct xfrm_userpolicy_default), 0, 0 },
	[CKPT_NET_POLICY_HASH] = { "threshold of IPsec", NETLINK_XFRM, XFRM_MSG_GETSPDINFO, XFRM_MSG_NEWSPDINFO, 0,
				   sizeof(uint32_t), BIT(XFRMA_SPD_INFO) | BIT(XFRMA_SPD_HINFO), 0 },
	/* The family's number is looked up by its name. */
	[CKPT_NET_PATHS] = { "limit of multipath TCP", NETLINK_GENERIC, 0, NLMSG_MIN_TYPE, 0, GENL_HDRLEN, 0, 0 },
	[CKPT_NET_ENDPOINT] = { "endpoint of multipath TCP", NETLINK_GENERIC, 0, NLMSG_MIN_TYPE, 0, GENL_HDRLEN, 0, 0 },
	[CKPT_NET_FEATURES] = { "feature of a link", NETLINK_GENERIC, 0, NLMSG_MIN_TYPE, 0, GENL_HDRLEN, 0, 0 },
	[CKPT_NET_CHANNELS] = { "queue of a link", NETLINK_GENERIC, 0, NLMSG_MIN_TYPE, 0, GENL_HDRLEN, 0, 0 },
	/* Said otherwise: with NDA_LLADDR. */
	[CKPT_NET_HEARD] = { "link-layer group", NETLINK_ROUTE, 0, RTM_NEWNEIGH, 0, sizeof(struct ndmsg), 0, 0 },
	[CKPT_NET_EXPECTED] = { "expected connection", NETLINK_NETFILTER, EXPECTED(IPCTNL_MSG_EXP_GET),
				EXPECTED(IPCTNL_MSG_EXP_NEW), 0, sizeof(struct nfgenmsg), BIT(CTA_EXPECT_ID), 0 },
	/* The other namespace's number in the image is in place of an fd. */
	[CKPT_NET_NUMBER] = { "number of a network namespace", NETLINK_ROUTE, RTM_GETNSID, RTM_NEWNSID, 0,
			      sizeof(struct rtgenmsg), 0, 0 },
};

static bool is_lock(enum ckpt_net_part p, const struct nlmsghdr *m)
{
	const struct nlattr *a;

	/* The table's name is the first attribute of all but tracked connections. */
	if (p < CKPT_NET_TABLE || p >= CKPT_NET_TRACKED)
		return false;
	mnl_attr_for_each(a, m, sizeof(struct nfgenmsg))
		if (mnl_attr_get_type(a) == 1 && mnl_attr_get_payload_len(a) > sizeof(NETNS_LOCK_PREFIX))
			return strncmp(mnl_attr_get_str(a), NETNS_LOCK_PREFIX, sizeof(NETNS_LOCK_PREFIX) - 1) == 0;
	return false;
}

/* One that is never asked for (NUD_NOARP): the kernel has such, too, of groups, and where links have no addresses. */
static bool is_set_neighbour(const struct nlmsghdr *m)
{
	const struct ndmsg *nd = mnl_nlmsg_get_payload(m);
	const struct nlattr *mac = nl_attr(m, sizeof(*nd), NDA_LLADDR), *to = nl_attr(m, sizeof(*nd), NDA_DST);
	static const uint8_t none[6];
	const uint8_t *b;

	if (!(nd->ndm_state & NUD_NOARP) || !mac || mnl_attr_get_payload_len(mac) != sizeof(none) || !to)
		return false;
	b = mnl_attr_get_payload(to);
	if (mnl_attr_get_payload_len(to) == 4 ? (b[0] & 0xf0) == 0xe0 : b[0] == 0xff)
		return false;
	b = mnl_attr_get_payload(mac);
	return !(b[0] & 1) && memcmp(b, none, sizeof(none)) != 0;
}

bool net_is_kept(enum ckpt_net_part p, const struct nlmsghdr *m)
{
	const struct rtmsg *rt = mnl_nlmsg_get_payload(m);
	const struct ndmsg *nd = mnl_nlmsg_get_payload(m);

	if (net_rare_is_foreign(p, m))
		return true;
	if (p == CKPT_NET_ROUTE)
		return rt->rtm_protocol != RTPROT_KERNEL && rt->rtm_protocol != RTPROT_REDIRECT &&
		       rt->rtm_protocol != RTPROT_RA && !(rt->rtm_flags & RTM_F_CLONED) &&
		       (rt->rtm_family == AF_INET || rt->rtm_family == AF_INET6);
	if (p == CKPT_NET_NEIGHBOUR)
		return (nd->ndm_state & NUD_PERMANENT || nd->ndm_flags & (NTF_PROXY | NTF_EXT_LEARNED) || is_set_neighbour(m)) &&
		       (nd->ndm_family == AF_INET || nd->ndm_family == AF_INET6);
	if (p == CKPT_NET_RULE)
		return rt->rtm_family == AF_INET || rt->rtm_family == AF_INET6;
	if (p == CKPT_NET_DISCIPLINE) /* those that the kernel gives a link have no number */
		return ((const struct tcmsg *)mnl_nlmsg_get_payload(m))->tcm_handle != 0;
	if (p == CKPT_NET_CLASS)
		return net_class_is_kept(m);
	if (p == CKPT_NET_CLASSIFIER) /* a priority is told of, too, before what it has */
		return ((const struct tcmsg *)mnl_nlmsg_get_payload(m))->tcm_handle != 0 ||
		       nl_attr(m, sizeof(struct tcmsg), TCA_OPTIONS);
	return p >= NET_RARE_FROM ? net_rare_is_kept(p, m) : !is_lock(p, m);
}

/* An address that is in use needs no detection of others that have it. */
static void settle_address(struct nlmsghdr *m)
{
	struct ifaddrmsg *ifa = mnl_nlmsg_get_payload(m);
	const uint32_t how = IFA_F_PERMANENT | IFA_F_TENTATIVE | IFA_F_DADFAILED | IFA_F_OPTIMISTIC | IFA_F_STABLE_PRIVACY |
			     IFA_F_DEPRECATED | (ifa->ifa_family == AF_INET ? IFA_F_SECONDARY : 0);
	const uint32_t more = ifa->ifa_family == AF_INET6 ? IFA_F_NODAD : 0;
	struct nlattr *a;

	ifa->ifa_flags = (uint8_t)((ifa->ifa_flags & ~how) | more);
	mnl_attr_for_each(a, m, sizeof(*ifa)) {
		uint32_t v;

		if (mnl_attr_get_type(a) == IFA_FLAGS && mnl_attr_get_payload_len(a) == sizeof(v)) {
			memcpy(&v, mnl_attr_get_payload(a), sizeof(v));
			v = (v & ~how) | more;
			memcpy(mnl_attr_get_payload(a), &v, sizeof(v));
		} else if (mnl_attr_get_type(a) == IFA_CACHEINFO &&
			   mnl_attr_get_payload_len(a) == sizeof(struct ifa_cacheinfo)) {
			struct ifa_cacheinfo *c = mnl_attr_get_payload(a);

			c->cstamp = c->tstamp = 0;
		}
	}
}

/* The kernel tells where the object leads, too, and takes only one of both back. */
#define BY_ITSELF                                                                                            \
	(BIT(RTA_OIF) | BIT(RTA_GATEWAY) | BIT(RTA_VIA) | BIT(RTA_MULTIPATH) | BIT(RTA_ENCAP) | BIT(RTA_ENCAP_TYPE))

static bool leads_to_object(const struct nlmsghdr *m)
{
	const struct nlattr *a;

	mnl_attr_for_each(a, m, sizeof(struct rtmsg))
		if (mnl_attr_get_type(a) == RTA_NH_ID)
			return true;
	return false;
}

static void settle_nexthop(struct nhmsg *nh)
{
	nh->nh_scope = 0; /* follows from what it leads to */
	nh->resvd = 0;
	nh->nh_flags &= RTNH_F_ONLINK;
}

int net_normal(enum ckpt_net_part p, const struct nlmsghdr *m, uint8_t ret[NET_MESSAGE_MAX])
{
	const struct net_part *part = &net_parts[p];
	struct nlmsghdr *out;
	const struct nlattr *a;
	struct rtmsg *rt;
	uint64_t drop;

	if (m->nlmsg_len < NLMSG_LENGTH(part->fixed) ||
	    m->nlmsg_len > (p == CKPT_NET_CLASSIFIER ? NET_CLASSIFIER_MAX : NET_MESSAGE_MAX - 64))
		return -EMSGSIZE;
	memset(ret, 0, m->nlmsg_len + 64); /* libmnl leaves what pads attributes as it is */
	out = mnl_nlmsg_put_header(ret);
	out->nlmsg_type = part->add;
	rt = mnl_nlmsg_put_extra_header(out, part->fixed);
	memcpy(rt, mnl_nlmsg_get_payload(m), part->fixed);
	drop = part->drop | (p == CKPT_NET_ROUTE && leads_to_object(m) ? BY_ITSELF : 0);
	mnl_attr_for_each(a, m, part->fixed) {
		uint16_t type = mnl_attr_get_type(a);

		if (p == CKPT_NET_CLASSIFIER && type == TCA_OPTIONS)
			net_classifier_tidy(out, m, a);
		else if (type < 64 ? !(drop >> type & 1) : p == CKPT_NET_LINK && type == NET_GRO_IPV4_MAX_SIZE)
			mnl_attr_put(out, a->nla_type, mnl_attr_get_payload_len(a), mnl_attr_get_payload(a));
	}
	if (p == CKPT_NET_ROUTE)
		rt->rtm_flags &= RTNH_F_ONLINK | RTNH_F_PERVASIVE;
	if (p == CKPT_NET_RULE)
		rt->rtm_flags &= ~(uint32_t)(FIB_RULE_IIF_DETACHED | FIB_RULE_OIF_DETACHED);
	if (p == CKPT_NET_ADDRESS)
		settle_address(out);
	if (p == CKPT_NET_NEXTHOP)
		settle_nexthop((struct nhmsg *)rt);
	if (p == CKPT_NET_DISCIPLINE || p == CKPT_NET_CLASS)
		((struct tcmsg *)rt)->tcm_info = 0; /* how many use it; what is below it */
	if (p >= NET_RARE_FROM)
		net_rare_settle(p, m, out);
	return (int)out->nlmsg_len;
}

struct listing {
	enum ckpt_net_part part;
	net_each_fn fn;
	void *arg;
};

static int hear(const struct nlmsghdr *m, void *arg)
{
	struct listing *l = arg;

	if (m->nlmsg_type != net_parts[l->part].add || m->nlmsg_len < NLMSG_LENGTH(net_parts[l->part].fixed) ||
	    !net_is_kept(l->part, m))
		return 0;
	return l->fn(l->part, m, l->arg);
}

/* The elements of each set; the answer to one question has no other question in its middle. */
struct sets {
	struct nlmsghdr *set[4096];
	size_t count;
};

static int keep_set(const struct nlmsghdr *m, void *arg)
{
	struct sets *s = arg;
	struct nlmsghdr *copy;

	if (m->nlmsg_type != NFT(NFT_MSG_NEWSET) || is_lock(CKPT_NET_SET, m))
		return 0;
	copy = malloc(m->nlmsg_len);
	if (!copy || s->count == ARRAY_SIZE(s->set)) {
		free(copy);
		return copy ? -E2BIG : -ENOMEM;
	}
	memcpy(copy, m, m->nlmsg_len);
	s->set[s->count++] = copy;
	return 0;
}

static int list_elements(struct nl *n, struct listing *l, struct err *e)
{
	cleanup_free struct sets *s = calloc(1, sizeof(*s));
	struct nfgenmsg g = { .version = NFNETLINK_V0 };
	struct nlmsghdr *q;
	int r;

	if (!s)
		return err_code(e, -ENOMEM, "list sets");
	nl_end(n, nl_begin(n, NFT(NFT_MSG_GETSET), NLM_F_DUMP, &g, sizeof(g), "list the sets"));
	r = nl_talk(n, "the VPS", keep_set, s, e);
	for (size_t i = 0; i < s->count; i++) {
		const struct nlattr *a;

		memcpy(&g, mnl_nlmsg_get_payload(s->set[i]), sizeof(g));
		q = r < 0 ? NULL : nl_begin(n, NFT(NFT_MSG_GETSETELEM), NLM_F_DUMP, &g, sizeof(g), "list a set");
		if (q)
			mnl_attr_for_each(a, s->set[i], sizeof(g))
				if (mnl_attr_get_type(a) == NFTA_SET_TABLE || mnl_attr_get_type(a) == NFTA_SET_NAME)
					/* the same numbers: NFTA_SET_ELEM_LIST_TABLE, _SET */
					mnl_attr_put(q, mnl_attr_get_type(a), mnl_attr_get_payload_len(a),
						     mnl_attr_get_payload(a));
		if (r == 0) {
			nl_end(n, q);
			r = nl_talk(n, "the VPS", hear, l, e);
		}
		free(s->set[i]);
	}
	return r;
}

static int hear_entries(const struct nlmsghdr *m, void *arg)
{
	const struct nlattr *a;

	mnl_attr_for_each(a, m, sizeof(struct nfgenmsg))
		if (mnl_attr_get_type(a) == CTA_STATS_GLOBAL_ENTRIES && mnl_attr_get_payload_len(a) == 4 &&
		    mnl_attr_get_u32(a) == 0)
			*(bool *)arg = false;
	return 0;
}

/* The kernel goes through the table that all namespaces share to list those of one: 3 ms (Linux 6.18). */
static bool has_tracked(struct nl *n)
{
	struct nfgenmsg g = { .version = NFNETLINK_V0 };
	struct err ignored;
	bool any = true;

	nl_end(n, nl_begin(n, CT(IPCTNL_MSG_CT_GET_STATS), 0, &g, sizeof(g), "count"));
	return nl_talk(n, "tracked connections", hear_entries, &any, &ignored) < 0 || any;
}

int net_list(struct nl *route, struct nl *filter, enum ckpt_net_part p, net_each_fn fn, void *arg, struct err *e)
{
	const struct net_part *part = &net_parts[p];
	struct nl *n = part->protocol == NETLINK_ROUTE ? route : filter;
	struct listing l = { p, fn, arg };
	uint8_t fixed[sizeof(struct tcmsg)] = { part->family }; /* of all parts that are asked for here the longest */
	int r;

	if (p == CKPT_NET_ELEMENT)
		return list_elements(n, &l, e);
	if (p == CKPT_NET_CLASS || p == CKPT_NET_CLASSIFIER)
		return net_queues_list(n, p, fn, arg, e);
	if (p == CKPT_NET_TRACKED && !has_tracked(n))
		return 0;
	nl_end(n, nl_begin(n, part->get, NLM_F_DUMP, fixed, part->fixed, "list"));
	nl_ignore(n, EOPNOTSUPP);
	nl_ignore(n, EINVAL); /* a subsystem that this kernel has not got */
	r = nl_talk(n, part->name, hear, &l, e);
	if (r == 0 && p == CKPT_NET_NEIGHBOUR) {
		struct ndmsg nd = { .ndm_flags = NTF_PROXY };

		nl_end(n, nl_begin(n, part->get, NLM_F_DUMP, &nd, sizeof(nd), "list proxies"));
		r = nl_talk(n, part->name, hear, &l, e);
	}
	return r;
}
