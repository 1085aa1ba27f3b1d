/* SPDX-License-Identifier: GPL-2.0-or-later */

/*
 * Every option of every kind of socket that can be set to a number: it is set to one that it did not have, and is as it
 * was afterwards. What the kernel answers is what counts; nothing here knows what an option means.
 */
#include "tests/checkpoint/guest.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <linux/netlink.h>
#include <net/if.h>
#include <netinet/ip.h>
#include <netinet/tcp.h>
#include <netinet/udp.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#define NAMES 130
#define SIZE 128

static const int levels[] = { SOL_SOCKET, SOL_IP, SOL_IPV6, SOL_TCP, SOL_UDP, 136 /* SOL_UDPLITE */, SOL_RAW,
			      SOL_ICMPV6, SOL_NETLINK, SOL_PACKET };
#define LEVELS (sizeof(levels) / sizeof(levels[0]))

enum state { IDLE, BOUND, LISTENS, CONNECTED };

static const struct kind {
	const char *name;
	int family, type, protocol;
	enum state state;
} kinds[] = {
	{ "TCP", AF_INET, SOCK_STREAM, 0, IDLE },
	{ "TCP that listens", AF_INET, SOCK_STREAM, 0, LISTENS },
	{ "TCP that is connected", AF_INET, SOCK_STREAM, 0, CONNECTED },
	{ "TCP over IPv6", AF_INET6, SOCK_STREAM, 0, IDLE },
	{ "TCP over IPv6 that listens", AF_INET6, SOCK_STREAM, 0, LISTENS },
	{ "TCP over IPv6 that is connected", AF_INET6, SOCK_STREAM, 0, CONNECTED },
	{ "UDP", AF_INET, SOCK_DGRAM, 0, IDLE },
	{ "UDP that is bound", AF_INET, SOCK_DGRAM, 0, BOUND },
	{ "UDP over IPv6", AF_INET6, SOCK_DGRAM, 0, IDLE },
	{ "UDP over IPv6 that is bound", AF_INET6, SOCK_DGRAM, 0, BOUND },
	{ "UDP-Lite", AF_INET, SOCK_DGRAM, 136, IDLE },
	{ "raw ICMP", AF_INET, SOCK_RAW, IPPROTO_ICMP, IDLE },
	{ "raw ICMPv6", AF_INET6, SOCK_RAW, IPPROTO_ICMPV6, IDLE },
	{ "raw, any", AF_INET, SOCK_RAW, IPPROTO_RAW, IDLE },
	{ "raw over IPv6", AF_INET6, SOCK_RAW, 253, IDLE },
	{ "ping", AF_INET, SOCK_DGRAM, IPPROTO_ICMP, IDLE },
	{ "ping over IPv6", AF_INET6, SOCK_DGRAM, IPPROTO_ICMPV6, IDLE },
	{ "a unix stream", AF_UNIX, SOCK_STREAM, 0, CONNECTED },
	{ "unix datagrams", AF_UNIX, SOCK_DGRAM, 0, IDLE },
	{ "unix packets", AF_UNIX, SOCK_SEQPACKET, 0, CONNECTED },
	{ "netlink", AF_NETLINK, SOCK_RAW, NETLINK_ROUTE, IDLE },
	{ "packets", AF_PACKET, SOCK_RAW, 0, IDLE },
	{ "packets of old", AF_PACKET, SOCK_PACKET, 0x0300, IDLE },
};
#define GONE 4321 /* the number of an interface that is not there */
#define KINDS (sizeof(kinds) / sizeof(kinds[0]))

static int fds[KINDS], others[KINDS];
static uint8_t was[KINDS][LEVELS][NAMES][SIZE];
static socklen_t lens[KINDS][LEVELS][NAMES];

/* What of a connection is the kernel's own, or can only be inherited from a listener. */
static bool is_of_connections(int level, int name)
{
	return (level == SOL_TCP && name == TCP_MAXSEG) || (level == SOL_SOCKET && name == SO_INCOMING_CPU) ||
	       (level == SOL_IPV6 && (name == IPV6_2292PKTOPTIONS || name == IPV6_PATHMTU || name == IPV6_V6ONLY ||
				      name == IPV6_MULTICAST_IF || name == IPV6_MULTICAST_HOPS));
}

/* What another socket, or the time, decides; and what leads elsewhere (repair, another protocol). */
static bool is_left_out(int level, int name)
{
	static const int left_out[][2] = {
		{ SOL_SOCKET, SO_ERROR }, { SOL_SOCKET, 57 /* SO_COOKIE */ },
		{ SOL_SOCKET, 56 /* SO_INCOMING_NAPI_ID */ }, { SOL_SOCKET, 55 /* SO_MEMINFO */ },
		{ SOL_SOCKET, SO_ATTACH_FILTER }, { SOL_SOCKET, SO_PEERCRED }, { SOL_SOCKET, SO_DETACH_FILTER },
		{ SOL_SOCKET, 77 /* SO_PEERPIDFD */ }, { SOL_SOCKET, SO_BINDTODEVICE }, { SOL_SOCKET, 62 /* SO_BINDTOIFINDEX */ },
		{ SOL_SOCKET, SO_LOCK_FILTER }, { SOL_SOCKET, SO_PEERNAME }, { SOL_SOCKET, 71 /* SO_NETNS_COOKIE */ },
		{ SOL_TCP, TCP_REPAIR }, { SOL_TCP, TCP_REPAIR_QUEUE }, { SOL_TCP, TCP_QUEUE_SEQ }, { SOL_TCP, TCP_ULP },
		{ SOL_TCP, TCP_INFO }, { SOL_TCP, TCP_CC_INFO }, { SOL_TCP, TCP_TIMESTAMP }, { SOL_TCP, TCP_ZEROCOPY_RECEIVE },
		{ SOL_TCP, TCP_REPAIR_OPTIONS }, { SOL_TCP, TCP_REPAIR_WINDOW }, { SOL_TCP, TCP_CONGESTION },
		{ SOL_TCP, TCP_QUICKACK },
		{ SOL_IPV6, 1 /* IPV6_ADDRFORM */ }, { SOL_IP, IP_MTU }, { SOL_IPV6, 24 /* IPV6_MTU */ },
		{ SOL_PACKET, 6 /* PACKET_STATISTICS */ }, { SOL_PACKET, 21 /* PACKET_ROLLOVER_STATS */ },
	};

	for (size_t i = 0; i < sizeof(left_out) / sizeof(left_out[0]); i++)
		if (left_out[i][0] == level && left_out[i][1] == name)
			return true;
	return false;
}

static socklen_t get(int fd, int level, int name, uint8_t value[SIZE])
{
	socklen_t len = SIZE;

	memset(value, 0, SIZE);
	return getsockopt(fd, level, name, value, &len) == 0 ? len : 0;
}

/* To something else than it is, if anything. */
static void change(int fd, int level, int name)
{
	static const int tries[] = { 1, 0, 2, 3, 4, 5, 7, 9, 20, 64, 100, 0x10, 12, 1000, 1500, 4096, 30000, 262144, -1, 6, 8 };
	uint8_t before[SIZE], after[SIZE];
	socklen_t len = get(fd, level, name, before);

	for (size_t i = 0; len && i < sizeof(tries) / sizeof(tries[0]); i++) {
		uint8_t value[SIZE] = { 0 };

		memcpy(value, &tries[i], sizeof(int));
		if (len > 4 && len <= SIZE)
			memcpy(value + len / 2, &tries[i], sizeof(int));
		if (setsockopt(fd, level, name, value, len < 4 ? 4 : len) < 0)
			continue;
		get(fd, level, name, after);
		if (memcmp(before, after, SIZE) != 0)
			return;
	}
}

static socklen_t address(const struct kind *k, struct sockaddr_storage *a, int port)
{
	struct sockaddr_in6 *a6 = (void *)a;
	struct sockaddr_in *a4 = (void *)a;

	memset(a, 0, sizeof(*a));
	a->ss_family = (sa_family_t)k->family;
	a4->sin_port = htons((uint16_t)port);
	if (k->family == AF_INET6) {
		a6->sin6_addr = in6addr_loopback;
		return sizeof(*a6);
	}
	a4->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	return sizeof(*a4);
}

/* Headers that all packets get: padding. */
static void add_headers(int fd)
{
	static const int names[] = { IPV6_HOPOPTS, IPV6_DSTOPTS, IPV6_RTHDRDSTOPTS };
	uint8_t header[80] = { 0, 9, 1, 76 };

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		CHECK(setsockopt(fd, SOL_IPV6, names[i], header, sizeof(header)) == 0 || names[i] == IPV6_RTHDRDSTOPTS);
}

static void bring_into(size_t i)
{
	const struct kind *k = &kinds[i];
	struct sockaddr_storage a;
	socklen_t len = address(k, &a, 4000 + (int)i);
	int l = -1, pair[2];

	if (k->family == AF_UNIX && k->state == CONNECTED) {
		close(fds[i]);
		CHECK(socketpair(AF_UNIX, k->type, 0, pair) == 0);
		fds[i] = pair[0];
		others[i] = pair[1];
		return;
	}
	if (k->state == BOUND || k->state == LISTENS)
		CHECK(bind(fds[i], (void *)&a, len) == 0);
	if (k->state == LISTENS)
		CHECK(listen(fds[i], 5) == 0);
	if (k->state != CONNECTED)
		return;
	l = socket(k->family, k->type, 0);
	CHECK(bind(l, (void *)&a, len) == 0 && listen(l, 1) == 0 && connect(fds[i], (void *)&a, len) == 0);
	others[i] = accept(l, NULL, NULL);
	close(l);
}

static void set_up(size_t i)
{
	const struct kind *k = &kinds[i];

	fds[i] = socket(k->family, k->type, k->protocol);
	if (fds[i] < 0) {
		dprintf(1, "no %s: errno %d\n", k->name, errno);
		return;
	}
	bring_into(i);
	for (size_t l = 0; l < LEVELS; l++)
		for (int n = 0; n < NAMES; n++)
			if (!is_left_out(levels[l], n))
				change(fds[i], levels[l], n);
	if (k->family == AF_INET6 && k->type == SOCK_DGRAM)
		add_headers(fds[i]);
	for (size_t l = 0; l < LEVELS; l++)
		for (int n = 0; n < NAMES; n++)
			if (!is_left_out(levels[l], n))
				lens[i][l][n] = get(fds[i], levels[l], n, was[i][l][n]);
}

static void compare(size_t i)
{
	for (size_t l = 0; l < LEVELS; l++)
		for (int n = 0; n < NAMES; n++) {
			uint8_t now[SIZE];
			socklen_t len;

			if (fds[i] < 0 || is_left_out(levels[l], n) ||
			    (kinds[i].state == CONNECTED && is_of_connections(levels[l], n)))
				continue;
			len = get(fds[i], levels[l], n, now);
			if (len == lens[i][l][n] && memcmp(now, was[i][l][n], SIZE) == 0)
				continue;
			dprintf(1, "failed: %s, level %d, option %d: %d (%u), was %d (%u)\n", kinds[i].name, levels[l], n,
				*(int *)(void *)now, (unsigned)len, *(int *)(void *)was[i][l][n], (unsigned)lens[i][l][n]);
			guest_failed = 1;
		}
}

static int unreachable;

/* Nothing may come in by any other: that would open to all what was reached by that one alone. */
static void bind_to_what_is_gone(void)
{
	int index = GONE;

	unreachable = socket(AF_INET, SOCK_DGRAM, 0);
	CHECK(setsockopt(unreachable, SOL_SOCKET, 62 /* SO_BINDTOIFINDEX */, &index, sizeof(index)) == 0);
}

static void check_what_is_gone(void)
{
	int index = 0;
	socklen_t len = sizeof(index);

	CHECK(getsockopt(unreachable, SOL_SOCKET, 62, &index, &len) == 0 && index == GONE);
}

int main(int argc, char **argv)
{
	struct ifreq lo = { .ifr_name = "lo", .ifr_flags = IFF_UP };
	int any;

	if (argc > 1 && strcmp(argv[1], "peer") == 0)
		return 0;
	any = socket(AF_INET, SOCK_DGRAM, 0);
	ioctl(any, SIOCSIFFLAGS, &lo);
	close(any);
	for (size_t i = 0; i < KINDS; i++)
		set_up(i);
	bind_to_what_is_gone();
	wait_for_restore();
	check_what_is_gone();
	for (size_t i = 0; i < KINDS; i++)
		compare(i);
	return done();
}
