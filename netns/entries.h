/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef NETNS_ENTRIES_H
#define NETNS_ENTRIES_H

#include "netns/netns.h"
#include "netns/nl.h"

/* Entries of the sets and maps, put into a transaction that nl_talk() sends. */
struct netns_entries {
	struct nl *n;
	const struct netns_host *h;
	const struct netns_vps *v;
	int what; /* NFT_ADD, NFT_DEL */
	unsigned kept; /* interfaces whose own entries are left as they are, by bits */
	bool older; /* the tables are an older vpsd's: without the sets that only save time */
	const struct netns_counts *counts; /* to go on from; NULL: from 0 */
};

/* All that one VPS has. */
int netns_entries_put_vps(const struct netns_entries *x, struct err *e);
/* The bridge and the pools. */
void netns_entries_put_host(const struct netns_entries *x);
/* Port 53 of the gateways is open to all VPSs. */
void netns_entries_put_dns(const struct netns_entries *x);

#endif
