/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef CHECKPOINT_FDLESS_H
#define CHECKPOINT_FDLESS_H

#include <stdbool.h>

/*
 * Shared memory of which no process has an open file, nor can get one: it is in reach of those that have it mapped
 * alone. Such is anonymous memory (MAP_SHARED | MAP_ANONYMOUS), in a VPS with a user namespace of its own, as
 * /proc/PID/map_files wants a capability of the host's; and what a restore has made of that, which is a memfd by its name.
 */

/* By an fd of ours. */
bool ckpt_is_fdless(int fd);
/* What memfd_create(2) has made, here or where it was restored. */
bool ckpt_is_memfd(int fd);

/* All fds of it are ours, or closed before the VPS runs: notes it where no VPS can (trusted, xattr(7)). It does no harm
 * where it cannot be. */
void ckpt_fdless_note(int fd);

#endif
