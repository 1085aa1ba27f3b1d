/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "cli/cli.h"

/* Says which of the changes wait for the next start, and what the kernel could not do yet. */
static void show_result(struct cli *c, json_t *params)
{
	json_t *pending = json_object_get(params, "pending"), *key;
	const char *note = json_string_value(json_object_get(params, "note"));
	size_t i;

	json_array_foreach(pending, i, key) {
		put_clean(stdout, json_string_value(key));
		printf(" takes effect at the next start of %s\n", c->args[0]);
	}
	if (note) {
		put_clean(stdout, note);
		putchar('\n');
	}
}

int cmd_set(struct cli *c, struct err *e)
{
	cleanup_reply struct client_reply reply = { 0 };
	json_t *settings;
	int r = cli_settings(c, 1, &settings, e);

	if (r < 0)
		return r;
	if (json_array_size(settings) == 0) {
		json_decref(settings);
		err_set(e, ERR_USAGE, "a setting is missing");
		return err_hint(e, "usage: vps set [OPTIONS] NAME KEY=VALUE...");
	}
	r = cli_call(c, "Set",
		     json_pack("{s:s, s:o, s:b}", "name", c->args[0], "settings", settings,
			       "runtime", cli_has(c, "runtime")),
		     &reply, e);
	if (r < 0)
		return r;
	if (c->json)
		cli_json(reply.params);
	else
		show_result(c, reply.params);
	return 0;
}
