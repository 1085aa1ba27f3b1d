/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef CHECKPOINT_NETSTATE_H
#define CHECKPOINT_NETSTATE_H

#include "base/err.h"
#include "checkpoint/tree.h"

#include <stddef.h>
#include <stdbool.h>
#include <stdint.h>

/*
 * What a tenant made of its network namespace: links, addresses, routes, rules, neighbours, switches below
 * /proc/sys/net, nftables' rules and tracked connections. Saved as the kernel tells it, message by message;
 * a restore compares that with what the namespace has from its configuration, and makes up the difference.
 */

/* In images. */
enum ckpt_net_part {
	CKPT_NET_LINK = 1,
	CKPT_NET_ADDRESS,
	CKPT_NET_NEIGHBOUR,
	CKPT_NET_ROUTE,
	CKPT_NET_RULE,
	CKPT_NET_SWITCH, /* path below /proc/sys/net, 0, value */
	CKPT_NET_TABLE, /* of nftables from here on */
	CKPT_NET_CHAIN,
	CKPT_NET_SET,
	CKPT_NET_OBJECT,
	CKPT_NET_FLOWTABLE,
	CKPT_NET_ELEMENT,
	CKPT_NET_FILTER, /* a rule of nftables */
	CKPT_NET_TRACKED,
	CKPT_NET_NEXTHOP, /* of routing again: objects that routes lead to */
	CKPT_NET_DISCIPLINE, /* for queueing */
	CKPT_NET_CLASS, /* of one */
	CKPT_NET_CLASSIFIER, /* a filter of one, with what it does */
	CKPT_NET_WIREGUARD, /* keys and peers of a link, in a message of WG_CMD_SET_DEVICE */
	/* What few have (netrare.c). */
	CKPT_NET_VLAN = 40, /* that a bridge or a port of one lets through */
	CKPT_NET_TUNNEL, /* networks that a vxlan lets through */
	CKPT_NET_FORWARDING, /* which link-layer addresses are behind a port of a bridge, or where a tunnel leads */
	CKPT_NET_GROUP, /* that is to be sent to a port */
	CKPT_NET_LABEL, /* of IPv6 addresses (RFC 6724) */
	CKPT_NET_IPSET,
	CKPT_NET_IPSET_MEMBERS,
	CKPT_NET_TIMEOUT, /* policies for tracked connections */
	CKPT_NET_ACCOUNT, /* counters of netfilter's that have names */
	CKPT_NET_SA, /* of IPsec from here on */
	CKPT_NET_POLICY,
	CKPT_NET_POLICY_DEFAULT,
	CKPT_NET_POLICY_HASH, /* prefixes from which on policies are looked up by hash */
	CKPT_NET_PATHS, /* how many a connection of multipath TCP may have; its addresses */
	CKPT_NET_ENDPOINT,
	CKPT_NET_FEATURES, /* of links (ethtool(8), -K): what is wanted */
	CKPT_NET_CHANNELS, /* of them (-L): how many queues are in use */
	CKPT_NET_HEARD, /* link-layer groups that a link was told to hear */
	CKPT_NET_EXPECTED, /* connections that belong to one that is tracked */
	CKPT_NET_NUMBER, /* by which a namespace knows another, or itself */
	CKPT_NET_PART_COUNT,
};

/*
 * Sockets and files through which the state of a namespace is read. With `files`, those that are hundreds are opened
 * too, so that a collection that is to be short finds them open. Closing can take long.
 */
struct ckpt_netways;
struct ckpt_netways *ckpt_netways_open(int netns_fd, bool files, struct err *e);
void ckpt_netways_close(struct ckpt_netways *w);
/* Before a thread opens the first with its files: their table, which threads share, is large enough (HACKING.md). */
void ckpt_netways_reserve(void);

/* One namespace of a VPS. */
struct ckpt_netview {
	int netns_fd;
	struct ckpt_netways *ways;
	uint32_t ns;                /* the number of its records */
	uint32_t id_base, id_count; /* the host's ids of the VPS */
};

/* Records at the end of *ret. */
int ckpt_netstate_collect(const struct ckpt_netview *v, struct ckpt_arena *a, Ckpt__NetState ***ret, size_t *ret_count,
			  struct err *e);
/*
 * ERR_UNSUPPORTED with its name for what cannot be made again: links of other kinds (but for `configured`, the
 * names of those that the runtime makes), queueing disciplines and filters of other kinds, resilient groups of
 * nexthops, routes of MPLS and of multicast. The collection itself refuses what lists below /proc/net tell of
 * (netrare.c).
 */
int ckpt_netstate_refuse(Ckpt__NetState *const *states, size_t count,
			 const char *const *configured, size_t configured_count, struct err *e);
/* Users of theirs as the VPS numbers them; `base` is the host's number of its root. */
void ckpt_netstate_localize(Ckpt__NetState *const *states, size_t count, uint32_t base);
/* The 800 switches of a namespace, read while there is time: nobody may change them until they are restored. */
struct ckpt_netlook *ckpt_netlook_new(int netns_fd, struct err *e);
void ckpt_netlook_free(struct ckpt_netlook *l);
/*
 * Or compared with the image's beside what else is done. Made before the process is born that will restore them;
 * NULL, which all of these take, where there is no memory. The states must outlive it; free() waits for the thread.
 */
struct ckpt_netsame;
struct ckpt_netsame *ckpt_netsame_new(Ckpt__NetState *const *states, size_t count, uint32_t ns);
void ckpt_netsame_start(struct ckpt_netsame *s, int netns_fd);
/* Waits for the thread's end: a process that is cloned while it ends has the locks that it holds (malloc(3)) for good. */
void ckpt_netsame_join(struct ckpt_netsame *s);
void ckpt_netsame_free(struct ckpt_netsame *s);
/* Where ckpt_netstate_restore() has put it off: whether all are as they were. Waits for the thread. */
bool ckpt_netsame_is_put_off(const struct ckpt_netsame *s);
bool ckpt_netsame_all(struct ckpt_netsame *s);
/*
 * Links may be in one namespace and stand on, or lead to, another of the VPS's: an image says which by its number in
 * place of the kernel's (IFLA_LINK_NETNSID). Puts that in; ERR_UNSUPPORTED for those that lead out of the VPS, but
 * for `configured`. (netpeers.c)
 */
struct ckpt_dump;
int ckpt_netpeers_find(const struct ckpt_dump *d, struct ckpt_netways *ways, Ckpt__NetState *const *states,
		       size_t count, const char *const *configured, size_t configured_count, struct err *e);
/* How the namespace `ns` numbers the VPS's, itself among them: records more of d->tree. (netnumbers.c) */
int ckpt_netnumbers_collect(struct ckpt_dump *d, struct ckpt_netways *ways, uint32_t ns, struct err *e);
int ckpt_netpeers_check(const struct ckpt_tree *t, struct err *e);
/*
 * A link of WireGuard's sends from the namespace where it was made, which the kernel does not tell of this kind. Finds
 * it, and says it as above; ERR_UNSUPPORTED where that cannot be. Once the others' links and namespaces are known.
 * (wireguard.c)
 */
int ckpt_wireguards_find(struct ckpt_dump *d, Ckpt__NetState *const *states, size_t count, struct err *e);
/* Of the VPS's own namespace, when it is reached: keepalives begin, and peers hear that there are to be new sessions. */
int ckpt_wireguards_wake(Ckpt__NetState *const *states, size_t count, int netns_fd, struct err *e);

/* Namespaces by their numbers in the image; 0 is the VPS's own, which the caller is in. -EBADF: none. */
struct ckpt_netplaces {
	const int *fd;
	size_t count;
};
struct ckpt_moved;
struct ckpt_netseen {
	const struct ckpt_netlook *look; /* what was seen of the VPS's own switches before, or NULL; likewise */
	const struct ckpt_netsame *same;
	const struct ckpt_moved *moved;  /* which of its own addresses are others now (netgiven.h) */
	bool may_put_off;                /* what is not known of `same` by then is no matter yet */
};
/* All records. CAP_NET_ADMIN over the namespaces is all that is used. */
int ckpt_netstate_restore(Ckpt__NetState *const *states, size_t count, const struct ckpt_netplaces *at,
			  const struct ckpt_netseen *seen, struct err *e);
/* What the interface of this name was numbered in namespace `ns`; 0: there was none. */
uint32_t ckpt_netstate_number(Ckpt__NetState *const *states, size_t count, uint32_t ns, const char *name);
/* Messages whole and of their part's kind; paths that stay below /proc/sys/net. */
int ckpt_netstate_check(Ckpt__NetState *const *states, size_t count, struct err *e);

#endif
