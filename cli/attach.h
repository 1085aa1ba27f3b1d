/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef CLI_ATTACH_H
#define CLI_ATTACH_H

#include "base/err.h"
#include "cli/attach_stdio.h"

#include <stdbool.h>
#include <stddef.h>

/* What a session is for. */
enum attach_kind {
	ATTACH_COMMAND, /* exec, run: to its exit status */
	ATTACH_CONSOLE, /* Ctrl-] three times within a second, or the end of input, leaves */
	ATTACH_FOLLOW,  /* output only, made fit for a terminal when it goes to one */
};

struct attach {
	enum attach_kind kind;
	int session; /* closed by attach_run() */
	bool tty;
	bool run;                  /* with tty, its terminal comes and goes as messages */
	int signals;               /* cli_signals() */
	int held;                  /* a signal that came before; 0: none */
	struct attach_stdio *stdio;/* NULL with tty */
	long lines;                /* ATTACH_FOLLOW: of the history; -1: all */
};

/*
 * Copies both ways and forwards signals and window sizes until the session ends. 0: *ret_status is
 * the command's (0 for consoles); 1: it is 0, for the command was left before its end; otherwise the
 * error that the other side, or the lack of it, gave. The terminal is as it was when this returns.
 */
int attach_run(const struct attach *a, int *ret_status, struct err *e);

#endif
