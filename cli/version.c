/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "cli/cli.h"

int cmd_version(struct cli *c, struct err *e)
{
	cleanup_reply struct client_reply reply = { 0 };
	struct err away;
	int r = cli_root(c, e);

	if (r < 0)
		return r;
	r = cli_call(c, "Version", NULL, &reply, &away);
	if (c->json) {
		cleanup_json json_t *v = json_pack("{s:s, s:O?}", "version", VPS_VERSION, "daemon",
						   r == 0 ? reply.params : NULL);

		cli_json(v);
		return 0;
	}
	puts("vps " VPS_VERSION);
	if (r == 0)
		printf("vpsd %s\n", json_string_value(json_object_get(reply.params, "version")));
	return 0;
}
