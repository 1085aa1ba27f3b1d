/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef CHECKPOINT_NETLINKS_H
#define CHECKPOINT_NETLINKS_H

#include "checkpoint/netstate_internal.h"

#include <stdbool.h>
#include <stdint.h>

#define NET_GRO_IPV4_MAX_SIZE 64 /* IFLA_*, Linux 6.3: newer than some headers */

/* A link as the kernel tells it. The strings and attributes lie in the message. */
struct net_link {
	const struct ifinfomsg *ifi;
	const char *name, *kind;
	const struct nlattr *data; /* of its kind */
	const struct nlattr *port; /* what its bridge is told of it; NULL: it is no port of one */
	const struct nlattr *bonded; /* likewise what is told of it as a bond's */
	const struct nlattr *attr[NET_GRO_IPV4_MAX_SIZE + 1];
	uint32_t parent, master;
	bool queued;    /* of a pair: as many queues as it says are to be had, not as many as a new one would have */
	bool away;      /* its parent, or its other end, is in another namespace: */
	uint32_t where; /* in an image, that one's number */
};

void net_link_read(const struct nlmsghdr *m, struct net_link *l);
/* The next link of those of a namespace, and false at the end, whatever part the walk was over. */
bool net_link_next(struct net_walk *w, struct net_link *ret);
/* A link of the image by its namespace and number. False: there is none. */
bool net_link_find(const struct net_walk *all, uint32_t ns, uint32_t index, struct net_link *ret);
/* The kernel can be asked for one of its kind. */
bool net_link_is_made(const struct net_link *l);
/* What the kernel puts into each namespace by itself, when it has the module. */
bool net_link_is_given(const struct net_link *l);
/* The number in an attribute of four bytes; 0: there is none. */
uint32_t net_link_number(const struct nlattr *a);
/* With this index in the caller's namespace. */
bool net_link_is_there(uint32_t index);
/* An attribute of the image may be longer than what it should hold, and than the room for the message. */
void net_link_copy(struct nlmsghdr *q, const struct nlattr *a, size_t max);
/* Among those nested in `data` is one that is the same. */
bool net_link_has(const struct nlattr *data, const struct nlattr *a);

/* In the order of a restore (netlinks_state.c). Before they go up: what they make of their addresses by themselves. */
int net_tokens_restore(struct nl *route, const struct net_walk *all, struct err *e);
/* Once a bond has its ports. */
int net_bonds_restore(struct nl *route, const struct net_walk *all, struct err *e);
/* When nothing wants their carriers any more: states that were set. */
int net_states_restore(struct nl *route, const struct net_walk *all, struct err *e);

#endif
