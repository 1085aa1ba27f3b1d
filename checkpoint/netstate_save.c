/* SPDX-License-Identifier: GPL-2.0-or-later */

/* What a network namespace has, saved. */
#include "checkpoint/netlinks.h"
#include "checkpoint/netrare.h"

#include "base/fd.h"
#include "base/macro.h"
#include "checkpoint/enter.h"
#include "checkpoint/image/image.h"

#include <errno.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/rtnetlink.h>

#define CHUNK MIB(1)

struct saving {
	struct ckpt_arena *a;
	Ckpt__NetState ***states;
	size_t *count;
	uint32_t ns, id_base, id_count;
	struct err *e;
	size_t bytes; /* in the last one */
	bool has_bridges, has_tunnels, has_pairs;
};

static int put(struct saving *s, enum ckpt_net_part p, const void *data, size_t len)
{
	Ckpt__NetState *n = *s->count ? (*s->states)[*s->count - 1] : NULL;
	ProtobufCBinaryData *m;

	if (!n || n->part != p || n->ns != s->ns || s->bytes + len > CHUNK) {
		n = ckpt_alloc(s->a, sizeof(*n));
		if (!n || ckpt_push(s->a, s->states, s->count, n) < 0)
			return -ENOMEM;
		ckpt__net_state__init(n);
		n->ns = s->ns;
		n->part = p;
		s->bytes = 0;
	}
	/* Grown as ckpt_push() does. */
	if ((n->n_message & (n->n_message - 1)) == 0) {
		ProtobufCBinaryData *more = ckpt_alloc(s->a, (n->n_message ? 2 * n->n_message : 1) * sizeof(*more));

		if (!more)
			return -ENOMEM;
		if (n->n_message)
			memcpy(more, n->message, n->n_message * sizeof(*more));
		n->message = more;
	}
	m = &n->message[n->n_message++];
	m->data = ckpt_memdup(s->a, data, len);
	m->len = len;
	s->bytes += len + 32;
	return m->data ? 0 : -ENOMEM;
}

static void note_kind(struct saving *s, const struct nlmsghdr *m)
{
	struct net_link l;

	net_link_read(m, &l);
	s->has_bridges |= STREQ(l.kind, "bridge");
	s->has_tunnels |= STREQ(l.kind, "vxlan");
	s->has_pairs |= STREQ(l.kind, "veth");
}

static int save_message(enum ckpt_net_part p, const struct nlmsghdr *m, void *arg)
{
	struct saving *s = arg;
	const struct nlattr *a;
	uint8_t buf[NET_MESSAGE_MAX];
	int n;

	mnl_attr_for_each(a, m, net_parts[p].fixed)
		if (p == CKPT_NET_TABLE && mnl_attr_get_type(a) == NFTA_TABLE_OWNER)
			return err_set(s->e, ERR_UNSUPPORTED, "the VPS has a table of nftables that belongs to a process, "
				       "which cannot be saved yet");
	if (p == CKPT_NET_LINK)
		note_kind(s, m);
	n = net_normal(p, m, buf);
	return n < 0 ? n : put(s, p, buf, (size_t)n);
}

static int put_message(enum ckpt_net_part p, const struct nlmsghdr *m, void *arg)
{
	return put(arg, p, m, m->nlmsg_len);
}

static int save_switch(const char *path, const char *seen, void *arg)
{
	const struct saving *s = arg;
	char both[8192], value[4096];
	size_t a = strlen(path) + 1, b;

	snprintf(value, sizeof(value), "%s", seen);
	if (!net_switch_inside(path, value, sizeof(value), s->id_base, s->id_count))
		return 0;
	b = strlen(value);

	if (a + b > sizeof(both))
		return -EMSGSIZE;
	memcpy(both, path, a);
	memcpy(both + a, value, b);
	return put(arg, CKPT_NET_SWITCH, both, a + b);
}

struct ckpt_netways {
	struct nl route, filter, xfrm, generic;
	struct net_switches *switches; /* or NULL */
	int list[NET_RARE_LISTS]; /* -EBADF likewise */
};

/* /proc/sys/net shows the namespace of the thread that looks. */
static int open_switches(void *arg, struct err *e)
{
	struct ckpt_netways *w = arg;

	(void)e;
	w->switches = net_switches_open();
	net_rare_lists_open(w->list);
	return 0;
}

struct ckpt_netways *ckpt_netways_open(int netns_fd, bool files, struct err *e)
{
	struct ckpt_netways *w = calloc(1, sizeof(*w));
	int r;

	if (!w) {
		err_code(e, -ENOMEM, "look at a network");
		return NULL;
	}
	for (size_t i = 0; i < NET_RARE_LISTS; i++)
		w->list[i] = -EBADF;
	w->route = w->filter = w->xfrm = w->generic = (struct nl)NL_INIT;
	r = nl_open(&w->route, NETLINK_ROUTE, netns_fd, e);
	if (r == 0)
		r = nl_open(&w->filter, NETLINK_NETFILTER, netns_fd, e);
	if (r == 0)
		r = nl_open(&w->generic, NETLINK_GENERIC, netns_fd, e);
	if (r == 0 && net_rare_has_module("xfrm_user"))
		r = nl_open(&w->xfrm, NETLINK_XFRM, netns_fd, e);
	if (r == -EPROTONOSUPPORT && w->xfrm.fd < 0 && w->generic.fd >= 0)
		r = 0; /* this kernel has no IPsec */
	if (r == 0 && files)
		r = net_generic_prepare(&w->generic, e);
	if (r == 0 && files)
		r = ckpt_visit(CKPT_SPACE_NET, netns_fd, open_switches, w, e);
	if (r == 0)
		return w;
	ckpt_netways_close(w);
	return NULL;
}

void ckpt_netways_close(struct ckpt_netways *w)
{
	if (!w)
		return;
	nl_done(&w->route);
	nl_done(&w->filter);
	nl_done(&w->xfrm);
	nl_done(&w->generic);
	net_switches_close(w->switches);
	for (size_t i = 0; i < NET_RARE_LISTS; i++)
		fd_close(&w->list[i]);
	free(w);
}

struct nl *net_ways_route(struct ckpt_netways *w)
{
	return &w->route;
}

struct switching {
	const struct net_switches *known;
	const int *list;
	struct saving *saving;
};

static int save_switches(void *arg, struct err *e)
{
	struct switching *s = arg;
	const struct saving *to = s->saving;
	const struct net_walk all = { .states = *to->states, .count = *to->count, .ns = to->ns };
	const struct net_lists lists = { &all, save_message, s->saving };
	int r = net_switches(s->known, save_switch, s->saving, e);

	return r == 0 ? net_rare_lists(s->list, &lists, e) : r;
}

static int save_rare(struct ckpt_netways *w, struct saving *s, struct err *e)
{
	const struct net_walk links = { .states = *s->states, .count = *s->count, .ns = s->ns };
	const struct net_rare r = {
		.route = &w->route, .filter = &w->filter, .xfrm = &w->xfrm, .generic = &w->generic,
		.has_bridges = s->has_bridges, .has_tunnels = s->has_tunnels, .has_pairs = s->has_pairs,
		.links = &links, .fn = save_message, .arg = s,
	};

	return net_rare_collect(&r, e);
}

static bool has_any(const struct saving *s, enum ckpt_net_part p)
{
	for (size_t i = 0; i < *s->count; i++)
		if ((*s->states)[i]->part == p)
			return true;
	return false;
}

/* What belongs to queueing disciplines is asked for one by one. */
static bool is_empty(const struct saving *s, enum ckpt_net_part p)
{
	return (p == CKPT_NET_CLASS || p == CKPT_NET_CLASSIFIER) && !has_any(s, CKPT_NET_DISCIPLINE);
}

int ckpt_netstate_collect(const struct ckpt_netview *v, struct ckpt_arena *a, Ckpt__NetState ***ret, size_t *ret_count,
			  struct err *e)
{
	struct saving s = {
		.a = a, .states = ret, .count = ret_count, .ns = v->ns, .id_base = v->id_base, .id_count = v->id_count, .e = e,
	};
	struct ckpt_netways *w = v->ways;
	struct switching sw = { w->switches, w->list, &s };
	int r = 0;

	for (enum ckpt_net_part p = CKPT_NET_LINK; r == 0 && p < NET_RARE_FROM; p++) {
		if (p != CKPT_NET_SWITCH && !net_parts[p].name)
			continue;
		e->msg[0] = '\0';
		if (is_empty(&s, p))
			continue;
		if (p == CKPT_NET_WIREGUARD) {
			struct net_walk links = { .states = *ret, .count = *ret_count, .ns = v->ns };

			r = net_wireguards_list(&links, v->netns_fd, put_message, &s, e);
			continue;
		}
		r = p == CKPT_NET_SWITCH ? ckpt_visit(CKPT_SPACE_NET, v->netns_fd, save_switches, &sw, e) :
					   net_list(&w->route, &w->filter, p, save_message, &s, e);
		if (r < 0 && !e->msg[0])
			r = err_code(e, r, "collect the %ss of the VPS's network", p == CKPT_NET_SWITCH ? "switch" : net_parts[p].name);
	}
	if (r < 0)
		return r;
	e->msg[0] = '\0';
	r = save_rare(w, &s, e);
	return r < 0 && !e->msg[0] ? err_code(e, r, "collect what is rare in the VPS's network") : r;
}
