/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "netns/internal.h"

#include "base/macro.h"

#include <linux/rtnetlink.h>
#include <unistd.h>

bool netns_has_ipv6(void)
{
	return access("/proc/sys/net/ipv6/conf", F_OK) == 0;
}

void netns_stay(void)
{
	nl_stay();
}

int netns_host_up(const struct netns_host *h, const struct netns_vps *const *all, size_t count,
		  struct err *e)
{
	cleanup_nl struct nl n = NL_INIT;
	int r = nl_open(&n, NETLINK_ROUTE, -EBADF, e);

	if (r < 0)
		return r;
	/* The rules first: an address without them would be reachable for a moment. */
	r = netns_rules_are_up(h, e);
	if (r == 0)
		r = netns_rules_replace(h, all, count, e);
	return r < 0 ? r : netns_bridge_up(h, &n, e);
}

int netns_host_down(const struct netns_host *h, struct err *e)
{
	cleanup_nl struct nl n = NL_INIT;
	int r = nl_open(&n, NETLINK_ROUTE, -EBADF, e);

	if (r == 0)
		r = netns_bridge_down(h, &n, e);
	return r < 0 ? r : netns_rules_down(h, e);
}

static int check_if(const struct netns_host *h, struct netns_vps *v, size_t k, struct err *e)
{
	struct netns_if *i = &v->ifs[k];
	char a[64];

	if (!i->has_mac && *i->name) {
		netns_mac_of(v->uuid, i->name, i->mac);
		i->has_mac = true;
	}
	for (size_t x = 0; x < i->addr_count; x++) {
		if (netns_addr_equal(&i->addr[x], &h->gw4) ||
		    netns_addr_equal(&i->addr[x], &h->gw6))
			return err_set(e, ERR_USAGE, "%s: ip=%s is the gateway's address", i->name,
				       netns_addr_format_host(&i->addr[x], a));
		/* The bridge's own gateway for the first interface, unless another was said. */
		if (!netns_if_is_ours(i))
			continue;
		if (i->addr[x].family == AF_INET && !i->gw4.family)
			i->gw4 = h->gw4;
		if (i->addr[x].family == AF_INET6 && !i->gw6.family && i->mode == NETNS_BRIDGE)
			i->gw6 = h->gw6;
		if (i->addr[x].family == AF_INET && !i->gw4.family)
			return err_set(e, ERR_USAGE, "%s: gw= is needed, the host has no IPv4 pool",
				       i->name);
	}
	for (size_t j = 0; j < k; j++) {
		const struct netns_if *o = &v->ifs[j];

		if (STREQ(o->name, i->name))
			return err_set(e, ERR_USAGE, "two interfaces have the name %s", i->name);
		if (memcmp(o->mac, i->mac, 6) == 0)
			return err_set(e, ERR_USAGE, "%s and %s have the same mac=", o->name,
				       i->name);
		for (size_t x = 0; x < i->addr_count; x++)
			for (size_t y = 0; y < o->addr_count; y++)
				if (netns_addr_equal(&i->addr[x], &o->addr[y]))
					return err_set(e, ERR_USAGE,
						       "%s and %s have the same ip=%s", o->name,
						       i->name,
						       netns_addr_format_host(&i->addr[x], a));
	}
	return 0;
}

static int check_publish(const struct netns_vps *v, bool ours, struct err *e)
{
	char text[NETNS_TEXT_MAX];
	size_t ports = 0;

	for (size_t i = 0; i < v->publish_count; i++) {
		const struct netns_publish *p = &v->publish[i];

		if (!ours)
			return err_set(e, ERR_USAGE,
				       "publish %s: %s has no interface in mode bridge or routed with an address",
				       netns_publish_format(p, text), v->name);
		for (size_t j = 0; j < i; j++)
			if (netns_publish_clash(p, &v->publish[j]))
				return err_set(e, ERR_USAGE, "publish %s: the host's port %u is there twice",
					       netns_publish_format(p, text), netns_publish_clash(p, &v->publish[j]));
		ports += netns_publish_ports(p);
	}
	if (ports > NETNS_PORTS_MAX)
		return err_set(e, ERR_USAGE, "publish: %zu ports, at most %d", ports, NETNS_PORTS_MAX);
	return 0;
}

int netns_vps_check(const struct netns_host *h, struct netns_vps *v, struct err *e)
{
	bool ours = false;
	int r;

	if (v->if_count > NETNS_IF_MAX)
		return err_set(e, ERR_USAGE, "%s: at most %d interfaces", v->name, NETNS_IF_MAX);
	for (size_t k = 0; k < v->if_count; k++) {
		if ((v->ifs[k].mode == NETNS_NONE || v->ifs[k].mode == NETNS_HOST) &&
		    v->if_count > 1)
			return err_set(e, ERR_USAGE, "%s: mode=%s stands alone", v->name,
				       v->ifs[k].mode == NETNS_NONE ? "none" : "host");
		r = check_if(h, v, k, e);
		if (r < 0)
			return r;
		ours |= netns_if_is_ours(&v->ifs[k]) && v->ifs[k].addr_count;
	}
	r = check_publish(v, ours, e);
	if (r < 0)
		return r;
	if ((v->rule_count || v->closed || v->allow_count) && !ours)
		return err_set(
			e, ERR_USAGE,
			"%s: a firewall needs an interface in mode bridge or routed with an address",
			v->name);
	return 0;
}
