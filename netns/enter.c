/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "netns/internal.h"
#include "netns/netns.h"

#include "base/macro.h"

#include <fcntl.h>
#include <net/if.h>
#include <sched.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

int netns_inside(int netns_fd, int (*fn)(void *arg, struct err *e), void *arg, struct err *e)
{
	cleanup_close int home = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);
	int r;

	if (home < 0)
		return err_sys(e, "open /proc/thread-self/ns/net");
	if (setns(netns_fd, CLONE_NEWNET) < 0)
		return err_sys(e, "enter the VPS's network namespace");
	r = fn(arg, e);
	/* Going on in a tenant's namespace, believing it the host's, would be worse than ending. It
	 * was our own a moment ago, so only the kernel being out of memory gets us here. */
	if (setns(home, CLONE_NEWNET) < 0)
		abort();
	return r;
}

struct opening {
	int family, type, protocol;
};

static int open_one(void *arg, struct err *e)
{
	const struct opening *o = arg;
	int fd = socket(o->family, o->type | SOCK_CLOEXEC, o->protocol);

	return fd < 0 ? err_sys(e, "open a socket of family %d in the VPS", o->family) : fd;
}

int netns_socket(int netns_fd, int family, int type, int protocol, struct err *e)
{
	struct opening o = { family, type, protocol };
	int fd;

	if (netns_fd >= 0)
		return netns_inside(netns_fd, open_one, &o, e);
	fd = socket(family, type | SOCK_CLOEXEC, protocol);
	return fd < 0 ? err_sys(e, "open a socket of family %d", family) : fd;
}

int netns_loopback_up(int netns_fd, struct err *e)
{
	struct ifreq ifr = { .ifr_name = "lo" };
	cleanup_close int fd = netns_socket(netns_fd, AF_INET, SOCK_DGRAM, 0, e);

	if (fd < 0)
		return fd;
	/* ioctl rather than netlink: two system calls, and the addresses 127.0.0.1 and ::1 come by
	 * themselves when lo goes up. */
	if (ioctl(fd, SIOCGIFFLAGS, &ifr) < 0)
		return err_sys(e, "read the flags of lo");
	ifr.ifr_flags |= IFF_UP;
	if (ioctl(fd, SIOCSIFFLAGS, &ifr) < 0)
		return err_sys(e, "set lo up");
	return 0;
}
