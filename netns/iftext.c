/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "netns/net.h"

#include "base/macro.h"
#include "base/parse.h"
#include "netns/internal.h"

#include <ctype.h>
#include <stdarg.h>

enum key { K_NAME, K_MODE, K_IP, K_GW, K_MAC, K_RATE, K_RATE_IN, K_RATE_OUT, K_PARENT, K_MTU };

#define ADDRESSED (1U << NETNS_BRIDGE | 1U << NETNS_ROUTED | 1U << NETNS_MACVLAN)
#define WITH_LINK (1U << NETNS_BRIDGE | 1U << NETNS_ROUTED)
#define ANY_MODE (ADDRESSED | 1U << NETNS_NONE | 1U << NETNS_HOST)

static const char *const modes[] = {
	[NETNS_BRIDGE] = "bridge", [NETNS_ROUTED] = "routed", [NETNS_MACVLAN] = "macvlan",
	[NETNS_NONE] = "none",	   [NETNS_HOST] = "host",
};

/* Which modes have a use for a key. */
static const struct {
	const char *name;
	unsigned modes;
	bool many;
} keys[] = {
	[K_NAME] = { "name", ADDRESSED, false },
	[K_MODE] = { "mode", ANY_MODE, false },
	[K_IP] = { "ip", ADDRESSED, true },
	[K_GW] = { "gw", ADDRESSED, true },
	[K_MAC] = { "mac", ADDRESSED, false },
	[K_RATE] = { "rate", WITH_LINK, false },
	[K_RATE_IN] = { "rate-in", WITH_LINK, false },
	[K_RATE_OUT] = { "rate-out", WITH_LINK, false },
	[K_PARENT] = { "parent", ADDRESSED, false },
	[K_MTU] = { "mtu", ADDRESSED, false },
};

/* As the kernel has it (dev_valid_name()), and no character that a shell or our form would trip
 * over. */
static bool link_name_is_valid(const char *s)
{
	if (!isalnum((unsigned char)*s) || strlen(s) > 15)
		return false;
	for (; *s; s++)
		if (!isalnum((unsigned char)*s) && !strchr("-_.", *s))
			return false;
	return true;
}

static int parse_mac(const char *s, uint8_t mac[6])
{
	for (int i = 0; i < 6; i++, s += 3) {
		char two[3] = { s[0], s[0] ? s[1] : '\0', '\0' };

		if (!isxdigit((unsigned char)two[0]) || !isxdigit((unsigned char)two[1]))
			return -EINVAL;
		if (s[2] != (i < 5 ? ':' : '\0'))
			return -EINVAL;
		mac[i] = (uint8_t)strtoul(two, NULL, 16);
	}
	/* A group address (the first byte's lowest bit) is no address of a sender. */
	if (mac[0] & 1 || memcmp(mac, "\0\0\0\0\0", 6) == 0)
		return -ERANGE;
	return 0;
}

static int set_ip(struct netns_if *i, const char *v, struct err *e)
{
	struct netns_addr a;
	char buf[64];
	int r;

	if (STREQ(v, "none")) {
		i->no_pool = true;
		return 0;
	}
	r = netns_addr_parse(v, &a, e);
	if (r < 0)
		return r;
	if (!strchr(v, '/') && i->mode == NETNS_MACVLAN)
		return err_set(e, ERR_USAGE, "ip=%.60s: say the network's prefix, as in %.60s/24",
			       v, v);
	if (!netns_addr_is_host(&a))
		return err_set(e, ERR_USAGE, "ip=%s: not an address that an interface can have",
			       netns_addr_format(&a, buf));
	for (size_t k = 0; k < i->addr_count; k++)
		if (netns_addr_equal(&i->addr[k], &a))
			return err_set(e, ERR_USAGE, "ip=%.60s: is there twice", v);
	if (i->addr_count == NETNS_ADDR_MAX)
		return err_set(e, ERR_USAGE, "an interface has at most %d addresses",
			       NETNS_ADDR_MAX);
	i->addr[i->addr_count++] = a;
	return 0;
}

static int set_gw(struct netns_if *i, const char *v, struct err *e)
{
	struct netns_addr a, *gw;
	int r = netns_addr_parse(v, &a, e);

	if (r < 0)
		return r;
	gw = a.family == AF_INET ? &i->gw4 : &i->gw6;
	if (strchr(v, '/') || (!netns_addr_is_host(&a) && a.bytes[0] != 0xfe))
		return err_set(e, ERR_USAGE, "gw=%.60s: must be the address of a host, alone", v);
	if (gw->family)
		return err_set(e, ERR_USAGE, "gw=%.60s: there is another gateway of its family", v);
	*gw = a;
	return 0;
}

static int set_rate(const char *key, const char *v, uint64_t *ret, struct err *e)
{
	if (parse_rate(v, ret) < 0 || *ret == 0) {
		err_set(e, ERR_USAGE, "%s=%.60s is not a rate", key, v);
		return err_hint(e, "bytes a second, as in %s=10MiB/s, or max", key);
	}
	if (*ret == PARSE_MAX)
		*ret = 0;
	else if (*ret < 1024)
		return err_set(e, ERR_USAGE, "%s=%.60s: the lowest rate is 1KiB/s", key, v);
	return 0;
}

static int set_link(const char *key, const char *v, char ret[16], struct err *e)
{
	/* Two the kernel keeps for itself, in /proc/sys/net. */
	if (!link_name_is_valid(v) || STREQ(v, "lo") || STREQ(v, "all") || STREQ(v, "default"))
		return err_set(e, ERR_USAGE, "%s=%.60s: not the name of an interface", key, v);
	snprintf(ret, 16, "%s", v);
	return 0;
}

static int set_key(struct netns_if *i, enum key k, const char *v, struct err *e)
{
	uint64_t n;
	int r;

	switch (k) {
	case K_NAME:
		return set_link("name", v, i->name, e);
	case K_MODE:
		return 0; /* was looked for first, other keys depend on it */
	case K_IP:
		return set_ip(i, v, e);
	case K_GW:
		return set_gw(i, v, e);
	case K_MAC:
		r = parse_mac(v, i->mac);
		i->has_mac = true;
		if (r < 0)
			return err_set(e, ERR_USAGE, "mac=%.60s: not the address of an interface%s",
				       v,
				       r == -ERANGE ? "" : ", six bytes as in 02:00:5e:10:00:01");
		return 0;
	case K_RATE:
		r = set_rate("rate", v, &i->rate_in, e);
		i->rate_out = i->rate_in;
		return r;
	case K_RATE_IN:
		return set_rate("rate-in", v, &i->rate_in, e);
	case K_RATE_OUT:
		return set_rate("rate-out", v, &i->rate_out, e);
	case K_PARENT:
		return set_link("parent", v, i->parent, e);
	case K_MTU:
		/* 1280 is the least that IPv6 works with (RFC 8200, 5). */
		if (parse_u64(v, &n) < 0 || n < 1280 || n > 65535)
			return err_set(e, ERR_USAGE, "mtu=%.20s: a number from 1280 to 65535", v);
		i->mtu = (unsigned)n;
		return 0;
	}
	return 0;
}

static int find_mode(const char *v, enum netns_mode *ret, struct err *e)
{
	for (size_t m = 0; m < ARRAY_SIZE(modes); m++)
		if (STREQ(v, modes[m])) {
			*ret = (enum netns_mode)m;
			return 0;
		}
	err_set(e, ERR_USAGE, "mode=%.60s is unknown", v);
	return err_hint(e, "one of bridge, routed, macvlan, none, host");
}

static int one_item(struct netns_if *i, char *item, unsigned *seen, struct err *e)
{
	char *v = strchr(item, '=');
	size_t k;

	if (!v || !v[1])
		return err_set(e, ERR_USAGE,
			       "%.60s: a key and a value are wanted, as in ip=10.20.0.5/24",
			       *item ? item : "an empty item");
	*v = '\0';
	for (k = 0; k < ARRAY_SIZE(keys); k++)
		if (STREQ(item, keys[k].name))
			break;
	if (k == ARRAY_SIZE(keys)) {
		err_set(e, ERR_USAGE, "%.60s is no key of a network interface", item);
		return err_hint(e, "name, mode, ip, gw, mac, rate, rate-in, rate-out, parent, mtu");
	}
	if (*seen & 1U << k && !keys[k].many)
		return err_set(e, ERR_USAGE, "%s= is there twice", item);
	if (!(keys[k].modes & 1U << i->mode))
		return err_set(e, ERR_USAGE, "%s= has no meaning with mode=%s", item,
			       modes[i->mode]);
	*seen |= 1U << k;
	return set_key(i, (enum key)k, v + 1, e);
}

static int find_mode_item(const char *text, enum netns_mode *ret, struct err *e)
{
	for (const char *p = text; p; p = strchr(p, ',')) {
		char v[64];

		p += *p == ',';
		if (strncmp(p, "mode=", 5) != 0)
			continue;
		snprintf(v, sizeof(v), "%.*s", (int)strcspn(p + 5, ","), p + 5);
		return find_mode(v, ret, e);
	}
	*ret = NETNS_BRIDGE;
	return 0;
}

int netns_if_parse(const char *text, struct netns_if *ret, struct err *e)
{
	struct netns_if i = { .name = NETNS_IF_NAME };
	char copy[NETNS_TEXT_MAX], *next = copy, *item;
	unsigned seen = 0;
	int r;

	if (strlen(text) >= sizeof(copy))
		return err_set(e, ERR_USAGE, "%.40s…: more than %zu bytes", text, sizeof(copy) - 1);
	if (STREQ(text, "none") || STREQ(text, "host")) {
		*ret = (struct netns_if){ .mode = *text == 'n' ? NETNS_NONE : NETNS_HOST };
		return 0;
	}
	r = find_mode_item(text, &i.mode, e);
	if (r < 0)
		return r;
	strcpy(copy, text);
	while ((item = strsep(&next, ","))) {
		r = one_item(&i, item, &seen, e);
		if (r < 0)
			return r;
	}
	if (seen & 1U << K_RATE && seen & (1U << K_RATE_IN | 1U << K_RATE_OUT))
		return err_set(e, ERR_USAGE,
			       "rate= is both directions, rate-in= and rate-out= one");
	if (i.mode == NETNS_MACVLAN && !*i.parent)
		return err_set(e, ERR_USAGE,
			       "mode=macvlan needs parent=, an interface of the host");
	if (!(ADDRESSED & 1U << i.mode))
		*i.name = '\0';
	*ret = i;
	return 0;
}

bool netns_if_wants(const struct netns_if *i, int family)
{
	if (i->no_pool || (i->mode != NETNS_BRIDGE && i->mode != NETNS_ROUTED) ||
	    (i->mode == NETNS_BRIDGE && *i->parent))
		return false;
	for (size_t k = 0; k < i->addr_count; k++)
		if (i->addr[k].family == family)
			return false;
	return true;
}

__attribute__((format(printf, 2, 3))) static void add(char buf[NETNS_TEXT_MAX], const char *fmt,
						      ...)
{
	size_t len = strlen(buf);
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(buf + len, NETNS_TEXT_MAX - len, fmt, ap);
	va_end(ap);
}

static void add_rate(char buf[NETNS_TEXT_MAX], const char *key, uint64_t rate)
{
	char text[32];

	if (rate)
		add(buf, ",%s=%s/s", key, format_size_exact(rate, text, sizeof(text)));
}

const char *netns_if_format(const struct netns_if *i, char buf[NETNS_TEXT_MAX])
{
	char a[64];

	*buf = '\0';
	if (!(ADDRESSED & 1U << i->mode)) {
		add(buf, "%s", modes[i->mode]);
		return buf;
	}
	add(buf, "name=%s,mode=%s", i->name, modes[i->mode]);
	if (i->no_pool)
		add(buf, ",ip=none");
	for (size_t k = 0; k < i->addr_count; k++)
		add(buf, ",ip=%s", netns_addr_format(&i->addr[k], a));
	if (i->gw4.family)
		add(buf, ",gw=%s", netns_addr_format_host(&i->gw4, a));
	if (i->gw6.family)
		add(buf, ",gw=%s", netns_addr_format_host(&i->gw6, a));
	if (i->has_mac)
		add(buf, ",mac=%02x:%02x:%02x:%02x:%02x:%02x", i->mac[0], i->mac[1], i->mac[2],
		    i->mac[3], i->mac[4], i->mac[5]);
	if (i->rate_in == i->rate_out)
		add_rate(buf, "rate", i->rate_in);
	else {
		add_rate(buf, "rate-in", i->rate_in);
		add_rate(buf, "rate-out", i->rate_out);
	}
	if (*i->parent)
		add(buf, ",parent=%s", i->parent);
	if (i->mtu)
		add(buf, ",mtu=%u", i->mtu);
	return buf;
}
