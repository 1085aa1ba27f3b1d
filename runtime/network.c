/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "runtime/network.h"

#include "base/parse.h"
#include "base/proc.h"
#include "runtime/internal.h"

#include <errno.h>
#include <fcntl.h>

static size_t count_of(const struct config *c, const char *key)
{
	size_t n = 0;

	while (config_get_nth(c, key, n))
		n++;
	return n;
}

static int parse_ifs(struct rt_network *n, const struct config *c, struct err *e)
{
	uint64_t in = config_number(c, "net.rate-in"), out = config_number(c, "net.rate-out");
	const char *text;
	int r;

	for (size_t i = 0; (text = config_get_nth(c, "net", i)); i++) {
		struct netns_if *nif = &n->ifs[i];

		if (i == NETNS_IF_MAX)
			return err_set(e, ERR_USAGE, "net: more than %d interfaces", NETNS_IF_MAX);
		r = netns_if_parse(text, nif, e);
		if (r < 0)
			return err_wrap(e, "net");
		if (!nif->rate_in && in != PARSE_MAX)
			nif->rate_in = in;
		if (!nif->rate_out && out != PARSE_MAX)
			nif->rate_out = out;
		n->vps.if_count++;
	}
	n->vps.ifs = n->ifs;
	return 0;
}

/* The i-th value of a list, into the i-th place of an array. */
#define PARSE_LIST(n, field, field_count, c, key, max, parse)                                   \
	({                                                                                      \
		size_t _count = count_of(c, key);                                               \
		int _r = 0;                                                                     \
		if (_count > (max))                                                             \
			_r = err_set(e, ERR_USAGE, "%s: more than %d", key, (int)(max));        \
		(n)->field = _r == 0 ? calloc(_count + 1, sizeof(*(n)->field)) : NULL;          \
		if (_r == 0 && !(n)->field)                                                     \
			_r = err_code(e, -ENOMEM, "read %s", key);                              \
		for (size_t _i = 0; _r == 0 && _i < _count; _i++)                               \
			_r = parse(config_get_nth(c, key, _i), &(n)->field[_i], e);             \
		(n)->vps.field = (n)->field;                                                    \
		(n)->vps.field_count = _count;                                                  \
		_r;                                                                             \
	})

static int parse_all(struct rt_network *n, const struct config *c, struct err *e)
{
	int r = parse_ifs(n, c, e);

	if (r == 0)
		r = PARSE_LIST(n, publish, publish_count, c, "publish", NETNS_PUBLISH_MAX,
			       netns_publish_parse);
	if (r == 0)
		r = PARSE_LIST(n, rules, rule_count, c, "firewall", NETNS_RULE_MAX,
			       netns_rule_parse);
	if (r == 0)
		r = PARSE_LIST(n, allow, allow_count, c, "net.allow", NETNS_RULE_MAX,
			       netns_allow_parse);
	if (r < 0)
		return r;
	n->vps.isolate = config_number(c, "net.isolate") != 0;
	n->vps.closed = STREQ(config_get(c, "firewall.default"), "deny");
	return netns_vps_check(&n->host, &n->vps, e);
}

int rt_network_parse(struct rt_network *n, const struct netns_host *host, const char *name,
		     const char *uuid, const struct config *c, struct err *e)
{
	int r;

	*n = (struct rt_network){ .host = *host };
	snprintf(n->vps.name, sizeof(n->vps.name), "%s", name);
	snprintf(n->vps.uuid, sizeof(n->vps.uuid), "%s", uuid);
	r = parse_all(n, c, e);
	if (r < 0)
		rt_network_done(n);
	return r < 0 ? r : 0;
}

void rt_network_done(struct rt_network *n)
{
	free(n->publish);
	free(n->rules);
	free(n->allow);
	*n = (struct rt_network){ 0 };
}

bool rt_network_is_host(const struct rt_network *n)
{
	for (size_t i = 0; i < n->vps.if_count; i++)
		if (n->ifs[i].mode == NETNS_HOST)
			return true;
	return false;
}

static bool is_network(const char *key)
{
	return STREQ(key, "net") || strncmp(key, "net.", 4) == 0 || STREQ(key, "publish") ||
	       STREQ(key, "firewall") || STREQ(key, "firewall.default");
}

static int change_network(struct rt_vps *v, const struct rt_network *next, struct err *e)
{
	cleanup_close int fd = -EBADF;
	char path[64];

	if (rt_network_is_host(&v->network) != rt_network_is_host(next))
		return err_set(e, ERR_STATE, "net: the host's own network is taken or left at a start");
	if (rt_network_is_host(next))
		return 0;
	snprintf(path, sizeof(path), "/proc/%d/ns/net", (int)proc_live_tid(v->pid));
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return err_sys(e, "open the VPS's network namespace");
	return netns_vps_change(&v->network.host, &v->network.vps, &next->vps, fd, e);
}

int rt_network_set(struct rt_vps *v, const struct strv *keys, const struct config *all,
		   struct err *e)
{
	struct rt_network next;
	bool touched = false;
	int r;

	for (size_t i = 0; i < keys->count; i++)
		touched = touched || is_network(keys->item[i]);
	if (!touched)
		return 0;
	r = rt_network_parse(&next, &v->network.host, v->spec->name, v->spec->uuid, all, e);
	if (r < 0)
		return r;
	r = change_network(v, &next, e);
	if (r < 0) {
		rt_network_done(&next);
		return r;
	}
	rt_network_done(&v->network);
	v->network = next;
	v->network.vps.ifs = v->network.ifs; /* it points into the struct itself */
	return 0;
}

int rt_spec_network(const struct rt_spec *s, struct rt_network *ret, struct err *e)
{
	struct netns_host host;
	int r = netns_host_init(&host, s->cgroup_parent, *s->pool4 ? s->pool4 : NULL,
				*s->pool6 ? s->pool6 : NULL, e);

	return r < 0 ? r : rt_network_parse(ret, &host, s->name, s->uuid, &s->limits, e);
}
