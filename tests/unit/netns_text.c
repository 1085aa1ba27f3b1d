/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "tests/unit/tap.h"

#include "base/macro.h"
#include "netns/internal.h"

/* What is said about the network, as text: parsed, formatted, refused; the pool. */

TEST(interfaces)
{
	static const struct {
		const char *text, *again;
	} good[] = {
		{ "ip=10.20.0.5/24", "name=eth0,mode=bridge,ip=10.20.0.5/24" },
		{ "mode=bridge", "name=eth0,mode=bridge" },
		{ "ip=none", "name=eth0,mode=bridge,ip=none" },
		{ "none", "none" },
		{ "host", "host" },
		{ "mode=none", "none" },
		{ "name=lan,mode=routed,ip=192.0.2.7", "name=lan,mode=routed,ip=192.0.2.7/32" },
		{ "ip=fd00::5/64,ip=10.0.0.5/8,gw=10.0.0.1,gw=fd00::1,"
		  "mac=02:00:00:ab:CD:ef,rate=10MiB/s,mtu=1400",
		  "name=eth0,mode=bridge,ip=fd00::5/64,ip=10.0.0.5/8,gw=10.0.0.1,gw=fd00::1,"
		  "mac=02:00:00:ab:cd:ef,rate=10M/s,mtu=1400" },
		{ "rate-in=1M,rate-out=2M/s", "name=eth0,mode=bridge,rate-in=1M/s,rate-out=2M/s" },
		{ "rate=max", "name=eth0,mode=bridge" },
		{ "gw=fe80::1,mode=routed", "name=eth0,mode=routed,gw=fe80::1" },
		{ "parent=enp1s0,mode=macvlan,ip=192.0.2.7/24",
		  "name=eth0,mode=macvlan,ip=192.0.2.7/24,parent=enp1s0" },
	};
	char buf[NETNS_TEXT_MAX];
	struct netns_if i, j;
	struct err e = { 0 };

	for (size_t k = 0; k < ARRAY_SIZE(good); k++) {
		if (netns_if_parse(good[k].text, &i, &e) < 0) {
			ok(false, "%s: %s", good[k].text, e.msg);
			continue;
		}
		eq_str(netns_if_format(&i, buf), good[k].again, "%s", good[k].text);
		ok(netns_if_parse(buf, &j, &e) == 0, "its format parses");
		eq_str(netns_if_format(&j, (char[NETNS_TEXT_MAX]){ 0 }), good[k].again,
		       "to the same");
	}
}

TEST(bad_interfaces)
{
	static const char *const bad[][2] = {
		{ "", "a key and a value" },
		{ "ip", "a key and a value" },
		{ "ip=", "a key and a value" },
		{ "ip=10.0.0.5/24,", "a key and a value" },
		{ "color=red", "no key" },
		{ "mode=wifi", "mode=wifi is unknown" },
		{ "mode=bridge,mode=routed", "twice" },
		{ "name=a,name=b", "twice" },
		{ "name=lo", "not the name" },
		{ "name=all", "not the name" },
		{ "name=default", "not the name" },
		{ "name=a/b", "not the name" },
		{ "name=abcdefghijklmnop", "not the name" },
		{ "name=..", "not the name" },
		{ "ip=10.0.0.256/24", "not an address" },
		{ "ip=10.0.0.5/33", "from 0 to 32" },
		{ "ip=fd00::5/129", "from 0 to 128" },
		{ "ip=10.0.0.5/", "from 0 to 32" },
		{ "ip=10.0.0.0/24", "not an address that" },
		{ "ip=10.0.0.255/24", "not an address that" },
		{ "ip=127.0.0.1/8", "not an address that" },
		{ "ip=224.0.0.1/24", "not an address that" },
		{ "ip=fe80::5/64", "not an address that" },
		{ "ip=ff02::1", "not an address that" },
		{ "ip=::1", "not an address that" },
		{ "ip=10.0.0.5/24,ip=10.0.0.5/8", "twice" },
		{ "gw=10.0.0.1/24", "alone" },
		{ "gw=10.0.0.1,gw=10.0.0.2", "another gateway" },
		{ "mac=01:00:00:00:00:01", "not the address of an interface" },
		{ "mac=02:00:00:00:00", "six bytes" },
		{ "mac=02:00:00:00:00:01:", "six bytes" },
		{ "mac=00:00:00:00:00:00", "not the address of an interface" },
		{ "rate=fast", "not a rate" },
		{ "rate=0", "not a rate" },
		{ "rate=1", "lowest rate" },
		{ "rate=1M,rate-in=1M", "both directions" },
		{ "mtu=1000", "from 1280" },
		{ "mode=none,ip=10.0.0.5/24", "no meaning" },
		{ "mode=host,name=eth0", "no meaning" },
		{ "mode=macvlan", "needs parent=" },
		{ "mode=macvlan,parent=eth0,ip=10.0.0.5", "prefix" },
		{ "mode=macvlan,parent=eth0,rate=1M", "no meaning" },
	};
	struct netns_if i;

	for (size_t k = 0; k < ARRAY_SIZE(bad); k++) {
		struct err e = { 0 };
		int r = netns_if_parse(bad[k][0], &i, &e);

		ok(r < 0 && e.code == ERR_USAGE && strstr(e.msg, bad[k][1]), "\"%s\": %s",
		   bad[k][0], r < 0 ? e.msg : "was taken");
	}
}

TEST(published)
{
	static const char *const good[][2] = {
		{ "8080:80", "8080:80/tcp" },
		{ "8080:80/udp", "8080:80/udp" },
		{ "192.0.2.1:80:8080", "192.0.2.1:80:8080/tcp" },
		{ "127.0.0.1:80:8080/tcp", "127.0.0.1:80:8080/tcp" },
		{ "[2001:db8::1]:53:53/udp", "[2001:db8::1]:53:53/udp" },
		{ "[::1]:80:8080", "[::1]:80:8080/tcp" },
		{ "0.0.0.0:80:80", "0.0.0.0:80:80/tcp" },
		{ "[::]:80:80", "[::]:80:80/tcp" },
		{ "8000-8010:9000-9010", "8000-8010:9000-9010/tcp" },
		{ "127.0.0.1:8000-8001:1-2/udp", "127.0.0.1:8000-8001:1-2/udp" },
		{ "8000-8000:80-80", "8000:80/tcp" },
		{ "53:53/udp+tcp", "53:53/tcp+udp" },
		{ "1-16384:1-16384", "1-16384:1-16384/tcp" },
	};
	static const char *const bad[] = { "",
					   "80",
					   "80:",
					   ":80",
					   "0:80",
					   "80:65536",
					   "80:80/sctp",
					   "80:80/",
					   "a:80:80",
					   "2001::1:80:80",
					   "[192.0.2.1]:80:80",
					   "224.0.0.1:80:80",
					   "[ff02::1]:80:80",
					   "8000-8010:9000-9009",
					   "8000-8010:80",
					   "8000:80-90",
					   "8010-8000:9010-9000",
					   "8000-:80-",
					   "0-10:1-11",
					   "65530-65540:1-11",
					   "1-16385:1-16385",
					   "80:80/tcp+tcp",
					   "[1]:2:3",
					   "1:2:3:4",
					   "192.0.2.1/24:80:80" };
	struct netns_publish p, q;
	char buf[NETNS_TEXT_MAX];
	struct err e = { 0 };

	for (size_t k = 0; k < ARRAY_SIZE(good); k++) {
		ok(netns_publish_parse(good[k][0], &p, &e) == 0, "%s %s", good[k][0], e.msg);
		eq_str(netns_publish_format(&p, buf), good[k][1], "formatted");
	}
	for (size_t k = 0; k < ARRAY_SIZE(bad); k++)
		ok(netns_publish_parse(bad[k], &p, &e) < 0 && e.code == ERR_USAGE, "\"%s\": %s",
		   bad[k], e.msg);
	netns_publish_parse("80:1", &p, &e);
	netns_publish_parse("192.0.2.1:80:2", &q, &e);
	ok(netns_publish_clash(&p, &q) == 80, "any address takes in one");
	netns_publish_parse("0.0.0.0:70-90:70-90", &p, &e);
	ok(netns_publish_clash(&p, &q) == 80, "any of its family, too, and a range the port in it");
	netns_publish_parse("[::]:80:2", &p, &e);
	ok(!netns_publish_clash(&p, &q), "not that of the other family");
	netns_publish_parse("60-79:60-79", &p, &e);
	ok(!netns_publish_clash(&p, &q), "a range ends where it does");
	netns_publish_parse("79-90:79-90/tcp+udp", &p, &e);
	netns_publish_parse("85-99:85-99/udp", &q, &e);
	ok(netns_publish_clash(&p, &q) == 85 && netns_publish_clash(&q, &p) == 85, "the first port of both");
	netns_publish_parse("192.0.2.1:80:2", &q, &e);
	netns_publish_parse("192.0.2.2:80:2", &p, &e);
	ok(!netns_publish_clash(&p, &q), "two addresses do not clash");
	netns_publish_parse("192.0.2.1:80:2/udp", &p, &e);
	ok(!netns_publish_clash(&p, &q), "nor do two protocols");
}

TEST(rules)
{
	static const char *const good[][2] = {
		{ "allow 80/tcp", "allow tcp 80" },
		{ "allow tcp 80", "allow tcp 80" },
		{ "allow 80", "allow 80" },
		{ "deny any", "deny any" },
		{ "deny from 192.0.2.7/24", "deny from 192.0.2.0/24" },
		{ "allow icmp", "allow icmp" },
		{ "allow proto 47 from fd00::1", "allow proto 47 from fd00::1/128" },
		{ "allow tcp 8000-8099 from fd00::/8", "allow tcp 8000-8099 from fd00::/8" },
		{ "allow udp", "allow udp" },
	};
	static const char *const bad[] = {
		"",
		"allow",
		"permit 80",
		"allow 0",
		"allow 80-79",
		"allow 80/sctp",
		"allow icmp 80",
		"allow any 80",
		"allow from",
		"allow from x",
		"allow 80 from",
		"allow tcp 80/udp",
		"allow 80 81",
		"allow proto",
		"allow proto 0",
		"allow proto 255",
		"allow proto 58",
		"allow 80 from 1.2.3.4 5",
		"allow 1-65536",
	};
	struct netns_rule r;
	char buf[NETNS_TEXT_MAX];
	struct err e = { 0 };

	for (size_t k = 0; k < ARRAY_SIZE(good); k++) {
		ok(netns_rule_parse(good[k][0], &r, &e) == 0, "%s %s", good[k][0], e.msg);
		eq_str(netns_rule_format(&r, buf), good[k][1], "formatted");
	}
	for (size_t k = 0; k < ARRAY_SIZE(bad); k++)
		ok(netns_rule_parse(bad[k], &r, &e) < 0 && e.code == ERR_USAGE, "\"%s\": %s",
		   bad[k], e.msg);
}

TEST(allowed)
{
	static const char *const good[][2] = {
		{ "host", "host" },
		{ "host:53/udp", "host:53/udp" },
		{ "db1:5432/tcp", "db1:5432/tcp" },
		{ "db1", "db1" },
		{ "192.0.2.9/24", "192.0.2.0/24" },
		{ "192.0.2.9:80", "192.0.2.9/32:80" },
		{ "fd00::7", "fd00::7/128" },
		{ "[fd00::7]:443/tcp", "[fd00::7/128]:443/tcp" },
		{ "[fd00::7]", "fd00::7/128" },
	};
	static const char *const bad[] = {
		"",	     ":80",	 "host:",	"host:0",      "host:80/x", "Db1",
		"[host]:80", "[fd00::7", "fd00::7]:80", "[fd00::7]80", "a b"
	};
	struct netns_allow a;
	char buf[NETNS_TEXT_MAX];
	struct err e = { 0 };

	for (size_t k = 0; k < ARRAY_SIZE(good); k++) {
		ok(netns_allow_parse(good[k][0], &a, &e) == 0, "%s %s", good[k][0], e.msg);
		eq_str(netns_allow_format(&a, buf), good[k][1], "formatted");
	}
	for (size_t k = 0; k < ARRAY_SIZE(bad); k++)
		ok(netns_allow_parse(bad[k], &a, &e) < 0 && e.code == ERR_USAGE, "\"%s\": %s",
		   bad[k], e.msg);
}

TEST(pool)
{
	struct netns_addr used[300], a;
	struct netns_host h, other;
	struct err e = { 0 };
	char buf[64];
	int r;

	ok(netns_host_init(&h, "vps", NULL, NULL, &e) == 0, "the default");
	eq_str(netns_addr_format(&h.gw4, buf), "10.20.0.1/22", "IPv4");
	eq_str(h.bridge, "vps-br", "its bridge");
	netns_host_init(&other, "vps-01234567", NULL, NULL, &e);
	ok(!netns_addr_in(&other.gw4, &h.gw4) && !netns_addr_in(&other.gw6, &h.gw6),
	   "another root, another pool");
	ok(strlen(other.bridge) <= 15, "%s is a link's name", other.bridge);
	netns_host_init(&h, "vps", "10.9.0.0/24", "fd00:9::/64", &e);
	for (int i = 0; i < 252; i++) {
		r = netns_pool_take(&h, AF_INET, used, (size_t)i, &used[i], &e);
		if (r < 0 || netns_addr_in(&used[i], &h.gw4) == false)
			break;
	}
	eq_str(netns_addr_format(&used[0], buf), "10.9.0.2/24", "the first");
	ok(netns_pool_take(&h, AF_INET, used, 252, &used[252], &e) == 0, "the 253rd");
	eq_str(netns_addr_format(&used[252], buf), "10.9.0.254/24", "is the last");
	r = netns_pool_take(&h, AF_INET, used, 253, &a, &e);
	ok(r < 0 && e.code == ERR_NOSPACE, "then none: %s", e.msg);
	ok(strstr(e.msg, "10.9.0.0/24") && strstr(e.msg, "253"), "says which pool");
	used[7] = used[252];
	ok(netns_pool_take(&h, AF_INET, used, 252, &a, &e) == 0, "one is given back");
	eq_str(netns_addr_format(&a, buf), "10.9.0.9/24", "and taken again");
	ok(netns_pool_take(&h, AF_INET6, NULL, 0, &a, &e) == 0, "IPv6");
	eq_str(netns_addr_format(&a, buf), "fd00:9::2/64", "the first");
	used[0] = a;
	netns_addr_parse("fd00:9::1:3", &used[1], &e);
	netns_addr_parse("fd00:9::3", &used[2], &e);
	netns_pool_take(&h, AF_INET6, used, 3, &a, &e);
	eq_str(netns_addr_format(&a, buf), "fd00:9::4/64", "the next");
	ok(netns_host_init(&h, "vps", "10.9.0.0/30", NULL, &e) < 0, "%s", e.msg);
	ok(netns_host_init(&h, "vps", "10.9.0.5/24", NULL, &e) < 0, "%s", e.msg);
	ok(netns_host_init(&h, "vps", NULL, "fd00::/48", &e) < 0, "%s", e.msg);
	ok(netns_host_init(&h, "vps", "224.0.0.0/24", NULL, &e) < 0, "%s", e.msg);
	ok(netns_host_init(&h, "vps", "none", NULL, &e) == 0 && !h.gw4.family, "no IPv4");
	ok(netns_pool_take(&h, AF_INET, NULL, 0, &a, &e) < 0, "%s", e.msg);
}

TEST(names)
{
	struct netns_host h;
	struct err e = { 0 };
	char one[16], two[16];
	uint8_t m[6], n[6];

	netns_host_init(&h, "vps-01234567", NULL, NULL, &e);
	netns_link_name(&h, "0c6d1b3e-0000-4000-8000-000000000001", 0, one);
	netns_link_name(&h, "0c6d1b3e-0000-4000-8000-000000000002", 0, two);
	ok(strlen(one) == 14 && !STREQ(one, two), "%s and %s", one, two);
	netns_mac_of("a", "eth0", m);
	netns_mac_of("a", "eth0", n);
	ok(memcmp(m, n, 6) == 0 && (m[0] & 3) == 2, "a stable, local, single MAC");
	netns_mac_of("a", "eth1", n);
	ok(memcmp(m, n, 6) != 0, "another for another interface");
}

TEST(checks)
{
	struct netns_if ifs[2] = { 0 };
	struct netns_vps v = { .name = "web1", .uuid = "u", .ifs = ifs, .if_count = 2 };
	struct netns_publish p[2];
	struct netns_host h;
	struct err e = { 0 };
	char buf[NETNS_TEXT_MAX];

	netns_host_init(&h, "vps", "10.9.0.0/24", "fd00:9::/64", &e);
	netns_if_parse("ip=10.9.0.5/24,ip=fd00:9::5/64", &ifs[0], &e);
	netns_if_parse("name=eth1,mode=routed,ip=192.0.2.5", &ifs[1], &e);
	ok(netns_vps_check(&h, &v, &e) == 0, "good %s", e.msg);
	ok(strstr(netns_if_format(&ifs[0], buf), "gw=10.9.0.1,gw=fd00:9::1,mac="), "gateways: %s",
	   buf);
	netns_if_parse("ip=10.9.0.6/24", &ifs[1], &e);
	ok(netns_vps_check(&h, &v, &e) < 0 && strstr(e.msg, "name eth0"), "%s", e.msg);
	netns_if_parse("name=eth1,ip=10.9.0.5/24", &ifs[1], &e);
	ok(netns_vps_check(&h, &v, &e) < 0 && strstr(e.msg, "same ip="), "%s", e.msg);
	netns_if_parse("name=eth1,ip=10.9.0.1/24", &ifs[1], &e);
	ok(netns_vps_check(&h, &v, &e) < 0 && strstr(e.msg, "gateway's"), "%s", e.msg);
	netns_if_parse("none", &ifs[1], &e);
	ok(netns_vps_check(&h, &v, &e) < 0 && strstr(e.msg, "alone"), "%s", e.msg);
	v.if_count = 1;
	netns_publish_parse("80:80", &p[0], &e);
	netns_publish_parse("192.0.2.1:80:81", &p[1], &e);
	v.publish = p;
	v.publish_count = 2;
	ok(netns_vps_check(&h, &v, &e) < 0 && strstr(e.msg, "twice"), "%s", e.msg);
	netns_if_parse("none", &ifs[0], &e);
	ok(netns_vps_check(&h, &v, &e) < 0 && strstr(e.msg, "no interface"), "%s", e.msg);
}
