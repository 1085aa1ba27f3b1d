/* SPDX-License-Identifier: GPL-2.0-or-later */

/*
 * Sends whose memory the kernel has not copied (MSG_ZEROCOPY): who sent hears by the error queue when it is free again,
 * by numbers that nobody can put there for him. What of them is under way or unread takes option memory of the socket
 * (sock_omalloc()), as do filters and groups.
 */
#include "checkpoint/image.pb-c.h"
#include "checkpoint/sockets.h"

#include <linux/sock_diag.h>
#include <linux/sockios.h>
#include <poll.h>
#include <stdint.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

static bool takes_more(const struct ckpt_sock *k)
{
	socklen_t len = 0;

	return k->s->type == SOCK_DGRAM ||
	       (getsockopt(k->fd, SOL_SOCKET, SO_GET_FILTER, NULL, &len) == 0 && len);
}

static bool is_under_way(const struct ckpt_sock *k)
{
	struct pollfd p = { .fd = k->fd };
	int unsent = 0;

	return (poll(&p, 1, 0) == 1 && (p.revents & POLLERR)) || (ioctl(k->fd, SIOCOUTQ, &unsent) == 0 && unsent);
}

int ckpt_zerocopy_check(const struct ckpt_sock *k, struct err *e)
{
	uint32_t mem[SK_MEMINFO_VARS] = { 0 };
	socklen_t len = sizeof(mem), size = sizeof(int);
	int on = 0;

	if (getsockopt(k->fd, SOL_SOCKET, SO_ZEROCOPY, &on, &size) < 0 || !on ||
	    getsockopt(k->fd, SOL_SOCKET, SO_MEMINFO, mem, &len) < 0 || !mem[SK_MEMINFO_OPTMEM] ||
	    (takes_more(k) && !is_under_way(k)))
		return 0;
	return ckpt_sock_busy(k, "that has sent with MSG_ZEROCOPY and not heard yet that the memory is free", e);
}
