/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Ports that VPSs of another state root have: of two roots' rules the kernel would ask those that came first. */
#include "netns/internal.h"

#include "base/macro.h"
#include "netns/nft.h"
#include "netns/ruleset.h"

#include <arpa/inet.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>

#define ROOTS_MAX 256

/* The maps of published ports: how long the address is that a key begins with. */
static const struct {
	const char *name;
	int family;
	size_t at;
} maps[] = {
	{ "publish4", AF_INET, 0 },
	{ "publish6", AF_INET6, 0 },
	{ "publish_at4", AF_INET, 4 },
	{ "publish_at6", AF_INET6, 16 },
};

struct elsewhere {
	const char *own;
	char tag[ROOTS_MAX][32];
	size_t count;
	/* Of the map that is looked at: */
	size_t map;
	const struct netns_publish *mine, *clash;
	size_t mine_count;
	uint16_t port; /* that `clash` cannot have */
};

static int take_root(const struct nlmsghdr *m, void *ctx)
{
	const struct nlattr *name = nl_attr(m, sizeof(struct nfgenmsg), NFTA_TABLE_NAME);
	struct elsewhere *x = ctx;

	if (!name || nl_attr_is(name, x->own) || x->count == ROOTS_MAX || !netns_table_is_marked(m))
		return 0;
	snprintf(x->tag[x->count++], sizeof(x->tag[0]), "%s", mnl_attr_get_str(name));
	return 0;
}

/* A key is address, protocol and port, each padded to four bytes. */
static int take_port(const struct nlattr *elem, void *ctx)
{
	const struct nlattr *key = nl_nested(nl_nested(elem, NFTA_SET_ELEM_KEY), NFTA_DATA_VALUE);
	struct elsewhere *x = ctx;
	size_t at = maps[x->map].at;
	struct netns_publish theirs = { .host.family = maps[x->map].family, .count = 1 };
	const uint8_t *bytes;
	uint16_t port;

	if (!key || mnl_attr_get_payload_len(key) < at + 8)
		return 0;
	bytes = mnl_attr_get_payload(key);
	memcpy(theirs.host.bytes, bytes, at);
	theirs.proto = bytes[at];
	memcpy(&port, bytes + at + 4, sizeof(port));
	theirs.host_port = ntohs(port);
	for (size_t i = 0; !x->clash && i < x->mine_count; i++) {
		x->port = netns_publish_clash(&x->mine[i], &theirs);
		x->clash = x->port ? &x->mine[i] : NULL;
	}
	return 0;
}

static int take_ports(const struct nlmsghdr *m, void *ctx)
{
	return netns_each_elem(m, take_port, ctx);
}

static void ask(struct nl *n, int msg, const char *tag, const char *map)
{
	struct nfgenmsg g = { .nfgen_family = ruleset_nfproto[RS_INET], .version = NFNETLINK_V0 };
	struct nlmsghdr *m = nl_begin(n, (uint16_t)(NFNL_SUBSYS_NFTABLES << 8 | msg), NLM_F_DUMP, &g, sizeof(g),
				      "look for published ports");

	if (m && map) {
		mnl_attr_put_strz(m, NFTA_SET_ELEM_LIST_TABLE, tag);
		mnl_attr_put_strz(m, NFTA_SET_ELEM_LIST_SET, map);
	}
	nl_end(n, m);
	nl_ignore(n, ENOENT); /* the root's last VPS has ended, or it is an older version's */
}

static int look_at(struct nl *n, struct elsewhere *x, const char *tag, struct err *e)
{
	char text[NETNS_TEXT_MAX];

	for (x->map = 0; x->map < ARRAY_SIZE(maps); x->map++) {
		int r;

		ask(n, NFT_MSG_GETSETELEM, tag, maps[x->map].name);
		r = nl_talk(n, tag, take_ports, x, e);
		if (r < 0)
			return r;
		if (!x->clash)
			continue;
		err_set(e, ERR_EXISTS, "publish %s: a VPS of another state root has port %u",
			netns_publish_format(x->clash, text), x->port);
		return err_hint(e, "nft list table inet %s", tag);
	}
	return 0;
}

int netns_publish_elsewhere(const struct netns_host *h, const struct netns_publish *p, size_t count, struct err *e)
{
	cleanup_free struct elsewhere *x = calloc(1, sizeof(*x));
	cleanup_nl struct nl n = NL_INIT;
	int r;

	if (!count)
		return 0;
	if (!x)
		return err_code(e, -ENOMEM, "look for published ports");
	x->own = h->tag;
	x->mine = p;
	x->mine_count = count;
	r = nl_open_rules(&n, e);
	if (r < 0)
		return r;
	ask(&n, NFT_MSG_GETTABLE, NULL, NULL);
	r = nl_talk(&n, "the host", take_root, x, e);
	for (size_t i = 0; r == 0 && i < x->count; i++)
		r = look_at(&n, x, x->tag[i], e);
	return r;
}
