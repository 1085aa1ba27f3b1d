/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "supervisor/change.h"
#include "supervisor/network.h"

#include "base/fd.h"
#include "base/macro.h"
#include "netns/netns.h"
#include "runtime/settings.h"

/* The ports that are new are nobody else's on the host. */
static int check_new_ports(const struct sup_vps *v, const struct config *now, struct err *e)
{
	const struct netns_host *h = network_host(v->d);
	const char *text, *old;
	int r = 0;

	for (size_t i = 0; r == 0 && (text = config_get_nth(now, "publish", i)); i++) {
		struct netns_publish p;
		bool had = false;

		for (size_t k = 0; (old = config_get_nth(&v->config, "publish", k)); k++)
			had = had || STREQ(old, text);
		if (!had && netns_publish_parse(text, &p, e) == 0)
			r = netns_publish_is_free(&p, e) ?: netns_publish_elsewhere(h, &p, 1, e);
	}
	return r;
}

/* What the settings mean together. */
static int check_whole(struct sup_vps *v, struct change *g, struct config *now, struct err *e)
{
	int r = network_check(v, now, e);

	if (r == 0 && vps_takes_live(v))
		r = check_new_ports(v, now, e);
	if (r == 0 && vps_takes_live(v))
		r = change_prepare(g, v, now, e);
	return r;
}

/* Checks one by setting it in a copy of the config. */
static int check_one(struct server_call *c, struct sup_vps *v, struct change *g,
		     struct config *copy, json_t *item, bool runtime, struct err *e)
{
	const char *key = json_string_value(json_object_get(item, "key"));
	const char *value = json_string_value(json_object_get(item, "value"));
	const struct setting *s;
	int r;

	if (config_is_record(key))
		return err_set(e, ERR_USAGE, "%s: it is fixed when a VPS is created", key);
	s = setting_find(key, e);
	if (!s)
		return -EINVAL;
	if (s->flags & SETTING_FIXED)
		return err_set(e, ERR_USAGE, "%s: it is fixed when a VPS is created", s->name);
	r = may_set(call_uid(c), s->name, e);
	if (r == 0)
		r = config_set(copy, s->name, value, e);
	if (r < 0)
		return r;
	/* An interface's addresses are taken by being written down; what names of net.allow stand for is told anew from
	 * what is written. */
	if (runtime && ((s->flags & (SETTING_LIVE | SETTING_LIMIT)) != (SETTING_LIVE | SETTING_LIMIT) ||
			STREQ(s->name, "net") || STREQ(s->name, "net.allow"))) {
		err_set(e, ERR_USAGE, "%s: it cannot be changed for the running VPS alone", s->name);
		return err_hint(e, "leave --runtime away");
	}
	change_note(g, v, s, *value ? value : NULL);
	missing_look(g->d, s->name, value, g->missing);
	return 0;
}

static int copy_config(const struct sup_vps *v, struct config *copy, struct err *e)
{
	cleanup_free char *text = config_format(&v->config);

	if (!text)
		return err_code(e, -ENOMEM, "copy the config");
	return config_parse(copy, text, strlen(text), "config", e);
}

/* A new interface gets its addresses now, and they are what is written. */
static int complete_interface(struct sup_vps *v, json_t *item, struct err *e)
{
	const char *value = json_string_value(json_object_get(item, "value"));
	char text[NETNS_TEXT_MAX];
	int r;

	if (!STREQ(json_string_value(json_object_get(item, "key")), "net") || !*value ||
	    *value == '-')
		return 0;
	r = network_complete_text(v, value, text, e);
	if (r > 0)
		json_object_set_new(item, "value", json_string(text));
	return r < 0 ? r : 0;
}

static int check_all(struct server_call *c, struct sup_vps *v, struct change *g, bool runtime,
		     struct err *e)
{
	json_t *item, *list = json_object_get(call_params(c), "settings");
	struct config copy = { 0 };
	size_t i;
	int r;

	r = vps_check(v, SUP_EV_CONFIG, "set", e);
	if (r == 0 && runtime && !vps_takes_live(v))
		r = err_set(e, ERR_STATE, "set %s: it is not running", v->name);
	if (r < 0)
		return r;
	r = vps_load(v, e);
	if (r == 0)
		r = copy_config(v, &copy, e);
	json_array_foreach(list, i, item)
		if (r == 0)
			r = complete_interface(v, item, e);
	json_array_foreach(list, i, item)
		if (r == 0)
			r = check_one(c, v, g, &copy, item, runtime, e);
	if (r == 0)
		r = check_whole(v, g, &copy, e);
	config_done(&copy);
	return r < 0 ? err_wrap(e, "set %s", v->name) : 0;
}

void method_set(struct server_call *c, void *userdata)
{
	bool runtime = call_bool(c, "runtime");
	struct sup_vps *v = method_vps(c, userdata, "Set");
	struct change *g;
	struct err e;

	g = v ? change_new(c, v, "set") : NULL;
	if (!g)
		return;
	if (check_all(c, v, g, runtime, &e) < 0) {
		change_fail(g, &e);
		return;
	}
	if (runtime) {
		change_apply(g);
		return;
	}
	change_write(g, json_pack("{s:s, s:s, s:s, s:O}", "op", "set", "lib", v->d->root.lib, "name", v->name,
				  "settings", json_object_get(call_params(c), "settings")));
}

static bool same(const char *a, const char *b)
{
	return a && b ? STREQ(a, b) : a == b;
}

/* As written in the file, without the default. */
static const char *written(const struct config *c, const char *key, size_t nth)
{
	for (size_t i = 0; i < c->count; i++)
		if (c->lines[i].key && STREQ(c->lines[i].key, key) && nth-- == 0)
			return c->lines[i].value;
	return NULL;
}

static bool key_is_same(const struct config *a, const struct config *b, const char *key)
{
	for (size_t i = 0;; i++) {
		const char *x = written(a, key, i), *y = written(b, key, i);

		if (!same(x, y))
			return false;
		if (!x)
			return true;
	}
}

/* The record keys decide whose files the VPS may touch: an edited file must leave them as they are.
 * When the old file cannot be read root is trusted to mend it. */
static int check_records(struct server_call *c, const struct sup_vps *v, const struct config *now,
			 struct err *e)
{
	const struct config *both[] = { &v->config, now };

	if (v->config_error.code && call_uid(c) == 0)
		return 0;
	for (size_t n = 0; n < 2; n++)
		for (size_t i = 0; i < both[n]->count; i++) {
			const char *key = both[n]->lines[i].key;

			if (key && config_is_record(key) && !key_is_same(&v->config, now, key))
				return err_set(e, ERR_USAGE, "%s: it is fixed when a VPS is created",
					       key);
		}
	return 0;
}

static int check_text(struct server_call *c, struct sup_vps *v, struct change *g, struct err *e)
{
	const char *text = call_string(c, "text");
	struct config now = { 0 };
	int r;

	r = vps_check(v, SUP_EV_CONFIG, "edit", e);
	if (r < 0)
		return r;
	vps_load(v, &(struct err){ 0 });
	r = config_parse(&now, text, strlen(text), "config", e);
	if (r == 0)
		r = check_records(c, v, &now, e);
	for (size_t i = 0; r == 0 && i < settings_count; i++) {
		const struct setting *s = &settings[i];

		if (key_is_same(&v->config, &now, s->name))
			continue;
		r = may_set(call_uid(c), s->name, e);
		if (r == 0 && (s->flags & SETTING_FIXED) && !v->config_error.code)
			r = err_set(e, ERR_USAGE, "%s: it is fixed when a VPS is created", s->name);
		if (r == 0)
			change_note(g, v, s, written(&now, s->name, 0));
	}
	for (size_t i = 0; r == 0 && i < now.count; i++) /* before the names of net.allow become addresses */
		if (now.lines[i].key && !key_is_same(&v->config, &now, now.lines[i].key))
			missing_look(g->d, now.lines[i].key, now.lines[i].value, g->missing);
	if (r == 0)
		r = check_whole(v, g, &now, e);
	config_done(&now);
	return r < 0 ? err_wrap(e, "edit %s", v->name) : 0;
}

void method_set_text(struct server_call *c, void *userdata)
{
	struct sup_vps *v = method_vps(c, userdata, "SetConfigText");
	struct change *g;
	struct err e;

	g = v ? change_new(c, v, "edit") : NULL;
	if (!g)
		return;
	if (check_text(c, v, g, &e) < 0) {
		change_fail(g, &e);
		return;
	}
	change_write(g, json_pack("{s:s, s:s, s:s, s:s, s:s}", "op", "set-text", "lib", v->d->root.lib, "name", v->name,
				  "old", call_string(c, "old"), "text", call_string(c, "text")));
}

static json_t *list_settings(const struct config *c)
{
	json_t *list = json_array();

	for (size_t i = 0; i < c->count; i++)
		if (c->lines[i].key)
			json_array_append_new(list, json_pack("{s:s, s:s}", "key", c->lines[i].key, "value",
							      c->lines[i].value));
	return list;
}

void method_get_config(struct server_call *c, void *userdata)
{
	struct sup_vps *v = method_vps(c, userdata, "GetConfig");
	cleanup_close int fd = -EBADF;
	cleanup_free char *text = NULL;
	struct config now = { 0 };
	char dir[512], file[600];
	json_t *list, *t;
	size_t len;
	struct err e;
	int r;

	if (!v)
		return;
	snprintf(file, sizeof(file), "%s/config", host_root_lib(&v->d->root, v->name, dir));
	fd = vps_open_lib(v, &e);
	r = fd < 0 ? fd : fd_read_file_at(fd, "config", CONFIG_MAX, &text, &len);
	if (fd >= 0 && r < 0)
		err_code(&e, r, "read the config");
	t = r < 0 ? NULL : json_stringn(text, len);
	if (r >= 0 && !t)
		r = err_set(&e, ERR_USAGE, "the config is not UTF-8");
	if (r < 0) {
		method_fail(c, "config", v->name, &e);
		return;
	}
	/* One that is damaged is given as it is, so that it can be edited. */
	r = config_parse(&now, text, len, file, &e);
	list = list_settings(&now);
	config_done(&now);
	server_reply(c, json_pack("{s:o, s:o, s:s*}", "settings", list, "text", t, "damaged", r < 0 ? e.msg : NULL),
		     NULL, 0);
}
