/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef CHECKPOINT_NETQUEUES_INTERNAL_H
#define CHECKPOINT_NETQUEUES_INTERNAL_H

#include "checkpoint/netstate_internal.h"

#include <linux/pkt_cls.h>
#include <linux/pkt_sched.h>

/* What is known of queueing disciplines, classes, filters and actions of a kind (netqueues_kinds.c): by that they are
 * compared (netqueues_tidy.c), written (netqueues_put.c) and refused (netqueues_refuse.c). */

/* The attributes of a kind, up to the last one that is known. Kinds may keep other things in them than attributes. */
struct net_shape {
	const char *kind;
	uint16_t last;   /* 0: none are looked at */
	uint64_t told;   /* only told, a bit each */
	uint64_t refuse; /* cannot be said again */
	uint16_t actions, police, flags; /* of filters: which attributes these are */
	uint16_t also_told, refuse_first, refuse_last; /* beyond those that have a bit */
};

/* NULL: it is of a kind that is not known. The last one is never NULL. */
const struct net_shape *net_shape_of(enum ckpt_net_part p, const struct nlmsghdr *m);
const struct net_shape *net_action_shape(const struct nlattr *action);
const struct net_shape *net_police_shape(void);
/* This attribute the kernel only tells. */
bool net_shape_tells(const struct net_shape *s, uint16_t type);
/* What an attribute names; "" where it is none. */
void net_queue_kind_read(const struct nlattr *a, char ret[NET_QUEUE_KIND_MAX]);

/* Of a table of u32's, as filters are hung into: its number begins with this bit where the kernel has chosen it. */
#define NET_TABLE_CHOSEN 0x80000000u
/* Of a VLAN the protocol inside is told as the frame's, which is the filter's. */
bool net_classifier_is_of_vlan(const struct net_shape *s, const struct nlattr *options);
uint16_t net_classifier_protocol(const struct nlmsghdr *m);

void net_attr_copy(struct nlmsghdr *q, const struct nlattr *a);

#endif
