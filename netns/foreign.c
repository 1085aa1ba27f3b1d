/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Rules of the host's that are not ours, but through which the packets of VPSs must go. */
#include "netns/internal.h"

#include "base/macro.h"
#include "netns/ruleset.h"

#include <arpa/inet.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>

#define CHAINS_MAX 16

static const struct {
	uint8_t nfproto;
	const char *name;
} families[] = { { NFPROTO_INET, "inet" }, { NFPROTO_IPV4, "ip" }, { NFPROTO_IPV6, "ip6" } };

struct foreign {
	const struct netns_host *h;
	struct {
		uint8_t nfproto;
		char table[64], chain[64];
		bool names_us;
	} chain[CHAINS_MAX];
	size_t count;
};

static uint32_t be32_of(const struct nlattr *a)
{
	return a && mnl_attr_get_payload_len(a) == 4 ? ntohl(mnl_attr_get_u32(a)) : UINT32_MAX;
}

static uint8_t nfproto_of(const struct nlmsghdr *m)
{
	const struct nfgenmsg *g = mnl_nlmsg_get_payload(m);

	return g->nfgen_family;
}

static const char *family_name(uint8_t nfproto)
{
	for (size_t i = 0; i < ARRAY_SIZE(families); i++)
		if (families[i].nfproto == nfproto)
			return families[i].name;
	return NULL;
}

/* Chains at which a packet of a VPS, to the host or through it, is dropped unless a rule accepts it. */
static int take_chain(const struct nlmsghdr *m, void *ctx)
{
	const struct nlattr *table = nl_attr(m, sizeof(struct nfgenmsg), NFTA_CHAIN_TABLE);
	const struct nlattr *chain = nl_attr(m, sizeof(struct nfgenmsg), NFTA_CHAIN_NAME);
	const struct nlattr *at = nl_nested(nl_attr(m, sizeof(struct nfgenmsg), NFTA_CHAIN_HOOK), NFTA_HOOK_HOOKNUM);
	const struct nlattr *policy = nl_attr(m, sizeof(struct nfgenmsg), NFTA_CHAIN_POLICY);
	uint32_t hook = be32_of(at);
	struct foreign *f = ctx;

	if ((m->nlmsg_type & 0xff) != NFT_MSG_NEWCHAIN || !table || !chain || f->count == CHAINS_MAX ||
	    !family_name(nfproto_of(m)) || (hook != NF_INET_FORWARD && hook != NF_INET_LOCAL_IN) ||
	    be32_of(policy) != NF_DROP || nl_attr_is(table, f->h->tag))
		return 0;
	f->chain[f->count].nfproto = nfproto_of(m);
	snprintf(f->chain[f->count].table, sizeof(f->chain[0].table), "%s", mnl_attr_get_str(table));
	snprintf(f->chain[f->count].chain, sizeof(f->chain[0].chain), "%s", mnl_attr_get_str(chain));
	f->count++;
	return 0;
}

/* A rule that names the bridge, in this chain or one that it goes to, was made for it. */
static int take_rule(const struct nlmsghdr *m, void *ctx)
{
	const struct nlattr *table = nl_attr(m, sizeof(struct nfgenmsg), NFTA_RULE_TABLE);
	struct foreign *f = ctx;

	for (size_t i = 0; i < f->count; i++)
		if ((m->nlmsg_type & 0xff) == NFT_MSG_NEWRULE && f->chain[i].nfproto == nfproto_of(m) &&
		    nl_attr_is(table, f->chain[i].table) &&
		    memmem(m, m->nlmsg_len, f->h->bridge, strlen(f->h->bridge)))
			f->chain[i].names_us = true;
	return 0;
}

int netns_foreign_drop(const struct netns_host *h, char *ret, size_t size, struct err *e)
{
	struct nfgenmsg all = { .nfgen_family = NFPROTO_UNSPEC, .version = NFNETLINK_V0 };
	cleanup_free struct foreign *f = calloc(1, sizeof(*f));
	cleanup_nl struct nl n = NL_INIT;
	int r = nl_open_rules(&n, e);

	if (!f)
		return err_code(e, -ENOMEM, "look at the host's rules");
	f->h = h;
	if (r == 0) {
		nl_end(&n, nl_begin(&n, NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_GETCHAIN, NLM_F_DUMP, &all, sizeof(all),
				    "list the chains"));
		r = nl_talk(&n, "the host", take_chain, f, e);
	}
	if (r == 0) {
		nl_end(&n, nl_begin(&n, NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_GETRULE, NLM_F_DUMP, &all, sizeof(all),
				    "list the rules"));
		r = nl_talk(&n, "the host", take_rule, f, e);
	}
	for (size_t i = 0; r == 0 && i < f->count; i++)
		if (!f->chain[i].names_us) {
			snprintf(ret, size, "%s %s %s", family_name(f->chain[i].nfproto), f->chain[i].table,
				 f->chain[i].chain);
			return 1;
		}
	return r < 0 ? r : netns_legacy_drop(h, ret, size, e);
}
