/* SPDX-License-Identifier: GPL-2.0-or-later */

/* As refused.c: something (WHAT) of a network namespace, here a nested one, that is not saved. */
#include "tests/checkpoint/guest.h"

#include <arpa/inet.h>
#include <linux/in6.h>
#include <linux/mroute.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter/nfnetlink_log.h>
#include <linux/netfilter/nfnetlink_queue.h>
#include <linux/netlink.h>
#include <linux/xfrm.h>
#include <sched.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/wait.h>

enum { QUEUED = 1, LOGGED, ROUTER, POLICY, LABELLED, ANYCAST };

/* A program that takes packets, or copies of them, from group 5: what it has asked for the kernel does not tell. */
static int bind_group(uint16_t type, uint16_t attribute)
{
	struct {
		struct nlmsghdr h;
		struct nfgenmsg g;
		struct nlattr a;
		uint32_t value;
	} m = { { sizeof(m), type, NLM_F_REQUEST | NLM_F_ACK, 1, 0 }, { AF_UNSPEC, NFNETLINK_V0, htons(5) },
		{ NLA_HDRLEN + 4, attribute }, 1 /* CMD_BIND, of both */ };
	struct {
		struct nlmsghdr h;
		struct nlmsgerr e;
	} answer;
	int fd = socket(AF_NETLINK, SOCK_RAW, NETLINK_NETFILTER);

	if (type == (NFNL_SUBSYS_ULOG << 8 | NFULNL_MSG_CONFIG)) { /* a byte */
		m.a.nla_len = NLA_HDRLEN + 1;
		m.value = 1;
	}
	return send(fd, &m, sizeof(m), 0) == sizeof(m) && recv(fd, &answer, sizeof(answer), 0) >= (long)sizeof(m.h) &&
	       answer.e.error == 0;
}

/* A label for what goes to the loopback address, which the kernel keeps for its socket. */
static int lease_label(void)
{
	struct in6_flowlabel_req label = { .flr_dst.s6_addr = { [15] = 1 }, .flr_label = htonl(0x12345),
					   .flr_action = IPV6_FL_A_GET, .flr_share = IPV6_FL_S_EXCL, .flr_flags = IPV6_FL_F_CREATE };

	return setsockopt(socket(AF_INET6, SOCK_DGRAM, 0), IPPROTO_IPV6, IPV6_FLOWLABEL_MGR, &label, sizeof(label)) == 0;
}

/* One in the subnet of an address that it has: not the one of the subnet's routers, which the kernel would join. */
static int join_anycast(void)
{
	struct {
		struct in6_addr addr;
		uint32_t prefixlen;
		int ifindex;
	} own = { { .s6_addr = { 0xfd, 0x99, [15] = 1 } }, 64, 1 };
	struct ipv6_mreq joined = { { .s6_addr = { 0xfd, 0x99, [15] = 0x42 } }, 1 };
	int fd = socket(AF_INET6, SOCK_DGRAM, 0);

	return ioctl(fd, SIOCSIFADDR, &own) == 0 &&
	       setsockopt(fd, IPPROTO_IPV6, IPV6_JOIN_ANYCAST, &joined, sizeof(joined)) == 0;
}

static int hold(void)
{
	int on = 1, fd;

	if (WHAT == LABELLED)
		return lease_label();
	if (WHAT == ANYCAST)
		return join_anycast();

	if (WHAT == QUEUED)
		return bind_group(NFNL_SUBSYS_QUEUE << 8 | NFQNL_MSG_CONFIG, NFQA_CFG_CMD);
	if (WHAT == LOGGED)
		return bind_group(NFNL_SUBSYS_ULOG << 8 | NFULNL_MSG_CONFIG, NFULA_CFG_CMD);
	if (WHAT == ROUTER) {
		fd = socket(AF_INET, SOCK_RAW, IPPROTO_IGMP);
		return setsockopt(fd, IPPROTO_IP, MRT_INIT, &on, sizeof(on)) == 0;
	}
	struct xfrm_userpolicy_info p = { .dir = XFRM_POLICY_OUT, .action = XFRM_POLICY_ALLOW, .sel.family = AF_INET,
					  .lft = { XFRM_INF, XFRM_INF, XFRM_INF, XFRM_INF, 0, 0, 0, 0 } };

	/* Whoever first speaks of policies is who loads the module that knows them; the option does not. */
	close(socket(AF_NETLINK, SOCK_RAW, NETLINK_XFRM));
	fd = socket(AF_INET, SOCK_DGRAM, 0);
	return setsockopt(fd, IPPROTO_IP, 17 /* IP_XFRM_POLICY */, &p, sizeof(p)) == 0;
}

int main(void)
{
	int ready[2], status;
	char c = '-';
	pid_t pid;

	CHECK(pipe(ready) == 0);
	pid = fork();
	if (pid == 0) {
		c = unshare(CLONE_NEWUSER | CLONE_NEWNET) == 0 && hold() ? '+' : '-';
		CHECK(write(ready[1], &c, 1) == 1);
		for (;;)
			pause();
	}
	CHECK(read(ready[0], &c, 1) == 1 && c == '+');
	wait_for_restore();
	CHECK(kill(pid, SIGKILL) == 0 && waitpid(pid, &status, 0) == pid);
	return done();
}
