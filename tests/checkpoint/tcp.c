/* SPDX-License-Identifier: GPL-2.0-or-later */

/*
 * TCP connections with a peer outside, in all states, with data in both queues: not one byte is lost or
 * comes twice. The peer (the same program, outside) opens one a role, whose letter it sends first; on that
 * of role C it hears when the VPS goes on, and reads nothing before.
 */
#include "tests/checkpoint/stream.h"

#include <netinet/tcp.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/wait.h>

#define PORT 7000
#define LATER "203.0.113.1"

static const char roles[] = "CB6MWF1LKDR";
static int conn[128], listener[2], syn;
static size_t pushed[128]; /* what the VPS put into a full connection */

static int state_of(int fd)
{
	struct tcp_info i = { 0 };
	socklen_t len = sizeof(i);

	getsockopt(fd, SOL_TCP, TCP_INFO, &i, &len);
	return i.tcpi_state;
}

static volatile char busy; /* the role that is under way */

static void too_long(int sig)
{
	(void)sig;
	dprintf(1, "failed: role %c takes too long, in state %d\n", busy, busy ? state_of(conn[(int)busy]) : 0);
	_exit(1);
}

static void until(int fd, int state)
{
	for (int i = 0; i < 3000 && state_of(fd) != state; i++)
		usleep(1000);
	if (state_of(fd) != state)
		dprintf(1, "state %d, not %d\n", state_of(fd), state);
	CHECK(state_of(fd) == state);
}

static void expect_end(int fd, const char *text)
{
	char t[64] = { 0 };
	size_t have = 0;
	ssize_t n;

	while ((n = recv(fd, t + have, sizeof(t) - 1 - have, 0)) > 0)
		have += (size_t)n;
	CHECK(n == 0 && strcmp(t, text) == 0);
}

/* The peer outside. */

static void peer_begins(int role, int fd)
{
	char c = (char)role, t[16];
	struct linger lin = { 1, 0 };

	CHECK(fd >= 0 && write(fd, &c, 1) == 1);
	if (role == 'W')
		say(fd, "bye");
	if (role == 'D')
		say(fd, "left");
	if (role == 'R')
		say(fd, "gone");
	if (role == 'F')
		CHECK(read(fd, t, 3) == 3);
	if (role == 'W' || role == 'L' || role == 'D')
		shutdown(fd, SHUT_WR);
	if (role == 'R') {
		CHECK(read(fd, t, 1) == 1);
		setsockopt(fd, SOL_SOCKET, SO_LINGER, &lin, sizeof(lin));
		close(fd);
	}
	if (role == 'B' || role == '6' || role == 'M')
		pushed[role] = push(fd);
}

static void peer_ends(int role, int fd)
{
	if (role == 'B' || role == '6' || role == 'M')
		exchange(fd, pushed[role], BULK, BULK);
	if (role == 'W')
		expect_end(fd, "later");
	if (role == 'F')
		say(fd, "more");
	if (role == '1' || role == 'L' || role == 'K') {
		uint32_t n = 0;

		CHECK(recv(conn['C'], &n, 4, MSG_WAITALL) == 4);
		exchange(fd, 0, 0, n);
		expect_end(fd, "");
		if (role == '1')
			say(fd, "well");
	}
	if (role != 'R')
		close(fd);
}

static void command(const char *text)
{
	CHECK(system(text) == 0); /* NOLINT(cert-env33-c) */
}

static int peer(void)
{
	struct sockaddr_in a = { AF_INET, htons(PORT + 2), { 0 }, { 0 } };
	int l, on = 1;
	char c;

	command("ip route replace blackhole " LATER "/32");
	for (const char *r = roles; *r; r++) {
		conn[(int)*r] = dial(getenv(*r == '6' ? "VPS_IP6" : "VPS_IP4"),
				     *r == 'M' || *r == '6' ? PORT + 1 : PORT);
		peer_begins(*r, conn[(int)*r]);
	}
	CHECK(read(conn['C'], &c, 1) == 1); /* K: the VPS has closed, and waits for us */
	shutdown(conn['K'], SHUT_WR);
	CHECK(read(conn['C'], &c, 1) == 1);
	l = socket(AF_INET, SOCK_STREAM, 0);
	setsockopt(l, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	CHECK(bind(l, (struct sockaddr *)&a, sizeof(a)) == 0 && listen(l, 1) == 0);
	command("ip addr add " LATER "/32 dev lo");
	for (const char *r = roles + 1; *r; r++)
		peer_ends(*r, conn[(int)*r]);
	l = accept(l, NULL, NULL);
	say(l, "late");
	close(l);
	CHECK(read(conn['C'], &c, 1) == 0);
	return guest_failed;
}

/* The VPS. */

static void listen_at(int i)
{
	struct sockaddr_in a4 = { AF_INET, htons(PORT), { 0 }, { 0 } };
	struct sockaddr_in6 a6 = { .sin6_family = AF_INET6, .sin6_port = htons(PORT + 1) };
	int off = 0, small = 8192;

	listener[i] = socket(i ? AF_INET6 : AF_INET, SOCK_STREAM, 0);
	setsockopt(listener[i], SOL_IPV6, IPV6_V6ONLY, &off, sizeof(off));
	if (i == 0)
		setsockopt(listener[i], SOL_SOCKET, SO_SNDBUF, &small, sizeof(small));
	CHECK(bind(listener[i], i ? (void *)&a6 : (void *)&a4, i ? sizeof(a6) : sizeof(a4)) == 0);
	CHECK(listen(listener[i], 33) == 0);
}

static void begin(int role, int fd)
{
	if (role == 'B' || role == '6' || role == 'M')
		pushed[role] = push(fd);
	if (role == 'W')
		until(fd, TCP_CLOSE_WAIT);
	if (role == 'F') {
		say(fd, "end");
		shutdown(fd, SHUT_WR);
		until(fd, TCP_FIN_WAIT2);
	}
	if (role == 'L')
		until(fd, TCP_CLOSE_WAIT);
	if (role == '1' || role == 'L' || role == 'K') {
		pushed[role] = push(fd);
		shutdown(fd, SHUT_WR);
		until(fd, role == 'L' ? TCP_LAST_ACK : TCP_FIN_WAIT1);
	}
	if (role == 'D') {
		until(fd, TCP_CLOSE_WAIT);
		shutdown(fd, SHUT_WR);
		until(fd, TCP_CLOSE);
	}
	if (role == 'R') {
		say(fd, "x");
		until(fd, TCP_CLOSE);
	}
}

static void end(int role, int fd)
{
	uint32_t n = (uint32_t)pushed[role];
	char t[16];

	if (role == 'B' || role == '6' || role == 'M')
		exchange(fd, pushed[role], BULK, BULK);
	if (role == 'W') {
		expect_end(fd, "bye");
		say(fd, "later");
	}
	if (role == 'F')
		expect_end(fd, "more");
	if (role == '1' || role == 'L' || role == 'K')
		CHECK(write(conn['C'], &n, 4) == 4);
	if (role == '1')
		expect_end(fd, "well");
	if (role == 'L' || role == 'K')
		expect_end(fd, "");
	if (role == 'D')
		expect_end(fd, "left");
	if (role == 'R') {
		CHECK(recv(fd, t, 16, 0) == 4 && memcmp(t, "gone", 4) == 0);
		CHECK(recv(fd, t, 16, 0) < 0 && errno == ECONNRESET);
	}
	if (role == 'L' || role == 'K')
		until(fd, TCP_CLOSE);
	close(fd);
}

static void accept_all(void)
{
	for (size_t i = 0; i < sizeof(roles) - 1; i++) {
		struct pollfd p[2] = { { listener[0], POLLIN, 0 }, { listener[1], POLLIN, 0 } };
		char c = 0;
		int fd;

		CHECK(poll(p, 2, 20000) > 0);
		fd = accept(p[0].revents ? listener[0] : listener[1], NULL, NULL);
		CHECK(fd >= 0 && read(fd, &c, 1) == 1 && strchr(roles, c));
		conn[(int)c] = fd;
		begin(c, fd);
	}
	say(conn['C'], "k");
	until(conn['K'], TCP_CLOSING);
}

static int room(int role, int name)
{
	int n = 0;
	socklen_t len = sizeof(n);

	CHECK(getsockopt(conn[role], SOL_SOCKET, name, &n, &len) == 0);
	return n;
}

/* Of those whose queues are full: each restore that gave them more room would find more in them the next time. */
static int rooms[3][2];

static void note_rooms(void)
{
	for (int i = 0; i < 3; i++) {
		rooms[i][0] = room("B6M"[i], SO_RCVBUF);
		rooms[i][1] = room("B6M"[i], SO_SNDBUF);
	}
}

static void verify_rooms(void)
{
	for (int i = 0; i < 3; i++) {
		CHECK(room("B6M"[i], SO_RCVBUF) <= rooms[i][0]);
		CHECK(room("B6M"[i], SO_SNDBUF) <= rooms[i][1]);
	}
}

static void verify_states(void)
{
	struct sockaddr_in6 sa;
	socklen_t len = sizeof(sa);

	CHECK(state_of(conn['W']) == TCP_CLOSE_WAIT && state_of(conn['F']) == TCP_FIN_WAIT2);
	CHECK(state_of(conn['1']) == TCP_FIN_WAIT1 && state_of(conn['L']) == TCP_LAST_ACK);
	CHECK(state_of(conn['K']) == TCP_CLOSING && state_of(conn['D']) == TCP_CLOSE);
	CHECK(getpeername(conn['M'], (struct sockaddr *)&sa, &len) == 0 &&
	      IN6_IS_ADDR_V4MAPPED(&sa.sin6_addr));
	CHECK(getpeername(conn['D'], (struct sockaddr *)&sa, &len) < 0 && errno == ENOTCONN);
	CHECK(state_of(listener[0]) == TCP_LISTEN && state_of(listener[1]) == TCP_LISTEN);
}

int main(int argc, char **argv)
{
	struct sockaddr_in later = { AF_INET, htons(PORT + 2), { 0 }, { 0 } };

	make_bytes();
	if (argc > 1 && strcmp(argv[1], "peer") == 0)
		return peer();
	inet_pton(AF_INET, LATER, &later.sin_addr);
	listen_at(0);
	listen_at(1);
	accept_all();
	syn = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
	CHECK(connect(syn, (struct sockaddr *)&later, sizeof(later)) < 0 && errno == EINPROGRESS);
	note_rooms();
	wait_for_restore();
	verify_states();
	verify_rooms();
	say(conn['C'], "g");
	signal(SIGALRM, too_long);
	alarm(25);
	for (const char *r = roles + 1; *r; r++) {
		busy = *r;
		end(*r, conn[(int)*r]);
	}
	busy = 0;
	fcntl(syn, F_SETFL, 0);
	CHECK(poll(&(struct pollfd){ syn, POLLIN, 0 }, 1, 15000) == 1);
	expect_end(syn, "late");
	close(conn['C']);
	return done();
}
