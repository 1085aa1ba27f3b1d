/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef SUPERVISOR_HOSTCONF_H
#define SUPERVISOR_HOSTCONF_H

#include "base/err.h"
#include "base/hostroot.h"

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

/*
 * What holds for the state root now: pools are in use from the first VPS on the bridge to the last,
 * whatever is written into lib/vpsd.conf meanwhile. run/network keeps them for a vpsd that comes after.
 */
int hostconf_in_force(struct hostconf *c, const struct host_root *root, struct err *e);
/* The first VPS is about to come; the last is gone. */
void hostconf_keep(struct hostconf *c, const struct host_root *root);
void hostconf_forget(const struct host_root *root);

/* Pools that were chosen because the state root's first choice is in the way of the host's routes: lib/pools, which
 * holds from now on where lib/vpsd.conf says nothing. */
int hostconf_remember(const struct hostconf *chosen, const struct host_root *root, struct err *e);

#endif
