/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef TESTS_CHECKPOINT_ALTER_H
#define TESTS_CHECKPOINT_ALTER_H

#include "base/err.h"

/* Copies an image, with all paths that begin with `from` (also within bytes, as names of sockets and options of mounts are)
 * beginning with `to`. The number of those, or negative. */
int alter_image(int in, int out, const char *from, const char *to, struct err *e);
/* Likewise with a clock, "monotonic" or "boottime", that was an hour ahead at the stop, to a pipe, too. The number of headers. */
int alter_clock(int in, int out, const char *clock, struct err *e);

#endif
