/* SPDX-License-Identifier: GPL-2.0-or-later */

/*
 * TCP whose segments are signed (TCP_MD5SIG), as BGP's are: listeners, of IPv4 with keys for an address and a network,
 * of IPv6, and connections. Afterwards who has the key is heard, and nobody else.
 */
#include "tests/checkpoint/guest.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <linux/tcp.h>
#include <net/if.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#define SOL_TCP 6

static struct sockaddr_storage at(int family, int port)
{
	struct sockaddr_storage a = { .ss_family = (sa_family_t)family };

	((struct sockaddr_in *)(void *)&a)->sin_port = htons((uint16_t)port);
	if (family == AF_INET)
		((struct sockaddr_in *)(void *)&a)->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	else
		((struct sockaddr_in6 *)(void *)&a)->sin6_addr = in6addr_loopback;
	return a;
}

static int give_key(int fd, int family, const char *key, int prefix)
{
	struct tcp_md5sig s = { .tcpm_flags = prefix ? TCP_MD5SIG_FLAG_PREFIX : 0, .tcpm_prefixlen = (uint8_t)prefix,
				.tcpm_keylen = (uint16_t)strlen(key) };
	struct sockaddr_storage a = at(family, 0);

	if (prefix && family == AF_INET)
		((struct sockaddr_in *)(void *)&a)->sin_addr.s_addr = htonl(0x7f000000);
	memcpy(&s.tcpm_addr, &a, sizeof(s.tcpm_addr));
	memcpy(s.tcpm_key, key, strlen(key));
	return setsockopt(fd, SOL_TCP, prefix ? TCP_MD5SIG_EXT : TCP_MD5SIG, &s, sizeof(s));
}

static int open_listener(int family, int port, int prefix)
{
	int fd = socket(family, SOCK_STREAM, 0);
	struct sockaddr_storage a = at(family, port);

	if (give_key(fd, family, "secret words that are long enough to be read in pieces", prefix) < 0)
		return -1;
	CHECK(bind(fd, (void *)&a, family == AF_INET ? sizeof(struct sockaddr_in) : sizeof(struct sockaddr_in6)) == 0);
	CHECK(listen(fd, 5) == 0);
	return fd;
}

/* -1: nobody has answered in a while. */
static int reach(int family, int port, const char *key)
{
	int fd = socket(family, SOCK_STREAM | SOCK_NONBLOCK, 0);
	struct sockaddr_storage a = at(family, port);
	struct pollfd p = { fd, POLLOUT, 0 };

	CHECK(!key || give_key(fd, family, key, 0) == 0);
	connect(fd, (void *)&a, family == AF_INET ? sizeof(struct sockaddr_in) : sizeof(struct sockaddr_in6));
	if (poll(&p, 1, key ? 5000 : 300) == 1 && !(p.revents & POLLERR))
		return fd;
	close(fd);
	return -1;
}

static void exchange(int one, int other)
{
	char c;
	struct pollfd p = { other, POLLIN, 0 };

	CHECK(write(one, "x", 1) == 1 && poll(&p, 1, 5000) == 1 && read(other, &c, 1) == 1);
	p.fd = one;
	CHECK(write(other, "y", 1) == 1 && poll(&p, 1, 5000) == 1 && read(one, &c, 1) == 1);
}

int main(void)
{
	static const char key[] = "secret words that are long enough to be read in pieces";
	static const int families[] = { AF_INET, AF_INET6, AF_INET };
	static const int prefixes[] = { 0, 0, 8 };
	struct ifreq lo = { .ifr_name = "lo", .ifr_flags = IFF_UP };
	int listener[3], client[3], server[3], any = socket(AF_INET, SOCK_DGRAM, 0);

	CHECK(ioctl(any, SIOCSIFFLAGS, &lo) == 0);
	for (int i = 0; i < 3; i++) {
		listener[i] = open_listener(families[i], 4800 + i, prefixes[i]);
		if (listener[i] < 0) {
			dprintf(1, "this kernel signs no TCP: errno %d\n", errno);
			wait_for_restore();
			return done();
		}
		client[i] = reach(families[i], 4800 + i, key);
		server[i] = accept(listener[i], NULL, NULL);
		CHECK(client[i] >= 0 && server[i] >= 0);
		exchange(client[i], server[i]);
	}
	wait_for_restore();
	for (int i = 0; i < 3; i++) {
		exchange(client[i], server[i]);
		CHECK(reach(families[i], 4800 + i, NULL) < 0);
		CHECK(reach(families[i], 4800 + i, key) >= 0);
	}
	return done();
}
