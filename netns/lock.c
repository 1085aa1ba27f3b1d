/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Connections stand still while their ends are saved, and until they are all there again. */
#include "netns/netns.h"

#include "base/fd.h"
#include "base/macro.h"
#include "netns/nft.h"

#include <errno.h>
#include <linux/netfilter.h>
#include <linux/netlink.h>
#include <unistd.h>

#define PRIORITY (-500) /* before all that a tenant's own rules, or conntrack, could do with it */

static int put_rules(struct nl *n, const char *table, struct err *e)
{
	int r;

	nft_chain_add(n, NFPROTO_INET, table, "in", "filter", NF_INET_PRE_ROUTING, PRIORITY);
	/* NETNS_LOCK_MARK, as its bytes lie in memory. */
	r = nft_rule_add(n, NFPROTO_INET, table, "in", "mark =0x76737076 accept", 0);
	if (r == 0)
		r = nft_rule_add(n, NFPROTO_INET, table, "in", "drop", 0);
	return r < 0 ? err_code(e, r, "compile the rules of the lock") : 0;
}

int netns_lock(int netns_fd, struct err *e)
{
	cleanup_nl struct nl n = NL_INIT;
	char table[32];
	int r = nl_open(&n, NETLINK_NETFILTER, netns_fd, e);

	if (r < 0)
		return r;
	/* A name that nobody inside has; tables of one that died go by themselves. */
	snprintf(table, sizeof(table), NETNS_LOCK_PREFIX "%d-%d", (int)getpid(), n.fd);
	nft_begin(&n);
	nft_table_add_owned(&n, NFPROTO_INET, table);
	r = put_rules(&n, table, e);
	nft_end(&n);
	if (r == 0)
		r = nl_talk(&n, "the lock", NULL, NULL, e);
	return r < 0 ? r : TAKE_FD(n.fd);
}

/* What the kernel would say in their stead of connections that end. */
static int put_silence(struct nl *n, const char *table, struct err *e)
{
	int r;

	nft_chain_add(n, NFPROTO_INET, table, "out", "filter", NF_INET_LOCAL_OUT, PRIORITY);
	r = nft_rule_add(n, NFPROTO_INET, table, "out", "l4proto =06 drop", 0); /* IPPROTO_TCP */
	return r < 0 ? err_code(e, r, "compile the rules of the lock") : 0;
}

static int seal(int netns_fd, bool on, bool silent, struct err *e)
{
	static const char table[] = NETNS_LOCK_PREFIX "seal";
	cleanup_nl struct nl n = NL_INIT;
	int r = nl_open(&n, NETLINK_NETFILTER, netns_fd, e);

	if (r < 0)
		return r;
	nft_begin(&n);
	if (on) {
		nft_table_add(&n, NFPROTO_INET, table);
		r = put_rules(&n, table, e);
		if (r == 0 && silent)
			r = put_silence(&n, table, e);
		nft_end(&n);
	} else {
		nft_table_del(&n, NFPROTO_INET, table);
		nl_ignore(&n, ENOENT);
		nft_end(&n);
	}
	if (r == 0)
		r = nl_talk(&n, "the seal", NULL, NULL, e);
	/* What was deleted is waited for. */
	if (!on)
		fd_close_later(&n.fd);
	return r;
}

int netns_seal(int netns_fd, bool on, struct err *e)
{
	return seal(netns_fd, on, false, e);
}

int netns_silence(int netns_fd, struct err *e)
{
	return seal(netns_fd, true, true, e);
}
