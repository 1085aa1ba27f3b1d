/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef NETNS_NETNS_H
#define NETNS_NETNS_H

#include "base/err.h"
#include "netns/net.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/*
 * The network stack of a VPS, given from outside. Its network namespace is made by the runtime;
 * this layer fills it before init starts, and keeps the host's half: the bridge, the links, one
 * nft table in each of the families inet and bridge (netns/README.md describes the rules).
 *
 * All calls act on the network namespace of the calling thread as the host's. Each is a handful of
 * system calls, runs no program and waits for nobody; the cost does not depend on how many VPSs
 * there are, but for those that are said to. CAP_NET_ADMIN is needed, and CAP_SYS_ADMIN to enter
 * the VPS's namespace.
 *
 * Who calls what: vpsd netns_host_up() before it starts the first VPS and when the watch says so,
 * netns_host_down() after the last; the holder of a VPS netns_vps_up() and _down(). Changes of one
 * VPS are single nft transactions, so both may go on at the same time.
 */

/*
 * Says that this process stays in its network namespace for good. Its socket of nftables is kept
 * open then: whoever closes one waits until the kernel has freed what anybody's transactions have
 * deleted by then, which takes a grace period of RCU (12 ms seen, Linux 6.18).
 */
void netns_stay(void);

/* The kernel has IPv6 (not where it was started with ipv6.disable=1); interfaces may be without (disable_ipv6). */
bool netns_has_ipv6(void);

/* Sets the loopback interface of the namespace behind `netns_fd` up (an fd of /proc/PID/ns/net).
 * The calling thread enters it and returns to its own. */
int netns_loopback_up(int netns_fd, struct err *e);

/*
 * From here on nothing that arrives in the namespace behind `netns_fd`, from outside or by its own
 * loopback, comes to a socket, but for packets with the mark: connections stand still. Returns an fd
 * that must be closed to end it; the kernel does when its holder dies. CAP_NET_ADMIN over it is needed.
 */
#define NETNS_LOCK_MARK 0x76707376u
#define NETNS_LOCK_PREFIX "vps-lock-" /* of the names of its tables */
int netns_lock(int netns_fd, struct err *e);
/*
 * The same for good, until it is taken off: for a namespace that has to do with connections only while it is
 * being made or goes away, so that it never answers a peer that nobody of that name listens to. Idempotent.
 */
int netns_seal(int netns_fd, bool on, struct err *e);
/* And nothing is said by TCP, for one whose sockets end without a word to their peers: those that waited to be accepted would
 * be reset. It goes with the seal. */
int netns_silence(int netns_fd, struct err *e);

/* `fn` is called by this thread in the namespace behind `netns_fd`; the caller is back in its own. Returns what it does. */
int netns_inside(int netns_fd, int (*fn)(void *arg, struct err *e), void *arg, struct err *e);
/* A socket of the namespace behind `netns_fd`, close-on-exec; the caller is back in its own. */
int netns_socket(int netns_fd, int family, int type, int protocol, struct err *e);

/* One VPS as the network sees it. The arrays are the caller's. */
struct netns_vps {
	char name[64];
	char uuid[37]; /* link names and MACs come from it: they survive a rename */
	struct netns_if *ifs;
	size_t if_count;
	uint32_t number[NETNS_IF_MAX]; /* what an interface is to be numbered inside; 0: as comes */
	const struct netns_publish *publish;
	size_t publish_count;
	const struct netns_rule *rules; /* the firewall from outside; the first that matches wins */
	size_t rule_count;
	bool held;   /* nothing reaches it until netns_vps_release() (hold.h) */
	/* It runs elsewhere until then, perhaps in another state root of this host, which has its ports for so long:
	 * nobody is asked whether they are free. */
	bool arriving;
	bool closed; /* what no rule matches is refused, not let in */
	bool isolate; /* it reaches neither services of the host nor other VPSs, but for `allow` */
	const struct netns_allow *allow; /* entries with names are passed over */
	size_t allow_count;
};

/*
 * Checks what the parsers cannot see, between the parts of one VPS: names and addresses twice,
 * a mode that cannot stand beside others, a published port without an address it could lead to.
 * Fills in what was left out: MACs, and for bridge and routed without a gateway the host's.
 * Addresses that are to come from the pool must be there. ERR_USAGE.
 */
int netns_vps_check(const struct netns_host *h, struct netns_vps *v, struct err *e);

/* The host's end of interface `i`, at most 15 characters; "" for modes that have none. */
const char *netns_link_name(const struct netns_host *h, const char *uuid, unsigned i, char buf[16]);

/*
 * netns_host_init() for a state root in which nobody has an address of the pools yet: what is left to it is the tag's
 * first choice that is in the way of no route of the host (which other roots' bridges have, too), or, where none is, the
 * first. Pools that are given do not matter to it. A dump of the routes for each that is tried. Returns 1: another than the first, which the caller remembers.
 */
int netns_host_choose(struct netns_host *h, const char *tag, const char *pool4, const char *pool6, struct err *e);

/*
 * The bridge with its addresses and the forwarding switches, then the tables unless they are there.
 * Does nothing that is already so. ERR_EXISTS: a link of the bridge's name that is none of ours;
 * ERR_USAGE: the pool overlaps an address or route of the host. `all` are the VPSs whose entries
 * the tables get, were they not there.
 */
int netns_host_up(const struct netns_host *h, const struct netns_vps *const *all, size_t count,
		  struct err *e);
/* Takes the tables and the bridge away. Idempotent. The forwarding switches stay as they are. */
int netns_host_down(const struct netns_host *h, struct err *e);

/*
 * Lets all VPSs, isolated ones too, reach port 53 (UDP and TCP) of the gateways' addresses, or no
 * longer. Neither does a port 53 that a VPS publishes on all addresses take queries from there.
 */
int netns_host_serve_dns(struct netns_host *h, bool on, struct err *e);

/*
 * Replaces both tables by new ones that hold the entries of `all`, in one transaction: no packet
 * meets a table half filled. The drop counts are carried over. Costs in proportion to `count`.
 */
int netns_rules_replace(const struct netns_host *h, const struct netns_vps *const *all,
			size_t count, struct err *e);
/* 1 when both tables are there, made by us and with all their rules, else 0. */
int netns_rules_are_up(const struct netns_host *h, struct err *e);

/*
 * Links, addresses, routes, rules and shaping of all interfaces of a VPS, checked by
 * netns_vps_check() before. Rules come first: no frame of the VPS goes by unseen. What was left of
 * an earlier run of the same VPS is replaced. On failure nothing is left.
 */
int netns_vps_up(const struct netns_host *h, const struct netns_vps *v, int netns_fd,
		 struct err *e);
/* Idempotent; needs the same description as up did, the namespace may be gone. Goes on after a
 * failure and returns the first. */
int netns_vps_down(const struct netns_host *h, const struct netns_vps *v, struct err *e);
/*
 * The same, by a process that the caller does not wait for as soon as nothing is to be seen any more. For a caller
 * whose children are born in its own pid namespace.
 */
int netns_vps_leave(const struct netns_host *h, const struct netns_vps *v, struct err *e);
/*
 * The host's ends of a VPS that runs, as if they had just been made: in their bridges, with their neighbours and routes and
 * all that this version tells them. After the bridge was mended; and when a new vpsd finds those that an older one's
 * monitors made. What is held (hold.h) stays so. One that fails keeps no other from it; the first error is told.
 */
int netns_vps_attach(const struct netns_host *h, const struct netns_vps *v, struct err *e);

/*
 * Takes a running VPS from one network to another, both checked by netns_vps_check(): published ports,
 * rules, isolation and services in one transaction, and the interfaces. Those that are the same at the
 * same place are left as they are, but for their rates; the others, and those that the tenant has deleted,
 * are made anew. `netns_fd` may be -EBADF when all are the same and there. On failure the old network is put back. Neither may be the host's own
 * (NETNS_HOST).
 */
int netns_vps_change(const struct netns_host *h, const struct netns_vps *old,
		     const struct netns_vps *new, int netns_fd, struct err *e);

/*
 * Makes the interfaces of a VPS anew when one is not numbered inside as v->number says; what its rules are stays.
 * On failure those are put back that were there.
 */
int netns_vps_renumber(const struct netns_host *h, const struct netns_vps *v, int netns_fd, struct err *e);

/*
 * Tells the neighbours of a running VPS where its addresses are (gratuitous ARP, unsolicited neighbour
 * advertisement): whoever knew them elsewhere would go on sending there until its entry is too old. `netns_fd` is its
 * network namespace. A courtesy: failures are nobody's concern. Costs some 50 µs; a socket is left to fd_close_due().
 */
void netns_announce(const struct netns_vps *v, int netns_fd);

/* Shapes interface `i` of a running VPS anew, by v->ifs[i].rate_in and rate_out (0: not at all). */
int netns_vps_shape(const struct netns_host *h, const struct netns_vps *v, unsigned i,
		    struct err *e);

/* As the VPS sees it: rx is what came to it. Since its start. */
struct netns_stat {
	uint64_t rx_bytes, rx_packets, tx_bytes, tx_packets;
	uint64_t rx_dropped, tx_dropped; /* by shaping or for want of room */
	uint64_t spoofed_packets, spoofed_bytes; /* sent under a false address, dropped */
	uint64_t refused_packets, refused_bytes; /* to the host or another VPS, not allowed */
};

/* The sum of the interfaces with an end on the host (macvlan has none). */
int netns_vps_stat(const struct netns_host *h, const struct netns_vps *v, struct netns_stat *ret,
		   struct err *e);

/* Removes host ends of this state root's VPSs that are none of `uuids`. Returns how many. */
int netns_prune(const struct netns_host *h, const char *const *uuids, size_t count, struct err *e);

/*
 * Tries in a child process, in network namespaces of its own, what this kernel can do; the host is
 * left as it was. 0, or the error of what it cannot. For programs that may fork and wait.
 */
enum netns_probe {
	NETNS_PROBE_BRIDGE,
	NETNS_PROBE_RULES, /* nftables: all that our rules ask for */
	NETNS_PROBE_SHAPING, /* both ways, on a VPS on the bridge with its rules */
	NETNS_PROBE_MACVLAN,
};
int netns_probe(enum netns_probe what, struct err *e);

/*
 * ERR_EXISTS when a VPS of another state root, in the same network namespace, has one of the ports. Costs a dump of
 * that root's published ports. What netns_vps_up() and netns_vps_change() ask themselves, in one with their
 * transaction, so that of two who come at once one is refused; here it is a look beforehand.
 */
int netns_publish_elsewhere(const struct netns_host *h, const struct netns_publish *p, size_t count, struct err *e);

/*
 * 1: a chain of somebody else's drops what VPSs send to the host or through it, unless a rule accepts it, and no
 * rule of its table names the bridge: `ret` is family, table and chain, as nft(8) has them, or, of the old iptables,
 * the program that shows it, table and chain. 0: none.
 */
int netns_foreign_drop(const struct netns_host *h, char *ret, size_t size, struct err *e);

/*
 * Notices when somebody takes away what is ours: `nft flush ruleset`, `ip link del`, `ip addr flush`. The fd is for
 * an event loop; when it is readable, netns_watch_read() says what is missing now as a set of
 * NETNS_LOST_*. On RULES call netns_rules_replace(), on FORWARDING netns_host_up(), on BRIDGE (it is gone, or down) and
 * ADDRESS (one of the gateways') that and then netns_vps_attach() for each VPS.
 */
enum { NETNS_LOST_RULES = 1, NETNS_LOST_BRIDGE = 2, NETNS_LOST_ADDRESS = 4, NETNS_LOST_FORWARDING = 8 };

struct netns_watch;
int netns_watch_open(const struct netns_host *h, struct netns_watch **ret, struct err *e);
int netns_watch_fd(const struct netns_watch *w); /* stays the watch's */
int netns_watch_read(struct netns_watch *w, struct err *e);
void netns_watch_close(struct netns_watch *w);

#endif
