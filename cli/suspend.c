/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "cli/cli.h"

#include "base/macro.h"

static int suspend(struct cli *c, const char *name, const void *arg, json_t **ret, struct err *e)
{
	cleanup_reply struct client_reply reply = { 0 };
	int r = cli_follow(c, "Suspend",
			   json_pack("{s:s, s:s*}", "name", name, "compress", cli_option(c, "compress")),
			   NULL, 0, &reply, e);

	(void)arg;
	if (r == 0)
		*ret = json_incref(reply.params);
	return r;
}

int cmd_suspend(struct cli *c, struct err *e)
{
	return cli_each(c, suspend, NULL, e);
}
