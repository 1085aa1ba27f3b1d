/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "supervisor/change.h"

#include "base/log.h"
#include "base/macro.h"
#include "runtime/settings.h"
#include "supervisor/monitor_link.h"
#include "supervisor/network.h"

static void change_free(struct change *g)
{
	json_decref(g->live);
	json_decref(g->pending);
	json_decref(g->note);
	json_decref(g->missing);
	json_decref(g->before);
	json_decref(g->after);
	free(g);
}

void change_fail(struct change *g, const struct err *e)
{
	server_fail(g->call, e);
	change_free(g);
}

static void change_done(struct change *g)
{
	struct sup_vps *v = vps_find(g->d, g->name);

	if (g->note)
		json_array_insert(g->missing, 0, g->note);
	json_decref(g->note);
	g->note = missing_text(g->missing);
	server_reply(g->call, json_pack("{s:O, s:O*}", "pending", g->pending, "note", g->note), NULL,
		     0);
	event_emit(g->d, "changed", g->name, NULL);
	allowed_renew(g->d, g->name);
	if (v && json_object_get(g->live, "net.allow"))
		allowed_tell(v);
	change_free(g);
}

static struct sup_vps *change_vps(struct change *g)
{
	struct sup_vps *v = vps_find(g->d, g->name);
	struct err e;

	if (v)
		return v;
	err_set(&e, ERR_NOT_FOUND, "%s %s: it is gone", g->verb, g->name);
	change_fail(g, &e);
	return NULL;
}

static void on_put_back(void *ctx, json_t *result, const struct err *e)
{
	struct change *g = ctx;
	struct sup_vps *v = vps_find(g->d, g->name);
	struct err bad;

	(void)result;
	if (e)
		log_error("%s: put the old config back: %s", g->name, e->msg);
	if (v)
		vps_load(v, &bad);
	change_fail(g, &g->error);
}

static void on_applied(void *ctx, const struct err *e, const char *note)
{
	struct change *g = ctx;
	struct job_spec job = { .key = g->name, .done = on_put_back, .ctx = g };
	struct err bad;

	network_release(g->d); /* nobody may need the bridge any longer, or again */
	if (!e) {
		if (note)
			g->note = json_string(note);
		change_done(g);
		return;
	}
	g->error = *e;
	err_wrap(&g->error, "%s %s", g->verb, g->name);
	if (!g->before) { /* --runtime: nothing was written */
		change_fail(g, &g->error);
		return;
	}
	job.request = json_pack("{s:s, s:s, s:s, s:O, s:O}", "op", "set-text", "lib", g->d->root.lib,
				"name", g->name, "old", g->after, "text", g->before);
	if (job_submit(g->d->jobs, &job, NULL, &bad) < 0)
		on_put_back(g, NULL, &bad);
}

bool vps_takes_live(const struct sup_vps *v)
{
	return v->link && (v->state == SUP_RUNNING || v->state == SUP_PAUSED || v->state == SUP_SAVING);
}

void change_apply(struct change *g)
{
	struct sup_vps *v = change_vps(g);
	struct err e;

	if (!v)
		return;
	if (!vps_takes_live(v) || !json_object_size(g->live))
		change_done(g);
	/* A first interface on the bridge needs one. */
	else if (json_object_get(g->live, "net") && network_prepare(v, &v->config, &e) < 0)
		on_applied(g, &e, NULL);
	else if (link_request(v->link, json_pack("{s:s, s:O}", "op", "set", "settings", g->live),
			      NULL, 0, on_applied, g, &e) < 0)
		on_applied(g, &e, NULL);
}

static void on_written(void *ctx, json_t *result, const struct err *e)
{
	struct change *g = ctx;
	struct sup_vps *v;
	struct err told;

	if (e) {
		told = *e;
		err_wrap(&told, "%s %s", g->verb, g->name);
		change_fail(g, &told);
		return;
	}
	v = change_vps(g);
	if (!v)
		return;
	g->before = json_incref(json_object_get(result, "before"));
	g->after = json_incref(json_object_get(result, "after"));
	if (vps_load(v, &told) < 0)
		log_error("%s: %s", v->name, told.msg);
	change_apply(g);
}

void change_write(struct change *g, json_t *request)
{
	struct job_spec job = { .key = g->name, .request = request, .done = on_written, .ctx = g };
	struct err e;

	if (job_submit(g->d->jobs, &job, NULL, &e) < 0)
		change_fail(g, &e);
}

struct change *change_new(struct server_call *c, struct sup_vps *v, const char *verb)
{
	struct change *g = calloc(1, sizeof(*g));
	struct err e;

	if (!g) {
		err_code(&e, -ENOMEM, "%s %s", verb, v->name);
		server_fail(c, &e);
		return NULL;
	}
	*g = (struct change){ .call = c, .d = v->d, .verb = verb, .live = json_object(),
			      .pending = json_array(), .missing = json_array() };
	snprintf(g->name, sizeof(g->name), "%s", v->name);
	return g;
}

void change_note(struct change *g, const struct sup_vps *v, const struct setting *s, const char *value)
{
	json_t *seen;
	size_t i;

	if (v->state == SUP_STOPPED)
		return;
	if ((s->flags & SETTING_LIVE) && (s->flags & SETTING_LIMIT))
		json_object_set_new(g->live, s->name, json_string(value ? value : s->def ? s->def : ""));
	if (s->flags & SETTING_LIVE)
		return;
	json_array_foreach(g->pending, i, seen)
		if (STREQ(json_string_value(seen), s->name))
			return;
	json_array_append_new(g->pending, json_string(s->name));
}

/* Lists go to the monitor as they are to be, whatever was added and taken away; names of VPSs as
 * the addresses they have. `now` is the whole new config, and is used up. */
static int live_lists(struct change *g, struct config *now, struct err *e)
{
	int r = network_resolve(g->d, now, e);

	for (size_t i = 0; r == 0 && i < settings_count; i++) {
		const char *key = settings[i].name, *value;
		json_t *all;

		if (!(settings[i].flags & SETTING_LIST) || !json_object_get(g->live, key))
			continue;
		all = json_array();
		for (size_t n = 0; (value = config_get_nth(now, key, n)); n++)
			json_array_append_new(all, json_string(value));
		json_object_set_new(g->live, key, all);
	}
	return r;
}

/*
 * Interfaces that wait for the next start: the host's own network is taken or left, addresses are
 * missing (in a text that was edited), or the monitor is older than that.
 */
static int put_off_net(struct sup_vps *v, struct change *g, const struct config *now, struct err *e)
{
	if (!json_object_get(g->live, "net"))
		return 0;
	if (v->state == SUP_SAVING || v->moving) {
		err_set(e, ERR_STATE, "net: its interfaces are just being saved");
		return err_hint(e, "set it when that is done");
	}
	if (link_takes(v->link, "net") && !network_is_host(&v->config) && !network_is_host(now) &&
	    network_is_complete(v, now))
		return 0;
	json_object_del(g->live, "net");
	json_array_append_new(g->pending, json_string("net"));
	return 0;
}

int change_prepare(struct change *g, struct sup_vps *v, struct config *now, struct err *e)
{
	int r = put_off_net(v, g, now, e);

	return r < 0 ? r : live_lists(g, now, e);
}
