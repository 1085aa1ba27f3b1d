/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef CLI_USAGE_H
#define CLI_USAGE_H

#include "cli/cli.h"

/* What a VPS uses, as vpsd tells it (type Usage of the interface). */

/* A member by its dotted name ("cpu.usage_usec"), borrowed; NULL when it is not there or null. */
json_t *usage_get(json_t *usage, const char *name);
/* The same as a number; 0 when it is not there. */
double usage_number(json_t *usage, const char *name);
/* "812", "1.4K", "23M": at most five characters. Returns buf. */
const char *show_short(double bytes, char *buf, size_t size);

/* What `vps top` shows of a VPS: its usage and what that came to since the last look. */
struct usage_row {
	json_t *usage; /* borrowed */
	bool known;    /* there was a look before */
	double cpu;    /* CPUs */
	double read, write, rx, tx; /* bytes a second */
};

enum usage_key { USAGE_NAME, USAGE_CPU, USAGE_MEMORY, USAGE_CACHE, USAGE_SWAP, USAGE_PIDS,
		 USAGE_IO, USAGE_NET, USAGE_KEY_COUNT };
extern const char *const usage_key_names[USAGE_KEY_COUNT];
/* The letter that sorts by it. */
extern const char usage_key_letters[USAGE_KEY_COUNT + 1];

/* One row a member of `now`, in its order; `before` may be NULL. The caller frees *ret. Returns their
 * number. */
size_t usage_rows(json_t *now, json_t *before, struct usage_row **ret);
/* The most first, names from a to z; `reverse` the other way round. */
void usage_sort(struct usage_row *rows, size_t count, enum usage_key key, bool reverse);

#endif
