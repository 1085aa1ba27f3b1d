/* SPDX-License-Identifier: GPL-2.0-or-later */

/* What a network namespace can have that is not saved. */
#include "checkpoint/netstate_internal.h"

#include "base/fd.h"
#include "base/macro.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/netlink.h>
#include <linux/nexthop.h>
#include <linux/rtnetlink.h>
#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>

struct found {
	char what[64];
};

/* Those that the kernel gives a link have no number. */
static int is_discipline(const struct nlmsghdr *m, void *arg)
{
	const struct tcmsg *t = mnl_nlmsg_get_payload(m);
	struct found *f = arg;
	const struct nlattr *a;

	if (m->nlmsg_type != RTM_NEWQDISC || m->nlmsg_len < NLMSG_LENGTH(sizeof(*t)) ||
	    t->tcm_handle == 0)
		return 0;
	mnl_attr_for_each(a, m, sizeof(*t))
	{
		if (mnl_attr_get_type(a) == TCA_KIND &&
		    mnl_attr_validate(a, MNL_TYPE_NUL_STRING) >= 0)
			snprintf(f->what, sizeof(f->what), "the queueing discipline %.20s",
				 mnl_attr_get_str(a));
	}
	return 0;
}

static int is_nexthop(const struct nlmsghdr *m, void *arg)
{
	struct found *f = arg;

	if (m->nlmsg_type == RTM_NEWNEXTHOP)
		snprintf(f->what, sizeof(f->what), "a nexthop object");
	return 0;
}

static int look(struct nl *n, uint16_t get, nl_data_fn fn, size_t fixed, struct found *f,
		struct err *e)
{
	uint8_t zero[32] = { 0 };

	nl_end(n, nl_begin(n, get, NLM_F_DUMP, zero, fixed, "list"));
	nl_ignore(n, EOPNOTSUPP);
	return nl_talk(n, "the VPS's network", fn, f, e);
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
	cleanup_nl struct nl route = NL_INIT;
	struct net_walk all = { .states = states, .count = count, .ns = count ? states[0]->ns : 0 };
	struct found f = { "" };
	int r = net_links_refuse(&all, configured, configured_count, e);

	if (r == 0)
		r = nl_open(&route, NETLINK_ROUTE, netns_fd, e);
	if (r == 0)
		r = look(&route, RTM_GETQDISC, is_discipline, sizeof(struct tcmsg), &f, e);
	if (r == 0)
		r = look(&route, RTM_GETNEXTHOP, is_nexthop, sizeof(struct nhmsg), &f, e);
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
