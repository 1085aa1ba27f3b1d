/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "cli/exec.h"

#include "base/macro.h"

int cmd_enter(struct cli *c, struct err *e)
{
	return exec_session(c, "Exec", json_pack("{s:s, s:b}", "name", c->args[0], "login", true),
			    isatty(0), NULL, e);
}
