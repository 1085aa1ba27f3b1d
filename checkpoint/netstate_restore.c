/* SPDX-License-Identifier: GPL-2.0-or-later */

/* What a network namespace had, made again where it has it not from its configuration. */
#include "checkpoint/netlinks.h"
#include "checkpoint/netrare.h"

#include "base/array.h"
#include "base/fd.h"
#include "base/macro.h"
#include "base/step.h"

#include <errno.h>
#include <net/if.h>
#include <sched.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>

#define PASSES 8 /* routes may need others; each pass brings at least one */

static int bad(const char *what, struct err *e)
{
	return err_set(e, ERR_FAIL, "the image is damaged: %s of a network", what);
}

static bool is_path(const char *p, size_t len)
{
	size_t n = strnlen(p, len);

	if (n == len || n == 0 || p[0] == '/' || strstr(p, ".."))
		return false;
	return memchr(p + n + 1, '\0', len - n - 1) == NULL;
}

int ckpt_netstate_check(Ckpt__NetState *const *states, size_t count, struct err *e)
{
	for (size_t i = 0; i < count; i++) {
		const Ckpt__NetState *s = states[i];

		if (s->part >= CKPT_NET_PART_COUNT || (s->part != CKPT_NET_SWITCH && !net_parts[s->part].name))
			return bad("a part", e);
		for (size_t k = 0; k < s->n_message; k++) {
			const struct nlmsghdr *m = (const void *)s->message[k].data;
			size_t len = s->message[k].len;

			if (s->part == CKPT_NET_SWITCH ?
				    !is_path((const char *)m, len) :
				    len > (s->part == CKPT_NET_CLASSIFIER ? NET_CLASSIFIER_MAX : NET_MESSAGE_MAX - 1024) || !mnl_nlmsg_ok(m, (int)len) ||
					    m->nlmsg_len != len ||
					    len < NLMSG_LENGTH(net_parts[s->part].fixed) ||
					    m->nlmsg_type != net_parts[s->part].add)
				return bad(s->part == CKPT_NET_SWITCH ? "a switch" :
									net_parts[s->part].name,
					   e);
		}
	}
	return 0;
}

const struct nlmsghdr *net_next(struct net_walk *w)
{
	for (; w->i < w->count; w->i++, w->k = 0) {
		const Ckpt__NetState *s = w->states[w->i];

		if (s->ns == w->ns && s->part == w->part && w->k < s->n_message)
			return (const void *)s->message[w->k++].data;
	}
	return NULL;
}

void net_items_done(struct net_items *l)
{
	for (size_t i = 0; i < l->count; i++)
		free(l->item[i].data);
	free(l->item);
}

static bool is_tentative(enum ckpt_net_part p, const struct nlmsghdr *m)
{
	return p == CKPT_NET_ADDRESS && ((const struct ifaddrmsg *)mnl_nlmsg_get_payload(m))->ifa_flags & IFA_F_TENTATIVE;
}

int net_items_add(enum ckpt_net_part p, const struct nlmsghdr *m, void *arg)
{
	struct net_items *l = arg;
	uint8_t buf[NET_MESSAGE_MAX];
	int n = net_normal(p, m, buf);

	if (n < 0)
		return n;
	if (array_grow(&l->item, l->count, &l->room, 64) < 0)
		return -ENOMEM;
	l->item[l->count] = (struct net_item){ .part = p, .data = malloc((size_t)n), .len = (size_t)n, .tentative = is_tentative(p, m) };
	if (!l->item[l->count].data)
		return -ENOMEM;
	memcpy(l->item[l->count++].data, buf, (size_t)n);
	return 0;
}

/* A link that goes up gives itself an address, and asks for a second whether it may: where it was in use before, it is
 * made again without that. */
void net_items_compare(struct net_items *have, struct net_items *want)
{
	for (size_t i = 0; i < have->count; i++)
		for (size_t k = 0; k < want->count; k++) {
			struct net_item *h = &have->item[i], *w = &want->item[k];

			if (w->there || h->len != w->len || memcmp(h->data, w->data, h->len) != 0)
				continue;
			h->anew = h->tentative;
			h->there = w->there = !h->anew;
			break;
		}
}

int net_item_say(struct nl *n, const struct net_item *it, uint16_t type, uint16_t flags, const char *what, int ignore,
		 struct err *e)
{
	const struct net_part *part = &net_parts[it->part];
	const struct nlmsghdr *m = (const void *)it->data;
	struct nlmsghdr *q = nl_begin(n, type, flags, mnl_nlmsg_get_payload(m), part->fixed, what);
	const struct nlattr *a;
	char subject[64], kind[NET_QUEUE_KIND_MAX];

	if (q) {
		net_queue_settle(it->part, m, mnl_nlmsg_get_payload(q));
		mnl_attr_for_each(a, m, part->fixed)
			if (!net_queue_put(q, it->part, m, a))
				mnl_attr_put(q, a->nla_type, mnl_attr_get_payload_len(a), mnl_attr_get_payload(a));
	}
	nl_end(n, q);
	if (ignore)
		nl_ignore(n, ignore);
	if (it->part == CKPT_NET_FORWARDING && nl_attr(m, part->fixed, NDA_VLAN))
		nl_ignore(n, EINVAL); /* left over from a VLAN that its port is not in any more */
	net_queue_kind(it->part, m, kind);
	snprintf(subject, sizeof(subject), "%s%s%s", part->name, kind[0] ? " " : "", kind);
	return nl_talk(n, subject, NULL, NULL, e);
}

/* Of interfaces that come from the configuration addresses are not taken away: identity is the host's word. */
static bool is_removable(enum ckpt_net_part p, const struct net_item *it, const struct net_items *configured)
{
	const struct ifaddrmsg *ifa = mnl_nlmsg_get_payload((const void *)it->data);

	if (p == CKPT_NET_NEIGHBOUR)
		return false;
	if (p >= NET_RARE_FROM)
		return net_rare_is_removable(p, (const void *)it->data);
	if (it->anew)
		return true;
	for (size_t i = 0; p == CKPT_NET_ADDRESS && i < configured->count; i++) {
		const struct ifinfomsg *ifi =
			mnl_nlmsg_get_payload((const void *)configured->item[i].data);

		if ((uint32_t)ifi->ifi_index == ifa->ifa_index)
			return false;
	}
	return true;
}

static int add_all(struct nl *n, enum ckpt_net_part p, struct net_items *want, struct err *e)
{
	uint16_t flags = NLM_F_CREATE | (p == CKPT_NET_ROUTE || p == CKPT_NET_FORWARDING ? NLM_F_APPEND : 0);
	bool moved = true, left = true;
	int r = 0;

	for (int pass = 0; left && moved && pass < PASSES; pass++) {
		left = moved = false;
		for (size_t i = 0; i < want->count; i++) {
			if (want->item[i].there)
				continue;
			r = net_item_say(n, &want->item[i], net_parts[p].add, flags, "restore", EEXIST, e);
			want->item[i].there = r == 0;
			moved |= r == 0;
			left |= r < 0;
		}
	}
	return left ? r : 0;
}

/* The host has given it other addresses: the old ones stay until their connections are there, what leads by them
 * is of no use. */
static bool is_past(enum ckpt_net_part p, const struct nlmsghdr *m, const struct ckpt_moved *moved)
{
	return p != CKPT_NET_ADDRESS && moved && net_mentions(p, m, &moved->gone);
}

static bool is_new(enum ckpt_net_part p, const struct net_item *it, const struct ckpt_moved *moved)
{
	return moved && net_mentions(p, (const void *)it->data, &moved->come);
}

/* 1: some were missing. */
/* On links that ask for no addresses the kernel makes such neighbours by itself. */
static bool is_of_itself(const struct net_walk *all, const struct nlmsghdr *m)
{
	const struct ndmsg *nd = mnl_nlmsg_get_payload(m);
	struct net_link l;

	return nd->ndm_state & NUD_NOARP && net_link_find(all, all->ns, (uint32_t)nd->ndm_ifindex, &l) &&
	       l.ifi->ifi_flags & IFF_NOARP;
}

static int sync_part(struct nl *n, enum ckpt_net_part p, const struct net_walk *all,
		     const struct net_items *configured, const struct ckpt_moved *moved, struct err *e)
{
	cleanup_net_items struct net_items have = { 0 }, want = { 0 };
	const int absent = p == CKPT_NET_ADDRESS ? EADDRNOTAVAIL : p == CKPT_NET_LABEL ? ESRCH : ENOENT;
	struct net_walk w = *all;
	const struct nlmsghdr *m;
	int r = net_list(n, NULL, p, net_items_add, &have, e);
	bool differs = false;

	w.part = p;
	while (r == 0 && (m = net_next(&w)))
		if (!is_past(p, m, moved) && !(p == CKPT_NET_FORWARDING && net_bridge_is_own(all, m)) &&
		    !(p == CKPT_NET_NEIGHBOUR && is_of_itself(all, m)))
			r = net_items_add(p, m, &want);
	if (r < 0)
		return r;
	net_items_compare(&have, &want);
	for (size_t i = 0; r == 0 && i < have.count; i++)
		if (!have.item[i].there && is_removable(p, &have.item[i], configured) &&
		    !is_new(p, &have.item[i], moved))
			r = net_item_say(n, &have.item[i], net_parts[p].del, 0, "remove", absent, e);
	for (size_t i = 0; i < want.count; i++)
		differs |= !want.item[i].there;
	if (r == 0)
		r = add_all(n, p, &want, e);
	/* What led by way of an earlier address may lead nowhere now. */
	if (moved && moved->gone.count && (p == CKPT_NET_ROUTE || p == CKPT_NET_NEXTHOP))
		return 0;
	return r < 0 ? r : differs;
}

int net_sync(struct nl *n, enum ckpt_net_part p, const struct net_walk *all, struct err *e)
{
	static const struct net_items none;
	int r = sync_part(n, p, all, &none, NULL, e);

	return r < 0 ? r : 0;
}

/* 1: some had another value. */
static int set_all(int root, const struct net_walk *all, const struct ckpt_netseen *seen, bool all_must, struct err *e)
{
	struct net_walk w = *all;
	const char *path;
	int changed = 0;

	w.part = CKPT_NET_SWITCH;
	for (size_t i = 0; (path = (const char *)net_next(&w)); i++) {
		const ProtobufCBinaryData *d = &w.states[w.i]->message[w.k - 1];
		size_t at = strlen(path) + 1;
		char value[4096];
		int r;

		snprintf(value, sizeof(value), "%.*s", (int)(d->len - at), path + at);
		r = net_same(seen->same, i) || net_switch_is(seen->look, path, value) ? 0 : net_switch_set(root, path, value, e);
		if (r < 0 && all_must)
			return r;
		changed |= r != 0;
	}
	return changed;
}

/* Twice: some switches set others with them. */
static int set_switches(const struct net_walk *all, const struct ckpt_netseen *seen, struct err *e)
{
	static const struct ckpt_netseen nothing;
	cleanup_close int root = -EBADF;
	int r;

	if (seen->may_put_off && net_same_put_off(seen->same))
		return 0;
	r = root = net_switches_root(e);
	if (r >= 0) {
		net_same_help(seen->same, root);
		step_mark("restore.switches");
		r = set_all(root, all, seen, false, e);
	}
	if (r > 0)
		r = set_all(root, all, &nothing, true, e);
	return r < 0 ? r : 0;
}

int net_within(const struct ckpt_netplaces *at, uint32_t ns, uint32_t home, int (*run)(void *arg, struct err *e),
	       void *arg, struct err *e)
{
	int r;

	if (ns >= at->count || at->fd[ns] < 0)
		return bad("a namespace", e);
	if (ns != home && setns(at->fd[ns], CLONE_NEWNET) < 0)
		return err_sys(e, "enter a network namespace");
	r = run(arg, e);
	if (ns != home && setns(at->fd[home], CLONE_NEWNET) < 0)
		return err_sys(e, "return from a network namespace");
	return r;
}

struct filling {
	const struct ckpt_netplaces *at;
	struct net_walk all;
	struct ckpt_netseen seen;
	const struct net_items *configured;
};

/* Its switches, and its links. The caller is in it. */
static int raise_links(void *arg, struct err *e)
{
	cleanup_nl struct nl route = NL_INIT;
	const struct filling *f = arg;
	int r = nl_open(&route, NETLINK_ROUTE, -1, e);

	if (r == 0)
		r = set_switches(&f->all, &f->seen, e);
	if (r == 0)
		r = net_wireguards_restore(&f->all, e);
	if (r == 0)
		r = net_links_up(&route, &f->all, e);
	return r == 0 ? net_ports_restore(&route, &f->all, e) : r;
}

/* A link may give itself the address between the look and the making: what is there by then is seen when the look is
 * repeated, and what was made stays. */
static int sync_addresses(struct nl *n, const struct filling *f, struct err *e)
{
	int r = 1;

	for (int pass = 0; r == 1 && pass < 2; pass++)
		r = sync_part(n, CKPT_NET_ADDRESS, &f->all, f->configured, f->seen.moved, e);
	return r < 0 ? r : 0;
}

/* What the links of one have, and what is beside them. */
static int fill(void *arg, struct err *e)
{
	static const enum ckpt_net_part parts[] = { CKPT_NET_NEIGHBOUR, CKPT_NET_NEXTHOP, CKPT_NET_ROUTE, CKPT_NET_RULE };
	cleanup_nl struct nl route = NL_INIT, filter = NL_INIT;
	const struct filling *f = arg;
	int r = nl_open(&route, NETLINK_ROUTE, -1, e);

	if (r == 0)
		r = nl_open(&filter, NETLINK_NETFILTER, -1, e);
	if (r == 0)
		r = sync_addresses(&route, f, e);
	for (size_t i = 0; r >= 0 && i < ARRAY_SIZE(parts); i++)
		r = sync_part(&route, parts[i], &f->all, f->configured, f->seen.moved, e);
	if (r >= 0)
		r = net_queues_restore(&route, &f->all, e);
	if (r >= 0)
		r = net_rare_restore(&route, &filter, &f->all, e);
	if (r >= 0)
		r = net_filter_restore(&filter, &f->all, e);
	if (r >= 0)
		r = net_expected_restore(&filter, &f->all, e);
	return r >= 0 ? net_states_restore(&route, &f->all, e) : r;
}

static bool has_any(Ckpt__NetState *const *states, size_t count, uint32_t ns)
{
	for (size_t i = 0; i < count; i++)
		if (states[i]->ns == ns)
			return true;
	return false;
}

/* Of one that has the host's network nothing was saved, and nothing is touched. */
int ckpt_netstate_restore(Ckpt__NetState *const *states, size_t count, const struct ckpt_netplaces *at,
			  const struct ckpt_netseen *seen, struct err *e)
{
	static int (*const passes[])(void *arg, struct err *e) = { raise_links, fill };
	cleanup_nl struct nl route = NL_INIT;
	cleanup_net_items struct net_items configured = { 0 }, none = { 0 };
	struct net_walk all = { .states = states, .count = count };
	int r;

	if (!count)
		return 0;
	r = nl_open(&route, NETLINK_ROUTE, -1, e);
	if (r == 0)
		r = net_list(&route, NULL, CKPT_NET_LINK, net_items_add, &configured, e);
	if (r == 0)
		r = net_numbers_restore(at, &all, e);
	if (r == 0)
		r = net_links_restore(at, &all, e);
	/* Nexthops want links with carriers: those at their other ends are up before. */
	for (size_t i = 0; r == 0 && i < ARRAY_SIZE(passes); i++)
		for (uint32_t ns = 0; r == 0 && ns < at->count; ns++) {
			struct filling f = { at, all, { NULL, NULL, NULL, false }, ns ? &none : &configured };

			if (!ns)
				f.seen = *seen;
			f.all.ns = ns;
			if (has_any(states, count, ns))
				r = net_within(at, ns, 0, passes[i], &f, e);
		}
	return r;
}
