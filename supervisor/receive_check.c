/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "supervisor/network.h"
#include "supervisor/receive.h"

#include "base/macro.h"
#include "base/parse.h"
#include "base/proc.h"

#include <net/if.h>

/*
 * What the source says of the config is a stranger's word: keys and values are checked as anybody's, and
 * those that reach out of the VPS (paths and devices of the host, its network, system calls) are not
 * taken from it.
 */

static void check_name(struct receiving *r)
{
	if (!name_is_valid(r->name))
		mig_obstacle(r->obstacles, "%.80s is not a name", r->name);
	else if (vps_find(r->d, r->name))
		mig_obstacle(r->obstacles, "there is a VPS named %s already", r->name);
}

/* Settings that reach out of the VPS. */
static void check_reach(struct receiving *r)
{
	static const char *const keys[] = { "mount", "device", "feature" };
	const char *text;
	struct netns_if nif;
	struct err ignored;

	for (size_t k = 0; k < ARRAY_SIZE(keys); k++)
		for (size_t i = 0; (text = config_get_nth(&r->config, keys[k], i)); i++)
			mig_obstacle(r->obstacles, "%s = %s is not taken from another host", keys[k], text);
	for (size_t i = 0; (text = config_get_nth(&r->config, "net", i)); i++) {
		if (netns_if_parse(text, &nif, &ignored) < 0)
			continue;
		if (nif.mode == NETNS_HOST)
			mig_obstacle(r->obstacles, "net = host is not taken from another host");
		else if (nif.parent[0] && !if_nametoindex(nif.parent))
			mig_obstacle(r->obstacles, "there is no link %s, which its interface %s needs", nif.parent,
				 nif.name);
	}
}

/* Those from the pool, which are chosen anew, and MACs, which follow from the UUID. */
static int forget_addresses(struct config *c, struct err *e)
{
	char out[NETNS_IF_MAX][NETNS_TEXT_MAX];
	const char *text;
	size_t n = 0;
	int r = 0;

	for (; n < NETNS_IF_MAX && (text = config_get_nth(c, "net", n)); n++) {
		struct netns_if nif;

		r = netns_if_parse(text, &nif, e);
		if (r < 0)
			return r;
		if (nif.mode == NETNS_BRIDGE && !nif.parent[0])
			nif.addr_count = 0;
		nif.has_mac = false;
		netns_if_format(&nif, out[n]);
	}
	if (n)
		r = config_set(c, "net", NULL, e);
	for (size_t i = 0; r == 0 && i < n; i++)
		r = config_set(c, "net", out[i], e);
	return r;
}

static int new_identity(struct config *c, struct err *e)
{
	char uuid[37], created[32];
	int r = proc_random_uuid(uuid);

	if (r < 0)
		return err_code(e, r, "make a UUID");
	snprintf(created, sizeof(created), "%llu", (unsigned long long)(now_realtime_us() / 1000000));
	r = config_set_record(c, "uuid", uuid, e);
	if (r == 0)
		r = config_set_record(c, "created", created, e);
	return r < 0 ? r : forget_addresses(c, e);
}

/* A UUID that is here already would give two VPSs one MAC. */
static bool uuid_is_here(const struct receiving *r)
{
	const char *uuid = config_get(&r->config, "uuid");

	for (size_t i = 0; uuid && i < r->d->count; i++) {
		const char *other = config_get(&r->d->vps[i]->config, "uuid");

		if (other && STREQ(other, uuid))
			return true;
	}
	return false;
}

static int adapt(struct receiving *r, struct err *e)
{
	struct config *c = &r->config;
	bool anew = r->offer.mode == MIG_COPY || (r->offer.mode == MIG_STREAM && uuid_is_here(r));
	int ret = config_set_record(c, "template", r->offer.template.name, e);

	if (ret == 0)
		ret = config_set_record(c, "template.digest", r->offer.template.digest, e);
	if (ret == 0)
		ret = config_set_record(c, "backend", "overlay", e);
	if (ret == 0)
		ret = config_set_record(c, "id.base", NULL, e); /* take_place() sets ours */
	if (ret == 0)
		ret = config_set_record(c, "owner", NULL, e);
	if (ret == 0)
		ret = config_set_record(c, "ephemeral", NULL, e);
	if (ret == 0 && anew)
		ret = new_identity(c, e);
	else if (ret == 0 && uuid_is_here(r))
		ret = err_set(e, ERR_EXISTS, "a VPS with its UUID is here already");
	return ret;
}

/* Fills r->config as it is to be here; what cannot be becomes an obstacle. */
static void check_config(struct receiving *r)
{
	struct sup_vps probe = { .d = r->d };
	struct err e;
	int ret = config_parse(&r->config, r->offer.config, strlen(r->offer.config), "config", &e);

	snprintf(probe.name, sizeof(probe.name), "%s", r->name);
	if (ret == 0) {
		check_reach(r);
		ret = adapt(r, &e);
	}
	if (ret == 0)
		ret = network_complete(&probe, &r->config, &e);
	if (ret >= 0)
		ret = network_check(&probe, &r->config, &e);
	if (ret < 0)
		mig_obstacle(r->obstacles, "%s", e.msg);
}

void receive_check(struct receiving *r)
{
	check_name(r);
	check_config(r);
}
