/* SPDX-License-Identifier: GPL-2.0-or-later */

/*
 * Who has which address and which port: the settings of networks among all VPSs of the state root.
 * Nothing here touches the kernel.
 */
#include "supervisor/network.h"

#include "base/macro.h"
#include "base/str.h"
#include "runtime/network.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* Addresses in use. */
struct used {
	struct netns_addr *addr;
	size_t count;
};

static int used_add(struct used *u, const struct netns_addr *a, size_t count)
{
	struct netns_addr *bigger;

	if (!count)
		return 0;
	bigger = reallocarray(u->addr, u->count + count, sizeof(*bigger));
	if (!bigger)
		return -ENOMEM;
	memcpy(bigger + u->count, a, count * sizeof(*a));
	u->addr = bigger;
	u->count += count;
	return 0;
}

static int used_by(struct used *u, const struct config *c)
{
	const char *text;
	struct netns_if nif;
	struct err ignored;
	int r = 0;

	for (size_t i = 0; r == 0 && (text = config_get_nth(c, "net", i)); i++)
		if (netns_if_parse(text, &nif, &ignored) == 0)
			r = used_add(u, nif.addr, nif.addr_count);
	return r;
}

int network_note_addresses(struct sup_vps *v)
{
	struct used u = { 0 };
	int r = used_by(&u, &v->config);

	if (r < 0) {
		free(u.addr);
		return r;
	}
	free(v->addr);
	v->addr = u.addr;
	v->addr_count = u.count;
	return 0;
}

int network_take(struct sup_vps *v, const struct config *c, struct err *e)
{
	static const char *const keys[] = { "net", "publish" };
	const char *text;
	int r = 0;

	for (size_t k = 0; k < ARRAY_SIZE(keys); k++)
		for (size_t i = 0; r == 0 && (text = config_get_nth(c, keys[k], i)); i++)
			r = config_set(&v->config, keys[k], text, e);
	if (r == 0 && network_note_addresses(v) < 0)
		r = err_code(e, -ENOMEM, "remember its addresses");
	return r;
}

/* Whose address this is, other than `v`; NULL: nobody's. */
static const struct sup_vps *owner_of(const struct sup_vps *v, const struct netns_addr *a)
{
	for (size_t i = 0; i < v->d->count; i++) {
		const struct sup_vps *other = v->d->vps[i];

		for (size_t k = 0; other != v && k < other->addr_count; k++)
			if (netns_addr_equal(&other->addr[k], a))
				return other;
	}
	return NULL;
}

static int take_address(struct sup_vps *v, struct netns_if *nif, int family, const struct used *u,
			struct err *e)
{
	const struct netns_host *h = network_host(v->d);
	const struct netns_addr *gw = family == AF_INET ? &h->gw4 : &h->gw6;

	if (gw->family == 0 || !netns_if_wants(nif, family))
		return 0;
	return netns_pool_take(h, family, u->addr, u->count, &nif->addr[nif->addr_count], e) < 0
		       ? -ENOSPC
		       : (nif->addr_count++, 1);
}

/* Completes one interface. Returns 1 when it was changed. */
static int complete_if(struct sup_vps *v, struct netns_if *nif, struct used *u, struct err *e)
{
	static const int families[] = { AF_INET, AF_INET6 };
	int changed = 0, r;

	for (size_t i = 0; i < nif->addr_count; i++) {
		const struct sup_vps *other = owner_of(v, &nif->addr[i]);
		char text[64];

		if (other)
			return err_set(e, ERR_EXISTS, "net: address %s is that of %s",
				       netns_addr_format_host(&nif->addr[i], text), other->name);
	}
	for (size_t i = 0; i < ARRAY_SIZE(families); i++) {
		r = take_address(v, nif, families[i], u, e);
		if (r < 0)
			return r;
		if (r > 0 && used_add(u, &nif->addr[nif->addr_count - 1], 1) < 0)
			return err_code(e, -ENOMEM, "take an address");
		changed |= r;
	}
	return changed;
}

/* An address of a pool: that pool stays. */
static bool any_of_pools(const struct sup_daemon *d, const struct used *u)
{
	const struct netns_host *h = network_host(d);

	for (size_t i = 0; i < u->count; i++)
		if (netns_addr_in(&u->addr[i], &h->gw4) || netns_addr_in(&u->addr[i], &h->gw6))
			return true;
	return false;
}

static int all_used(struct sup_daemon *d, struct used *u, struct err *e)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < d->count; i++)
		r = used_add(u, d->vps[i]->addr, d->vps[i]->addr_count);
	if (r < 0)
		return err_code(e, r, "read the addresses in use");
	return any_of_pools(d, u) ? 0 : network_choose_pools(d, e);
}

/* What an interface of this name has from the pool stays its own when it is described anew. */
static int keep_addresses(struct sup_vps *v, struct netns_if *nif)
{
	const struct netns_host *h = network_host(v->d);
	bool wants4 = netns_if_wants(nif, AF_INET), wants6 = netns_if_wants(nif, AF_INET6);
	struct netns_if old;
	const char *text;
	struct err ignored;
	int changed = 0;

	for (size_t i = 0; (text = config_get_nth(&v->config, "net", i)); i++) {
		if (netns_if_parse(text, &old, &ignored) < 0 || !STREQ(old.name, nif->name))
			continue;
		for (size_t k = 0; k < old.addr_count && nif->addr_count < NETNS_ADDR_MAX; k++) {
			bool four = old.addr[k].family == AF_INET;

			if (!(four ? wants4 : wants6) || !netns_addr_in(&old.addr[k], four ? &h->gw4 : &h->gw6))
				continue;
			nif->addr[nif->addr_count++] = old.addr[k];
			changed = 1;
		}
	}
	return changed;
}

int network_complete_text(struct sup_vps *v, const char *text, char out[NETNS_TEXT_MAX],
			  struct err *e)
{
	struct used u = { 0 };
	struct netns_if nif;
	int r, kept;

	r = netns_if_parse(text, &nif, e);
	if (r < 0)
		return err_wrap(e, "net");
	kept = keep_addresses(v, &nif);
	r = all_used(v->d, &u, e);
	if (r == 0)
		r = complete_if(v, &nif, &u, e);
	free(u.addr);
	if (r < 0)
		return r;
	netns_if_format(&nif, out);
	return r || kept;
}

int network_complete(struct sup_vps *v, struct config *c, struct err *e)
{
	char out[NETNS_IF_MAX][NETNS_TEXT_MAX];
	struct used u = { 0 };
	const char *text;
	size_t n = 0;
	int changed = 0, r;

	r = all_used(v->d, &u, e);
	if (r == 0)
		r = used_by(&u, c);
	for (; r >= 0 && (text = config_get_nth(c, "net", n)); n++) {
		struct netns_if nif;

		if (n == NETNS_IF_MAX)
			r = err_set(e, ERR_USAGE, "net: more than %d interfaces", NETNS_IF_MAX);
		if (r >= 0)
			r = netns_if_parse(text, &nif, e);
		if (r >= 0)
			r = complete_if(v, &nif, &u, e);
		if (r < 0)
			break;
		changed |= r;
		netns_if_format(&nif, out[n]);
	}
	free(u.addr);
	if (r < 0 || !changed)
		return r < 0 ? r : 0;
	r = config_set(c, "net", NULL, e);
	for (size_t i = 0; r == 0 && i < n; i++)
		r = config_set(c, "net", out[i], e);
	return r < 0 ? r : 1;
}

static bool lacks(const struct netns_if *nif, const struct netns_addr *gw, int family)
{
	return gw->family && netns_if_wants(nif, family);
}

bool network_is_complete(struct sup_vps *v, const struct config *c)
{
	const struct netns_host *h = network_host(v->d);
	struct netns_if nif;
	const char *text;
	struct err ignored;

	for (size_t i = 0; (text = config_get_nth(c, "net", i)); i++)
		if (netns_if_parse(text, &nif, &ignored) < 0 || lacks(&nif, &h->gw4, AF_INET) ||
		    lacks(&nif, &h->gw6, AF_INET6))
			return false;
	return true;
}

bool network_is_host(const struct config *c)
{
	struct netns_if nif;
	const char *text;
	struct err ignored;

	for (size_t i = 0; (text = config_get_nth(c, "net", i)); i++)
		if (netns_if_parse(text, &nif, &ignored) == 0 && nif.mode == NETNS_HOST)
			return true;
	return false;
}

int network_default(struct sup_vps *v, struct config *c, struct err *e)
{
	int r = 0;

	if (!config_get_nth(c, "net", 0))
		r = config_set(c, "net", "name=eth0,mode=bridge", e);
	if (r == 0)
		r = network_complete(v, c, e);
	return r < 0 ? r : network_check(v, c, e);
}

static int check_ports(const struct sup_vps *v, const struct rt_network *mine, struct err *e)
{
	for (size_t i = 0; i < v->d->count; i++) {
		const struct sup_vps *other = v->d->vps[i];
		struct netns_publish p;
		const char *text;
		struct err ignored;

		for (size_t k = 0; other != v &&
				   (text = config_get_nth(&other->config, "publish", k)); k++) {
			if (netns_publish_parse(text, &p, &ignored) < 0)
				continue;
			for (size_t m = 0; m < mine->vps.publish_count; m++) {
				uint16_t port = netns_publish_clash(&p, &mine->publish[m]);

				if (port)
					return err_set(e, ERR_EXISTS, "publish: port %u of the host is that of %s",
						       port, other->name);
			}
		}
	}
	return 0;
}

int network_check(struct sup_vps *v, const struct config *c, struct err *e)
{
	const char *uuid = config_get(c, "uuid");
	struct rt_network n;
	int r;

	r = rt_network_parse(&n, network_host(v->d), v->name, uuid ? uuid : "", c, e);
	if (r < 0)
		return r;
	r = check_ports(v, &n, e);
	rt_network_done(&n);
	return r;
}

/* Each address of the VPS named in `a`, in its place. */
static int allow_named(struct sup_daemon *d, const struct netns_allow *a, struct config *c,
		       struct err *e)
{
	const struct sup_vps *v = vps_find(d, a->name);
	int r = 0;

	for (size_t i = 0; v && r == 0 && i < v->addr_count; i++) {
		struct netns_allow one = *a;
		char text[NETNS_TEXT_MAX];

		one.peer = NETNS_PEER_ADDR;
		one.addr = v->addr[i];
		one.addr.prefix = one.addr.family == AF_INET ? 32 : 128;
		r = config_set(c, "net.allow", netns_allow_format(&one, text), e);
	}
	return r;
}

int network_resolve(struct sup_daemon *d, struct config *c, struct err *e)
{
	cleanup_strv struct strv texts = { 0 };
	const char *text;
	int r = 0;

	for (size_t i = 0; r == 0 && (text = config_get_nth(c, "net.allow", i)); i++)
		r = strv_add(&texts, text);
	if (r == 0 && texts.count)
		r = config_set(c, "net.allow", NULL, e);
	for (size_t i = 0; r == 0 && i < texts.count; i++) {
		struct netns_allow a;

		r = netns_allow_parse(texts.item[i], &a, e);
		if (r == 0)
			r = a.peer == NETNS_PEER_NAME ? allow_named(d, &a, c, e)
						      : config_set(c, "net.allow", texts.item[i], e);
	}
	return r;
}
