/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "netns/net.h"

#include "base/macro.h"
#include "base/parse.h"
#include "netns/internal.h"

#include <arpa/inet.h>

#define POOL6_SIZE 65536 /* of a /64 only the last 16 bits are given out */

static unsigned addr_bits(int family)
{
	return family == AF_INET ? 32 : 128;
}

size_t netns_addr_len(const struct netns_addr *a)
{
	return addr_bits(a->family) / 8;
}

int netns_addr_parse(const char *text, struct netns_addr *ret, struct err *e)
{
	const char *slash = strchr(text, '/');
	struct netns_addr a = { 0 };
	char host[INET6_ADDRSTRLEN];
	size_t len = slash ? (size_t)(slash - text) : strlen(text);
	uint64_t prefix;

	if (len == 0 || len >= sizeof(host))
		return err_set(e, ERR_USAGE, "%.60s is not an address", text);
	memcpy(host, text, len);
	host[len] = '\0';
	if (inet_pton(AF_INET, host, a.bytes) == 1)
		a.family = AF_INET;
	else if (inet_pton(AF_INET6, host, a.bytes) == 1)
		a.family = AF_INET6;
	else
		return err_set(e, ERR_USAGE, "%.60s is not an address", host);
	prefix = addr_bits(a.family);
	if (slash && (parse_u64(slash + 1, &prefix) < 0 || prefix > addr_bits(a.family)))
		return err_set(e, ERR_USAGE, "%.60s: the prefix is a number from 0 to %u", text,
			       addr_bits(a.family));
	a.prefix = (uint8_t)prefix;
	*ret = a;
	return 0;
}

const char *netns_addr_format_host(const struct netns_addr *a, char buf[64])
{
	if (!inet_ntop(a->family, a->bytes, buf, 64))
		snprintf(buf, 64, "none");
	return buf;
}

const char *netns_addr_format(const struct netns_addr *a, char buf[64])
{
	size_t len;

	netns_addr_format_host(a, buf);
	len = strlen(buf);
	if (a->family)
		snprintf(buf + len, 64 - len, "/%u", a->prefix);
	return buf;
}

bool netns_addr_equal(const struct netns_addr *a, const struct netns_addr *b)
{
	return a->family == b->family && memcmp(a->bytes, b->bytes, sizeof(a->bytes)) == 0;
}

bool netns_addr_in(const struct netns_addr *a, const struct netns_addr *net)
{
	unsigned whole = net->prefix / 8, rest = net->prefix % 8;

	if (a->family != net->family || !a->family)
		return false;
	if (memcmp(a->bytes, net->bytes, whole) != 0)
		return false;
	return rest == 0 || ((a->bytes[whole] ^ net->bytes[whole]) & (0xff00U >> rest)) == 0;
}

void netns_addr_range(const struct netns_addr *a, uint8_t first[16], uint8_t last[16])
{
	memset(first, 0, 16);
	memset(last, 0, 16);
	for (unsigned i = 0; i < netns_addr_len(a); i++) {
		unsigned keep = a->prefix > i * 8 ? a->prefix - i * 8 : 0;
		uint8_t mask = keep >= 8 ? 0xff : (uint8_t)(0xff00U >> keep);

		first[i] = a->bytes[i] & mask;
		last[i] = first[i] | (uint8_t)~mask;
	}
}

struct netns_addr netns_addr_net(const struct netns_addr *a)
{
	struct netns_addr net = *a;
	uint8_t last[16];

	netns_addr_range(a, net.bytes, last);
	return net;
}

bool netns_addr_is_host(const struct netns_addr *a)
{
	uint8_t first[16], last[16];
	struct in6_addr six;

	if (a->family == AF_INET) {
		if (a->bytes[0] == 0 || a->bytes[0] == 127 || a->bytes[0] >= 224)
			return false;
		netns_addr_range(a, first, last);
		/* RFC 3021: both addresses of a /31 are hosts. */
		return a->prefix >= 31 ||
		       (memcmp(a->bytes, first, 4) != 0 && memcmp(a->bytes, last, 4) != 0);
	}
	memcpy(&six, a->bytes, sizeof(six)); /* a->bytes is not aligned */
	return !IN6_IS_ADDR_UNSPECIFIED(&six) && !IN6_IS_ADDR_LOOPBACK(&six) &&
	       !IN6_IS_ADDR_V4MAPPED(&six) && !IN6_IS_ADDR_MULTICAST(&six) &&
	       !IN6_IS_ADDR_LINKLOCAL(&six);
}

/* FNV-1a with a final mix (the last step of MurmurHash3), so that neighbours differ in all bits.
 * Stable over versions and machines, which is all that is asked of it. */
uint64_t netns_hash(const char *a, const char *b)
{
	uint64_t h = 14695981039346656037ULL;

	for (; *a; a++)
		h = (h ^ (unsigned char)*a) * 1099511628211ULL;
	h = (h ^ 0xff) * 1099511628211ULL;
	for (; *b; b++)
		h = (h ^ (unsigned char)*b) * 1099511628211ULL;
	h ^= h >> 33;
	h *= 0xff51afd7ed558ccdULL;
	h ^= h >> 33;
	h *= 0xc4ceb9fe1a85ec53ULL;
	return h ^ h >> 33;
}

void netns_mac_of(const char *uuid, const char *ifname, uint8_t ret[6])
{
	uint64_t h = netns_hash(uuid, ifname);

	for (int i = 0; i < 6; i++)
		ret[i] = (uint8_t)(h >> (8 * i));
	ret[0] = (uint8_t)((ret[0] & 0xfc) | 0x02);
}

/* RFC 4291, appendix A: the modified EUI-64 of a MAC, below fe80::/64. */
void netns_link_local(const uint8_t mac[6], struct netns_addr *ret)
{
	*ret = (struct netns_addr){ .family = AF_INET6, .prefix = 64 };
	ret->bytes[0] = 0xfe;
	ret->bytes[1] = 0x80;
	memcpy(ret->bytes + 8, mac, 3);
	ret->bytes[8] ^= 0x02;
	ret->bytes[11] = 0xff;
	ret->bytes[12] = 0xfe;
	memcpy(ret->bytes + 13, mac + 3, 3);
}

static int pool_set(struct netns_addr *gw, const char *text, unsigned lo, unsigned hi, int family,
		    struct err *e)
{
	struct netns_addr net;
	uint8_t first[16], last[16];
	int r = netns_addr_parse(text, &net, e);

	if (r < 0)
		return r;
	if (net.family != family || net.prefix < lo || net.prefix > hi) {
		if (lo == hi)
			return err_set(e, ERR_USAGE, "pool %.60s: must be an IPv%d network /%u",
				       text, family == AF_INET ? 4 : 6, lo);
		return err_set(e, ERR_USAGE, "pool %.60s: must be an IPv%d network from /%u to /%u",
			       text, family == AF_INET ? 4 : 6, lo, hi);
	}
	netns_addr_range(&net, first, last);
	if (memcmp(first, net.bytes, 16) != 0)
		return err_set(e, ERR_USAGE, "pool %.60s: has bits beyond its prefix", text);
	net.bytes[netns_addr_len(&net) - 1] |= 1;
	if (!netns_addr_is_host(&net))
		return err_set(e, ERR_USAGE, "pool %.60s: not addresses that hosts can have", text);
	*gw = net;
	return 0;
}

/* Every second of those that come after the tag's own is not in 10/8, which some host has on a link as a whole. */
static void default_pools(const char *tag, unsigned nth, char pool4[32], char pool6[64])
{
	char salt[16] = "pool";
	uint64_t hash;

	if (nth)
		snprintf(salt, sizeof(salt), "pool%u", nth);
	hash = netns_hash(tag, salt);
	if (nth == 0 && STREQ(tag, "vps"))
		snprintf(pool4, 32, "10.20.0.0/22");
	else if (nth % 2 == 0)
		snprintf(pool4, 32, "10.%u.%u.0/22", 64 + (unsigned)(hash & 63), (unsigned)(hash >> 6 & 63) * 4);
	else
		snprintf(pool4, 32, "172.%u.%u.0/22", 16 + (unsigned)(hash & 15), (unsigned)(hash >> 6 & 63) * 4);
	snprintf(pool6, 64, "fd76:7073:%x:%x::/64", (unsigned)(hash >> 16 & 0xffff), (unsigned)(hash >> 32 & 0xffff));
}

int netns_host_init_nth(struct netns_host *h, const char *tag, unsigned nth, const char *pool4, const char *pool6,
			struct err *e)
{
	char def4[32], def6[64];
	int r;

	*h = (struct netns_host){ 0 };
	if (!*tag || strlen(tag) > 12)
		return err_set(e, ERR_USAGE, "%.20s: a tag has 1 to 12 characters", tag);
	snprintf(h->tag, sizeof(h->tag), "%s", tag);
	snprintf(h->bridge, sizeof(h->bridge), "%.12s-br", tag);
	default_pools(tag, nth, def4, def6);
	if (!pool4 || !STREQ(pool4, "none")) {
		r = pool_set(&h->gw4, pool4 ? pool4 : def4, 16, 29, AF_INET, e);
		if (r < 0)
			return r;
	}
	if (!pool6 || !STREQ(pool6, "none"))
		return pool_set(&h->gw6, pool6 ? pool6 : def6, 64, 64, AF_INET6, e);
	return 0;
}

int netns_host_init(struct netns_host *h, const char *tag, const char *pool4, const char *pool6, struct err *e)
{
	return netns_host_init_nth(h, tag, 0, pool4, pool6, e);
}

/* The number of an address in its pool: the last 16 bits, which both kinds of pool count in. */
static unsigned pool_index(const struct netns_addr *a, const struct netns_addr *gw)
{
	size_t len = netns_addr_len(a);
	unsigned low = (unsigned)a->bytes[len - 2] << 8 | a->bytes[len - 1];

	return a->family == AF_INET ? low & ((1U << (32 - gw->prefix)) - 1) : low;
}

int netns_pool_take(const struct netns_host *h, int family, const struct netns_addr *used,
		    size_t used_count, struct netns_addr *ret, struct err *e)
{
	const struct netns_addr *gw = family == AF_INET ? &h->gw4 : &h->gw6;
	uint8_t taken[POOL6_SIZE / 8] = { 0 };
	size_t len = netns_addr_len(gw);
	struct netns_addr pool;
	unsigned end = POOL6_SIZE;
	char net[64];

	if (!gw->family)
		return err_set(e, ERR_UNSUPPORTED, "this host has no pool of IPv%d addresses",
			       family == AF_INET ? 4 : 6);
	if (family == AF_INET)
		end = (1U << (32 - gw->prefix)) - 1; /* the last is the broadcast address */
	for (size_t i = 0; i < used_count; i++) {
		unsigned n;

		/* In IPv6 addresses of the network beyond the first 65,536 are never given out. */
		if (!netns_addr_in(&used[i], gw) ||
		    (family == AF_INET6 && memcmp(used[i].bytes, gw->bytes, 14) != 0))
			continue;
		n = pool_index(&used[i], gw);
		taken[n / 8] |= (uint8_t)(1U << n % 8);
	}
	for (unsigned n = 2; n < end; n++) { /* 0 is the network, 1 the gateway */
		unsigned low;

		if (taken[n / 8] & (1U << n % 8))
			continue;
		*ret = *gw;
		low = ((unsigned)gw->bytes[len - 2] << 8 | gw->bytes[len - 1]) - 1 + n;
		ret->bytes[len - 2] = (uint8_t)(low >> 8);
		ret->bytes[len - 1] = (uint8_t)low;
		return 0;
	}
	pool = netns_addr_net(gw);
	err_set(e, ERR_NOSPACE, "no address is left of %s, all %u are used",
		netns_addr_format(&pool, net), end - 2);
	return err_hint(e, "destroy VPSs that are not needed, or give the host a larger pool, see vpsd(8)");
}
