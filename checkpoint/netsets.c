/* SPDX-License-Identifier: GPL-2.0-or-later */

/*
 * Sets of ipset(8). The kernel lists each with its members in as many messages as it takes; they are saved as the
 * requests that make it again: one for the set, then one for each message's members, in their order. Rules of
 * iptables that became nftables' know a set by its number, so it gets that again.
 */
#include "checkpoint/netrare.h"

#include "base/array.h"
#include "base/macro.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/netfilter/ipset/ip_set.h>
#include <linux/netfilter/nfnetlink.h>
#include <stdlib.h>

#define SET(cmd) (NFNL_SUBSYS_IPSET << 8 | (cmd))
#define PROTOCOL 7 /* that tells numbers; Linux 4.20 */
#define SETS_MAX 65535
#define GAP_NAME "vps-gap-%u"

static const struct nfgenmsg head = { .nfgen_family = AF_INET, .version = NFNETLINK_V0 };

static const struct nlattr *find(const struct nlmsghdr *m, uint16_t type)
{
	return nl_attr(m, sizeof(struct nfgenmsg), type);
}

/* What is to be saved is kept until all is told: numbers are asked for by the same socket. */
struct listing {
	struct set_message {
		enum ckpt_net_part part;
		struct nlmsghdr *m;
	} *item;
	size_t count, room;
	uint32_t number;
};

static struct nlmsghdr *add(struct listing *l, enum ckpt_net_part p, size_t size)
{
	if (array_grow(&l->item, l->count, &l->room, 16) < 0)
		return NULL;
	l->item[l->count] = (struct set_message){ p, calloc(1, size) };
	if (!l->item[l->count].m)
		return NULL;
	mnl_nlmsg_put_header(l->item[l->count].m);
	memcpy(mnl_nlmsg_put_extra_header(l->item[l->count].m, sizeof(head)), &head, sizeof(head));
	return l->item[l->count++].m;
}

static void put(struct nlmsghdr *q, const struct nlattr *a)
{
	if (a)
		mnl_attr_put(q, a->nla_type, mnl_attr_get_payload_len(a), mnl_attr_get_payload(a));
}

/* Addresses are told without the mark of the network's byte order, and taken with it alone. */
static void mark_addresses(const struct nlattr *data)
{
	struct nlattr *a, *address;

	mnl_attr_for_each_nested(a, data) {
		uint16_t type = mnl_attr_get_type(a);

		if (type == IPSET_ATTR_IP || type == IPSET_ATTR_IP_TO || type == IPSET_ATTR_IP2 || type == IPSET_ATTR_IP2_TO)
			mnl_attr_for_each_nested(address, a)
				address->nla_type |= NLA_F_NET_BYTEORDER;
	}
}

/* But for what it only tells of itself. */
static void put_header(struct nlmsghdr *q, const struct nlattr *data)
{
	struct nlattr *nest = mnl_attr_nest_start(q, IPSET_ATTR_DATA);
	const struct nlattr *a;

	mnl_attr_for_each_nested(a, data) {
		uint16_t type = mnl_attr_get_type(a);

		if (type != IPSET_ATTR_ELEMENTS && type != IPSET_ATTR_REFERENCES && type != IPSET_ATTR_MEMSIZE)
			put(q, a);
	}
	mnl_attr_nest_end(q, nest);
	mark_addresses(nest);
}

static void put_members(struct nlmsghdr *q, const struct nlattr *members)
{
	const struct nlattr *copy = mnl_nlmsg_get_payload_tail(q), *data;

	put(q, members);
	mnl_attr_for_each_nested(data, copy)
		mark_addresses(data);
}

static int hear(const struct nlmsghdr *m, void *arg)
{
	static const uint16_t kept[] = { IPSET_ATTR_TYPENAME, IPSET_ATTR_REVISION, IPSET_ATTR_FAMILY };
	const struct nlattr *data, *members, *name;
	struct listing *l = arg;
	struct nlmsghdr *q;

	if (m->nlmsg_type != SET(IPSET_CMD_LIST) || m->nlmsg_len < NLMSG_LENGTH(sizeof(head)))
		return 0;
	name = find(m, IPSET_ATTR_SETNAME);
	data = find(m, IPSET_ATTR_DATA);
	members = find(m, IPSET_ATTR_ADT);
	if (!name)
		return 0;
	if (data) { /* in the first message of a set alone */
		q = add(l, CKPT_NET_IPSET, m->nlmsg_len + 256);
		if (!q)
			return -ENOMEM;
		put(q, name);
		for (size_t i = 0; i < ARRAY_SIZE(kept); i++)
			put(q, find(m, kept[i]));
		put_header(q, data);
	}
	if (members && mnl_attr_get_payload_len(members)) {
		q = add(l, CKPT_NET_IPSET_MEMBERS, m->nlmsg_len + 256);
		if (!q)
			return -ENOMEM;
		put(q, name);
		put_members(q, members);
	}
	return 0;
}

static int hear_number(const struct nlmsghdr *m, void *arg)
{
	const struct nlattr *a = find(m, IPSET_ATTR_INDEX);

	if (a && mnl_attr_get_payload_len(a) == 2)
		((struct listing *)arg)->number = ntohs(mnl_attr_get_u16(a));
	return 0;
}

static struct nlmsghdr *ask(struct nl *n, uint16_t cmd, uint16_t flags, const char *what)
{
	struct nlmsghdr *q = nl_begin(n, SET(cmd), flags, &head, sizeof(head), what);

	if (q)
		mnl_attr_put_u8(q, IPSET_ATTR_PROTOCOL, PROTOCOL);
	return q;
}

static int put_number(struct nl *n, struct listing *l, struct nlmsghdr *set, struct err *e)
{
	struct nlmsghdr *q = ask(n, IPSET_CMD_GET_BYNAME, 0, "ask for the number");
	int r;

	if (q)
		put(q, find(set, IPSET_ATTR_SETNAME));
	nl_end(n, q);
	l->number = UINT32_MAX;
	r = nl_talk(n, "a set", hear_number, l, e);
	if (r == 0 && l->number == UINT32_MAX)
		return err_set(e, ERR_FAIL, "the kernel does not tell the number of a set");
	if (r == 0)
		mnl_attr_put_u16(set, IPSET_ATTR_INDEX, htons((uint16_t)l->number));
	return r;
}

int net_sets_collect(const struct net_rare *r, struct err *e)
{
	struct nl *n = r->filter;
	struct listing l = { .item = NULL };
	int done;

	nl_end(n, ask(n, IPSET_CMD_LIST, NLM_F_DUMP, "list"));
	nl_ignore(n, EINVAL); /* this kernel has none */
	nl_ignore(n, EOPNOTSUPP);
	done = nl_talk(n, "sets", hear, &l, e);
	for (size_t i = 0; done == 0 && i < l.count; i++) {
		if (l.item[i].part == CKPT_NET_IPSET)
			done = put_number(n, &l, l.item[i].m, e);
		if (done == 0)
			done = r->fn(l.item[i].part, l.item[i].m, r->arg);
	}
	for (size_t i = 0; i < l.count; i++)
		free(l.item[i].m);
	free(l.item);
	return done;
}

static uint32_t number_of(const struct nlmsghdr *m)
{
	const struct nlattr *a = find(m, IPSET_ATTR_INDEX);

	return a && mnl_attr_get_payload_len(a) == 2 ? ntohs(mnl_attr_get_u16(a)) : SETS_MAX;
}

static int by_number(const void *a, const void *b)
{
	uint32_t x = number_of(*(const struct nlmsghdr *const *)a), y = number_of(*(const struct nlmsghdr *const *)b);

	return x < y ? -1 : x > y;
}

/* In the place of one that was deleted: a new set gets the lowest number that is free. */
static void make_gap(struct nl *n, uint32_t number)
{
	struct nlmsghdr *q = ask(n, IPSET_CMD_CREATE, NLM_F_CREATE | NLM_F_EXCL, "make a place");
	struct nlattr *nest;
	char name[32];

	snprintf(name, sizeof(name), GAP_NAME, number);
	if (q) {
		mnl_attr_put_strz(q, IPSET_ATTR_SETNAME, name);
		mnl_attr_put_strz(q, IPSET_ATTR_TYPENAME, "list:set");
		mnl_attr_put_u8(q, IPSET_ATTR_REVISION, 0);
		mnl_attr_put_u8(q, IPSET_ATTR_FAMILY, AF_UNSPEC);
		nest = mnl_attr_nest_start(q, IPSET_ATTR_DATA);
		mnl_attr_nest_end(q, nest);
	}
	nl_end(n, q);
}

static void remove_gap(struct nl *n, uint32_t number)
{
	struct nlmsghdr *q = ask(n, IPSET_CMD_DESTROY, 0, "give up a place");
	char name[32];

	snprintf(name, sizeof(name), GAP_NAME, number);
	if (q)
		mnl_attr_put_strz(q, IPSET_ATTR_SETNAME, name);
	nl_end(n, q);
}

static void make_set(struct nl *n, const struct nlmsghdr *m)
{
	struct nlmsghdr *q = ask(n, IPSET_CMD_CREATE, NLM_F_CREATE | NLM_F_EXCL, "restore");
	const struct nlattr *a;

	if (q)
		mnl_attr_for_each(a, m, sizeof(struct nfgenmsg))
			if (mnl_attr_get_type(a) != IPSET_ATTR_INDEX && mnl_attr_get_type(a) != IPSET_ATTR_PROTOCOL)
				put(q, a);
	nl_end(n, q);
}

/* All sets first: some have others as members. */
static int make_sets(struct nl *n, struct nlmsghdr **set, size_t count, struct err *e)
{
	uint32_t next = 0;
	int r = 0;

	qsort(set, count, sizeof(*set), by_number);
	for (size_t i = 0; r == 0 && i < count; i++) {
		uint32_t number = number_of(set[i]);

		if (number < next || number >= SETS_MAX)
			return err_set(e, ERR_FAIL, "the image is damaged: sets of a network");
		while (r == 0 && next < number) {
			make_gap(n, next++);
			r = nl_talk_if_much(n, "a set", e);
		}
		make_set(n, set[i]);
		r = r < 0 ? r : nl_talk_if_much(n, "a set", e);
		next = number + 1;
	}
	for (size_t i = 0; r == 0 && next && i < count; i++) { /* those between */
		uint32_t from = i ? number_of(set[i - 1]) + 1 : 0;

		while (r == 0 && from < number_of(set[i])) {
			remove_gap(n, from++);
			r = nl_talk_if_much(n, "a set", e);
		}
	}
	return r < 0 ? r : nl_talk(n, "a set", NULL, NULL, e);
}

static int fill_set(struct nl *n, const struct nlmsghdr *m, struct err *e)
{
	struct nlmsghdr *q = ask(n, IPSET_CMD_ADD, 0, "restore");

	if (q) {
		put(q, find(m, IPSET_ATTR_SETNAME));
		put(q, find(m, IPSET_ATTR_ADT));
		mnl_attr_put_u32(q, IPSET_ATTR_LINENO, 0);
	}
	nl_end(n, q);
	return nl_talk(n, "members of a set", NULL, NULL, e);
}

int net_sets_restore(struct nl *filter, const struct net_walk *all, struct err *e)
{
	struct net_walk w = *all;
	struct nlmsghdr **set = NULL, **more;
	const struct nlmsghdr *m;
	size_t count = 0;
	int r = 0;

	w.part = CKPT_NET_IPSET;
	while ((m = net_next(&w))) {
		more = reallocarray(set, count + 1, sizeof(*more));
		if (!more) {
			free(set);
			return err_code(e, -ENOMEM, "restore sets");
		}
		set = more;
		set[count++] = (struct nlmsghdr *)(uintptr_t)m;
	}
	if (count)
		r = make_sets(filter, set, count, e);
	free(set);
	w = *all;
	w.part = CKPT_NET_IPSET_MEMBERS;
	while (r == 0 && (m = net_next(&w)))
		r = fill_set(filter, m, e);
	return r;
}
