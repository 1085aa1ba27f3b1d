/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef SUPERVISOR_HOSTCONF_H
#define SUPERVISOR_HOSTCONF_H

#include "base/err.h"

#include <stddef.h>

/*
 * What the operator says of the whole state root: lib/vpsd.conf, `key = value` lines and `#` comments,
 * read when vpsd comes up (vpsd(8)). The same form keeps what is in use in run/network.
 */
struct hostconf {
	char pool4[32]; /* "": not said */
	char pool6[64];
	char boot[64];  /* run/network: the boot that it was written in */
};

#define HOSTCONF_MAX (64 * 1024) /* bytes; a longer file is refused */

/* Parses text (it is written to); `file` is for messages. Unknown keys, a key twice, a value that
 * cannot be: ERR_USAGE, "FILE:LINE: …". */
int hostconf_parse(struct hostconf *c, char *text, const char *file, struct err *e);
/* The file `path`; one that is not there says nothing. */
int hostconf_read(struct hostconf *c, const char *path, struct err *e);
/* Replaces it, mode 0600. */
int hostconf_write(const struct hostconf *c, const char *path, struct err *e);

#endif
