/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef SUPERVISOR_PROTOCOL_FOREIGN_H
#define SUPERVISOR_PROTOCOL_FOREIGN_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

/*
 * Open files that a user sends. close(2) of some waits for as long as their owner likes, and vpsd has one thread for all:
 * a TCP socket with SO_LINGER (socket(7)), one with such a socket in its queue, a file of a FUSE file system.
 */

/* A pipe, a character device, or a file or directory of a mount of ours that is not FUSE's. Nothing is asked that the file's
 * owner could leave unanswered. */
bool foreign_is_good(int fd);

/* Closes what this user has sent, one after the other, in a thread of its own; or when one of his is done, once he has as many as
 * he may have connections. */
void foreign_close(uid_t uid, const int *fds, size_t count);

/* The same of the connection that such files come by, when some are still in it. */
void foreign_hang_up(uid_t uid, int sock);

/* How much of what this user has sent, and of what all users but root have, is still to be closed: they are to have no more
 * by and by. */
size_t foreign_closing(uid_t uid, size_t *ret_users);

#endif
