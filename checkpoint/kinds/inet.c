/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Internet sockets: checkpoint/tcp.c and inet.c have the rest. */
#include "checkpoint/image.pb-c.h"
#include "checkpoint/kinds.h"
#include "checkpoint/sockets.h"

#include <netinet/in.h>
#include <sys/socket.h>

static bool is(const struct ckpt_fd *f)
{
	int family = ckpt_socket_family(f);

	return family == AF_INET || family == AF_INET6;
}

/* Others have the families of the internet, too: SCTP, SMC, L2TP, DCCP. */
static bool is_known(const Ckpt__Socket *s)
{
	switch (s->type) {
	case SOCK_STREAM: return s->protocol == IPPROTO_TCP || s->protocol == IPPROTO_MPTCP;
	case SOCK_DGRAM:
		return s->protocol == IPPROTO_UDP || s->protocol == IPPROTO_UDPLITE || s->protocol == IPPROTO_ICMP ||
		       s->protocol == IPPROTO_ICMPV6;
	default: return s->type == SOCK_RAW;
	}
}

static int dump(struct ckpt_dump *d, const struct ckpt_fd *f, Ckpt__File *out, struct err *e)
{
	int r = ckpt_socket_dump(d, f, out, e);

	if (r == 0 && !is_known(out->socket))
		return err_set(e, ERR_UNSUPPORTED,
			       "fd %d of process %d is a socket of internet protocol %u, which cannot be "
			       "saved",
			       f->fd, (int)f->pid, out->socket->protocol);
	return r;
}

const struct ckpt_kind ckpt_kind_inet = { "inet", is, dump, ckpt_socket_open, true };
