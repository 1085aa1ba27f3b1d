/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Sockets of packet(7). What they have caught is lost, as when there is no room for it, but in rings. */
#include "base/fd.h"
#include "base/macro.h"
#include "checkpoint/image.pb-c.h"
#include "checkpoint/internal.h"
#include "checkpoint/sockets.h"
#include "checkpoint/sockopt.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/if_packet.h>
#include <linux/netlink.h>
#include <linux/packet_diag.h>
#include <linux/rtnetlink.h>
#include <linux/sock_diag.h>
#include <sys/socket.h>

#define GROUPS_MAX 1024

static int add_groups(const struct ckpt_sock *k, const struct rtattr *a)
{
	struct ckpt_arena *ar = ckpt_dump_arena(k->d);
	const struct packet_diag_mclist *m = RTA_DATA(a);

	for (size_t n = RTA_PAYLOAD(a) / sizeof(*m); n > 0; n--, m++) {
		Ckpt__SocketGroup *g = ckpt_alloc(ar, sizeof(*g));

		if (!g || m->pdmc_alen > sizeof(m->pdmc_addr) ||
		    ckpt_push(ar, &k->s->group, &k->s->n_group, g) < 0)
			return -ENOMEM;
		ckpt__socket_group__init(g);
		g->index = m->pdmc_index;
		g->mode = m->pdmc_type;
		g->group.data = ckpt_memdup(ar, m->pdmc_addr, m->pdmc_alen);
		g->group.len = m->pdmc_alen;
		if (!g->group.data)
			return -ENOMEM;
	}
	return 0;
}

/* Of this one, among all that the kernel lists. */
static int take(const struct ckpt_sock *k, const struct nlmsghdr *h, struct err *e)
{
	const struct packet_diag_msg *m = NLMSG_DATA(h);
	int left = (int)h->nlmsg_len - (int)NLMSG_LENGTH(sizeof(*m)), r = 0;

	if (left < 0 || m->pdiag_ino != (uint32_t)k->file->value)
		return 0;
	/* Its address does not say which, and it is told no other afterwards. */
	if (k->s->type == SOCK_PACKET)
		k->s->protocol = htons(m->pdiag_num);
	for (const struct rtattr *a = (const void *)(m + 1); r == 0 && RTA_OK(a, left);
	     a = RTA_NEXT(a, left)) {
		if ((a->rta_type == PACKET_DIAG_RX_RING || a->rta_type == PACKET_DIAG_TX_RING) &&
		    RTA_PAYLOAD(a) >= sizeof(struct packet_diag_ring)) {
			r = ckpt_ring_add(k, a->rta_type == PACKET_DIAG_TX_RING, RTA_DATA(a), e);
			if (r < 0)
				return r;
		}
		if (a->rta_type == PACKET_DIAG_MCLIST)
			r = add_groups(k, a);
	}
	return r < 0 ? err_code(e, r, "collect sockets") : 0;
}

static int ask(const struct ckpt_sock *k, struct err *e)
{
	struct {
		struct nlmsghdr h;
		struct packet_diag_req r;
	} q = {
		.h = { .nlmsg_len = sizeof(q),
		       .nlmsg_type = SOCK_DIAG_BY_FAMILY,
		       .nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP },
		.r = { .sdiag_family = AF_PACKET,
		       .pdiag_show = PACKET_SHOW_MCLIST | PACKET_SHOW_RING_CFG },
	};
	_Alignas(8) uint8_t buf[32768];
	int nl = ckpt_dump_diag(k->d, k->file->space, e);
	int r = 0;

	if (nl < 0)
		return nl;
	if (send(nl, &q, sizeof(q), 0) < 0)
		return err_sys(e, "ask for packet sockets");
	for (bool more = true; more;) {
		ssize_t n = recv(nl, buf, sizeof(buf), 0);
		size_t left = n < 0 ? 0 : (size_t)n;

		if (n <= 0)
			return err_sys(e, "hear of packet sockets");
		for (const struct nlmsghdr *h = (const void *)buf; NLMSG_OK(h, left);
		     h = NLMSG_NEXT(h, left)) {
			more &= h->nlmsg_type != NLMSG_DONE && h->nlmsg_type != NLMSG_ERROR;
			if (h->nlmsg_type == SOCK_DIAG_BY_FAMILY && r == 0)
				r = take(k, h, e);
		}
	}
	return r;
}

int ckpt_packet_collect(const struct ckpt_sock *k, struct err *e)
{
	int r = ckpt_sock_names(k, e);

	if (r == 0)
		r = ckpt_sockopts_collect(ckpt_dump_arena(k->d), k->fd, k->s, e);
	if (r == 0)
		r = ask(k, e);
	return r == 0 ? ckpt_rings_collect(k, e) : r;
}

/* Of the old sort (SOCK_PACKET) the interface's name is the address. */
int ckpt_packet_bind(int fd, const Ckpt__Socket *s, struct err *e)
{
	const struct sockaddr *named = (const void *)s->name.data;
	struct sockaddr_ll a = { 0 };

	if (s->type == SOCK_PACKET)
		return named->sa_data[0] && bind(fd, named, (socklen_t)s->name.len) < 0
			? err_sys(e, "bind a packet socket to interface %.14s again", named->sa_data) : 0;
	memcpy(&a, s->name.data, s->name.len);
	return (a.sll_protocol || a.sll_ifindex) && bind(fd, (struct sockaddr *)&a, sizeof(a)) < 0
		? err_sys(e, "bind a packet socket to interface %d again", a.sll_ifindex) : 0;
}

int ckpt_packet_make(int fd, const Ckpt__File *f, struct err *e)
{
	const Ckpt__Socket *s = f->socket;

	for (size_t i = 0; i < s->n_group; i++) {
		struct packet_mreq m = { .mr_ifindex = (int)s->group[i]->index,
					 .mr_type = (unsigned short)s->group[i]->mode,
					 .mr_alen = (unsigned short)s->group[i]->group.len };

		memcpy(m.mr_address, s->group[i]->group.data, s->group[i]->group.len);
		if (setsockopt(fd, SOL_PACKET, PACKET_ADD_MEMBERSHIP, &m, sizeof(m)) < 0)
			return err_sys(e, "listen on interface %d again", m.mr_ifindex);
	}
	return 0;
}

bool ckpt_packet_is_good(const Ckpt__Socket *s)
{
	if (!ckpt_rings_are_good(s))
		return false;
	for (size_t i = 0; i < s->n_group; i++)
		if (s->group[i]->group.len > sizeof(((struct packet_mreq *)0)->mr_address))
			return false;
	if (s->type == SOCK_PACKET)
		return s->name.len == sizeof(struct sockaddr) && s->n_group <= GROUPS_MAX;
	return s->name.len >= offsetof(struct sockaddr_ll, sll_addr) && s->n_group <= GROUPS_MAX &&
	       (s->type == SOCK_RAW || s->type == SOCK_DGRAM);
}
