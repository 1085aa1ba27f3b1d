/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef RUNTIME_SETTINGS_H
#define RUNTIME_SETTINGS_H

#include "base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * The settings table: one row a setting. The config file, `vps set`, `vps config`, the API,
 * completion and the man page vps.conf(5) are all made of these rows.
 */

enum setting_type {
	SETTING_BOOL,     /* yes or no */
	SETTING_INT,      /* a whole number in [min, max] */
	SETTING_SIZE,     /* bytes, parse_size() */
	SETTING_RATE,     /* bytes a second, parse_rate() */
	SETTING_MILLI,    /* thousandths (of a CPU), parse_milli() */
	SETTING_WEIGHT,   /* a whole number in [min, max], also as a percentage: 50% is 50 */
	SETTING_DURATION, /* microseconds, parse_duration() */
	SETTING_ENUM,     /* one of `values`, separated by | */
	SETTING_STRING,   /* printable, not empty, no blanks at its ends, at most `max` bytes (255
			     when 0), checked by `check` where given */
};

enum setting_flags {
	SETTING_LIVE = 1,   /* a running VPS takes it at once; others at its next start */
	SETTING_LIST = 2,   /* may stand several times; each adds an entry */
	SETTING_FIXED = 4,  /* set at creation, not by `vps set` */
	SETTING_MAX_OK = 8, /* the word `max` is a value */
	SETTING_LATER = 16, /* in the table, refused with ERR_UNSUPPORTED until it is built */
	SETTING_LIMIT = 32, /* for the cgroup and network layers: part of rt_spec.limits */
	SETTING_KEYED = 64, /* SETTING_LIST of K=V: an entry takes the place of the one of that K */
	SETTING_NAMED = 128, /* SETTING_LIST of interfaces, which likewise go by their names */
};

struct setting {
	const char *name;   /* "memory.max" */
	enum setting_type type;
	unsigned flags;
	const char *def;    /* default as text; NULL: unset */
	int64_t min, max;   /* SETTING_INT, WEIGHT: range; SETTING_SIZE, RATE, MILLI, DURATION: min..max too
			       when max is not 0 */
	const char *values; /* SETTING_ENUM; else what a value looks like, for hint and man page */
	const char *option; /* another name as an option of create and set: "ram" for --ram */
	/* SETTING_STRING; NULL: any. Fills the message without the setting's name before it. */
	int (*check)(const char *value, struct err *e);
	const char *help;   /* one line without a full stop */
};

extern const struct setting settings[];
extern const size_t settings_count;

/* By name or option. NULL with ERR_USAGE and, as a hint, the nearest name. */
const struct setting *setting_find(const char *name, struct err *e);

/* As setting_find() without an error to fill. */
const struct setting *setting_lookup(const char *name);

/* 0 when the text is a value of this setting, ERR_UNSUPPORTED when it is one of a SETTING_LATER, else ERR_USAGE:
 * "memory.max: 12Q is not a size" with a hint of what is (an example with a unit). */
int setting_check(const struct setting *s, const char *value, struct err *e);

/* The value as setting_check()ed text says it, in the type's unit; only for types with numbers
 * (BOOL is 0 or 1), `max` is PARSE_MAX. The text must have passed setting_check(). */
uint64_t setting_number(const struct setting *s, const char *value);

#endif
