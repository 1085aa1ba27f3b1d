/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "tests/unit/tap.h"

#include "tests/unit/netns_lab.h"

static struct netns_host host;
static struct lab_vps a, b;
static int world;

static bool up(struct lab_vps *t)
{
	struct err e = { 0 };
	int r = netns_vps_up(&host, &t->v, t->ns, &e);

	if (r < 0)
		diag("%s: %s", t->v.name, e.msg);
	return r == 0;
}

TEST(up)
{
	struct err e = { 0 };

	if (!lab_host())
		skip("no network namespace: needs CAP_SYS_ADMIN");
	world = lab_world();
	ok(netns_host_init(&host, "vps-test", "10.20.0.0/24", "fd00:20::/64", &e) == 0, "host: %s", e.msg);
	ok(netns_rules_are_up(&host, &e) == 0, "no rules yet");
	ok(netns_host_up(&host, NULL, 0, &e) == 0, "the host is set up: %s", e.msg);
	ok(netns_rules_are_up(&host, &e) == 1, "the rules are up");
	ok(netns_host_up(&host, NULL, 0, &e) == 0, "a second time does no harm: %s", e.msg);
	lab_vps_init(&a, &host, 1, "ip=10.20.0.5/24,ip=fd00:20::5/64");
	lab_vps_init(&b, &host, 2, "ip=10.20.0.6/24,ip=fd00:20::6/64");
	ok(up(&a), "the first VPS");
	ok(up(&b), "the second");
	lab_run(-1, "[ -z \"$LAB_SHOW\" ] || { ip -d a; nft list ruleset; }");
	lab_run(a.ns, "[ -z \"$LAB_SHOW\" ] || { ip -d a; ip r; ip -6 r; ping -c1 -W1 10.20.0.1; ping -c1 -W1 fd00:20::1; }");
}

TEST(between_vpss)
{
	cleanup_close int s4 = lab_bound(b.ns, SOCK_STREAM, "0.0.0.0", 80);
	cleanup_close int s6 = lab_bound(b.ns, SOCK_STREAM, "::", 80);
	cleanup_close int u4 = lab_bound(b.ns, SOCK_DGRAM, "0.0.0.0", 53);
	char from[64];

	eq_int(lab_connect(a.ns, "10.20.0.6", 80), 0, "TCP over IPv4");
	eq_str(lab_accept(s4, from), "10.20.0.5", "from its own address");
	eq_int(lab_connect(a.ns, "fd00:20::6", 80), 0, "TCP over IPv6");
	eq_str(lab_accept(s6, from), "fd00:20::5", "from its own address");
	eq_int(lab_udp(a.ns, "10.20.0.6", 53, u4), 0, "UDP and back");
	eq_int(lab_connect(a.ns, "10.20.0.6", 81), -ECONNREFUSED, "a closed port says so");
}

TEST(to_the_world)
{
	cleanup_close int s4 = lab_bound(world, SOCK_STREAM, "0.0.0.0", 80);
	cleanup_close int s6 = lab_bound(world, SOCK_STREAM, "::", 80);
	char from[64];

	eq_int(lab_connect(a.ns, "198.51.100.2", 80), 0, "IPv4");
	eq_str(lab_accept(s4, from), "198.51.100.1", "with the host's address");
	eq_int(lab_connect(a.ns, "2001:db8::2", 80), 0, "IPv6");
	eq_str(lab_accept(s6, from), "2001:db8::1", "with the host's address");
}
