/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "netns/internal.h"

#include "base/macro.h"

#include <arpa/inet.h>
#include <linux/if_ether.h>
#include <linux/pkt_cls.h>
#include <linux/pkt_sched.h>
#include <linux/rtnetlink.h>
#include <linux/tc_act/tc_mirred.h>
#include <net/if.h>

/*
 * Shaping happens at the host's end of the veth pair, out of the tenant's reach: what goes to the
 * VPS leaves through it and is held by a token bucket there; what comes from the VPS arrives
 * through it, is led to an ifb of its own, and is held by that one's token bucket. (Policing
 * instead of the ifb would drop, and TCP would not come near its rate; the action is not in every
 * kernel either.)
 */

#define FILTER_PRIO 10 /* leaves room before and after it */
#define FILTER_HANDLE 0x80000001U /* u32's first table, first entry; with one bit set as it wants */

static void put_tbf(struct nlmsghdr *m, uint64_t rate)
{
	/* 10 ms of the rate, for the timer's grain, at least a few frames. (The large frames of
	 * segmentation offload are cut when they exceed it.) The queue holds another 50 ms; a longer
	 * one only adds delay, a shorter one than this starves TCP at low rates. */
	uint64_t burst = rate / 100 < 32 * 1024 ? 32 * 1024 : rate / 100;
	uint64_t limit = burst + (rate / 20 < 128 * 1024 ? 128 * 1024 : rate / 20);
	struct tc_tbf_qopt opt = { .rate = { .linklayer = TC_LINKLAYER_ETHERNET } };
	struct nlattr *nest;

	if (burst > 64 * 1024 * 1024)
		burst = 64 * 1024 * 1024;
	if (limit > 1U << 30)
		limit = 1U << 30;
	opt.rate.rate = rate > UINT32_MAX ? UINT32_MAX : (uint32_t)rate;
	opt.limit = (uint32_t)limit;
	mnl_attr_put_strz(m, TCA_KIND, "tbf");
	nest = mnl_attr_nest_start(m, TCA_OPTIONS);
	mnl_attr_put(m, TCA_TBF_PARMS, sizeof(opt), &opt);
	mnl_attr_put_u32(m, TCA_TBF_BURST, (uint32_t)burst);
	if (rate > UINT32_MAX)
		mnl_attr_put_u64(m, TCA_TBF_RATE64, rate);
	mnl_attr_nest_end(m, nest);
}

static void set_tbf(struct nl *n, int ifindex, uint64_t rate)
{
	struct tcmsg tc = { .tcm_ifindex = ifindex, .tcm_parent = TC_H_ROOT };
	struct nlmsghdr *m;

	/* Another rate gets another handle, and so a new queue in the old one's place: what was
	 * queued for 100 MiB/s would keep 1 MiB/s busy for seconds, and a frame in it that is larger
	 * than the new burst would never leave. */
	tc.tcm_handle = TC_H_MAKE((uint32_t)(1 + rate % 0x7fff) << 16, 0);
	m = nl_begin(n, RTM_NEWQDISC, NLM_F_CREATE | NLM_F_REPLACE, &tc, sizeof(tc),
		     "shape the traffic");
	if (m)
		put_tbf(m, rate);
	nl_end(n, m);
}

void netns_shape_in(struct nl *n, int link, uint64_t rate)
{
	struct tcmsg tc = { .tcm_ifindex = link, .tcm_parent = TC_H_ROOT };

	if (rate) {
		set_tbf(n, link, rate);
		return;
	}
	nl_end(n, nl_begin(n, RTM_DELQDISC, 0, &tc, sizeof(tc), "end the shaping"));
	nl_ignore(n, ENOENT); /* the link's own queue is no queue of ours */
}

const char *netns_ifb_name(const struct netns_host *h, const char *uuid, unsigned i, char buf[16])
{
	netns_link_name(h, uuid, i, buf);
	buf[0] = 'i';
	return buf;
}

void netns_ifb_add(struct nl *n, const struct netns_host *h, const char *name)
{
	struct ifinfomsg ifi = { .ifi_flags = IFF_UP, .ifi_change = IFF_UP };
	struct nlmsghdr *m = nl_begin(n, RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, &ifi, sizeof(ifi),
				      "add the shaping interface");
	struct nlattr *nest;

	if (m) {
		mnl_attr_put_strz(m, IFLA_IFNAME, name);
		mnl_attr_put_u32(m, IFLA_NUM_TX_QUEUES, 1);
		mnl_attr_put_u32(m, IFLA_NUM_RX_QUEUES, 1);
		nest = mnl_attr_nest_start(m, IFLA_LINKINFO);
		mnl_attr_put_strz(m, IFLA_INFO_KIND, "ifb");
		mnl_attr_nest_end(m, nest);
	}
	nl_end(n, m);
	nl_ignore(n, EEXIST);
	/* A link's alias is not taken while it is made. */
	ifi = (struct ifinfomsg){ 0 };
	m = nl_begin(n, RTM_NEWLINK, 0, &ifi, sizeof(ifi), "name the shaping interface");
	if (m) {
		mnl_attr_put_strz(m, IFLA_IFNAME, name);
		mnl_attr_put_strz(m, IFLA_IFALIAS, h->tag);
	}
	nl_end(n, m);
}

/* u32 that matches everything: of the classifiers the one that is in every kernel. */
void netns_put_redirect(struct nlmsghdr *m, int to_link, bool as_received)
{
	struct {
		struct tc_u32_sel sel;
		struct tc_u32_key key;
	} all = { .sel = { .flags = TC_U32_TERMINAL, .nkeys = 1 } };
	struct tc_mirred to = {
		.action = TC_ACT_STOLEN,
		.eaction = as_received ? TCA_INGRESS_REDIR : TCA_EGRESS_REDIR,
		.ifindex = (uint32_t)to_link,
	};
	struct nlattr *opt, *acts, *act, *aopt;

	mnl_attr_put_strz(m, TCA_KIND, "u32");
	opt = mnl_attr_nest_start(m, TCA_OPTIONS);
	mnl_attr_put(m, TCA_U32_SEL, sizeof(all), &all);
	acts = mnl_attr_nest_start(m, TCA_U32_ACT);
	act = mnl_attr_nest_start(m, 1);
	mnl_attr_put_strz(m, TCA_ACT_KIND, "mirred");
	aopt = mnl_attr_nest_start(m, TCA_ACT_OPTIONS);
	mnl_attr_put(m, TCA_MIRRED_PARMS, sizeof(to), &to);
	mnl_attr_nest_end(m, aopt);
	mnl_attr_nest_end(m, act);
	mnl_attr_nest_end(m, acts);
	mnl_attr_nest_end(m, opt);
}

void netns_put_clsact(struct nl *n, int link)
{
	struct tcmsg q = { .tcm_ifindex = link, .tcm_parent = TC_H_CLSACT };
	struct nlmsghdr *m;

	q.tcm_handle = TC_H_MAKE(TC_H_CLSACT, 0);
	m = nl_begin(n, RTM_NEWQDISC, NLM_F_CREATE | NLM_F_EXCL, &q, sizeof(q),
		     "lay the hooks of the link");
	if (m)
		mnl_attr_put_strz(m, TCA_KIND, "clsact");
	nl_end(n, m);
	nl_ignore(n, EEXIST);
	nl_ignore(n, ENOENT); /* not in this kernel: who wants to hang something there is told */
}

void netns_shape_out(struct nl *n, int link, int ifb, uint64_t rate)
{
	struct tcmsg f = { .tcm_ifindex = link };
	struct nlmsghdr *m;

	f.tcm_parent = TC_H_MAKE(TC_H_CLSACT, TC_H_MIN_INGRESS);
	f.tcm_info = TC_H_MAKE((uint32_t)FILTER_PRIO << 16, htons(ETH_P_ALL));
	if (!rate) {
		nl_end(n, nl_begin(n, RTM_DELTFILTER, 0, &f, sizeof(f), "end the shaping"));
		nl_ignore(n, ENOENT);
		return;
	}
	set_tbf(n, ifb, rate);
	netns_put_clsact(n, link);
	f.tcm_handle = FILTER_HANDLE;
	m = nl_begin(n, RTM_NEWTFILTER, NLM_F_CREATE | NLM_F_EXCL, &f, sizeof(f),
		     "lead the traffic to its shaping interface");
	if (m)
		netns_put_redirect(m, ifb, false);
	nl_end(n, m);
	nl_ignore(n, EEXIST);
}

int netns_vps_shape(const struct netns_host *h, const struct netns_vps *v, unsigned i,
		    struct err *e)
{
	const struct netns_if *f = &v->ifs[i];
	cleanup_nl struct nl n = NL_INIT;
	char name[16], ifb[16];
	int link, shaper, r;

	if (i >= v->if_count || !netns_if_has_link(f))
		return err_set(e, ERR_USAGE, "%s has no interface that can be shaped", v->name);
	r = nl_open(&n, NETLINK_ROUTE, -EBADF, e);
	if (r < 0)
		return r;
	link = nl_ifindex(&n, netns_link_name(h, v->uuid, i, name));
	if (!link)
		return err_set(e, ERR_STATE, "%s: its link %s is not there", v->name, name);
	netns_ifb_name(h, v->uuid, i, ifb);
	if (f->rate_out) {
		netns_ifb_add(&n, h, ifb);
		r = nl_talk(&n, v->name, NULL, NULL, e);
		if (r < 0)
			return r;
	}
	netns_shape_in(&n, link, f->rate_in);
	shaper = nl_ifindex(&n, ifb);
	if (shaper)
		netns_shape_out(&n, link, shaper, f->rate_out);
	if (shaper && !f->rate_out)
		netns_link_remove(&n, ifb, "remove the shaping interface");
	return nl_talk(&n, v->name, NULL, NULL, e);
}
