/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "cli/cli.h"

static json_t *parameters(struct cli *c, const char *name)
{
	json_t *us = NULL;
	struct err checked; /* by cmd_restart() */

	cli_duration(c, "timeout", &us, &checked);
	return json_pack("{s:s, s:b, s:o*}", "name", name, "force", cli_has(c, "force"),
			 "timeout_us", us);
}

int cmd_restart(struct cli *c, struct err *e)
{
	cleanup_json json_t *us = NULL;
	int r = cli_duration(c, "timeout", &us, e);

	return r < 0 ? r : cli_call_each(c, "Restart", parameters, e);
}
