/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Frames of a macvlan that is held. */
#include "netns/internal.h"

#include "netns/nft.h"

#include <linux/netfilter.h>

#define PRIORITY (-500)

/* Of a socket: two that are held on one parent have nothing to do with each other. */
static const char *table_name(const struct nl *n, char buf[32])
{
	snprintf(buf, 32, "vps-hold-%d-%d", (int)getpid(), n->fd);
	return buf;
}

static int add_rule(struct nl *n, const char *chain, const char *field, const uint8_t mac[6], const char *verdict,
		    struct err *e)
{
	char text[96], table[32];

	snprintf(text, sizeof(text), "ether.%s =0x%02x%02x%02x%02x%02x%02x %s", field, mac[0], mac[1], mac[2], mac[3],
		 mac[4], mac[5], verdict);
	if (nft_rule_add(n, NFPROTO_NETDEV, table_name(n, table), chain, text, 0) < 0)
		return err_set(e, ERR_FAIL, "rule \"%s\" does not compile", text);
	nft_end(n);
	return nl_talk(n, "the parent of a macvlan", NULL, NULL, e);
}

int netns_parent_hold(struct nl *n, const struct netns_if *i, int to, struct err *e)
{
	int r = nl_open(n, NETLINK_NETFILTER, -EBADF, e); /* its own: nobody else takes the table away */
	char verdict[32], table[32];

	if (r < 0)
		return r;
	table_name(n, table);
	nft_begin(n);
	nft_table_add_owned(n, NFPROTO_NETDEV, table);
	nft_netdev_chain_add(n, table, "in", i->parent, NF_NETDEV_INGRESS, PRIORITY);
	snprintf(verdict, sizeof(verdict), "fwd %d", to);
	return add_rule(n, "in", "daddr", i->mac, verdict, e);
}

int netns_parent_silence(struct nl *n, const struct netns_if *i, struct err *e)
{
	char table[32];

	nft_begin(n);
	/* Linux 5.16 */
	nft_netdev_chain_add(n, table_name(n, table), "out", i->parent, NF_NETDEV_EGRESS, PRIORITY);
	return add_rule(n, "out", "saddr", i->mac, "drop", e);
}
