/* SPDX-License-Identifier: GPL-2.0-or-later */

/* The VPS is started by the runtime; what it asks us for on the way. */
#include "checkpoint/image.pb-c.h"
#include "checkpoint/netstate.h"
#include "checkpoint/restore_births.h"
#include "checkpoint/restore_internal.h"
#include "checkpoint/restore_phases.h"
#include "netns/netns.h"

#include <errno.h>
#include <fcntl.h>

int restore_hold_network(void *restore, int netns_fd, struct err *e)
{
	struct restore *r = restore;
	bool any = r->early != NULL || r->moved.gone.count; /* early: what sockets there will be is not known */

	for (size_t i = 0; i < r->tree.file_count; i++)
		any |= r->tree.files[i]->kind == CKPT_FILE_INET;
	for (size_t i = 0; i < r->tree.net_count; i++) /* to be woken when all is there */
		any |= r->tree.nets[i]->part == CKPT_NET_WIREGUARD;
	if (!any)
		return 0;
	r->netns = fcntl(netns_fd, F_DUPFD_CLOEXEC, 3);
	if (r->netns < 0)
		return err_sys(e, "keep the VPS's network namespace");
	/* For good: an engine that dies leaves a namespace that resets nobody's connection. */
	return netns_seal(netns_fd, true, e);
}

static void compare_network(void *restore, int netns_fd)
{
	struct restore *r = restore;

	ckpt_netsame_start(r->netsame, netns_fd);
}

/* Programs know interfaces by their numbers. One that was added or changed while it ran has another than a start
 * would give it. */
static uint32_t link_number(void *restore, const char *name)
{
	struct restore *r = restore;

	return ckpt_netstate_number(r->tree.nets, r->tree.net_count, 0, name);
}

static bool is_full(const struct ckpt_tree *t, const struct rt_spec *spec)
{
	uint64_t n = t->zombie_count;

	for (size_t i = 0; i < t->task_count; i++)
		n += t->tasks[i].thread_count;
	return n >= config_number(&spec->limits, "pids.max");
}

int restore_start(struct restore *r, const struct rt_spec *spec, const struct rt_stdio *stdio, struct err *e)
{
	struct rt_restore how = {
		.network = restore_hold_network, .networked = compare_network, .open = restore_open, .stay = restore_stay, .arg = r,
		.number = link_number,
	};
	struct rt_vps *prepared;
	int n;

	if (r->early && !restore_is_free(&r->tree, r->region, r->region + RESTORE_REGION))
		return err_set(e, ERR_FAIL, "no address is free in all processes");
	if (r->early)
		return rt_renumber(r->vps, link_number, r, e);
	n = restore_plan_region(r, e);
	if (n == 0)
		n = restore_ahead_take(r, &prepared, e);
	if (n < 0)
		return n;
	if (restore_is_nested(r))
		how.open = restore_open_first;
	r->full = is_full(&r->tree, spec);
	r->netsame = ckpt_netsame_new(r->tree.nets, r->tree.net_count, 0);
	how.monotonic_ns = (int64_t)r->tree.header->monotonic_ns;
	how.boottime_ns = (int64_t)r->tree.header->boottime_ns;
	return rt_start_restore(spec, stdio, prepared, &how, &r->vps, e);
}
