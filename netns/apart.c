/* SPDX-License-Identifier: GPL-2.0-or-later */

/*
 * Whoever deletes a link is kept waiting by the kernel for an rcu_barrier(), 10 to 20 ms, when the link is no
 * longer to be seen and its name is free (netdev_run_todo()). So a process that has nothing else to do deletes
 * the links of a VPS that ends, and it is not waited for once they are gone.
 */
#include "base/fd.h"
#include "base/macro.h"
#include "netns/internal.h"

#include <errno.h>
#include <linux/close_range.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#define PATIENCE_MS 2000 /* for somebody else who holds the lock of rtnetlink */

/* The names of those that are there. */
struct names {
	char name[2 * NETNS_IF_MAX][16];
	size_t count;
};

static void look(const struct nl *n, const struct netns_host *h, const struct netns_vps *v, struct names *ret)
{
	ret->count = 0;
	for (unsigned k = 0; k < v->if_count; k++) {
		if (!netns_if_has_link(&v->ifs[k]))
			continue;
		if (nl_ifindex(n, netns_link_name(h, v->uuid, k, ret->name[ret->count])))
			ret->count++;
		if (nl_ifindex(n, netns_ifb_name(h, v->uuid, k, ret->name[ret->count])))
			ret->count++;
	}
}

/* Of names that are not there now nothing is said: a later start of the VPS may use them by then. */
static void delete_all(const struct names *names)
{
	struct nl n = NL_INIT;
	struct err ignored;

	if (nl_open_own(&n, NETLINK_ROUTE, -EBADF, &ignored) < 0)
		return;
	for (size_t i = 0; i < names->count; i++)
		netns_add_unlink(&n, names->name[i], "remove the link");
	nl_talk(&n, "", NULL, NULL, &ignored);
}

/* Forks twice, so that nobody has to wait for the second. */
static int delete_apart(const struct names *names)
{
	pid_t pid = fork();

	if (pid == 0) {
		close_range(0, ~0U, 0); /* what ends with the caller's fds must not wait for this one */
		if (fork() == 0)
			delete_all(names);
		_exit(0);
	}
	if (pid < 0)
		return -errno;
	while (waitpid(pid, NULL, 0) < 0)
		if (errno != EINTR)
			return -errno;
	return 0;
}

/* Each message of the kernel about links is a reason to look again. */
static void wait_gone(const struct nl *watch, const struct netns_host *h, const struct netns_vps *v)
{
	struct pollfd p = { .fd = watch->fd, .events = POLLIN };
	struct names left;
	char drop[8192];

	for (look(watch, h, v, &left); left.count; look(watch, h, v, &left)) {
		if (poll(&p, 1, PATIENCE_MS) == 0)
			return;
		while (recv(watch->fd, drop, sizeof(drop), MSG_DONTWAIT) > 0)
			continue;
	}
}

int netns_vps_leave(const struct netns_host *h, const struct netns_vps *v, struct err *e)
{
	const struct sockaddr_nl links = { .nl_family = AF_NETLINK, .nl_groups = RTMGRP_LINK };
	cleanup_nl struct nl watch = NL_INIT;
	struct names names = { 0 };
	struct err ignored;

	if (nl_open_own(&watch, NETLINK_ROUTE, -EBADF, &ignored) == 0)
		look(&watch, h, v, &names);
	if (names.count && bind(watch.fd, (const struct sockaddr *)&links, sizeof(links)) == 0 &&
	    delete_apart(&names) == 0)
		wait_gone(&watch, h, v);
	/* What is left, were it all of it. */
	return netns_vps_down(h, v, e);
}
