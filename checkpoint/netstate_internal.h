/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef CHECKPOINT_NETSTATE_INTERNAL_H
#define CHECKPOINT_NETSTATE_INTERNAL_H

#include "checkpoint/image.pb-c.h"
#include "checkpoint/netgiven.h"
#include "checkpoint/netstate.h"
#include "netns/nl.h"

#include <linux/rtnetlink.h>
#include <stdbool.h>

/* How a part is asked for and written: the requests are of NETLINK_ROUTE or NETLINK_NETFILTER. */
struct net_part {
	const char *name;
	int protocol;
	uint16_t get, add, del;
	size_t fixed; /* bytes before the attributes */
	uint64_t drop; /* attributes that only the kernel writes, a bit each */
	uint8_t family; /* that is asked for; 0: all */
};
extern const struct net_part net_parts[CKPT_NET_PART_COUNT];

/* A message that belongs to the state, not merely to the kernel's view of it. */
bool net_is_kept(enum ckpt_net_part p, const struct nlmsghdr *m);
/*
 * As it is to be written: flags that say how it is are taken out, attributes dropped. Of two that are the
 * same thing the bytes are the same. At most `room` bytes into `ret`; their number, or -EMSGSIZE.
 */
#define NET_MESSAGE_MAX 65536
int net_normal(enum ckpt_net_part p, const struct nlmsghdr *m, uint8_t ret[NET_MESSAGE_MAX]);

/* Calls fn for each message of a part that the namespace has. */
typedef int (*net_each_fn)(enum ckpt_net_part p, const struct nlmsghdr *m, void *arg);
int net_list(struct nl *route, struct nl *filter, enum ckpt_net_part p, net_each_fn fn, void *arg,
	     struct err *e);

/*
 * /proc/sys/net of the calling thread's namespace: hundreds of files. They can be opened before they are needed
 * (NULL: they were not): those are read where no file has come or gone since.
 */
struct net_switches;
struct net_switches *net_switches_open(void);
void net_switches_close(struct net_switches *s);
typedef int (*net_switch_fn)(const char *path, const char *value, void *arg);
int net_switches(const struct net_switches *known, net_switch_fn fn, void *arg, struct err *e);
/* As the VPS's root, whose ids begin at the host's `base`, would read it. False: it could not be set from there. */
bool net_switch_inside(const char *path, char *value, size_t size, uint32_t base, uint32_t count);
/* An fd of /proc/sys/net; sets one there: 1 when it was another before, 0. */
int net_switches_root(struct err *e);
int net_switch_set(int root, const char *path, const char *value, struct err *e);
/* It had this value when it was looked at. `l` may be NULL. */
bool net_switch_is(const struct ckpt_netlook *l, const char *path, const char *value);
/* In the namespace: takes part in the look, and returns when all is known. Then, whether the i-th switch of the image had
 * its value there. `s` may be NULL. (netsame.c) */
void net_same_help(const struct ckpt_netsame *s, int root);
/* Instead: what is not known yet is left to ckpt_netsame_all(). False: some is known to differ, or all is known. */
bool net_same_put_off(const struct ckpt_netsame *s);
bool net_same(const struct ckpt_netsame *s, size_t i);

/* It has one of these addresses. Of addresses, routes and rules alone. (netgiven.c) */
bool net_mentions(enum ckpt_net_part p, const struct nlmsghdr *m, const struct ckpt_given *g);

struct nl *net_ways_route(struct ckpt_netways *w);

/* The messages of a part in the image, one by one; NULL at the end. */
struct net_walk {
	Ckpt__NetState *const *states;
	size_t count, i, k;
	uint32_t ns;
	enum ckpt_net_part part;
};
const struct nlmsghdr *net_next(struct net_walk *w);

/* In the namespace `ns`, and back in `home`. */
int net_within(const struct ckpt_netplaces *at, uint32_t ns, uint32_t home, int (*run)(void *arg, struct err *e),
	       void *arg, struct err *e);
/* How they number each other. (netnumbers.c) */
int net_numbers_restore(const struct ckpt_netplaces *at, const struct net_walk *all, struct err *e);
/* Makes links that the namespaces have not got (netlinks_make.c); then, the switches of one being set, brings all of
 * it as far up as they were. */
int net_links_restore(const struct ckpt_netplaces *at, const struct net_walk *all, struct err *e);
int net_links_up(struct nl *route, const struct net_walk *all, struct err *e);
/* What bridges are told of their ports, once these are there. (netports.c) */
int net_ports_restore(struct nl *route, const struct net_walk *all, struct err *e);
/* ERR_UNSUPPORTED for those that cannot be made. */
int net_links_refuse(const struct net_walk *all, const char *const *configured, size_t count,
		     struct err *e);
/* Ids of users in them, which the kernel has told as the host's, become the VPS's, which begin at `base`. */
void net_links_localize(const struct net_walk *all, uint32_t base);
/*
 * Queueing disciplines, their classes and filters (netqueues_*.c). What a filter has in TCA_OPTIONS without what the
 * kernel only tells; an attribute as it is to be written, where that differs from how it was told; and the header. Then
 * a filter grows by some 16 KiB at the most, so that it fits into a request.
 */
#define NET_CLASSIFIER_MAX 32768
#define NET_QUEUE_KIND_MAX 16
void net_classifier_tidy(struct nlmsghdr *out, const struct nlmsghdr *m, const struct nlattr *options);
bool net_queue_put(struct nlmsghdr *q, enum ckpt_net_part p, const struct nlmsghdr *m, const struct nlattr *a);
void net_queue_settle(enum ckpt_net_part p, const struct nlmsghdr *m, struct tcmsg *tc);
/* Its kind; "" of other parts. */
void net_queue_kind(enum ckpt_net_part p, const struct nlmsghdr *m, char ret[NET_QUEUE_KIND_MAX]);
/* Somebody made it, and not the discipline itself. */
bool net_class_is_kept(const struct nlmsghdr *m);
/* The kernel makes it with the first filter of its priority. */
bool net_classifier_is_root(const struct nlmsghdr *m);
/* ERR_UNSUPPORTED for those that cannot be made. */
int net_queues_refuse(const struct net_walk *all, struct err *e);
/* As net_list() has it. Filters come as they are to be made: of u32 those first whose tables have the lower number. */
int net_queues_list(struct nl *route, enum ckpt_net_part p, net_each_fn fn, void *arg, struct err *e);
int net_queues_restore(struct nl *route, const struct net_walk *all, struct err *e);

/* Messages of parts of NETLINK_ROUTE, as they are to be written. (netstate_restore.c) */
struct net_items {
	struct net_item {
		enum ckpt_net_part part;
		uint8_t *data;
		size_t len;
		bool there; /* in the other list too */
		bool tentative; /* an address of which it is still asked who else has it (RFC 4862, 5.4) */
		bool anew; /* in the other list, but to be made again */
	} * item;
	size_t count, room;
};
void net_items_done(struct net_items *l);
#define cleanup_net_items __attribute__((cleanup(net_items_done)))
/* A net_each_fn of struct net_items. */
int net_items_add(enum ckpt_net_part p, const struct nlmsghdr *m, void *arg);
/* Marks what is in both. */
void net_items_compare(struct net_items *have, struct net_items *want);
int net_item_say(struct nl *n, const struct net_item *it, uint16_t type, uint16_t flags, const char *what, int ignore,
		 struct err *e);

/* What the links of WireGuard's among these have; the caller of restore() is in their namespace. (wireguard.c) */
int net_wireguards_list(const struct net_walk *links, int netns_fd, net_each_fn fn, void *arg, struct err *e);
int net_wireguards_restore(const struct net_walk *all, struct err *e);

/* Rules of nftables and tracked connections. */
int net_filter_restore(struct nl *filter, const struct net_walk *w, struct err *e);

#endif
