/* SPDX-License-Identifier: GPL-2.0-or-later */

/* What listens, is bound or new by multipath TCP, as programs in Go listen; and what it has accepted from plain
 * peers. */
#include "tests/checkpoint/guest.h"

#include <arpa/inet.h>
#include <net/if.h>
#include <netinet/tcp.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#define MULTIPATH IPPROTO_MPTCP
#define PORT 7100

static bool has_multipath;

static int make(int family, int protocol)
{
	int fd = socket(family, SOCK_STREAM, protocol);

	CHECK(fd >= 0);
	return fd;
}

static struct sockaddr_in6 address(int family, int port, socklen_t *len)
{
	struct sockaddr_in6 a = { .sin6_family = AF_INET6, .sin6_port = htons((uint16_t)port) };

	*len = sizeof(a);
	if (family == AF_INET) {
		struct sockaddr_in *four = (void *)&a;

		*four = (struct sockaddr_in){ AF_INET, htons((uint16_t)port), { htonl(INADDR_LOOPBACK) }, { 0 } };
		*len = sizeof(*four);
	}
	return a;
}

static int listener(int family, int port, bool shared)
{
	int fd = make(family, MULTIPATH), one = 1;
	socklen_t len;
	struct sockaddr_in6 a = address(family, port, &len);

	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (shared)
		CHECK(setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &one, sizeof(one)) == 0);
	CHECK(setsockopt(fd, SOL_TCP, TCP_NODELAY, &one, sizeof(one)) == 0);
	CHECK(bind(fd, (void *)&a, len) == 0 && listen(fd, 17) == 0);
	return fd;
}

static int option(int fd, int level, int name)
{
	int v = -1;
	socklen_t len = sizeof(v);

	return getsockopt(fd, level, name, &v, &len) == 0 ? v : -1;
}

/* From a peer that speaks this protocol; both ends. */
static void meet(int lis, int family, int port, int protocol, int end[2])
{
	socklen_t len;
	struct sockaddr_in6 a = address(family, port, &len);

	end[0] = make(family, protocol);
	CHECK(connect(end[0], (void *)&a, len) == 0);
	end[1] = accept(lis, NULL, NULL);
	CHECK(end[1] >= 0);
}

static void talk(const int end[2])
{
	char text[8] = { 0 };

	CHECK(send(end[0], "there", 5, 0) == 5 && recv(end[1], text, 5, MSG_WAITALL) == 5 && !strcmp(text, "there"));
	CHECK(send(end[1], "back ", 5, 0) == 5 && recv(end[0], text, 5, MSG_WAITALL) == 5 && !strcmp(text, "back "));
}

static void check_listener(int fd, int family, int port)
{
	struct tcp_info i = { 0 };
	socklen_t len = sizeof(i);
	int end[2];

	CHECK(option(fd, SOL_SOCKET, SO_PROTOCOL) == (has_multipath ? MULTIPATH : IPPROTO_TCP));
	CHECK(option(fd, SOL_SOCKET, SO_ACCEPTCONN) == 1 && option(fd, SOL_TCP, TCP_NODELAY) == 1);
	CHECK(getsockopt(fd, SOL_TCP, TCP_INFO, &i, &len) == 0 && i.tcpi_sacked == 17);
	for (int k = 0; k < 2; k++) {
		meet(fd, family, port, k ? MULTIPATH : IPPROTO_TCP, end);
		talk(end);
		close(end[0]);
		close(end[1]);
	}
}

int main(int argc, char **argv)
{
	int four, six, shared, bound, fresh, end[2], fd, one = 1;
	struct ifreq lo = { .ifr_name = "lo", .ifr_flags = IFF_UP };
	socklen_t len;
	struct sockaddr_in6 a = address(AF_INET, PORT + 3, &len);

	if (argc > 1 && strcmp(argv[1], "peer") == 0)
		return 0;
	fd = socket(AF_INET, SOCK_DGRAM, 0);
	ioctl(fd, SIOCSIFFLAGS, &lo);
	close(fd);
	fresh = socket(AF_INET6, SOCK_STREAM, MULTIPATH);
	has_multipath = fresh >= 0;
	if (!has_multipath) { /* nothing to be seen on this kernel */
		wait_for_restore();
		return done();
	}
	four = listener(AF_INET, PORT, false);
	six = listener(AF_INET6, PORT + 1, false);
	shared = listener(AF_INET, PORT + 2, true);
	(void)listener(AF_INET, PORT + 2, true);
	bound = make(AF_INET, MULTIPATH);
	CHECK(bind(bound, (void *)&a, len) == 0);
	setsockopt(fresh, SOL_SOCKET, SO_KEEPALIVE, &one, sizeof(one));
	meet(four, AF_INET, PORT, IPPROTO_TCP, end);
	CHECK(option(end[1], SOL_SOCKET, SO_PROTOCOL) == IPPROTO_TCP);
	talk(end);
	wait_for_restore();
	talk(end);
	check_listener(four, AF_INET, PORT);
	check_listener(six, AF_INET6, PORT + 1);
	CHECK(option(shared, SOL_SOCKET, SO_REUSEPORT) == 1 && option(shared, SOL_SOCKET, SO_PROTOCOL) == MULTIPATH);
	CHECK(option(fresh, SOL_SOCKET, SO_PROTOCOL) == MULTIPATH && option(fresh, SOL_SOCKET, SO_KEEPALIVE) == 1);
	CHECK(listen(bound, 17) == 0 && setsockopt(bound, SOL_TCP, TCP_NODELAY, &one, sizeof(one)) == 0);
	check_listener(bound, AF_INET, PORT + 3);
	a = address(AF_INET6, PORT + 1, &len);
	CHECK(connect(fresh, (void *)&a, len) == 0);
	end[0] = fresh;
	end[1] = accept(six, NULL, NULL);
	talk(end);
	return done();
}
