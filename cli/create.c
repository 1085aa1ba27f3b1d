/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "cli/cli.h"

int cmd_create(struct cli *c, struct err *e)
{
	cleanup_reply struct client_reply reply = { 0 };
	json_t *settings;
	int r = cli_settings(c, 1, &settings, e);

	if (r < 0)
		return r;
	r = cli_call(c, "Create",
		     json_pack("{s:s, s:s*, s:s*, s:o}", "name", c->args[0], "template",
			       cli_option(c, "template"), "backend", cli_option(c, "backend"),
			       "settings", settings),
		     &reply, e);
	if (r == 0 && c->json)
		cli_json(json_object_get(reply.params, "vps"));
	return r;
}
