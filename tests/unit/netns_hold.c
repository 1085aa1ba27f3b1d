/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "tests/unit/tap.h"

#include "netns/hold.h"
#include "tests/unit/netns_lab.h"

/* Frames that are held come later, all of them and in their order; a VPS whose links are held is not
 * there until it is let go, and then says where it is. */

static struct netns_host host;
static struct lab_vps a;
static struct err e;
static const char *target = "10.66.0.9"; /* the VPS */

static bool up(bool held)
{
	if (!lab_host())
		return false;
	if (netns_host_init(&host, "vps-hold", "10.66.0.0/24", "fd66::/64", &e) < 0 ||
	    netns_host_up(&host, NULL, 0, &e) < 0)
		return false;
	lab_vps_init(&a, &host, 1, "name=eth0,mode=bridge,ip=10.66.0.9/24,ip=fd66::9/64");
	a.v.held = held;
	return netns_vps_up(&host, &a.v, a.ns, &e) == 0;
}

static void down(void)
{
	netns_vps_down(&host, &a.v, &e);
	netns_host_down(&host, &e);
	close(a.ns);
}

/* `count` numbered datagrams to the VPS, from the host. */
static void say(int from, int count)
{
	struct sockaddr_storage ss;
	socklen_t len = lab_addr(&ss, target, 7000);
	cleanup_close int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	for (int i = from; i < from + count; i++)
		sendto(fd, &i, sizeof(i), 0, (struct sockaddr *)&ss, len);
}

/* How many come in their order, the first being `from`, until none comes for `ms`. */
static int heard(int fd, int from, int ms)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };
	int n = 0, got;

	while (poll(&p, 1, ms) == 1 && recv(fd, &got, sizeof(got), 0) == sizeof(got) && got == from + n)
		n++;
	return n;
}

/* Frames that the VPS sends of a protocol, seen at the host's end. */
static int announcements(int fd, uint16_t proto, uint8_t type, size_t at)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };
	unsigned char f[1600];
	int n = 0;

	while (poll(&p, 1, 300) == 1) {
		ssize_t len = recv(fd, f, sizeof(f), 0);

		if (len > (ssize_t)at && (f[12] << 8 | f[13]) == proto && f[at] == type)
			n++;
	}
	return n;
}

/* Whether an announcement of the VPS comes to the host's bridge. */
static int seen_from(int ns)
{
	struct sockaddr_ll ll = { .sll_family = AF_PACKET, .sll_protocol = htons(ETH_P_ALL) };
	cleanup_close int fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, htons(ETH_P_ALL));

	ll.sll_ifindex = (int)if_nametoindex(host.bridge);
	if (bind(fd, (struct sockaddr *)&ll, sizeof(ll)) < 0)
		return -1;
	netns_announce(&a.v, ns);
	return announcements(fd, ETH_P_ARP, 1, 21);
}

/* A port of the bridge forwards a moment after its link is up. */
static bool reached(int server)
{
	for (int i = 0; i < 100; i++) {
		say(0, 1);
		if (heard(server, 0, 50) > 0)
			return true;
	}
	return false;
}

static int count_frame(void *ctx, unsigned i, const void *frame, size_t len, struct err *why)
{
	const unsigned char *f = frame;

	(void)why;
	/* UDP in IPv4: the kernels have things to say to each other, too. */
	*(int *)ctx += i == 0 && len > 34 && f[12] == 0x08 && f[13] == 0x00 && f[23] == 17;
	return 0;
}

TEST(frames_are_held_and_go_again) {
	struct netns_hold *hold = NULL;
	int server, taken = 0;

	if (!up(false))
		skip("no networks of our own here: %s", e.msg);
	server = lab_bound(a.ns, SOCK_DGRAM, "0.0.0.0", 7000);
	ok(reached(server), "datagrams reach it");
	if (access("/dev/net/tun", F_OK) < 0)
		skip("there is no /dev/net/tun");
	eq_int(netns_hold_open(&host, &a.v, &hold, &e), 0, "it can be held: %s", e.msg);
	say(50, 3);
	eq_int(heard(server, 50, 100), 3, "but is not yet");
	eq_int(netns_hold_begin(hold, &e), 0, "it is held: %s", e.msg);
	say(100, 200);
	eq_int(heard(server, 100, 50), 0, "nothing reaches it");
	netns_hold_end(hold, true);
	eq_int(heard(server, 100, 200), 200, "all come later, in their order");
	say(2000, 3);
	eq_int(heard(server, 2000, 200), 3, "then they come as before");

	eq_int(netns_hold_open(&host, &a.v, &hold, &e) + netns_hold_begin(hold, &e), 0, "it is held again");
	say(0, 5);
	eq_int(netns_hold_take(hold, count_frame, &taken, &e), 0, "frames are taken out");
	eq_int(taken, 5, "all of them");
	eq_int(seen_from(a.ns), 1, "it is heard until it is silenced");
	eq_int(netns_hold_begin(hold, &e), 0, "to hold it once more does no harm");
	eq_int(netns_hold_silence(hold, &e), 0, "it is silenced: %s", e.msg);
	eq_int(seen_from(a.ns), 0, "what its stack sends goes nowhere");
	netns_hold_end(hold, true);
	eq_int(heard(server, 0, 50), 0, "what was taken out does not come");
	eq_int(seen_from(a.ns), 1, "what its stack sends goes out again");
	close(server);
	down();
}

/* The host's end of what p0 is plugged into is p1. */
static bool macvlan_up(void)
{
	target = "192.0.2.9";
	if (!lab_host() || netns_host_init(&host, "vps-hold", NULL, NULL, &e) < 0 ||
	    lab_run(-1, "ip link add p0 type veth peer name p1 && ip link set p0 up &&"
			"ip addr add 192.0.2.1/24 dev p1 && ip link set p1 up") != 0)
		return false;
	lab_vps_init(&a, &host, 1, "name=eth0,mode=macvlan,parent=p0,ip=192.0.2.9/24");
	return netns_vps_up(&host, &a.v, a.ns, &e) == 0;
}

TEST(frames_for_a_macvlan_too) {
	struct netns_hold *hold = NULL;
	int server, taken = 0;

	if (!macvlan_up() || access("/dev/net/tun", F_OK) < 0)
		skip("no macvlan, or no /dev/net/tun: %s", e.msg);
	if (lab_run(-1, "nft 'table netdev try { chain c { type filter hook ingress device \"p0\" priority 0;"
			"ether saddr 02:00:00:00:00:01 fwd to \"p0\"; }; }; delete table netdev try'") != 0)
		skip("nft's fwd is not in this kernel");
	server = lab_bound(a.ns, SOCK_DGRAM, "0.0.0.0", 7000);
	ok(reached(server), "datagrams reach it");
	eq_int(netns_hold_open(&host, &a.v, &hold, &e), 0, "it can be held: %s", e.msg);
	eq_int(netns_hold_begin(hold, &e), 0, "it is held: %s", e.msg);
	say(100, 200);
	eq_int(heard(server, 100, 50), 0, "nothing reaches it");
	netns_hold_end(hold, true);
	eq_int(heard(server, 100, 200), 200, "all come later, in their order");

	eq_int(netns_hold_open(&host, &a.v, &hold, &e) + netns_hold_begin(hold, &e), 0, "it is held again");
	say(0, 5);
	eq_int(netns_hold_take(hold, count_frame, &taken, &e), 0, "frames are taken out");
	eq_int(taken, 5, "all of them");
	eq_int(netns_hold_silence(hold, &e), 0, "it is silenced: %s", e.msg);
	netns_hold_end(hold, false);
	say(2000, 3);
	eq_int(heard(server, 2000, 200), 3, "then they come as before");
	ok(lab_run(-1, "nft list tables | grep -q vps-hold-") != 0, "nothing is left on its parent");
	netns_vps_down(&host, &a.v, &e);
	lab_run(-1, "ip link del p0");
	close(server);
	close(a.ns);
	target = "10.66.0.9";
}

TEST(a_holder_that_died) {
	struct netns_hold *hold;
	int server;
	pid_t pid;

	if (!up(false) || access("/dev/net/tun", F_OK) < 0)
		skip("no networks of our own here");
	server = lab_bound(a.ns, SOCK_DGRAM, "0.0.0.0", 7000);
	ok(reached(server), "datagrams reach it");
	pid = fork();
	if (pid == 0)
		_exit(netns_hold_open(&host, &a.v, &hold, &e) < 0 || netns_hold_begin(hold, &e) < 0);
	waitpid(pid, NULL, 0);
	say(0, 3);
	eq_int(heard(server, 0, 50), 0, "frames are lost");
	eq_int(netns_hold_clear(&host, &a.v, &e), 0, "what it left is taken away: %s", e.msg);
	eq_int(netns_hold_clear(&host, &a.v, &e), 0, "twice: %s", e.msg);
	say(0, 3);
	eq_int(heard(server, 0, 500), 3, "they come again");
	close(server);
	down();
}

TEST(held_links) {
	struct sockaddr_ll ll = { .sll_family = AF_PACKET, .sll_protocol = htons(ETH_P_ALL) };
	cleanup_close int server = -EBADF, arp = -EBADF, na = -EBADF;
	char name[16];

	if (!up(true))
		skip("no networks of our own here: %s", e.msg);
	server = lab_bound(a.ns, SOCK_DGRAM, "0.0.0.0", 7000);
	say(0, 3);
	eq_int(heard(server, 0, 50), 0, "nothing reaches it");
	ll.sll_ifindex = (int)if_nametoindex(netns_link_name(&host, a.v.uuid, 0, name));
	arp = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, htons(ETH_P_ALL));
	na = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, htons(ETH_P_ALL));
	ok(bind(arp, (struct sockaddr *)&ll, sizeof(ll)) == 0 &&
	   bind(na, (struct sockaddr *)&ll, sizeof(ll)) == 0, "we listen at its link");
	eq_int(netns_vps_release(&host, &a.v, a.ns, &e), 0, "it is let go: %s", e.msg);
	eq_int(announcements(arp, ETH_P_ARP, 1, 21), 1, "it says where its IPv4 address is");
	eq_int(announcements(na, ETH_P_IPV6, 136, 54), 1, "and its IPv6 address");
	ok(reached(server), "and is reached");
	down();
}
