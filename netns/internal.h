/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef NETNS_INTERNAL_H
#define NETNS_INTERNAL_H

#include "base/err.h"
#include "netns/net.h"
#include "netns/netns.h"
#include "netns/nl.h"

/* addr.c */
size_t netns_addr_len(const struct netns_addr *a); /* 4 or 16 */
/* The first and the last address of its network. */
void netns_addr_range(const struct netns_addr *a, uint8_t first[16], uint8_t last[16]);
/* One interface may have it: no loopback, multicast, link-local, network or broadcast address. */
bool netns_addr_is_host(const struct netns_addr *a);
uint64_t netns_hash(const char *a, const char *b);

/* publish.c; -EINVAL. A port is 1 to 65535; ports are "80" or "8000-8010"; a transport is tcp or udp.
 * The second cuts its text up. */
int netns_parse_port(const char *s, uint16_t *ret);
int netns_parse_ports(char *s, uint16_t *first, uint16_t *last);
int netns_parse_transport(const char *s, uint8_t *ret);
const char *netns_transport_name(uint8_t proto); /* also tcp+udp */
/* Of the host's addresses it is one's only. */
bool netns_publish_is_at_one(const struct netns_publish *p);
/* Entries in the rules, for each family. */
unsigned netns_publish_ports(const struct netns_publish *p);

/* Marks routes, neighbours and proxy entries as ours (RTA_PROTOCOL, NDA_PROTOCOL); a number that
 * rt_protos(5) leaves to users. */
#define NETNS_PROTOCOL 118

/* An interface with an end on the host that L3 rules apply to: on our own bridge, or routed. */
bool netns_if_is_ours(const struct netns_if *i);
/* It has a veth pair. */
bool netns_if_has_link(const struct netns_if *i);

/* link.c: the links of a VPS in three rounds with the kernel, each for all interfaces but those `kept`. */
struct netns_made {
	char name[16]; /* host's end */
	char ifb[16];
	int index, ifb_index;
	uint8_t mac[6]; /* host's end */
	bool kept; /* it is there, and stays as it is */
};
void netns_links_name(const struct netns_host *h, const struct netns_vps *v,
		      struct netns_made made[NETNS_IF_MAX]);
int netns_links_make(struct nl *n, const struct netns_host *h, const struct netns_vps *v,
		     struct netns_made *made, int netns_fd, struct err *e);
/* dress.c */
int netns_links_dress(struct nl *n, const struct netns_host *h, const struct netns_vps *v,
		      const struct netns_made *made, struct err *e);
int netns_links_inside(const struct netns_vps *v, const struct netns_made *made, int netns_fd,
		       struct err *e);
/* Takes away the links, but for those whose bit is set in `kept`. */
int netns_links_down(const struct netns_host *h, const struct netns_vps *v, unsigned kept,
		     struct err *e);

/* What interface `i` hangs on: its parent, or the bridge. *ret: 0 when a routed one has none. */
int netns_link_master(const struct nl *n, const struct netns_host *h, const struct netns_if *i, int *ret,
		      struct err *e);
/* A request: the link goes; one that is not there is no error. */
void netns_link_remove(struct nl *n, const char *name, const char *what);

/* inside.c: sets up an interface of a VPS; `n` speaks in its namespace, `host_mac` is the host's end's. */
void netns_inside_up(struct nl *n, const struct netns_if *i, const uint8_t host_mac[6], int index);

/* Where there are several: what is sent from its addresses leaves by it, by a table of its own. `number` counts the
 * interfaces from 0; of the first one that is only what goes to the networks of others. */
void netns_inside_answer(struct nl *n, const struct netns_vps *v, unsigned number, const uint8_t host_mac[6],
			 int index);
void netns_inside_answer_not(struct nl *n, const struct netns_vps *v, unsigned number);

/* Before that, of a macvlan: its MAC is free. The kernel takes the links of a network namespace away some time after it
 * has ended, and tells nobody outside: the one that the VPS had when it ran last may still be there. */
int netns_inside_await(struct nl *n, const struct netns_if *i, int index, const char *subject, struct err *e);

/* A macvlan, which has no end on the host that could be left down: from before it goes up until it is let go. */
void netns_inside_mute(struct nl *n, int index, bool on);

/* Takes away what of an interface does not go with the host's end of its link. */
void netns_inside_down(struct nl *n, const struct netns_if *i);

/*
 * A link that has just got its carrier passes no frame before the kernel's link watch, which runs at its
 * leisure, has taken note: who asks for the carrier makes it do so (Linux 6.8). `fd`: any socket in its namespace.
 */
void netns_await_carrier(int fd, const char *link);

/* bridge.c */
int netns_bridge_up(const struct netns_host *h, struct nl *n, struct err *e);
bool netns_forwards(const struct netns_host *h); /* the host does what its bridge needs */
int netns_bridge_down(const struct netns_host *h, struct nl *n, struct err *e);
/* Writes a file below /proc/sys/net unless it says so already. A missing one (no IPv6 on this host)
 * is no error. */
int netns_sysctl(const char *path, const char *value, struct err *e);
/* A link of ours has IPv6 also on a host that gives it to none of its own (disable_ipv6). */
int netns_link_ipv6(const char *link, struct err *e);

/* shape.c: requests that nl_talk() sends. */
const char *netns_ifb_name(const struct netns_host *h, const char *uuid, unsigned i, char buf[16]);
void netns_ifb_add(struct nl *n, const struct netns_host *h, const char *name);
/* The hooks where traffic is shaped (ingress) and held for a switch-over (egress). Laid on a link that is up
 * they cost it all frames of some milliseconds: the kernel takes its queue away meanwhile (Linux 6.18). */
void netns_put_clsact(struct nl *n, int link);
/* The rest of a request for a filter: all frames are led to that link, to be sent by it or as if they had come in there. */
void netns_put_redirect(struct nlmsghdr *m, int to_link, bool as_received);
void netns_shape_in(struct nl *n, int link, uint64_t rate);
void netns_shape_out(struct nl *n, int link, int ifb, uint64_t rate);

/*
 * hold_parent.c: a macvlan's frames, told by its MAC where its parent receives and sends. They go to the link `to`, or, of
 * those that it sends, nowhere. What does it is a table of the socket's in `n`, and goes with it. Unlike a qdisc's hooks it costs
 * what else the parent has to do nothing. -ENOENT, -EOPNOTSUPP: not with this kernel.
 */
int netns_parent_hold(struct nl *n, const struct netns_if *i, int to, struct err *e);
int netns_parent_silence(struct nl *n, const struct netns_if *i, struct err *e);

/* query.c: 1 when there is a table of ours in this family (RS_BRIDGE, RS_INET), marked or not, else 0. */
int netns_table_is_there(struct nl *n, const struct netns_host *h, int family, struct err *e);

/* It tells of a table that one of us made, of this state root or another. */
/* The number of the namespace's rules, whoever's: each transaction makes it another one, never 0 (nft_begin_at()). */
int netns_rules_generation(struct nl *n, uint32_t *ret, struct err *e);
bool netns_table_is_marked(const struct nlmsghdr *m);
/* For each element of an answer about a set, until `take` fails. */
int netns_each_elem(const struct nlmsghdr *m, int (*take)(const struct nlattr *elem, void *ctx), void *ctx);

/* legacy.c: as netns_foreign_drop(), of the old iptables. */
int netns_legacy_drop(const struct netns_host *h, char *ret, size_t size, struct err *e);
/* Whether the entry at `policy`, what a chain does with what no rule has taken, drops it. */
bool netns_legacy_drops(const void *table, size_t size, size_t policy, int family);

/* What the tables have counted, to be carried over to new ones. */
struct netns_count {
	uint8_t family; /* NFPROTO_* */
	char set[16];
	uint8_t key[16];
	uint64_t packets, bytes;
};
struct netns_counts {
	struct netns_count *item;
	size_t count, room;
};
/* No tables: no counts. */
int netns_counts_read(const struct netns_host *h, struct netns_counts *ret, struct err *e);
void netns_counts_done(struct netns_counts *c);
/* NULL: nothing was counted. `key` has 16 bytes, padded with 0. */
const struct netns_count *netns_counts_find(const struct netns_counts *c, uint8_t family,
					    const char *set, const uint8_t key[16]);

/* rules.c: entries of one VPS in the tables, as one transaction. */
int netns_rules_add(const struct netns_host *h, const struct netns_vps *v, struct err *e);
int netns_rules_remove(const struct netns_host *h, const struct netns_vps *v, struct err *e);
/* From one to the other in one transaction; what belongs to the interfaces in `kept` stays. */
int netns_rules_change(const struct netns_host *h, const struct netns_vps *old,
		       const struct netns_vps *new, unsigned kept, struct err *e);
int netns_rules_down(const struct netns_host *h, struct err *e);
int netns_rules_count(const struct netns_host *h, const struct netns_vps *v, struct netns_stat *ret,
		      struct err *e);

#endif
