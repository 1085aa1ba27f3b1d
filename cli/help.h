/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef CLI_HELP_H
#define CLI_HELP_H

#include <stddef.h>

/*
 * What `--help` prints, taken from the man pages at build time (man/help.py): they are the one
 * source of help text. Words that a page underlines are in capitals here.
 */
struct cli_help {
	const char *verb;    /* "create"; "" for vps itself */
	const char *summary; /* "make a VPS from a template" */
	const char *usage;   /* one or more lines: "vps create [OPTIONS] NAME [KEY=VALUE...]\n" */
	const char *options; /* indented, at most 80 columns, ends in a newline; "" when none */
};

/* In the order of the verbs in vps(1); the first is vps itself. */
extern const struct cli_help cli_help[];
extern const size_t cli_help_count;

/* NULL when there is no page for the verb. */
const struct cli_help *cli_help_find(const char *verb);

#endif
