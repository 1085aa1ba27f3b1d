/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef SUPERVISOR_DNS_H
#define SUPERVISOR_DNS_H

#include "netns/net.h"
#include "supervisor/daemon.h"

/*
 * The name server of the bridge: on port 53, UDP and TCP, of the gateway's addresses, heard on the
 * bridge alone. It knows the VPSs that run, as NAME and NAME.vps, with their addresses both ways,
 * and asks the host's resolvers for all else. It runs on vpsd's event loop and never waits; what a
 * tenant can make it do is bounded in memory, sockets and time.
 */
struct dns;

/* The bridge is up. -EADDRINUSE: a program on the host has port 53 of all addresses. */
int dns_up(struct sup_daemon *d, const struct netns_host *h, struct dns **ret, struct err *e);
/* It has a socket on the gateway's address of this family. */
bool dns_serves(const struct dns *s, int family);
/* Queries under way are dropped; clients ask again. */
void dns_down(struct dns *s);

#endif
