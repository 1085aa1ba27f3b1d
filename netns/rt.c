/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "netns/rt.h"

#include "base/macro.h"
#include "netns/internal.h"

#include <linux/if_addr.h>
#include <linux/neighbour.h>
#include <linux/rtnetlink.h>

#define LOOPBACK_METRIC 4096 /* after the kernel's own route to ::1, whose metric is 0 */

void netns_rt_neighbour(struct nl *n, int index, const struct netns_addr *a, const uint8_t mac[6])
{
	struct ndmsg nd = { .ndm_family = (uint8_t)a->family, .ndm_ifindex = index };
	struct nlmsghdr *m;

	nd.ndm_state = NUD_PERMANENT;
	m = nl_begin(n, RTM_NEWNEIGH, NLM_F_CREATE | NLM_F_REPLACE, &nd, sizeof(nd),
		     "add the neighbour");
	if (m) {
		mnl_attr_put(m, NDA_DST, netns_addr_len(a), a->bytes);
		mnl_attr_put(m, NDA_LLADDR, 6, mac);
		mnl_attr_put_u8(m, NDA_PROTOCOL, NETNS_PROTOCOL);
	}
	nl_end(n, m);
}

void netns_rt_no_neighbour(struct nl *n, int index, const struct netns_addr *a, bool proxy)
{
	struct ndmsg nd = { .ndm_family = (uint8_t)a->family, .ndm_ifindex = index };
	struct nlmsghdr *m;

	nd.ndm_flags = proxy ? NTF_PROXY : 0;
	m = nl_begin(n, RTM_DELNEIGH, 0, &nd, sizeof(nd), "remove the neighbour");
	if (m)
		mnl_attr_put(m, NDA_DST, netns_addr_len(a), a->bytes);
	nl_end(n, m);
	nl_ignore(n, ENOENT);
}

void netns_rt_proxy(struct nl *n, int index, const struct netns_addr *a)
{
	struct ndmsg nd = { .ndm_family = (uint8_t)a->family, .ndm_ifindex = index };
	struct nlmsghdr *m;

	nd.ndm_flags = NTF_PROXY;
	nd.ndm_state = NUD_PERMANENT;
	m = nl_begin(n, RTM_NEWNEIGH, NLM_F_CREATE | NLM_F_REPLACE, &nd, sizeof(nd),
		     "answer for the address");
	if (m) {
		mnl_attr_put(m, NDA_DST, netns_addr_len(a), a->bytes);
		mnl_attr_put_u8(m, NDA_PROTOCOL, NETNS_PROTOCOL);
	}
	nl_end(n, m);
}

struct rtmsg netns_rt_host_route(const struct netns_addr *a)
{
	return (struct rtmsg){
		.rtm_family = (uint8_t)a->family,
		.rtm_dst_len = a->family == AF_INET ? 32 : 128,
		.rtm_table = RT_TABLE_MAIN,
		.rtm_protocol = NETNS_PROTOCOL,
		.rtm_scope = a->family == AF_INET ? RT_SCOPE_LINK : RT_SCOPE_UNIVERSE,
		.rtm_type = RTN_UNICAST,
	};
}

void netns_rt_route(struct nl *n, uint16_t type, uint16_t flags, int index,
		    const struct netns_addr *a)
{
	struct rtmsg rt = netns_rt_host_route(a);
	struct nlmsghdr *m =
		nl_begin(n, type, flags, &rt, sizeof(rt), "set the route to the address");

	if (m) {
		mnl_attr_put(m, RTA_DST, netns_addr_len(a), a->bytes);
		mnl_attr_put_u32(m, RTA_OIF, (uint32_t)index);
	}
	nl_end(n, m);
	if (type == RTM_DELROUTE)
		nl_ignore(n, ESRCH);
}

void netns_rt_loopback6(struct nl *n, int index)
{
	struct rtmsg rt = {
		.rtm_family = AF_INET6,
		.rtm_dst_len = 128,
		.rtm_table = RT_TABLE_LOCAL,
		.rtm_protocol = NETNS_PROTOCOL,
		.rtm_scope = RT_SCOPE_UNIVERSE,
		.rtm_type = RTN_LOCAL,
	};
	struct nlmsghdr *m = nl_begin(n, RTM_NEWROUTE, NLM_F_CREATE, &rt, sizeof(rt), "set the route to ::1");

	if (m) {
		mnl_attr_put(m, RTA_DST, sizeof(in6addr_loopback), &in6addr_loopback);
		mnl_attr_put_u32(m, RTA_OIF, (uint32_t)index);
		mnl_attr_put_u32(m, RTA_PRIORITY, LOOPBACK_METRIC);
	}
	nl_end(n, m);
	nl_ignore(n, EEXIST);
}

void netns_rt_no_proxy_delay(struct nl *n, int index)
{
	struct ndtmsg nd = { .ndtm_family = AF_INET };
	struct nlmsghdr *m = nl_begin(n, RTM_SETNEIGHTBL, 0, &nd, sizeof(nd), "set up the link");
	struct nlattr *nest;

	if (m) {
		mnl_attr_put_strz(m, NDTA_NAME, "arp_cache");
		nest = mnl_attr_nest_start(m, NDTA_PARMS);
		mnl_attr_put_u32(m, NDTPA_IFINDEX, (uint32_t)index);
		mnl_attr_put_u64(m, NDTPA_PROXY_DELAY, 0);
		mnl_attr_nest_end(m, nest);
	}
	nl_end(n, m);
}

void netns_rt_addr(struct nl *n, int index, const struct netns_addr *a, bool prefix_route)
{
	struct ifaddrmsg ia = {
		.ifa_family = (uint8_t)a->family,
		.ifa_prefixlen = a->prefix,
		.ifa_index = (uint32_t)index,
	};
	uint32_t flags = IFA_F_PERMANENT | (prefix_route ? 0 : IFA_F_NOPREFIXROUTE);
	uint8_t first[16], last[16];
	struct nlmsghdr *m;

	/* Nobody else can have it, the pool and the rules see to that: no second's wait for
	 * duplicate address detection. */
	if (a->family == AF_INET6)
		flags |= IFA_F_NODAD;
	if (a->family == AF_INET6 && a->bytes[0] == 0xfe)
		ia.ifa_scope = RT_SCOPE_LINK;
	m = nl_begin(n, RTM_NEWADDR, NLM_F_CREATE | NLM_F_REPLACE, &ia, sizeof(ia),
		     "add the address");
	if (m) {
		mnl_attr_put(m, IFA_LOCAL, netns_addr_len(a), a->bytes);
		mnl_attr_put(m, IFA_ADDRESS, netns_addr_len(a), a->bytes);
		mnl_attr_put_u32(m, IFA_FLAGS, flags);
		if (a->family == AF_INET && a->prefix < 31) {
			netns_addr_range(a, first, last);
			mnl_attr_put(m, IFA_BROADCAST, 4, last);
		}
	}
	nl_end(n, m);
}
