/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Internet sockets: checkpoint/tcp.c and inet.c have the rest. */
#include "checkpoint/kinds.h"
#include "checkpoint/sockets.h"

#include <sys/socket.h>

static bool is(const struct ckpt_fd *f)
{
	int family = ckpt_socket_family(f);

	return family == AF_INET || family == AF_INET6;
}

const struct ckpt_kind ckpt_kind_inet = { "inet", is, ckpt_socket_dump, ckpt_socket_open, true };
