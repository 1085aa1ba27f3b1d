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

/* Those that are there, by number: a later start of the VPS may use the names by the time they are deleted. */
struct links {
	int index[2 * NETNS_IF_MAX];
	size_t count;
};

static void look(const struct nl *n, const struct netns_host *h, const struct netns_vps *v, struct links *ret)
{
	char name[16];

	ret->count = 0;
	for (unsigned k = 0; k < v->if_count; k++) {
		if (!netns_if_has_link(&v->ifs[k]))
			continue;
		ret->index[ret->count] = nl_ifindex(n, netns_link_name(h, v->uuid, k, name));
		ret->count += ret->index[ret->count] != 0;
		ret->index[ret->count] = nl_ifindex(n, netns_ifb_name(h, v->uuid, k, name));
		ret->count += ret->index[ret->count] != 0;
	}
}

static void delete_all(const struct links *links)
{
	struct nl n = NL_INIT;
	struct err ignored;

	if (nl_open(&n, NETLINK_ROUTE, -EBADF, &ignored) < 0)
		return;
	for (size_t i = 0; i < links->count; i++) {
		struct ifinfomsg ifi = { .ifi_index = links->index[i] };

		nl_end(&n, nl_begin(&n, RTM_DELLINK, 0, &ifi, sizeof(ifi), "remove the link"));
		nl_ignore(&n, ENODEV);
	}
	nl_talk(&n, "", NULL, NULL, &ignored);
}

/* Forks twice, so that nobody has to wait for the second. */
static int delete_apart(const struct links *links)
{
	pid_t pid = fork();

	if (pid == 0) {
		close_range(0, ~0U, 0); /* what ends with the caller's fds must not wait for this one */
		if (fork() == 0)
			delete_all(links);
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
	struct links left;
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
	const struct sockaddr_nl group = { .nl_family = AF_NETLINK, .nl_groups = RTMGRP_LINK };
	cleanup_nl struct nl watch = NL_INIT;
	struct links links = { 0 };
	struct err ignored;

	if (nl_open(&watch, NETLINK_ROUTE, -EBADF, &ignored) == 0)
		look(&watch, h, v, &links);
	if (links.count && bind(watch.fd, (const struct sockaddr *)&group, sizeof(group)) == 0 &&
	    delete_apart(&links) == 0)
		wait_gone(&watch, h, v);
	/* What is left, were it all of it. */
	return netns_vps_down(h, v, e);
}
