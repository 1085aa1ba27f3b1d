/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef CLI_PUMP_H
#define CLI_PUMP_H

#include "supervisor/session.h"

#include <stdbool.h>
#include <stddef.h>

/* Bytes on their way to where they cannot always be taken at once. */
struct pump {
	int from, to; /* negative: none, or ended */
	size_t at, len;
	char data[SESSION_DATA_MAX];
};

/* What it holds; some of it stays when the receiver does not block. False: the receiver is gone. */
bool pump_write(struct pump *p);
/* One read, unless it still holds something. False at the end (EIO: the last slave of a pty was closed). */
bool pump_read(struct pump *p, size_t max);

/* All of it, also to who does not block: a terminal or pipe that another process has set so. False: the receiver is gone. */
bool pump_out(int fd, const char *data, size_t len);

#endif
