/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "tests/unit/tap.h"

#include "tests/unit/netns_lab.h"

/* VPSs on the bridge: each other, the world, the host; who may what; what is left behind. The tests
 * build on each other: "up" first, "down" last. */

static struct netns_host host;
static struct lab_vps a, b;
static int world, home;

static bool up(struct lab_vps *t)
{
	struct err e = { 0 };
	int r = netns_vps_up(&host, &t->v, t->ns, &e);

	if (r < 0)
		diag("%s: %s", t->v.name, e.msg);
	return r == 0;
}

static struct netns_stat stat_of(struct lab_vps *t)
{
	struct netns_stat s;
	struct err e = { 0 };

	if (netns_vps_stat(&host, &t->v, &s, &e) < 0)
		diag("%s", e.msg);
	return s;
}

/* From one description of what may change to another and back. */
static bool change(struct lab_vps *t, const struct netns_vps *to)
{
	struct err e = { 0 };
	int r = netns_vps_change(&host, &t->v, to, -EBADF, &e);

	if (r < 0)
		diag("%s", e.msg);
	t->v = *to;
	return r == 0;
}

TEST(up)
{
	struct err e = { 0 };

	if (!lab_host())
		skip("no network namespace: needs CAP_SYS_ADMIN");
	home = lab_open();
	world = lab_world();
	ok(netns_host_init(&host, "vps-test", "10.20.0.0/24", "fd00:20::/64", &e) == 0, "host");
	ok(netns_rules_are_up(&host, &e) == 0, "no rules yet");
	ok(netns_host_up(&host, NULL, 0, &e) == 0, "the host is set up %s", e.msg);
	ok(netns_rules_are_up(&host, &e) == 1, "the rules are up");
	ok(netns_host_up(&host, NULL, 0, &e) == 0, "a second time does no harm %s", e.msg);
	lab_vps_init(&a, &host, 1, "ip=10.20.0.5/24,ip=fd00:20::5/64");
	lab_vps_init(&b, &host, 2, "ip=10.20.0.6/24,ip=fd00:20::6/64");
	ok(up(&a), "the first VPS");
	ok(up(&b), "the second");
	ok(up(&b), "the second again, over what is there");
	lab_run(-1, "[ -z \"$LAB_SHOW\" ] || { ip -d a; nft list ruleset; }");
	lab_run(a.ns, "[ -z \"$LAB_SHOW\" ] || { ip -d a; ip r; ip -6 r; }");
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

/* A tenant whose own tools give it the whole network as on its link (the form that DHCP and
 * ifupdown know) asks for its neighbours by ARP; the host answers. */
TEST(neighbour_believed_on_link)
{
	cleanup_close int s4 = lab_bound(b.ns, SOCK_STREAM, "0.0.0.0", 80);

	lab_run(a.ns, "ip route add 10.20.0.0/24 dev eth0");
	eq_int(lab_connect(a.ns, "10.20.0.6", 80), 0, "still reached");
	lab_run(a.ns, "ip route del 10.20.0.0/24 dev eth0");
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

TEST(not_from_the_world)
{
	cleanup_close int s4 = lab_bound(b.ns, SOCK_STREAM, "0.0.0.0", 80);
	uint64_t before = stat_of(&b).refused_packets;

	lab_run(world, "ip route add 10.20.0.0/24 via 198.51.100.1");
	ok(lab_connect(world, "10.20.0.6", 80) < 0, "a pool's address is not reached from outside");
	ok(stat_of(&b).refused_packets > before, "and that is counted");
}

TEST(host_services)
{
	cleanup_close int h4 = lab_bound(home, SOCK_STREAM, "0.0.0.0", 22);
	cleanup_close int h6 = lab_bound(home, SOCK_STREAM, "::", 22);
	struct netns_vps v = a.v, old = a.v;
	struct netns_stat before;
	struct netns_allow ssh, other, all;
	struct err e = { 0 };

	eq_int(lab_connect(a.ns, "10.20.0.1", 22), 0, "free to");
	v.isolate = true;
	ok(change(&a, &v), "isolate");
	before = stat_of(&a);
	ok(lab_connect(a.ns, "10.20.0.1", 22) < 0, "by the gateway's address: refused");
	ok(lab_connect(a.ns, "198.51.100.1", 22) < 0, "by another of the host's: refused");
	ok(lab_connect(a.ns, "fd00:20::1", 22) < 0, "by IPv6: refused");
	ok(stat_of(&a).refused_packets >= before.refused_packets + 3, "all counted");
	netns_allow_parse("host:22/tcp", &ssh, &e);
	v.allow = &ssh;
	v.allow_count = 1;
	ok(change(&a, &v), "allow 22/tcp");
	eq_int(lab_connect(a.ns, "10.20.0.1", 22), 0, "reached");
	eq_int(lab_connect(a.ns, "fd00:20::1", 22), 0, "by IPv6");
	netns_allow_parse("host:23", &other, &e);
	v.allow = &other;
	ok(change(&a, &v) && lab_connect(a.ns, "10.20.0.1", 22) < 0, "not with another port");
	netns_allow_parse("host", &all, &e);
	v.allow = &all;
	ok(change(&a, &v), "allow host");
	eq_int(lab_connect(a.ns, "198.51.100.1", 22), 0, "all of it");
	ok(change(&a, &old), "and back");
	eq_int(lab_connect(home, "10.20.0.5", 81), -ECONNREFUSED, "the host reaches the VPS");
}

TEST(dns_of_the_gateway)
{
	cleanup_close int t4 = lab_bound(home, SOCK_STREAM, "10.20.0.1", 53);
	cleanup_close int u6 = lab_bound(home, SOCK_DGRAM, "fd00:20::1", 53);
	const struct netns_vps *all[] = { &a.v, &b.v };
	struct netns_vps v = a.v, old = a.v;
	struct err e = { 0 };

	v.isolate = true;
	ok(change(&a, &v), "isolate");
	eq_int(lab_connect(a.ns, "10.20.0.1", 53), -ECONNREFUSED, "a service like others");
	host.dns = true;
	ok(netns_rules_replace(&host, all, 2, &e) == 0, "ours answers there %s", e.msg);
	eq_int(lab_connect(a.ns, "10.20.0.1", 53), 0, "everybody may ask");
	eq_int(lab_udp(a.ns, "fd00:20::1", 53, u6), 0, "by UDP and IPv6");
	eq_int(lab_connect(a.ns, "198.51.100.1", 53), -ECONNREFUSED, "not at other addresses");
	ok(change(&a, &old), "and back");
}

TEST(loopback_of_the_host)
{
	cleanup_close int h4 = lab_bound(home, SOCK_STREAM, "127.0.0.1", 99);

	/* The bridge has route_localnet; a hostile VPS sends for 127.0.0.1 to the gateway's MAC. */
	lab_run(a.ns, "ip rule add pref 1 lookup 7; ip rule add pref 2 lookup local;"
		      "ip rule del pref 0; ip route add 127.0.0.1 via 10.20.0.1 table 7;"
		      "echo 1 >/proc/sys/net/ipv4/conf/all/route_localnet");
	ok(lab_connect_ms(a.ns, "127.0.0.1", 99, 500, NULL) == -ETIMEDOUT, "is out of reach");
	lab_run(a.ns, "ip rule add pref 0 lookup local; ip rule del pref 2; ip rule del pref 1;"
		      "echo 0 >/proc/sys/net/ipv4/conf/all/route_localnet");
}

TEST(published_ports)
{
	cleanup_close int s4 = lab_bound(b.ns, SOCK_STREAM, "0.0.0.0", 80);
	cleanup_close int s6 = lab_bound(b.ns, SOCK_STREAM, "::", 80);
	cleanup_close int u4 = lab_bound(b.ns, SOCK_DGRAM, "0.0.0.0", 53);
	struct netns_publish p[3];
	struct netns_vps v = b.v, old = b.v;
	struct err e = { 0 };
	char from[64];

	netns_publish_parse("8080:80", &p[0], &e);
	netns_publish_parse("5353:53/udp", &p[1], &e);
	netns_publish_parse("198.51.100.1:81:80/tcp", &p[2], &e);
	v.publish = p;
	v.publish_count = 3;
	ok(lab_connect(world, "198.51.100.1", 8080) == -ECONNREFUSED, "not there before");
	ok(change(&b, &v), "publish 8080:80 and others");
	eq_int(lab_connect(world, "198.51.100.1", 8080), 0, "from outside");
	eq_str(lab_accept(s4, from), "198.51.100.2", "the client's own address is seen");
	eq_int(lab_connect(world, "2001:db8::1", 8080), 0, "from outside by IPv6");
	eq_str(lab_accept(s6, from), "2001:db8::2", "the client's own address is seen");
	eq_int(lab_udp(world, "198.51.100.1", 5353, u4), 0, "UDP and back");
	eq_int(lab_connect(home, "198.51.100.1", 8080), 0, "from the host itself");
	lab_accept(s4, from);
	eq_int(lab_connect(home, "127.0.0.1", 8080), 0, "from the host's loopback");
	eq_str(lab_accept(s4, from), "10.20.0.1", "as the gateway");
	eq_int(lab_connect(a.ns, "198.51.100.1", 8080), 0, "from another VPS");
	eq_str(lab_accept(s4, from), "10.20.0.5", "with its address");
	eq_int(lab_connect(b.ns, "198.51.100.1", 8080), 0, "from the VPS itself");
	lab_accept(s4, from);
	eq_int(lab_connect(world, "198.51.100.1", 81), 0, "on one address of the host");
	ok(lab_connect(home, "10.20.0.1", 81) == -ECONNREFUSED, "and not on another");
	ok(change(&b, &old), "and back");
	ok(lab_connect(world, "198.51.100.1", 8080) == -ECONNREFUSED, "gone");
}

TEST(port_taken_by_another_vps)
{
	struct netns_publish p;
	struct netns_vps va = a.v, vb = b.v, olda = a.v;
	struct err e = { 0 };

	netns_publish_parse("8080:80", &p, &e);
	va.publish = vb.publish = &p;
	va.publish_count = vb.publish_count = 1;
	ok(change(&a, &va), "the first has the port");
	ok(netns_vps_change(&host, &b.v, &vb, -EBADF, &e) < 0, "the second is refused: %s", e.msg);
	eq_int(e.code, ERR_EXISTS, "as taken");
	ok(change(&a, &olda), "and back");
}

TEST(isolation)
{
	cleanup_close int s4 = lab_bound(b.ns, SOCK_STREAM, "0.0.0.0", 80);
	cleanup_close int s6 = lab_bound(b.ns, SOCK_STREAM, "::", 80);
	cleanup_close int a4 = lab_bound(a.ns, SOCK_STREAM, "0.0.0.0", 80);
	cleanup_close int w4 = lab_bound(world, SOCK_STREAM, "0.0.0.0", 80);
	struct netns_vps v = b.v, old = b.v;
	struct netns_allow allow[2];
	struct err e = { 0 };
	uint64_t refused;

	v.isolate = true;
	ok(change(&b, &v), "isolate");
	ok(lab_connect(b.ns, "10.20.0.5", 80) < 0, "reaches no other VPS");
	ok(lab_connect(b.ns, "fd00:20::5", 80) == -ECONNREFUSED, "by IPv6 neither, and is told");
	eq_int(lab_connect(a.ns, "10.20.0.6", 80), 0, "is reached by one that is free");
	eq_int(lab_connect(b.ns, "198.51.100.2", 80), 0, "reaches the world");
	eq_int(lab_connect(home, "10.20.0.6", 80), 0, "is reached by the host");
	netns_allow_parse("10.20.0.0/24:80/tcp", &allow[0], &e);
	netns_allow_parse("10.20.0.5:81", &allow[1], &e);
	v.allow = allow;
	v.allow_count = 2;
	ok(change(&b, &v), "allow two ports");
	eq_int(lab_connect(b.ns, "10.20.0.5", 80), 0, "one is reached");
	eq_int(lab_connect(b.ns, "10.20.0.5", 81), -ECONNREFUSED, "the other");
	refused = stat_of(&b).refused_packets;
	eq_int(lab_connect(b.ns, "10.20.0.5", 82), -ECONNREFUSED, "no third");
	eq_int(stat_of(&b).refused_packets, refused + 1,
	       "that is refused by the host, and counted");
	ok(change(&b, &old), "and back");
	ok(lab_connect(b.ns, "10.20.0.5", 82) == -ECONNREFUSED, "free again");
}

TEST(firewall)
{
	cleanup_close int s80 = lab_bound(b.ns, SOCK_STREAM, "0.0.0.0", 80);
	cleanup_close int s81 = lab_bound(b.ns, SOCK_STREAM, "0.0.0.0", 81);
	cleanup_close int s6 = lab_bound(b.ns, SOCK_STREAM, "::", 80);
	cleanup_close int w4 = lab_bound(world, SOCK_STREAM, "0.0.0.0", 80);
	static const char *const text[] = {
		"deny 80/tcp from 10.20.0.5",
		"allow 80/tcp",
		"allow 8000-8099",
		"deny from 10.20.0.0/24",
	};
	struct netns_rule rule[ARRAY_SIZE(text)];
	struct netns_vps v = b.v, old = b.v;
	struct err e = { 0 };

	for (size_t i = 0; i < ARRAY_SIZE(text); i++)
		netns_rule_parse(text[i], &rule[i], &e);
	v.rules = rule + 1;
	v.rule_count = 1;
	v.closed = true;
	ok(change(&b, &v), "closed but for port 80");
	eq_int(lab_connect(a.ns, "10.20.0.6", 80), 0, "80 is open");
	eq_int(lab_connect(a.ns, "fd00:20::6", 80), 0, "80 is open by IPv6");
	eq_int(lab_connect(a.ns, "10.20.0.6", 81), -ECONNREFUSED, "81 is not, and the client told");
	eq_int(lab_connect(b.ns, "198.51.100.2", 80), 0, "its own connections are answered");
	v.rules = rule;
	v.rule_count = ARRAY_SIZE(text);
	ok(change(&b, &v), "four rules");
	ok(lab_connect(a.ns, "10.20.0.6", 80) < 0, "the first that matches wins");
	eq_int(lab_connect(a.ns, "fd00:20::6", 80), 0, "for whom it does not match, the next");
	ok(change(&b, &old), "and back");
	eq_int(lab_connect(a.ns, "10.20.0.6", 81), 0, "81 is open");
}

/* Another program's bridges may need it: then ours has to live with it. */
TEST(with_br_netfilter)
{
	cleanup_close int s4 = lab_bound(b.ns, SOCK_STREAM, "0.0.0.0", 80);
	cleanup_close int a4 = lab_bound(a.ns, SOCK_STREAM, "0.0.0.0", 80);
	cleanup_close int w4 = lab_bound(world, SOCK_STREAM, "0.0.0.0", 80);
	struct netns_publish p;
	struct netns_vps v = b.v, old = b.v;
	struct err e = { 0 };
	char from[64];

	if (access("/proc/sys/net/bridge/bridge-nf-call-iptables", F_OK) < 0)
		skip("no br_netfilter in this kernel");
	ok(lab_run(-1, "grep -q 0 /proc/sys/net/bridge/bridge-nf-call-iptables") == 0,
	   "it was turned off, no other bridge being there");
	lab_run(-1, "echo 1 >/proc/sys/net/bridge/bridge-nf-call-iptables;"
		    "echo 1 >/proc/sys/net/bridge/bridge-nf-call-ip6tables");
	netns_publish_parse("8080:80", &p, &e);
	v.publish = &p;
	v.publish_count = 1;
	v.isolate = true;
	ok(change(&b, &v), "published and isolated");
	eq_int(lab_connect(world, "198.51.100.1", 8080), 0, "reached from outside");
	eq_str(lab_accept(s4, from), "198.51.100.2", "by the client's own address");
	eq_int(lab_connect(home, "127.0.0.1", 8080), 0, "from the host");
	eq_int(lab_connect(b.ns, "198.51.100.2", 80), 0, "reaches the outside");
	eq_str(lab_accept(w4, from), "198.51.100.1", "by the host's address");
	eq_int(lab_connect(a.ns, "10.20.0.6", 80), 0, "a free one reaches it");
	eq_int(lab_connect(b.ns, "10.20.0.5", 80), -ECONNREFUSED, "it reaches nobody");
	ok(change(&b, &old), "and back");
	lab_run(-1, "echo 0 >/proc/sys/net/bridge/bridge-nf-call-iptables;"
		    "echo 0 >/proc/sys/net/bridge/bridge-nf-call-ip6tables");
}

/* The host's table of connections is shared: none may fill it. */
TEST(connections_of_one)
{
	cleanup_close int s4 = lab_bound(b.ns, SOCK_STREAM, "0.0.0.0", 80);
	cleanup_close int w4 = lab_bound(world, SOCK_STREAM, "0.0.0.0", 80);
	const struct netns_vps *all[] = { &a.v, &b.v };
	unsigned out = 0, in = 0;
	int fd[8];
	uint64_t refused;
	struct err e = { 0 };

	eq_int(lab_connect(a.ns, "198.51.100.2", 80), 0, "one is let out");
	ok(lab_run(-1, "nft list set inet vps-test busy4 | grep -q \"10.20.0.5 ct count over "
		       "$(($(cat /proc/sys/net/netfilter/nf_conntrack_max) / 4))\"") == 0,
	   "a quarter of it for one address");
	host.connections = 5;
	ok(netns_rules_replace(&host, all, 2, &e) == 0, "five for one %s", e.msg);
	refused = stat_of(&a).refused_packets;
	while (out < 8 && lab_connect_ms(a.ns, "198.51.100.2", 80, 1000, &fd[out]) == 0)
		out++;
	eq_int(out, 5, "five go out");
	ok(stat_of(&a).refused_packets > refused, "the sixth is refused and counted");
	eq_int(lab_connect(b.ns, "198.51.100.2", 80), 0, "another VPS is not concerned");
	while (out > 0)
		close(fd[--out]);
	while (in < 8 && lab_connect_ms(home, "10.20.0.6", 80, 1000, &fd[in]) == 0)
		in++;
	eq_int(in, 8, "what the host itself opens is not limited");
	while (in > 0)
		close(fd[--in]);
	host.connections = 0;
	ok(netns_rules_replace(&host, all, 2, &e) == 0, "as before %s", e.msg);
	eq_int(lab_connect(a.ns, "10.20.0.6", 80), 0, "none is refused");
}

TEST(mended)
{
	cleanup_close int s4 = lab_bound(b.ns, SOCK_STREAM, "0.0.0.0", 80);
	const struct netns_vps *all[] = { &a.v, &b.v };
	struct netns_vps v = b.v, old = b.v;
	struct netns_publish publish;
	struct netns_allow allow;
	struct netns_rule rule;
	struct err e = { 0 };
	struct netns_watch *w;
	uint64_t refused;
	struct pollfd p;

	ok(netns_watch_open(&host, &w, &e) == 0, "a watch %s", e.msg);
	p = (struct pollfd){ .fd = netns_watch_fd(w), .events = POLLIN };
	refused = stat_of(&b).refused_packets;
	ok(netns_rules_replace(&host, all, 2, &e) == 0, "rules replaced %s", e.msg);
	ok(refused > 0 && stat_of(&b).refused_packets == refused, "counts go on from %" PRIu64,
	   refused);
	eq_int(lab_connect(a.ns, "10.20.0.6", 80), 0, "as before");
	eq_int(netns_watch_read(w, &e), 0, "our own change loses nothing");
	ok(poll(&p, 1, 0) == 0, "nothing more to read");

	lab_run(-1,
		"nft add table inet foreign; nft add chain inet foreign x; nft delete table inet foreign");
	eq_int(netns_watch_read(w, &e), 0, "others' tables are no matter");
	lab_run(-1, "nft flush ruleset");
	ok(poll(&p, 1, 2000) == 1, "a flush wakes the watch");
	eq_int(netns_watch_read(w, &e), NETNS_LOST_RULES, "rules lost");
	ok(netns_vps_change(&host, &a.v, &a.v, -EBADF, &e) == -ENOENT, "a change meanwhile fails: %s",
	   e.msg);
	ok(netns_rules_replace(&host, all, 2, &e) == 0, "mended %s", e.msg);
	eq_int(netns_watch_read(w, &e), 0, "nothing lost");
	eq_int(netns_rules_are_up(&host, &e), 1, "the rules are up");

	netns_rule_parse("deny 80-90 from 192.0.2.0/25", &rule, &e);
	netns_publish_parse("[2001:db8::1]:8080:80/udp", &publish, &e);
	netns_allow_parse("[fd00::/9]:443", &allow, &e);
	v.rules = &rule;
	v.publish = &publish;
	v.allow = &allow;
	v.rule_count = v.publish_count = v.allow_count = 1;
	v.closed = v.isolate = true;
	ok(change(&b, &v), "entries of all kinds");
	ok(lab_run(-1, "nft list ruleset >/tmp/netns.$PPID.nft && nft flush ruleset &&"
		       "nft -f /tmp/netns.$PPID.nft; r=$?; rm /tmp/netns.$PPID.nft; exit $r") == 0,
	   "nft can save and load rules with ours among them");
	eq_int(netns_watch_read(w, &e), NETNS_LOST_RULES, "saved rules loaded again are not ours");
	b.v = old;
	ok(netns_rules_replace(&host, all, 2, &e) == 0, "mended %s", e.msg);

	lab_run(-1, "nft delete table bridge vps-test");
	eq_int(netns_watch_read(w, &e), NETNS_LOST_RULES, "one of the two tables lost");
	ok(netns_rules_replace(&host, all, 2, &e) == 0, "mended %s", e.msg);
	lab_run(-1, "nft flush chain inet vps-test to4");
	eq_int(netns_watch_read(w, &e), NETNS_LOST_RULES, "a chain's rules lost");
	ok(netns_rules_replace(&host, all, 2, &e) == 0, "mended %s", e.msg);

	lab_run(-1, "ip link delete vps-test-br");
	eq_int(netns_watch_read(w, &e), NETNS_LOST_BRIDGE, "the bridge lost");
	ok(lab_connect_ms(a.ns, "10.20.0.6", 80, 200, NULL) < 0, "no way");
	ok(netns_host_up(&host, all, 2, &e) == 0, "the bridge is back %s", e.msg);
	ok(netns_vps_attach(&host, &a.v, &e) == 0 && netns_vps_attach(&host, &b.v, &e) == 0,
	   "VPSs attached %s", e.msg);
	eq_int(lab_connect(a.ns, "10.20.0.6", 80), 0, "as before");
	lab_run(-1, "ip link set vps-test-br down");
	eq_int(netns_watch_read(w, &e), NETNS_LOST_BRIDGE, "the bridge down");
	ok(netns_host_up(&host, all, 2, &e) == 0, "mended %s", e.msg);
	eq_int(lab_connect(a.ns, "10.20.0.6", 80), 0, "as before");
	eq_int(netns_watch_read(w, &e), 0, "nothing lost");
	netns_watch_close(w);
}

TEST(counts)
{
	struct netns_stat s = stat_of(&a);

	ok(s.rx_bytes > 1000 && s.tx_bytes > 1000, "bytes both ways");
	ok(s.rx_packets > 10 && s.tx_packets > 10, "packets both ways");
	eq_int(s.spoofed_packets, 0, "nothing false was sent");
}

TEST(own_nftables_inside)
{
	cleanup_close int s4 = lab_bound(b.ns, SOCK_STREAM, "0.0.0.0", 80);

	if (lab_run(b.ns,
		    "nft -f - <<X\n"
		    "table inet mine {\n chain in {\n type filter hook input priority 0; policy drop;\n"
		    " ct state established,related accept\n tcp dport 80 ct state new accept\n }\n}\nX"))
		skip("no nft program");
	eq_int(lab_connect(a.ns, "10.20.0.6", 80), 0,
	       "a firewall with conntrack inside lets through");
	ok(lab_connect_ms(a.ns, "10.20.0.6", 81, 200, NULL) == -ETIMEDOUT, "and drops");
	lab_run(b.ns, "nft flush ruleset");
}

TEST(pruned)
{
	const char *keep[] = { a.v.uuid };
	struct lab_vps c;
	struct err e = { 0 };

	lab_vps_init(&c, &host, 3, "ip=10.20.0.7/24,rate=1MiB/s");
	ok(up(&c), "a third VPS");
	eq_int(netns_vps_down(&host, &b.v, &e), 0, "the second down %s", e.msg);
	eq_int(netns_prune(&host, keep, 1, &e), 2, "the third's link and its ifb are left over %s",
	       e.msg);
	eq_int(netns_prune(&host, keep, 1, &e), 0, "none is left");
	ok(netns_vps_down(&host, &c.v, &e) == 0, "its entries too %s", e.msg);
	close(c.ns);
}

TEST(down)
{
	struct err e = { 0 };

	eq_int(netns_vps_leave(&host, &a.v, &e), 0, "down %s", e.msg);
	eq_int(netns_vps_leave(&host, &a.v, &e), 0, "twice %s", e.msg);
	ok(lab_run(-1, "nft list table inet vps-test | grep -v \"ct count\" | grep -q 10.20.0.5") != 0,
	   "no entries are left");
	ok(lab_run(-1, "nft list table bridge vps-test | grep -q elements") != 0, "none at all");
	ok(lab_run(-1, "ip neigh show dev vps-test-br | grep -q PERMANENT") != 0, "no neighbours");
	ok(lab_run(-1, "ip -6 neigh show dev vps-test-br | grep -q PERMANENT") != 0,
	   "of IPv6 neither");
	eq_int(netns_host_down(&host, &e), 0, "the host down %s", e.msg);
	eq_int(netns_host_down(&host, &e), 0, "twice %s", e.msg);
	ok(lab_run(-1, "[ -z \"$(nft list ruleset)\" ]") == 0, "no rules are left");
	ok(lab_run(-1, "ip -o link | grep -vq -e lo: -e up0@") != 0, "no links");
	eq_int(netns_vps_down(&host, &a.v, &e), 0, "a VPS down without tables %s", e.msg);
}
