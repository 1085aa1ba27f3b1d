/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Links that lead from one network namespace of the VPS into another. */
#include "base/macro.h"
#include "checkpoint/internal.h"
#include "checkpoint/netlinks.h"

#include <errno.h>
#include <linux/if_link.h>
#include <linux/net_namespace.h>
#include <linux/rtnetlink.h>

static int take_number(const struct nlmsghdr *m, void *arg)
{
	const struct nlattr *a;

	mnl_attr_for_each(a, m, sizeof(struct rtgenmsg))
	{
		if (mnl_attr_get_type(a) == NETNSA_NSID && mnl_attr_get_payload_len(a) == 4)
			*(int32_t *)arg = (int32_t)mnl_attr_get_u32(a);
	}
	return 0;
}

/* How a namespace numbers another; -1: not at all. */
static int number_of(struct nl *n, int netns, int32_t *ret, struct err *e)
{
	struct rtgenmsg g = { 0 };
	struct nlmsghdr *q = nl_begin(n, RTM_GETNSID, 0, &g, sizeof(g), "ask for the number");

	*ret = -1;
	if (q)
		mnl_attr_put_u32(q, NETNSA_FD, (uint32_t)netns);
	nl_end(n, q);
	return nl_talk(n, "a network namespace", take_number, ret, e);
}

/* The record of the one that has this number; negative: *e is filled. */
static int find(const struct ckpt_dump *d, struct nl *n, const struct net_link *l, uint32_t *ret, struct err *e)
{
	for (uint32_t id = 1; id <= d->tree.space_count; id++) {
		int32_t number;
		int r;

		if (d->tree.spaces[id - 1]->kind != CKPT_SPACE_NET)
			continue;
		r = number_of(n, d->spaces.space[id - 1].fd, &number, e);
		if (r < 0)
			return r;
		if (number != (int32_t)l->where)
			continue;
		*ret = id == d->spaces.main[CKPT_SPACE_NET] ? 0 : id;
		return 0;
	}
	return err_set(e, ERR_UNSUPPORTED,
		       "the VPS has an interface %s whose other end is in a network namespace that is not the "
		       "VPS's, which cannot be saved",
		       l->name);
}

/* The other end of the runtime's own interfaces is with the host, which has no number in an image: their own
 * namespace's stands for it, where no end that is away can be. */
static bool is_configured(const struct net_link *l, const char *const *configured, size_t count)
{
	for (size_t i = 0; i < count; i++)
		if (STREQ(l->name, configured[i]))
			return true;
	return false;
}

int ckpt_netpeers_find(const struct ckpt_dump *d, struct ckpt_netways *ways, Ckpt__NetState *const *states,
		       size_t count, const char *const *configured, size_t configured_count, struct err *e)
{
	struct net_walk w = { .states = states, .count = count, .ns = count ? states[0]->ns : 0 };
	struct net_link l;
	int r = 0;

	while (r == 0 && net_link_next(&w, &l)) {
		uint32_t id = w.ns;

		if (!l.away)
			continue;
		if (!is_configured(&l, configured, configured_count))
			r = find(d, net_ways_route(ways), &l, &id, e);
		if (r == 0) /* in place: the message is ours */
			memcpy(mnl_attr_get_payload(l.attr[IFLA_LINK_NETNSID]), &id, sizeof(id));
	}
	return r;
}

static bool is_net(const struct ckpt_tree *t, uint32_t id)
{
	return id <= t->space_count && t->spaces[id - 1]->kind == CKPT_SPACE_NET &&
	       id != ckpt_space_main(t, CKPT_SPACE_NET);
}

int ckpt_netpeers_check(const struct ckpt_tree *t, struct err *e)
{
	for (size_t i = 0; i < t->net_count; i++)
		if (t->nets[i]->ns && !is_net(t, t->nets[i]->ns))
			return err_set(e, ERR_FAIL, "the image is damaged: network namespace %u", t->nets[i]->ns);
	return 0;
}
