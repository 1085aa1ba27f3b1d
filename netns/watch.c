/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "netns/internal.h"

#include "base/macro.h"
#include "netns/ruleset.h"

#include <arpa/inet.h>
#include <linux/filter.h>
#include <linux/netconf.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <stddef.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

/*
 * Sockets in the kernel's announcement groups behind one epoll fd. What they say is only taken
 * as a reason to look: whether something is missing is then asked of the kernel, so that our own
 * changes, and announcements lost for want of room, cannot lead astray.
 */
struct netns_watch {
	struct netns_host host;
	struct nl route, losses, nft;
	int epoll;
};

#define GROUP(number) (1U << ((number) - 1)) /* as struct sockaddr_nl has them */

static int join(struct nl *n, int protocol, uint32_t groups, int epoll, struct err *e)
{
	struct sockaddr_nl own = { .nl_family = AF_NETLINK, .nl_groups = groups };
	struct epoll_event ev = { .events = EPOLLIN };
	int size = 1024 * 1024, r = nl_open(n, protocol, -EBADF, e);

	if (r < 0)
		return r;
	setsockopt(n->fd, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof(size));
	if (bind(n->fd, (struct sockaddr *)&own, sizeof(own)) < 0 ||
	    epoll_ctl(epoll, EPOLL_CTL_ADD, n->fd, &ev) < 0)
		return err_sys(e, "watch the kernel's network announcements");
	return 0;
}

static int choose(struct nl *n, struct sock_filter *code, size_t count, struct err *e)
{
	struct sock_fprog prog = { .len = (unsigned short)count, .filter = code };

	if (setsockopt(n->fd, SOL_SOCKET, SO_ATTACH_FILTER, &prog, sizeof(prog)) < 0)
		return err_sys(e, "choose among the kernel's network announcements");
	return 0;
}

/* That a transaction is over is a message of its own, which says nothing more. A classic filter (bpf(2),
 * SO_ATTACH_FILTER of socket(7)) reads in network order, and drops what ends before the place it reads. */
static int without_ends(struct nl *n, struct err *e)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_H | BPF_ABS, offsetof(struct nlmsghdr, nlmsg_type)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K,
			 htons(NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_NEWGEN), 1, 0),
		BPF_STMT(BPF_RET | BPF_K, UINT32_MAX),
		BPF_STMT(BPF_RET | BPF_K, 0),
	};

	return choose(n, code, ARRAY_SIZE(code), e);
}

/* An address that is taken off, and a switch of all interfaces (those of one are announced with each new link). The
 * number of the interface is the first attribute there. */
static int only_losses(struct nl *n, struct err *e)
{
	enum { INDEX = NLMSG_HDRLEN + NLMSG_ALIGN(sizeof(struct netconfmsg)) + MNL_ATTR_HDRLEN };
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_H | BPF_ABS, offsetof(struct nlmsghdr, nlmsg_type)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, htons(RTM_DELADDR), 3, 0),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, htons(RTM_NEWNETCONF), 0, 3),
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, INDEX),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, htonl((uint32_t)NETCONFA_IFINDEX_ALL), 0, 1),
		BPF_STMT(BPF_RET | BPF_K, UINT32_MAX),
		BPF_STMT(BPF_RET | BPF_K, 0),
	};

	return choose(n, code, ARRAY_SIZE(code), e);
}

/*
 * Only what names the bridge wakes us: each start of a VPS is announced several times, which would take
 * the processor from it. IFLA_IFNAME is the first attribute of all announcements of links; where it is
 * not, the message is let through.
 */
static int only_about(struct nl *n, const char *name, struct err *e)
{
	enum { ATTR = NLMSG_HDRLEN + NLMSG_ALIGN(sizeof(struct ifinfomsg)) };
	struct nlattr want = { .nla_len = (uint16_t)(MNL_ATTR_HDRLEN + strlen(name) + 1),
			       .nla_type = IFLA_IFNAME };
	uint8_t bytes[MNL_ATTR_HDRLEN + IFNAMSIZ] = { 0 };
	struct sock_filter code[2 * (sizeof(bytes) / 4) + 4];
	size_t words = MNL_ALIGN(want.nla_len) / 4, count = 0;

	memcpy(bytes, &want, sizeof(want));
	memcpy(bytes + MNL_ATTR_HDRLEN, name, strlen(name) + 1);
	code[count++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_H | BPF_ABS, ATTR + 2);
	code[count++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, htons(IFLA_IFNAME), 0,
						     (uint8_t)(2 * words));
	for (size_t i = 0; i < words; i++) {
		uint32_t word;

		memcpy(&word, bytes + 4 * i, sizeof(word));
		code[count++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS,
							     (uint32_t)(ATTR + 4 * i));
		code[count++] = (struct sock_filter)BPF_JUMP(
			BPF_JMP | BPF_JEQ | BPF_K, htonl(word), 0,
			(uint8_t)(2 * (words - i) - 1));
	}
	code[count++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, UINT32_MAX);
	code[count++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, 0);
	return choose(n, code, count, e);
}

static int watch_all(struct netns_watch *w, struct err *e)
{
	int r = join(&w->route, NETLINK_ROUTE, RTMGRP_LINK, w->epoll, e);

	if (r == 0)
		r = only_about(&w->route, w->host.bridge, e);
	if (r == 0)
		r = join(&w->losses, NETLINK_ROUTE, RTMGRP_IPV4_IFADDR | RTMGRP_IPV6_IFADDR |
			 GROUP(RTNLGRP_IPV4_NETCONF) | GROUP(RTNLGRP_IPV6_NETCONF), w->epoll, e);
	if (r == 0)
		r = only_losses(&w->losses, e);
	if (r == 0)
		r = join(&w->nft, NETLINK_NETFILTER, GROUP(NFNLGRP_NFTABLES), w->epoll, e);
	return r < 0 ? r : without_ends(&w->nft, e);
}

int netns_watch_open(const struct netns_host *h, struct netns_watch **ret, struct err *e)
{
	struct netns_watch *w = calloc(1, sizeof(*w));
	int r;

	if (!w)
		return err_code(e, -ENOMEM, "watch the network");
	*w = (struct netns_watch){ .host = *h, .route = NL_INIT, .losses = NL_INIT, .nft = NL_INIT };
	w->epoll = epoll_create1(EPOLL_CLOEXEC);
	if (w->epoll < 0)
		r = err_sys(e, "watch the network");
	else
		r = watch_all(w, e);
	if (r < 0) {
		netns_watch_close(w);
		return r;
	}
	*ret = w;
	return 0;
}

int netns_watch_fd(const struct netns_watch *w)
{
	return w->epoll;
}

void netns_watch_close(struct netns_watch *w)
{
	if (!w)
		return;
	nl_done(&w->route);
	nl_done(&w->losses);
	nl_done(&w->nft);
	fd_close(&w->epoll);
	free(w);
}

static bool is_about_rules(const struct netns_watch *w, const struct nlmsghdr *m)
{
	/* In all these messages the table's name is attribute 1. Entries come and go all the time,
	 * and only whole sets are ever flushed by others with the rules. */
	switch (m->nlmsg_type & 0xff) {
	case NFT_MSG_DELTABLE:
	case NFT_MSG_DELCHAIN:
	case NFT_MSG_DELRULE:
	case NFT_MSG_DELSET:
		return nl_attr_is(nl_attr(m, sizeof(struct nfgenmsg), NFTA_TABLE_NAME), w->host.tag);
	default:
		return false;
	}
}

static bool is_about_bridge(const struct netns_watch *w, const struct nlmsghdr *m)
{
	const struct ifinfomsg *ifi = mnl_nlmsg_get_payload(m);

	if (ifi->ifi_family == AF_BRIDGE) /* a port left it, which is said about each */
		return false;
	return (m->nlmsg_type == RTM_DELLINK ||
		(m->nlmsg_type == RTM_NEWLINK && !(ifi->ifi_flags & IFF_UP))) &&
	       nl_attr_is(nl_attr(m, sizeof(*ifi), IFLA_IFNAME), w->host.bridge);
}

/* The bridge's index changes when it is made anew; addresses of other links are seldom taken away. */
static bool is_loss(const struct netns_watch *w, const struct nlmsghdr *m)
{
	const struct ifaddrmsg *ifa = mnl_nlmsg_get_payload(m);

	return m->nlmsg_type == RTM_NEWNETCONF ||
	       (m->nlmsg_type == RTM_DELADDR && (int)ifa->ifa_index == nl_ifindex(&w->route, w->host.bridge));
}

/* Takes all that is there; true when one of them is a reason to look. */
static bool drain(struct netns_watch *w, struct nl *n,
		  bool (*is_about)(const struct netns_watch *, const struct nlmsghdr *))
{
	char buf[32 * 1024] __attribute__((aligned(8)));
	bool look = false;

	for (;;) {
		const struct nlmsghdr *m = (const struct nlmsghdr *)buf;
		ssize_t len = recv(n->fd, buf, sizeof(buf), MSG_DONTWAIT);
		int left = (int)len;

		if (len < 0 && errno == EINTR)
			continue;
		if (len < 0 && errno == ENOBUFS) {
			look = true; /* some were lost */
			continue;
		}
		if (len <= 0)
			return look;
		for (; mnl_nlmsg_ok(m, left); m = mnl_nlmsg_next(m, &left))
			look |= is_about(w, m);
	}
}

static int bridge_is_up(struct netns_watch *w, struct err *e)
{
	struct ifreq ifr = { 0 };

	snprintf(ifr.ifr_name, sizeof(ifr.ifr_name), "%s", w->host.bridge);
	if (ioctl(w->route.fd, SIOCGIFFLAGS, &ifr) < 0)
		return errno == ENODEV ? 0 : err_sys(e, "look at %s", w->host.bridge);
	return !!(ifr.ifr_flags & IFF_UP);
}

struct gateways {
	const struct netns_addr *want[2];
	bool found[2];
	int bridge; /* its index */
};

static int take_address(const struct nlmsghdr *m, void *ctx)
{
	const struct ifaddrmsg *ifa = mnl_nlmsg_get_payload(m);
	const struct nlattr *a = nl_attr(m, sizeof(*ifa), IFA_ADDRESS);
	struct gateways *g = ctx;

	for (size_t i = 0; i < ARRAY_SIZE(g->want); i++)
		if (a && m->nlmsg_type == RTM_NEWADDR && (int)ifa->ifa_index == g->bridge &&
		    ifa->ifa_family == g->want[i]->family && ifa->ifa_prefixlen == g->want[i]->prefix &&
		    memcmp(mnl_attr_get_payload(a), g->want[i]->bytes, mnl_attr_get_payload_len(a)) == 0)
			g->found[i] = true;
	return 0;
}

/* 1: the bridge has the addresses of all gateways. */
static int has_addresses(const struct netns_watch *w, struct err *e)
{
	struct gateways g = { .want = { &w->host.gw4, &w->host.gw6 } };
	struct ifaddrmsg all = { 0 };
	cleanup_nl struct nl n = NL_INIT;
	int r = nl_open(&n, NETLINK_ROUTE, -EBADF, e);

	if (r < 0)
		return r;
	g.bridge = nl_ifindex(&n, w->host.bridge);
	nl_end(&n, nl_begin(&n, RTM_GETADDR, NLM_F_DUMP, &all, sizeof(all), "list the addresses"));
	r = nl_talk(&n, w->host.bridge, take_address, &g, e);
	for (size_t i = 0; r == 0 && i < ARRAY_SIZE(g.want); i++)
		if (g.want[i]->family && !g.found[i])
			return 0;
	return r < 0 ? r : 1;
}

int netns_watch_read(struct netns_watch *w, struct err *e)
{
	int lost = 0, r;

	if (drain(w, &w->nft, is_about_rules)) {
		r = netns_rules_are_up(&w->host, e);
		if (r < 0)
			return r;
		lost |= r ? 0 : NETNS_LOST_RULES;
	}
	if (drain(w, &w->route, is_about_bridge)) {
		r = bridge_is_up(w, e);
		if (r < 0)
			return r;
		lost |= r ? 0 : NETNS_LOST_BRIDGE;
	}
	if (drain(w, &w->losses, is_loss) && !(lost & NETNS_LOST_BRIDGE)) {
		r = has_addresses(w, e);
		if (r < 0)
			return r;
		lost |= (r ? 0 : NETNS_LOST_ADDRESS) | (netns_forwards(&w->host) ? 0 : NETNS_LOST_FORWARDING);
	}
	return lost;
}
