/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "netns/hold.h"

#include "base/macro.h"
#include "netns/internal.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <linux/if_tun.h>
#include <linux/pkt_cls.h>
#include <linux/pkt_sched.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#define HOLD_PRIO 1 /* before what shaping may have there */
#define QUEUE 10000 /* frames that a TAP keeps; its default of 500 is 10 ms of a gigabit */

struct held {
	int link;       /* index; 0: of a macvlan, which has no end on the host */
	struct netns_if macvlan;
	struct nl rules; /* its frames meet on their parent */
	int tap, sink;  /* fds: frames to the VPS are read from the one, those from it vanish in the other */
	int tap_index, sink_index;
	int socket;     /* to the VPS */
};

struct netns_hold {
	struct netns_host host;
	struct held held[NETNS_IF_MAX];
	unsigned count;
	bool begun;
};

static int open_injector(const struct netns_host *h, const struct netns_vps *v, unsigned i, struct err *e);

int netns_hold_socket(const struct netns_host *h, const struct netns_vps *v, unsigned i, struct err *e)
{
	struct sockaddr_ll to = { .sll_family = AF_PACKET };
	cleanup_close int fd = -EBADF;
	char name[16];
	int on = 1;

	if (v->ifs[i].mode == NETNS_MACVLAN)
		return open_injector(h, v, i, e);
	to.sll_ifindex = (int)if_nametoindex(netns_link_name(h, v->uuid, i, name));
	if (!to.sll_ifindex)
		return err_set(e, ERR_STATE, "%s: its link %s is not there", v->name, name);
	/* Of no protocol: it is to send only. */
	fd = netns_socket(-EBADF, AF_PACKET, SOCK_RAW | SOCK_NONBLOCK, 0, e);
	if (fd < 0)
		return fd;
	/* Past the egress hook, where the hold is. */
	if (setsockopt(fd, SOL_PACKET, PACKET_QDISC_BYPASS, &on, sizeof(on)) < 0 ||
	    bind(fd, (struct sockaddr *)&to, sizeof(to)) < 0)
		return err_sys(e, "open link %s", name);
	return TAKE_FD(fd);
}

/* Its name is the link's but for the first letter. */
static int open_tap(const char *link, char letter, int *ret_fd, int *ret_index, struct err *e)
{
	struct ifreq ifr = { .ifr_flags = IFF_TAP | IFF_NO_PI };
	cleanup_close int fd = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC), s = -EBADF;

	if (fd < 0)
		return err_sys(e, "open /dev/net/tun");
	snprintf(ifr.ifr_name, sizeof(ifr.ifr_name), "%c%s", letter, link + 1);
	if (ioctl(fd, TUNSETIFF, &ifr) < 0)
		return err_sys(e, "make a TAP");
	s = netns_socket(-EBADF, AF_INET, SOCK_DGRAM, 0, e);
	if (s < 0)
		return s;
	ifr.ifr_qlen = QUEUE;
	if (ioctl(s, SIOCSIFTXQLEN, &ifr) < 0)
		return err_sys(e, "lengthen the queue of a TAP");
	ifr.ifr_mtu = 65535;
	ioctl(s, SIOCSIFMTU, &ifr); /* frames of any size that a veth may have */
	ifr.ifr_flags = IFF_UP | IFF_NOARP;
	if (ioctl(s, SIOCSIFFLAGS, &ifr) < 0)
		return err_sys(e, "set up a TAP");
	*ret_index = (int)if_nametoindex(ifr.ifr_name);
	*ret_fd = TAKE_FD(fd);
	return 0;
}

static void put_filter(struct nl *n, int link, uint32_t hook, int to, bool as_received)
{
	/* Without a handle: u32 has one set of them for both hooks. */
	struct tcmsg f = { .tcm_ifindex = link };
	struct nlmsghdr *m;

	f.tcm_parent = TC_H_MAKE(TC_H_CLSACT, hook);
	f.tcm_info = TC_H_MAKE((uint32_t)HOLD_PRIO << 16, htons(ETH_P_ALL));
	m = nl_begin(n, RTM_NEWTFILTER, NLM_F_CREATE | NLM_F_EXCL, &f, sizeof(f), "hold the frames");
	if (m)
		netns_put_redirect(m, to, as_received);
	nl_end(n, m);
}

static void put_no_filter(struct nl *n, int link, uint32_t hook)
{
	struct tcmsg f = { .tcm_ifindex = link };

	f.tcm_info = TC_H_MAKE((uint32_t)HOLD_PRIO << 16, htons(ETH_P_ALL));
	f.tcm_parent = TC_H_MAKE(TC_H_CLSACT, hook);
	nl_end(n, nl_begin(n, RTM_DELTFILTER, 0, &f, sizeof(f), "let the frames go"));
	nl_ignore(n, ENOENT);
	nl_ignore(n, EINVAL); /* no clsact: nothing was held */
}

static void put_no_filters(struct nl *n, int link)
{
	put_no_filter(n, link, TC_H_MIN_EGRESS);
	put_no_filter(n, link, TC_H_MIN_INGRESS);
}

/*
 * Frames written to it are received by the parent of a macvlan, from where they get to it: what comes in by a TAP is led
 * there. All of it goes with the fd.
 */
static int open_injector(const struct netns_host *h, const struct netns_vps *v, unsigned i, struct err *e)
{
	cleanup_nl struct nl n = NL_INIT;
	cleanup_close int fd = -EBADF;
	int index, r = nl_open(&n, NETLINK_ROUTE, -EBADF, e);
	char name[16];

	if (r == 0)
		r = open_tap(netns_link_name(h, v->uuid, i, name), 'm', &fd, &index, e);
	if (r < 0)
		return r;
	netns_put_clsact(&n, index);
	put_filter(&n, index, TC_H_MIN_INGRESS, nl_ifindex(&n, v->ifs[i].parent), true);
	r = nl_talk(&n, v->name, NULL, NULL, e);
	return r < 0 ? r : TAKE_FD(fd);
}

static int open_one(struct netns_hold *hold, struct nl *n, const struct netns_vps *v, unsigned i,
		    struct err *e)
{
	struct held *d = &hold->held[i];
	char name[16];
	int r;

	netns_link_name(&hold->host, v->uuid, i, name);
	d->macvlan = v->ifs[i];
	if (v->ifs[i].mode != NETNS_MACVLAN) {
		d->link = nl_ifindex(n, name);
		if (!d->link)
			return 0;
		/* They are there but on a link that was made by an earlier version of this program. */
		netns_put_clsact(n, d->link);
		r = nl_talk(n, v->name, NULL, NULL, e);
		if (r < 0)
			return r;
	}
	d->socket = netns_hold_socket(&hold->host, v, i, e);
	if (d->socket < 0)
		return d->socket;
	r = open_tap(name, 'h', &d->tap, &d->tap_index, e);
	return r < 0 ? r : open_tap(name, 's', &d->sink, &d->sink_index, e);
}

/* Where the kernel cannot keep them they are lost, and the peers send them again. */
static int or_not(int r)
{
	return r == -ENOENT || r == -EOPNOTSUPP ? 0 : r;
}

int netns_hold_begin(struct netns_hold *hold, struct err *e)
{
	cleanup_nl struct nl n = NL_INIT;
	int r = nl_open(&n, NETLINK_ROUTE, -EBADF, e);

	for (unsigned i = 0; r == 0 && i < hold->count && !hold->begun; i++) {
		struct held *d = &hold->held[i];

		if (d->link && d->tap >= 0) {
			put_no_filters(&n, d->link); /* of a holder that died */
			put_filter(&n, d->link, TC_H_MIN_EGRESS, d->tap_index, false);
		} else if (d->tap >= 0) {
			r = or_not(netns_parent_hold(&d->rules, &d->macvlan, d->tap_index, e));
		}
	}
	hold->begun = true;
	return r < 0 ? r : nl_talk(&n, "the links", NULL, NULL, e);
}

int netns_hold_silence(struct netns_hold *hold, struct err *e)
{
	cleanup_nl struct nl n = NL_INIT;
	int r = nl_open(&n, NETLINK_ROUTE, -EBADF, e);

	for (unsigned i = 0; r == 0 && i < hold->count; i++) {
		struct held *d = &hold->held[i];

		if (d->link && d->tap >= 0)
			put_filter(&n, d->link, TC_H_MIN_INGRESS, d->sink_index, false);
		else if (d->rules.fd >= 0)
			r = or_not(netns_parent_silence(&d->rules, &d->macvlan, e));
	}
	return r < 0 ? r : nl_talk(&n, "the links", NULL, NULL, e);
}

int netns_hold_open(const struct netns_host *h, const struct netns_vps *v, struct netns_hold **ret,
		    struct err *e)
{
	struct netns_hold *hold = calloc(1, sizeof(*hold));
	cleanup_nl struct nl n = NL_INIT;
	int r;

	if (!hold)
		return err_code(e, -ENOMEM, "hold the network of %s", v->name);
	hold->host = *h;
	hold->count = (unsigned)v->if_count;
	for (unsigned i = 0; i < hold->count; i++)
		hold->held[i] = (struct held){ .tap = -EBADF, .sink = -EBADF,
						 .socket = -EBADF, .rules = NL_INIT };
	r = nl_open(&n, NETLINK_ROUTE, -EBADF, e);
	for (unsigned i = 0; r == 0 && i < hold->count; i++)
		if (netns_if_has_link(&v->ifs[i]) || v->ifs[i].mode == NETNS_MACVLAN)
			r = open_one(hold, &n, v, i, e);
	if (r < 0) {
		netns_hold_end(hold, false);
		return r;
	}
	*ret = hold;
	return 0;
}

int netns_hold_take(struct netns_hold *hold,
		    int (*fn)(void *ctx, unsigned i, const void *frame, size_t len, struct err *e),
		    void *ctx, struct err *e)
{
	cleanup_free char *frame = malloc(NETNS_FRAME_MAX);
	int r = 0;

	if (!frame)
		return err_code(e, -ENOMEM, "take the frames that were held");
	for (unsigned i = 0; r == 0 && i < hold->count; i++) {
		ssize_t n;

		while (r == 0 && hold->held[i].tap >= 0 &&
		       (n = read(hold->held[i].tap, frame, NETNS_FRAME_MAX)) > 0)
			r = fn(ctx, i, frame, (size_t)n, e);
	}
	return r;
}

int netns_hold_wait(struct netns_hold *hold, int timeout_ms)
{
	struct pollfd p[NETNS_IF_MAX];

	for (unsigned i = 0; i < hold->count; i++)
		p[i] = (struct pollfd){ .fd = hold->held[i].tap, .events = POLLIN };
	return poll(p, hold->count, timeout_ms) > 0;
}

static int again(void *ctx, unsigned i, const void *frame, size_t len, struct err *e)
{
	struct netns_hold *hold = ctx;

	(void)e;
	/* One that does not get there now is lost as any frame may be. */
	(void)!write(hold->held[i].socket, frame, len);
	return 0;
}

void netns_hold_end(struct netns_hold *hold, bool replay)
{
	cleanup_nl struct nl n = NL_INIT;
	struct err ignored;

	if (!hold)
		return;
	/* Those that waited go before those that come: none overtakes another. What comes between the
	 * last look and the end of the filter is taken out after it. On the parent of a macvlan the rule
	 * would meet again what is sent again, so that it goes first. */
	for (unsigned i = 0; i < hold->count; i++)
		nl_done(&hold->held[i].rules);
	if (replay)
		netns_hold_take(hold, again, hold, &ignored);
	if (hold->begun && nl_open(&n, NETLINK_ROUTE, -EBADF, &ignored) == 0) {
		for (unsigned i = 0; i < hold->count; i++)
			if (hold->held[i].link)
				put_no_filters(&n, hold->held[i].link);
		nl_talk(&n, "", NULL, NULL, &ignored);
	}
	if (replay)
		netns_hold_take(hold, again, hold, &ignored);
	for (unsigned i = 0; i < hold->count; i++) {
		fd_close(&hold->held[i].tap);
		fd_close(&hold->held[i].sink);
		fd_close(&hold->held[i].socket);
	}
	free(hold);
}

int netns_hold_clear(const struct netns_host *h, const struct netns_vps *v, struct err *e)
{
	cleanup_nl struct nl n = NL_INIT;
	int r = nl_open(&n, NETLINK_ROUTE, -EBADF, e);

	for (unsigned i = 0; r == 0 && i < v->if_count; i++) {
		char name[16];
		int link = nl_ifindex(&n, netns_link_name(h, v->uuid, i, name));

		if (netns_if_has_link(&v->ifs[i]) && link)
			put_no_filters(&n, link);
	}
	return r < 0 ? r : nl_talk(&n, v->name, NULL, NULL, e);
}
