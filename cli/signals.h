/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef CLI_SIGNALS_H
#define CLI_SIGNALS_H

#include <signal.h>

/* What cli_signals() takes: signals that end a program, and those that a command may want as well. */
#define SIGNALS_END SIGINT, SIGTERM, SIGHUP, SIGQUIT
#define SIGNALS_TERMINAL SIGUSR1, SIGUSR2, SIGALRM, SIGCONT, SIGWINCH

#endif
