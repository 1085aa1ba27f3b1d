/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Sockets of the internet but for connections with outside (tcp.c): options, ports that are shared, multicast,
 * connections within the VPS, UDP, raw, netlink and packet sockets. */
#include "tests/checkpoint/guest.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/if_packet.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <netinet/ip.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/ioctl.h>
#include <sys/time.h>
#include <sys/wait.h>

static struct sockaddr_in at4(const char *ip, int port)
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_port = htons((uint16_t)port) };

	inet_pton(AF_INET, ip, &a.sin_addr);
	return a;
}

static struct sockaddr_in6 at6(const char *ip, int port)
{
	struct sockaddr_in6 a = { .sin6_family = AF_INET6, .sin6_port = htons((uint16_t)port) };

	inet_pton(AF_INET6, ip, &a.sin6_addr);
	return a;
}

/* A value that is not the default, a row each; `type` is for what it is set, 0: all. */
static const struct row {
	int type, level, name, value;
} rows[] = {
	{ 0, SOL_SOCKET, SO_REUSEADDR, 1 },           { 0, SOL_SOCKET, SO_KEEPALIVE, 1 },
	{ 0, SOL_IP, IP_TOS, 0x10 },                  { 0, SOL_SOCKET, SO_MARK, 77 },
	{ 0, SOL_SOCKET, SO_RCVLOWAT, 9 },            { 0, SOL_SOCKET, SO_OOBINLINE, 1 },
	{ 0, SOL_SOCKET, SO_TIMESTAMPNS, 1 },         { 0, SOL_SOCKET, SO_RXQ_OVFL, 1 },
	{ 0, SOL_IP, IP_TTL, 33 },                    { 0, SOL_SOCKET, SO_PRIORITY, 3 },
	{ 0, SOL_IP, IP_MTU_DISCOVER, IP_PMTUDISC_DO }, { 0, SOL_IP, IP_RECVERR, 1 },
	{ 0, SOL_IP, IP_FREEBIND, 1 },                { 0, SOL_IP, IP_PKTINFO, 1 },
	{ 0, SOL_IP, IP_TRANSPARENT, 1 },
	{ SOCK_DGRAM, SOL_IP, IP_MULTICAST_TTL, 5 },  { SOCK_DGRAM, SOL_IP, IP_MULTICAST_LOOP, 0 },
	{ SOCK_DGRAM, SOL_SOCKET, SO_BROADCAST, 1 },  { SOCK_DGRAM, SOL_SOCKET, SO_NO_CHECK, 1 },
	{ SOCK_STREAM, SOL_TCP, TCP_NODELAY, 1 },     { SOCK_STREAM, SOL_TCP, TCP_KEEPIDLE, 100 },
	{ SOCK_STREAM, SOL_TCP, TCP_KEEPINTVL, 11 },  { SOCK_STREAM, SOL_TCP, TCP_KEEPCNT, 4 },
	{ SOCK_STREAM, SOL_TCP, TCP_USER_TIMEOUT, 12345 }, { SOCK_STREAM, SOL_TCP, TCP_LINGER2, 17 },
	{ SOCK_STREAM, SOL_TCP, TCP_DEFER_ACCEPT, 3 }, { SOCK_STREAM, SOL_TCP, TCP_SYNCNT, 3 },
	{ SOCK_STREAM, SOL_TCP, TCP_NOTSENT_LOWAT, 5000 },
};

static void set_options(int fd, int type)
{
	struct timeval tv = { 3, 500000 };
	struct linger lin = { 1, 7 };
	int small = 20000;

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		if (!rows[i].type || rows[i].type == type)
			CHECK(setsockopt(fd, rows[i].level, rows[i].name, &rows[i].value, sizeof(int)) == 0);
	CHECK(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv)) == 0);
	CHECK(setsockopt(fd, SOL_SOCKET, SO_LINGER, &lin, sizeof(lin)) == 0);
	CHECK(setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof(small)) == 0);
	if (type == SOCK_STREAM)
		CHECK(setsockopt(fd, SOL_TCP, TCP_CONGESTION, "reno", 4) == 0);
}

static void check_options(int fd, int type)
{
	struct timeval tv = { 0 };
	struct linger lin = { 0 };
	socklen_t tl = sizeof(tv), ll = sizeof(lin), len = sizeof(int);
	char cc[16] = { 0 };
	int v = 0;

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		if (rows[i].type && rows[i].type != type)
			continue;
		len = sizeof(v);
		CHECK(getsockopt(fd, rows[i].level, rows[i].name, &v, &len) == 0);
		if (v != rows[i].value)
			dprintf(1, "option %d of %d is %d\n", rows[i].name, rows[i].level, v);
		CHECK(v == rows[i].value);
	}
	CHECK(getsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &tv, &tl) == 0 && tv.tv_sec == 3 && tv.tv_usec == 500000);
	CHECK(getsockopt(fd, SOL_SOCKET, SO_LINGER, &lin, &ll) == 0 && lin.l_onoff == 1 && lin.l_linger == 7);
	len = sizeof(v);
	CHECK(getsockopt(fd, SOL_SOCKET, SO_RCVBUF, &v, &len) == 0 && v == 40000);
	len = sizeof(cc);
	CHECK(type != SOCK_STREAM ||
	      (getsockopt(fd, SOL_TCP, TCP_CONGESTION, cc, &len) == 0 && strcmp(cc, "reno") == 0));
}

static void expect_port(int fd, int port)
{
	struct sockaddr_in6 a;
	socklen_t len = sizeof(a);

	CHECK(getsockname(fd, (struct sockaddr *)&a, &len) == 0 && ntohs(a.sin6_port) == port);
}

/* TCP within the VPS, and ports. */

static int plain, shared[2], bound_only, foreign, v6only, any4, pair4[2], pair6[2], deviced, slow;

static int listen_at(const void *a, socklen_t len, int option, int level)
{
	int fd = socket(((const struct sockaddr *)a)->sa_family, SOCK_STREAM, 0), on = 1;

	if (option)
		CHECK(setsockopt(fd, level, option, &on, sizeof(on)) == 0);
	CHECK(bind(fd, a, len) == 0 && listen(fd, 7) == 0);
	return fd;
}

static void connect_pair(int l, const void *a, socklen_t len, int pair[2])
{
	pair[0] = socket(((const struct sockaddr *)a)->sa_family, SOCK_STREAM, 0);
	CHECK(connect(pair[0], a, len) == 0);
	pair[1] = accept(l, NULL, NULL);
	CHECK(pair[1] >= 0 && write(pair[0], "to the server", 13) == 13 && write(pair[1], "to the client", 13) == 13);
}

static void set_tcp(void)
{
	struct sockaddr_in a = at4("127.0.0.1", 80), s = at4("0.0.0.0", 81), b = at4("127.0.0.1", 82),
			   f = at4("198.51.100.7", 83), same = at4("0.0.0.0", 84), slow_at = at4("127.0.0.1", 86);
	struct sockaddr_in6 a6 = at6("::1", 80), same6 = at6("::", 84);
	int on = 1;

	plain = listen_at(&a, sizeof(a), 0, 0);
	connect_pair(plain, &a, sizeof(a), pair4);
	set_options(pair4[1], SOCK_STREAM);
	close(listen_at(&a6, sizeof(a6), 0, 0));
	int l6 = listen_at(&a6, sizeof(a6), SO_REUSEADDR, SOL_SOCKET);
	connect_pair(l6, &a6, sizeof(a6), pair6);
	close(l6);
	shared[0] = listen_at(&s, sizeof(s), SO_REUSEPORT, SOL_SOCKET);
	shared[1] = listen_at(&s, sizeof(s), SO_REUSEPORT, SOL_SOCKET);
	bound_only = socket(AF_INET, SOCK_STREAM, 0);
	set_options(bound_only, SOCK_STREAM);
	CHECK(bind(bound_only, (struct sockaddr *)&b, sizeof(b)) == 0);
	foreign = listen_at(&f, sizeof(f), IP_FREEBIND, SOL_IP);
	any4 = listen_at(&same, sizeof(same), 0, 0);
	v6only = listen_at(&same6, sizeof(same6), IPV6_V6ONLY, SOL_IPV6);
	deviced = socket(AF_INET, SOCK_STREAM, 0);
	same.sin_port = htons(85);
	CHECK(setsockopt(deviced, SOL_SOCKET, SO_BINDTODEVICE, "eth0", 5) == 0);
	CHECK(bind(deviced, (struct sockaddr *)&same, sizeof(same)) == 0 && listen(deviced, 3) == 0);
	setsockopt(any4, SOL_TCP, TCP_FASTOPEN, &on, sizeof(on));
	slow = listen_at(&slow_at, sizeof(slow_at), 0, 0);
}

/* Accepts what waits for it after a while: the VPS is saved all the same. */
static void accept_slowly(void)
{
	struct sockaddr_in a = at4("127.0.0.1", 86);
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	CHECK(connect(fd, (struct sockaddr *)&a, sizeof(a)) == 0);
	if (fork() == 0) {
		usleep(30000);
		_exit(accept(slow, NULL, NULL) < 0);
	}
}

static void check_pair(int pair[2])
{
	char t[32] = { 0 };

	CHECK(recv(pair[1], t, 13, MSG_WAITALL) == 13 && memcmp(t, "to the server", 13) == 0);
	CHECK(recv(pair[0], t, 13, MSG_WAITALL) == 13 && memcmp(t, "to the client", 13) == 0);
	CHECK(write(pair[0], "0123456789", 10) == 10 && recv(pair[1], t, 10, MSG_WAITALL) == 10);
	CHECK(recv(pair[0], t, 1, MSG_DONTWAIT) < 0 && errno == EAGAIN);
	CHECK(shutdown(pair[0], SHUT_WR) == 0 && recv(pair[1], t, 1, 0) == 0);
}

static void check_tcp(void)
{
	struct sockaddr_in b = at4("127.0.0.1", 80), same = at4("0.0.0.0", 81);
	char name[16] = { 0 };
	socklen_t len = sizeof(name);
	int status, v = 0, again = socket(AF_INET, SOCK_STREAM, 0), more[2];

	CHECK(wait(&status) > 0 && status == 0);
	check_options(pair4[1], SOCK_STREAM);
	check_options(bound_only, SOCK_STREAM);
	check_pair(pair4);
	check_pair(pair6);
	connect_pair(plain, &b, sizeof(b), more);
	check_pair(more);
	CHECK(bind(again, (struct sockaddr *)&b, sizeof(b)) < 0 && errno == EADDRINUSE);
	CHECK(bind(again, (struct sockaddr *)&same, sizeof(same)) < 0 && errno == EADDRINUSE);
	expect_port(shared[0], 81);
	expect_port(shared[1], 81);
	expect_port(bound_only, 82);
	CHECK(listen(bound_only, 1) == 0);
	expect_port(foreign, 83);
	expect_port(any4, 84);
	expect_port(v6only, 84);
	CHECK(getsockopt(deviced, SOL_SOCKET, SO_BINDTODEVICE, name, &len) == 0 && strcmp(name, "eth0") == 0);
	len = sizeof(v);
	CHECK(getsockopt(any4, SOL_TCP, TCP_FASTOPEN, &v, &len) == 0 && v == 1);
}

/* UDP and raw. */

static int shut[4], udp, udp_peer, udp6, group, raw, netlink_fd, events, generic, packet, filtered;

static void set_udp(void)
{
	struct sockaddr_in a = at4("127.0.0.1", 90), g = at4("0.0.0.0", 91);
	struct sockaddr_in6 a6 = at6("::", 90);
	struct group_req q = { .gr_interface = if_nametoindex("eth0") };
	struct group_source_req sq = { .gsr_interface = if_nametoindex("eth0") };
	struct sockaddr_in to;
	socklen_t len = sizeof(to);
	int on = 1;

	udp = socket(AF_INET, SOCK_DGRAM, 0);
	set_options(udp, SOCK_DGRAM);
	CHECK(bind(udp, (struct sockaddr *)&a, sizeof(a)) == 0);
	udp_peer = socket(AF_INET, SOCK_DGRAM, 0);
	CHECK(connect(udp_peer, (struct sockaddr *)&a, sizeof(a)) == 0);
	CHECK(getsockname(udp_peer, (struct sockaddr *)&to, &len) == 0);
	CHECK(connect(udp, (struct sockaddr *)&to, sizeof(to)) == 0);
	udp6 = socket(AF_INET6, SOCK_DGRAM, 0);
	CHECK(setsockopt(udp6, SOL_IPV6, IPV6_V6ONLY, &on, sizeof(on)) == 0);
	CHECK(bind(udp6, (struct sockaddr *)&a6, sizeof(a6)) == 0);
	group = socket(AF_INET, SOCK_DGRAM, 0);
	CHECK(bind(group, (struct sockaddr *)&g, sizeof(g)) == 0);
	*(struct sockaddr_in *)&q.gr_group = at4("239.1.2.3", 0);
	CHECK(setsockopt(group, SOL_IP, MCAST_JOIN_GROUP, &q, sizeof(q)) == 0);
	*(struct sockaddr_in *)&sq.gsr_group = at4("239.1.2.4", 0);
	*(struct sockaddr_in *)&sq.gsr_source = at4("10.9.8.7", 0);
	CHECK(setsockopt(group, SOL_IP, MCAST_JOIN_SOURCE_GROUP, &sq, sizeof(sq)) == 0);
	/* Of one port, so that who is asked for one has to tell them apart. */
	for (int i = 0; i < 4; i++) {
		shut[i] = socket(AF_INET, SOCK_DGRAM, 0);
		a = at4("127.0.0.1", 98);
		CHECK(setsockopt(shut[i], SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) == 0);
		CHECK(bind(shut[i], (struct sockaddr *)&a, sizeof(a)) == 0);
		a = at4("127.0.0.1", 91);
		CHECK(connect(shut[i], (struct sockaddr *)&a, sizeof(a)) == 0);
		CHECK(i == 3 || shutdown(shut[i], i) == 0);
	}
	raw = socket(AF_INET, SOCK_RAW, IPPROTO_ICMP);
	CHECK(setsockopt(raw, SOL_IP, IP_HDRINCL, &on, sizeof(on)) == 0);
}

/* As a server has them that connects a socket to each of its clients: all of one port, in either family. */

#define CROWD 300

static int crowd[2][CROWD];

static int join_crowd(int family, int i)
{
	int fd = socket(family, SOCK_DGRAM, 0), on = 1, how = i % 4;
	struct sockaddr_in own = at4("127.0.0.1", 97), to = at4("127.0.0.1", 2000 + i);
	struct sockaddr_in6 own6 = at6("::1", 97), to6 = at6("::1", 2000 + i);
	bool four = family == AF_INET;

	CHECK(setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof(on)) == 0);
	CHECK(bind(fd, four ? (void *)&own : (void *)&own6, four ? sizeof(own) : sizeof(own6)) == 0);
	CHECK(connect(fd, four ? (void *)&to : (void *)&to6, four ? sizeof(to) : sizeof(to6)) == 0);
	CHECK(how == 3 || shutdown(fd, how) == 0);
	return fd;
}

static void set_crowd(void)
{
	for (int i = 0; i < CROWD; i++) {
		crowd[0][i] = join_crowd(AF_INET, i);
		crowd[1][i] = join_crowd(AF_INET6, i + 1);
	}
}

/* What nobody listens for comes back as an error, which a later call would tell of. */
static void check_shut(int fd, int how)
{
	bool sends = how != SHUT_WR && how != SHUT_RDWR, hears = how != SHUT_RD && how != SHUT_RDWR;
	struct pollfd p = { fd, POLLRDHUP, 0 };

	CHECK(poll(&p, 1, 0) == (hears ? 0 : 1));
	CHECK((send(fd, "x", 1, MSG_NOSIGNAL) == 1) == sends && (sends || errno == EPIPE));
}

static void check_crowd(void)
{
	for (int i = 0; i < CROWD; i++) {
		check_shut(crowd[0][i], i % 4);
		check_shut(crowd[1][i], (i + 1) % 4);
	}
}

static void check_group(const char *ip, int mode, unsigned sources)
{
	struct group_filter f = { .gf_interface = if_nametoindex("eth0"), .gf_numsrc = 1 };
	socklen_t len = sizeof(f);

	*(struct sockaddr_in *)&f.gf_group = at4(ip, 0);
	CHECK(getsockopt(group, SOL_IP, MCAST_MSFILTER, &f, &len) == 0);
	CHECK((int)f.gf_fmode == mode && f.gf_numsrc == sources);
}

static void check_udp(void)
{
	int on = 0;
	socklen_t len = sizeof(on);
	char t[16];

	check_options(udp, SOCK_DGRAM);
	CHECK(send(udp_peer, "datagrams", 9, 0) == 9 && recv(udp, t, 16, 0) == 9);
	CHECK(send(udp, "back", 4, 0) == 4 && recv(udp_peer, t, 16, 0) == 4);
	for (int i = 0; i < 4; i++)
		check_shut(shut[i], i);
	expect_port(udp6, 90);
	check_group("239.1.2.3", MCAST_EXCLUDE, 0);
	check_group("239.1.2.4", MCAST_INCLUDE, 1);
	CHECK(getsockopt(raw, SOL_IP, IP_HDRINCL, &on, &len) == 0 && on == 1);
}

/* The kernel's. */

static uint32_t port_of(int fd)
{
	struct sockaddr_nl a;
	socklen_t len = sizeof(a);

	CHECK(getsockname(fd, (struct sockaddr *)&a, &len) == 0);
	return a.nl_pid;
}

static uint32_t port;

static void set_kernel(void)
{
	struct sockaddr_nl a = { .nl_family = AF_NETLINK, .nl_groups = RTMGRP_IPV4_ROUTE | RTMGRP_IPV4_IFADDR },
			   own = a;
	struct sockaddr_ll ll = { .sll_family = AF_PACKET, .sll_protocol = htons(0x88b5),
				  .sll_ifindex = (int)if_nametoindex("eth0") };
	struct packet_mreq m = { .mr_ifindex = ll.sll_ifindex, .mr_type = PACKET_MR_PROMISC };
	struct sock_filter code[] = { { BPF_RET | BPF_K, 0, 0, 3 } };
	struct sock_fprog p = { 1, code };
	int on = 1, big = 50;

	own.nl_groups = 0;
	netlink_fd = socket(AF_NETLINK, SOCK_RAW, NETLINK_ROUTE);
	CHECK(bind(netlink_fd, (struct sockaddr *)&own, sizeof(own)) == 0);
	setsockopt(netlink_fd, SOL_NETLINK, NETLINK_EXT_ACK, &on, sizeof(on));
	port = port_of(netlink_fd);
	events = socket(AF_NETLINK, SOCK_DGRAM, NETLINK_ROUTE);
	CHECK(bind(events, (struct sockaddr *)&a, sizeof(a)) == 0);
	big = RTNLGRP_NEXTHOP;
	CHECK(setsockopt(events, SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, &big, sizeof(big)) == 0);
	generic = socket(AF_NETLINK, SOCK_RAW, NETLINK_KOBJECT_UEVENT);
	a.nl_groups = 1;
	CHECK(bind(generic, (struct sockaddr *)&a, sizeof(a)) == 0);
	packet = socket(AF_PACKET, SOCK_DGRAM, 0);
	CHECK(bind(packet, (struct sockaddr *)&ll, sizeof(ll)) == 0);
	CHECK(setsockopt(packet, SOL_PACKET, PACKET_ADD_MEMBERSHIP, &m, sizeof(m)) == 0);
	setsockopt(packet, SOL_PACKET, PACKET_AUXDATA, &on, sizeof(on));
	filtered = socket(AF_INET, SOCK_DGRAM, 0);
	CHECK(setsockopt(filtered, SOL_SOCKET, SO_ATTACH_FILTER, &p, sizeof(p)) == 0);
	CHECK(setsockopt(filtered, SOL_SOCKET, SO_LOCK_FILTER, &on, sizeof(on)) == 0);
	/* What was not read cannot be saved. */
	while (recv(events, &big, sizeof(big), MSG_DONTWAIT) > 0)
		;
}

static void check_kernel(void)
{
	struct {
		struct nlmsghdr h;
		struct ifinfomsg i;
	} q = { { sizeof(q), RTM_GETLINK, NLM_F_REQUEST, 5, 0 }, { .ifi_index = (int)if_nametoindex("eth0") } };
	struct sockaddr_ll ll;
	socklen_t len = sizeof(ll);
	uint32_t mask[8] = { 0 };
	struct ifreq f = { .ifr_name = "lo:1" };
	char buf[8192];
	int on = 0;

	CHECK(port_of(netlink_fd) == port && port_of(events) != port);
	CHECK(send(netlink_fd, &q, sizeof(q), 0) == sizeof(q) && recv(netlink_fd, buf, sizeof(buf), 0) > 0);
	CHECK(((struct nlmsghdr *)(void *)buf)->nlmsg_type == RTM_NEWLINK);
	CHECK(((struct nlmsghdr *)(void *)buf)->nlmsg_pid == port);
	len = sizeof(mask);
	CHECK(getsockopt(events, SOL_NETLINK, NETLINK_LIST_MEMBERSHIPS, mask, &len) == 0);
	CHECK(mask[0] >> (RTNLGRP_IPV4_ROUTE - 1) & 1 && mask[0] >> (RTNLGRP_IPV4_IFADDR - 1) & 1);
	CHECK(mask[(RTNLGRP_NEXTHOP - 1) / 32] >> ((RTNLGRP_NEXTHOP - 1) % 32) & 1);
	*(struct sockaddr_in *)(void *)&f.ifr_addr = at4("127.0.0.5", 0);
	CHECK(ioctl(raw, SIOCSIFADDR, &f) == 0 && recv(events, buf, sizeof(buf), 0) > 0);
	len = sizeof(ll);
	CHECK(getsockname(packet, (struct sockaddr *)&ll, &len) == 0 && ll.sll_protocol == htons(0x88b5));
	CHECK(ll.sll_ifindex == (int)if_nametoindex("eth0"));
	len = sizeof(on);
	CHECK(getsockopt(packet, SOL_PACKET, PACKET_AUXDATA, &on, &len) == 0 && on == 1);
	len = 0;
	CHECK(getsockopt(filtered, SOL_SOCKET, SO_GET_FILTER, NULL, &len) == 0 && len == 1);
	CHECK(setsockopt(filtered, SOL_SOCKET, SO_DETACH_FILTER, &on, sizeof(on)) < 0 && errno == EPERM);
	CHECK(port_of(generic) != 0);
}

int main(int argc, char **argv)
{
	if (argc > 1 && strcmp(argv[1], "peer") == 0)
		return 0;
	set_tcp();
	set_udp();
	set_crowd();
	set_kernel();
	accept_slowly();
	wait_for_restore();
	check_tcp();
	check_udp();
	check_crowd();
	check_kernel();
	return done();
}
