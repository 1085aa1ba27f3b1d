/* SPDX-License-Identifier: GPL-2.0-or-later */

/*
 * The host's half of the tenants' networks: the bridge and the rules while anybody needs
 * them, and a watch that mends what somebody else took away. The links of one VPS are
 * its monitor's.
 */
#include "supervisor/network.h"

#include "base/log.h"
#include "base/macro.h"
#include "base/str.h"
#include "netns/hold.h"
#include "runtime/network.h"
#include "supervisor/dns.h"
#include "supervisor/hostconf.h"

#include <errno.h>

/* Bridge and rules stay for a while after the last VPS: they cost the next start as much as all the
 * rest of it. */
#define LINGER_US 5000000

struct sup_network {
	struct sup_daemon *d;
	sd_event_source *linger; /* takes them away */
	struct netns_host host;
	struct hostconf conf; /* the pools in use */
	struct netns_watch *watch;
	sd_event_source *source;
	bool up;
	bool chosen; /* the pools were looked for once in our life, which a busy `vps run` need not pay again */
	struct dns *dns;
	bool dns_warned;
};

const struct netns_host *network_host(const struct sup_daemon *d)
{
	return &d->network->host;
}

void network_pools(const struct sup_daemon *d, const char **ret4, const char **ret6)
{
	*ret4 = d->network->conf.pool4;
	*ret6 = d->network->conf.pool6;
}

bool network_is_alive(const struct sup_vps *v)
{
	return v->state == SUP_STARTING || v->state == SUP_RUNNING || v->state == SUP_PAUSED ||
	       v->state == SUP_SAVING || v->state == SUP_RESTORING ||
	       v->state == SUP_STOPPING;
}

/* It needs something of the host's side. */
static bool has_links(const struct config *c)
{
	const char *text;
	struct netns_if nif;
	struct err ignored;

	for (size_t i = 0; (text = config_get_nth(c, "net", i)); i++)
		if (netns_if_parse(text, &nif, &ignored) == 0 && nif.mode != NETNS_NONE &&
		    nif.mode != NETNS_HOST)
			return true;
	return false;
}

/* The networks of all that run; the caller frees with release_all(). */
static size_t gather(struct sup_daemon *d, struct rt_network **ret, const struct netns_vps ***list)
{
	size_t n = 0;

	*ret = calloc(d->count + 1, sizeof(**ret));
	*list = calloc(d->count + 1, sizeof(**list));
	for (size_t i = 0; *ret && *list && i < d->count; i++) {
		struct sup_vps *v = d->vps[i];
		const char *uuid = config_get(&v->config, "uuid");
		struct err e;

		if (!network_is_alive(v) || !has_links(&v->config))
			continue;
		if (rt_network_parse(&(*ret)[n], &d->network->host, v->name, uuid ? uuid : "",
				     &v->config, &e) < 0) {
			log_warn("%s: %s", v->name, e.msg);
			continue;
		}
		(*list)[n] = &(*ret)[n].vps;
		n++;
	}
	return n;
}

static void release_all(struct rt_network *all, const struct netns_vps **list, size_t n)
{
	for (size_t i = 0; i < n; i++)
		rt_network_done(&all[i]);
	free(all);
	free(list);
}

void network_let_go(struct sup_vps *v)
{
	const char *uuid = config_get(&v->config, "uuid");
	struct rt_network n;
	struct err e;

	if (rt_network_parse(&n, &v->d->network->host, v->name, uuid ? uuid : "", &v->config, &e) < 0)
		return;
	if (netns_hold_clear(&n.host, &n.vps, &e) < 0)
		log_warn("%s: %s", v->name, e.msg);
	rt_network_done(&n);
}

static void stop_dns(struct sup_network *n)
{
	struct err e;

	if (!n->dns)
		return;
	dns_down(TAKE_PTR(n->dns));
	if (netns_host_serve_dns(&n->host, false, &e) < 0)
		log_warn("%s", e.msg);
}

/* Where another name server has the port, tenants get the host's resolvers; tried again with the
 * next start. */
static void start_dns(struct sup_network *n)
{
	struct err e;
	int r;

	if (n->dns)
		return;
	r = dns_up(n->d, &n->host, &n->dns, &e);
	if (r == 0)
		r = netns_host_serve_dns(&n->host, true, &e);
	if (r < 0) {
		stop_dns(n);
		if (!n->dns_warned)
			log_warn("no name server on %s: %s", n->host.bridge, e.msg);
	}
	n->dns_warned = r < 0;
}

static void attach_all(const struct sup_network *n, const struct netns_vps **list, size_t count)
{
	struct err e;

	for (size_t i = 0; i < count; i++)
		if (netns_vps_attach(&n->host, list[i], &e) < 0)
			log_error("%s: %s", list[i]->name, e.msg);
}

static void mend_bridge(struct sup_network *n, const struct netns_vps **list, size_t count)
{
	struct err e;

	if (netns_host_up(&n->host, list, count, &e) < 0)
		log_error("%s", e.msg);
	stop_dns(n); /* its sockets may be a deleted link's */
	start_dns(n);
	attach_all(n, list, count);
}

/* Somebody flushed the rules, or took the bridge or its addresses away. */
static int on_watch(sd_event_source *s, int fd, uint32_t revents, void *userdata)
{
	struct sup_network *n = userdata;
	const struct netns_vps **list;
	struct rt_network *all;
	struct err e;
	size_t count;
	int lost;

	(void)s;
	(void)fd;
	(void)revents;
	lost = netns_watch_read(n->watch, &e);
	if (lost < 0) {
		log_warn("watch the network: %s", e.msg);
		return 0;
	}
	if (!lost || !n->up)
		return 0;
	count = gather(n->d, &all, &list);
	if (lost & NETNS_LOST_BRIDGE)
		log_warn("the bridge %s was deleted or set down: mended", n->host.bridge);
	if (lost & NETNS_LOST_ADDRESS)
		log_warn("the bridge %s has lost an address: given again", n->host.bridge);
	if (lost & NETNS_LOST_FORWARDING)
		log_warn("the host no longer forwarded what VPSs send: it does again");
	if (lost & (NETNS_LOST_BRIDGE | NETNS_LOST_ADDRESS))
		mend_bridge(n, list, count);
	else if (lost & NETNS_LOST_FORWARDING && netns_host_up(&n->host, list, count, &e) < 0)
		log_error("%s", e.msg);
	if (lost & NETNS_LOST_RULES) {
		log_warn("the nft tables %s were deleted: made again", n->host.tag);
		if (netns_rules_replace(&n->host, list, count, &e) < 0)
			log_error("%s", e.msg);
	}
	release_all(all, list, count);
	return 0;
}

static void stop_watch(struct sup_network *n)
{
	n->source = sd_event_source_disable_unref(n->source);
	if (n->watch)
		netns_watch_close(TAKE_PTR(n->watch));
}

static int start_watch(struct sup_network *n, struct err *e)
{
	int r;

	if (n->watch)
		return 0;
	r = netns_watch_open(&n->host, &n->watch, e);
	if (r < 0)
		return r;
	r = sd_event_add_io(n->d->event, &n->source, netns_watch_fd(n->watch), EPOLLIN, on_watch, n);
	return r < 0 ? err_code(e, r, "watch the network") : 0;
}

int network_prepare(struct sup_vps *v, const struct config *c, struct err *e)
{
	struct sup_network *n = v->d->network;
	struct rt_network mine;
	const char *uuid = config_get(c, "uuid");
	int r;

	if (!has_links(c))
		return 0;
	r = rt_network_parse(&mine, &n->host, v->name, uuid ? uuid : "", c, e);
	if (r < 0)
		return r;
	for (size_t i = 0; r == 0 && i < mine.vps.publish_count; i++) {
		if (netns_publish_has(&mine.publish[i], 53))
			stop_dns(n); /* ours is not in the way: it is the gateway's alone */
		r = netns_publish_is_free(&mine.publish[i], e);
	}
	rt_network_done(&mine);
	n->linger = sd_event_source_disable_unref(n->linger);
	if (r == 0 && !n->up) {
		hostconf_keep(&n->conf, &n->d->root);
		r = netns_host_up(&n->host, NULL, 0, e); /* who is about to start brings its own entries */
	}
	if (r == 0)
		n->up = true;
	if (n->up)
		start_dns(n);
	return r < 0 ? r : start_watch(n, e);
}

static bool has_family(const struct netns_if *i, int family)
{
	for (size_t k = 0; k < i->addr_count; k++)
		if (i->addr[k].family == family)
			return true;
	return false;
}

/* It reaches the gateway of this family. */
static bool is_on_bridge(const struct sup_vps *v, int family)
{
	const struct netns_host *h = network_host(v->d);
	struct netns_if nif;
	struct err ignored;
	const char *text;

	for (size_t i = 0; (text = config_get_nth(&v->config, "net", i)); i++)
		if (netns_if_parse(text, &nif, &ignored) == 0 && nif.mode == NETNS_BRIDGE &&
		    (!*nif.parent || STREQ(nif.parent, h->bridge)) && has_family(&nif, family))
			return true;
	return false;
}

int network_dns(const struct sup_vps *v, struct rt_spec *s, struct err *e)
{
	const struct sup_network *n = v->d->network;
	static const int families[] = { AF_INET, AF_INET6 };
	bool on_bridge = false;
	int r = 0;

	if (!n->dns || s->dns.count)
		return 0;
	for (size_t i = 0; r == 0 && i < ARRAY_SIZE(families); i++) {
		const struct netns_addr *gw = families[i] == AF_INET ? &n->host.gw4 : &n->host.gw6;
		char host[64];

		if (!is_on_bridge(v, families[i]))
			continue;
		on_bridge = true;
		if (dns_serves(n->dns, families[i]))
			r = strv_add(&s->dns, netns_addr_format_host(gw, host));
	}
	if (on_bridge && r == 0)
		r = strv_add(&s->search, "vps");
	return r < 0 ? err_code(e, r, "name its name servers") : 0;
}

static bool is_needed(const struct sup_daemon *d)
{
	for (size_t i = 0; i < d->count; i++)
		if (network_is_alive(d->vps[i]) && has_links(&d->vps[i]->config))
			return true;
	return false;
}

static void take_down(struct sup_network *n)
{
	struct err e;

	n->linger = sd_event_source_disable_unref(n->linger);
	stop_watch(n);
	stop_dns(n);
	n->up = false;
	hostconf_forget(&n->d->root);
	if (netns_host_down(&n->host, &e) < 0)
		log_warn("%s", e.msg);
}

static int on_linger(sd_event_source *s, uint64_t usec, void *userdata)
{
	(void)s;
	(void)usec;
	take_down(userdata);
	return 0;
}

void network_release(struct sup_daemon *d)
{
	struct sup_network *n = d->network;

	if (!n || !n->up || n->linger || is_needed(d))
		return;
	if (sd_event_add_time_relative(d->event, &n->linger, CLOCK_MONOTONIC, LINGER_US, 0, on_linger,
				       n) < 0)
		take_down(n);
}

void network_forget(struct sup_vps *v)
{
	const char *uuid = config_get(&v->config, "uuid");
	struct rt_network mine;
	struct err e;

	if (!has_links(&v->config) || !uuid)
		return;
	if (rt_network_parse(&mine, &v->d->network->host, v->name, uuid, &v->config, &e) < 0)
		return;
	if (netns_vps_down(&mine.host, &mine.vps, &e) < 0)
		log_warn("%s", e.msg);
	rt_network_done(&mine);
}

void network_mend(struct sup_daemon *d)
{
	struct sup_network *n = d->network;
	const struct netns_vps **list;
	const char **uuids;
	struct rt_network *all;
	size_t count = gather(d, &all, &list);
	struct err e;

	uuids = calloc(count + 1, sizeof(*uuids));
	for (size_t i = 0; uuids && i < count; i++)
		uuids[i] = list[i]->uuid;
	if (uuids && netns_prune(&n->host, uuids, count, &e) < 0)
		log_warn("%s", e.msg);
	free(uuids);
	if (count) {
		n->up = true;
		if (netns_host_up(&n->host, list, count, &e) < 0 ||
		    netns_rules_replace(&n->host, list, count, &e) < 0 || start_watch(n, &e) < 0)
			log_error("%s", e.msg);
		attach_all(n, list, count); /* a monitor of an older version may have made them */
		start_dns(n);
	} else if (netns_rules_are_up(&n->host, &e) > 0 || n->up) {
		take_down(n);
	} else {
		hostconf_forget(&d->root);
	}
	release_all(all, list, count);
}

/* Text of a pool that was left to us, or "". */
static void take_choice(const struct netns_addr *gw, const char *said, char *ret, size_t size)
{
	struct netns_addr net = netns_addr_net(gw);
	char text[64];

	snprintf(ret, size, "%s", *said || !gw->family ? "" : netns_addr_format(&net, text));
}

static const char *or_null(const char *pool)
{
	return *pool ? pool : NULL;
}

int network_choose_pools(struct sup_daemon *d, struct err *e)
{
	struct sup_network *n = d->network;
	struct hostconf *c = &n->conf, chosen = { 0 };
	struct netns_host host;
	int r;

	if (n->up || n->chosen || (*c->pool4 && *c->pool6))
		return 0;
	r = netns_host_choose(&host, d->root.tag, or_null(c->pool4), or_null(c->pool6), e);
	if (r > 0) {
		take_choice(&host.gw4, c->pool4, chosen.pool4, sizeof(chosen.pool4));
		take_choice(&host.gw6, c->pool6, chosen.pool6, sizeof(chosen.pool6));
		r = hostconf_remember(&chosen, &d->root, e);
	}
	if (r < 0)
		return r;
	if (*chosen.pool4)
		strcpy(c->pool4, chosen.pool4);
	if (*chosen.pool6)
		strcpy(c->pool6, chosen.pool6);
	n->host.gw4 = host.gw4;
	n->host.gw6 = host.gw6;
	n->chosen = true;
	return 0;
}

int network_init(struct sup_daemon *d, struct err *e)
{
	struct sup_network *n = calloc(1, sizeof(*n));
	int r;

	if (!n)
		return err_code(e, -ENOMEM, "prepare the network");
	n->d = d;
	netns_stay();
	r = hostconf_in_force(&n->conf, &d->root, e);
	if (r == 0 && !*n->conf.pool6 && !netns_has_ipv6())
		snprintf(n->conf.pool6, sizeof(n->conf.pool6), "none");
	if (r == 0)
		r = netns_host_init(&n->host, d->root.tag, or_null(n->conf.pool4), or_null(n->conf.pool6), e);
	if (r < 0) {
		free(n);
		return r;
	}
	d->network = n;
	return 0;
}

void network_done(struct sup_daemon *d)
{
	if (!d->network)
		return;
	if (d->network->linger)
		take_down(d->network);
	stop_watch(d->network);
	dns_down(TAKE_PTR(d->network->dns)); /* the rules stay: the next vpsd is there soon */
	free(TAKE_PTR(d->network));
}
