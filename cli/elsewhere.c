/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "cli/cli.h"

#include "base/path.h"

#include <unistd.h>

/*
 * The verbs that need libarchive are in a program of their own, which is this one with them and
 * otherwise the same: loading that library and the fifteen it pulls costs every start of `vps` more
 * time than all else it does, and `vps exec` is measured in milliseconds.
 */
static int run_elsewhere(struct cli *c, struct err *e)
{
	char path[4096];
	int r = path_program("vps-files", path, sizeof(path));

	if (r < 0)
		return err_code(e, r, "find vps-files");
	execv(path, c->argv);
	return err_sys(e, "execute %s", path);
}

int cmd_push(struct cli *c, struct err *e)
{
	return run_elsewhere(c, e);
}

int cmd_pull(struct cli *c, struct err *e)
{
	return run_elsewhere(c, e);
}
