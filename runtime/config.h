/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef RUNTIME_CONFIG_H
#define RUNTIME_CONFIG_H

#include "base/err.h"
#include "runtime/settings.h"

#include <stdint.h>

/*
 * lib/vps/NAME/config: `key = value` lines, `#` comments, blank lines; the keys are those of the
 * settings table and the record keys below. A program that changes a value keeps every other line,
 * comments and order included.
 *
 * Record keys, written by create and not by `vps set`: uuid, template, template.digest, backend,
 * id.base (host id of the tenant's id 0), created (seconds since 1970), ephemeral (yes: destroy it
 * when it stops, `vps run --rm`) and owner (uid of the user of the host who made it, unless root).
 */
struct config_line {
	char *key;   /* NULL: a comment or blank line */
	char *value;
	char *text;  /* the line as it stands in the file, NULL when it is new or changed */
	unsigned number; /* line in the file, from 1; 0: new */
};

struct config {
	struct config_line *lines;
	size_t count;
};

#define CONFIG_MAX (256 * 1024) /* bytes; a longer file is refused */

/*
 * Parses text (not NUL-terminated); `file` is for messages. Unknown keys, bad values, a key twice
 * that is not SETTING_LIST, control characters, bytes that are not UTF-8: ERR_USAGE,
 * "FILE:LINE: …". On failure *c is empty.
 */
int config_parse(struct config *c, const char *text, size_t len, const char *file, struct err *e);
int config_read(struct config *c, int dirfd, const char *path, struct err *e);
/* Writes it whole: write, fsync when `durable`, rename, mode 0600. */
int config_write(const struct config *c, int dirfd, const char *path, bool durable, struct err *e);
/* The text, to be freed by the caller. NULL when out of memory. */
char *config_format(const struct config *c);
void config_done(struct config *c);

/* The value as written, the table's default when there is none, or NULL. For SETTING_LIST the
 * first. */
const char *config_get(const struct config *c, const char *key);
/* The i-th value of a SETTING_LIST key, NULL past the last. */
const char *config_get_nth(const struct config *c, const char *key, size_t i);
/* Numbers in the setting's unit, with the default applied; 0 when there is neither. */
uint64_t config_number(const struct config *c, const char *key);

/*
 * Sets a key (checked first; ERR_USAGE leaves *c as it was). NULL or "" takes the line out, back to
 * the default. SETTING_LIST: `value` is added unless it is there; NULL takes all out; "-VALUE" takes
 * that entry out, for K=V entries also "-K". `key` may be the setting's name as an option ("ram").
 */
int config_set(struct config *c, const char *key, const char *value, struct err *e);
/* Sets a record key (uuid, template, …) without the rule that only create writes it. */
int config_set_record(struct config *c, const char *key, const char *value, struct err *e);

/* True for a record key. */
bool config_is_record(const char *key);

#endif
