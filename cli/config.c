/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "cli/cli.h"

#include "base/macro.h"

struct view {
	struct cli *c;
	json_t *table; /* of vpsd */
	json_t *set;   /* what the config sets: [{key, value}] */
	json_t *out;   /* --json */
};

/* Prints each value that is set for a row; returns how many there are. */
static size_t show_set(struct view *v, const char *name, bool list, bool bare)
{
	json_t *pair, *all = json_array();
	size_t i, count = 0;

	json_array_foreach(v->set, i, pair) {
		json_t *value = json_object_get(pair, "value");

		if (!STREQ(json_string_value(json_object_get(pair, "key")), name))
			continue;
		count++;
		json_array_append(all, value);
		if (v->c->json)
			continue;
		if (!bare)
			printf("%s = ", name);
		put_clean(stdout, json_string_value(value));
		putchar('\n');
	}
	if (count)
		json_object_set(v->out, name, list ? all : json_array_get(all, 0));
	json_decref(all);
	return count;
}

static void show_default(struct view *v, json_t *row, const char *name, bool bare)
{
	json_t *def = json_object_get(row, "default");

	json_object_set(v->out, name, def ? def : json_null());
	if (v->c->json)
		return;
	if (bare)
		puts(def && json_is_string(def) ? json_string_value(def) : "");
	else if (def && json_is_string(def))
		printf("%s = %s\n", name, json_string_value(def));
}

static int show_one(struct view *v, const char *key, struct err *e)
{
	json_t *row = cli_setting_find(v->table, key), *other;
	struct near near;
	const char *name;
	size_t i;

	if (row) {
		name = json_string_value(json_object_get(row, "name"));
		if (!show_set(v, name, json_is_true(json_object_get(row, "list")), true))
			show_default(v, row, name, true);
		return 0;
	}
	near_init(&near, key);
	json_array_foreach(v->table, i, other)
		near_try(&near, json_string_value(json_object_get(other, "name")));
	err_set(e, ERR_USAGE, "unknown setting %.80s", key);
	if (near.best)
		return err_hint(e, "did you mean %s?", near.best);
	return err_hint(e, "vps.conf(5) has the keys");
}

static void show_all(struct view *v)
{
	json_t *row;
	size_t i;

	json_array_foreach(v->table, i, row) {
		const char *name = json_string_value(json_object_get(row, "name"));

		if (!show_set(v, name, json_is_true(json_object_get(row, "list")), false) &&
		    cli_has(v->c, "all"))
			show_default(v, row, name, false);
	}
}

int cmd_config(struct cli *c, struct err *e)
{
	cleanup_reply struct client_reply reply = { 0 };
	cleanup_json json_t *out = json_object();
	struct view v = { .c = c, .out = out };
	int r = cli_config(c, &reply, &v.set, e);

	if (r == 0)
		r = cli_settings_table(c, &v.table, e);
	if (r < 0)
		return r;
	if (c->args_count > 1) {
		r = show_one(&v, c->args[1], e);
		if (r < 0)
			return r;
	} else {
		show_all(&v);
	}
	if (c->json)
		cli_json(out);
	return 0;
}
