/* SPDX-License-Identifier: GPL-2.0-or-later */

/* The names of the VPSs that run, from their configs: nothing is kept that could grow old. */
#include "supervisor/dns_internal.h"
#include "supervisor/network.h"

#include "base/macro.h"

#define ZONE "vps"

/* An interface that other VPSs of the bridge, or the host, reach it by. */
static bool is_near(const struct netns_if *i)
{
	return i->mode == NETNS_BRIDGE || i->mode == NETNS_ROUTED;
}

static bool next_if(const struct sup_vps *v, size_t *at, struct netns_if *ret)
{
	const char *text;
	struct err ignored;

	while ((text = config_get_nth(&v->config, "net", (*at)++)))
		if (netns_if_parse(text, ret, &ignored) == 0 && is_near(ret))
			return true;
	return false;
}

static void put_addresses(struct dns_reply *r, const struct sup_vps *v, int family)
{
	struct netns_if nif;
	size_t at = 0;

	while (next_if(v, &at, &nif))
		for (size_t i = 0; i < nif.addr_count; i++)
			if (nif.addr[i].family == family)
				dns_reply_address(r, family == AF_INET ? DNS_A : DNS_AAAA,
						  nif.addr[i].bytes);
}

static const struct sup_vps *running(const struct dns *s, const char *name)
{
	const struct sup_vps *v = vps_find(s->d, name);

	return v && network_is_alive(v) ? v : NULL;
}

static const struct sup_vps *owner_of(const struct dns *s, const struct netns_addr *a)
{
	for (size_t i = 0; i < s->d->count; i++) {
		const struct sup_vps *v = s->d->vps[i];
		struct netns_if nif;
		size_t at = 0;

		while (network_is_alive(v) && next_if(v, &at, &nif))
			for (size_t k = 0; k < nif.addr_count; k++)
				if (netns_addr_equal(&nif.addr[k], a))
					return v;
	}
	return NULL;
}

/* The answer about a name of ours; `v` NULL: there is no such VPS. */
static void answer_name(struct dns_reply *r, const struct sup_vps *v, bool is_zone)
{
	unsigned type = r->q->type;

	if (v && (type == DNS_A || type == DNS_ANY))
		put_addresses(r, v, AF_INET);
	if (v && (type == DNS_AAAA || type == DNS_ANY))
		put_addresses(r, v, AF_INET6);
	if (is_zone && (type == DNS_SOA || type == DNS_ANY))
		dns_reply_soa(r, ZONE, true);
	if (is_zone && (type == DNS_NS || type == DNS_ANY))
		dns_reply_ns(r, ZONE);
}

static size_t answer_address(const struct dns *s, const struct netns_addr *a, const uint8_t *asked,
			     const struct dns_query *q, uint8_t *buf, size_t size)
{
	const struct sup_vps *v = owner_of(s, a);
	char name[sizeof(v->name) + sizeof(ZONE)];
	struct dns_reply r;

	/* Nobody else knows the pool's addresses; others may be asked about the rest. */
	if (!v && !netns_addr_in(a, &s->host.gw4) && !netns_addr_in(a, &s->host.gw6))
		return 0;
	dns_reply_begin(&r, buf, size, asked, q, v ? DNS_NOERROR : DNS_NXDOMAIN, true);
	if (v && (q->type == DNS_PTR || q->type == DNS_ANY)) {
		snprintf(name, sizeof(name), "%s." ZONE, v->name);
		dns_reply_ptr(&r, name);
	}
	return dns_reply_end(&r);
}

/* "web1.vps" to "web1", false when it is none of the zone's. */
static bool cut_zone(char *text)
{
	size_t len = strlen(text), zone = strlen("." ZONE);

	if (len <= zone || !STREQ(text + len - zone, "." ZONE))
		return false;
	text[len - zone] = '\0';
	return true;
}

/* A bare name is a VPS's only when its addresses are asked for: "com NS", which a validating
 * resolver asks, is not for us to deny. */
static bool is_bare(const struct dns *s, const struct dns_query *q, const char *text)
{
	return !strchr(text, '.') &&
	       (q->type == DNS_A || q->type == DNS_AAAA || q->type == DNS_ANY) && running(s, text);
}

unsigned dns_zone_cost(const struct dns *s, const struct dns_query *q)
{
	/* To find an address' owner all configs are read. */
	return q->type == DNS_PTR ? (unsigned)(s->d->count / 16) : 0;
}

size_t dns_zone_answer(const struct dns *s, const uint8_t *asked, const struct dns_query *q,
		       uint8_t *buf, size_t size)
{
	struct netns_addr a = { 0 };
	char text[DNS_TEXT_MAX];
	const struct sup_vps *v;
	bool is_zone, in_zone;
	struct dns_reply r;

	if (q->class != DNS_CLASS_IN)
		return dns_error(buf, size, asked, q, DNS_REFUSED);
	dns_name_text(q->name, q->name_len, text);
	if (q->type == DNS_PTR) {
		a.family = dns_name_reverse(text, a.bytes);
		return a.family ? answer_address(s, &a, asked, q, buf, size) : 0;
	}
	is_zone = STREQ(text, ZONE);
	in_zone = is_zone || cut_zone(text);
	if (!in_zone && !is_bare(s, q, text))
		return 0;
	v = running(s, text);
	dns_reply_begin(&r, buf, size, asked, q, v || is_zone ? DNS_NOERROR : DNS_NXDOMAIN, true);
	answer_name(&r, v, is_zone);
	if (!r.answers && in_zone && !r.truncated)
		dns_reply_soa(&r, ZONE, false);
	return dns_reply_end(&r);
}
