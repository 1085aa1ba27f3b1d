/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef CLI_HISTORY_H
#define CLI_HISTORY_H

#include <stdbool.h>
#include <stddef.h>

/* `logs -f -n`: the history comes at once; it is kept until the console is quiet, then cut to its last lines. */
struct history {
	bool open;
	long lines;
	char *text;
	size_t len;
};

/* False: it is closed, or there is no room: then it is to be closed. */
bool history_add(struct history *h, const char *data, size_t len);
/* Returns the last lines, which are valid until history_done(). */
char *history_close(struct history *h, size_t *ret_len);
void history_done(struct history *h);

#endif
