/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "netns/internal.h"

#include "base/macro.h"
#include "netns/nft.h"
#include "netns/ruleset.h"

#include <arpa/inet.h>
#include <linux/if_link.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/rtnetlink.h>

/* What is asked of the kernel: are the rules there, what was counted, which links are there. */

static struct nlmsghdr *ask(struct nl *n, int msg, uint16_t flags, enum ruleset_family f)
{
	struct nfgenmsg g = { .nfgen_family = ruleset_nfproto[f], .version = NFNETLINK_V0 };

	return nl_begin(n, (uint16_t)(NFNL_SUBSYS_NFTABLES << 8 | msg), flags, &g, sizeof(g),
			"look at the nft table");
}

struct rule_count {
	const char *table;
	size_t count;
};

static int count_rule(const struct nlmsghdr *m, void *ctx)
{
	struct rule_count *c = ctx;

	if ((m->nlmsg_type & 0xff) == NFT_MSG_NEWRULE &&
	    nl_attr_is(nl_attr(m, sizeof(struct nfgenmsg), NFTA_RULE_TABLE), c->table))
		c->count++;
	return 0;
}

bool netns_table_is_marked(const struct nlmsghdr *m)
{
	const struct nlattr *a = nl_attr(m, sizeof(struct nfgenmsg), NFTA_TABLE_USERDATA);

	return (m->nlmsg_type & 0xff) == NFT_MSG_NEWTABLE && a && mnl_attr_get_payload_len(a) == sizeof(NFT_MARK) - 1 &&
	       memcmp(mnl_attr_get_payload(a), NFT_MARK, sizeof(NFT_MARK) - 1) == 0;
}

static int find_mark(const struct nlmsghdr *m, void *ctx)
{
	*(bool *)ctx |= netns_table_is_marked(m);
	return 0;
}

static int take_presence(const struct nlmsghdr *m, void *ctx)
{
	*(bool *)ctx |= (m->nlmsg_type & 0xff) == NFT_MSG_NEWTABLE;
	return 0;
}

static int ask_table(struct nl *n, const struct netns_host *h, int f, nl_data_fn take, struct err *e)
{
	struct nlmsghdr *m = ask(n, NFT_MSG_GETTABLE, 0, f);
	bool found = false;
	int r;

	if (m)
		mnl_attr_put_strz(m, NFTA_TABLE_NAME, h->tag);
	nl_end(n, m);
	nl_ignore(n, ENOENT);
	r = nl_talk(n, h->tag, take, &found, e);
	return r < 0 ? r : found;
}

int netns_table_is_there(struct nl *n, const struct netns_host *h, int f, struct err *e)
{
	return ask_table(n, h, f, take_presence, e);
}

/* A firewall's reload may bring back what was saved while we ran: rules all there, entries of VPSs
 * that are gone. It lacks the mark. */
static int has_mark(struct nl *n, const struct netns_host *h, enum ruleset_family f, struct err *e)
{
	return ask_table(n, h, f, find_mark, e);
}

int netns_rules_are_up(const struct netns_host *h, struct err *e)
{
	cleanup_nl struct nl n = NL_INIT;
	int r = nl_open_rules(&n, e);

	for (int f = 0; f < RS_FAMILIES && r == 0; f++) {
		struct rule_count c = { .table = h->tag };
		struct nlmsghdr *m;
		size_t want = 0;

		r = has_mark(&n, h, f, e);
		if (r <= 0)
			return r;
		m = ask(&n, NFT_MSG_GETRULE, NLM_F_DUMP, f);
		if (m)
			mnl_attr_put_strz(m, NFTA_RULE_TABLE, h->tag);
		nl_end(&n, m);
		r = nl_talk(&n, h->tag, count_rule, &c, e);
		for (size_t i = 0; i < ruleset_rule_count; i++)
			want += ruleset_rules[i].family == (enum ruleset_family)f;
		if (r == 0 && c.count != want)
			return 0;
	}
	return r < 0 ? r : 1;
}

static int take_generation(const struct nlmsghdr *m, void *ctx)
{
	const struct nlattr *id = nl_attr(m, sizeof(struct nfgenmsg), NFTA_GEN_ID);

	if ((m->nlmsg_type & 0xff) == NFT_MSG_NEWGEN && id && mnl_attr_validate(id, MNL_TYPE_U32) >= 0)
		*(uint32_t *)ctx = be32toh(mnl_attr_get_u32(id));
	return 0;
}

int netns_rules_generation(struct nl *n, uint32_t *ret, struct err *e)
{
	*ret = 0;
	nl_end(n, ask(n, NFT_MSG_GETGEN, 0, RS_INET));
	return nl_talk(n, "the host", take_generation, ret, e);
}

struct tally {
	uint64_t packets, bytes;
};

static uint64_t be64_of(const struct nlattr *a)
{
	return be64toh(mnl_attr_get_u64(a));
}

/* What an element has counted, if it counts. */
static void read_counter(const struct nlattr *elem, struct tally *t)
{
	const struct nlattr *data = nl_nested(nl_nested(elem, NFTA_SET_ELEM_EXPR), NFTA_EXPR_DATA);
	const struct nlattr *packets = nl_nested(data, NFTA_COUNTER_PACKETS);
	const struct nlattr *bytes = nl_nested(data, NFTA_COUNTER_BYTES);

	t->packets += packets ? be64_of(packets) : 0;
	t->bytes += bytes ? be64_of(bytes) : 0;
}

int netns_each_elem(const struct nlmsghdr *m, int (*take)(const struct nlattr *elem, void *ctx), void *ctx)
{
	const struct nlattr *list = nl_attr(m, sizeof(struct nfgenmsg), NFTA_SET_ELEM_LIST_ELEMENTS);
	const struct nlattr *item;
	int r;

	if ((m->nlmsg_type & 0xff) != NFT_MSG_NEWSETELEM || !list)
		return 0;
	mnl_attr_for_each_nested(item, list)
	{
		r = take(item, ctx);
		if (r < 0)
			return r;
	}
	return 0;
}

struct counts_ctx {
	struct netns_counts *counts;
	uint8_t family;
	const char *set;
};

static int add_count(const struct nlattr *elem, void *ctx)
{
	struct counts_ctx *x = ctx;
	struct netns_counts *c = x->counts;
	struct netns_count one = { .family = x->family };
	struct tally t = { 0 };
	const struct nlattr *key = nl_nested(nl_nested(elem, NFTA_SET_ELEM_KEY), NFTA_DATA_VALUE);

	read_counter(elem, &t);
	if (key && mnl_attr_get_payload_len(key) <= sizeof(one.key))
		memcpy(one.key, mnl_attr_get_payload(key), mnl_attr_get_payload_len(key));
	if (!t.packets)
		return 0;
	if (c->count == c->room) {
		size_t room = c->room * 2 + 64;
		struct netns_count *bigger = realloc(c->item, room * sizeof(*bigger));

		if (!bigger)
			return -ENOMEM;
		c->item = bigger;
		c->room = room;
	}
	snprintf(one.set, sizeof(one.set), "%s", x->set);
	one.packets = t.packets;
	one.bytes = t.bytes;
	c->item[c->count++] = one;
	return 0;
}

static int read_counts(const struct nlmsghdr *m, void *ctx)
{
	return netns_each_elem(m, add_count, ctx);
}

/* By family, set and key, which the structure begins with; unused bytes are 0. */
static int by_key(const void *a, const void *b)
{
	return memcmp(a, b, offsetof(struct netns_count, packets));
}

int netns_counts_read(const struct netns_host *h, struct netns_counts *ret, struct err *e)
{
	cleanup_nl struct nl n = NL_INIT;
	int r = nl_open_rules(&n, e);

	for (size_t i = 0; i < ruleset_set_count && r == 0; i++) {
		const struct ruleset_set *s = &ruleset_sets[i];
		struct counts_ctx x = { ret, ruleset_nfproto[s->family], s->set.name };
		struct nlmsghdr *m;

		if (!s->set.counter)
			continue;
		m = ask(&n, NFT_MSG_GETSETELEM, NLM_F_DUMP, s->family);
		if (m) {
			mnl_attr_put_strz(m, NFTA_SET_ELEM_LIST_TABLE, h->tag);
			mnl_attr_put_strz(m, NFTA_SET_ELEM_LIST_SET, s->set.name);
		}
		nl_end(&n, m);
		nl_ignore(&n, ENOENT);
		r = nl_talk(&n, h->tag, read_counts, &x, e);
		if (r == -ENOMEM)
			err_code(e, r, "read what %s has counted", h->tag);
	}
	if (ret->count)
		qsort(ret->item, ret->count, sizeof(*ret->item), by_key);
	return r;
}

void netns_counts_done(struct netns_counts *c)
{
	free(c->item);
	*c = (struct netns_counts){ 0 };
}

const struct netns_count *netns_counts_find(const struct netns_counts *c, uint8_t family,
					    const char *set, const uint8_t key[16])
{
	struct netns_count want = { .family = family };

	snprintf(want.set, sizeof(want.set), "%s", set);
	memcpy(want.key, key, sizeof(want.key));
	return c->count ? bsearch(&want, c->item, c->count, sizeof(want), by_key) : NULL;
}

static int add_tally(const struct nlattr *elem, void *ctx)
{
	read_counter(elem, ctx);
	return 0;
}

static int read_elem(const struct nlmsghdr *m, void *ctx)
{
	return netns_each_elem(m, add_tally, ctx);
}

static int count_of(struct nl *n, const struct netns_host *h, enum ruleset_family f,
		    const char *set, const struct nft_key *key, struct tally *t, struct err *e)
{
	struct nlmsghdr *m = ask(n, NFT_MSG_GETSETELEM, 0, f);
	struct nlattr *list, *item, *k;

	if (m) {
		mnl_attr_put_strz(m, NFTA_SET_ELEM_LIST_TABLE, h->tag);
		mnl_attr_put_strz(m, NFTA_SET_ELEM_LIST_SET, set);
		list = mnl_attr_nest_start(m, NFTA_SET_ELEM_LIST_ELEMENTS);
		item = mnl_attr_nest_start(m, NFTA_LIST_ELEM);
		k = mnl_attr_nest_start(m, NFTA_SET_ELEM_KEY);
		mnl_attr_put(m, NFTA_DATA_VALUE, key->len, key->bytes);
		mnl_attr_nest_end(m, k);
		mnl_attr_nest_end(m, item);
		mnl_attr_nest_end(m, list);
	}
	nl_end(n, m);
	nl_ignore(n, ENOENT);
	return nl_talk(n, h->tag, read_elem, t, e);
}

int netns_rules_count(const struct netns_host *h, const struct netns_vps *v, struct netns_stat *ret,
		      struct err *e)
{
	struct tally spoofed = { 0 }, refused = { 0 };
	cleanup_nl struct nl n = NL_INIT;
	int r = nl_open_rules(&n, e);
	char link[16];

	for (unsigned k = 0; k < v->if_count && r == 0; k++) {
		const struct netns_if *i = &v->ifs[k];
		struct nft_key key = { 0 };

		if (!netns_if_has_link(i))
			continue;
		nft_key_add(&key, NFT_IFNAME, netns_link_name(h, v->uuid, k, link));
		r = count_of(&n, h, i->mode == NETNS_BRIDGE ? RS_BRIDGE : RS_INET, "spoofed", &key,
			     &spoofed, e);
		for (size_t a = 0; netns_if_is_ours(i) && a < i->addr_count && r == 0; a++) {
			bool v4 = i->addr[a].family == AF_INET;

			key = (struct nft_key){ 0 };
			nft_key_add(&key, v4 ? NFT_IP4 : NFT_IP6, i->addr[a].bytes);
			r = count_of(&n, h, RS_INET, v4 ? "refused4" : "refused6", &key, &refused,
				     e);
		}
	}
	ret->spoofed_packets = spoofed.packets;
	ret->spoofed_bytes = spoofed.bytes;
	ret->refused_packets = refused.packets;
	ret->refused_bytes = refused.bytes;
	return r;
}

static int read_link(const struct nlmsghdr *m, void *ctx)
{
	struct netns_stat *s = ctx;
	struct rtnl_link_stats64 t;
	const struct nlattr *a;
	size_t len;

	if (m->nlmsg_type != RTM_NEWLINK)
		return 0;
	a = nl_attr(m, sizeof(struct ifinfomsg), IFLA_STATS64);
	if (!a)
		return 0;
	memset(&t, 0, sizeof(t));
	len = mnl_attr_get_payload_len(a);
	memcpy(&t, mnl_attr_get_payload(a), len < sizeof(t) ? len : sizeof(t));
	/* What the host's end receives, the VPS sent. */
	s->rx_bytes += t.tx_bytes;
	s->rx_packets += t.tx_packets;
	s->rx_dropped += t.tx_dropped;
	s->tx_bytes += t.rx_bytes;
	s->tx_packets += t.rx_packets;
	s->tx_dropped += t.rx_dropped;
	return 0;
}

int netns_vps_stat(const struct netns_host *h, const struct netns_vps *v, struct netns_stat *ret,
		   struct err *e)
{
	cleanup_nl struct nl n = NL_INIT;
	int r = nl_open(&n, NETLINK_ROUTE, -EBADF, e);
	char link[16];

	*ret = (struct netns_stat){ 0 };
	if (r < 0)
		return r;
	for (unsigned k = 0; k < v->if_count; k++) {
		struct ifinfomsg ifi = { 0 };
		struct nlmsghdr *m;

		if (!netns_if_has_link(&v->ifs[k]))
			continue;
		m = nl_begin(&n, RTM_GETLINK, 0, &ifi, sizeof(ifi), "read the counts");
		if (m)
			mnl_attr_put_strz(m, IFLA_IFNAME, netns_link_name(h, v->uuid, k, link));
		nl_end(&n, m);
		nl_ignore(&n, ENODEV);
	}
	r = nl_talk(&n, v->name, read_link, ret, e);
	return r < 0 ? r : netns_rules_count(h, v, ret, e);
}

struct prune {
	const struct netns_host *h;
	const char *const *uuids;
	size_t count;
	char (*name)[16];
	size_t found, room;
	char prefix[8];
};

static bool is_kept(const struct prune *p, const char *name)
{
	char link[16];

	for (size_t i = 0; i < p->count; i++)
		/* All but the kind (v, i) in front and the interface's number at the end. */
		if (strncmp(netns_link_name(p->h, p->uuids[i], 0, link) + 1, name + 1, 12) == 0)
			return true;
	return false;
}

static int prune_link(const struct nlmsghdr *m, void *ctx)
{
	struct prune *p = ctx;
	const struct nlattr *a = nl_attr(m, sizeof(struct ifinfomsg), IFLA_IFNAME);
	const char *name = a ? mnl_attr_get_str(a) : NULL;

	if (!name || strlen(name) != 14 || (*name != 'v' && *name != 'i') ||
	    strncmp(name + 1, p->prefix + 1, 4) != 0 || is_kept(p, name))
		return 0;
	if (p->found == p->room) {
		size_t room = p->room * 2 + 16;
		void *bigger = realloc(p->name, room * sizeof(*p->name));

		if (!bigger)
			return -ENOMEM;
		p->name = bigger;
		p->room = room;
	}
	snprintf(p->name[p->found++], 16, "%s", name);
	return 0;
}

int netns_prune(const struct netns_host *h, const char *const *uuids, size_t count, struct err *e)
{
	struct prune p = { .h = h, .uuids = uuids, .count = count };
	struct ifinfomsg ifi = { 0 };
	cleanup_nl struct nl n = NL_INIT;
	int r = nl_open(&n, NETLINK_ROUTE, -EBADF, e);
	char link[16];

	if (r < 0)
		return r;
	snprintf(p.prefix, sizeof(p.prefix), "%.5s", netns_link_name(h, "", 0, link));
	nl_end(&n, nl_begin(&n, RTM_GETLINK, NLM_F_DUMP, &ifi, sizeof(ifi), "list the links"));
	r = nl_talk(&n, "the host", prune_link, &p, e);
	if (r == -ENOMEM)
		err_code(e, r, "list the links");
	for (size_t i = 0; i < p.found && r == 0; i++) {
		struct nlmsghdr *m =
			nl_begin(&n, RTM_DELLINK, 0, &ifi, sizeof(ifi), "remove a link");

		if (m)
			mnl_attr_put_strz(m, IFLA_IFNAME, p.name[i]);
		nl_end(&n, m);
		nl_ignore(&n, ENODEV);
	}
	if (r == 0)
		r = nl_talk(&n, "the host", NULL, NULL, e);
	free(p.name);
	return r < 0 ? r : (int)p.found;
}
