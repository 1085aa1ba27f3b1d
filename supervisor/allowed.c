/* SPDX-License-Identifier: GPL-2.0-or-later */

/*
 * Who may reach another VPS by its name (net.allow) may reach the addresses that the name stands for. Those that run
 * are told when it stands for others: what was one VPS's address may be another's next.
 */
#include "supervisor/daemon.h"
#include "supervisor/network.h"

#include "base/log.h"
#include "base/macro.h"
#include "supervisor/monitor_link.h"

static void on_told(void *ctx, const struct err *e, const char *note)
{
	(void)ctx;
	(void)note;
	if (e)
		log_warn("net.allow: %s", e->msg);
}

/* Copies what it may reach; whether that is `name` too (NULL: any name). */
static int copy_allowed(const struct sup_vps *v, const char *name, struct config *ret, struct err *e)
{
	const char *text;
	bool named = false;
	int r = 0;

	for (size_t i = 0; r == 0 && (text = config_get_nth(&v->config, "net.allow", i)); i++) {
		struct netns_allow a;

		r = config_set(ret, "net.allow", text, e);
		if (r == 0 && netns_allow_parse(text, &a, e) == 0)
			named = named || (a.peer == NETNS_PEER_NAME && (!name || STREQ(a.name, name)));
	}
	return r < 0 ? r : named;
}

static int tell(struct sup_vps *v, struct config *allowed, struct err *e)
{
	json_t *all;
	const char *text;
	int r = network_resolve(v->d, allowed, e);

	if (r < 0)
		return r;
	all = json_array();
	for (size_t i = 0; (text = config_get_nth(allowed, "net.allow", i)); i++)
		json_array_append_new(all, json_string(text));
	return link_request(v->link, json_pack("{s:s, s:{s:o}}", "op", "set", "settings", "net.allow", all), NULL,
			    0, on_told, NULL, e);
}

static void renew(struct sup_vps *v, const char *name)
{
	struct config allowed = { 0 };
	struct err e;
	int r;

	if (!vps_takes_live(v))
		return;
	r = copy_allowed(v, name, &allowed, &e);
	if (r > 0)
		r = tell(v, &allowed, &e);
	if (r < 0)
		log_warn("%s: net.allow: %s", v->name, e.msg);
	config_done(&allowed);
}

void allowed_tell(struct sup_vps *v)
{
	renew(v, NULL);
}

void allowed_renew(struct sup_daemon *d, const char *name)
{
	for (size_t i = 0; i < d->count; i++)
		renew(d->vps[i], name);
}
