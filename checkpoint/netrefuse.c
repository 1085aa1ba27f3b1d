/* SPDX-License-Identifier: GPL-2.0-or-later */

/* What a network namespace can have that is not saved. */
#include "checkpoint/netstate_internal.h"

#include "base/fd.h"
#include "base/macro.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/nexthop.h>
#include <linux/rtnetlink.h>
#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>

struct found {
	char what[64];
};

/* Its buckets have histories. */
static void look_at_nexthop(const struct nlmsghdr *m, struct found *f)
{
	const struct nlattr *a;

	mnl_attr_for_each(a, m, sizeof(struct nhmsg))
		if (mnl_attr_get_type(a) == NHA_RES_GROUP)
			snprintf(f->what, sizeof(f->what), "a resilient group of nexthops");
}

static void look(const struct net_walk *all, enum ckpt_net_part p,
		 void (*fn)(const struct nlmsghdr *m, struct found *f), struct found *f)
{
	struct net_walk w = *all;
	const struct nlmsghdr *m;

	w.part = p;
	while ((m = net_next(&w)))
		fn(m, f);
}

/* ip_tables and its like list their tables there; /proc/self/net follows the thread. */
static int old_tables(int netns_fd, struct found *f, struct err *e)
{
	static const char *const lists[] = { "/proc/thread-self/net/ip_tables_names",
					     "/proc/thread-self/net/ip6_tables_names" };
	cleanup_close int home = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);

	if (home < 0 || setns(netns_fd, CLONE_NEWNET) < 0)
		return err_sys(e, "enter the VPS's network namespace");
	for (size_t i = 0; i < ARRAY_SIZE(lists); i++) {
		cleanup_free char *text = NULL;
		size_t len = 0;

		if (fd_read_file_at(AT_FDCWD, lists[i], 4096, &text, &len) == 0 && len)
			snprintf(f->what, sizeof(f->what), "rules of the older iptables");
	}
	if (setns(home, CLONE_NEWNET) < 0)
		abort(); /* it was our own: only the kernel being out of memory gets us here */
	return 0;
}

int ckpt_netstate_refuse(Ckpt__NetState *const *states, size_t count, int netns_fd,
			 const char *const *configured, size_t configured_count, struct err *e)
{
	struct net_walk all = { .states = states, .count = count, .ns = count ? states[0]->ns : 0 };
	struct found f = { "" };
	int r = net_links_refuse(&all, configured, configured_count, e);

	look(&all, CKPT_NET_NEXTHOP, look_at_nexthop, &f);
	if (r == 0)
		r = net_queues_refuse(&all, e);
	if (r == 0)
		r = old_tables(netns_fd, &f, e);
	if (r == 0 && f.what[0])
		r = err_set(e, ERR_UNSUPPORTED,
			    "the VPS's network has %s, which cannot be saved yet", f.what);
	return r;
}

void ckpt_netstate_localize(Ckpt__NetState *const *states, size_t count, uint32_t base)
{
	struct net_walk all = { .states = states, .count = count, .ns = count ? states[0]->ns : 0 };

	net_links_localize(&all, base);
}
