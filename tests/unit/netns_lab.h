/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef TESTS_UNIT_NETNS_LAB_H
#define TESTS_UNIT_NETNS_LAB_H

/*
 * Networks to try things in: a host namespace of the test's own (the machine's is never touched),
 * an outside world behind it, and tenants' namespaces held by their fds.
 */

#include "base/macro.h"
#include "netns/internal.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <netpacket/packet.h>
#include <poll.h>
#include <sched.h>
#include <stdarg.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>

static int lab_open(void)
{
	return open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);
}

/* Enters the namespace; the way back is returned. */
static int lab_enter(int ns)
{
	int home = lab_open();

	if (home < 0 || setns(ns, CLONE_NEWNET) < 0)
		abort();
	return home;
}

static void lab_leave(int home)
{
	if (setns(home, CLONE_NEWNET) < 0)
		abort();
	close(home);
}

/* A namespace other than the caller's, with lo up. */
static int lab_netns(void)
{
	int home = lab_open(), fd;
	struct err e = { 0 };

	if (home < 0 || unshare(CLONE_NEWNET) < 0)
		return -errno;
	fd = lab_open();
	lab_leave(home);
	netns_loopback_up(fd, &e);
	return fd;
}

/* Runs a command of iproute2 and the like in a namespace (< 0: the present one); its status. */
__attribute__((format(printf, 2, 3), unused)) static int lab_run(int ns, const char *fmt, ...)
{
	int home = ns < 0 ? -1 : lab_enter(ns), r;
	char cmd[1024];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(cmd, sizeof(cmd), fmt, ap);
	va_end(ap);
	r = system(cmd);
	if (home >= 0)
		lab_leave(home);
	return r;
}

/* The process goes into a host namespace of its own. False: not allowed to. */
static bool lab_host(void)
{
	struct err e = { 0 };

	if (unshare(CLONE_NEWNET) < 0)
		return false;
	netns_loopback_up(-EBADF, &e);
	return true;
}

/* The outside: 198.51.100.2/24 and 2001:db8::2/64 behind the host's 198.51.100.1 and 2001:db8::1,
 * which it has no routes through. Returns its namespace. */
__attribute__((unused)) static int lab_world(void)
{
	int ns = lab_netns();

	lab_run(-1, "ip link add up0 type veth peer name wan0 netns /proc/%d/fd/%d", getpid(), ns);
	lab_run(-1, "ip addr add 198.51.100.1/24 dev up0; ip addr add 2001:db8::1/64 dev up0 nodad;"
		    "ip link set up0 addrgenmode none; ip link set up0 up");
	lab_run(ns,
		"ip addr add 198.51.100.2/24 dev wan0; ip addr add 2001:db8::2/64 dev wan0 nodad;"
		"ip link set wan0 addrgenmode none; ip link set wan0 up");
	return ns;
}

static socklen_t lab_addr(struct sockaddr_storage *ss, const char *ip, int port)
{
	struct sockaddr_in6 *s6 = (struct sockaddr_in6 *)ss;
	struct sockaddr_in *s4 = (struct sockaddr_in *)ss;

	memset(ss, 0, sizeof(*ss));
	if (inet_pton(AF_INET, ip, &s4->sin_addr) == 1) {
		s4->sin_family = AF_INET;
		s4->sin_port = htons((uint16_t)port);
		return sizeof(*s4);
	}
	inet_pton(AF_INET6, ip, &s6->sin6_addr);
	s6->sin6_family = AF_INET6;
	s6->sin6_port = htons((uint16_t)port);
	return sizeof(*s6);
}

/* A socket in `ns` bound to an address and port ("0.0.0.0", "::"); listening when a stream. */
__attribute__((unused)) static int lab_bound(int ns, int type, const char *ip, int port)
{
	struct sockaddr_storage ss;
	socklen_t len = lab_addr(&ss, ip, port);
	int home = lab_enter(ns), fd, on = 1;

	fd = socket(ss.ss_family, type | SOCK_CLOEXEC, 0);
	lab_leave(home);
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	if (ss.ss_family == AF_INET6)
		setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof(on));
	if (bind(fd, (struct sockaddr *)&ss, len) < 0 ||
	    (type == SOCK_STREAM && listen(fd, 16) < 0)) {
		close(fd);
		return -errno;
	}
	return fd;
}

/* Connects from `ns`; 0, or the negative errno (-ETIMEDOUT after `ms`). */
static int lab_connect_ms(int ns, const char *ip, int port, int ms, int *ret_fd)
{
	struct sockaddr_storage ss;
	socklen_t len = lab_addr(&ss, ip, port);
	int home = lab_enter(ns), fd, bad = 0;
	socklen_t bad_len = sizeof(bad);
	struct pollfd p;

	fd = socket(ss.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	lab_leave(home);
	if (connect(fd, (struct sockaddr *)&ss, len) < 0 && errno != EINPROGRESS)
		bad = errno;
	p = (struct pollfd){ .fd = fd, .events = POLLOUT };
	if (!bad && poll(&p, 1, ms) == 0)
		bad = ETIMEDOUT;
	else if (!bad)
		getsockopt(fd, SOL_SOCKET, SO_ERROR, &bad, &bad_len);
	if (bad || !ret_fd)
		close(fd);
	else
		*ret_fd = fd;
	return -bad;
}

__attribute__((unused)) static int lab_connect(int ns, const char *ip, int port)
{
	return lab_connect_ms(ns, ip, port, 5000, NULL);
}

/* The peer of the next connection on a listening socket, as text; "" when none comes. */
__attribute__((unused)) static const char *lab_accept(int fd, char buf[64])
{
	struct sockaddr_storage ss;
	socklen_t len = sizeof(ss);
	struct pollfd p = { .fd = fd, .events = POLLIN };
	int c = poll(&p, 1, 2000) == 1 ? accept4(fd, (struct sockaddr *)&ss, &len, SOCK_CLOEXEC) :
					 -1;

	buf[0] = '\0';
	if (c < 0)
		return buf;
	close(c);
	if (ss.ss_family == AF_INET)
		inet_ntop(AF_INET, &((struct sockaddr_in *)&ss)->sin_addr, buf, 64);
	else
		inet_ntop(AF_INET6, &((struct sockaddr_in6 *)&ss)->sin6_addr, buf, 64);
	return buf;
}

/* One datagram from `ns` there and, when it comes, its answer back. 0: it came round. */
__attribute__((unused)) static int lab_udp(int ns, const char *ip, int port, int server)
{
	struct sockaddr_storage ss, from;
	socklen_t len = lab_addr(&ss, ip, port), from_len = sizeof(from);
	int home = lab_enter(ns);
	cleanup_close int fd = socket(ss.ss_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	struct pollfd p = { .fd = server, .events = POLLIN };
	char buf[16];

	lab_leave(home);
	if (sendto(fd, "ping", 4, 0, (struct sockaddr *)&ss, len) < 0)
		return -errno;
	if (poll(&p, 1, 2000) != 1 ||
	    recvfrom(server, buf, sizeof(buf), 0, (struct sockaddr *)&from, &from_len) != 4 ||
	    sendto(server, "pong", 4, 0, (struct sockaddr *)&from, from_len) != 4)
		return -ETIMEDOUT;
	p.fd = fd;
	return poll(&p, 1, 2000) == 1 && recv(fd, buf, sizeof(buf), 0) == 4 ? 0 : -ETIMEDOUT;
}

/* A raw frame out of interface `dev` of `ns`. */
__attribute__((unused)) static int lab_frame(int ns, const char *dev, const void *frame, size_t len)
{
	int home = lab_enter(ns);
	struct sockaddr_ll ll = { .sll_family = AF_PACKET,
				  .sll_ifindex = (int)if_nametoindex(dev) };
	cleanup_close int fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0);

	lab_leave(home);
	return sendto(fd, frame, len, 0, (struct sockaddr *)&ll, sizeof(ll)) == (ssize_t)len ?
		       0 :
		       -errno;
}

/* A VPS with one interface, checked; its namespace in *ns. */
struct lab_vps {
	struct netns_vps v;
	struct netns_if ifs[2];
	int ns;
};

__attribute__((unused)) static void lab_vps_init(struct lab_vps *t, const struct netns_host *h,
						 int number, const char *net)
{
	struct err e = { 0 };

	*t = (struct lab_vps){ .ns = lab_netns() };
	snprintf(t->v.name, sizeof(t->v.name), "web%d", number);
	snprintf(t->v.uuid, sizeof(t->v.uuid), "0c6d1b3e-0000-4000-8000-%012d", number);
	t->v.ifs = t->ifs;
	t->v.if_count = 1;
	if (netns_if_parse(net, &t->ifs[0], &e) < 0 || netns_vps_check(h, &t->v, &e) < 0)
		printf("Bail out! %s\n", e.msg), exit(1);
}

#endif
