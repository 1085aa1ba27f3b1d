/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef TESTS_CHECKPOINT_ALTER_H
#define TESTS_CHECKPOINT_ALTER_H

#include "base/err.h"

/* Copies an image, with all paths that begin with `from` (also within bytes, as names of sockets and options of mounts are)
 * beginning with `to`. The number of those, or negative. */
int alter_image(int in, int out, const char *from, const char *to, struct err *e);

#endif
