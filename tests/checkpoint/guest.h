/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef TESTS_CHECKPOINT_GUEST_H
#define TESTS_CHECKPOINT_GUEST_H

/*
 * A test program is process 1 of a VPS: it sets its object up, says that it is ready, waits (all of it
 * is saved, killed and restored meanwhile, which it must not notice), and verifies.
 *
 *	int main(void)
 *	{
 *		int fd = eventfd(7, 0);
 *
 *		wait_for_restore();
 *		CHECK(read(fd, &v, 8) == 8 && v == 7);
 *		return done();
 *	}
 */

#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int guest_failed;

#define CHECK(cond)                                                                         \
	do {                                                                                \
		if (!(cond)) {                                                              \
			dprintf(1, "failed: %s:%d: %s (errno %d)\n", __FILE__, __LINE__, #cond, \
				errno);                                                     \
			guest_failed = 1;                                                   \
		}                                                                           \
	} while (0)

/* The line that was typed on the console. */
static char guest_line[64];

__attribute__((unused)) static void wait_for_line(void)
{
	size_t n = 0;
	char c;

	memset(guest_line, 0, sizeof(guest_line));
	do {
		if (read(0, &c, 1) != 1) {
			dprintf(1, "failed: read of the console, errno %d\n", errno);
			exit(1);
		}
		if (n < sizeof(guest_line) - 1 && c != '\n')
			guest_line[n++] = c;
	} while (c != '\n');
}

__attribute__((unused)) static void wait_for_restore(void)
{
	dprintf(1, "ready\n");
	wait_for_line();
}

__attribute__((unused)) static int done(void)
{
	dprintf(1, guest_failed ? "bad\n" : "good\n");
	return guest_failed;
}

#endif
