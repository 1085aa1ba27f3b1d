/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef NETNS_NET_H
#define NETNS_NET_H

#include "base/err.h"

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * What is said about the network of a VPS, as data and as text. No system calls here but for
 * netns_publish_is_free().
 */

#define NETNS_IF_MAX 8 /* interfaces of a VPS */
#define NETNS_IF_NAME "eth0" /* of one that is given no name */
#define NETNS_ADDR_MAX 8 /* addresses of an interface */
#define NETNS_PUBLISH_MAX 256 /* things that a VPS publishes */
#define NETNS_PORTS_MAX 16384 /* published ports in all, TCP's and UDP's: each is an entry in the rules */
#define NETNS_RULE_MAX 64 /* firewall rules of a VPS, and things it may reach */
#define NETNS_TEXT_MAX 768 /* room for any of the texts below */

/* An address with the length of its network's prefix. family 0: none. */
struct netns_addr {
	int family; /* AF_INET, AF_INET6 */
	uint8_t prefix;
	uint8_t bytes[16]; /* network order; IPv4 in the first four, the rest 0 */
};

/* "10.20.0.5/24" or "fd00::5/64"; without a prefix it is 32 or 128. ERR_USAGE. */
int netns_addr_parse(const char *text, struct netns_addr *ret, struct err *e);
struct netns_addr netns_addr_net(const struct netns_addr *a); /* its network's first, with the prefix */
const char *netns_addr_format(const struct netns_addr *a, char buf[64]); /* with the prefix */
const char *netns_addr_format_host(const struct netns_addr *a, char buf[64]); /* without */
/* The same address; the prefixes may differ. */
bool netns_addr_equal(const struct netns_addr *a, const struct netns_addr *b);
/* `a` lies in the network of `net`. */
bool netns_addr_in(const struct netns_addr *a, const struct netns_addr *net);

enum netns_mode {
	NETNS_BRIDGE, /* the state root's bridge with NAT, or another one: parent= */
	NETNS_ROUTED, /* point to point, a route on the host for each address */
	NETNS_MACVLAN, /* on the network of the host's interface parent= */
	NETNS_NONE, /* loopback only */
	NETNS_HOST, /* the host's own stack */
};

struct netns_if {
	char name[16]; /* inside: "eth0" */
	enum netns_mode mode;
	struct netns_addr addr[NETNS_ADDR_MAX];
	size_t addr_count;
	bool no_pool; /* ip=none: no address from the pool for a family without one */
	struct netns_addr gw4, gw6;
	bool has_mac;
	uint8_t mac[6];
	uint64_t rate_in, rate_out; /* bytes a second, to and from the VPS; 0: not shaped */
	char parent[16];
	unsigned mtu; /* 0: the kernel's 1500, or the parent's */
};

/*
 * "name=eth0,mode=bridge,ip=10.20.0.5/24,ip=fd00::5/64,gw=10.20.0.1,mac=02:…,rate=10MiB/s". Keys:
 * name (default eth0), mode (default bridge), ip and gw (once for each address; ip=none), mac,
 * rate or rate-in and rate-out, parent, mtu. A single word "none" or "host" is that mode. Unknown
 * and repeated keys, and keys that the mode has no use for, are ERR_USAGE.
 */
int netns_if_parse(const char *text, struct netns_if *ret, struct err *e);
/* The text that parses back to the same. Returns buf. */
const char *netns_if_format(const struct netns_if *i, char buf[NETNS_TEXT_MAX]);
/* The interface wants an address of this family from the pool. */
bool netns_if_wants(const struct netns_if *i, int family);

/*
 * Ports of the host that lead to as many of the VPS: "[ADDRESS:]PORT[-PORT]:PORT[-PORT][/tcp|/udp|/tcp+udp]". The
 * addresses 0.0.0.0 and [::] stand for any of their family, 127.0.0.1 and [::1] for what the host itself asks.
 */
struct netns_publish {
	struct netns_addr host; /* family 0: any address of the host */
	uint16_t host_port, port; /* the first ones */
	uint16_t count; /* of ports, 1 or more */
	uint8_t proto; /* IPPROTO_TCP (the default), IPPROTO_UDP, NETNS_TCP_UDP */
};
int netns_publish_parse(const char *text, struct netns_publish *ret, struct err *e);
const char *netns_publish_format(const struct netns_publish *p, char buf[NETNS_TEXT_MAX]);
/* The first port of the host that both ask for; 0: none. */
uint16_t netns_publish_clash(const struct netns_publish *a, const struct netns_publish *b);
bool netns_publish_has(const struct netns_publish *p, uint16_t host_port);
/* ERR_EXISTS when a program on the host has one of the ports (seen by binding it for a moment). */
int netns_publish_is_free(const struct netns_publish *p, struct err *e);

/*
 * A rule of the firewall from outside, for what comes to the VPS:
 * "allow|deny [any|tcp|udp|icmp|proto NUMBER] [PORT[-PORT][/tcp|/udp]] [from ADDRESS[/PREFIX]]".
 * "allow 80/tcp", "deny from 192.0.2.0/24", "allow icmp", "allow tcp 8000-8099 from fd00::/8".
 * icmp means both ICMP and ICMPv6; a port without a protocol is for tcp and udp.
 */
struct netns_rule {
	bool allow;
	uint8_t proto; /* 0: any; NETNS_TCP_UDP for a port without a protocol */
	uint16_t port_first, port_last; /* 0 and 65535: any */
	struct netns_addr from; /* family 0: anywhere */
};
#define NETNS_TCP_UDP 255 /* IPPROTO_RAW, which no packet carries */
int netns_rule_parse(const char *text, struct netns_rule *ret, struct err *e);
const char *netns_rule_format(const struct netns_rule *r, char buf[NETNS_TEXT_MAX]);

/*
 * What an isolated VPS may reach all the same: "host", "host:53/udp", "192.0.2.0/24:80",
 * "[fd00::7]:443/tcp", "db1:5432". A port without a protocol is for tcp and udp. A name is that of
 * another VPS; who knows the names puts one entry for each of its addresses in its place.
 */
enum netns_peer { NETNS_PEER_HOST, NETNS_PEER_ADDR, NETNS_PEER_NAME };
struct netns_allow {
	enum netns_peer peer;
	struct netns_addr addr; /* NETNS_PEER_ADDR: a network or address */
	char name[64]; /* NETNS_PEER_NAME */
	uint16_t port; /* 0: any */
	uint8_t proto; /* IPPROTO_TCP, IPPROTO_UDP, NETNS_TCP_UDP; 0 without a port */
};
int netns_allow_parse(const char *text, struct netns_allow *ret, struct err *e);
const char *netns_allow_format(const struct netns_allow *a, char buf[NETNS_TEXT_MAX]);

/* The network of one state root. */
struct netns_host {
	char tag[16]; /* name of the nft tables */
	char bridge[16]; /* "<tag>-br" */
	struct netns_addr gw4, gw6; /* of the bridge, with the pool's prefix; family 0: no pool */
	bool dns; /* VPSs may ask port 53 of the gateways; netns_host_serve_dns() changes it */
	/* Tracked connections that one address of a VPS may have. 0: a quarter of what the host can
	 * track, so that no VPS can fill the table that all share. */
	uint32_t connections;
};

/*
 * `pool4` and `pool6` are networks ("10.20.0.0/22", /16 to /29; an IPv6 /64), NULL: chosen by the
 * tag, which gives the state root "vps" the same on every machine, so that a VPS can move with its
 * addresses; "none": no such addresses. The bridge has the first address. A /22 is the default
 * because a bridge takes 1023 ports at most (Linux, BR_MAX_PORTS).
 */
int netns_host_init(struct netns_host *h, const char *tag, const char *pool4, const char *pool6,
		    struct err *e);
/* The same; the pools that are left to it are the tag's nth choice, 0 the first. */
int netns_host_init_nth(struct netns_host *h, const char *tag, unsigned nth, const char *pool4, const char *pool6,
			struct err *e);

/*
 * The lowest address of the pool that is none of `used`, the gateway's, the network's or the
 * broadcast address; for IPv6 among the first 65,535. ERR_NOSPACE: all are used.
 */
int netns_pool_take(const struct netns_host *h, int family, const struct netns_addr *used,
		    size_t used_count, struct netns_addr *ret, struct err *e);

/* Locally administered, unicast, the same for the same uuid and interface name wherever it runs. */
void netns_mac_of(const char *uuid, const char *ifname, uint8_t ret[6]);
void netns_link_local(const uint8_t mac[6], struct netns_addr *ret); /* that which the kernel makes of it */

#endif
