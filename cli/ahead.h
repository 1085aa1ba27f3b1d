/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef CLI_AHEAD_H
#define CLI_AHEAD_H

#include "cli/attach_stdio.h"

#include <stdbool.h>
#include <stddef.h>

#define AHEAD_MAX 4096

/* A call that vpsd got before main() began. */
struct ahead {
	bool sent;
	bool quiet;                /* of an answer that says yes nothing is to be shown */
	int fd;                    /* the connection: of who goes on with it */
	struct attach_stdio stdio; /* as was sent with an Exec */
	size_t len;                /* of the text, without its NUL */
	char text[AHEAD_MAX];
};

extern struct ahead ahead;

/*
 * Sends what these words ask, when they are of a plain form (ahead.c). Otherwise, and when that fails, nothing
 * was sent. Runs before the C library, and needs nothing of it.
 */
void ahead_send(struct ahead *a, char **argv, char **env);
/*
 * Waits for the answer to what was sent, unless main() is to do that. Whether nothing is left to be done. When vpsd
 * went away without having read it, it was not sent.
 */
bool ahead_is_done(struct ahead *a);

#endif
