/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef NETNS_NFT_H
#define NETNS_NFT_H

#include "netns/nl.h"

#include <stddef.h>
#include <stdint.h>

/*
 * The messages of nftables, as far as our tables need them. Rules are written as text in a small
 * language that follows nft(8)'s and is compiled to the kernel's expressions:
 *
 *	rule     := { match } [ verdict ]
 *	match    := field { "." field } ( "@"SET | "!@"SET | "+@"SET )
 *	          | field[/MASK] ( "="VALUE | "!="VALUE | "&"BITS )
 *	verdict  := accept | drop | reject | reset | masquerade | return | goto CHAIN
 *	          | fwd INDEX (of a link that it is sent by)
 *	          | field { "." field } ( "dnat4@"MAP | "dnat6@"MAP )
 *
 * A match alone on a set whose elements count adds to the element's count. "+@" puts the field into a
 * set of `connections`, and matches when it has more of them than nft_rule_add()'s `limit`.
 */
void nft_begin(struct nl *n);
/* It happens only while the namespace's rules, whoever's, are still those of this generation (netns_rules_generation());
 * else nl_talk() returns -ERESTART, and nothing was done. 0: whatever they are. */
void nft_begin_at(struct nl *n, uint32_t generation);
void nft_end(struct nl *n);

/* The table carries NFT_MARK as user data, which `nft list` does not show and a ruleset that was
 * saved and loaded again has lost. */
#define NFT_MARK "\xc8\x04VPS1"
void nft_table_add(struct nl *n, uint8_t family, const char *table);
/* It goes when the socket of `n` is closed, and nobody else can change it (Linux 5.12). */
void nft_table_add_owned(struct nl *n, uint8_t family, const char *table);
void nft_table_del(struct nl *n, uint8_t family, const char *table);

/* hook < 0: a chain to be jumped to. `type` "filter" or "nat". */
void nft_chain_add(struct nl *n, uint8_t family, const char *table, const char *chain,
		   const char *type, int hook, int priority);
/* Of NFPROTO_NETDEV: at a link of that name. `hook` is NF_NETDEV_*. */
void nft_netdev_chain_add(struct nl *n, const char *table, const char *chain, const char *link, int hook,
			  int priority);
/* -EINVAL: the text is not of the language (a bug; the tests compile every rule). */
int nft_rule_add(struct nl *n, uint8_t family, const char *table, const char *chain,
		 const char *text, uint32_t limit);

/* What a set's keys and a map's values are made of. */
enum nft_part { NFT_END_, NFT_IFNAME, NFT_MAC, NFT_IP4, NFT_IP6, NFT_RAW6, NFT_PROTO, NFT_PORT };
enum { NFT_PARTS_MAX = 4 };

struct nft_set {
	const char *name;
	enum nft_part key[NFT_PARTS_MAX], data[NFT_PARTS_MAX]; /* data: a map */
	bool interval, counter;
	bool connections; /* filled by rules ("+@"): addresses, and how many connections each has */
	/* With NFT_RAW6, an address that nft(8) knows no name for: the set is declared by the
	 * expression it is asked with, in nft's form of user data. NULL: by its types. */
	const char *typeof_data;
	size_t typeof_len;
};
#define NFT_CONNECTIONS_MAX 65536 /* entries of a set of `connections` */
void nft_set_add(struct nl *n, uint8_t family, const char *table, const struct nft_set *s,
		 uint32_t id);

/* Keys and values are joined from parts, each padded to four bytes. */
struct nft_key {
	uint8_t bytes[64];
	size_t len;
};
void nft_key_add(struct nft_key *k, enum nft_part part, const void *data);

struct nft_elem {
	struct nft_key key, end, data; /* end: the last of an interval; len 0: not there */
	uint64_t packets, bytes; /* a counter's start */
	bool is_end; /* of an interval in a set of one part */
};
enum { NFT_ADD, NFT_DEL };
void nft_elem_do(struct nl *n, int what, uint8_t family, const char *table, const char *set,
		 const struct nft_elem *elem);

#endif
