/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "cli/cli.h"

static json_t *parameters(struct cli *c, const char *name)
{
	(void)c;
	return json_pack("{s:s}", "name", name);
}

int cmd_resume(struct cli *c, struct err *e)
{
	return cli_call_each(c, "Resume", parameters, e);
}
