/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "cli/cli.h"

#include "cli/attach.h"

#include "base/macro.h"

int cmd_console(struct cli *c, struct err *e)
{
	struct attach a = { .kind = ATTACH_CONSOLE, .tty = true, .lines = -1 };
	bool terminal = isatty(0) && isatty(2);
	int r = cli_client(c, e);

	if (r == 0) {
		cleanup_reply struct client_reply reply = { 0 };

		r = client_call(c->client, "Console",
				json_pack("{s:s, s:b}", "name", c->args[0], "input", true), NULL, 0,
				&reply, e);
		if (r == 0 && reply.nfds < 1)
			r = err_set(e, ERR_DAEMON, "vpsd sent no session");
		if (r == 0)
			a.session = TAKE_FD(reply.fds[0]);
	}
	if (r < 0)
		return r;
	a.signals = cli_signals(c, true, e);
	if (a.signals < 0)
		return a.signals;
	if (terminal)
		fprintf(stderr, "vps: attached to %s; Ctrl-] three times within a second leaves\n",
			c->args[0]);
	r = attach_run(&a, &c->status, e);
	if (r == 0 && terminal)
		fprintf(stderr, "\nvps: left the console of %s\n", c->args[0]);
	fd_close(&a.signals);
	return r;
}
