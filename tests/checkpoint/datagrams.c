/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Datagrams that wait in UDP sockets: each comes to its own again, in order, from whom it was, also where others have the
 * same port. */
#include "tests/checkpoint/guest.h"

#include <arpa/inet.h>
#include <net/if.h>
#include <netinet/in.h>
#include <netinet/udp.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/wait.h>

#define LARGE 60000
#define MANY 100

static int plain, named, pair[2], dual, grouped, back, other;
static char text[LARGE], large[LARGE];

static struct sockaddr_in at4(int port)
{
	return (struct sockaddr_in){ .sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
}

static int open_at(int port, int option, int level)
{
	struct sockaddr_in a = at4(port);
	int fd = socket(AF_INET, SOCK_DGRAM, 0), on = 1;

	CHECK(!option || setsockopt(fd, level, option, &on, sizeof(on)) == 0);
	CHECK(bind(fd, (struct sockaddr *)&a, sizeof(a)) == 0);
	return fd;
}

static void say(int fd, int port, const char *what, size_t len)
{
	struct sockaddr_in a = at4(port);

	CHECK(sendto(fd, what, len, 0, (struct sockaddr *)&a, sizeof(a)) == (ssize_t)len);
}

static void set_plain(void)
{
	int tos = 0x28, ttl = 33, on = 1, room = 1 << 18;

	plain = open_at(4000, IP_PKTINFO, SOL_IP);
	CHECK(setsockopt(plain, SOL_SOCKET, SO_RCVBUF, &room, sizeof(room)) == 0);
	CHECK(setsockopt(plain, SOL_IP, IP_RECVTOS, &on, sizeof(on)) == 0);
	CHECK(setsockopt(plain, SOL_IP, IP_RECVTTL, &on, sizeof(on)) == 0);
	named = open_at(4001, 0, 0);
	CHECK(setsockopt(named, SOL_IP, IP_TOS, &tos, sizeof(tos)) == 0 && setsockopt(named, SOL_IP, IP_TTL, &ttl, sizeof(ttl)) == 0);
	say(named, 4000, "first", 5);
	for (size_t i = 0; i < LARGE; i++)
		large[i] = (char)('a' + i % 23);
	say(named, 4000, large, LARGE);
	say(named, 4000, "last", 4);
}

/* Of two with one port, one is connected. */
static void set_pair(void)
{
	struct sockaddr_in a = at4(4101);

	pair[0] = open_at(4100, SO_REUSEPORT, SOL_SOCKET);
	pair[1] = open_at(4100, SO_REUSEPORT, SOL_SOCKET);
	back = open_at(4101, 0, 0);
	other = open_at(4102, 0, 0);
	CHECK(connect(pair[0], (struct sockaddr *)&a, sizeof(a)) == 0);
	for (int i = 0; i < MANY; i++) {
		say(back, 4100, text, (size_t)snprintf(text, sizeof(text), "connected %d", i));
		say(other, 4100, text, (size_t)snprintf(text, sizeof(text), "free %d", i));
	}
}

static void set_dual(void)
{
	struct sockaddr_in6 a = { .sin6_family = AF_INET6, .sin6_port = htons(4200) };
	int fd = socket(AF_INET6, SOCK_DGRAM, 0);

	dual = socket(AF_INET6, SOCK_DGRAM, 0);
	CHECK(bind(dual, (struct sockaddr *)&a, sizeof(a)) == 0);
	a.sin6_port = htons(4201);
	CHECK(bind(fd, (struct sockaddr *)&a, sizeof(a)) == 0);
	a.sin6_addr = in6addr_loopback;
	a.sin6_port = htons(4200);
	CHECK(sendto(fd, "six", 3, 0, (struct sockaddr *)&a, sizeof(a)) == 3);
	close(fd);
	say(named, 4200, "four", 4);
}

/* What comes together (UDP_SEGMENT, UDP_GRO). */
static void set_grouped(void)
{
	int on = 1, size = 1000, none = 0;

	grouped = open_at(4300, 0, 0);
	CHECK(setsockopt(grouped, SOL_UDP, 104 /* UDP_GRO */, &on, sizeof(on)) == 0);
	CHECK(setsockopt(named, SOL_UDP, 103 /* UDP_SEGMENT */, &size, sizeof(size)) == 0);
	say(named, 4300, large, 2500);
	CHECK(setsockopt(named, SOL_UDP, 103, &none, sizeof(none)) == 0);
}

/* From outside, of either protocol: the peer sends until it is heard, then once more. */

#define OUTSIDE 5000
#define PATIENCE 60000 /* ms */
#define HALF 4000 /* bytes, which takes several packets */

static int outside[2];
static struct sockaddr_in6 caller[2];
static char half[HALF];

static int open_outside(int family)
{
	struct sockaddr_in6 a = { .sin6_family = (sa_family_t)family, .sin6_port = htons(OUTSIDE) };
	int fd = socket(family, SOCK_DGRAM, 0), on = 1;

	CHECK(family == AF_INET || setsockopt(fd, SOL_IPV6, IPV6_V6ONLY, &on, sizeof(on)) == 0);
	CHECK(bind(fd, (struct sockaddr *)&a, family == AF_INET ? sizeof(struct sockaddr_in) : sizeof(a)) == 0);
	CHECK(setsockopt(fd, family == AF_INET ? SOL_IP : SOL_IPV6, family == AF_INET ? IP_PKTINFO : IPV6_RECVPKTINFO, &on, sizeof(on)) == 0);
	return fd;
}

static void await(int fd, struct sockaddr_in6 *from)
{
	struct pollfd p = { fd, POLLIN, 0 };
	socklen_t len = sizeof(*from);
	bool heard = false;

	while (poll(&p, 1, PATIENCE) == 1) {
		char t[16] = { 0 };

		if (recvfrom(fd, t, sizeof(t), MSG_PEEK, (struct sockaddr *)from, &len) == 7 && memcmp(t, "outside", 7) == 0)
			return;
		CHECK(recv(fd, t, sizeof(t), 0) == 5);
		CHECK(heard || sendto(fd, "go", 2, 0, (struct sockaddr *)from, len) == 2);
		heard = true;
	}
	CHECK(!"heard from outside");
}

static void set_outside(void)
{
	for (int i = 0; i < 2; i++) {
		outside[i] = open_outside(i ? AF_INET6 : AF_INET);
		await(outside[i], &caller[i]);
		/* The answer is half written. */
		CHECK(sendto(outside[i], half, HALF - 2, MSG_MORE, (struct sockaddr *)&caller[i],
			     i ? sizeof(caller[i]) : sizeof(struct sockaddr_in)) == HALF - 2);
		CHECK(send(outside[i], "ba", 2, MSG_MORE) == 2);
	}
}

static void check_outside(int i)
{
	union {
		char buf[256];
		struct cmsghdr align;
	} c;
	struct sockaddr_in6 from = { 0 };
	struct iovec iov = { text, sizeof(text) };
	struct msghdr m = { .msg_name = &from, .msg_namelen = sizeof(from), .msg_iov = &iov, .msg_iovlen = 1,
			    .msg_control = c.buf, .msg_controllen = sizeof(c.buf) };
	struct cmsghdr *h;
	int index = 0;

	CHECK(recvmsg(outside[i], &m, MSG_DONTWAIT) == 7 && memcmp(text, "outside", 7) == 0);
	CHECK(memcmp(&from, &caller[i], i ? sizeof(from) : 8) == 0);
	h = CMSG_FIRSTHDR(&m);
	if (h)
		memcpy(&index, CMSG_DATA(h) + (i ? offsetof(struct in6_pktinfo, ipi6_ifindex) : 0), sizeof(index));
	CHECK(index == (int)if_nametoindex("eth0"));
	CHECK(send(outside[i], "ck", 2, 0) == 2);
}

static void call(int family, const char *ip)
{
	struct sockaddr_in6 a = { .sin6_family = (sa_family_t)family, .sin6_port = htons(OUTSIDE) };
	int fd = socket(family, SOCK_DGRAM, 0);
	struct pollfd p = { fd, POLLIN, 0 };
	char t[2 * HALF];

	CHECK(inet_pton(family, ip, family == AF_INET ? (void *)&((struct sockaddr_in *)(void *)&a)->sin_addr : &a.sin6_addr) == 1);
	CHECK(connect(fd, (struct sockaddr *)&a, family == AF_INET ? sizeof(struct sockaddr_in) : sizeof(a)) == 0);
	/* Until it listens there are errors, too. */
	for (int i = 0; i < PATIENCE / 20 && recv(fd, t, sizeof(t), MSG_DONTWAIT) != 2; i++) {
		send(fd, "hello", 5, 0);
		poll(&p, 1, 20);
	}
	CHECK(send(fd, "outside", 7, 0) == 7);
	p.revents = 0;
	CHECK(poll(&p, 1, 2 * PATIENCE) == 1 && recv(fd, t, sizeof(t), 0) == HALF + 2);
	CHECK(memcmp(t + HALF - 2, "back", 4) == 0);
	close(fd);
}

static int peer(void)
{
	pid_t pid = fork();
	int status = 1;

	call(pid ? AF_INET : AF_INET6, getenv(pid ? "VPS_IP4" : "VPS_IP6"));
	if (pid == 0)
		_exit(guest_failed);
	CHECK(waitpid(pid, &status, 0) == pid && status == 0);
	return guest_failed;
}

static ssize_t hear(int fd, struct sockaddr_in6 *from)
{
	socklen_t len = sizeof(*from);

	memset(text, 0, sizeof(text));
	return recvfrom(fd, text, sizeof(text), MSG_DONTWAIT, (struct sockaddr *)from, &len);
}

static void expect(int fd, const char *what, size_t len, int port)
{
	struct sockaddr_in6 from = { 0 };
	ssize_t n = hear(fd, &from);
	struct in_addr ip;

	if (n != (ssize_t)len)
		dprintf(1, "%zd, not %zu bytes: %.40s\n", n, len, text);
	CHECK(n == (ssize_t)len && memcmp(text, what, len) == 0);
	memcpy(&ip, from.sin6_family == AF_INET6 ? &from.sin6_addr.s6_addr[12] : (void *)&((struct sockaddr_in *)(void *)&from)->sin_addr, 4);
	CHECK(ntohs(from.sin6_port) == port && (ip.s_addr == htonl(INADDR_LOOPBACK) || ip.s_addr == htonl(1)));
}

static void expect_none(int fd)
{
	struct sockaddr_in6 from;

	CHECK(hear(fd, &from) < 0 && errno == EAGAIN);
}

/* Half written: by a socket that holds back all it sends, and by one for both protocols. */
static int corked, mapped;

static void set_corked(void)
{
	struct sockaddr_in a = at4(4101);
	struct sockaddr_in6 to = { .sin6_family = AF_INET6, .sin6_port = htons(4102), .sin6_addr.s6_addr = { [10] = 0xff, 0xff, 127, 0, 0, 1 } };
	int on = 1;

	corked = open_at(4400, 0, 0);
	CHECK(connect(corked, (struct sockaddr *)&a, sizeof(a)) == 0);
	CHECK(setsockopt(corked, SOL_UDP, UDP_CORK, &on, sizeof(on)) == 0 && send(corked, "held ", 5, 0) == 5);
	mapped = socket(AF_INET6, SOCK_DGRAM, 0);
	CHECK(sendto(mapped, "mapped", 6, MSG_MORE, (struct sockaddr *)&to, sizeof(to)) == 6);
}

static void check_corked(void)
{
	struct sockaddr_in6 from;
	int off = 0;

	CHECK(hear(back, &from) < 0 && errno == EAGAIN);
	CHECK(send(corked, "back", 4, 0) == 4 && setsockopt(corked, SOL_UDP, UDP_CORK, &off, sizeof(off)) == 0);
	expect(back, "held back", 9, 4400);
	CHECK(send(mapped, "", 0, 0) == 0 && hear(other, &from) == 6 && memcmp(text, "mapped", 6) == 0);
}

/* With what the packet said of itself, and where it came in. */
static void check_first(void)
{
	union {
		char buf[256];
		struct cmsghdr align;
	} c;
	struct iovec iov = { text, sizeof(text) };
	struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = c.buf, .msg_controllen = sizeof(c.buf) };
	int tos = 0, ttl = 0, found = 0;

	CHECK(recvmsg(plain, &m, MSG_DONTWAIT) == 5 && memcmp(text, "first", 5) == 0);
	for (struct cmsghdr *h = CMSG_FIRSTHDR(&m); h; h = CMSG_NXTHDR(&m, h)) {
		struct in_pktinfo info;

		if (h->cmsg_type == IP_TOS)
			tos = *CMSG_DATA(h);
		if (h->cmsg_type == IP_TTL)
			memcpy(&ttl, CMSG_DATA(h), sizeof(ttl));
		if (h->cmsg_type != IP_PKTINFO)
			continue;
		memcpy(&info, CMSG_DATA(h), sizeof(info));
		found = info.ipi_ifindex == (int)if_nametoindex("lo") && info.ipi_addr.s_addr == htonl(INADDR_LOOPBACK);
	}
	CHECK(tos == 0x28 && ttl == 33 && found);
}

static void check_pair(void)
{
	char what[32];

	for (int i = 0; i < MANY; i++) {
		expect(pair[0], what, (size_t)snprintf(what, sizeof(what), "connected %d", i), 4101);
		expect(pair[1], what, (size_t)snprintf(what, sizeof(what), "free %d", i), 4102);
	}
	expect_none(pair[0]);
	expect_none(pair[1]);
}

static void check_names(void)
{
	struct sockaddr_in a = at4(4000);
	int fd = socket(AF_INET, SOCK_DGRAM, 0), v = 0;
	socklen_t len = sizeof(v);

	CHECK(bind(fd, (struct sockaddr *)&a, sizeof(a)) < 0 && errno == EADDRINUSE);
	CHECK(getsockopt(plain, SOL_SOCKET, SO_RCVBUF, &v, &len) == 0 && v > 1 << 17);
	CHECK(getsockopt(dual, SOL_IPV6, IPV6_RECVPKTINFO, &v, &len) == 0 && v == 0);
	CHECK(getsockopt(dual, SOL_SOCKET, 72 /* SO_BUF_LOCK */, &v, &len) == 0 && v == 0);
	say(named, 4000, "again", 5);
	expect(plain, "again", 5, 4001);
	say(plain, 4001, "back", 4);
	expect(named, "back", 4, 4000);
}

int main(int argc, char **argv)
{
	size_t n = 0;
	struct sockaddr_in6 from;
	ssize_t more;

	if (argc > 1 && strcmp(argv[1], "peer") == 0)
		return peer();
	set_outside();
	set_plain();
	set_pair();
	set_dual();
	set_grouped();
	set_corked();
	wait_for_restore();
	check_first();
	expect(plain, large, LARGE, 4001);
	expect(plain, "last", 4, 4001);
	expect_none(plain);
	check_pair();
	expect(dual, "six", 3, 4201);
	expect(dual, "four", 4, 4001);
	expect_none(dual);
	while ((more = hear(grouped, &from)) > 0) {
		CHECK(n + (size_t)more <= LARGE && memcmp(text, large + n, (size_t)more) == 0);
		n += (size_t)more;
	}
	CHECK(n == 2500);
	expect_none(back);
	expect_none(other);
	check_corked();
	check_outside(0);
	check_outside(1);
	check_names();
	return done();
}
