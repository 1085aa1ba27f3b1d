/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "cli/cli.h"

int cmd_rename(struct cli *c, struct err *e)
{
	cleanup_reply struct client_reply reply = { 0 };
	int r = cli_call(c, "Rename",
			 json_pack("{s:s, s:s}", "name", c->args[0], "new_name", c->args[1]),
			 &reply, e);

	if (r == 0 && c->json)
		cli_json(json_object_get(reply.params, "vps"));
	return r;
}
