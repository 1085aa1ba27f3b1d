/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef RUNTIME_NETWORK_H
#define RUNTIME_NETWORK_H

#include "base/err.h"
#include "netns/netns.h"
#include "runtime/config.h"

/*
 * The network of a VPS as its settings say it: what stands between the config's texts (net, publish,
 * firewall, net.*) and netns/. The monitor uses it for its VPS, vpsd for all.
 */
struct rt_network {
	struct netns_host host;
	struct netns_vps vps; /* the arrays are the lists below */
	struct netns_if ifs[NETNS_IF_MAX];
	struct netns_publish *publish;
	struct netns_rule *rules;
	struct netns_allow *allow;
};

/*
 * Reads the settings; `host` is the state root's network and is copied. Without a `net` line there is loopback alone:
 * it is `create` that gives a VPS its first interface. What belongs together is checked (netns_vps_check()).
 * ERR_USAGE. Empty on failure.
 */
int rt_network_parse(struct rt_network *n, const struct netns_host *host, const char *name,
		     const char *uuid, const struct config *c, struct err *e);
/* The same for a spec, whose state root's network it names itself. */
struct rt_spec;
int rt_spec_network(const struct rt_spec *s, struct rt_network *ret, struct err *e);
void rt_network_done(struct rt_network *n);

/* The struct points into itself (vps.ifs): do not copy it. */

/* It shares the host's stack (mode=host): there is no network namespace. */
bool rt_network_is_host(const struct rt_network *n);

#endif
