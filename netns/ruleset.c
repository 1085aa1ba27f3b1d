/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "netns/ruleset.h"

#include "base/macro.h"

#include <linux/netfilter.h>
#include <linux/netfilter_bridge.h>

/*
 * netns/README.md tells what these rules do and why. No rule names a VPS: all that depends on one
 * is an entry in a set or map, so a packet meets the same few rules however many VPSs there are,
 * and a start adds entries only. Protocols that a chain is only entered with are named again where
 * they make `nft list` readable. Plain sets with a fixed `goto` rather than verdict maps: the
 * kernel walks all of a map's entries for loops whenever one with a chain is added.
 */

/* clang-format off */
const uint8_t ruleset_nfproto[RS_FAMILIES] = { NFPROTO_BRIDGE, NFPROTO_INET };

/* Before connection tracking (-200) and before br_netfilter (0). */
#define SPOOF_PRIORITY (-300)
#define DSTNAT_PRIORITY (-100)
#define SRCNAT_PRIORITY 100

const struct ruleset_chain ruleset_chains[] = {
	{ RS_BRIDGE, "pre", "filter", NF_BR_PRE_ROUTING, SPOOF_PRIORITY },
	{ RS_BRIDGE, "tenant" },
	{ RS_BRIDGE, "from4" },
	{ RS_BRIDGE, "from6" },
	{ RS_BRIDGE, "icmp6" },
	{ RS_BRIDGE, "from_arp" },
	{ RS_BRIDGE, "arp4" },
	{ RS_BRIDGE, "spoof" },

	{ RS_INET, "pre", "filter", NF_INET_PRE_ROUTING, SPOOF_PRIORITY },
	{ RS_INET, "nat_pre", "nat", NF_INET_PRE_ROUTING, DSTNAT_PRIORITY },
	{ RS_INET, "nat_local", "nat", NF_INET_LOCAL_OUT, DSTNAT_PRIORITY },
	{ RS_INET, "nat_post", "nat", NF_INET_POST_ROUTING, SRCNAT_PRIORITY },
	{ RS_INET, "input", "filter", NF_INET_LOCAL_IN, 0 },
	{ RS_INET, "forward", "filter", NF_INET_FORWARD, 0 },
	{ RS_INET, "output", "filter", NF_INET_LOCAL_OUT, 0 },
	{ RS_INET, "routed_from" },
	{ RS_INET, "spoof" },
	{ RS_INET, "publish" },
	{ RS_INET, "to_host" },
	{ RS_INET, "to_tenant" },
	{ RS_INET, "to4" },
	{ RS_INET, "to6" },
	{ RS_INET, "in4" },
	{ RS_INET, "in6" },
	{ RS_INET, "refuse_from" },
	{ RS_INET, "refuse_to" },
	{ RS_INET, "refuse" },
};
const size_t ruleset_chain_count = ARRAY_SIZE(ruleset_chains);

/*
 * "typeof iifname . @th,64,128", as nft(8) leaves it for itself: without it a ruleset saved by
 * `nft list` could not be loaded again, the host's own rules included. Nested items of type, length
 * and value: concatenation (13) of meta (9) key 6 and payload (7) base 3, offset 64, length 128.
 */
#define ITEM4(type, value) type "\x04" value "\0\0\0"
#define TARGET_TYPEOF                                                                      \
	ITEM4("\0", "\0")                                                                   \
	"\x03\x40" ITEM4("\0", "\x0d") "\x01\x38"                                           \
	"\x00\x0e" ITEM4("\0", "\x09") "\x01\x06" ITEM4("\0", "\x06")                       \
	"\x01\x26" ITEM4("\0", "\x07") "\x01\x1e" ITEM4("\0", "\0") ITEM4("\x01", "\0")      \
	ITEM4("\x02", "\x03") ITEM4("\x03", "\x40") ITEM4("\x04", "\x80")

#define BOX4 { NFT_IP4, NFT_PROTO, NFT_PORT, NFT_IP4 }
#define BOX6 { NFT_IP6, NFT_PROTO, NFT_PORT, NFT_IP6 }

const struct ruleset_set ruleset_sets[] = {
	/* host ends of links, what may come through them, and what came but was dropped */
	{ RS_BRIDGE, { "port", { NFT_IFNAME } } },
	{ RS_BRIDGE, { "mac", { NFT_IFNAME, NFT_MAC } } },
	{ RS_BRIDGE, { "addr4", { NFT_IFNAME, NFT_IP4 } } },
	{ RS_BRIDGE, { "addr6", { NFT_IFNAME, NFT_IP6 } } },
	{ RS_BRIDGE, { "target6", { NFT_IFNAME, NFT_RAW6 }, .typeof_data = TARGET_TYPEOF,
		       .typeof_len = sizeof(TARGET_TYPEOF) - 1 } }, /* the same as addr6 */
	{ RS_BRIDGE, { "sender4", { NFT_IFNAME, NFT_MAC, NFT_IP4 } } }, /* "mac" and "addr4" in one */
	{ RS_BRIDGE, { "sender6", { NFT_IFNAME, NFT_MAC, NFT_IP6 } } },
	{ RS_BRIDGE, { "spoofed", { NFT_IFNAME }, .counter = true } },

	{ RS_INET, { "link", { NFT_IFNAME } } }, /* the bridge and all routed links */
	{ RS_INET, { "routed", { NFT_IFNAME } } },
	{ RS_INET, { "addr4", { NFT_IFNAME, NFT_IP4 } } },
	{ RS_INET, { "addr6", { NFT_IFNAME, NFT_IP6 } } },
	{ RS_INET, { "spoofed", { NFT_IFNAME }, .counter = true } },
	{ RS_INET, { "pool4", { NFT_IP4 }, .interval = true } },
	{ RS_INET, { "pool6", { NFT_IP6 }, .interval = true } },
	{ RS_INET, { "publish4", { NFT_PROTO, NFT_PORT }, { NFT_IP4, NFT_PORT } } },
	{ RS_INET, { "publish6", { NFT_PROTO, NFT_PORT }, { NFT_IP6, NFT_PORT } } },
	{ RS_INET, { "publish_at4", { NFT_IP4, NFT_PROTO, NFT_PORT }, { NFT_IP4, NFT_PORT } } },
	{ RS_INET, { "publish_at6", { NFT_IP6, NFT_PROTO, NFT_PORT }, { NFT_IP6, NFT_PORT } } },
	{ RS_INET, { "itself4", { NFT_IP4, NFT_IP4 } } },
	{ RS_INET, { "itself6", { NFT_IP6, NFT_IP6 } } },
	{ RS_INET, { "service4", { NFT_IP4, NFT_PROTO, NFT_PORT } } },
	{ RS_INET, { "service6", { NFT_IP6, NFT_PROTO, NFT_PORT } } },
	{ RS_INET, { "dns4", { NFT_IP4, NFT_PROTO, NFT_PORT } } }, /* vpsd's, on the gateways */
	{ RS_INET, { "dns6", { NFT_IP6, NFT_PROTO, NFT_PORT } } },
	{ RS_INET, { "host_user4", { NFT_IP4 } } }, /* may use all of the host's services */
	{ RS_INET, { "host_user6", { NFT_IP6 } } },
	{ RS_INET, { "free4", { NFT_IP4 } } }, /* not isolated */
	{ RS_INET, { "free6", { NFT_IP6 } } },
	{ RS_INET, { "guarded4", { NFT_IP4 } } }, /* has rules of its own */
	{ RS_INET, { "guarded6", { NFT_IP6 } } },
	{ RS_INET, { "reach4", BOX4, .interval = true } }, /* what an isolated one may reach */
	{ RS_INET, { "reach6", BOX6, .interval = true } },
	{ RS_INET, { "closed4", { NFT_IP4 } } },
	{ RS_INET, { "closed6", { NFT_IP6 } } },
	{ RS_INET, { "allow4", BOX4, .interval = true } },
	{ RS_INET, { "allow6", BOX6, .interval = true } },
	{ RS_INET, { "deny4", BOX4, .interval = true } },
	{ RS_INET, { "deny6", BOX6, .interval = true } },
	{ RS_INET, { "tenant4", { NFT_IP4 } } },
	{ RS_INET, { "tenant6", { NFT_IP6 } } },
	{ RS_INET, { "busy4", { NFT_IP4 }, .connections = true } },
	{ RS_INET, { "busy6", { NFT_IP6 }, .connections = true } },
	{ RS_INET, { "refused4", { NFT_IP4 }, .counter = true } },
	{ RS_INET, { "refused6", { NFT_IP6 }, .counter = true } },
};
const size_t ruleset_set_count = ARRAY_SIZE(ruleset_sets);

/* Protocols: 1 ICMP, 6 TCP, 17 UDP, 58 ICMPv6; nfproto 2 is IPv4, 10 IPv6. */
const struct ruleset_rule ruleset_rules[] = {
	/* What most frames are, TCP from whom it says, is seen by one look in place of three: what the rules
	 * cost is what they cost these. To a group (pkttype 2) there is no TCP. */
	{ RS_BRIDGE, "pre",
	  "ether.type =0x0800 l4proto =6 pkttype !=2 iifname . ether.saddr . ip.saddr @sender4 accept" },
	{ RS_BRIDGE, "pre",
	  "ether.type =0x86dd l4proto =6 pkttype !=2 iifname . ether.saddr . ip6.saddr @sender6 accept" },
	{ RS_BRIDGE, "pre", "iifname @port goto tenant" },

	/* For bridges and switches alone (IEEE 802.1D). They come by here as our ports forward them (link.c): a chain at
	 * the bridge's own hook for them would cost every frame to the host. */
	{ RS_BRIDGE, "tenant", "ether.daddr/0xfffffffffff0 =0x0180c2000000 goto spoof" },
	{ RS_BRIDGE, "tenant", "iifname . ether.saddr !@mac goto spoof" },
	{ RS_BRIDGE, "tenant", "ether.type =0x0800 goto from4" },
	{ RS_BRIDGE, "tenant", "ether.type =0x86dd goto from6" },
	{ RS_BRIDGE, "tenant", "ether.type =0x0806 goto from_arp" },
	{ RS_BRIDGE, "tenant", "goto spoof" },

	/* What cannot be read (a frame cut short) matches no rule, so each list ends in a refusal.
	 * A DHCP client asks before it has an address; that is no attack, only useless here. */
	{ RS_BRIDGE, "from4", "l4proto =17 sport =67 goto spoof" },
	{ RS_BRIDGE, "from4", "ether.type =0x0800 iifname . ip.saddr @addr4 accept" },
	{ RS_BRIDGE, "from4", "ether.type =0x0800 ip.saddr =0.0.0.0 l4proto =17 dport =67 drop" },
	{ RS_BRIDGE, "from4", "goto spoof" },

	{ RS_BRIDGE, "from6", "ether.type =0x86dd l4proto =58 goto icmp6" },
	{ RS_BRIDGE, "from6", "l4proto =17 sport =547 goto spoof" },
	{ RS_BRIDGE, "from6", "ether.type =0x86dd iifname . ip6.saddr @addr6 accept" },
	{ RS_BRIDGE, "from6", "goto spoof" },

	/* Router advertisement, redirect; advertisement of another's address. From the unspecified
	 * address only: is this address of mine in use? and multicast listener reports. */
	{ RS_BRIDGE, "icmp6", "l4proto =58 icmp.type =134 goto spoof" },
	{ RS_BRIDGE, "icmp6", "l4proto =58 icmp.type =137 goto spoof" },
	{ RS_BRIDGE, "icmp6", "l4proto =58 icmp.type =136 iifname . nd.target !@target6 goto spoof" },
	{ RS_BRIDGE, "icmp6",
	  "ether.type =0x86dd ip6.saddr =:: l4proto =58 icmp.type =135 iifname . nd.target @target6 "
	  "accept" },
	{ RS_BRIDGE, "icmp6", "ether.type =0x86dd ip6.saddr =:: l4proto =58 icmp.type =143 accept" },
	{ RS_BRIDGE, "icmp6", "ether.type =0x86dd iifname . ip6.saddr @addr6 accept" },
	{ RS_BRIDGE, "icmp6", "goto spoof" },

	{ RS_BRIDGE, "from_arp", "ether.type =0x0806 arp.head =0x000108000604 goto arp4" },
	{ RS_BRIDGE, "from_arp", "goto spoof" },
	{ RS_BRIDGE, "arp4", "ether.type =0x0806 iifname . arp.sha !@mac goto spoof" },
	{ RS_BRIDGE, "arp4", "ether.type =0x0806 arp.sip =0.0.0.0 arp.op =1 accept" }, /* RFC 5227 */
	{ RS_BRIDGE, "arp4", "ether.type =0x0806 iifname . arp.sip @addr4 accept" },
	{ RS_BRIDGE, "arp4", "goto spoof" },

	{ RS_BRIDGE, "spoof", "iifname @spoofed drop" },
	{ RS_BRIDGE, "spoof", "drop" },

	/* The bridge has route_localnet, for ports published on 127.0.0.1. */
	{ RS_INET, "pre", "nfproto =2 ip.daddr/255.0.0.0 =127.0.0.0 iifname @link drop" },
	{ RS_INET, "pre", "iifname @routed goto routed_from" },
	{ RS_INET, "routed_from", "nfproto =2 iifname . ip.saddr @addr4 accept" },
	{ RS_INET, "routed_from", "nfproto =10 ip6.saddr =:: l4proto =58 accept" },
	{ RS_INET, "routed_from", "nfproto =10 iifname . ip6.saddr @addr6 accept" },
	{ RS_INET, "routed_from", "goto spoof" },
	{ RS_INET, "spoof", "iifname @spoofed drop" },
	{ RS_INET, "spoof", "drop" },

	{ RS_INET, "nat_pre", "fib.daddr.type =2 goto publish" }, /* RTN_LOCAL */
	{ RS_INET, "nat_local", "fib.daddr.type =2 goto publish" },
	/* An accept in a nat chain: nothing is translated. */
	{ RS_INET, "publish", "nfproto =2 ip.daddr . l4proto . dport @dns4 accept" },
	{ RS_INET, "publish", "nfproto =10 ip6.daddr . l4proto . dport @dns6 accept" },
	{ RS_INET, "publish", "nfproto =2 ip.daddr . l4proto . dport dnat4@publish_at4" },
	{ RS_INET, "publish", "nfproto =2 l4proto . dport dnat4@publish4" },
	{ RS_INET, "publish", "nfproto =10 ip6.daddr . l4proto . dport dnat6@publish_at6" },
	{ RS_INET, "publish", "nfproto =10 l4proto . dport dnat6@publish6" },

	{ RS_INET, "nat_post", "nfproto =2 ip.saddr @pool4 oifname !@link masquerade" },
	{ RS_INET, "nat_post", "nfproto =10 ip6.saddr @pool6 oifname !@link masquerade" },
	{ RS_INET, "nat_post", "nfproto =2 ip.saddr/255.0.0.0 =127.0.0.0 oifname @link masquerade" },
	{ RS_INET, "nat_post", "nfproto =10 ip6.saddr =::1 oifname @link masquerade" },
	/* A VPS that asks for its own published port would drop an answer from itself. */
	{ RS_INET, "nat_post", "nfproto =2 ip.saddr . ip.daddr @itself4 masquerade" },
	{ RS_INET, "nat_post", "nfproto =10 ip6.saddr . ip6.daddr @itself6 masquerade" },

	/* Most packets are of connections that were let through: they are asked nothing else. */
	{ RS_INET, "input", "ct.state &6 accept" }, /* established, related */
	{ RS_INET, "input", "iifname @link goto to_host" },
	{ RS_INET, "to_host",
	  "ct.state &8 nfproto =2 ip.saddr @tenant4 ip.saddr +@busy4 goto refuse_from" },
	{ RS_INET, "to_host",
	  "ct.state &8 nfproto =10 ip6.saddr @tenant6 ip6.saddr +@busy6 goto refuse_from" },
	{ RS_INET, "to_host", "nfproto =2 l4proto =1 icmp.type =8 accept" },
	{ RS_INET, "to_host", "nfproto =10 l4proto =58 icmp.type =128 accept" },
	{ RS_INET, "to_host", "nfproto =10 l4proto =58 icmp.type =135 accept" },
	{ RS_INET, "to_host", "nfproto =10 l4proto =58 icmp.type =136 accept" },
	{ RS_INET, "to_host", "nfproto =2 ip.daddr . l4proto . dport @dns4 accept" },
	{ RS_INET, "to_host", "nfproto =10 ip6.daddr . l4proto . dport @dns6 accept" },
	{ RS_INET, "to_host", "nfproto =2 ip.saddr @free4 accept" },
	{ RS_INET, "to_host", "nfproto =10 ip6.saddr @free6 accept" },
	{ RS_INET, "to_host", "nfproto =2 ip.saddr @host_user4 accept" },
	{ RS_INET, "to_host", "nfproto =10 ip6.saddr @host_user6 accept" },
	{ RS_INET, "to_host", "nfproto =2 ip.saddr . l4proto . dport @service4 accept" },
	{ RS_INET, "to_host", "nfproto =10 ip6.saddr . l4proto . dport @service6 accept" },
	{ RS_INET, "to_host", "pkttype !=0 drop" }, /* broadcast and multicast: nobody is asked */
	{ RS_INET, "to_host", "goto refuse_from" },

	{ RS_INET, "forward", "ct.state &6 accept" },
	/* The host's table of connections is everybody's: no address of a VPS may fill it. */
	{ RS_INET, "forward",
	  "ct.state &8 iifname @link nfproto =2 ip.saddr @tenant4 ip.saddr +@busy4 "
	  "goto refuse_from" },
	{ RS_INET, "forward",
	  "ct.state &8 iifname @link nfproto =10 ip6.saddr @tenant6 ip6.saddr +@busy6 "
	  "goto refuse_from" },
	{ RS_INET, "forward",
	  "ct.state &8 oifname @link nfproto =2 ip.daddr @tenant4 ip.daddr +@busy4 "
	  "goto refuse_to" },
	{ RS_INET, "forward",
	  "ct.state &8 oifname @link nfproto =10 ip6.daddr @tenant6 ip6.daddr +@busy6 "
	  "goto refuse_to" },
	{ RS_INET, "forward", "oifname @link goto to_tenant" },
	{ RS_INET, "to_tenant", "nfproto =2 goto to4" },
	{ RS_INET, "to_tenant", "nfproto =10 goto to6" },

	/* From another VPS: the sender must be free to, or a port be published (status dnat). */
	{ RS_INET, "to4", "iifname !@link goto in4" },
	/* Nobody is asked for an address that nobody has: the neighbours looked for would fill the host's table, which its
	 * own links share. */
	{ RS_INET, "to4", "nfproto =2 ip.daddr @pool4 ip.daddr !@tenant4 goto refuse_from" },
	{ RS_INET, "to4", "nfproto =2 ip.saddr @free4 goto in4" },
	{ RS_INET, "to4", "ct.status &32 goto in4" },
	{ RS_INET, "to4", "nfproto =2 ip.saddr . ct.proto . dport . ip.daddr @reach4 goto in4" },
	{ RS_INET, "to4", "goto refuse_from" },
	/* The boxes are asked by the tracked connection's protocol: of the ways to name it this is the
	 * one that every nft(8) saves so that every kernel loads it. What is not tracked, or invalid,
	 * has none and would pass by. */
	{ RS_INET, "in4", "ct.state &65 nfproto =2 ip.daddr @guarded4 drop" },
	{ RS_INET, "in4", "nfproto =2 ip.daddr . ct.proto . dport . ip.saddr @deny4 goto refuse_to" },
	{ RS_INET, "in4", "nfproto =2 ip.daddr . ct.proto . dport . ip.saddr @allow4 accept" },
	{ RS_INET, "in4", "ct.status &32 accept" },
	{ RS_INET, "in4", "nfproto =2 iifname !@link ip.daddr @pool4 goto refuse_to" },
	{ RS_INET, "in4", "nfproto =2 ip.daddr @closed4 goto refuse_to" },
	{ RS_INET, "to6", "iifname !@link goto in6" },
	{ RS_INET, "to6", "nfproto =10 ip6.daddr @pool6 ip6.daddr !@tenant6 goto refuse_from" },
	{ RS_INET, "to6", "nfproto =10 ip6.saddr @free6 goto in6" },
	{ RS_INET, "to6", "ct.status &32 goto in6" },
	{ RS_INET, "to6", "nfproto =10 ip6.saddr . ct.proto . dport . ip6.daddr @reach6 goto in6" },
	{ RS_INET, "to6", "goto refuse_from" },
	{ RS_INET, "in6", "ct.state &65 nfproto =10 ip6.daddr @guarded6 drop" },
	{ RS_INET, "in6", "nfproto =10 ip6.daddr . ct.proto . dport . ip6.saddr @deny6 goto refuse_to" },
	{ RS_INET, "in6", "nfproto =10 ip6.daddr . ct.proto . dport . ip6.saddr @allow6 accept" },
	{ RS_INET, "in6", "ct.status &32 accept" },
	{ RS_INET, "in6", "nfproto =10 iifname !@link ip6.daddr @pool6 goto refuse_to" },
	{ RS_INET, "in6", "nfproto =10 ip6.daddr @closed6 goto refuse_to" },

	/* A reset for TCP: ICMP errors are limited to one a second for each receiver (icmp(7)), and
	 * a client that misses one waits. */
	{ RS_INET, "refuse_from", "nfproto =2 ip.saddr @refused4" },
	{ RS_INET, "refuse_from", "nfproto =10 ip6.saddr @refused6" },
	{ RS_INET, "refuse_from", "goto refuse" },
	{ RS_INET, "refuse_to", "nfproto =2 ip.daddr @refused4" },
	{ RS_INET, "refuse_to", "nfproto =10 ip6.daddr @refused6" },
	{ RS_INET, "refuse_to", "goto refuse" },
	{ RS_INET, "refuse", "l4proto =6 reset" },
	{ RS_INET, "refuse", "reject" },

	/* VPSs on the bridge are told to go by the host, not to each other. */
	{ RS_INET, "output", "nfproto =2 l4proto =1 icmp.type =5 oifname @link drop" },
	{ RS_INET, "output", "nfproto =10 l4proto =58 icmp.type =137 oifname @link drop" },
};
const size_t ruleset_rule_count = ARRAY_SIZE(ruleset_rules);
/* clang-format on */
