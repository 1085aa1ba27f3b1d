/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Internet sockets but TCP's: UDP, UDP-Lite, raw ones, those of ping. */
#include "base/macro.h"
#include "checkpoint/image.pb-c.h"
#include "checkpoint/internal.h"
#include "checkpoint/sockets.h"
#include "checkpoint/sockopt.h"
#include "checkpoint/tcp.h"

#include <errno.h>
#include <netinet/in.h>
#include <sys/socket.h>

int ckpt_inet_collect(const struct ckpt_sock *k, struct err *e)
{
	int r = ckpt_sock_names(k, e);

	k->s->state = k->s->peer.len ? TCP_ESTABLISHED : TCP_CLOSE;
	return r == 0 ? ckpt_sockopts_collect(ckpt_dump_arena(k->d), k->fd, k->s, e) : r;
}

static bool has_port(const Ckpt__Socket *s)
{
	const struct sockaddr_in *sa = (const void *)s->name.data;

	return sa->sin_port != 0; /* at the same place in struct sockaddr_in6 */
}

int ckpt_inet_make(int fd, const Ckpt__File *f, struct err *e)
{
	(void)fd;
	(void)f;
	(void)e;
	(void)has_port;
	return 0;
}
