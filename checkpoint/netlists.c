/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Lists below /proc that tell of what a network namespace has: what is saved of them, and what is refused. */
#include "checkpoint/netlinks.h"
#include "checkpoint/netrare.h"

#include "base/fd.h"
#include "base/macro.h"

#include <net/if.h> /* before linux/if.h, which minds it */

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_addr.h>
#include <linux/neighbour.h>
#include <linux/netfilter_bridge/ebtables.h>
#include <linux/rtnetlink.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#define LIST_MAX MIB(4)

/* Those of which more is to be known than that they have something. */
enum { HEARD = NET_RARE_LISTS - 2, ANYCAST };

/* Lists that have nothing but their heads, if that, where there is nothing. */
static const struct {
	const char *path;
	unsigned heads; /* lines */
	const char *nothing; /* or what they begin with then */
	const char *what;
} lists[] = {
	{ "thread-self/net/ip_tables_names", 0, NULL, "rules of the older iptables" },
	{ "thread-self/net/ip6_tables_names", 0, NULL, "rules of the older iptables" },
	{ "thread-self/net/arp_tables_names", 0, NULL, "rules of the older arptables" },
	{ "thread-self/net/netfilter/nfnetlink_queue", 0, NULL, "a program that takes packets from a queue of netfilter's (NFQUEUE)" },
	{ "thread-self/net/netfilter/nfnetlink_log", 0, NULL, "a program that hears a group of netfilter's log (NFLOG)" },
	{ "thread-self/net/ip_mr_vif", 1, NULL, "multicast routing" },
	{ "thread-self/net/ip6_mr_vif", 1, NULL, "multicast routing" },
	{ "thread-self/net/ip_vs", 3, NULL, "services of IPVS" },
	/* Programs that have told of no interfaces yet (MRT_INIT). */
	{ "sys/net/ipv4/conf/all/mc_forwarding", 0, "0\n", "a program that routes multicast" },
	{ "sys/net/ipv6/conf/all/mc_forwarding", 0, "0\n", "a program that routes multicast" },
	{ "thread-self/net/ip6_flowlabel", 1, NULL, "flow labels of IPv6 that a program leases, or just did" },
	[HEARD] = { "thread-self/net/dev_mcast", 0, NULL, NULL },
	[ANYCAST] = { "thread-self/net/anycast6", 0, NULL, NULL },
};

static_assert(ARRAY_SIZE(lists) == NET_RARE_LISTS, "one fd for each");

static int refuse(const char *what, struct err *e)
{
	return err_set(e, ERR_UNSUPPORTED, "the VPS's network has %s, which cannot be saved yet", what);
}

static bool has_more(const char *text, unsigned heads)
{
	while (heads--) {
		text = strchr(text, '\n');
		if (!text++)
			return false;
	}
	return *text != '\0';
}

static int open_list(int proc, size_t i)
{
	return openat(proc, lists[i].path, O_RDONLY | O_CLOEXEC);
}

void net_rare_lists_open(int fd[NET_RARE_LISTS])
{
	cleanup_close int proc = open("/proc", O_PATH | O_DIRECTORY | O_CLOEXEC);

	for (size_t i = 0; i < NET_RARE_LISTS; i++)
		fd[i] = open_list(proc, i);
}

static int look_at(int fd, size_t i, struct err *e)
{
	char text[4096];
	ssize_t n = pread(fd, text, sizeof(text) - 1, 0);

	text[n > 0 ? n : 0] = '\0';
	if (lists[i].nothing && (n <= 0 || STREQ(text, lists[i].nothing)))
		return 0;
	return has_more(text, lists[i].heads) ? refuse(lists[i].what, e) : 0;
}

/* A group that was asked for by hand, and not by a protocol (SIOCADDMULTI). */
static int give_group(const char *line, net_each_fn fn, void *arg)
{
	union {
		struct nlmsghdr m;
		char room[128];
	} buf;
	struct nlmsghdr *m;
	int index, users, global;
	char hex[2 * 32 + 1];
	uint8_t mac[32];
	size_t len;

	if (sscanf(line, "%d %*s %d %d %64[0-9a-f]", &index, &users, &global, hex) != 4 || !global || index <= 0)
		return 0;
	len = strlen(hex) / 2;
	for (size_t i = 0; i < len; i++) {
		unsigned b;

		sscanf(hex + 2 * i, "%2x", &b);
		mac[i] = (uint8_t)b;
	}
	memset(&buf, 0, sizeof(buf));
	m = mnl_nlmsg_put_header(&buf);
	((struct ndmsg *)mnl_nlmsg_put_extra_header(m, sizeof(struct ndmsg)))->ndm_ifindex = index;
	mnl_attr_put(m, NDA_LLADDR, len, mac);
	return fn(CKPT_NET_HEARD, m, arg);
}

static int hear_groups(char *text, const struct net_lists *l)
{
	char *state;
	int r = 0;

	for (char *line = strtok_r(text, "\n", &state); r == 0 && line; line = strtok_r(NULL, "\n", &state))
		r = give_group(line, l->fn, l->arg);
	return r;
}

/* An address of the link is in the subnet whose routers' anycast address this is: while it forwards, the kernel joins
 * that for each (RFC 4291, 2.6.1), and again whenever the address is tried anew. */
static bool has_subnet(const struct net_walk *all, int index, const uint8_t address[16])
{
	struct net_walk w = *all;
	const struct nlmsghdr *m;

	w.part = CKPT_NET_ADDRESS;
	while ((m = net_next(&w))) {
		const struct ifaddrmsg *ifa = mnl_nlmsg_get_payload(m);
		const struct nlattr *a = nl_attr(m, sizeof(*ifa), IFA_LOCAL);
		uint8_t subnet[16] = { 0 };

		a = a ? a : nl_attr(m, sizeof(*ifa), IFA_ADDRESS);
		if (ifa->ifa_family != AF_INET6 || (int)ifa->ifa_index != index || !a || mnl_attr_get_payload_len(a) != 16)
			continue;
		for (unsigned i = 0; i < ifa->ifa_prefixlen && i < 128; i++)
			subnet[i / 8] |= ((const uint8_t *)mnl_attr_get_payload(a))[i / 8] & 0x80 >> i % 8;
		if (memcmp(subnet, address, sizeof(subnet)) == 0)
			return true;
	}
	return false;
}

static int look_at_anycast(char *text, const struct net_lists *l, struct err *e)
{
	char *state;

	for (char *line = strtok_r(text, "\n", &state); line; line = strtok_r(NULL, "\n", &state)) {
		char hex[33];
		uint8_t address[16];
		int index;

		if (sscanf(line, "%d %*s %32[0-9a-f]", &index, hex) != 2 || strlen(hex) != 32)
			continue;
		for (size_t i = 0; i < sizeof(address); i++) {
			unsigned b;

			sscanf(hex + 2 * i, "%2x", &b);
			address[i] = (uint8_t)b;
		}
		if (!has_subnet(l->all, index, address))
			return refuse("an anycast address that a program has joined", e);
	}
	return 0;
}

static int take(int fd, size_t i, const struct net_lists *l, struct err *e)
{
	cleanup_free char *text = NULL;
	int r = fd_read_all(fd, LIST_MAX, &text, NULL);

	if (r < 0)
		return err_code(e, r, "read /proc/%s", lists[i].path);
	return i == HEARD ? hear_groups(text, l) : look_at_anycast(text, l, e);
}

/* What is seen of the packets that a rule has told it to remember (iptables' `recent`): a file a list. */
static int look_at_recent(int proc, struct err *e)
{
	int fd = openat(proc, "thread-self/net/xt_recent", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *d = fd < 0 ? NULL : fdopendir(fd);
	const struct dirent *it;
	bool any = false;

	if (!d)
		fd_close(&fd);
	while (d && !any && (it = readdir(d))) {
		cleanup_close int file = it->d_name[0] == '.' ? -EBADF : openat(dirfd(d), it->d_name, O_RDONLY | O_CLOEXEC);
		char byte;

		any = file >= 0 && read(file, &byte, 1) == 1;
	}
	if (d)
		closedir(d);
	return any ? refuse("addresses that a rule of iptables remembers (xt_recent)", e) : 0;
}

/* The kernel makes an empty table where it has the module, and loads it where it has not: only those that are there are
 * asked for. */
static int look_at_ebtables(struct err *e)
{
	static const char *const tables[] = { "filter", "nat", "broute" };
	cleanup_close int fd = -EBADF;

	for (size_t i = 0; i < ARRAY_SIZE(tables); i++) {
		struct ebt_replace table = { .nentries = 0 };
		socklen_t size = sizeof(table);
		char module[32];

		snprintf(module, sizeof(module), "ebtable_%s", tables[i]);
		if (!net_rare_has_module(module))
			continue;
		if (fd < 0)
			fd = socket(AF_INET, SOCK_RAW | SOCK_CLOEXEC, IPPROTO_RAW);
		snprintf(table.name, sizeof(table.name), "%s", tables[i]);
		if (fd >= 0 && getsockopt(fd, IPPROTO_IP, EBT_SO_GET_INFO, &table, &size) == 0 && table.nentries)
			return refuse("rules of the older ebtables", e);
	}
	return 0;
}

/* One that was not there before may be by now. */
int net_rare_lists(const int fd[NET_RARE_LISTS], const struct net_lists *l, struct err *e)
{
	cleanup_close int proc = open("/proc", O_PATH | O_DIRECTORY | O_CLOEXEC);
	int r = 0;

	if (proc < 0)
		return err_sys(e, "open %s", "/proc");
	for (size_t i = 0; r == 0 && i < NET_RARE_LISTS; i++) {
		cleanup_close int now = fd[i] < 0 ? open_list(proc, i) : -EBADF;
		int list = fd[i] < 0 ? now : fd[i];

		if (!lists[i].what)
			r = list < 0 ? 0 : take(list, i, l, e);
		else
			r = look_at(list, i, e);
	}
	if (r == 0)
		r = look_at_recent(proc, e);
	return r == 0 ? look_at_ebtables(e) : r;
}

/* In the namespace. */
int net_heard_restore(const struct net_walk *all, struct err *e)
{
	struct net_walk w = *all;
	const struct nlmsghdr *m;
	cleanup_close int fd = -EBADF;

	w.part = CKPT_NET_HEARD;
	while ((m = net_next(&w))) {
		const struct ndmsg *nd = mnl_nlmsg_get_payload(m);
		const struct nlattr *mac = nl_attr(m, sizeof(*nd), NDA_LLADDR);
		struct ifreq ifr = { .ifr_hwaddr.sa_family = AF_UNSPEC };

		if (!mac || mnl_attr_get_payload_len(mac) > sizeof(ifr.ifr_hwaddr.sa_data))
			continue;
		memcpy(ifr.ifr_hwaddr.sa_data, mnl_attr_get_payload(mac), mnl_attr_get_payload_len(mac));
		if (fd < 0)
			fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
		if (fd < 0)
			return err_sys(e, "make a socket");
		if (!if_indextoname((unsigned)nd->ndm_ifindex, ifr.ifr_name))
			continue;
		if (ioctl(fd, SIOCADDMULTI, &ifr) < 0)
			return err_sys(e, "have %s hear a link-layer group", ifr.ifr_name);
	}
	return 0;
}
