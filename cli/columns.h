/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef CLI_COLUMNS_H
#define CLI_COLUMNS_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

/* What `vps list` and `vps status` can show of a VPS. */
struct column {
	const char *name;  /* for -o */
	const char *title;
	const char *key;   /* in the JSON object; also taken by -o */
	bool right;        /* numbers */
	const char *zero;  /* shown in place of 0 */
	enum { COLUMN_AS_IS, COLUMN_UPTIME, COLUMN_TIME } show;
};

extern const struct column vps_columns[];
extern const size_t vps_columns_count;

/* What column "state" can say. */
#define VPS_STATE_COUNT 6
extern const char *const vps_states[VPS_STATE_COUNT];

/* The cell's text in buf; "" when there is none. */
const char *column_text(const struct column *col, json_t *vps, char *buf, size_t size);

#endif
