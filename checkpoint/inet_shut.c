/* SPDX-License-Identifier: GPL-2.0-or-later */

/* What a UDP socket does no more (shutdown(2)). Nothing that is done with it tells that it only sends no more, without a
 * datagram being sent: sock_diag(7) does, of those that have a port, which all have that were connected. */
#include "base/macro.h"
#include "checkpoint/image.pb-c.h"
#include "checkpoint/internal.h"
#include "checkpoint/sockets.h"

#include <errno.h>
#include <linux/inet_diag.h>
#include <linux/rtnetlink.h>
#include <linux/sock_diag.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/stat.h>

/* Ports are at the same place in both families. */
static uint16_t port_of(const ProtobufCBinaryData *name)
{
	const struct sockaddr_in *a = (const void *)name->data;

	return name->len >= sizeof(*a) ? a->sin_port : 0;
}

static void take(const struct nlmsghdr *h, ino_t ino, uint32_t *ret)
{
	const struct inet_diag_msg *m = NLMSG_DATA(h);
	int left = (int)h->nlmsg_len - (int)NLMSG_LENGTH(sizeof(*m));

	if (left < 0 || m->idiag_inode != (uint32_t)ino)
		return;
	for (const struct rtattr *a = (const void *)(m + 1); RTA_OK(a, left); a = RTA_NEXT(a, left))
		if (a->rta_type == INET_DIAG_SHUTDOWN)
			*ret = *(const uint8_t *)RTA_DATA(a) & 3;
}

/* Until the end of what is told of all sockets with that port. A kernel that cannot tell of UDP (CONFIG_INET_UDP_DIAG) says
 * so: then nothing is known. */
static int hear(int diag, ino_t ino, uint32_t *ret, struct err *e)
{
	_Alignas(8) uint8_t buf[32768];

	for (;;) {
		ssize_t n = recv(diag, buf, sizeof(buf), 0);
		size_t left = n < 0 ? 0 : (size_t)n;

		if (n <= 0)
			return err_sys(e, "hear of a datagram socket");
		for (const struct nlmsghdr *h = (const void *)buf; NLMSG_OK(h, left); h = NLMSG_NEXT(h, left)) {
			if (h->nlmsg_type == NLMSG_DONE || h->nlmsg_type == NLMSG_ERROR)
				return 0;
			if (h->nlmsg_type == SOCK_DIAG_BY_FAMILY)
				take(h, ino, ret);
		}
	}
}

int ckpt_inet_shut(const struct ckpt_sock *k, uint32_t *ret, struct err *e)
{
	struct {
		struct nlmsghdr h;
		struct inet_diag_req_v2 r;
	} q = {
		.h = { .nlmsg_len = sizeof(q), .nlmsg_type = SOCK_DIAG_BY_FAMILY, .nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP },
		.r = { .sdiag_family = (uint8_t)k->s->family, .sdiag_protocol = (uint8_t)k->s->protocol,
		       .idiag_states = UINT32_MAX, .id.idiag_sport = port_of(&k->s->name) },
	};
	struct stat st;
	int diag;

	if (k->s->type != SOCK_DGRAM || (k->s->protocol != IPPROTO_UDP && k->s->protocol != IPPROTO_UDPLITE) ||
	    !q.r.id.idiag_sport)
		return 0;
	diag = ckpt_dump_diag(k->d, k->file->space, e);
	if (diag < 0)
		return diag;
	if (fstat(k->fd, &st) < 0 || send(diag, &q, sizeof(q), 0) < 0)
		return err_sys(e, "ask for a datagram socket");
	return hear(diag, st.st_ino, ret, e);
}
