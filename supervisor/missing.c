/* SPDX-License-Identifier: GPL-2.0-or-later */

/* What settings name and the host has not got: no error, as it may come later, but said, as it may be a slip. */
#include "supervisor/daemon.h"

#include "base/macro.h"
#include "base/str.h"
#include "cgroup/devices.h"
#include "cgroup/resources.h"
#include "netns/net.h"

#include <net/if.h>

static json_t *say_vps(struct sup_daemon *d, const char *value)
{
	struct netns_allow a;
	struct err ignored;

	if (netns_allow_parse(value, &a, &ignored) < 0 || a.peer != NETNS_PEER_NAME || vps_find(d, a.name))
		return NULL;
	return json_sprintf("net.allow: there is no VPS named %s; it opens nothing before there is", a.name);
}

static json_t *say_parent(struct sup_daemon *d, const char *value)
{
	struct netns_if i;
	struct err ignored;

	(void)d;
	if (netns_if_parse(value, &i, &ignored) < 0 || !*i.parent || if_nametoindex(i.parent) > 0)
		return NULL;
	return json_sprintf("net: the host has no interface %s; it does not start before there is", i.parent);
}

static json_t *say_address(struct sup_daemon *d, const char *value)
{
	struct netns_publish p;
	struct err why;

	(void)d;
	if (netns_publish_parse(value, &p, &why) < 0 || netns_publish_is_free(&p, &why) == 0 ||
	    why.code != ERR_NOT_FOUND)
		return NULL;
	return json_sprintf("%s; it does not start before there is", why.msg);
}

static json_t *say_device(struct sup_daemon *d, const char *value)
{
	struct cgroup_device device;
	struct err why;

	(void)d;
	if (cgroup_device_parse(value, &device, &why) == 0)
		return NULL;
	return json_sprintf("device: %s; it does not start before there is", why.msg);
}

static json_t *say_cpu(struct sup_daemon *d, const char *value)
{
	struct err why;

	(void)d;
	if (cgroup_cpus_check(value, &why) == 0)
		return NULL;
	return json_sprintf("cpu.pin: %s; it does not start before there is", why.msg);
}

static const struct {
	const char *key;
	json_t *(*say)(struct sup_daemon *d, const char *value);
} looks[] = {
	{ "cpu.pin", say_cpu },
	{ "device", say_device },
	{ "net", say_parent },
	{ "net.allow", say_vps },
	{ "publish", say_address },
};

void missing_look(struct sup_daemon *d, const char *key, const char *value, json_t *notes)
{
	for (size_t i = 0; *value && *value != '-' && i < ARRAY_SIZE(looks); i++)
		if (STREQ(looks[i].key, key))
			json_array_append_new(notes, looks[i].say(d, value));
}

json_t *missing_text(const json_t *notes)
{
	cleanup_buf struct buf all = { 0 };
	json_t *one;
	size_t i;

	json_array_foreach(notes, i, one)
		buf_addf(&all, "%s%s", i ? "; " : "", json_string_value(one));
	return all.len ? json_string(all.data) : NULL;
}
