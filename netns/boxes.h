/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef NETNS_BOXES_H
#define NETNS_BOXES_H

#include "netns/net.h"

/*
 * A firewall as sets: nftables' concatenated interval sets (Linux 5.6) hold boxes of protocol, port
 * and source, but no two that overlap, and know no order. So a list of rules in which the first
 * that matches wins is cut into boxes that do not overlap, each with one verdict.
 */
struct netns_box {
	bool allow;
	uint8_t proto_first, proto_last, unused; /* boxes are compared bytewise */
	uint16_t port_first, port_last;
	uint8_t from_first[16], from_last[16]; /* network order; IPv4 in the first four */
};

#define NETNS_BOX_MAX 1024 /* of one list and family; more is ERR_USAGE */

/* What no rule matches is in no box. The caller frees *ret. */
int netns_boxes(const struct netns_rule *rules, size_t count, int family, struct netns_box **ret,
		size_t *ret_count, struct err *e);

#endif
