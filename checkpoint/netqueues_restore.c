/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Queueing disciplines made again, with classes in them, disciplines in these, and filters that lead there. */
#include "checkpoint/netstate_internal.h"

#include "base/macro.h"

#include <errno.h>
#include <linux/pkt_sched.h>
#include <stdlib.h>

#define PASSES 64 /* what is below another comes after it: the kernel has 8 levels of classes, and of disciplines */

static const struct tcmsg *tc_of(const struct net_item *it)
{
	return mnl_nlmsg_get_payload((const void *)it->data);
}

/* Classes, in the order of their links and handles. */
struct classes {
	const struct net_item **list;
	size_t count;
};

static int compare(uint32_t a_link, uint32_t a_handle, const struct net_item *b)
{
	const struct tcmsg *tc = tc_of(b);
	uint32_t link = (uint32_t)tc->tcm_ifindex;

	if (a_link != link)
		return a_link < link ? -1 : 1;
	return a_handle < tc->tcm_handle ? -1 : a_handle > tc->tcm_handle;
}

static int by_handle(const void *a, const void *b)
{
	const struct net_item *x = *(const struct net_item *const *)a;

	return compare((uint32_t)tc_of(x)->tcm_ifindex, tc_of(x)->tcm_handle, *(const struct net_item *const *)b);
}

static int by_parent(const void *key, const void *b)
{
	const struct tcmsg *tc = tc_of(key);

	return compare((uint32_t)tc->tcm_ifindex, tc->tcm_parent, *(const struct net_item *const *)b);
}

static int sort_classes(const struct net_items *l, struct classes *ret)
{
	ret->list = calloc(l->count + 1, sizeof(*ret->list));
	ret->count = 0;
	if (!ret->list)
		return -ENOMEM;
	for (size_t i = 0; i < l->count; i++)
		if (l->item[i].part == CKPT_NET_CLASS)
			ret->list[ret->count++] = &l->item[i];
	qsort(ret->list, ret->count, sizeof(*ret->list), by_handle);
	return 0;
}

/* A class whose parent is missing would be made, but elsewhere. */
static bool must_wait(const struct classes *c, const struct net_item *it)
{
	const struct net_item **parent = it->part != CKPT_NET_CLASS || !c->count ? NULL
			: bsearch(it, c->list, c->count, sizeof(*c->list), by_parent);

	return parent && *parent != it && !(*parent)->there;
}

static int add_missing(struct nl *n, struct net_items *l, struct err *e)
{
	bool moved = true, left = true;
	struct classes classes;
	int r = sort_classes(l, &classes);

	if (r < 0)
		return err_code(e, r, "restore classes");
	for (int pass = 0; left && moved && pass < PASSES; pass++) {
		left = moved = false;
		for (size_t i = 0; i < l->count; i++) {
			struct net_item *it = &l->item[i];
			int said;

			if (it->there)
				continue;
			left = true;
			if (must_wait(&classes, it))
				continue;
			said = net_item_say(n, it, net_parts[it->part].add, NLM_F_CREATE | NLM_F_EXCL, "restore", 0, e);
			it->there = said == 0;
			moved |= it->there;
			r = said < 0 ? said : r;
		}
	}
	free(classes.list);
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
