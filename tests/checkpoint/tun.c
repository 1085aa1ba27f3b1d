/* SPDX-License-Identifier: GPL-2.0-or-later */

/*
 * Interfaces that programs make (/dev/net/tun), as VPNs and virtual machines have them: one that goes with its open
 * file and has an address, one of two queues with headers, one that lasts and belongs to a user; an open file that is
 * attached to none, one in a child.
 */
#include "tests/checkpoint/guest.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <netinet/ip.h>
#include <netinet/udp.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/wait.h>

#define OWN "10.77.0.1"
#define OTHER "10.77.0.2"

static int sock;

static int attach(const char *name, int flags)
{
	struct ifreq q = { .ifr_flags = (short)flags };
	int fd = open("/dev/net/tun", O_RDWR);

	snprintf(q.ifr_name, sizeof(q.ifr_name), "%s", name);
	CHECK(fd >= 0 && ioctl(fd, TUNSETIFF, &q) == 0);
	return fd;
}

static struct ifreq ask(const char *name, unsigned long what)
{
	struct ifreq q = { .ifr_flags = 0 };

	snprintf(q.ifr_name, sizeof(q.ifr_name), "%s", name);
	CHECK(ioctl(sock, what, &q) == 0);
	return q;
}

static void give_address(const char *name, const char *address)
{
	struct ifreq q = { .ifr_flags = 0 };
	struct sockaddr_in *a = (void *)&q.ifr_addr;

	snprintf(q.ifr_name, sizeof(q.ifr_name), "%s", name);
	a->sin_family = AF_INET;
	CHECK(inet_pton(AF_INET, address, &a->sin_addr) == 1 && ioctl(sock, SIOCSIFADDR, &q) == 0);
	CHECK(inet_pton(AF_INET, "255.255.255.0", &a->sin_addr) == 1 && ioctl(sock, SIOCSIFNETMASK, &q) == 0);
	q = ask(name, SIOCGIFFLAGS);
	q.ifr_flags |= IFF_UP;
	CHECK(ioctl(sock, SIOCSIFFLAGS, &q) == 0);
}

static uint16_t sum(const void *p, size_t len)
{
	const uint16_t *w = p;
	uint32_t s = 0;

	for (size_t i = 0; i < len / 2; i++)
		s += w[i];
	while (s >> 16)
		s = (s & 0xffff) + (s >> 16);
	return (uint16_t)~s;
}

struct packet {
	struct iphdr ip;
	struct udphdr udp;
	char text[8];
} __attribute__((packed));

/* What the VPS sends into the interface is read, past packets of the kernel's own; what is written comes out of it. */
static void talk(int fd, int udp)
{
	struct sockaddr_in to = { AF_INET, htons(5000), { inet_addr(OTHER) }, { 0 } };
	struct packet p = { .ip = { .version = 4,
				    .ihl = 5,
				    .ttl = 9,
				    .protocol = IPPROTO_UDP,
				    .saddr = inet_addr(OTHER),
				    .daddr = inet_addr(OWN),
				    .tot_len = htons(sizeof(p)) },
			    .udp = { .source = htons(5000), .dest = htons(5001), .len = htons(16) },
			    .text = "inwards" };
	struct pollfd in = { fd, POLLIN, 0 };
	char got[2048] = { 0 };
	ssize_t n;

	CHECK(sendto(udp, "outward", 8, 0, (void *)&to, sizeof(to)) == 8);
	do {
		CHECK(poll(&in, 1, 20000) == 1);
		n = read(fd, got, sizeof(got));
	} while (!guest_failed && (n != sizeof(p) || memcmp(got + n - 8, "outward", 8) != 0));
	p.ip.check = sum(&p.ip, sizeof(p.ip));
	CHECK(write(fd, &p, sizeof(p)) == sizeof(p));
	CHECK(recv(udp, got, sizeof(got), 0) == 8 && strcmp(got, "inwards") == 0);
}

static unsigned flags_of(int fd)
{
	struct ifreq q = { .ifr_flags = 0 };

	return ioctl(fd, TUNGETIFF, &q) == 0 ? (uint16_t)q.ifr_flags : 0;
}

static int number(int fd, unsigned long what)
{
	int v = -1;

	return ioctl(fd, what, &v) == 0 ? v : -1;
}

static int owner_of(const char *name)
{
	char path[64];
	int owner = -1;
	FILE *f;

	snprintf(path, sizeof(path), "/sys/class/net/%s/owner", name);
	f = fopen(path, "r");
	if (!f || fscanf(f, "%d", &owner) != 1)
		owner = -2;
	if (f)
		fclose(f);
	return owner;
}

int main(void)
{
	int plain, queue[2], last, none, udp, header = 12, buffer = 100000, go[2], status;
	struct sockaddr_in a = { AF_INET, htons(5001), { 0 }, { 0 } };
	struct ifreq q, detach = { .ifr_flags = IFF_DETACH_QUEUE }, mac;
	unsigned before[3], after[3];
	pid_t pid;
	char c;

	sock = socket(AF_INET, SOCK_DGRAM, 0);
	udp = socket(AF_INET, SOCK_DGRAM, 0);
	CHECK(bind(udp, (void *)&a, sizeof(a)) == 0);
	plain = attach("vpn0", IFF_TUN | IFF_NO_PI);
	CHECK(ioctl(plain, TUNSETSNDBUF, &buffer) == 0);
	give_address("vpn0", OWN);
	queue[0] = attach("guest%d", IFF_TAP | IFF_VNET_HDR | IFF_MULTI_QUEUE | IFF_NO_PI);
	CHECK(ioctl(queue[0], TUNGETIFF, &q) == 0 && strcmp(q.ifr_name, "guest0") == 0);
	CHECK(ioctl(queue[0], TUNSETVNETHDRSZ, &header) == 0);
	CHECK(ioctl(queue[0], TUNSETOFFLOAD, TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6) == 0);
	queue[1] = attach("guest0", IFF_TAP | IFF_VNET_HDR | IFF_MULTI_QUEUE | IFF_NO_PI);
	CHECK(ioctl(queue[1], TUNSETQUEUE, &detach) == 0);
	mac = ask("guest0", SIOCGIFHWADDR);
	last = attach("mine", IFF_TUN);
	CHECK(ioctl(last, TUNSETOWNER, 1000) == 0 && ioctl(last, TUNSETPERSIST, 1) == 0);
	close(last);
	none = open("/dev/net/tun", O_RDWR);
	before[0] = if_nametoindex("vpn0"), before[1] = if_nametoindex("guest0"), before[2] = if_nametoindex("mine");
	talk(plain, udp);
	CHECK(pipe(go) == 0);
	pid = fork();
	if (pid == 0) {
		for (int fd = 3; fd < 20; fd++)
			if (fd != go[0] && fd != plain && fd != udp)
				close(fd);
		CHECK(read(go[0], &c, 1) == 1);
		talk(plain, udp);
		_exit(guest_failed);
	}
	wait_for_restore();
	after[0] = if_nametoindex("vpn0"), after[1] = if_nametoindex("guest0"), after[2] = if_nametoindex("mine");
	CHECK(memcmp(before, after, sizeof(before)) == 0 && before[0]);
	talk(plain, udp);
	CHECK(number(plain, TUNGETSNDBUF) == buffer && !(flags_of(plain) & IFF_PERSIST));
	CHECK(write(go[1], "g", 1) == 1 && waitpid(pid, &status, 0) == pid && status == 0);
	q = ask("guest0", SIOCGIFHWADDR);
	CHECK(memcmp(&q.ifr_hwaddr, &mac.ifr_hwaddr, sizeof(q.ifr_hwaddr)) == 0);
	CHECK(number(queue[0], TUNGETVNETHDRSZ) == 12 && (flags_of(queue[0]) & IFF_VNET_HDR));
	CHECK(!(flags_of(queue[0]) & IFF_DETACH_QUEUE) && (flags_of(queue[1]) & IFF_DETACH_QUEUE));
	CHECK(flags_of(none) == 0 && ioctl(none, TUNGETIFF, &q) < 0);
	snprintf(q.ifr_name, sizeof(q.ifr_name), "later");
	q.ifr_flags = IFF_TUN;
	CHECK(ioctl(none, TUNSETIFF, &q) == 0);
	close(plain);
	CHECK(if_nametoindex("vpn0") == 0);
	close(none);
	CHECK(if_nametoindex("later") == 0);
	CHECK(owner_of("mine") == 1000);
	last = attach("mine", IFF_TUN);
	CHECK(flags_of(last) & IFF_PERSIST);
	return done();
}
