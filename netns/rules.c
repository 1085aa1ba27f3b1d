/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "netns/internal.h"

#include "base/fd.h"
#include "base/macro.h"
#include "netns/entries.h"
#include "netns/nft.h"
#include "netns/ruleset.h"

#include <fcntl.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>

/* The tables as a whole, and what changes in them, one transaction each. */

static int rules_talk(struct nl *n, const struct netns_host *h, const char *name, struct err *e)
{
	int r = nl_talk(n, name, NULL, NULL, e);

	if (r == -ENOENT)
		err_hint(e, "the nft table %s may have been removed; vpsd will mend it", h->tag);
	/* Only a map has two different values to refuse. */
	if (r == -EEXIST)
		return err_set(e, ERR_EXISTS,
			       "%s publishes a port of the host that another VPS has", name);
	return r;
}

/* More changes than anybody makes while we look once: each of them is progress of somebody else's. */
#define TRIES_MAX 1000

/*
 * No VPS of another root has a port that `v` is to have, and none gets one before the transaction of generation
 * `ret` is through. 0: it publishes nothing, or what it is to publish is its own elsewhere until it is here.
 */
static int agree_ports(struct nl *n, const struct netns_host *h, const struct netns_vps *v, uint32_t *ret, struct err *e)
{
	int r;

	*ret = 0;
	if (!v || !v->publish_count || v->arriving)
		return 0;
	r = netns_rules_generation(n, ret, e);
	return r < 0 ? r : netns_publish_elsewhere(h, v->publish, v->publish_count, e);
}

/* From one to the other; either may be NULL. -ERESTART: others changed rules meanwhile. */
static int try_change(const struct netns_host *h, const struct netns_vps *old, const struct netns_vps *new,
		      unsigned kept, bool older, struct err *e)
{
	cleanup_nl struct nl n = NL_INIT;
	struct netns_entries del = { .n = &n, .h = h, .v = old, .what = NFT_DEL, .kept = kept, .older = older };
	struct netns_entries add = { .n = &n, .h = h, .v = new, .what = NFT_ADD, .kept = kept, .older = older };
	uint32_t generation;
	int r = nl_open_rules(&n, e);

	if (r == 0)
		r = agree_ports(&n, h, new, &generation, e);
	if (r < 0)
		return r;
	nft_begin_at(&n, generation);
	if (old)
		r = netns_entries_put_vps(&del, e);
	if (r == 0 && new)
		r = netns_entries_put_vps(&add, e);
	nft_end(&n);
	if (r < 0 || n.count == 2)
		return r;
	return rules_talk(&n, h, (new ? new : old)->name, e);
}

static int change_in(const struct netns_host *h, const struct netns_vps *old, const struct netns_vps *new,
		     unsigned kept, bool older, struct err *e)
{
	int r = -ERESTART;

	for (int i = 0; r == -ERESTART && i < TRIES_MAX; i++)
		r = try_change(h, old, new, kept, older, e);
	return r;
}

static int change(const struct netns_host *h, const struct netns_vps *old, const struct netns_vps *new,
		  unsigned kept, struct err *e)
{
	int r = change_in(h, old, new, kept, false, e);

	return r == -ENOENT ? change_in(h, old, new, kept, true, e) : r;
}

int netns_rules_add(const struct netns_host *h, const struct netns_vps *v, struct err *e)
{
	return change(h, NULL, v, 0, e);
}

int netns_rules_remove(const struct netns_host *h, const struct netns_vps *v, struct err *e)
{
	int r = change(h, v, NULL, 0, e);

	return r == -ENOENT ? 0 : r; /* no tables, no entries */
}

int netns_rules_change(const struct netns_host *h, const struct netns_vps *old,
		       const struct netns_vps *new, unsigned kept, struct err *e)
{
	return change(h, old, new, kept, e);
}

/* A quarter of what the host can track for one address: 65536 by default on most. */
static uint32_t connection_limit(void)
{
	cleanup_free char *text = NULL;
	uint32_t max = 0;

	/* Not there before conntrack was first used: its module is loaded with the rules. */
	if (fd_read_file_at(AT_FDCWD, "/proc/sys/net/netfilter/nf_conntrack_max", 64, &text,
			    NULL) == 0)
		max = (uint32_t)strtoul(text, NULL, 10);
	return max < 4096 ? 16384 : max / 4;
}

static int put_tables(struct nl *n, const struct netns_host *h, const bool there[RS_FAMILIES],
		      struct err *e)
{
	struct netns_entries x = { .n = n, .h = h, .what = NFT_ADD };
	uint32_t limit = h->connections ? h->connections : connection_limit();

	for (int f = 0; f < RS_FAMILIES; f++) {
		nft_table_add(n, ruleset_nfproto[f], h->tag);
		if (!there[f])
			continue;
		nft_table_del(n, ruleset_nfproto[f], h->tag);
		nft_table_add(n, ruleset_nfproto[f], h->tag);
	}
	for (size_t i = 0; i < ruleset_set_count; i++)
		nft_set_add(n, ruleset_nfproto[ruleset_sets[i].family], h->tag,
			    &ruleset_sets[i].set, (uint32_t)i + 1);
	for (size_t i = 0; i < ruleset_chain_count; i++) {
		const struct ruleset_chain *c = &ruleset_chains[i];

		nft_chain_add(n, ruleset_nfproto[c->family], h->tag, c->name, c->type,
			      c->type ? c->hook : -1, c->priority);
	}
	for (size_t i = 0; i < ruleset_rule_count; i++) {
		const struct ruleset_rule *r = &ruleset_rules[i];

		if (nft_rule_add(n, ruleset_nfproto[r->family], h->tag, r->chain, r->text, limit) < 0)
			return err_set(e, ERR_FAIL, "rule \"%s\" does not compile", r->text);
	}
	netns_entries_put_host(&x);
	return 0;
}

int netns_rules_replace(const struct netns_host *h, const struct netns_vps *const *all,
			size_t count, struct err *e)
{
	__attribute__((cleanup(netns_counts_done))) struct netns_counts counts = { 0 };
	cleanup_nl struct nl n = NL_INIT;
	bool there[RS_FAMILIES] = { false };
	int r = netns_counts_read(h, &counts, e); /* on a socket of its own, closed again */

	if (r == 0)
		r = nl_open_rules(&n, e);
	/* The first start on a host deletes nothing: what is deleted is waited for by whoever closes such
	 * a socket next (nl_stay()). */
	for (int f = 0; f < RS_FAMILIES && r == 0; f++) {
		r = netns_table_is_there(&n, h, f, e);
		there[f] = r > 0;
		r = r < 0 ? r : 0;
	}
	if (r < 0)
		return r;
	nft_begin(&n);
	r = put_tables(&n, h, there, e);
	for (size_t i = 0; i < count && r == 0; i++) {
		struct netns_entries x = {
			.n = &n, .h = h, .v = all[i], .what = NFT_ADD, .counts = &counts
		};

		r = netns_entries_put_vps(&x, e);
	}
	nft_end(&n);
	return r < 0 ? r : nl_talk(&n, h->tag, NULL, NULL, e);
}

int netns_host_serve_dns(struct netns_host *h, bool on, struct err *e)
{
	cleanup_nl struct nl n = NL_INIT;
	struct netns_entries x = { .n = &n, .h = h, .what = on ? NFT_ADD : NFT_DEL };
	int r = nl_open_rules(&n, e);

	if (r < 0)
		return r;
	h->dns = on;
	nft_begin(&n);
	netns_entries_put_dns(&x);
	nft_end(&n);
	r = rules_talk(&n, h, h->tag, e);
	return r == -ENOENT ? 0 : r; /* tables made from now on have them or not, by h->dns */
}

int netns_rules_down(const struct netns_host *h, struct err *e)
{
	cleanup_nl struct nl n = NL_INIT;
	int r = nl_open_rules(&n, e);

	if (r < 0)
		return r;
	nft_begin(&n);
	for (int f = 0; f < RS_FAMILIES; f++) {
		nft_table_add(&n, ruleset_nfproto[f], h->tag);
		nft_table_del(&n, ruleset_nfproto[f], h->tag);
	}
	nft_end(&n);
	return nl_talk(&n, h->tag, NULL, NULL, e);
}
