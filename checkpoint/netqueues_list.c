/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Classes and filters, which the kernel tells of one link, and of one place of it, at a time. */
#include "checkpoint/netstate_internal.h"

#include "base/array.h"
#include "base/macro.h"

#include <errno.h>
#include <linux/pkt_cls.h>
#include <linux/pkt_sched.h>
#include <stdlib.h>

#define PLACES_MAX 65536

/* A discipline or a class. */
struct place {
	int ifindex;
	uint32_t handle;
	bool classes; /* it can have some, */
	bool below;   /* into which filters can be hung */
	bool two;     /* filters are hung into its two sides */
};

struct places {
	struct place *place;
	size_t count, room;
};

static int add_place(struct places *p, const struct place *one)
{
	if (p->count == PLACES_MAX)
		return -E2BIG;
	if (array_grow(&p->place, p->count, &p->room, 16) < 0)
		return -ENOMEM;
	p->place[p->count++] = *one;
	return 0;
}

static int take_place(enum ckpt_net_part p, const struct nlmsghdr *m, void *arg)
{
	const struct tcmsg *tc = mnl_nlmsg_get_payload(m);
	const struct nlattr *kind = nl_attr(m, sizeof(*tc), TCA_KIND);
	struct place one = { .ifindex = tc->tcm_ifindex, .handle = tc->tcm_handle };

	(void)p;
	one.below = nl_attr_is(kind, "htb") || nl_attr_is(kind, "hfsc");
	one.classes = one.below || nl_attr_is(kind, "drr");
	one.two = nl_attr_is(kind, "clsact");
	return add_place(arg, &one);
}

struct listing {
	enum ckpt_net_part part;
	net_each_fn fn;
	void *arg;
};

static int hear(const struct nlmsghdr *m, void *arg)
{
	const struct listing *l = arg;

	if (m->nlmsg_type != net_parts[l->part].add || m->nlmsg_len < NLMSG_LENGTH(sizeof(struct tcmsg)) ||
	    !net_is_kept(l->part, m))
		return 0;
	return l->fn(l->part, m, l->arg);
}

static int ask(struct nl *n, int ifindex, uint32_t parent, struct listing *l, struct err *e)
{
	struct tcmsg tc = { .tcm_ifindex = ifindex, .tcm_parent = parent };

	nl_end(n, nl_begin(n, net_parts[l->part].get, NLM_F_DUMP, &tc, sizeof(tc), "list"));
	nl_ignore(n, EOPNOTSUPP); /* this kernel has none */
	return nl_talk(n, net_parts[l->part].name, hear, l, e);
}

static int list_classes(struct nl *n, const struct places *all, net_each_fn fn, void *arg, struct err *e)
{
	struct listing l = { CKPT_NET_CLASS, fn, arg };
	int r = 0;

	for (size_t i = 0; r == 0 && i < all->count; i++) {
		bool again = !all->place[i].classes;

		for (size_t k = 0; !again && k < i; k++)
			again = all->place[k].classes && all->place[k].ifindex == all->place[i].ifindex;
		if (!again)
			r = ask(n, all->place[i].ifindex, 0, &l, e);
	}
	return r;
}

/* Filters of one discipline and of its classes. */
struct held {
	struct message {
		struct nlmsghdr *m;
		uint32_t table; /* of u32 that which came with its priority */
		size_t at;
	} * message;
	size_t count, room;
};

static int hold(enum ckpt_net_part p, const struct nlmsghdr *m, void *arg)
{
	struct held *h = arg;
	struct nlmsghdr *copy;

	(void)p;
	if (array_grow(&h->message, h->count, &h->room, 64) < 0)
		return -ENOMEM;
	copy = malloc(m->nlmsg_len);
	if (!copy)
		return -ENOMEM;
	memcpy(copy, m, m->nlmsg_len);
	h->message[h->count] = (struct message){ copy, 0, h->count };
	h->count++;
	return 0;
}

static void held_done(struct held *h)
{
	for (size_t i = 0; i < h->count; i++)
		free(h->message[i].m);
	free(h->message);
}

static const struct tcmsg *tc_of(const struct message *m)
{
	return mnl_nlmsg_get_payload(m->m);
}

static bool is_same_priority(const struct message *a, const struct message *b)
{
	const struct tcmsg *x = tc_of(a), *y = tc_of(b);

	return x->tcm_parent == y->tcm_parent && x->tcm_info == y->tcm_info;
}

/* They come by priorities; a table's number follows from when it was made. */
static void find_tables(struct held *h)
{
	for (size_t i = 0, end; i < h->count; i = end) {
		uint32_t table = 0;

		for (end = i; end < h->count && is_same_priority(&h->message[i], &h->message[end]); end++)
			if (net_classifier_is_root(h->message[end].m))
				table = tc_of(&h->message[end])->tcm_handle;
		for (size_t k = i; k < end; k++)
			h->message[k].table = table;
	}
}

static int by_table(const void *a, const void *b)
{
	const struct message *x = a, *y = b;

	if (x->table != y->table)
		return x->table < y->table ? -1 : 1;
	return x->at < y->at ? -1 : 1;
}

static int ask_filters(struct nl *n, const struct place *p, const struct places *classes, struct held *h, struct err *e)
{
	static const uint32_t sides[] = { TC_H_MAKE(TC_H_CLSACT, TC_H_MIN_INGRESS),
					  TC_H_MAKE(TC_H_CLSACT, TC_H_MIN_EGRESS) };
	struct listing l = { CKPT_NET_CLASSIFIER, hold, h };
	int r = 0;

	for (size_t i = 0; p->two && r == 0 && i < ARRAY_SIZE(sides); i++)
		r = ask(n, p->ifindex, sides[i], &l, e);
	if (!p->two)
		r = ask(n, p->ifindex, p->handle, &l, e);
	for (size_t i = 0; p->below && r == 0 && i < classes->count; i++)
		if (classes->place[i].ifindex == p->ifindex && TC_H_MAJ(classes->place[i].handle) == p->handle)
			r = ask(n, p->ifindex, classes->place[i].handle, &l, e);
	return r;
}

static int list_filters(struct nl *n, const struct place *p, const struct places *classes, net_each_fn fn, void *arg,
			struct err *e)
{
	struct held h = { 0 };
	int r = ask_filters(n, p, classes, &h, e);

	find_tables(&h);
	if (h.count)
		qsort(h.message, h.count, sizeof(*h.message), by_table);
	for (size_t i = 0; r == 0 && i < h.count; i++)
		r = fn(CKPT_NET_CLASSIFIER, h.message[i].m, arg);
	held_done(&h);
	return r;
}

int net_queues_list(struct nl *route, enum ckpt_net_part p, net_each_fn fn, void *arg, struct err *e)
{
	struct places all = { 0 }, classes = { 0 };
	int r = net_list(route, NULL, CKPT_NET_DISCIPLINE, take_place, &all, e);

	if (r == 0 && p == CKPT_NET_CLASS)
		r = list_classes(route, &all, fn, arg, e);
	else if (r == 0)
		r = list_classes(route, &all, take_place, &classes, e);
	for (size_t i = 0; r == 0 && p == CKPT_NET_CLASSIFIER && i < all.count; i++)
		r = list_filters(route, &all.place[i], &classes, fn, arg, e);
	free(all.place);
	free(classes.place);
	return r;
}
