/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Sockets that share a port, and a classic program that chooses among them: of UDP, by what comes, and of TCP. */
#include "tests/checkpoint/guest.h"

#include <arpa/inet.h>
#include <linux/filter.h>
#include <net/if.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#define COUNT 3

static struct sockaddr_in at(int port)
{
	return (struct sockaddr_in){ AF_INET, htons((uint16_t)port), { htonl(INADDR_LOOPBACK) }, { 0 } };
}

static void open_all(int fds[COUNT], int type, int port)
{
	struct sockaddr_in a = at(port);
	int on = 1;

	for (int i = 0; i < COUNT; i++) {
		fds[i] = socket(AF_INET, type, 0);
		CHECK(setsockopt(fds[i], SOL_SOCKET, SO_REUSEPORT, &on, sizeof(on)) == 0);
		CHECK(bind(fds[i], (void *)&a, sizeof(a)) == 0 && (type == SOCK_DGRAM || listen(fds[i], 5) == 0));
	}
}

static int readable(const int fds[COUNT])
{
	int found = -1;

	for (int i = 0; i < COUNT; i++) {
		struct pollfd p = { fds[i], POLLIN, 0 };

		if (poll(&p, 1, found < 0 ? 100 : 0) == 1)
			found = found < 0 ? i : 99;
	}
	return found;
}

/* Who gets a datagram of this first byte. */
static int gets(const int fds[COUNT], uint8_t first)
{
	struct sockaddr_in a = at(4700);
	int from = socket(AF_INET, SOCK_DGRAM, 0), who;
	char c;

	CHECK(sendto(from, &first, 1, 0, (void *)&a, sizeof(a)) == 1);
	who = readable(fds);
	CHECK(who >= 0 && who < COUNT && recv(fds[who], &c, 1, 0) == 1);
	close(from);
	return who;
}

static int accepts(const int fds[COUNT])
{
	struct sockaddr_in a = at(4701);
	int from = socket(AF_INET, SOCK_STREAM, 0), who;

	CHECK(connect(from, (void *)&a, sizeof(a)) == 0);
	who = readable(fds);
	CHECK(who >= 0 && who < COUNT);
	close(accept(fds[who], NULL, NULL));
	close(from);
	return who;
}

int main(void)
{
	/* Its first byte says who; the second always the last one. */
	struct sock_filter by_byte[] = { { BPF_LD | BPF_B | BPF_ABS, 0, 0, 0 }, { BPF_RET | BPF_A, 0, 0, 0 } };
	struct sock_filter last[] = { { BPF_RET | BPF_K, 0, 0, COUNT - 1 } };
	struct sock_fprog udp_program = { 2, by_byte }, tcp_program = { 1, last };
	struct ifreq lo = { .ifr_name = "lo", .ifr_flags = IFF_UP };
	int udp[COUNT], tcp[COUNT];

	open_all(udp, SOCK_DGRAM, 4700);
	open_all(tcp, SOCK_STREAM, 4701);
	CHECK(ioctl(udp[0], SIOCSIFFLAGS, &lo) == 0);
	CHECK(setsockopt(udp[1], SOL_SOCKET, SO_ATTACH_REUSEPORT_CBPF, &udp_program, sizeof(udp_program)) == 0);
	CHECK(setsockopt(tcp[0], SOL_SOCKET, SO_ATTACH_REUSEPORT_CBPF, &tcp_program, sizeof(tcp_program)) == 0);
	CHECK(gets(udp, 1) == 1 && gets(udp, 2) == 2 && accepts(tcp) == COUNT - 1);
	wait_for_restore();
	for (uint8_t i = 0; i < 12; i++)
		CHECK(gets(udp, i % COUNT) == i % COUNT && accepts(tcp) == COUNT - 1);
	return done();
}
