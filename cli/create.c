/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "cli/cli.h"

int cmd_create(struct cli *c, struct err *e)
{
	cleanup_reply struct client_reply reply = { 0 };
	json_t *settings, *vps, *note;
	int r = cli_settings(c, 1, &settings, e);

	if (r < 0)
		return r;
	r = cli_call(c, "Create",
		     json_pack("{s:s, s:s*, s:s*, s:o}", "name", c->args[0], "template",
			       cli_option(c, "template"), "backend", cli_option(c, "backend"),
			       "settings", settings),
		     &reply, e);
	if (r < 0)
		return r;
	note = json_object_get(reply.params, "note");
	if (c->json) {
		vps = json_object_get(reply.params, "vps");
		if (note)
			json_object_set(vps, "note", note);
		cli_json(vps);
	} else if (note) {
		put_clean(stdout, json_string_value(note));
		putchar('\n');
	}
	return 0;
}
