/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef NETNS_RULESET_H
#define NETNS_RULESET_H

#include "netns/nft.h"

/* The constant part of the rules: what is the same on every host with whatever VPSs. */

enum ruleset_family { RS_BRIDGE, RS_INET, RS_FAMILIES };
extern const uint8_t ruleset_nfproto[RS_FAMILIES];

struct ruleset_chain {
	enum ruleset_family family;
	const char *name, *type; /* type NULL: jumped to */
	int hook, priority;
};
struct ruleset_set {
	enum ruleset_family family;
	struct nft_set set;
};
struct ruleset_rule {
	enum ruleset_family family;
	const char *chain, *text;
};

extern const struct ruleset_chain ruleset_chains[];
extern const struct ruleset_set ruleset_sets[];
extern const struct ruleset_rule ruleset_rules[];
extern const size_t ruleset_chain_count, ruleset_set_count, ruleset_rule_count;

#endif
