/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "netns/nft.h"

#include "base/macro.h"

#include <arpa/inet.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <string.h>

static uint16_t nft_type(int msg)
{
	return (uint16_t)(NFNL_SUBSYS_NFTABLES << 8 | msg);
}

static struct nlmsghdr *begin(struct nl *n, uint16_t type, uint16_t flags, uint8_t family,
			      const char *what)
{
	struct nfgenmsg g = { .nfgen_family = family, .version = NFNETLINK_V0 };

	if (type == NFNL_MSG_BATCH_BEGIN || type == NFNL_MSG_BATCH_END)
		g.res_id = htons(NFNL_SUBSYS_NFTABLES);
	return nl_begin(n, type, flags, &g, sizeof(g), what);
}

static void put_be32(struct nlmsghdr *m, uint16_t attr, uint32_t v)
{
	mnl_attr_put_u32(m, attr, htonl(v));
}

void nft_begin_at(struct nl *n, uint32_t generation)
{
	struct nlmsghdr *m = begin(n, NFNL_MSG_BATCH_BEGIN, 0, AF_UNSPEC, "change the rules");

	if (m && generation)
		put_be32(m, NFNL_BATCH_GENID, generation);
	nl_end(n, m);
}

void nft_begin(struct nl *n)
{
	nft_begin_at(n, 0);
}

void nft_end(struct nl *n)
{
	nl_end(n, begin(n, NFNL_MSG_BATCH_END, 0, AF_UNSPEC, "change the rules"));
}

static void table_add(struct nl *n, uint8_t family, const char *table, uint32_t flags)
{
	struct nlmsghdr *m =
		begin(n, nft_type(NFT_MSG_NEWTABLE), NLM_F_CREATE, family, "add the nft table");

	if (m) {
		mnl_attr_put_strz(m, NFTA_TABLE_NAME, table);
		mnl_attr_put(m, NFTA_TABLE_USERDATA, sizeof(NFT_MARK) - 1, NFT_MARK);
		if (flags)
			put_be32(m, NFTA_TABLE_FLAGS, flags);
	}
	nl_end(n, m);
}

void nft_table_add(struct nl *n, uint8_t family, const char *table)
{
	table_add(n, family, table, 0);
}

void nft_table_add_owned(struct nl *n, uint8_t family, const char *table)
{
	table_add(n, family, table, NFT_TABLE_F_OWNER);
}

void nft_table_del(struct nl *n, uint8_t family, const char *table)
{
	struct nlmsghdr *m =
		begin(n, nft_type(NFT_MSG_DELTABLE), 0, family, "remove the nft table");

	if (m)
		mnl_attr_put_strz(m, NFTA_TABLE_NAME, table);
	nl_end(n, m);
}

static void chain_add(struct nl *n, uint8_t family, const char *table, const char *chain, const char *type, int hook,
		      int priority, const char *link)
{
	struct nlmsghdr *m =
		begin(n, nft_type(NFT_MSG_NEWCHAIN), NLM_F_CREATE, family, "add an nft chain");
	struct nlattr *nest;

	if (m) {
		mnl_attr_put_strz(m, NFTA_CHAIN_TABLE, table);
		mnl_attr_put_strz(m, NFTA_CHAIN_NAME, chain);
		if (hook >= 0) {
			nest = mnl_attr_nest_start(m, NFTA_CHAIN_HOOK);
			put_be32(m, NFTA_HOOK_HOOKNUM, (uint32_t)hook);
			put_be32(m, NFTA_HOOK_PRIORITY, (uint32_t)priority);
			if (link)
				mnl_attr_put_strz(m, NFTA_HOOK_DEV, link);
			mnl_attr_nest_end(m, nest);
			put_be32(m, NFTA_CHAIN_POLICY, NF_ACCEPT);
			mnl_attr_put_strz(m, NFTA_CHAIN_TYPE, type);
		}
	}
	nl_end(n, m);
}

void nft_chain_add(struct nl *n, uint8_t family, const char *table, const char *chain,
		   const char *type, int hook, int priority)
{
	chain_add(n, family, table, chain, type, hook, priority, NULL);
}

void nft_netdev_chain_add(struct nl *n, const char *table, const char *chain, const char *link, int hook, int priority)
{
	chain_add(n, NFPROTO_NETDEV, table, chain, "filter", hook, priority, link);
}

/* nft(8)'s own numbers of data types; the kernel only keeps them, for `nft list`. */
static const struct {
	uint32_t type;
	size_t len;
} parts[] = {
	/* clang-format off */
	[NFT_IFNAME] = { 41, 16 },
	[NFT_MAC] = { 9, 6 },
	[NFT_IP4] = { 7, 4 },
	[NFT_IP6] = { 8, 16 },
	[NFT_RAW6] = { 4, 16 },
	[NFT_PROTO] = { 12, 1 },
	[NFT_PORT] = { 13, 2 },
	/* clang-format on */
};

static size_t padded(size_t len)
{
	return (len + 3) & ~(size_t)3;
}

static uint32_t key_type(const enum nft_part *p, size_t *len)
{
	bool many = p[1] != NFT_END_;
	uint32_t type = 0;

	*len = 0;
	for (int i = 0; i < NFT_PARTS_MAX && p[i]; i++) {
		type = type << 6 | parts[p[i]].type;
		*len += many ? padded(parts[p[i]].len) : parts[p[i]].len;
	}
	return type;
}

static void put_fields(struct nlmsghdr *m, const struct nft_set *s)
{
	struct nlattr *desc, *concat, *field;

	desc = mnl_attr_nest_start(m, NFTA_SET_DESC);
	concat = mnl_attr_nest_start(m, NFTA_SET_DESC_CONCAT);
	for (int i = 0; i < NFT_PARTS_MAX && s->key[i]; i++) {
		field = mnl_attr_nest_start(m, NFTA_LIST_ELEM);
		put_be32(m, NFTA_SET_FIELD_LEN, (uint32_t)parts[s->key[i]].len);
		mnl_attr_nest_end(m, field);
	}
	mnl_attr_nest_end(m, concat);
	mnl_attr_nest_end(m, desc);
}

void nft_set_add(struct nl *n, uint8_t family, const char *table, const struct nft_set *s,
		 uint32_t id)
{
	struct nlmsghdr *m =
		begin(n, nft_type(NFT_MSG_NEWSET), NLM_F_CREATE, family, "add an nft set");
	/* Byte order of a key of one part, for `nft list`: 1 the host's, 2 the network's. */
	uint8_t order[6] = { 0, 4, s->key[0] == NFT_IFNAME ? 1 : 2, 0, 0, 0 };
	bool concat = s->key[1] != NFT_END_;
	uint32_t flags = 0, type;
	struct nlattr *nest;
	size_t len;

	if (!m)
		return;
	mnl_attr_put_strz(m, NFTA_SET_TABLE, table);
	mnl_attr_put_strz(m, NFTA_SET_NAME, s->name);
	type = key_type(s->key, &len);
	put_be32(m, NFTA_SET_KEY_TYPE, type);
	put_be32(m, NFTA_SET_KEY_LEN, (uint32_t)len);
	put_be32(m, NFTA_SET_ID, id);
	if (s->data[0]) {
		type = key_type(s->data, &len);
		put_be32(m, NFTA_SET_DATA_TYPE, type);
		put_be32(m, NFTA_SET_DATA_LEN, (uint32_t)len);
		flags |= NFT_SET_MAP;
	}
	if (s->interval)
		flags |= NFT_SET_INTERVAL;
	if (s->connections)
		flags |= NFT_SET_EVAL;
	if (s->interval && concat) {
		flags |= NFT_SET_CONCAT;
		put_fields(m, s);
	}
	put_be32(m, NFTA_SET_FLAGS, flags);
	if (s->counter) {
		nest = mnl_attr_nest_start(m, NFTA_SET_EXPR);
		mnl_attr_put_strz(m, NFTA_EXPR_NAME, "counter");
		mnl_attr_nest_end(m, nest);
	}
	if (s->connections) {
		nest = mnl_attr_nest_start(m, NFTA_SET_DESC);
		put_be32(m, NFTA_SET_DESC_SIZE, NFT_CONNECTIONS_MAX);
		mnl_attr_nest_end(m, nest);
	}
	if (s->typeof_data)
		mnl_attr_put(m, NFTA_SET_USERDATA, s->typeof_len, s->typeof_data);
	else if (!concat)
		mnl_attr_put(m, NFTA_SET_USERDATA, sizeof(order), order);
	nl_end(n, m);
}

void nft_key_add(struct nft_key *k, enum nft_part part, const void *data)
{
	size_t len = parts[part].len;

	k->len = padded(k->len);
	if (k->len + padded(len) > sizeof(k->bytes))
		abort(); /* the sets are ours: none has keys that long */
	memset(k->bytes + k->len, 0, padded(len));
	if (part == NFT_IFNAME)
		memcpy(k->bytes + k->len, data, strnlen(data, len - 1));
	else
		memcpy(k->bytes + k->len, data, len);
	k->len += len;
}

static void put_value(struct nlmsghdr *m, uint16_t attr, const struct nft_key *k, bool single)
{
	struct nlattr *nest = mnl_attr_nest_start(m, attr);

	mnl_attr_put(m, NFTA_DATA_VALUE, single ? k->len : padded(k->len), k->bytes);
	mnl_attr_nest_end(m, nest);
}

static void put_counter(struct nlmsghdr *m, const struct nft_elem *el)
{
	struct nlattr *nest = mnl_attr_nest_start(m, NFTA_SET_ELEM_EXPR), *data;

	mnl_attr_put_strz(m, NFTA_EXPR_NAME, "counter");
	data = mnl_attr_nest_start(m, NFTA_EXPR_DATA);
	mnl_attr_put_u64(m, NFTA_COUNTER_BYTES, htobe64(el->bytes));
	mnl_attr_put_u64(m, NFTA_COUNTER_PACKETS, htobe64(el->packets));
	mnl_attr_nest_end(m, data);
	mnl_attr_nest_end(m, nest);
}

void nft_elem_do(struct nl *n, int what, uint8_t family, const char *table, const char *set,
		 const struct nft_elem *el)
{
	struct nlmsghdr *m = begin(
		n, nft_type(what == NFT_ADD ? NFT_MSG_NEWSETELEM : NFT_MSG_DELSETELEM),
		what == NFT_ADD ? NLM_F_CREATE : 0, family,
		what == NFT_ADD ? "add an entry to the rules" : "remove an entry from the rules");
	struct nlattr *list, *item;

	if (!m)
		return;
	mnl_attr_put_strz(m, NFTA_SET_ELEM_LIST_TABLE, table);
	mnl_attr_put_strz(m, NFTA_SET_ELEM_LIST_SET, set);
	list = mnl_attr_nest_start(m, NFTA_SET_ELEM_LIST_ELEMENTS);
	item = mnl_attr_nest_start(m, NFTA_LIST_ELEM);
	put_value(m, NFTA_SET_ELEM_KEY, &el->key, false);
	if (el->end.len)
		put_value(m, NFTA_SET_ELEM_KEY_END, &el->end, false);
	if (el->data.len)
		put_value(m, NFTA_SET_ELEM_DATA, &el->data, false);
	if (el->is_end)
		put_be32(m, NFTA_SET_ELEM_FLAGS, NFT_SET_ELEM_INTERVAL_END);
	if (el->packets && what == NFT_ADD)
		put_counter(m, el);
	mnl_attr_nest_end(m, item);
	mnl_attr_nest_end(m, list);
	nl_end(n, m);
}
