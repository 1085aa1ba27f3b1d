/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef NETNS_INTERNAL_H
#define NETNS_INTERNAL_H

#include "base/err.h"
#include "netns/net.h"
#include "netns/netns.h"

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
/* One interface may have it: no loopback, multicast, link-local, network or broadcast address. */
bool netns_addr_is_host(const struct netns_addr *a);
uint64_t netns_hash(const char *a, const char *b);
void netns_link_local(const uint8_t mac[6], struct netns_addr *ret);

#endif
