/* SPDX-License-Identifier: GPL-2.0-or-later */

/*
 * A TCP server that has no time: connections wait in the queues of its listeners, from outside, from within, and in a network
 * namespace of its own; of some the client has spoken already, or more than there is room for, or has ended what it says, or
 * is gone. It accepts them in their order, with all that was said and not a byte twice, and goes on with who is still there.
 */
#include "tests/checkpoint/stream.h"

#include <net/if.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#define PORT 7100
#define PIECES 900
#define CROWD 40

/* In the order in which they connect: to the first listener, with capital letters; to that of IPv6, with small ones. */
static const char roles[] = "NDBHRCPSQm6b";
static int conn[128], control, listener[2], shared[2], inner, local[CROWD + 3], within;
static size_t pushed[128];

static bool is_bulk(int role)
{
	return role == 'B' || role == 'b' || role == 'Q';
}

static void expect(int fd, const char *text)
{
	char t[64] = { 0 };
	size_t len = strlen(text);

	CHECK(recv(fd, t, len, MSG_WAITALL) == (ssize_t)len && memcmp(t, text, len) == 0);
}

/* What both ends of one agree about. */
struct end {
	uint16_t port, peer_port;
	uint8_t options, in_scale, out_scale;
} __attribute__((packed));

static struct end end_of(int fd)
{
	struct sockaddr_in6 a, b; /* their ports are where those of IPv4 are */
	socklen_t len = sizeof(a);
	struct tcp_info i = { 0 };
	struct end e = { 0 };

	CHECK(getsockname(fd, (struct sockaddr *)&a, &len) == 0);
	len = sizeof(b);
	CHECK(getpeername(fd, (struct sockaddr *)&b, &len) == 0);
	len = sizeof(i);
	CHECK(getsockopt(fd, SOL_TCP, TCP_INFO, &i, &len) == 0);
	e.port = a.sin6_port;
	e.peer_port = b.sin6_port;
	e.options = i.tcpi_options & 0xf;
	e.in_scale = i.tcpi_rcv_wscale;
	e.out_scale = i.tcpi_snd_wscale;
	return e;
}

static void agree(int role, int fd, bool asks)
{
	struct end mine = end_of(fd), its = { 0 };

	if (asks)
		CHECK(recv(fd, &its, sizeof(its), MSG_WAITALL) == sizeof(its));
	else
		CHECK(send(fd, &mine, sizeof(mine), MSG_NOSIGNAL) == sizeof(mine));
	if (asks && (mine.port != its.peer_port || mine.peer_port != its.port || mine.options != its.options ||
		     mine.in_scale != its.out_scale || mine.out_scale != its.in_scale))
		dprintf(1, "failed: role %c: options %x and %x, scales %u %u and %u %u\n", role, mine.options, its.options,
			mine.in_scale, mine.out_scale, its.in_scale, its.out_scale);
	if (asks)
		CHECK(mine.port == its.peer_port && mine.peer_port == its.port && mine.options == its.options &&
		      mine.in_scale == its.out_scale && mine.out_scale == its.in_scale);
}

/* The peer outside. */

static void bare(bool on)
{
	put_text("/proc/sys/net/ipv4/tcp_timestamps", on ? "0" : "1");
	put_text("/proc/sys/net/ipv4/tcp_window_scaling", on ? "0" : "1");
	put_text("/proc/sys/net/ipv4/tcp_sack", on ? "0" : "1");
}

static void peer_begins(int role)
{
	struct linger lin = { 1, 0 };
	int fd, on = 1;

	/* An end that knows none of the options. */
	if (role == 'S' || role == 'Q')
		bare(true);
	fd = dial(getenv(role == '6' || role == 'b' ? "VPS_IP6" : "VPS_IP4"), role >= 'a' || role == '6' ? PORT + 1 : PORT);
	if (role == 'S' || role == 'Q')
		bare(false);
	conn[role] = fd;
	if (role == 'D' || role == 'H' || role == 'S' || role == 'm' || role == '6')
		say(fd, "hello");
	if (role == 'R')
		say(fd, "gone");
	if (role == 'C')
		say(fd, "left");
	if (is_bulk(role))
		pushed[role] = push(fd);
	setsockopt(fd, SOL_TCP, TCP_NODELAY, &on, sizeof(on));
	for (size_t i = 0; role == 'P' && i < PIECES; i++)
		CHECK(send(fd, bytes + 7 * i, 7, MSG_NOSIGNAL) == 7);
	if (role == 'H')
		shutdown(fd, SHUT_WR);
	if (role == 'R') {
		usleep(50000);
		setsockopt(fd, SOL_SOCKET, SO_LINGER, &lin, sizeof(lin));
	}
	if (role == 'R' || role == 'C')
		close(fd);
}

static void peer_ends(int role)
{
	int fd = conn[role];
	char c;

	if (role == 'R' || role == 'C')
		return;
	if (is_bulk(role))
		exchange(fd, pushed[role], BULK, BULK);
	if (role == 'H')
		exchange(fd, 0, 0, 200000);
	else
		agree(role, fd, false);
	if (role != 'H')
		expect(fd, "welcome");
	if (role == 'N') {
		say(fd, "at last");
		exchange(fd, 0, 0, 500000);
	}
	CHECK(read(fd, &c, 1) == 0);
	close(fd);
}

static int peer(void)
{
	char c;

	control = dial(getenv("VPS_IP4"), PORT + 5);
	for (const char *r = roles; *r; r++)
		peer_begins(*r);
	usleep(100000);
	CHECK(write(control, "!", 1) == 1 && read(control, &c, 1) == 1);
	for (const char *r = roles; *r; r++)
		peer_ends(*r);
	CHECK(read(control, &c, 1) == 0);
	return guest_failed;
}

/* The VPS. */

static int serve(int family, int port, bool share, int backlog)
{
	struct sockaddr_in a4 = { AF_INET, htons((uint16_t)port), { 0 }, { 0 } };
	struct sockaddr_in6 a6 = { .sin6_family = AF_INET6, .sin6_port = htons((uint16_t)port) };
	int fd = socket(family, SOCK_STREAM, 0), on = 1, off = 0;

	setsockopt(fd, SOL_IPV6, IPV6_V6ONLY, &off, sizeof(off));
	setsockopt(fd, SOL_TCP, TCP_NODELAY, &on, sizeof(on));
	setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on));
	if (share)
		CHECK(setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof(on)) == 0);
	CHECK(bind(fd, family == AF_INET ? (void *)&a4 : (void *)&a6, family == AF_INET ? sizeof(a4) : sizeof(a6)) == 0);
	CHECK(listen(fd, backlog) == 0);
	return fd;
}

static int ask(int port)
{
	struct sockaddr_in a = { AF_INET, htons((uint16_t)port), { htonl(INADDR_LOOPBACK) }, { 0 } };
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	CHECK(connect(fd, (struct sockaddr *)&a, sizeof(a)) == 0);
	return fd;
}

static void nest(void)
{
	int own = open("/proc/self/ns/net", O_RDONLY), c;
	struct ifreq ifr = { .ifr_name = "lo" };

	CHECK(own >= 0 && unshare(CLONE_NEWNET) == 0);
	c = socket(AF_INET, SOCK_DGRAM, 0);
	ifr.ifr_flags = IFF_UP;
	CHECK(ioctl(c, SIOCSIFFLAGS, &ifr) == 0);
	inner = serve(AF_INET, PORT, false, 5);
	within = ask(PORT);
	say(within, "within");
	CHECK(setns(own, CLONE_NEWNET) == 0);
	close(own);
	close(c);
}

static int waiting(int fd)
{
	struct tcp_info i = { 0 };
	socklen_t len = sizeof(i);

	CHECK(getsockopt(fd, SOL_TCP, TCP_INFO, &i, &len) == 0);
	return (int)i.tcpi_unacked;
}

static int group[2]; /* how many wait of each listener of the same port */

static void set_up(void)
{
	char c;
	int l;

	listener[0] = serve(AF_INET, PORT, false, 200);
	listener[1] = serve(AF_INET6, PORT + 1, false, 200);
	shared[0] = serve(AF_INET, PORT + 2, true, 100);
	shared[1] = serve(AF_INET, PORT + 2, true, 100);
	l = serve(AF_INET, PORT + 5, false, 1);
	control = accept(l, NULL, NULL);
	CHECK(read(control, &c, 1) == 1);
	close(l);
	for (int i = 0; i < CROWD; i++) {
		local[i] = ask(PORT + 2);
		CHECK(dprintf(local[i], "number %02d", i) > 0);
	}
	local[CROWD] = ask(PORT);
	say(local[CROWD], "inside");
	local[CROWD + 1] = ask(PORT);
	say(local[CROWD + 1], "closed");
	close(local[CROWD + 1]);
	nest();
	/* Fewer may wait from here on than do. */
	CHECK(listen(shared[1], 2) == 0 && listen(listener[0], 3) == 0);
	group[0] = waiting(shared[0]);
	group[1] = waiting(shared[1]);
	CHECK(group[0] + group[1] == CROWD && group[0] && group[1]);
}

static int take(int fd)
{
	int its = accept(fd, NULL, NULL), on = 0;
	socklen_t len = sizeof(on);

	CHECK(its >= 0 && getsockopt(its, SOL_TCP, TCP_NODELAY, &on, &len) == 0 && on);
	CHECK(getsockopt(its, SOL_SOCKET, SO_KEEPALIVE, &on, &len) == 0 && on);
	return its;
}

static void end(int role, int fd)
{
	char c;

	if (role == 'D' || role == 'H' || role == 'S' || role == 'm' || role == '6')
		expect(fd, "hello");
	if (role == 'R') {
		expect(fd, "gone");
		CHECK(read(fd, &c, 1) < 0 && errno == ECONNRESET);
	} else if (role == 'C') {
		expect(fd, "left");
		CHECK(read(fd, &c, 1) == 0);
	} else if (role == 'H') {
		CHECK(read(fd, &c, 1) == 0);
		exchange(fd, 0, 200000, 0);
	} else {
		if (is_bulk(role))
			exchange(fd, 0, BULK, BULK);
		if (role == 'P')
			exchange(fd, 0, 0, 7 * PIECES);
		agree(role, fd, true);
		say(fd, "welcome");
		if (role == 'N') {
			expect(fd, "at last");
			exchange(fd, 0, 500000, 0);
		}
	}
	close(fd);
}

static void end_local(void)
{
	char text[16], c;
	int next = 0, fd;

	for (int i = 0; i < 2; i++) {
		CHECK(waiting(shared[i]) == group[i]);
		for (int n = -1, had = -1; group[i]--; had = n) {
			fd = take(shared[i]);
			CHECK(recv(fd, text, 9, MSG_WAITALL) == 9);
			text[9] = 0;
			CHECK(sscanf(text, "number %d", &n) == 1 && n > had && n < CROWD);
			say(fd, "yes");
			expect(local[n], "yes");
			say(local[n], "well");
			expect(fd, "well");
			next++;
			close(fd);
		}
	}
	CHECK(next == CROWD);
	fd = take(listener[0]);
	expect(fd, "inside");
	say(fd, "out");
	expect(local[CROWD], "out");
	fd = take(listener[0]);
	expect(fd, "closed");
	CHECK(read(fd, &c, 1) == 0);
	fd = take(inner);
	expect(fd, "within");
	say(fd, "without");
	expect(within, "without");
}

int main(int argc, char **argv)
{
	struct epoll_event ev = { .events = EPOLLIN };
	int ep;

	make_bytes();
	if (argc > 1 && strcmp(argv[1], "peer") == 0)
		return peer();
	set_up();
	ep = epoll_create1(0);
	CHECK(epoll_ctl(ep, EPOLL_CTL_ADD, listener[1], &ev) == 0);
	wait_for_restore();
	CHECK(epoll_wait(ep, &ev, 1, 0) == 1);
	CHECK(write(control, "!", 1) == 1);
	for (const char *r = roles; *r; r++)
		end(*r, take(listener[*r >= 'a' || *r == '6']));
	end_local();
	for (int i = 0; i < 2; i++)
		CHECK(waiting(listener[i]) == 0 && waiting(shared[i]) == 0);
	close(control);
	return done();
}
