/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "cli/cli.h"

#include "base/macro.h"
#include "cli/signals.h"

#include <sys/signalfd.h>

int cli_signals(struct cli *c, bool terminal, struct err *e)
{
	static const int end[] = { SIGNALS_END };
	static const int more[] = { SIGNALS_TERMINAL };
	sigset_t set;
	int fd;

	(void)c;
	signal(SIGPIPE, SIG_IGN); /* a closed pipe is an error like another from here on */
	sigemptyset(&set);
	for (size_t i = 0; i < ARRAY_SIZE(end); i++) {
		struct sigaction old;

		/* nohup(1) and background jobs of plain shells stay as they are. */
		if (sigaction(end[i], NULL, &old) < 0 || old.sa_handler != SIG_IGN)
			sigaddset(&set, end[i]);
	}
	for (size_t i = 0; terminal && i < ARRAY_SIZE(more); i++)
		sigaddset(&set, more[i]);
	if (sigprocmask(SIG_BLOCK, &set, NULL) < 0)
		return err_sys(e, "block signals");
	fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	return fd < 0 ? err_sys(e, "make a signalfd") : fd;
}
