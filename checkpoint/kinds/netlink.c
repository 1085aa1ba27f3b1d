/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Sockets of netlink(7): checkpoint/netlink.c has the rest. */
#include "checkpoint/kinds.h"
#include "checkpoint/sockets.h"

#include <sys/socket.h>

static bool is(const struct ckpt_fd *f)
{
	return ckpt_socket_family(f) == AF_NETLINK;
}

const struct ckpt_kind ckpt_kind_netlink = { "netlink", is, ckpt_socket_dump, ckpt_socket_open, true };
