/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "tests/unit/tap.h"

#include "tests/unit/netns_lab.h"

/* Shaping is in the way of all traffic, can be changed and goes without a trace. That the rates are
 * kept is measured by bench/netns.c. */

static struct netns_host host;
static struct lab_vps a;
static char link_name[16], ifb_name[16];
static int home;

/* A number out of `tc -s qdisc`, of the first line with this word before it; -1: none. */
static long long shown(const char *dev, const char *word)
{
	char cmd[256], line[256];
	long long n = -1;
	FILE *f;

	snprintf(cmd, sizeof(cmd), "tc -s qdisc show dev %s root | grep -o '%s [0-9]*' | head -1",
		 dev, word);
	f = popen(cmd, "re");
	if (f && fgets(line, sizeof(line), f))
		n = atoll(line + strlen(word));
	if (f)
		pclose(f);
	return n;
}

static bool is_tbf(const char *dev, const char *rate)
{
	return lab_run(-1, "tc qdisc show dev %s | grep -q 'tbf.* rate %s '", dev, rate) == 0;
}

/* Half a megabyte through a connection from one namespace to the other. */
static bool moves(int from_ns, int to_ns, const char *ip)
{
	static char buf[64 * 1024];
	cleanup_close int l = lab_bound(to_ns, SOCK_STREAM, "0.0.0.0", 5001);
	cleanup_close int s = -EBADF;
	size_t sent = 0, got = 0, want = 512 * 1024;
	int c = -EBADF;

	if (lab_connect_ms(from_ns, ip, 5001, 5000, &c) < 0)
		return false;
	s = accept4(l, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	while (got < want) {
		struct pollfd p[2] = { { .fd = s, .events = POLLIN },
				       { .fd = c, .events = sent < want ? POLLOUT : 0 } };
		ssize_t n;

		if (poll(p, 2, 20000) <= 0)
			break;
		if (p[1].revents & POLLOUT && (n = send(c, buf, sizeof(buf), MSG_NOSIGNAL)) > 0)
			sent += (size_t)n;
		if (p[0].revents & POLLIN && (n = recv(s, buf, sizeof(buf), 0)) > 0)
			got += (size_t)n;
	}
	close(c);
	return got >= want;
}

static bool shape(uint64_t in, uint64_t out)
{
	struct err e = { 0 };
	int r;

	a.ifs[0].rate_in = in;
	a.ifs[0].rate_out = out;
	r = netns_vps_shape(&host, &a.v, 0, &e);
	if (r < 0)
		diag("%s", e.msg);
	return r == 0;
}

TEST(from_the_start)
{
	struct err e = { 0 };

	if (!lab_host())
		skip("no network namespace: needs CAP_SYS_ADMIN");
	home = lab_open();
	netns_host_init(&host, "vps-test", "10.20.0.0/24", NULL, &e);
	if (netns_probe(NETNS_PROBE_SHAPING, &e) < 0)
		skip("no shaping in this kernel: %s", e.msg);
	ok(netns_host_up(&host, NULL, 0, &e) == 0, "host %s", e.msg);
	lab_vps_init(&a, &host, 1, "ip=10.20.0.5/24,rate-in=8MiB/s,rate-out=4MiB/s");
	netns_link_name(&host, a.v.uuid, 0, link_name);
	netns_ifb_name(&host, a.v.uuid, 0, ifb_name);
	ok(netns_vps_up(&host, &a.v, a.ns, &e) == 0, "up with rates %s", e.msg);
	ok(is_tbf(link_name, "67108864bit") || is_tbf(link_name, "67108Kbit"), "8 MiB/s to it");
	ok(is_tbf(ifb_name, "33554432bit") || is_tbf(ifb_name, "33554Kbit"), "4 MiB/s from it");
	ok(moves(home, a.ns, "10.20.0.5"), "data comes to it");
	ok(shown(link_name, "Sent") > 512 * 1024, "by its bucket");
}

TEST(changed)
{
	cleanup_close int world = -EBADF;

	if (!*link_name)
		skip("no shaping");
	world = lab_world();
	ok(moves(a.ns, world, "198.51.100.2"), "data leaves");
	ok(shown(ifb_name, "Sent") > 512 * 1024, "by the ifb");
	ok(shape(2 << 20, 2 << 20), "2 MiB/s both ways");
	ok(moves(a.ns, world, "198.51.100.2"), "data leaves");
	ok(shape(0, 2 << 20), "from it only");
	ok(shown(link_name, "Sent") == 0 ||
		   lab_run(-1, "tc qdisc show dev %s | grep -q tbf", link_name),
	   "no bucket on the link");
	ok(shape(0, 0), "not at all");
	ok(lab_run(-1, "ip link show %s >/dev/null 2>&1", ifb_name) != 0, "no ifb");
	ok(moves(a.ns, world, "198.51.100.2"), "data leaves");
	ok(shape(0, 0), "nothing to end is no error");
	ok(shape(5000000000ULL, 5000000000ULL), "more than 32 bits hold");
	ok(is_tbf(link_name, "40Gbit"), "as it was said");
	ok(moves(a.ns, world, "198.51.100.2"), "data leaves");
}

TEST(gone)
{
	struct err e = { 0 };

	if (!*link_name)
		skip("no shaping");
	ok(netns_vps_leave(&host, &a.v, &e) == 0, "down %s", e.msg);
	ok(!if_nametoindex(link_name) && !if_nametoindex(ifb_name), "neither link nor ifb is left");
	ok(waitpid(-1, NULL, 0) == -1 && errno == ECHILD, "nor anybody to be waited for");
	ok(netns_vps_shape(&host, &a.v, 0, &e) < 0 && e.code == ERR_STATE, "then: %s", e.msg);
	netns_host_down(&host, &e);
}
