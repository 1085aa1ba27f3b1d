/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef NETNS_INTERNAL_H
#define NETNS_INTERNAL_H

#include "base/err.h"
#include "netns/net.h"
#include "netns/netns.h"
#include "netns/nl.h"

/*
 * A socket that belongs to the namespace behind `netns_fd` (a negative one: the caller's own),
 * close-on-exec. A socket stays in the namespace it was made in (network_namespaces(7)), so the
 * calling thread enters, makes it, and is back before anything else happens. Returns the fd.
 */
int netns_socket(int netns_fd, int family, int type, int protocol, struct err *e);

/* addr.c */
size_t netns_addr_len(const struct netns_addr *a); /* 4 or 16 */
/* The first and the last address of its network. */
void netns_addr_range(const struct netns_addr *a, uint8_t first[16], uint8_t last[16]);
struct netns_addr netns_addr_net(const struct netns_addr *a); /* its network's first */
/* One interface may have it: no loopback, multicast, link-local, network or broadcast address. */
bool netns_addr_is_host(const struct netns_addr *a);
uint64_t netns_hash(const char *a, const char *b);
void netns_link_local(const uint8_t mac[6], struct netns_addr *ret);

/* Marks routes, neighbours and proxy entries as ours (RTA_PROTOCOL, NDA_PROTOCOL); a number that
 * rt_protos(5) leaves to users. */
#define NETNS_PROTOCOL 118

/* An interface with an end on the host that L3 rules apply to: on our own bridge, or routed. */
bool netns_if_is_ours(const struct netns_if *i);
/* It has a veth pair. */
bool netns_if_has_link(const struct netns_if *i);

/* link.c: on this link the host answers for other addresses at once. */
void netns_no_proxy_delay(struct nl *n, int index);

/* bridge.c */
int netns_bridge_up(const struct netns_host *h, struct nl *n, struct err *e);
int netns_bridge_down(const struct netns_host *h, struct nl *n, struct err *e);
/* Writes a file below /proc/sys/net unless it says so already. A missing one (no IPv6 on this host)
 * is no error. */
int netns_sysctl(const char *path, const char *value, struct err *e);

/* shape.c: requests that nl_talk() sends. */
const char *netns_ifb_name(const struct netns_host *h, const char *uuid, unsigned i, char buf[16]);
void netns_ifb_add(struct nl *n, const char *name);
void netns_shape_in(struct nl *n, int link, uint64_t rate);
void netns_shape_out(struct nl *n, int link, int ifb, uint64_t rate);

/* rules.c: entries of one VPS in the tables, as one transaction. */
int netns_rules_add(const struct netns_host *h, const struct netns_vps *v, struct err *e);
int netns_rules_remove(const struct netns_host *h, const struct netns_vps *v, struct err *e);
int netns_rules_down(const struct netns_host *h, struct err *e);
int netns_rules_count(const struct netns_host *h, const struct netns_vps *v,
		      struct netns_stat *ret, struct err *e);

#endif
