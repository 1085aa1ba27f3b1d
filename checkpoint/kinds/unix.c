/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Unix sockets: checkpoint/unix.c, unix_restore.c and unix_fill.c have the rest. */
#include "checkpoint/kinds.h"
#include "checkpoint/sockets.h"

#include <sys/socket.h>

static bool is(const struct ckpt_fd *f)
{
	return ckpt_socket_family(f) == AF_UNIX;
}

const struct ckpt_kind ckpt_kind_unix = { "unix", is, ckpt_socket_dump, ckpt_socket_open, true };
