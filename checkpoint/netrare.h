/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef CHECKPOINT_NETRARE_H
#define CHECKPOINT_NETRARE_H

#include "checkpoint/netstate_internal.h"

#include <stdbool.h>

/*
 * What a network namespace can have and few do: the parts from CKPT_NET_VLAN on. A namespace is asked for them while
 * its VPS stands still, so it costs a question each at most, and none where a list that is there anyway says that
 * there is nothing.
 */
#define NET_RARE_FROM CKPT_NET_VLAN

/* Who asks, and who hears of what is there. */
struct net_rare {
	struct nl *route, *filter, *xfrm, *generic;
	bool has_bridges, has_tunnels; /* links that have tables of link-layer addresses */
	bool has_pairs;
	const struct net_walk *links; /* of the namespace, which were collected before */
	net_each_fn fn;
	void *arg;
};
int net_rare_collect(const struct net_rare *r, struct err *e);
/*
 * What lists below /proc tell, to `fn`; ERR_UNSUPPORTED: of something that is not saved. The caller is in the namespace,
 * whose links and addresses are in `all`. `fd`: those that were opened before, or all -EBADF. (netlists.c)
 */
#define NET_RARE_LISTS 13
struct net_lists {
	const struct net_walk *all;
	net_each_fn fn;
	void *arg;
};
void net_rare_lists_open(int fd[NET_RARE_LISTS]);
int net_rare_lists(const int fd[NET_RARE_LISTS], const struct net_lists *l, struct err *e);
int net_heard_restore(const struct net_walk *all, struct err *e);
/* Of a family of routing that is not saved: multicast's, MPLS'. ERR_UNSUPPORTED for those, and for others' messages. */
bool net_rare_is_foreign(enum ckpt_net_part p, const struct nlmsghdr *m);
int net_rare_refuse_message(enum ckpt_net_part p, const struct nlmsghdr *m, struct err *e);

/* As net_is_kept(); and what net_normal() does beyond dropping attributes: `m` is as the kernel has told it. */
bool net_rare_is_kept(enum ckpt_net_part p, const struct nlmsghdr *m);
void net_rare_settle(enum ckpt_net_part p, const struct nlmsghdr *m, struct nlmsghdr *out);

/* In the namespace, whose links, addresses and nexthops are there; rules of nftables are not. */
int net_rare_restore(struct nl *route, struct nl *filter, const struct net_walk *all, struct err *e);
int net_expected_restore(struct nl *filter, const struct net_walk *all, struct err *e);
/* Makes those of a part be there that the image has, and no others that net_rare_is_removable(). (netstate_restore.c) */
int net_sync(struct nl *n, enum ckpt_net_part p, const struct net_walk *all, struct err *e);
bool net_rare_is_removable(enum ckpt_net_part p, const struct nlmsghdr *m);
bool net_rare_has(const struct net_walk *all, enum ckpt_net_part p);
/* Adds those of a part as they are, one request each, to what nl_talk() will send. */
void net_rare_say_one(struct nl *n, enum ckpt_net_part p, const struct nlmsghdr *m, uint16_t flags, int ignore);
int net_rare_say(struct nl *n, const struct net_walk *all, enum ckpt_net_part p, uint16_t flags, int ignore, struct err *e);

/* netbridge.c */
int net_bridge_collect(const struct net_rare *r, struct err *e);
int net_bridge_restore(struct nl *route, const struct net_walk *all, struct err *e);
bool net_bridge_is_kept(const struct nlmsghdr *m);
bool net_bridge_is_own(const struct net_walk *all, const struct nlmsghdr *m);
void net_bridge_settle(const struct nlmsghdr *m, struct nlmsghdr *out);
/* netsets.c */
int net_sets_collect(const struct net_rare *r, struct err *e);
int net_sets_restore(struct nl *filter, const struct net_walk *all, struct err *e);
/* netxfrm.c */
int net_xfrm_collect(const struct net_rare *r, struct err *e);
int net_xfrm_restore(const struct net_walk *all, struct err *e);
/* netgeneric.c */
int net_generic_collect(const struct net_rare *r, struct err *e);
int net_generic_restore(const struct net_walk *all, struct err *e);

/* netethtool.c: `family` is the one of ethtool(8). Reads what does not change, once, while there is time. */
int net_ethtool_prepare(struct nl *generic, uint16_t family, struct err *e);
int net_ethtool_collect(const struct net_rare *r, uint16_t family, struct err *e);
int net_ethtool_restore(struct nl *generic, uint16_t family, const struct net_walk *all, struct err *e);
/* How many queues it has in use was set. */
bool net_has_channels(const struct net_walk *all, uint32_t index);
/* The same beforehand, of all families. */
int net_generic_prepare(struct nl *generic, struct err *e);

/* Whether the kernel has this module now. Who asks for what it has not has modprobe(8) run, and waits for that: a
 * tenant that has something of its kind has had it loaded. */
bool net_rare_has_module(const char *module);

#endif
