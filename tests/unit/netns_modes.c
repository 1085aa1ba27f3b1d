/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "tests/unit/tap.h"

#include "tests/unit/netns_lab.h"

/* The modes other than the own bridge, several interfaces, and what cannot be. */

static struct netns_host host;
static int world, home;

static bool up(struct lab_vps *t)
{
	struct err e = { 0 };
	int r = netns_vps_up(&host, &t->v, t->ns, &e);

	if (r < 0)
		diag("%s: %s", t->v.name, e.msg);
	return r == 0;
}

static bool down(struct lab_vps *t)
{
	struct err e = { 0 };
	int r = netns_vps_down(&host, &t->v, &e);

	if (r < 0)
		diag("%s: %s", t->v.name, e.msg);
	close(t->ns);
	return r == 0;
}

TEST(host_up)
{
	struct err e = { 0 };

	if (!lab_host())
		skip("no network namespace: needs CAP_SYS_ADMIN");
	home = lab_open();
	world = lab_world();
	netns_host_init(&host, "vps-test", "10.20.0.0/24", "fd00:20::/64", &e);
	ok(netns_host_up(&host, NULL, 0, &e) == 0, "host %s", e.msg);
}

/* Addresses of the uplink's own network: the host answers for them there. */
TEST(routed)
{
	struct netns_stat s;
	struct lab_vps a, b;
	struct err e = { 0 };
	char from[64];
	int s4, s6, w4;

	if (!world)
		skip("no network namespace");
	lab_vps_init(&a, &host, 1, "mode=routed,ip=198.51.100.10,ip=2001:db8::10,parent=up0");
	lab_vps_init(
		&b, &host, 2,
		"mode=routed,ip=198.51.100.11/24,ip=2001:db8::11/64,gw=198.51.100.2,parent=up0");
	ok(up(&a), "a routed VPS");
	ok(up(&b), "another, told the outside's gateway");
	s4 = lab_bound(a.ns, SOCK_STREAM, "0.0.0.0", 80);
	s6 = lab_bound(a.ns, SOCK_STREAM, "::", 80);
	w4 = lab_bound(world, SOCK_STREAM, "0.0.0.0", 80);
	eq_int(lab_connect(world, "198.51.100.10", 80), 0, "reached from outside");
	eq_str(lab_accept(s4, from), "198.51.100.2", "by the client's own address");
	eq_int(lab_connect(world, "2001:db8::10", 80), 0, "by IPv6");
	eq_str(lab_accept(s6, from), "2001:db8::2", "by the client's own address");
	eq_int(lab_connect(a.ns, "198.51.100.2", 80), 0, "reaches the outside");
	eq_str(lab_accept(w4, from), "198.51.100.10", "by its own address");
	eq_int(lab_connect(b.ns, "198.51.100.2", 80), 0, "the other too");
	eq_str(lab_accept(w4, from), "198.51.100.11", "by its own address");
	eq_int(lab_connect(b.ns, "198.51.100.10", 80), 0, "each other");
	eq_int(lab_connect(b.ns, "2001:db8::10", 80), 0, "by IPv6");
	eq_int(lab_connect(home, "198.51.100.10", 80), 0, "the host to it");

	lab_run(a.ns, "ip addr add 198.51.100.77/32 dev eth0;"
		      "ip route change default dev eth0 via 10.20.0.1 src 198.51.100.77");
	eq_int(lab_connect_ms(a.ns, "198.51.100.2", 80, 300, NULL), -ETIMEDOUT,
	       "with a false address not");
	netns_vps_stat(&host, &a.v, &s, &e);
	ok(s.spoofed_packets > 0, "which is counted");
	ok(lab_run(-1, "ip neigh show proxy | grep -q 198.51.100.10") == 0,
	   "the host answers for it");
	close(s4), close(s6), close(w4);
	ok(down(&a) && down(&b), "down");
	ok(lab_run(-1, "ip neigh show proxy | grep -q 198.51") != 0, "it answers no longer");
	ok(lab_run(-1, "ip route | grep -q 198.51.100.1[01]") != 0, "no routes are left");
	ok(lab_run(-1, "nft list ruleset | grep -v \"ct count\" | grep -q 198.51") != 0, "no entries");
}

TEST(macvlan)
{
	struct lab_vps a;
	char from[64];
	int w4;

	if (!world)
		skip("no network namespace");
	lab_vps_init(&a, &host, 1,
		     "mode=macvlan,parent=up0,ip=198.51.100.12/24,gw=198.51.100.2,"
		     "ip=2001:db8::12/64,mac=02:00:00:00:12:12");
	ok(up(&a), "a macvlan VPS");
	w4 = lab_bound(world, SOCK_STREAM, "0.0.0.0", 80);
	eq_int(lab_connect(a.ns, "198.51.100.2", 80), 0, "reaches the outside");
	eq_str(lab_accept(w4, from), "198.51.100.12", "by its own address");
	ok(lab_run(a.ns, "ip link show eth0 | grep -q 02:00:00:00:12:12") == 0, "its MAC");
	ok(lab_run(a.ns, "ip route | grep -q 'default via 198.51.100.2'") == 0, "its gateway");
	close(w4);
	ok(down(&a), "down");
}

/* A bridge that the host has already, here with the outside as a port. */
TEST(bridge_of_the_host)
{
	struct lab_vps a, b;
	char from[64];
	int w4, out = lab_netns();

	if (!world)
		skip("no network namespace");
	lab_run(-1,
		"ip link add br9 type bridge; ip link set br9 up;"
		"ip link add p9 type veth peer name wan0 netns /proc/%d/fd/%d;"
		"ip link set p9 master br9 up",
		getpid(), out);
	lab_run(out, "ip addr add 192.0.2.1/24 dev wan0; ip link set wan0 up");
	lab_vps_init(&a, &host, 1, "parent=br9,ip=192.0.2.5/24,gw=192.0.2.1");
	lab_vps_init(&b, &host, 2, "parent=br9,ip=192.0.2.6/24,gw=192.0.2.1");
	ok(up(&a) && up(&b), "two VPSs on it");
	w4 = lab_bound(out, SOCK_STREAM, "0.0.0.0", 80);
	eq_int(lab_connect(a.ns, "192.0.2.1", 80), 0, "they reach what is on it");
	eq_str(lab_accept(w4, from), "192.0.2.5", "by their own addresses");
	eq_int(lab_connect(a.ns, "192.0.2.6", 80), -ECONNREFUSED, "and each other");
	lab_run(a.ns,
		"ip addr add 192.0.2.99/32 dev eth0; ip route change default via 192.0.2.1 src 192.0.2.99;"
		"ip route del 192.0.2.0/24; ip route add 192.0.2.1 dev eth0 src 192.0.2.99");
	eq_int(lab_connect_ms(a.ns, "192.0.2.1", 80, 300, NULL), -ETIMEDOUT,
	       "under a false one not");
	close(w4);
	ok(down(&a) && down(&b), "down");
	ok(lab_run(-1, "ip link show br9 >/dev/null") == 0, "the bridge stays");
	lab_run(-1, "ip link del br9; ip link del p9");
	close(out);
}

/* A public address on our own bridge, routed there by the provider. */
TEST(address_beyond_the_pool)
{
	struct lab_vps a;
	char from[64];
	int w4;

	if (!world)
		skip("no network namespace");
	lab_run(world, "ip route add 203.0.113.0/24 via 198.51.100.1");
	lab_vps_init(&a, &host, 1, "ip=203.0.113.7,ip=fd00:20::7/64");
	ok(up(&a), "a VPS with a public address");
	w4 = lab_bound(world, SOCK_STREAM, "0.0.0.0", 80);
	eq_int(lab_connect(a.ns, "198.51.100.2", 80), 0, "reaches the outside");
	eq_str(lab_accept(w4, from), "203.0.113.7", "by its own address");
	eq_int(lab_connect(world, "203.0.113.7", 81), -ECONNREFUSED, "is reached");
	close(w4);
	ok(down(&a), "down");
	ok(lab_run(-1, "ip route | grep -q 203.0.113") != 0, "no route is left");
}

TEST(two_interfaces)
{
	struct netns_stat s;
	struct lab_vps a;
	struct err e = { 0 };

	if (!world)
		skip("no network namespace");
	lab_vps_init(&a, &host, 1, "ip=10.20.0.5/24,ip=fd00:20::5/64");
	netns_if_parse("name=lan,mode=routed,ip=198.51.100.13", &a.ifs[1], &e);
	a.v.if_count = 2;
	ok(netns_vps_check(&host, &a.v, &e) == 0, "checked %s", e.msg);
	ok(up(&a), "up");
	ok(lab_run(a.ns, "ip -o addr show lan | grep -q 198.51.100.13/32") == 0,
	   "the second's address");
	ok(lab_run(a.ns, "[ $(ip route show default | wc -l) = 1 ]") == 0, "one default route");
	ok(lab_run(a.ns, "ip route show default | grep -q 'dev eth0'") == 0, "by the first");
	eq_int(lab_connect(home, "198.51.100.13", 9), -ECONNREFUSED, "both are");
	eq_int(lab_connect(home, "10.20.0.5", 9), -ECONNREFUSED, "reached");
	lab_run(world, "ip route add 198.51.100.13 via 198.51.100.1");
	eq_int(lab_connect(world, "198.51.100.13", 9), -ECONNREFUSED, "the second from outside");
	netns_vps_stat(&host, &a.v, &s, &e);
	eq_int(s.spoofed_packets, 0, "each answers by its own");
	snprintf(a.ifs[0].parent, sizeof(a.ifs[0].parent), "nosuch");
	lab_run(-1, "ip route del 198.51.100.13");
	ok(netns_vps_attach(&host, &a.v, &e) < 0, "attached again, the parent of the first being gone");
	ok(strstr(e.msg, "nosuch") != NULL, "which is said: %s", e.msg);
	eq_int(lab_connect(home, "198.51.100.13", 9), -ECONNREFUSED, "the second is attached");
	*a.ifs[0].parent = '\0';
	ok(down(&a), "down");
}

TEST(no_interfaces)
{
	struct lab_vps a;

	if (!world)
		skip("no network namespace");
	lab_vps_init(&a, &host, 1, "none");
	ok(up(&a), "none: up");
	ok(lab_run(a.ns, "[ $(ip -o link | wc -l) = 1 ]") == 0, "loopback only");
	ok(down(&a), "down");
}

static void refused(const char *net, const char *want)
{
	struct lab_vps a;
	struct err e = { 0 };
	int r;

	lab_vps_init(&a, &host, 1, net);
	r = netns_vps_up(&host, &a.v, a.ns, &e);
	ok(r < 0 && strstr(e.msg, want), "%s: %s", net, e.msg);
	ok(lab_run(-1, "ip -o link | grep -q vps-test.web1") != 0, "no link is left");
	ok(lab_run(-1, "nft list ruleset | grep -qe 10.20.0.5 -e 198.51.100.14") != 0, "no entry");
	close(a.ns);
}

TEST(refused)
{
	struct lab_vps b;

	if (!world)
		skip("no network namespace");
	refused("mode=macvlan,parent=nope0,ip=10.20.0.5/24", "parent=nope0");
	refused("parent=nope0,ip=10.20.0.5/24", "parent=nope0");
	refused("mode=routed,parent=nope0,ip=198.51.100.14", "parent=nope0");
	refused("parent=up0,ip=10.20.0.5/24", "");
	lab_vps_init(&b, &host, 2, "mode=routed,ip=198.51.100.14");
	ok(up(&b), "an address taken by a routed VPS");
	{
		struct lab_vps a;
		struct err e = { 0 };

		lab_vps_init(&a, &host, 1, "mode=routed,ip=198.51.100.14");
		ok(netns_vps_up(&host, &a.v, a.ns, &e) < 0, "is not given to another: %s", e.msg);
		close(a.ns);
	}
	down(&b);
}

TEST(host_refused)
{
	struct netns_host other;
	struct err e = { 0 };

	if (!world)
		skip("no network namespace");
	netns_host_init(&other, "vps-o", "198.51.100.0/25", "none", &e);
	eq_int(netns_host_up(&other, NULL, 0, &e) < 0 ? e.code : 0, ERR_USAGE, "overlap: %s",
	       e.msg);
	ok(strstr(e.msg, "198.51.100.0/24"), "names the route");
	netns_host_init(&other, "vps-o", "10.20.0.0/22", "none", &e);
	eq_int(netns_host_up(&other, NULL, 0, &e) < 0 ? e.code : 0, ERR_USAGE, "overlap: %s",
	       e.msg);
	netns_host_init(&other, "vps-o", "10.99.0.0/22", "none", &e);
	lab_run(-1, "ip link add vps-o-br type ifb");
	eq_int(netns_host_up(&other, NULL, 0, &e) < 0 ? e.code : 0, ERR_EXISTS, "name taken: %s",
	       e.msg);
	ok(netns_host_down(&other, &e) == 0, "down");
	ok(lab_run(-1, "ip link show vps-o-br >/dev/null") == 0, "leaves it alone");
	lab_run(-1, "ip link del vps-o-br; ip link add vps-o-br type bridge");
	eq_int(netns_host_up(&other, NULL, 0, &e) < 0 ? e.code : 0, ERR_EXISTS, "a bridge: %s",
	       e.msg);
	lab_run(-1, "ip link del vps-o-br");
	ok(netns_host_up(&other, NULL, 0, &e) == 0, "up beside the first %s", e.msg);
	ok(netns_host_down(&other, &e) == 0, "down %s", e.msg);
}

/* VPSs of two state roots on one machine. */
TEST(two_roots)
{
	struct lab_vps a, b;
	struct netns_host other;
	struct err e = { 0 };
	int s4;

	if (!world)
		skip("no network namespace");
	netns_host_init(&other, "vps-o", "10.99.0.0/22", "fd00:99::/64", &e);
	ok(netns_host_up(&other, NULL, 0, &e) == 0, "another root %s", e.msg);
	lab_vps_init(&a, &host, 1, "ip=10.20.0.5/24");
	lab_vps_init(&b, &other, 1, "ip=10.99.0.5/22");
	ok(up(&a) && netns_vps_up(&other, &b.v, b.ns, &e) == 0, "a VPS of the same uuid on each %s",
	   e.msg);
	s4 = lab_bound(b.ns, SOCK_STREAM, "0.0.0.0", 80);
	ok(lab_connect(a.ns, "10.99.0.5", 80) == -ECONNREFUSED, "do not reach each other");
	ok(lab_connect(home, "10.99.0.5", 80) == 0, "though it listens");
	close(s4);
	ok(netns_vps_down(&other, &b.v, &e) == 0 && netns_host_down(&other, &e) == 0, "down %s",
	   e.msg);
	eq_int(lab_connect(home, "10.20.0.5", 80), -ECONNREFUSED, "the first root goes on");
	down(&a);
}

TEST(host_down)
{
	struct err e = { 0 };

	if (!world)
		skip("no network namespace");
	ok(netns_host_down(&host, &e) == 0, "down %s", e.msg);
	ok(lab_run(-1, "[ -z \"$(nft list ruleset)\" ]") == 0, "no rules are left");
	ok(lab_run(-1, "ip -o link | grep -vq -e lo: -e up0@") != 0, "no links");
}

TEST(probes)
{
	struct err e = { 0 };

	if (!world)
		skip("no network namespace");
	for (int i = NETNS_PROBE_BRIDGE; i <= NETNS_PROBE_MACVLAN; i++)
		ok(netns_probe((enum netns_probe)i, &e) == 0, "what the tests use is there: %s",
		   e.msg);
	ok(lab_run(-1, "ip -o link | grep -vq -e lo: -e up0@") != 0, "the host is as before");
}
