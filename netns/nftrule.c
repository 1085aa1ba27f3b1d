/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "netns/nft.h"

#include "base/macro.h"
#include "base/parse.h"

#include <arpa/inet.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>

/* Compiles the rules' text to the kernel's expressions; netns/nft.h has the language. */

#define REG(offset) (NFT_REG32_00 + (uint32_t)(offset) / 4)

enum kind { META, LL, NETWORK, TRANSPORT, CT, FIB };

static const struct field {
	const char *name;
	enum kind kind;
	uint32_t at; /* meta or ct key, or the offset in the header */
	uint32_t len;
} fields[] = {
	{ "iifname", META, NFT_META_IIFNAME, 16 },
	{ "oifname", META, NFT_META_OIFNAME, 16 },
	{ "nfproto", META, NFT_META_NFPROTO, 1 },
	{ "l4proto", META, NFT_META_L4PROTO, 1 },
	{ "pkttype", META, NFT_META_PKTTYPE, 1 },
	{ "mark", META, NFT_META_MARK, 4 },
	{ "ether.daddr", LL, 0, 6 },
	{ "ether.saddr", LL, 6, 6 },
	{ "ether.type", LL, 12, 2 },
	{ "arp.head", NETWORK, 0, 6 }, /* hardware and protocol type and lengths */
	{ "arp.op", NETWORK, 6, 2 },
	{ "arp.sha", NETWORK, 8, 6 },
	{ "arp.sip", NETWORK, 14, 4 },
	{ "ip.saddr", NETWORK, 12, 4 },
	{ "ip.daddr", NETWORK, 16, 4 },
	{ "ip6.saddr", NETWORK, 8, 16 },
	{ "ip6.daddr", NETWORK, 24, 16 },
	{ "sport", TRANSPORT, 0, 2 },
	{ "dport", TRANSPORT, 2, 2 },
	{ "icmp.type", TRANSPORT, 0, 1 },
	{ "nd.target", TRANSPORT, 8, 16 }, /* RFC 4861, 4.3 and 4.4 */
	{ "ct.state", CT, NFT_CT_STATE, 4 },
	{ "ct.status", CT, NFT_CT_STATUS, 4 },
	{ "ct.proto", CT, NFT_CT_PROTOCOL, 1 },
	{ "fib.daddr.type", FIB, NFT_FIB_RESULT_ADDRTYPE, 4 },
};

struct rule {
	struct nlmsghdr *m;
	const struct field *field; /* the last one loaded */
	uint32_t loaded; /* bytes in registers */
	uint32_t limit; /* of "+@" */
	bool joined; /* the next field goes behind the last */
};

static void be32(struct nlmsghdr *m, uint16_t attr, uint32_t v)
{
	mnl_attr_put_u32(m, attr, htonl(v));
}

struct expr {
	struct nlattr *elem, *data;
};

static struct expr expr_begin(struct nlmsghdr *m, const char *name)
{
	struct expr x = { .elem = mnl_attr_nest_start(m, NFTA_LIST_ELEM) };

	mnl_attr_put_strz(m, NFTA_EXPR_NAME, name);
	x.data = mnl_attr_nest_start(m, NFTA_EXPR_DATA);
	return x;
}

static void expr_end(struct nlmsghdr *m, struct expr x)
{
	mnl_attr_nest_end(m, x.data);
	mnl_attr_nest_end(m, x.elem);
}

static void put_data(struct nlmsghdr *m, uint16_t attr, const void *data, size_t len)
{
	struct nlattr *nest = mnl_attr_nest_start(m, attr);

	mnl_attr_put(m, NFTA_DATA_VALUE, len, data);
	mnl_attr_nest_end(m, nest);
}

static void load(struct rule *r, const struct field *f)
{
	struct expr x;
	uint32_t reg;

	if (!r->joined)
		r->loaded = 0;
	r->joined = false;
	r->field = f;
	reg = REG(r->loaded);
	r->loaded += (f->len + 3) & ~3U;
	switch (f->kind) {
	case META:
		x = expr_begin(r->m, "meta");
		be32(r->m, NFTA_META_DREG, reg);
		be32(r->m, NFTA_META_KEY, f->at);
		break;
	case CT:
		x = expr_begin(r->m, "ct");
		be32(r->m, NFTA_CT_DREG, reg);
		be32(r->m, NFTA_CT_KEY, f->at);
		break;
	case FIB:
		x = expr_begin(r->m, "fib");
		be32(r->m, NFTA_FIB_DREG, reg);
		be32(r->m, NFTA_FIB_RESULT, f->at);
		be32(r->m, NFTA_FIB_FLAGS, NFTA_FIB_F_DADDR);
		break;
	default:
		x = expr_begin(r->m, "payload");
		be32(r->m, NFTA_PAYLOAD_DREG, reg);
		be32(r->m, NFTA_PAYLOAD_BASE,
		     f->kind == LL	? NFT_PAYLOAD_LL_HEADER :
		     f->kind == NETWORK ? NFT_PAYLOAD_NETWORK_HEADER :
					  NFT_PAYLOAD_TRANSPORT_HEADER);
		be32(r->m, NFTA_PAYLOAD_OFFSET, f->at);
		be32(r->m, NFTA_PAYLOAD_LEN, f->len);
		break;
	}
	expr_end(r->m, x);
}

static void mask(struct rule *r, const uint8_t *bits)
{
	struct expr x = expr_begin(r->m, "bitwise");
	static const uint8_t zero[16];

	be32(r->m, NFTA_BITWISE_SREG, REG(0));
	be32(r->m, NFTA_BITWISE_DREG, REG(0));
	be32(r->m, NFTA_BITWISE_LEN, r->field->len);
	put_data(r->m, NFTA_BITWISE_MASK, bits, r->field->len);
	put_data(r->m, NFTA_BITWISE_XOR, zero, r->field->len);
	expr_end(r->m, x);
}

static void compare(struct rule *r, uint32_t op, const uint8_t *value)
{
	struct expr x = expr_begin(r->m, "cmp");

	be32(r->m, NFTA_CMP_SREG, REG(0));
	be32(r->m, NFTA_CMP_OP, op);
	put_data(r->m, NFTA_CMP_DATA, value, r->field->len);
	expr_end(r->m, x);
}

static void look_up(struct rule *r, const char *set, bool inverted, bool is_map)
{
	struct expr x = expr_begin(r->m, "lookup");

	mnl_attr_put_strz(r->m, NFTA_LOOKUP_SET, set);
	be32(r->m, NFTA_LOOKUP_SREG, REG(0));
	if (is_map)
		be32(r->m, NFTA_LOOKUP_DREG, REG(0));
	be32(r->m, NFTA_LOOKUP_FLAGS, inverted ? NFT_LOOKUP_F_INV : 0);
	expr_end(r->m, x);
}

/*
 * An entry for this key, made when there is none, that matches when it has more tracked connections
 * than the limit. The packets make the entries and nobody deletes one: with an entry of such a set
 * that netlink made and deletes the kernel gives up one use of connection tracking too many (Linux
 * 6.18), and after a few no connection is tracked any more, the host's own included.
 */
static void count_connections(struct rule *r, const char *set)
{
	struct expr x = expr_begin(r->m, "dynset");
	struct nlattr *nest, *data;

	mnl_attr_put_strz(r->m, NFTA_DYNSET_SET_NAME, set);
	be32(r->m, NFTA_DYNSET_OP, NFT_DYNSET_OP_ADD);
	be32(r->m, NFTA_DYNSET_SREG_KEY, REG(0));
	nest = mnl_attr_nest_start(r->m, NFTA_DYNSET_EXPR);
	mnl_attr_put_strz(r->m, NFTA_EXPR_NAME, "connlimit");
	data = mnl_attr_nest_start(r->m, NFTA_EXPR_DATA);
	be32(r->m, NFTA_CONNLIMIT_COUNT, r->limit);
	be32(r->m, NFTA_CONNLIMIT_FLAGS, NFT_CONNLIMIT_F_INV);
	mnl_attr_nest_end(r->m, data);
	mnl_attr_nest_end(r->m, nest);
	expr_end(r->m, x);
}

static void verdict(struct rule *r, int code, const char *chain)
{
	struct expr x = expr_begin(r->m, "immediate");
	struct nlattr *data, *v;

	be32(r->m, NFTA_IMMEDIATE_DREG, NFT_REG_VERDICT);
	data = mnl_attr_nest_start(r->m, NFTA_IMMEDIATE_DATA);
	v = mnl_attr_nest_start(r->m, NFTA_DATA_VERDICT);
	be32(r->m, NFTA_VERDICT_CODE, (uint32_t)code);
	if (chain)
		mnl_attr_put_strz(r->m, NFTA_VERDICT_CHAIN, chain);
	mnl_attr_nest_end(r->m, v);
	mnl_attr_nest_end(r->m, data);
	expr_end(r->m, x);
}

/* Address and port come from the map's value, which the lookup left in the registers. */
static void dnat(struct rule *r, bool v6)
{
	struct expr x = expr_begin(r->m, "nat");

	be32(r->m, NFTA_NAT_TYPE, NFT_NAT_DNAT);
	be32(r->m, NFTA_NAT_FAMILY, v6 ? NFPROTO_IPV6 : NFPROTO_IPV4);
	be32(r->m, NFTA_NAT_REG_ADDR_MIN, REG(0));
	be32(r->m, NFTA_NAT_REG_PROTO_MIN, REG(v6 ? 16 : 4));
	expr_end(r->m, x);
}

static void refuse(struct rule *r, bool reset)
{
	struct expr x = expr_begin(r->m, "reject");

	be32(r->m, NFTA_REJECT_TYPE, reset ? NFT_REJECT_TCP_RST : NFT_REJECT_ICMPX_UNREACH);
	if (!reset)
		mnl_attr_put_u8(r->m, NFTA_REJECT_ICMP_CODE, NFT_REJECT_ICMPX_ADMIN_PROHIBITED);
	expr_end(r->m, x);
}

static int forward(struct rule *r, const char *link)
{
	struct nlattr *data;
	struct expr x;
	uint64_t index;

	if (parse_u64(link, &index) < 0 || index > INT32_MAX)
		return -EINVAL;
	x = expr_begin(r->m, "immediate");
	be32(r->m, NFTA_IMMEDIATE_DREG, REG(0));
	data = mnl_attr_nest_start(r->m, NFTA_IMMEDIATE_DATA);
	mnl_attr_put_u32(r->m, NFTA_DATA_VALUE, (uint32_t)index);
	mnl_attr_nest_end(r->m, data);
	expr_end(r->m, x);
	x = expr_begin(r->m, "fwd");
	be32(r->m, NFTA_FWD_SREG_DEV, REG(0));
	expr_end(r->m, x);
	return 0;
}

/* "::", "10.0.0.0", "0x0806" (network order, its own length), "17" */
static int parse_value(const struct field *f, const char *s, uint8_t ret[16])
{
	uint64_t n;

	memset(ret, 0, 16);
	if (f->len == 16)
		return inet_pton(AF_INET6, s, ret) == 1 ? 0 : -EINVAL;
	if (strchr(s, '.'))
		return inet_pton(AF_INET, s, ret) == 1 ? 0 : -EINVAL;
	if (strncmp(s, "0x", 2) == 0) {
		if (strlen(s + 2) != f->len * 2)
			return -EINVAL;
		for (uint32_t i = 0; i < f->len; i++) {
			char two[3] = { s[2 + 2 * i], s[3 + 2 * i], '\0' };

			ret[i] = (uint8_t)strtoul(two, NULL, 16);
		}
		return 0;
	}
	if (parse_u64(s, &n) < 0)
		return -EINVAL;
	if (f->kind == CT || f->kind == FIB)
		memcpy(ret, &(uint32_t){ (uint32_t)n }, 4);
	else if (f->len == 2)
		memcpy(ret, &(uint16_t){ htons((uint16_t)n) }, 2);
	else if (f->len == 1)
		ret[0] = (uint8_t)n;
	else
		return -EINVAL;
	return 0;
}

static int field_word(struct rule *r, char *word)
{
	char *slash = strchr(word, '/');
	uint8_t bits[16];

	if (slash)
		*slash = '\0';
	for (size_t i = 0; i < ARRAY_SIZE(fields); i++) {
		if (!STREQ(word, fields[i].name))
			continue;
		load(r, &fields[i]);
		if (!slash)
			return 0;
		if (parse_value(&fields[i], slash + 1, bits) < 0)
			return -EINVAL;
		mask(r, bits);
		return 0;
	}
	return -EINVAL;
}

static int match_word(struct rule *r, char *word)
{
	static const uint8_t zero[16];
	uint8_t value[16];

	if (*word == '@' || strncmp(word, "!@", 2) == 0) {
		look_up(r, strchr(word, '@') + 1, *word == '!', false);
		return 0;
	}
	if (strncmp(word, "+@", 2) == 0) {
		count_connections(r, word + 2);
		return 0;
	}
	if (strncmp(word, "dnat", 4) == 0 && strchr(word, '@')) {
		look_up(r, strchr(word, '@') + 1, false, true);
		dnat(r, word[4] == '6');
		return 0;
	}
	if (parse_value(r->field, word + (*word == '!' ? 2 : 1), value) < 0)
		return -EINVAL;
	if (*word == '&') {
		mask(r, value);
		compare(r, NFT_CMP_NEQ, zero);
	} else {
		compare(r, *word == '!' ? NFT_CMP_NEQ : NFT_CMP_EQ, value);
	}
	return 0;
}

/* `to`: of those that lead elsewhere. */
static int verdict_word(struct rule *r, const char *word, const char *to)
{
	if (STREQ(word, "accept"))
		verdict(r, NF_ACCEPT, NULL);
	else if (STREQ(word, "drop"))
		verdict(r, NF_DROP, NULL);
	else if (STREQ(word, "return"))
		verdict(r, NFT_RETURN, NULL);
	else if (STREQ(word, "goto") && to)
		verdict(r, NFT_GOTO, to);
	else if (STREQ(word, "fwd") && to)
		return forward(r, to);
	else if (STREQ(word, "reject") || STREQ(word, "reset"))
		refuse(r, STREQ(word, "reset"));
	else if (STREQ(word, "masquerade"))
		expr_end(r->m, expr_begin(r->m, "masq"));
	else
		return -EINVAL;
	return 0;
}

static int compile(struct nlmsghdr *m, const char *text, uint32_t limit)
{
	struct rule r = { .m = m, .limit = limit };
	char copy[256], *next = copy, *word;

	if (strlen(text) >= sizeof(copy))
		return -EINVAL;
	strcpy(copy, text);
	while ((word = strsep(&next, " "))) {
		int bad;

		if (STREQ(word, ".")) {
			r.joined = true;
			continue;
		}
		if (r.field && (strchr("@!=&+", *word) || strncmp(word, "dnat", 4) == 0)) {
			bad = match_word(&r, word);
			r.field = NULL;
		} else if (STREQ(word, "goto") || STREQ(word, "fwd")) {
			bad = verdict_word(&r, word, strsep(&next, " "));
		} else {
			bad = verdict_word(&r, word, NULL);
			if (bad < 0)
				bad = field_word(&r, word);
		}
		if (bad < 0)
			return bad;
	}
	return r.field ? -EINVAL : 0;
}

int nft_rule_add(struct nl *n, uint8_t family, const char *table, const char *chain,
		 const char *text, uint32_t limit)
{
	struct nfgenmsg g = { .nfgen_family = family, .version = NFNETLINK_V0 };
	struct nlmsghdr *m = nl_begin(n, NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_NEWRULE,
				      NLM_F_CREATE | NLM_F_APPEND, &g, sizeof(g), text);
	struct nlattr *list;
	int r;

	if (!m)
		return 0; /* nl_talk() says so */
	mnl_attr_put_strz(m, NFTA_RULE_TABLE, table);
	mnl_attr_put_strz(m, NFTA_RULE_CHAIN, chain);
	list = mnl_attr_nest_start(m, NFTA_RULE_EXPRESSIONS);
	r = compile(m, text, limit);
	mnl_attr_nest_end(m, list);
	nl_end(n, m);
	return r;
}
