/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef CLI_ATTACH_STDIO_H
#define CLI_ATTACH_STDIO_H

#include <errno.h>

/*
 * What a command in a VPS gets for its standard input, output and error when it has no terminal of
 * its own: the caller's pipes as they are, but a pipe in place of the caller's terminal, file or socket,
 * which is copied. A tenant must not hold those of the host: what it leaves running could read from a
 * terminal what is typed after the command has ended, cut a file, and keep the VPS from being saved.
 */
struct attach_stdio {
	int child[3]; /* to be sent; not owned when it is 0, 1 or 2 */
	int ours[3];  /* our ends of the pipes; -EBADF where there is none */
	int unread;   /* the other end of ours[0] where the input is a file, to know what was not read */
};

#define ATTACH_STDIO_INIT { { 0, 1, 2 }, { -EBADF, -EBADF, -EBADF }, -EBADF }

/*
 * Standard descriptors that are closed become such as can be used no more than before: what is opened next is
 * not to get their numbers.
 */
void attach_stdio_hold(void);

/* Returns 0 or -errno, and then holds nothing. Like the others it needs no C library: see ahead.h. */
int attach_stdio_open(struct attach_stdio *s);
/* Closes the ends that were sent. */
void attach_stdio_sent(struct attach_stdio *s);
void attach_stdio_done(struct attach_stdio *s);

#endif
