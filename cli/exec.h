/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef CLI_EXEC_H
#define CLI_EXEC_H

#include "cli/cli.h"

/*
 * Calls Exec or Run with what the options of both say (user, cwd, env, tty) added to `in`, which is
 * taken over, and sees the session through; c->status is the command's. Returns 1 when the command was
 * left before its end. `ret_name` (NULL: not wanted) gets the reply's name.
 */
int exec_session(struct cli *c, const char *method, json_t *in, bool tty, char ret_name[64],
		 struct err *e);

/* c->command as JSON; NULL when there is none. */
json_t *exec_command(const struct cli *c);

#endif
