/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef CLI_ATTACH_H
#define CLI_ATTACH_H

#include "base/err.h"

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>

/*
 * What a command in a VPS gets for its standard input, output and error when it has no terminal of
 * its own: the caller's pipes as they are, but a pipe in place of the caller's terminal, file or socket,
 * which is copied. A tenant must not hold those of the host: what it leaves running could read from a
 * terminal what is typed after the command has ended, cut a file, and keep the VPS from being saved.
 */
struct attach_stdio {
	int child[3]; /* to be sent; not owned when it is 0, 1 or 2 */
	int ours[3];  /* our ends of the pipes; -EBADF where there is none */
	int unread;   /* the other end of ours[0] where the input is a file, to know what was not read */
};

#define ATTACH_STDIO_INIT { { 0, 1, 2 }, { -EBADF, -EBADF, -EBADF }, -EBADF }

int attach_stdio_open(struct attach_stdio *s, struct err *e);
/* Closes the ends that were sent. */
void attach_stdio_sent(struct attach_stdio *s);
void attach_stdio_done(struct attach_stdio *s);

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
 * the command's (0 for consoles); otherwise the error that the other side, or the lack of it,
 * gave. The terminal is as it was when this returns.
 */
int attach_run(const struct attach *a, int *ret_status, struct err *e);

#endif
