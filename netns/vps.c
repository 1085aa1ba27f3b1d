/* SPDX-License-Identifier: GPL-2.0-or-later */

/* All of a VPS's network on the host's side: rules and links, when it starts, ends, moves or changes. */
#include "netns/hold.h"
#include "netns/internal.h"

#include "base/macro.h"
#include "base/step.h"

struct start {
	const struct netns_host *h;
	const struct netns_vps *v;
	int netns_fd;
	struct nl nl;
	struct netns_made made[NETNS_IF_MAX];
};

static int step_rules(void *ctx, struct err *e)
{
	struct start *s = ctx;

	return netns_rules_add(s->h, s->v, e);
}

static void undo_rules(void *ctx)
{
	struct start *s = ctx;
	struct err e;

	netns_rules_remove(s->h, s->v, &e);
}

/* Also what the next step has made. */
static void undo_links(void *ctx)
{
	struct start *s = ctx;
	struct err e;

	netns_links_down(s->h, s->v, 0, &e);
}

static int step_links(void *ctx, struct err *e)
{
	struct start *s = ctx;
	int r = nl_open(&s->nl, NETLINK_ROUTE, -EBADF, e);

	if (r < 0)
		return r;
	netns_links_name(s->h, s->v, s->made);
	r = netns_links_make(&s->nl, s->h, s->v, s->made, s->netns_fd, e);
	if (r < 0)
		undo_links(s);
	return r;
}

static int step_host(void *ctx, struct err *e)
{
	struct start *s = ctx;

	return netns_links_dress(&s->nl, s->h, s->v, s->made, e);
}

static int step_inside(void *ctx, struct err *e)
{
	struct start *s = ctx;

	return netns_links_inside(s->v, s->made, s->netns_fd, e);
}

static const struct step start_steps[] = {
	{ "rules", step_rules, undo_rules },
	{ "links", step_links, undo_links },
	{ "host", step_host, NULL },
	{ "inside", step_inside, NULL },
};
static STEP_TABLE(start_table, "netns", start_steps);

int netns_vps_up(const struct netns_host *h, const struct netns_vps *v, int netns_fd, struct err *e)
{
	struct start s = { .h = h, .v = v, .netns_fd = netns_fd, .nl = NL_INIT };
	int r = steps_up(&start_table, &s, e);

	nl_done(&s.nl);
	return r;
}

int netns_vps_down(const struct netns_host *h, const struct netns_vps *v, struct err *e)
{
	struct err second;
	int r = netns_links_down(h, v, 0, e); /* first: nothing goes by without rules */
	int r2 = netns_rules_remove(h, v, r < 0 ? &second : e);

	return r < 0 ? r : r2;
}

static int release_macvlans(const struct netns_vps *v, int netns_fd, struct err *e)
{
	cleanup_nl struct nl n = NL_INIT;
	bool any = false;
	int r;

	for (size_t k = 0; k < v->if_count; k++)
		any |= v->ifs[k].mode == NETNS_MACVLAN;
	if (!any)
		return 0;
	r = nl_open(&n, NETLINK_ROUTE, netns_fd, e);
	if (r < 0)
		return r;
	for (size_t k = 0; k < v->if_count; k++)
		if (v->ifs[k].mode == NETNS_MACVLAN)
			netns_inside_mute(&n, nl_ifindex(&n, v->ifs[k].name), false);
	r = nl_talk(&n, v->name, NULL, NULL, e);
	for (size_t k = 0; k < v->if_count; k++)
		if (v->ifs[k].mode == NETNS_MACVLAN)
			netns_await_carrier(n.fd, v->ifs[k].name);
	return r;
}

int netns_vps_release(const struct netns_host *h, const struct netns_vps *v, int netns_fd,
		      struct err *e)
{
	struct netns_made made[NETNS_IF_MAX] = { 0 };
	cleanup_nl struct nl n = NL_INIT;
	struct netns_vps open = *v;
	int r = nl_open(&n, NETLINK_ROUTE, -EBADF, e);

	if (r < 0)
		return r;
	open.held = false;
	netns_links_name(h, v, made);
	for (size_t k = 0; k < v->if_count; k++) {
		made[k].index = nl_ifindex(&n, made[k].name);
		made[k].ifb_index = nl_ifindex(&n, made[k].ifb);
	}
	r = netns_links_dress(&n, h, &open, made, e);
	for (size_t k = 0; k < v->if_count; k++)
		netns_await_carrier(n.fd, made[k].name);
	if (r == 0)
		r = release_macvlans(v, netns_fd, e);
	if (r == 0)
		netns_announce(v, netns_fd);
	return r;
}
