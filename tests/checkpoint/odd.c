/* SPDX-License-Identifier: GPL-2.0-or-later */

/*
 * Odd but legal: a connection whose peer has closed and is forgotten, a datagram socket that sends to itself, messages of no
 * bytes between others, open files with numbers above the limit, a port that was shared.
 */
#include "tests/checkpoint/guest.h"

#include <fcntl.h>
#include <net/if.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>

#define HIGH 3000

static int left, to_self, port[2], messages[2], closed[2], high_child, ask[2];

static void loopback_up(void)
{
	struct ifreq r = { .ifr_name = "lo" };
	int fd = socket(AF_INET, SOCK_DGRAM, 0);

	CHECK(ioctl(fd, SIOCGIFFLAGS, &r) == 0);
	r.ifr_flags |= IFF_UP;
	CHECK(ioctl(fd, SIOCSIFFLAGS, &r) == 0);
	close(fd);
}

static int state_of(int fd)
{
	struct tcp_info info = { 0 };
	socklen_t len = sizeof(info);

	CHECK(getsockopt(fd, SOL_TCP, TCP_INFO, &info, &len) == 0);
	return info.tcpi_state;
}

static void wait_for_state(int fd, int state)
{
	for (int i = 0; i < 20000 && state_of(fd) != state; i++)
		usleep(1000);
	CHECK(state_of(fd) == state);
}

/* Two of one port that share it no more, the first shut down. */
static void set_port(void)
{
	struct sockaddr_in sa = { .sin_family = AF_INET, .sin_port = htons(6000), .sin_addr = { htonl(INADDR_LOOPBACK) } };
	int on = 1, off = 0;

	for (int i = 0; i < 2; i++) {
		port[i] = socket(AF_INET, SOCK_DGRAM, 0);
		CHECK(setsockopt(port[i], SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) == 0);
		CHECK(bind(port[i], (void *)&sa, sizeof(sa)) == 0);
	}
	CHECK(setsockopt(port[0], SOL_SOCKET, SO_REUSEADDR, &off, sizeof(off)) == 0);
	CHECK(connect(port[0], (void *)&sa, sizeof(sa)) == 0 && shutdown(port[0], SHUT_RDWR) == 0);
}

static void check_port(void)
{
	int on = 1;
	socklen_t len = sizeof(on);

	CHECK(getsockopt(port[0], SOL_SOCKET, SO_REUSEADDR, &on, &len) == 0 && !on);
	CHECK(getsockopt(port[1], SOL_SOCKET, SO_REUSEADDR, &on, &len) == 0 && on);
	CHECK(send(port[0], "x", 1, MSG_NOSIGNAL) == -1 && errno == EPIPE);
}

/* Its other end is nobody's: gone after the restore, when no word of it may reach this one. */
static void set_forgotten(void)
{
	struct sockaddr_in sa = { .sin_family = AF_INET, .sin_addr = { htonl(INADDR_LOOPBACK) } };
	socklen_t len = sizeof(sa);
	int listener = socket(AF_INET, SOCK_STREAM, 0), peer;

	CHECK(bind(listener, (void *)&sa, sizeof(sa)) == 0 && listen(listener, 1) == 0);
	CHECK(getsockname(listener, (void *)&sa, &len) == 0);
	left = socket(AF_INET, SOCK_STREAM, 0);
	CHECK(connect(left, (void *)&sa, sizeof(sa)) == 0);
	peer = accept(listener, NULL, NULL);
	CHECK(peer >= 0);
	close(peer);
	close(listener);
	wait_for_state(left, TCP_CLOSE_WAIT);
}

static void check_forgotten(void)
{
	char c;

	/* An acknowledgement is put off by 40 ms at first, 200 at most. */
	for (int i = 0; i < 30 && state_of(left) == TCP_CLOSE_WAIT; i++)
		usleep(10000);
	CHECK(state_of(left) == TCP_CLOSE_WAIT);
	CHECK(recv(left, &c, 1, MSG_DONTWAIT) == 0);
}

static void set_unix(void)
{
	struct sockaddr_un sa = { AF_UNIX, "/tmp/self" };

	to_self = socket(AF_UNIX, SOCK_DGRAM, 0);
	CHECK(bind(to_self, (void *)&sa, sizeof(sa)) == 0 && connect(to_self, (void *)&sa, sizeof(sa)) == 0);
	CHECK(send(to_self, "me", 2, 0) == 2);
	CHECK(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, messages) == 0 && socketpair(AF_UNIX, SOCK_SEQPACKET, 0, closed) == 0);
	CHECK(send(messages[0], "", 0, 0) == 0 && send(messages[0], "xy", 2, 0) == 2 && send(messages[0], "", 0, 0) == 0);
	CHECK(send(closed[0], "z", 1, 0) == 1 && shutdown(closed[0], SHUT_WR) == 0);
}

static void check_unix(void)
{
	char t[8];
	int on = 1;
	socklen_t len = sizeof(on);

	CHECK(recv(to_self, t, 8, MSG_DONTWAIT) == 2);
	CHECK(send(to_self, "again", 5, 0) == 5 && recv(to_self, t, 8, MSG_DONTWAIT) == 5);
	CHECK(recv(messages[1], t, 8, MSG_DONTWAIT) == 0 && recv(messages[1], t, 8, MSG_DONTWAIT) == 2);
	CHECK(recv(messages[1], t, 8, MSG_DONTWAIT) == 0);
	CHECK(recv(messages[1], t, 8, MSG_DONTWAIT) == -1 && errno == EAGAIN);
	CHECK(recv(closed[1], t, 8, MSG_DONTWAIT) == 1 && recv(closed[1], t, 8, MSG_DONTWAIT) == 0);
	CHECK(getsockopt(messages[1], SOL_SOCKET, SO_PASSCRED, &on, &len) == 0 && !on);
}

/* Its limit is lower than what it has already. */
static void set_high(void)
{
	struct rlimit lim = { 4096, 4096 };
	char c;

	CHECK(pipe(ask) == 0 && setrlimit(RLIMIT_NOFILE, &lim) == 0 && dup2(ask[0], HIGH) == HIGH);
	lim.rlim_cur = 64;
	CHECK(setrlimit(RLIMIT_NOFILE, &lim) == 0);
	high_child = fork();
	if (high_child)
		return;
	CHECK(read(HIGH, &c, 1) == 1 && dup(HIGH) > 0 && dup2(HIGH, 64) == -1);
	_exit(guest_failed);
}

static void check_high(void)
{
	struct rlimit lim;
	int status;

	CHECK(getrlimit(RLIMIT_NOFILE, &lim) == 0 && lim.rlim_cur == 64 && lim.rlim_max == 4096);
	CHECK(fcntl(HIGH, F_GETFD) == 0 && write(ask[1], "x", 1) == 1);
	CHECK(waitpid(high_child, &status, 0) == high_child && status == 0);
}

int main(void)
{
	loopback_up();
	set_port();
	set_forgotten();
	set_unix();
	set_high();
	wait_for_restore();
	check_port();
	check_forgotten();
	check_unix();
	check_high();
	return done();
}
