/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "cli/cli.h"

static json_t *parameters(struct cli *c, const char *name)
{
	return json_pack("{s:s, s:b}", "name", name, "force", cli_has(c, "force"));
}

int cmd_destroy(struct cli *c, struct err *e)
{
	return cli_call_each(c, "Destroy", parameters, e);
}
