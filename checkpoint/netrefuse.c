/* SPDX-License-Identifier: GPL-2.0-or-later */

/* What a network namespace can have that is not saved. */
#include "checkpoint/netrare.h"

#include "base/macro.h"

#include <errno.h>
#include <linux/nexthop.h>
#include <linux/rtnetlink.h>

struct found {
	char what[64];
};

/* Its buckets have histories. */
static void look_at_nexthop(const struct nlmsghdr *m, struct found *f)
{
	const struct nlattr *a;

	mnl_attr_for_each(a, m, sizeof(struct nhmsg))
		if (mnl_attr_get_type(a) == NHA_RES_GROUP)
			snprintf(f->what, sizeof(f->what), "a resilient group of nexthops");
}

static void look(const struct net_walk *all, enum ckpt_net_part p,
		 void (*fn)(const struct nlmsghdr *m, struct found *f), struct found *f)
{
	struct net_walk w = *all;
	const struct nlmsghdr *m;

	w.part = p;
	while ((m = net_next(&w)))
		fn(m, f);
}

/* Of the parts that all have. */
static int refuse_messages(const struct net_walk *all, struct err *e)
{
	static const enum ckpt_net_part parts[] = { CKPT_NET_LINK, CKPT_NET_ROUTE, CKPT_NET_RULE };
	int r = 0;

	for (size_t i = 0; i < ARRAY_SIZE(parts); i++) {
		struct net_walk w = *all;
		const struct nlmsghdr *m;

		w.part = parts[i];
		while (r == 0 && (m = net_next(&w)))
			r = net_rare_refuse_message(parts[i], m, e);
	}
	return r;
}

int ckpt_netstate_refuse(Ckpt__NetState *const *states, size_t count,
			 const char *const *configured, size_t configured_count, struct err *e)
{
	struct net_walk all = { .states = states, .count = count, .ns = count ? states[0]->ns : 0 };
	struct found f = { "" };
	int r = net_links_refuse(&all, configured, configured_count, e);

	look(&all, CKPT_NET_NEXTHOP, look_at_nexthop, &f);
	if (r == 0)
		r = net_queues_refuse(&all, e);
	if (r == 0)
		r = refuse_messages(&all, e);
	if (r == 0 && f.what[0])
		r = err_set(e, ERR_UNSUPPORTED,
			    "the VPS's network has %s, which cannot be saved yet", f.what);
	return r;
}

void ckpt_netstate_localize(Ckpt__NetState *const *states, size_t count, uint32_t base)
{
	struct net_walk all = { .states = states, .count = count, .ns = count ? states[0]->ns : 0 };

	net_links_localize(&all, base);
}
