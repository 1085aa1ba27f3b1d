/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "netns/entries.h"

#include "base/macro.h"
#include "netns/boxes.h"
#include "netns/internal.h"
#include "netns/nft.h"
#include "netns/ruleset.h"

#include <arpa/inet.h>

/*
 * What is to go is added first: an entry that is there already is left alone by that, one that is
 * missing (the rules were flushed and made anew meanwhile) would otherwise fail the whole
 * transaction.
 */
static void put(const struct netns_entries *x, enum ruleset_family f, const char *set,
		const struct nft_elem *el)
{
	nft_elem_do(x->n, NFT_ADD, ruleset_nfproto[f], x->h->tag, set, el);
	if (x->what == NFT_DEL)
		nft_elem_do(x->n, NFT_DEL, ruleset_nfproto[f], x->h->tag, set, el);
}

static enum nft_part ip_part(int family)
{
	return family == AF_INET ? NFT_IP4 : NFT_IP6;
}

/* Sets that there are two of: "closed" is "closed4" or "closed6". */
static const char *of_family(const char *set, int family, char buf[32])
{
	snprintf(buf, 32, "%s%c", set, family == AF_INET ? '4' : '6');
	return buf;
}

/* For the sets that count. */
static void put_counting(const struct netns_entries *x, enum ruleset_family f, const char *set,
			 struct nft_elem *el)
{
	const struct netns_count *c = NULL;

	if (x->counts)
		c = netns_counts_find(x->counts, ruleset_nfproto[f], set, el->key.bytes);
	if (c) {
		el->packets = c->packets;
		el->bytes = c->bytes;
	}
	put(x, f, set, el);
}

static void put_addr(const struct netns_entries *x, const char *set, const struct netns_addr *a)
{
	struct nft_elem el = { 0 };
	char name[32];

	nft_key_add(&el.key, ip_part(a->family), a->bytes);
	put_counting(x, RS_INET, of_family(set, a->family, name), &el);
}

static void put_link_addr(const struct netns_entries *x, enum ruleset_family f, const char *link,
			  const struct netns_addr *a)
{
	struct nft_elem el = { 0 };
	char name[32];

	nft_key_add(&el.key, NFT_IFNAME, link);
	nft_key_add(&el.key, ip_part(a->family), a->bytes);
	put(x, f, of_family("addr", a->family, name), &el);
	if (f == RS_BRIDGE && a->family == AF_INET6)
		put(x, f, "target6", &el); /* a key of the same bytes */
}

static void put_sender(const struct netns_entries *x, const char *link, const uint8_t mac[6],
		       const struct netns_addr *a)
{
	struct nft_elem el = { 0 };
	char name[32];

	if (x->older)
		return;
	nft_key_add(&el.key, NFT_IFNAME, link);
	nft_key_add(&el.key, NFT_MAC, mac);
	nft_key_add(&el.key, ip_part(a->family), a->bytes);
	put(x, RS_BRIDGE, of_family("sender", a->family, name), &el);
}

static void put_link(const struct netns_entries *x, enum ruleset_family f, const char *set,
		     const char *link)
{
	struct nft_elem el = { 0 };

	nft_key_add(&el.key, NFT_IFNAME, link);
	put_counting(x, f, set, &el);
}

/* Who may send what through a link. */
static void put_identity(const struct netns_entries *x, unsigned k)
{
	const struct netns_if *i = &x->v->ifs[k];
	enum ruleset_family f = i->mode == NETNS_BRIDGE ? RS_BRIDGE : RS_INET;
	struct netns_addr own;
	struct nft_elem el = { 0 };
	char link[16];

	netns_link_name(x->h, x->v->uuid, k, link);
	put_link(x, f, "spoofed", link);
	if (f == RS_BRIDGE) {
		put_link(x, f, "port", link);
		nft_key_add(&el.key, NFT_IFNAME, link);
		nft_key_add(&el.key, NFT_MAC, i->mac);
		put(x, f, "mac", &el);
	} else {
		put_link(x, f, "link", link);
		put_link(x, f, "routed", link);
	}
	netns_link_local(i->mac, &own);
	put_link_addr(x, f, link, &own);
	for (size_t a = 0; a < i->addr_count; a++) {
		put_link_addr(x, f, link, &i->addr[a]);
		if (f == RS_BRIDGE)
			put_sender(x, link, i->mac, &i->addr[a]);
	}
}

static void put_box(const struct netns_entries *x, const char *set, const struct netns_addr *own,
		    const struct netns_box *b)
{
	uint16_t first = htons(b->port_first), last = htons(b->port_last);
	enum nft_part ip = ip_part(own->family);
	struct nft_elem el = { 0 };
	char name[32];

	nft_key_add(&el.key, ip, own->bytes);
	nft_key_add(&el.key, NFT_PROTO, &b->proto_first);
	nft_key_add(&el.key, NFT_PORT, &first);
	nft_key_add(&el.key, ip, b->from_first);
	nft_key_add(&el.end, ip, own->bytes);
	nft_key_add(&el.end, NFT_PROTO, &b->proto_last);
	nft_key_add(&el.end, NFT_PORT, &last);
	nft_key_add(&el.end, ip, b->from_last);
	put(x, RS_INET, of_family(set, own->family, name), &el);
}

static int put_firewall(const struct netns_entries *x, const struct netns_addr *a, struct err *e)
{
	cleanup_free struct netns_box *box = NULL;
	size_t count;
	int r = netns_boxes(x->v->rules, x->v->rule_count, a->family, &box, &count, e);

	for (size_t i = 0; r == 0 && i < count; i++)
		put_box(x, box[i].allow ? "allow" : "deny", a, &box[i]);
	if (r == 0 && x->v->rule_count)
		put_addr(x, "guarded", a);
	if (r == 0 && x->v->closed)
		put_addr(x, "closed", a);
	return r;
}

static void put_service(const struct netns_entries *x, const char *set, const struct netns_addr *a,
			uint8_t proto, uint16_t port)
{
	uint16_t be = htons(port);
	struct nft_elem el = { 0 };
	char name[32];

	nft_key_add(&el.key, ip_part(a->family), a->bytes);
	nft_key_add(&el.key, NFT_PROTO, &proto);
	nft_key_add(&el.key, NFT_PORT, &be);
	put(x, RS_INET, of_family(set, a->family, name), &el);
}

static void put_service_of(const struct netns_entries *x, const struct netns_addr *a,
			   const struct netns_allow *w)
{
	if (!w->port)
		put_addr(x, "host_user", a);
	if (w->port && w->proto != IPPROTO_UDP)
		put_service(x, "service", a, IPPROTO_TCP, w->port);
	if (w->port && w->proto != IPPROTO_TCP)
		put_service(x, "service", a, IPPROTO_UDP, w->port);
}

/* What it may reach: the same boxes, only that the far address is where it goes to. */
static int put_reach(const struct netns_entries *x, const struct netns_addr *a, struct err *e)
{
	cleanup_free struct netns_rule *rule = calloc(x->v->allow_count + 1, sizeof(*rule));
	cleanup_free struct netns_box *box = NULL;
	size_t n = 0, count;
	int r;

	if (!rule)
		return err_code(e, -ENOMEM, "lay out what %s may reach", x->v->name);
	if (!x->v->isolate) {
		put_addr(x, "free", a);
		return 0;
	}
	for (size_t i = 0; i < x->v->allow_count; i++) {
		const struct netns_allow *w = &x->v->allow[i];

		if (w->peer == NETNS_PEER_HOST)
			put_service_of(x, a, w);
		if (w->peer != NETNS_PEER_ADDR)
			continue;
		rule[n++] = (struct netns_rule){
			.allow = true,
			.proto = w->proto,
			.port_first = w->port,
			.port_last = w->port ? w->port : 65535,
			.from = w->addr,
		};
	}
	r = netns_boxes(rule, n, a->family, &box, &count, e);
	for (size_t i = 0; r == 0 && i < count; i++)
		put_box(x, "reach", a, &box[i]);
	return r;
}

static int put_policy(const struct netns_entries *x, const struct netns_addr *a, struct err *e)
{
	int r = put_firewall(x, a, e);

	return r < 0 ? r : put_reach(x, a, e);
}

/* The address that published ports lead to: the first of its family that the host routes to. */
static const struct netns_addr *main_addr(const struct netns_vps *v, int family)
{
	for (size_t k = 0; k < v->if_count; k++)
		for (size_t a = 0; a < v->ifs[k].addr_count; a++)
			if (netns_if_is_ours(&v->ifs[k]) && v->ifs[k].addr[a].family == family)
				return &v->ifs[k].addr[a];
	return NULL;
}

static void put_port(const struct netns_entries *x, const struct netns_publish *p, const struct netns_addr *to,
		     uint8_t proto, unsigned k)
{
	uint16_t host_port = htons((uint16_t)(p->host_port + k)), port = htons((uint16_t)(p->port + k));
	bool at = netns_publish_is_at_one(p);
	enum nft_part ip = ip_part(to->family);
	struct nft_elem el = { 0 };
	char name[32];

	if (at)
		nft_key_add(&el.key, ip, p->host.bytes);
	nft_key_add(&el.key, NFT_PROTO, &proto);
	nft_key_add(&el.key, NFT_PORT, &host_port);
	nft_key_add(&el.data, ip, to->bytes);
	nft_key_add(&el.data, NFT_PORT, &port);
	put(x, RS_INET, of_family(at ? "publish_at" : "publish", to->family, name), &el);
}

/* An entry a port: a map of intervals would be copied whole for each change, and finds what is taken twice only within itself. */
static void put_publish(const struct netns_entries *x, int family)
{
	const struct netns_addr *to = main_addr(x->v, family);
	enum nft_part ip = ip_part(family);
	struct nft_elem self = { 0 };
	bool some = false;
	char name[32];

	for (size_t i = 0; to && i < x->v->publish_count; i++) {
		const struct netns_publish *p = &x->v->publish[i];

		if (p->host.family && p->host.family != family)
			continue;
		for (unsigned k = 0; k < p->count; k++) {
			if (p->proto != IPPROTO_UDP)
				put_port(x, p, to, IPPROTO_TCP, k);
			if (p->proto != IPPROTO_TCP)
				put_port(x, p, to, IPPROTO_UDP, k);
		}
		some = true;
	}
	if (!some)
		return;
	nft_key_add(&self.key, ip, to->bytes);
	nft_key_add(&self.key, ip, to->bytes);
	put(x, RS_INET, of_family("itself", family, name), &self);
}

/* What a change of a running VPS can touch. */
static int put_changeable(const struct netns_entries *x, struct err *e)
{
	for (size_t k = 0; k < x->v->if_count; k++) {
		const struct netns_if *i = &x->v->ifs[k];

		for (size_t a = 0; netns_if_is_ours(i) && a < i->addr_count; a++) {
			int r = put_policy(x, &i->addr[a], e);

			if (r < 0)
				return r;
		}
	}
	put_publish(x, AF_INET);
	put_publish(x, AF_INET6);
	return 0;
}

static void put_tracked(const struct netns_entries *x, const struct netns_addr *a)
{
	put_addr(x, "refused", a);
	put_addr(x, "tenant", a);
}

int netns_entries_put_vps(const struct netns_entries *x, struct err *e)
{
	for (unsigned k = 0; k < x->v->if_count; k++) {
		const struct netns_if *i = &x->v->ifs[k];

		if (x->kept & 1u << k)
			continue;
		if (netns_if_has_link(i))
			put_identity(x, k);
		for (size_t a = 0; netns_if_is_ours(i) && a < i->addr_count; a++)
			put_tracked(x, &i->addr[a]);
	}
	return put_changeable(x, e);
}

static void put_dns(const struct netns_entries *x, const struct netns_addr *gw)
{
	static const uint8_t protos[] = { IPPROTO_UDP, IPPROTO_TCP };
	uint16_t port = htons(53);

	for (size_t i = 0; gw->family && i < ARRAY_SIZE(protos); i++) {
		struct nft_elem el = { 0 };
		char name[32];

		nft_key_add(&el.key, ip_part(gw->family), gw->bytes);
		nft_key_add(&el.key, NFT_PROTO, &protos[i]);
		nft_key_add(&el.key, NFT_PORT, &port);
		put(x, RS_INET, of_family("dns", gw->family, name), &el);
	}
}

void netns_entries_put_dns(const struct netns_entries *x)
{
	put_dns(x, &x->h->gw4);
	put_dns(x, &x->h->gw6);
}

static void put_pool(const struct netns_entries *x, const struct netns_addr *gw)
{
	struct nft_elem from = { 0 }, to = { .is_end = true };
	uint8_t first[16], last[16];
	char name[32];

	if (!gw->family)
		return;
	netns_addr_range(gw, first, last);
	for (size_t i = netns_addr_len(gw); i-- > 0 && ++last[i] == 0;)
		; /* an interval's end is the first address after it */
	nft_key_add(&from.key, ip_part(gw->family), first);
	nft_key_add(&to.key, ip_part(gw->family), last);
	put(x, RS_INET, of_family("pool", gw->family, name), &from);
	put(x, RS_INET, of_family("pool", gw->family, name), &to);
}

void netns_entries_put_host(const struct netns_entries *x)
{
	put_link(x, RS_INET, "link", x->h->bridge);
	put_pool(x, &x->h->gw4);
	put_pool(x, &x->h->gw6);
	if (x->h->dns)
		netns_entries_put_dns(x);
}
