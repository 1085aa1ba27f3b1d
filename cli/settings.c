/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "cli/cli.h"

#include "base/macro.h"

int cli_settings_table(struct cli *c, json_t **ret, struct err *e)
{
	struct client_reply reply;
	int r;

	if (!c->table) {
		r = cli_call(c, "Settings", NULL, &reply, e);
		if (r < 0)
			return r;
		c->table = json_incref(json_object_get(reply.params, "settings"));
		client_reply_done(&reply);
	}
	*ret = c->table;
	return 0;
}

json_t *cli_setting_find(json_t *table, const char *name)
{
	json_t *row;
	size_t i;

	json_array_foreach(table, i, row) {
		const char *option = json_string_value(json_object_get(row, "option"));

		if (STREQ(json_string_value(json_object_get(row, "name")), name) ||
		    (option && STREQ(option, name)))
			return row;
	}
	return NULL;
}

int cli_config(struct cli *c, struct client_reply *reply, json_t **ret, struct err *e)
{
	int r = cli_call(c, "GetConfig", cli_name(c), reply, e);
	const char *damaged = r < 0 ? NULL : json_string_value(json_object_get(reply->params, "damaged"));

	if (damaged) {
		err_set(e, ERR_USAGE, "%s", damaged);
		return err_hint(e, "vps edit %.80s", c->args[0]);
	}
	if (r == 0)
		*ret = json_object_get(reply->params, "settings");
	return r;
}

int cli_setting_add(json_t *list, const char *key, size_t key_len, const char *value)
{
	/* A value that is not UTF-8 is no JSON string; json_pack() gives NULL then. */
	return json_array_append_new(list, json_pack("{s:s%, s:s}", "key", key, key_len, "value",
						     value));
}

int cli_settings(struct cli *c, size_t first, json_t **ret, struct err *e)
{
	json_t *list = json_copy(c->settings);

	for (size_t i = first; list && i < c->args_count; i++) {
		const char *equals = strchr(c->args[i], '=');

		if (!equals || equals == c->args[i]) {
			json_decref(list);
			err_set(e, ERR_USAGE, "%.80s is not KEY=VALUE", c->args[i]);
			return err_hint(e, "vps.conf(5) has the keys");
		}
		if (cli_setting_add(list, c->args[i], (size_t)(equals - c->args[i]), equals + 1) < 0) {
			json_decref(list);
			return err_set(e, ERR_USAGE, "%.*s: the value is not UTF-8",
				       (int)(equals - c->args[i]), c->args[i]);
		}
	}
	*ret = list;
	return list ? 0 : err_code(e, -ENOMEM, "read the settings");
}
