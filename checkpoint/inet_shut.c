/* SPDX-License-Identifier: GPL-2.0-or-later */

/* What a UDP socket does no more (shutdown(2)). Nothing that is done with it tells that it only sends no more, without a
 * datagram being sent: sock_diag(7) does, of those that have a port, which all have that were connected. It cannot be asked
 * for one of many with the same port, and walks the whole table each time: it is asked once for all of a namespace. */
#include "base/array.h"
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

#define SHUT_MAX (1u << 20) /* a table takes up to 8 MiB */

struct shut_socket {
	uint32_t ino;
	uint32_t shutdown;
};

/* Those of a namespace, a family and a protocol that are shut down, in the order of their inodes. */
struct ckpt_shuts {
	struct ckpt_shuts *next;
	uint32_t space; /* as File.space */
	uint8_t family, protocol;
	struct shut_socket *socket;
	size_t count, room;
};

void ckpt_shuts_free(struct ckpt_shuts *t)
{
	while (t) {
		struct ckpt_shuts *next = t->next;

		free(t->socket);
		free(t);
		t = next;
	}
}

/* Ports are at the same place in both families. */
static uint16_t port_of(const ProtobufCBinaryData *name)
{
	const struct sockaddr_in *a = (const void *)name->data;

	return name->len >= sizeof(*a) ? a->sin_port : 0;
}

static int by_inode(const void *a, const void *b)
{
	uint32_t x = ((const struct shut_socket *)a)->ino, y = ((const struct shut_socket *)b)->ino;

	return (x > y) - (x < y);
}

static int add(struct ckpt_shuts *t, uint32_t ino, uint32_t shutdown)
{
	if (t->count == SHUT_MAX)
		return -E2BIG;
	if (array_grow(&t->socket, t->count, &t->room, 64) < 0)
		return -ENOMEM;
	t->socket[t->count++] = (struct shut_socket){ ino, shutdown };
	return 0;
}

static int take(struct ckpt_shuts *t, const struct nlmsghdr *h)
{
	const struct inet_diag_msg *m = NLMSG_DATA(h);
	int left = (int)h->nlmsg_len - (int)NLMSG_LENGTH(sizeof(*m));

	if (left < 0)
		return 0;
	for (const struct rtattr *a = (const void *)(m + 1); RTA_OK(a, left); a = RTA_NEXT(a, left))
		if (a->rta_type == INET_DIAG_SHUTDOWN && *(const uint8_t *)RTA_DATA(a) & 3)
			return add(t, m->idiag_inode, *(const uint8_t *)RTA_DATA(a) & 3);
	return 0;
}

/* Until the end, whatever happens: others ask by the same socket. A kernel that cannot tell of UDP (CONFIG_INET_UDP_DIAG) says
 * so: then nothing is known. */
static int hear(int diag, struct ckpt_shuts *t, struct err *e)
{
	_Alignas(8) uint8_t buf[32768];
	int r = 0;

	for (bool more = true; more;) {
		ssize_t n = recv(diag, buf, sizeof(buf), 0);
		size_t left = n < 0 ? 0 : (size_t)n;

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? err_sys(e, "hear of datagram sockets") : err_code(e, -EPROTO, "hear of datagram sockets");
		for (const struct nlmsghdr *h = (const void *)buf; NLMSG_OK(h, left); h = NLMSG_NEXT(h, left)) {
			more &= h->nlmsg_type != NLMSG_DONE && h->nlmsg_type != NLMSG_ERROR;
			if (h->nlmsg_type == SOCK_DIAG_BY_FAMILY && r == 0)
				r = take(t, h);
		}
	}
	if (t->count)
		qsort(t->socket, t->count, sizeof(*t->socket), by_inode);
	if (r == -E2BIG)
		return err_set(e, ERR_UNSUPPORTED, "the VPS has more than %u UDP sockets that are shut down, which cannot be saved",
			       SHUT_MAX);
	return r < 0 ? err_code(e, r, "hear of datagram sockets") : 0;
}

static int ask(struct ckpt_dump *d, struct ckpt_shuts *t, struct err *e)
{
	struct {
		struct nlmsghdr h;
		struct inet_diag_req_v2 r;
	} q = {
		.h = { .nlmsg_len = sizeof(q), .nlmsg_type = SOCK_DIAG_BY_FAMILY, .nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP },
		.r = { .sdiag_family = t->family, .sdiag_protocol = t->protocol, .idiag_states = UINT32_MAX },
	};
	int diag = ckpt_dump_diag(d, t->space, e);

	if (diag < 0)
		return diag;
	if (send(diag, &q, sizeof(q), 0) < 0)
		return err_sys(e, "ask for datagram sockets");
	return hear(diag, t, e);
}

/* The table that has this socket, if any has. */
static int table_of(const struct ckpt_sock *k, const struct ckpt_shuts **ret, struct err *e)
{
	struct ckpt_shuts *t = k->d->shuts;

	while (t && (t->space != k->file->space || t->family != k->s->family || t->protocol != k->s->protocol))
		t = t->next;
	*ret = t;
	if (t)
		return 0;
	*ret = t = calloc(1, sizeof(*t));
	if (!t)
		return err_code(e, -ENOMEM, "collect sockets");
	t->space = k->file->space;
	t->family = (uint8_t)k->s->family;
	t->protocol = (uint8_t)k->s->protocol;
	t->next = k->d->shuts;
	k->d->shuts = t;
	return ask(k->d, t, e);
}

int ckpt_inet_shut(const struct ckpt_sock *k, uint32_t *ret, struct err *e)
{
	const struct ckpt_shuts *t;
	const struct shut_socket *s;
	struct stat st;
	int r;

	if (k->s->type != SOCK_DGRAM || (k->s->protocol != IPPROTO_UDP && k->s->protocol != IPPROTO_UDPLITE) ||
	    !port_of(&k->s->name))
		return 0;
	r = table_of(k, &t, e);
	if (r < 0 || !t->count)
		return r;
	if (fstat(k->fd, &st) < 0)
		return err_sys(e, "look at a datagram socket");
	s = bsearch(&(struct shut_socket){ .ino = (uint32_t)st.st_ino }, t->socket, t->count, sizeof(*s), by_inode);
	if (s)
		*ret = s->shutdown;
	return 0;
}
