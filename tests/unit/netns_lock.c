/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "base/macro.h"
#include "netns/netns.h"
#include "tests/unit/tap.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <sched.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/wait.h>

/* A namespace other than the caller's, held by its fd alone, with its loopback up. */
static int new_netns(void)
{
	cleanup_close int home = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);
	struct err e = { 0 };
	int fd;

	if (home < 0 || unshare(CLONE_NEWNET) < 0)
		return -1;
	fd = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);
	if (setns(home, CLONE_NEWNET) < 0)
		abort();
	return netns_loopback_up(fd, &e) < 0 ? -1 : fd;
}

/* True when a datagram of this mark comes to a socket of the namespace by its loopback. */
static bool arrives(int ns, uint32_t mark)
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr = { htonl(INADDR_LOOPBACK) } };
	socklen_t len = sizeof(a);
	struct err e = { 0 };
	cleanup_close int to = netns_socket(ns, AF_INET, SOCK_DGRAM, 0, &e);
	cleanup_close int from = netns_socket(ns, AF_INET, SOCK_DGRAM, 0, &e);
	char c;

	if (to < 0 || from < 0 || bind(to, (struct sockaddr *)&a, sizeof(a)) < 0 ||
	    getsockname(to, (struct sockaddr *)&a, &len) < 0 ||
	    setsockopt(from, SOL_SOCKET, SO_MARK, &mark, sizeof(mark)) < 0 ||
	    sendto(from, "x", 1, 0, (struct sockaddr *)&a, sizeof(a)) != 1)
		return false;
	/* By the loopback it is there when sendto() returns, or never. */
	return recv(to, &c, 1, MSG_DONTWAIT) == 1;
}

TEST(a_lock_holds_all_but_what_is_marked)
{
	cleanup_close int ns = new_netns();
	struct err e = { 0 };
	int lock;

	if (ns < 0)
		skip("no network namespaces here");
	ok(arrives(ns, 0), "what is sent arrives");
	lock = netns_lock(ns, &e);
	ok(lock >= 0, "it is locked");
	ok(!arrives(ns, 0), "nothing arrives");
	ok(arrives(ns, NETNS_LOCK_MARK), "what is marked does");
	close(lock);
	ok(arrives(ns, 0), "what is sent arrives");
}

TEST(a_lock_goes_with_who_holds_it)
{
	cleanup_close int ns = new_netns();
	int said[2], pid;
	char c;

	if (ns < 0 || pipe2(said, O_CLOEXEC) < 0)
		skip("no network namespaces here");
	pid = fork();
	if (pid == 0) {
		struct err e = { 0 };

		if (netns_lock(ns, &e) < 0 || write(said[1], "x", 1) != 1)
			_exit(1);
		for (;;)
			pause();
	}
	ok(read(said[0], &c, 1) == 1, "another process has locked it");
	ok(!arrives(ns, 0), "nothing arrives");
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	ok(arrives(ns, 0), "what is sent arrives");
	close(said[0]);
	close(said[1]);
}

TEST(a_seal_stays_until_it_is_taken_off)
{
	cleanup_close int ns = new_netns();
	struct err e = { 0 };

	if (ns < 0)
		skip("no network namespaces here");
	ok(netns_seal(ns, true, &e) == 0 && netns_seal(ns, true, &e) == 0, "sealed, twice");
	ok(!arrives(ns, 0), "nothing arrives");
	ok(netns_seal(ns, false, &e) == 0, "the seal is off");
	ok(arrives(ns, 0), "what is sent arrives");
	ok(netns_seal(ns, false, &e) == 0, "the seal is off");
	ok(netns_silence(ns, &e) == 0 && !arrives(ns, 0), "nothing arrives, and nothing is said");
	ok(netns_seal(ns, false, &e) == 0 && arrives(ns, 0), "the seal is off, with all that belongs to it");
}
