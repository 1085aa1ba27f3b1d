/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Connections stand still while their ends are saved, and until they are all there again. */
#include "netns/netns.h"

#include "base/macro.h"
#include "netns/nft.h"

#include <linux/netfilter.h>
#include <linux/netlink.h>
#include <unistd.h>

#define PRIORITY (-500) /* before all that a tenant's own rules, or conntrack, could do with it */

int netns_lock(int netns_fd, struct err *e)
{
	cleanup_nl struct nl n = NL_INIT;
	char table[32];
	int r = nl_open(&n, NETLINK_NETFILTER, netns_fd, e);

	if (r < 0)
		return r;
	/* A name that nobody inside has; tables of one that died go by themselves. */
	snprintf(table, sizeof(table), "vps-lock-%d-%d", (int)getpid(), n.fd);
	nft_begin(&n);
	nft_table_add_owned(&n, NFPROTO_INET, table);
	nft_chain_add(&n, NFPROTO_INET, table, "in", "filter", NF_INET_PRE_ROUTING, PRIORITY);
	/* NETNS_LOCK_MARK, as its bytes lie in memory. */
	r = nft_rule_add(&n, NFPROTO_INET, table, "in", "mark =0x76737076 accept", 0);
	if (r == 0)
		r = nft_rule_add(&n, NFPROTO_INET, table, "in", "drop", 0);
	if (r < 0)
		return err_code(e, r, "compile the rules of the lock");
	nft_end(&n);
	r = nl_talk(&n, "the lock", NULL, NULL, e);
	return r < 0 ? r : TAKE_FD(n.fd);
}
