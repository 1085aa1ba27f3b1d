/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "base/macro.h"
#include "netns/netns.h"
#include "tests/unit/tap.h"

#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>

/* A namespace other than the caller's, held by its fd alone. */
static int new_netns(void)
{
	cleanup_close int home = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);
	int fd;

	if (home < 0 || unshare(CLONE_NEWNET) < 0)
		return -errno;
	fd = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);
	if (setns(home, CLONE_NEWNET) < 0)
		abort();
	return fd;
}

static int lo_is_up(int netns_fd)
{
	cleanup_close int home = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);
	cleanup_close int s = -EBADF;
	struct ifreq ifr = { .ifr_name = "lo" };

	if (setns(netns_fd, CLONE_NEWNET) < 0)
		return -errno;
	s = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (setns(home, CLONE_NEWNET) < 0)
		abort();
	if (ioctl(s, SIOCGIFFLAGS, &ifr) < 0)
		return -errno;
	return !!(ifr.ifr_flags & IFF_UP);
}

TEST(loopback_of_another_namespace)
{
	cleanup_close int ns = new_netns();
	struct stat before, after;
	struct err e = { 0 };

	if (ns < 0) {
		skip("no network namespace: needs CAP_SYS_ADMIN");
		return;
	}
	ok(lo_is_up(ns) == 0, "lo is down in a new namespace");
	stat("/proc/thread-self/ns/net", &before);
	ok(netns_loopback_up(ns, &e) == 0, "it is set up: %s", e.msg);
	ok(lo_is_up(ns) == 1, "lo is up");
	stat("/proc/thread-self/ns/net", &after);
	ok(before.st_ino == after.st_ino, "the caller is in its own namespace again");
	ok(netns_loopback_up(ns, &e) == 0, "a second time does no harm");
}

TEST(not_a_namespace)
{
	cleanup_close int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
	struct err e = { 0 };

	ok(netns_loopback_up(fd, &e) == -EINVAL, "an fd that is no namespace is refused");
	ok(strstr(e.msg, "network namespace"), "and said so: %s", e.msg);
}
