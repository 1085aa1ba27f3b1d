/* SPDX-License-Identifier: GPL-2.0-or-later */

/*
 * What ethtool(8) has set of links: features, and of pairs the number of queues in use. Features have names that last
 * and numbers that do not: an image has those names whose features are otherwise than a new link has them.
 * (Documentation/networking/ethtool-netlink.rst)
 */
#include "checkpoint/netlinks.h"
#include "checkpoint/netrare.h"

#include "base/macro.h"

#include <errno.h>
#include <linux/ethtool.h>
#include <linux/ethtool_netlink.h>
#include <linux/genetlink.h>
#include <pthread.h>

#define FEATURES_MAX 256
#define WORDS (FEATURES_MAX / 32)

/* The kernel's, from when it was first asked: they do not change while it runs. */
static struct {
	pthread_mutex_t lock;
	bool known;
	char name[FEATURES_MAX][ETH_GSTRING_LEN];
	uint8_t off[FEATURES_MAX]; /* a bit for each row below that has it */
} features = { .lock = PTHREAD_MUTEX_INITIALIZER };

/* What a new link can have and has not (net/core/dev.c, register_netdevice(), and its driver). */
static const struct {
	const char *name;
	const char *kind; /* or NULL: all */
} off[] = {
	{ "rx-gro-list", NULL },
	{ "rx-udp-gro-forwarding", NULL },
	{ "tx-nocache-copy", NULL },
	{ "rx-gro", "veth" },
	{ "rx-lro", "macvlan" },
	{ "tx-tcp-mangleid-segmentation", "tun" },
};
static_assert(ARRAY_SIZE(off) <= 8, "a bit for each");

static bool has_bit(const uint32_t *set, size_t i)
{
	return set[i / 32] >> i % 32 & 1;
}

static void take_name(const struct nlattr *string)
{
	const struct nlattr *index = nl_nested(string, ETHTOOL_A_STRING_INDEX);
	const struct nlattr *value = nl_nested(string, ETHTOOL_A_STRING_VALUE);
	uint32_t i = net_link_number(index);

	if (!index || !value || i >= FEATURES_MAX || mnl_attr_validate(value, MNL_TYPE_NUL_STRING) < 0)
		return;
	snprintf(features.name[i], sizeof(features.name[i]), "%s", mnl_attr_get_str(value));
	for (size_t k = 0; k < ARRAY_SIZE(off); k++)
		if (STREQ(off[k].name, features.name[i]))
			features.off[i] |= (uint8_t)(1u << k);
}

static int hear_names(const struct nlmsghdr *m, void *arg)
{
	const struct nlattr *sets = nl_attr(m, GENL_HDRLEN, ETHTOOL_A_STRSET_STRINGSETS), *set, *string;

	(void)arg;
	if (sets)
		mnl_attr_for_each_nested(set, sets) {
			const struct nlattr *strings = nl_nested(set, ETHTOOL_A_STRINGSET_STRINGS);

			if (strings)
				mnl_attr_for_each_nested(string, strings)
					take_name(string);
		}
	return 0;
}

static struct nlmsghdr *begin(struct nl *n, uint16_t family, uint8_t cmd, uint16_t flags, const char *what)
{
	struct genlmsghdr g = { .cmd = cmd, .version = ETHTOOL_GENL_VERSION };

	return nl_begin(n, family, flags, &g, sizeof(g), what);
}

/* `index`: of a link, or 0; `how`: ETHTOOL_FLAG_*. */
static void put_header(struct nlmsghdr *q, uint32_t index, uint32_t how)
{
	struct nlattr *nest = mnl_attr_nest_start(q, ETHTOOL_A_FEATURES_HEADER); /* the first one of all kinds */

	if (index)
		mnl_attr_put_u32(q, ETHTOOL_A_HEADER_DEV_INDEX, index);
	if (how)
		mnl_attr_put_u32(q, ETHTOOL_A_HEADER_FLAGS, how);
	mnl_attr_nest_end(q, nest);
}

int net_ethtool_prepare(struct nl *generic, uint16_t family, struct err *e)
{
	struct nlattr *sets, *set;
	struct nlmsghdr *q;
	int r = 0;

	pthread_mutex_lock(&features.lock);
	if (!features.known) {
		q = begin(generic, family, ETHTOOL_MSG_STRSET_GET, 0, "list the names");
		if (q) {
			put_header(q, 0, 0);
			sets = mnl_attr_nest_start(q, ETHTOOL_A_STRSET_STRINGSETS);
			set = mnl_attr_nest_start(q, ETHTOOL_A_STRINGSETS_STRINGSET);
			mnl_attr_put_u32(q, ETHTOOL_A_STRINGSET_ID, ETH_SS_FEATURES);
			mnl_attr_nest_end(q, set);
			mnl_attr_nest_end(q, sets);
		}
		nl_end(generic, q);
		r = nl_talk(generic, "features of links", hear_names, NULL, e);
		features.known = r == 0;
	}
	pthread_mutex_unlock(&features.lock);
	return r;
}

/* The link that a message is about. */
static uint32_t index_of(const struct nlmsghdr *m)
{
	const struct nlattr *header = nl_attr(m, GENL_HDRLEN, ETHTOOL_A_FEATURES_HEADER);

	return header ? net_link_number(nl_nested(header, ETHTOOL_A_HEADER_DEV_INDEX)) : 0;
}

/* From where the last was found: both go in the same order. */
static bool find_link(struct net_walk *at, uint32_t index, struct net_link *ret)
{
	for (int round = 0; round < 2; round++) {
		while (net_link_next(at, ret))
			if ((uint32_t)ret->ifi->ifi_index == index)
				return true;
		at->i = at->k = 0;
	}
	return false;
}

static struct net_walk from_first(const struct net_walk *links)
{
	struct net_walk w = *links;

	w.i = w.k = 0;
	return w;
}

struct hearing {
	const struct net_rare *r;
	struct net_walk links;
};

static void take_bits(const struct nlmsghdr *m, uint16_t type, uint32_t ret[WORDS])
{
	const struct nlattr *set = nl_attr(m, GENL_HDRLEN, type);
	const struct nlattr *value = nl_nested(set, ETHTOOL_A_BITSET_VALUE);
	size_t len = value ? mnl_attr_get_payload_len(value) : 0;

	memset(ret, 0, WORDS * sizeof(*ret));
	if (value)
		memcpy(ret, mnl_attr_get_payload(value), len < WORDS * sizeof(*ret) ? len : WORDS * sizeof(*ret));
}

#define ROOM 32768 /* for all features' names */

/* Those of `which` by name, with what they are to be: the request that sets them. */
static int give(const struct net_rare *r, uint32_t index, const uint32_t which[WORDS], const uint32_t wanted[WORDS])
{
	union {
		struct nlmsghdr m;
		char room[ROOM];
	} buf;
	struct nlattr *set, *bits, *bit;
	struct nlmsghdr *q;

	memset(&buf, 0, sizeof(buf));
	q = mnl_nlmsg_put_header(&buf);
	((struct genlmsghdr *)mnl_nlmsg_put_extra_header(q, GENL_HDRLEN))->cmd = ETHTOOL_MSG_FEATURES_SET;
	put_header(q, index, 0);
	set = mnl_attr_nest_start(q, ETHTOOL_A_FEATURES_WANTED);
	bits = mnl_attr_nest_start(q, ETHTOOL_A_BITSET_BITS);
	for (size_t i = 0; i < FEATURES_MAX; i++)
		if (has_bit(which, i) && features.name[i][0]) {
			bit = mnl_attr_nest_start(q, ETHTOOL_A_BITSET_BITS_BIT);
			mnl_attr_put_strz(q, ETHTOOL_A_BITSET_BIT_NAME, features.name[i]);
			if (has_bit(wanted, i))
				mnl_attr_put(q, ETHTOOL_A_BITSET_BIT_VALUE, 0, NULL);
			mnl_attr_nest_end(q, bit);
		}
	mnl_attr_nest_end(q, bits);
	mnl_attr_nest_end(q, set);
	return r->fn(CKPT_NET_FEATURES, q, r->arg);
}

static bool is_usually_off(const struct net_link *l, size_t feature)
{
	for (size_t k = 0; features.off[feature] && k < ARRAY_SIZE(off); k++)
		if (features.off[feature] >> k & 1 && (!off[k].kind || STREQ(off[k].kind, l->kind)))
			return true;
	return false;
}

static int hear_features(const struct nlmsghdr *m, void *arg)
{
	struct hearing *h = arg;
	const struct net_rare *r = h->r;
	uint32_t can[WORDS], wanted[WORDS], other[WORDS] = { 0 };
	bool any = false;
	struct net_link l;

	if (!find_link(&h->links, index_of(m), &l))
		return 0;
	take_bits(m, ETHTOOL_A_FEATURES_HW, can);
	take_bits(m, ETHTOOL_A_FEATURES_WANTED, wanted);
	for (size_t i = 0; i < FEATURES_MAX; i++)
		if (has_bit(can, i) && has_bit(wanted, i) == is_usually_off(&l, i)) {
			other[i / 32] |= 1u << i % 32;
			any = true;
		}
	return any ? give(r, index_of(m), other, wanted) : 0;
}

static int hear_channels(const struct nlmsghdr *m, void *arg)
{
	struct hearing *h = arg;
	const struct net_rare *r = h->r;
	uint32_t rx = net_link_number(nl_attr(m, GENL_HDRLEN, ETHTOOL_A_CHANNELS_RX_COUNT));
	uint32_t tx = net_link_number(nl_attr(m, GENL_HDRLEN, ETHTOOL_A_CHANNELS_TX_COUNT));
	union {
		struct nlmsghdr m;
		char room[256];
	} buf;
	struct nlmsghdr *q;
	struct net_link l;

	if (!find_link(&h->links, index_of(m), &l) || !STREQ(l.kind, "veth") || (rx <= 1 && tx <= 1))
		return 0;
	memset(&buf, 0, sizeof(buf));
	q = mnl_nlmsg_put_header(&buf);
	((struct genlmsghdr *)mnl_nlmsg_put_extra_header(q, GENL_HDRLEN))->cmd = ETHTOOL_MSG_CHANNELS_SET;
	put_header(q, index_of(m), 0);
	mnl_attr_put_u32(q, ETHTOOL_A_CHANNELS_RX_COUNT, rx);
	mnl_attr_put_u32(q, ETHTOOL_A_CHANNELS_TX_COUNT, tx);
	return r->fn(CKPT_NET_CHANNELS, q, r->arg);
}

static int list(const struct net_rare *r, uint16_t family, uint8_t cmd, uint32_t how, nl_data_fn fn, struct err *e)
{
	struct nlmsghdr *q = begin(r->generic, family, cmd, NLM_F_DUMP, "list");
	struct hearing h = { r, from_first(r->links) };

	if (q)
		put_header(q, 0, how);
	nl_end(r->generic, q);
	nl_ignore(r->generic, EOPNOTSUPP);
	return nl_talk(r->generic, "what is set of links", fn, &h, e);
}

int net_ethtool_collect(const struct net_rare *r, uint16_t family, struct err *e)
{
	int n = net_ethtool_prepare(r->generic, family, e);

	if (n == 0)
		n = list(r, family, ETHTOOL_MSG_FEATURES_GET, ETHTOOL_FLAG_COMPACT_BITSETS, hear_features, e);
	return n == 0 && r->has_pairs ? list(r, family, ETHTOOL_MSG_CHANNELS_GET, 0, hear_channels, e) : n;
}

static bool is_known(const char *name)
{
	for (size_t i = 0; i < FEATURES_MAX; i++)
		if (features.name[i][0] && STREQ(features.name[i], name))
			return true;
	return false;
}

/* A link has what it can of these; none of them has to be known to this kernel. */
static void say_features(struct nl *n, uint16_t family, const struct nlmsghdr *m)
{
	const struct nlattr *told = nl_attr(m, GENL_HDRLEN, ETHTOOL_A_FEATURES_WANTED);
	const struct nlattr *all = nl_nested(told, ETHTOOL_A_BITSET_BITS);
	struct nlattr *set, *bits, *bit;
	const struct nlattr *a, *name;
	struct nlmsghdr *q;
	bool any = false;

	if (!all)
		return;
	q = begin(n, family, ETHTOOL_MSG_FEATURES_SET, 0, "set the features");
	if (!q)
		return;
	put_header(q, index_of(m), ETHTOOL_FLAG_OMIT_REPLY);
	set = mnl_attr_nest_start(q, ETHTOOL_A_FEATURES_WANTED);
	bits = mnl_attr_nest_start(q, ETHTOOL_A_BITSET_BITS);
	mnl_attr_for_each_nested(a, all) {
		name = nl_nested(a, ETHTOOL_A_BITSET_BIT_NAME);
		if (!name || mnl_attr_validate(name, MNL_TYPE_NUL_STRING) < 0 || !is_known(mnl_attr_get_str(name)))
			continue;
		any = true;
		bit = mnl_attr_nest_start(q, ETHTOOL_A_BITSET_BITS_BIT);
		mnl_attr_put_strz(q, ETHTOOL_A_BITSET_BIT_NAME, mnl_attr_get_str(name));
		if (nl_nested(a, ETHTOOL_A_BITSET_BIT_VALUE))
			mnl_attr_put(q, ETHTOOL_A_BITSET_BIT_VALUE, 0, NULL);
		mnl_attr_nest_end(q, bit);
	}
	mnl_attr_nest_end(q, bits);
	mnl_attr_nest_end(q, set);
	if (any)
		nl_end(n, q);
}

static void say_channels(struct nl *n, uint16_t family, const struct nlmsghdr *m)
{
	static const uint16_t counts[] = { ETHTOOL_A_CHANNELS_RX_COUNT, ETHTOOL_A_CHANNELS_TX_COUNT };
	struct nlmsghdr *q = begin(n, family, ETHTOOL_MSG_CHANNELS_SET, 0, "set the queues");

	if (q) {
		put_header(q, index_of(m), ETHTOOL_FLAG_OMIT_REPLY);
		for (size_t i = 0; i < ARRAY_SIZE(counts); i++)
			net_link_copy(q, nl_attr(m, GENL_HDRLEN, counts[i]), 4);
	}
	nl_end(n, q);
	nl_ignore(n, EINVAL); /* more than the host has given it */
}

int net_ethtool_restore(struct nl *generic, uint16_t family, const struct net_walk *all, struct err *e)
{
	struct net_walk w = *all, links = from_first(all);
	const struct nlmsghdr *m;
	struct net_link l;
	int r = net_ethtool_prepare(generic, family, e);

	w.part = CKPT_NET_CHANNELS;
	while (r == 0 && (m = net_next(&w))) {
		if (find_link(&links, index_of(m), &l))
			say_channels(generic, family, m);
		r = nl_talk_if_much(generic, "a link", e);
	}
	w = *all;
	w.part = CKPT_NET_FEATURES;
	while (r == 0 && (m = net_next(&w))) {
		/* Of those that come with a module it may not be here. */
		if (find_link(&links, index_of(m), &l) && (!net_link_is_given(&l) || net_link_is_there(index_of(m))))
			say_features(generic, family, m);
		r = nl_talk_if_much(generic, "a link", e);
	}
	return r < 0 ? r : nl_talk(generic, "a link", NULL, NULL, e);
}

bool net_has_channels(const struct net_walk *all, uint32_t index)
{
	struct net_walk w = *all;
	const struct nlmsghdr *m;

	w.part = CKPT_NET_CHANNELS;
	w.i = w.k = 0;
	while ((m = net_next(&w)))
		if (index_of(m) == index)
			return true;
	return false;
}
