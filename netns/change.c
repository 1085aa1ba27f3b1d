/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "netns/internal.h"

#include "base/log.h"
#include "base/macro.h"
#include "base/step.h"

#include <linux/rtnetlink.h>
#include <net/if.h>

/*
 * A running VPS from one network to another: its rules in one transaction, then the interfaces that
 * differ, which are taken away and made anew. One that only moves to another place in the list
 * differs, too: the host's ends are named by their places. Connections outlive that, as addresses and
 * MACs stay what they are.
 */
struct change {
	const struct netns_host *h;
	const struct netns_vps *old, *new;
	int netns_fd;
	unsigned kept; /* bit k: interface k is the same in both */
	struct nl nl;
	struct netns_made made[NETNS_IF_MAX];
};

/* But for how fast it is: that is changed in place. */
static bool is_same(struct netns_if a, struct netns_if b)
{
	char x[NETNS_TEXT_MAX], y[NETNS_TEXT_MAX];

	a.rate_in = b.rate_in = a.rate_out = b.rate_out = 0;
	return STREQ(netns_if_format(&a, x), netns_if_format(&b, y));
}

/* Whoever is root inside can delete an interface, and its other end with it: it is made anew then. */
static bool is_lost(const struct netns_host *h, const struct netns_vps *v, unsigned k)
{
	char link[16];

	return netns_if_has_link(&v->ifs[k]) && !if_nametoindex(netns_link_name(h, v->uuid, k, link));
}

static unsigned same_interfaces(const struct netns_host *h, const struct netns_vps *a, const struct netns_vps *b)
{
	unsigned kept = 0;

	for (unsigned k = 0; k < a->if_count && k < b->if_count; k++)
		if (is_same(a->ifs[k], b->ifs[k]) && !is_lost(h, b, k))
			kept |= 1u << k;
	return kept;
}

static int take_away(const struct change *c, const struct netns_vps *v, struct err *e)
{
	cleanup_nl struct nl n = NL_INIT;
	int r = nl_open(&n, NETLINK_ROUTE, c->netns_fd, e);

	for (unsigned k = 0; r == 0 && k < v->if_count; k++) {
		/* The first may be alone from now on. */
		if (!(c->kept & 1u << k) || k == 0)
			netns_inside_answer_not(&n, v, k);
		if (!(c->kept & 1u << k))
			netns_inside_down(&n, &v->ifs[k]);
	}
	if (r == 0)
		r = nl_talk(&n, v->name, NULL, NULL, e);
	return r < 0 ? r : netns_links_down(c->h, v, c->kept, e);
}

static int make(struct change *c, const struct netns_vps *v, struct err *e)
{
	int r = nl_open(&c->nl, NETLINK_ROUTE, -EBADF, e);

	if (r < 0)
		return r;
	netns_links_name(c->h, v, c->made);
	for (unsigned k = 0; k < NETNS_IF_MAX; k++)
		c->made[k].kept = c->kept & 1u << k;
	r = netns_links_make(&c->nl, c->h, v, c->made, c->netns_fd, e);
	if (r == 0)
		r = netns_links_dress(&c->nl, c->h, v, c->made, e);
	if (r == 0)
		r = netns_links_inside(v, c->made, c->netns_fd, e);
	nl_done(&c->nl);
	return r;
}

static int step_rules(void *ctx, struct err *e)
{
	struct change *c = ctx;

	return netns_rules_change(c->h, c->old, c->new, c->kept, e);
}

static void undo_rules(void *ctx)
{
	struct change *c = ctx;
	struct err e;

	if (netns_rules_change(c->h, c->new, c->old, c->kept, &e) < 0)
		log_warn("%s", e.msg);
}

static void undo_old(void *ctx)
{
	struct change *c = ctx;
	struct err e;

	if (make(c, c->old, &e) < 0)
		log_warn("%s: its interfaces cannot be put back: %s", c->old->name, e.msg);
}

static int step_old(void *ctx, struct err *e)
{
	struct change *c = ctx;
	int r = take_away(c, c->old, e);

	if (r < 0)
		undo_old(c);
	return r;
}

static void undo_new(void *ctx)
{
	struct change *c = ctx;
	struct err e;

	if (take_away(c, c->new, &e) < 0)
		log_warn("%s: %s", c->new->name, e.msg);
}

static int step_new(void *ctx, struct err *e)
{
	struct change *c = ctx;
	int r = make(c, c->new, e);

	if (r < 0)
		undo_new(c);
	return r;
}

static int step_rates(void *ctx, struct err *e)
{
	struct change *c = ctx;
	int r = 0;

	for (unsigned k = 0; r == 0 && k < c->new->if_count; k++) {
		const struct netns_if *i = &c->new->ifs[k];

		if (c->kept & 1u << k && (i->rate_in != c->old->ifs[k].rate_in ||
					  i->rate_out != c->old->ifs[k].rate_out))
			r = netns_vps_shape(c->h, c->new, k, e);
	}
	return r;
}

static const struct step change_steps[] = {
	{ "rules", step_rules, undo_rules },
	{ "old", step_old, undo_old },
	{ "new", step_new, undo_new },
	{ "rates", step_rates, NULL },
};
static STEP_TABLE(change_table, "relink", change_steps);

static const struct step rule_steps[] = {
	{ "rules", step_rules, undo_rules },
	{ "rates", step_rates, NULL },
};
static STEP_TABLE(rule_table, "rules", rule_steps);

/* 1: one is numbered otherwise. */
static int is_numbered_otherwise(const struct netns_vps *v, int netns_fd, struct err *e)
{
	cleanup_nl struct nl n = NL_INIT;
	int r = nl_open(&n, NETLINK_ROUTE, netns_fd, e);

	for (size_t k = 0; r == 0 && k < v->if_count; k++)
		if (v->number[k])
			r = v->number[k] != (uint32_t)nl_ifindex(&n, v->ifs[k].name);
	return r;
}

int netns_vps_renumber(const struct netns_host *h, const struct netns_vps *v, int netns_fd, struct err *e)
{
	static const struct step steps[] = {
		{ "old", step_old, undo_old },
		{ "new", step_new, undo_new },
	};
	static STEP_TABLE(table, "renumber", steps);
	struct netns_vps as_comes = *v;
	struct change c = { .h = h, .old = &as_comes, .new = v, .netns_fd = netns_fd, .nl = NL_INIT };
	int r = is_numbered_otherwise(v, netns_fd, e);

	memset(as_comes.number, 0, sizeof(as_comes.number));
	return r > 0 ? steps_up(&table, &c, e) : r;
}

int netns_vps_change(const struct netns_host *h, const struct netns_vps *old,
		     const struct netns_vps *new, int netns_fd, struct err *e)
{
	struct change c = { .h = h, .old = old, .new = new, .netns_fd = netns_fd, .nl = NL_INIT };
	bool links = old->if_count != new->if_count;
	int r;

	c.kept = same_interfaces(h, old, new);
	for (size_t k = 0; k < new->if_count; k++)
		links = links || !(c.kept & 1u << k);
	r = steps_up(links ? &change_table : &rule_table, &c, e);
	if (r == 0 && links && new->if_count)
		netns_announce(new, netns_fd);
	return r;
}
