/* SPDX-License-Identifier: GPL-2.0-or-later */

/* The numbers by which network namespaces know each other (ip-netns(8), set): given by hand, or with a link. */
#include "base/macro.h"
#include "checkpoint/internal.h"
#include "checkpoint/netstate_internal.h"

#include <errno.h>
#include <linux/net_namespace.h>
#include <linux/rtnetlink.h>

#define ASKED_AT_ONCE 64

static int count(const struct nlmsghdr *m, void *arg)
{
	if (m->nlmsg_type == RTM_NEWNSID)
		++*(size_t *)arg;
	return 0;
}

/* The kernel tells a namespace's numbers, but of which: each of the VPS's is asked for until all are known. */
struct asking {
	struct nl *n;
	struct ckpt_dump *d;
	Ckpt__NetState *to;
	uint32_t first; /* of the requests that are under way */
	uint32_t ids[ASKED_AT_ONCE]; /* what they ask for */
	size_t asked;
};

static int put(struct asking *k, int32_t number, uint32_t id)
{
	union {
		struct nlmsghdr m;
		char room[MNL_ALIGN(sizeof(struct nlmsghdr)) + MNL_ALIGN(sizeof(struct rtgenmsg)) + 16];
	} buf;
	ProtobufCBinaryData *d = &k->to->message[k->to->n_message];
	struct nlmsghdr *m;

	memset(&buf, 0, sizeof(buf));
	m = mnl_nlmsg_put_header(&buf);
	m->nlmsg_type = RTM_NEWNSID;
	mnl_nlmsg_put_extra_header(m, sizeof(struct rtgenmsg));
	mnl_attr_put_u32(m, NETNSA_NSID, (uint32_t)number);
	mnl_attr_put_u32(m, NETNSA_FD, id);
	d->len = m->nlmsg_len;
	d->data = ckpt_memdup(&k->d->tree.arena, m, d->len);
	k->to->n_message += d->data != NULL;
	return d->data ? 0 : -ENOMEM;
}

static int take(const struct nlmsghdr *m, void *arg)
{
	struct asking *k = arg;
	const struct nlattr *a = nl_attr(m, sizeof(struct rtgenmsg), NETNSA_NSID);
	uint32_t at = m->nlmsg_seq - k->first;

	if (!a || mnl_attr_get_payload_len(a) != 4 || (int32_t)mnl_attr_get_u32(a) < 0 || at >= k->asked)
		return 0;
	return put(k, (int32_t)mnl_attr_get_u32(a), k->ids[at]);
}

static int ask(struct asking *k, struct err *e)
{
	int r = nl_talk(k->n, "a network namespace", take, k, e);

	k->asked = 0;
	return r == -ENOMEM ? err_code(e, r, "collect the network") : r;
}

static void question(struct asking *k, uint32_t space)
{
	struct rtgenmsg g = { 0 };
	struct nlmsghdr *q = nl_begin(k->n, RTM_GETNSID, 0, &g, sizeof(g), "ask for the number");

	if (q) {
		mnl_attr_put_u32(q, NETNSA_FD, (uint32_t)k->d->spaces.space[space - 1].fd);
		if (!k->asked)
			k->first = q->nlmsg_seq;
		k->ids[k->asked++] = space == k->d->spaces.main[CKPT_SPACE_NET] ? 0 : space;
	}
	nl_end(k->n, q);
}

/* That of process 1, which most know and nothing else, before the others. */
static int ask_all(struct asking *k, size_t known, struct err *e)
{
	const struct ckpt_tree *t = &k->d->tree;
	uint32_t main = k->d->spaces.main[CKPT_SPACE_NET];
	int r = 0;

	if (main) {
		question(k, main);
		r = ask(k, e);
	}
	for (uint32_t id = 1; r == 0 && id <= t->space_count && k->to->n_message < known; id++) {
		if (t->spaces[id - 1]->kind != CKPT_SPACE_NET || id == main)
			continue;
		question(k, id);
		if (k->asked == ASKED_AT_ONCE)
			r = ask(k, e);
	}
	return r == 0 ? ask(k, e) : r;
}

static size_t count_spaces(const struct ckpt_tree *t)
{
	size_t n = 0;

	for (size_t i = 0; i < t->space_count; i++)
		n += t->spaces[i]->kind == CKPT_SPACE_NET;
	return n;
}

int ckpt_netnumbers_collect(struct ckpt_dump *d, struct ckpt_netways *ways, uint32_t ns, struct err *e)
{
	struct asking k = { .n = net_ways_route(ways), .d = d };
	struct rtgenmsg g = { 0 };
	size_t spaces = count_spaces(&d->tree), known = 0;
	int r;

	if (spaces < 2)
		return 0;
	nl_end(k.n, nl_begin(k.n, RTM_GETNSID, NLM_F_DUMP, &g, sizeof(g), "list the numbers"));
	r = nl_talk(k.n, "network namespaces", count, &known, e);
	if (r < 0 || !known)
		return r;
	k.to = ckpt_alloc(&d->tree.arena, sizeof(*k.to));
	if (!k.to)
		return err_code(e, -ENOMEM, "collect the network");
	ckpt__net_state__init(k.to);
	k.to->ns = ns;
	k.to->part = CKPT_NET_NUMBER;
	k.to->message = ckpt_alloc(&d->tree.arena, spaces * sizeof(*k.to->message));
	if (!k.to->message)
		return err_code(e, -ENOMEM, "collect the network");
	r = ask_all(&k, known, e);
	if (r == 0 && k.to->n_message && ckpt_push(&d->tree.arena, &d->tree.nets, &d->tree.net_count, k.to) < 0)
		r = err_code(e, -ENOMEM, "collect the network");
	return r;
}

struct numbering {
	const struct ckpt_netplaces *at;
	struct net_walk all;
};

static int32_t value(const struct nlmsghdr *m, uint16_t type)
{
	const struct nlattr *a = nl_attr(m, sizeof(struct rtgenmsg), type);

	return a && mnl_attr_get_payload_len(a) == 4 ? (int32_t)mnl_attr_get_u32(a) : -1;
}

/* Before links come, which would have them numbered. */
static int number(void *arg, struct err *e)
{
	struct numbering *k = arg;
	cleanup_nl struct nl n = NL_INIT;
	struct rtgenmsg g = { 0 };
	const struct nlmsghdr *m;
	int r = nl_open(&n, NETLINK_ROUTE, -1, e);

	while (r == 0 && (m = net_next(&k->all))) {
		int32_t nsid = value(m, NETNSA_NSID), id = value(m, NETNSA_FD);
		struct nlmsghdr *q;

		if (nsid < 0 || id < 0 || (size_t)id >= k->at->count || k->at->fd[id] < 0)
			return err_set(e, ERR_FAIL, "the image is damaged: numbers of network namespaces");
		q = nl_begin(&n, RTM_NEWNSID, 0, &g, sizeof(g), "set the number");
		if (q) {
			mnl_attr_put_u32(q, NETNSA_NSID, (uint32_t)nsid);
			mnl_attr_put_u32(q, NETNSA_FD, (uint32_t)k->at->fd[id]);
		}
		nl_end(&n, q);
		nl_ignore(&n, EEXIST); /* it has one; or the host's, which has come first, has this */
		r = nl_talk_if_much(&n, "a network namespace", e);
	}
	return r < 0 ? r : nl_talk(&n, "a network namespace", NULL, NULL, e);
}

int net_numbers_restore(const struct ckpt_netplaces *at, const struct net_walk *all, struct err *e)
{
	int r = 0;

	for (uint32_t ns = 0; r == 0 && ns < at->count; ns++) {
		struct numbering k = { at, *all };
		struct net_walk w;

		k.all.ns = ns;
		k.all.part = CKPT_NET_NUMBER;
		w = k.all;
		if (net_next(&w))
			r = net_within(at, ns, 0, number, &k, e);
	}
	return r;
}
