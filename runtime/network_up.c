/* SPDX-License-Identifier: GPL-2.0-or-later */

/* The network of one VPS as its start makes it, and what is done with it while it runs; network.c reads it. */
#include "base/log.h"
#include "base/proc.h"
#include "netns/hold.h"
#include "netns/netns.h"
#include "runtime/internal.h"

#include <fcntl.h>

static int open_netns(const struct rt_vps *v)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/ns/net", (int)proc_live_tid(v->pid));
	return open(path, O_RDONLY | O_CLOEXEC);
}

static int number_links(struct rt_vps *v, int netns_fd, uint32_t (*number)(void *arg, const char *name), void *arg,
			struct err *e)
{
	struct netns_vps *n = &v->network.vps;

	for (size_t i = 0; i < n->if_count; i++)
		n->number[i] = number(arg, n->ifs[i].name);
	return netns_vps_renumber(&v->network.host, n, netns_fd, e);
}

/* As the restored VPS's programs know them by. */
static int renumber_restored(struct rt_vps *v, int netns_fd, struct err *e)
{
	int r = v->restore && v->restore->number ? number_links(v, netns_fd, v->restore->number, v->restore->arg, e) : 0;

	if (r < 0)
		rt_network_down(v);
	return r;
}

int rt_network_up(void *ctx, struct err *e)
{
	struct rt_vps *v = ctx;
	cleanup_close int fd = -EBADF;
	struct rt_msg m;
	int fds[2], r;
	size_t nfds;

	r = rt_hear(v, RT_MSG_SPACES, &m, fds, &nfds, e);
	if (r < 0 || rt_network_is_host(&v->network))
		return r;
	fd = open_netns(v);
	if (fd < 0)
		return rt_blame(v, err_sys(e, "open the VPS's network namespace"), e);
	r = v->restore ? v->restore->network(v->restore->arg, fd, e) : 0;
	if (r == 0)
		r = netns_loopback_up(fd, e);
	if (r == 0 && v->network.vps.if_count)
		r = netns_vps_up(&v->network.host, &v->network.vps, fd, e);
	if (r == 0)
		r = renumber_restored(v, fd, e);
	if (r == 0 && v->restore && v->restore->networked)
		v->restore->networked(v->restore->arg, fd);
	return r;
}

void rt_network_down(void *ctx)
{
	struct rt_vps *v = ctx;
	struct err e;

	if (!rt_network_is_host(&v->network) && v->network.vps.if_count &&
	    netns_vps_leave(&v->network.host, &v->network.vps, &e) < 0)
		log_warn("%s: %s", v->spec->name, e.msg);
}

int rt_renumber(struct rt_vps *v, uint32_t (*number)(void *arg, const char *name), void *arg, struct err *e)
{
	cleanup_close int fd = -EBADF;

	if (rt_network_is_host(&v->network) || !v->network.vps.if_count)
		return 0;
	fd = open_netns(v);
	if (fd < 0)
		return err_sys(e, "open the VPS's network namespace");
	return number_links(v, fd, number, arg, e);
}

void rt_announce(const struct rt_vps *v)
{
	cleanup_close int fd = -EBADF;

	if (rt_network_is_host(&v->network) || !v->network.vps.if_count)
		return;
	fd = open_netns(v);
	if (fd >= 0)
		netns_announce(&v->network.vps, fd);
}

int rt_connect(struct rt_vps *v, struct err *e)
{
	cleanup_close int fd = -EBADF;

	if (rt_network_is_host(&v->network) || !v->network.vps.held)
		return 0;
	fd = open_netns(v);
	if (fd < 0)
		return err_sys(e, "open the VPS's network namespace");
	return netns_vps_release(&v->network.host, &v->network.vps, fd, e);
}
