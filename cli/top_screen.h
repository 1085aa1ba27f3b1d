/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef CLI_TOP_SCREEN_H
#define CLI_TOP_SCREEN_H

#include "cli/usage.h"

/* The terminal of `vps top`: a screen of its own, left as it was by screen_end(). */
int screen_begin(struct err *e);
void screen_end(void);

struct screen_view {
	const struct usage_row *rows;
	size_t count;
	enum usage_key key;
	bool reverse;
	size_t first; /* row at the top; brought into bounds */
};

/* Draws all of it with one write: rows that do not fit are counted, columns that do not are left
 * out. */
void screen_draw(struct screen_view *v);

#endif
