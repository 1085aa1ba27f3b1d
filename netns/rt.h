/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef NETNS_RT_H
#define NETNS_RT_H

#include "netns/net.h"
#include "netns/nl.h"

#include <linux/rtnetlink.h>

/* Requests of rtnetlink about addresses, neighbours and routes, for nl_talk() to send. `index` is
 * that of the link they are on. */

/*
 * Neighbours that the host knows for good need no ARP, are not counted against gc_thresh3
 * (Linux 5.0) and cannot be talked into another MAC.
 */
void netns_rt_neighbour(struct nl *n, int index, const struct netns_addr *a, const uint8_t mac[6]);
/* The host answers on this link for an address that is behind another. */
void netns_rt_proxy(struct nl *n, int index, const struct netns_addr *a);
void netns_rt_no_neighbour(struct nl *n, int index, const struct netns_addr *a, bool proxy);

/* On this link the host answers for other addresses at once, not after the random 0.8 s. */
void netns_rt_no_proxy_delay(struct nl *n, int index);

/* RTM_NEWROUTE or RTM_DELROUTE of the address alone, to the link. */
void netns_rt_route(struct nl *n, uint16_t type, uint16_t flags, int index,
		    const struct netns_addr *a);
/* The fixed part of such a route. */
struct rtmsg netns_rt_host_route(const struct netns_addr *a);

/* What comes by this link for ::1, as a connection's answer does whose NAT has just been undone, is taken; the
 * kernel's own route is asked for what comes by the loopback alone. What is sent to ::1 from outside is dropped before. */
void netns_rt_loopback6(struct nl *n, int index);

/* `prefix_route`: with a route to the whole of its network. */
void netns_rt_addr(struct nl *n, int index, const struct netns_addr *a, bool prefix_route);

#endif
