/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Queueing disciplines made again, with classes in them, disciplines in these, and filters that lead there. */
#include "checkpoint/netstate_internal.h"

#include "base/macro.h"

#include <errno.h>
#include <linux/pkt_sched.h>

#define PASSES 64 /* what is below another comes after it: the kernel has 8 levels of classes, and of disciplines */

static const struct tcmsg *tc_of(const struct net_item *it)
{
	return mnl_nlmsg_get_payload((const void *)it->data);
}

/* A class whose parent is missing would be made, but elsewhere. */
static bool must_wait(const struct net_items *l, const struct net_item *it)
{
	const struct tcmsg *tc = tc_of(it);

	for (size_t i = 0; it->part == CKPT_NET_CLASS && i < l->count; i++) {
		const struct net_item *o = &l->item[i];

		if (o->part == CKPT_NET_CLASS && o != it && !o->there && tc_of(o)->tcm_ifindex == tc->tcm_ifindex &&
		    tc_of(o)->tcm_handle == tc->tcm_parent)
			return true;
	}
	return false;
}

static int add_missing(struct nl *n, struct net_items *l, struct err *e)
{
	bool moved = true, left = true;
	int r = 0;

	for (int pass = 0; left && moved && pass < PASSES; pass++) {
		left = moved = false;
		for (size_t i = 0; i < l->count; i++) {
			struct net_item *it = &l->item[i];
			int said;

			if (it->there)
				continue;
			left = true;
			if (must_wait(l, it))
				continue;
			said = net_item_say(n, it, net_parts[it->part].add, NLM_F_CREATE | NLM_F_EXCL, "restore", 0, e);
			it->there = said == 0;
			moved |= it->there;
			r = said < 0 ? said : r;
		}
	}
	if (!left)
		return 0;
	return r < 0 ? r : err_set(e, ERR_FAIL, "the image is damaged: classes below each other");
}

static int take(const struct net_walk *all, enum ckpt_net_part p, struct net_items *l)
{
	struct net_walk w = *all;
	const struct nlmsghdr *m;
	int r = 0;

	w.part = p;
	while (r == 0 && (m = net_next(&w)))
		if (p != CKPT_NET_CLASSIFIER || !net_classifier_is_root(m))
			r = net_items_add(p, m, l);
	return r;
}

/* Those of the configuration, or of the kernel, are none of the tenant's. */
static int remove_others(struct nl *n, struct net_items *want, struct err *e)
{
	cleanup_net_items struct net_items have = { 0 };
	int r = net_list(n, NULL, CKPT_NET_DISCIPLINE, net_items_add, &have, e);

	net_items_compare(&have, want);
	for (size_t i = 0; r == 0 && i < have.count; i++)
		if (!have.item[i].there)
			r = net_item_say(n, &have.item[i], RTM_DELQDISC, 0, "remove", ENOENT, e);
	return r;
}

int net_queues_restore(struct nl *route, const struct net_walk *all, struct err *e)
{
	cleanup_net_items struct net_items queues = { 0 }, filters = { 0 };
	int r = take(all, CKPT_NET_DISCIPLINE, &queues);

	if (r < 0)
		return err_code(e, r, "restore queueing disciplines");
	r = remove_others(route, &queues, e);
	if (r < 0)
		return r;
	r = take(all, CKPT_NET_CLASS, &queues);
	if (r == 0)
		r = take(all, CKPT_NET_CLASSIFIER, &filters);
	if (r < 0)
		return err_code(e, r, "restore queueing disciplines");
	r = add_missing(route, &queues, e);
	return r == 0 ? add_missing(route, &filters, e) : r;
}
