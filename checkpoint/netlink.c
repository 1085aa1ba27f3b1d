/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Sockets of netlink(7): port, groups, options. What the kernel has said in one cannot be put back. */
#include "base/macro.h"
#include "checkpoint/image.pb-c.h"
#include "checkpoint/internal.h"
#include "checkpoint/sockets.h"
#include "checkpoint/sockopt.h"

#include <errno.h>
#include <linux/netlink.h>
#include <linux/sock_diag.h>
#include <sys/socket.h>

#define GROUPS_MAX 1024

static int collect_groups(const struct ckpt_sock *k, struct err *e)
{
	struct ckpt_arena *a = ckpt_dump_arena(k->d);
	uint32_t mask[GROUPS_MAX / 32] = { 0 };
	socklen_t len = sizeof(mask);

	if (getsockopt(k->fd, SOL_NETLINK, NETLINK_LIST_MEMBERSHIPS, mask, &len) < 0)
		return err_sys(e, "read the groups of a netlink socket");
	if (len > sizeof(mask))
		return ckpt_sock_refuse(k, "of netlink with very many groups", e);
	for (uint32_t i = 0; i < len * 8; i++) {
		Ckpt__SocketGroup *g;

		if (!(mask[i / 32] >> (i % 32) & 1))
			continue;
		g = ckpt_alloc(a, sizeof(*g));
		if (!g || ckpt_push(a, &k->s->group, &k->s->n_group, g) < 0)
			return err_code(e, -ENOMEM, "collect sockets");
		ckpt__socket_group__init(g);
		g->index = i + 1;
	}
	return 0;
}

int ckpt_netlink_collect(const struct ckpt_sock *k, struct err *e)
{
	uint32_t mem[SK_MEMINFO_VARS] = { 0 };
	socklen_t len = sizeof(mem);
	int r;

	if (getsockopt(k->fd, SOL_SOCKET, SO_MEMINFO, mem, &len) < 0)
		return err_sys(e, "look at a netlink socket");
	if (mem[SK_MEMINFO_RMEM_ALLOC])
		return ckpt_sock_busy(k, "of netlink with messages that were not read", e);
	r = ckpt_sock_names(k, e);
	if (r == 0)
		r = ckpt_sockopts_collect(ckpt_dump_arena(k->d), k->fd, k->s, e);
	return r == 0 ? collect_groups(k, e) : r;
}

int ckpt_netlink_make(int fd, const Ckpt__File *f, struct err *e)
{
	const Ckpt__Socket *s = f->socket;
	struct sockaddr_nl own, peer;

	memcpy(&own, s->name.data, sizeof(own));
	memcpy(&peer, s->peer.data, sizeof(peer));
	own.nl_groups = 0;
	if (own.nl_pid && bind(fd, (struct sockaddr *)&own, sizeof(own)) < 0)
		return err_sys(e, "bind a netlink socket again");
	for (size_t i = 0; i < s->n_group; i++) {
		int group = (int)s->group[i]->index;

		if (setsockopt(fd, SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, &group, sizeof(group)) < 0)
			return err_sys(e, "join group %d of netlink %u again", group, s->protocol);
	}
	if ((peer.nl_pid || peer.nl_groups) &&
	    connect(fd, (struct sockaddr *)&peer, sizeof(peer)) < 0)
		return err_sys(e, "connect a netlink socket again");
	return 0;
}

bool ckpt_netlink_is_good(const Ckpt__Socket *s)
{
	for (size_t i = 0; i < s->n_group; i++)
		if (s->group[i]->index == 0 || s->group[i]->index > GROUPS_MAX)
			return false;
	return s->name.len == sizeof(struct sockaddr_nl) &&
	       s->peer.len == sizeof(struct sockaddr_nl) &&
	       (s->type == SOCK_RAW || s->type == SOCK_DGRAM) && s->n_group <= GROUPS_MAX;
}
