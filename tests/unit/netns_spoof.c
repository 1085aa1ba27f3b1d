/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "tests/unit/tap.h"

#include "tests/unit/netns_lab.h"

/*
 * A hostile root in a tenant sends frames by packet socket. Whether one came through is seen on the
 * bridge itself and on the other VPS's interface; each carries a mark at its end.
 */

static struct netns_host host;
static struct lab_vps a, b;
static uint8_t bridge_mac[6];

struct frame {
	uint8_t b[256];
	size_t len;
};

static void add(struct frame *f, const void *data, size_t len)
{
	memcpy(f->b + f->len, data, len);
	f->len += len;
}

static void ether(struct frame *f, const uint8_t *dst, const uint8_t *src, uint16_t type)
{
	uint16_t be = htons(type);

	f->len = 0;
	add(f, dst, 6);
	add(f, src, 6);
	add(f, &be, 2);
}

static void arp(struct frame *f, const uint8_t *src, int op, const uint8_t *sha, const char *sip,
		const char *tip)
{
	static const uint8_t all[6] = { 255, 255, 255, 255, 255, 255 };
	uint8_t head[8] = { 0, 1, 8, 0, 6, 4, 0, (uint8_t)op };
	struct in_addr ip;

	ether(f, all, src, 0x0806);
	add(f, head, 8);
	add(f, sha, 6);
	inet_pton(AF_INET, sip, &ip);
	add(f, &ip, 4);
	add(f, "\0\0\0\0\0\0", 6);
	inet_pton(AF_INET, tip, &ip);
	add(f, &ip, 4);
}

/* UDP over IPv4; the IP header's checksum is right, or the host would drop it itself. */
static void udp4(struct frame *f, const uint8_t *dst, const uint8_t *src, const char *from,
		 const char *to, uint16_t sport)
{
	uint8_t ip[20] = { 0x45, 0, 0, 20 + 8 + 8, 0, 1, 0, 0, 64, 17 };
	uint16_t udp[4] = { htons(sport), htons(68), htons(16), 0 };
	uint32_t sum = 0;

	inet_pton(AF_INET, from, ip + 12);
	inet_pton(AF_INET, to, ip + 16);
	for (int i = 0; i < 20; i += 2)
		sum += (uint32_t)ip[i] << 8 | ip[i + 1];
	sum = (sum & 0xffff) + (sum >> 16);
	sum = ~(sum + (sum >> 16)) & 0xffff;
	ip[10] = (uint8_t)(sum >> 8);
	ip[11] = (uint8_t)sum;
	ether(f, dst, src, 0x0800);
	add(f, ip, 20);
	add(f, udp, 8);
}

/* ICMPv6 with a wrong checksum: nobody checks before the rules do. */
static void icmp6(struct frame *f, const uint8_t *src, const char *from, const char *to, int type,
		  const char *target)
{
	static const uint8_t all[6] = { 0x33, 0x33, 0, 0, 0, 1 };
	uint8_t ip[40] = { 0x60, 0, 0, 0, 0, 24 + 8, 58, 255 }, icmp[24] = { (uint8_t)type };

	inet_pton(AF_INET6, from, ip + 8);
	inet_pton(AF_INET6, to, ip + 24);
	inet_pton(AF_INET6, target, icmp + 8);
	ether(f, all, src, 0x86dd);
	add(f, ip, 40);
	add(f, icmp, 24);
}

static int listen_on(int ns, const char *dev)
{
	int home = lab_enter(ns);
	struct sockaddr_ll ll = { .sll_family = AF_PACKET, .sll_protocol = htons(ETH_P_ALL) };
	int fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, htons(ETH_P_ALL));

	ll.sll_ifindex = (int)if_nametoindex(dev);
	if (bind(fd, (struct sockaddr *)&ll, sizeof(ll)) < 0)
		abort();
	lab_leave(home);
	return fd;
}

static bool has_mark(int fd, const char *mark, int ms)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };
	char buf[2048];

	while (poll(&p, 1, ms) == 1) {
		ssize_t n = recv(fd, buf, sizeof(buf), 0);

		if (n >= 8 && memmem(buf, (size_t)n, mark, 8))
			return true;
	}
	return false;
}

static uint64_t spoofed(void)
{
	struct netns_stat s;
	struct err e = { 0 };

	netns_vps_stat(&host, &a.v, &s, &e);
	return s.spoofed_packets;
}

static int at_bridge, at_other;

static void send_marked(struct frame *f, char mark[9])
{
	static unsigned number;

	snprintf(mark, 9, "MARK%04u", ++number);
	add(f, mark, 8);
	if (lab_frame(a.ns, "eth0", f->b, f->len) < 0)
		diag("send: %m");
}

static void passes(struct frame *f, const char *what)
{
	uint64_t before = spoofed();
	char mark[9];

	send_marked(f, mark);
	ok(has_mark(at_bridge, mark, 2000), "%s comes through", what);
	ok(spoofed() == before, "and is not counted");
}

/* A frame that is let through after it shows that the dropped one is not only late. */
static void dropped(struct frame *f, const char *what)
{
	uint64_t before = spoofed();
	struct frame good;
	char mark[9], after[9];
	bool seen = false, late = false;
	struct pollfd p = { .fd = at_bridge, .events = POLLIN };

	send_marked(f, mark);
	udp4(&good, bridge_mac, a.ifs[0].mac, "10.20.0.5", "10.20.0.1", 1000);
	send_marked(&good, after);
	while (!late && poll(&p, 1, 2000) == 1) {
		char buf[2048];
		ssize_t n = recv(at_bridge, buf, sizeof(buf), 0);

		seen |= n >= 8 && memmem(buf, (size_t)n, mark, 8);
		late |= n >= 8 && memmem(buf, (size_t)n, after, 8);
	}
	ok(!seen && late && !has_mark(at_other, mark, 0), "%s does not", what);
	eq_int(spoofed(), before + 1, "and is counted");
}

TEST(up)
{
	struct err e = { 0 };
	int home;

	if (!lab_host())
		skip("no network namespace: needs CAP_SYS_ADMIN");
	home = lab_open();
	netns_host_init(&host, "vps-test", "10.20.0.0/24", "fd00:20::/64", &e);
	ok(netns_host_up(&host, NULL, 0, &e) == 0, "host %s", e.msg);
	lab_vps_init(&a, &host, 1, "ip=10.20.0.5/24,ip=fd00:20::5/64,mac=02:00:00:00:00:05");
	lab_vps_init(&b, &host, 2, "ip=10.20.0.6/24,ip=fd00:20::6/64,mac=02:00:00:00:00:06");
	ok(netns_vps_up(&host, &a.v, a.ns, &e) == 0 && netns_vps_up(&host, &b.v, b.ns, &e) == 0,
	   "two VPSs %s", e.msg);
	at_bridge = listen_on(home, "vps-test-br");
	at_other = listen_on(b.ns, "eth0");
	close(home);
	memcpy(bridge_mac, (uint8_t[]){ 0x02, 0x76, 10, 20, 0, 1 }, 6);
	for (int i = 0; i < 2; i++) /* reports of its own that IPv6 sends when a link comes up */
		has_mark(at_bridge, "--------", 100);
}

TEST(own_frames)
{
	const uint8_t *mac = a.ifs[0].mac;
	struct frame f;

	if (!at_bridge)
		skip("no network namespace");
	udp4(&f, bridge_mac, mac, "10.20.0.5", "10.20.0.1", 1000);
	passes(&f, "IPv4 from its own address");
	arp(&f, mac, 1, mac, "10.20.0.5", "10.20.0.1");
	passes(&f, "an ARP request");
	arp(&f, mac, 2, mac, "10.20.0.5", "10.20.0.1");
	passes(&f, "an ARP answer for itself");
	arp(&f, mac, 1, mac, "0.0.0.0", "10.20.0.5");
	passes(&f, "an ARP probe");
	icmp6(&f, mac, "fd00:20::5", "ff02::1", 135, "fd00:20::1");
	passes(&f, "a neighbour solicitation");
	icmp6(&f, mac, "fd00:20::5", "ff02::1", 136, "fd00:20::5");
	passes(&f, "a neighbour advertisement for itself");
	icmp6(&f, mac, "fe80::ff:fe00:5", "ff02::1", 136, "fe80::ff:fe00:5");
	passes(&f, "one for its link-local address");
	icmp6(&f, mac, "::", "ff02::1", 135, "fd00:20::5");
	passes(&f, "duplicate address detection of its own");
}

TEST(false_frames)
{
	static const uint8_t other[6] = { 2, 0, 0, 0, 0, 6 };
	const uint8_t *mac = a.ifs[0].mac;
	struct frame f;

	if (!at_bridge)
		skip("no network namespace");
	udp4(&f, bridge_mac, other, "10.20.0.5", "10.20.0.1", 1000);
	dropped(&f, "another's MAC");
	udp4(&f, bridge_mac, mac, "10.20.0.6", "10.20.0.1", 1000);
	dropped(&f, "another's IPv4 address");
	udp4(&f, bridge_mac, mac, "127.0.0.1", "10.20.0.1", 1000);
	dropped(&f, "the loopback's");
	udp4(&f, bridge_mac, mac, "10.20.0.5", "10.20.0.1", 67);
	dropped(&f, "a DHCP server's answer");
	arp(&f, mac, 2, mac, "10.20.0.1", "10.20.0.6");
	dropped(&f, "an ARP answer for the gateway");
	arp(&f, mac, 1, mac, "10.20.0.6", "10.20.0.1");
	dropped(&f, "an ARP request in another's name");
	arp(&f, mac, 2, other, "10.20.0.5", "10.20.0.1");
	dropped(&f, "an ARP answer with another MAC inside");
	arp(&f, mac, 2, mac, "0.0.0.0", "10.20.0.1");
	dropped(&f, "an ARP answer for nobody");
	arp(&f, mac, 1, mac, "10.20.0.5", "10.20.0.1");
	f.b[14 + 4] = 8;
	dropped(&f, "ARP of other lengths");
	icmp6(&f, mac, "fd00:20::6", "ff02::1", 135, "fd00:20::1");
	dropped(&f, "another's IPv6 address");
	icmp6(&f, mac, "fd00:20::5", "ff02::1", 136, "fd00:20::1");
	dropped(&f, "a neighbour advertisement for the gateway");
	icmp6(&f, mac, "fe80::ff:fe00:6", "ff02::1", 135, "fd00:20::1");
	dropped(&f, "another's link-local address");
	icmp6(&f, mac, "fe80::ff:fe00:5", "ff02::1", 134, "::");
	dropped(&f, "a router advertisement");
	icmp6(&f, mac, "fe80::ff:fe00:5", "ff02::1", 137, "::");
	dropped(&f, "a redirect");
	icmp6(&f, mac, "::", "ff02::1", 135, "fd00:20::6");
	dropped(&f, "duplicate address detection of another's");
	ether(&f, bridge_mac, mac, 0x8100);
	add(&f, "\0\1\x08\0", 4);
	dropped(&f, "a VLAN tag");
	ether(&f, bridge_mac, mac, 0x88cc);
	dropped(&f, "another protocol");
	ether(&f, (const uint8_t *)"\x01\x80\xc2\0\0\x03", mac, 0x888e);
	dropped(&f, "what is meant for switches");
	ether(&f, bridge_mac, mac, 0x0800);
	add(&f, "\x45\0\0", 3);
	dropped(&f, "an IPv4 header cut short");
	ether(&f, bridge_mac, mac, 0x0806);
	add(&f, "\0\1", 2);
	dropped(&f, "ARP cut short");
}

/* Its own name for another address, then for another MAC: a whole stack, not single frames. */
TEST(reconfigured_inside)
{
	if (!at_bridge)
		skip("no network namespace");
	ok(lab_run(a.ns, "ip addr add 10.20.0.99/32 dev eth0; ip addr del 10.20.0.5/24 dev eth0;"
			 "ip route replace 10.20.0.1 dev eth0") == 0,
	   "takes another address");
	eq_int(lab_connect_ms(a.ns, "10.20.0.1", 9, 300, NULL), -ETIMEDOUT, "it is mute");
	ok(lab_run(a.ns, "ip addr add 10.20.0.5/24 dev eth0; ip addr del 10.20.0.99/32 dev eth0;"
			 "ip link set eth0 address 02:00:00:00:00:77") == 0,
	   "takes another MAC");
	eq_int(lab_connect_ms(a.ns, "10.20.0.1", 9, 300, NULL), -ETIMEDOUT, "with that too");
	lab_run(a.ns, "ip link set eth0 address 02:00:00:00:00:05");
	eq_int(lab_connect(a.ns, "10.20.0.1", 9), -ECONNREFUSED, "with its own both work");
}

TEST(counts_outlive_the_tables)
{
	const struct netns_vps *all[] = { &a.v, &b.v };
	struct err e = { 0 };
	uint64_t before = spoofed();

	if (!at_bridge)
		skip("no network namespace");
	ok(netns_rules_replace(&host, all, 2, &e) == 0, "rules replaced %s", e.msg);
	ok(before > 20 && spoofed() == before, "the count goes on from %" PRIu64, before);
}

/* Ports do not speak to each other below IP, whatever is sent. */
TEST(no_frames_between_ports)
{
	static const uint8_t other[6] = { 2, 0, 0, 0, 0, 6 };
	const uint8_t *mac = a.ifs[0].mac;
	struct frame f;
	char mark[9];

	if (!at_bridge)
		skip("no network namespace");
	udp4(&f, other, mac, "10.20.0.5", "10.20.0.6", 1000);
	send_marked(&f, mark);
	ok(!has_mark(at_other, mark, 100), "a frame to another port's MAC");
	arp(&f, mac, 1, mac, "10.20.0.5", "10.20.0.6");
	send_marked(&f, mark);
	ok(!has_mark(at_other, mark, 100), "a broadcast");
}
