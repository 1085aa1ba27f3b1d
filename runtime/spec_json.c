/* SPDX-License-Identifier: GPL-2.0-or-later */

/* The spec as JSON, which vpsd gives the monitor. */
#include "base/macro.h"
#include "base/parse.h"
#include "netns/net.h"
#include "runtime/members.h"
#include "runtime/spec.h"
#include "runtime/value.h"

#include <inttypes.h>
#include <stdio.h>

/* `at` is the whole spec: the list and its count lie side by side. */
static int parse_mounts(const struct member *m, json_t *j, void *at, struct err *e)
{
	if (!json_is_array(j) || json_array_size(j) > MEMBER_LIST_MAX)
		return member_refuse(m, "a list of mounts", e);
	for (size_t i = 0; i < json_array_size(j); i++) {
		const char *s = json_string_value(json_array_get(j, i));

		if (!s)
			return member_refuse(m, "a list of mounts", e);
		if (rt_spec_add_mount(at, s, e) < 0)
			return err_wrap(e, "%s", m->name);
	}
	return 0;
}

static json_t *format_mounts(const struct member *m, const void *at)
{
	const struct rt_spec *s = at;
	json_t *j = json_array();

	(void)m;
	for (size_t i = 0; i < s->mount_count; i++)
		member_append(&j, json_sprintf("%s:%s%s", s->mounts[i].host, s->mounts[i].guest,
					s->mounts[i].read_only ? ":ro" : ""));
	return j;
}

static int parse_features(const struct member *m, json_t *j, void *at, struct err *e)
{
	unsigned *bits = at;

	if (!json_is_array(j) || json_array_size(j) > MEMBER_LIST_MAX)
		return member_refuse(m, "a list of features", e);
	for (size_t i = 0; i < json_array_size(j); i++) {
		const char *s = json_string_value(json_array_get(j, i));
		unsigned bit = s ? rt_feature_find(s) : 0;

		if (!bit)
			return member_refuse(m, "a list of features", e);
		*bits |= bit;
	}
	return 0;
}

static json_t *format_features(const struct member *m, const void *at)
{
	unsigned bits = *(const unsigned *)at;
	json_t *j = json_array();

	(void)m;
	for (; bits; bits &= bits - 1)
		member_append(&j, json_string(rt_feature_name((enum rt_feature)(bits & -bits))));
	return j;
}

/* Pairs, not an object: a list's entries are several of one key, in their order. */
static int parse_limits(const struct member *m, json_t *j, void *at, struct err *e)
{
	if (!json_is_array(j) || json_array_size(j) > MEMBER_LIST_MAX)
		return member_refuse(m, "a list of settings", e);
	for (size_t i = 0; i < json_array_size(j); i++) {
		json_t *pair = json_array_get(j, i);
		const char *key = json_string_value(json_array_get(pair, 0));
		const char *value = json_string_value(json_array_get(pair, 1));
		const struct setting *s = key ? setting_lookup(key) : NULL;
		int r;

		if (!value || !*value || json_array_size(pair) != 2 || !s ||
		    !(s->flags & SETTING_LIMIT))
			return member_refuse(m, "a list of settings for limits", e);
		r = config_set(at, s->name, value, e);
		if (r < 0)
			return r;
	}
	return 0;
}

static json_t *format_limits(const struct member *m, const void *at)
{
	const struct config *c = at;
	json_t *j = json_array();

	(void)m;
	for (size_t i = 0; i < c->count; i++)
		if (c->lines[i].key)
			member_append(&j, json_pack("[ss]", c->lines[i].key, c->lines[i].value));
	return j;
}

static const struct member_kind mounts = { parse_mounts, format_mounts };
static const struct member_kind features = { parse_features, format_features };
static const struct member_kind limits = { parse_limits, format_limits };

static int check_name(const char *s, struct err *e)
{
	return name_is_valid(s) ? 0 : err_set(e, ERR_USAGE, "not a name");
}

static int check_path(const char *s, struct err *e)
{
	return path_is_normal(s) && s[1] ? 0 : err_set(e, ERR_USAGE, "not a clean absolute path");
}

static int check_path_or_none(const char *s, struct err *e)
{
	return *s ? check_path(s, e) : 0;
}

static int check_cwd(const char *s, struct err *e)
{
	return *s == '\0' || *s == '/' ? 0 : err_set(e, ERR_USAGE, "not an absolute path");
}

/* A relative path of groups; systemd's unit names are made of these characters. */
static int check_cgroup(const char *s, struct err *e)
{
	char path[256];

	snprintf(path, sizeof(path), "/%s", s);
	if (*s && path_is_normal(path) &&
	    strspn(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.@:\\-/") ==
		    strlen(s))
		return 0;
	return err_set(e, ERR_USAGE, "not a control group's path");
}

static int check_pool4(const char *s, struct err *e)
{
	struct netns_host h;

	return *s ? netns_host_init(&h, "vps", s, "none", e) : 0;
}

static int check_pool6(const char *s, struct err *e)
{
	struct netns_host h;

	return *s ? netns_host_init(&h, "vps", "none", s, e) : 0;
}

static int check_user(const char *s, struct err *e)
{
	const char *colon = strchr(s, ':');
	bool whole = !colon || (colon > s && colon[1] && !strchr(colon + 1, ':'));

	if (*s != '-' && !strpbrk(s, "/ ,") && whole)
		return 0;
	return err_set(e, ERR_USAGE, "not a user, uid or uid:gid");
}

static int check_env(const char *s, struct err *e)
{
	return *s != '=' && strchr(s, '=') ? 0 : err_set(e, ERR_USAGE, "not NAME=VALUE");
}

#define AT(type, field) offsetof(struct type, field)
#define TEXT(type, field, check_fn, ...) \
	{ #field, &member_text, AT(type, field), sizeof(((struct type *)0)->field), check_fn, ##__VA_ARGS__ }

/* clang-format off */
static const struct member root_members[] = {
	TEXT(storage_root, backend, check_name),
	TEXT(storage_root, dir, check_path),
	TEXT(storage_root, lower, check_path_or_none),
	{ "id_base", &member_u32, AT(storage_root, id_base) },
	{ "id_count", &member_u32, AT(storage_root, id_count) },
	{ "ephemeral", &member_flag, AT(storage_root, ephemeral), .flags = MEMBER_OPTIONAL | MEMBER_IGNORABLE },
};

static const struct member members[] = {
	TEXT(rt_spec, name, check_name),
	TEXT(rt_spec, uuid, value_uuid),
	TEXT(rt_spec, hostname, value_hostname),
	TEXT(rt_spec, run_dir, check_path),
	TEXT(rt_spec, lib_dir, check_path),
	TEXT(rt_spec, cgroup_parent, check_cgroup),
	TEXT(rt_spec, pool4, check_pool4, .flags = MEMBER_OPTIONAL),
	TEXT(rt_spec, pool6, check_pool6, .flags = MEMBER_OPTIONAL),
	{ "arriving", &member_flag, AT(rt_spec, arriving), .flags = MEMBER_OPTIONAL | MEMBER_IGNORABLE },
	{ "root", &member_object, AT(rt_spec, root), ARRAY_SIZE(root_members), NULL, root_members },
	{ "boot", &member_flag, AT(rt_spec, boot) },
	{ "tty", &member_flag, AT(rt_spec, tty), .flags = MEMBER_OPTIONAL },
	{ "argv", &member_list, AT(rt_spec, argv) },
	{ "env", &member_list, AT(rt_spec, env), 0, check_env },
	TEXT(rt_spec, user, check_user, .flags = MEMBER_OPTIONAL),
	TEXT(rt_spec, cwd, check_cwd, .flags = MEMBER_OPTIONAL),
	{ "stop_signal", &member_sig, AT(rt_spec, stop_signal) },
	{ "stop_timeout_us", &member_wide, AT(rt_spec, stop_timeout_us) },
	{ "features", &features, AT(rt_spec, features), .flags = MEMBER_OPTIONAL },
	{ "migratable", &member_flag, AT(rt_spec, migratable) },
	{ "mounts", &mounts, 0, .flags = MEMBER_OPTIONAL },
	{ "dns", &member_list, AT(rt_spec, dns), 0, value_address, .flags = MEMBER_OPTIONAL | MEMBER_IGNORABLE },
	{ "search", &member_list, AT(rt_spec, search), 0, check_name, .flags = MEMBER_OPTIONAL | MEMBER_IGNORABLE },
	{ "rlimits", &member_list, AT(rt_spec, rlimits), 0, value_rlimit },
	{ "limits", &limits, AT(rt_spec, limits) },
};
/* clang-format on */

/* What no member alone can tell. */
static int check_spec(const struct rt_spec *s, struct err *e)
{
	uint64_t end = (uint64_t)s->root.id_base + s->root.id_count;

	/* Below are the host's own users; 4294967295 is (uid_t)-1, which is no id. */
	if (s->root.id_base < 65536 || s->root.id_count == 0 || end > UINT32_MAX)
		return err_set(e, ERR_USAGE, "root: ids %" PRIu32 "+%" PRIu32 " are out of bounds",
			       s->root.id_base, s->root.id_count);
	if (s->argv.count == 0 || !s->argv.item[0][0])
		return err_set(e, ERR_USAGE, "argv: there is no command");
	if (s->boot && !path_is_normal(s->argv.item[0]))
		return err_set(e, ERR_USAGE, "argv: init is not an absolute path");
	if (s->migratable && s->features & RT_FEATURES_NOT_MIGRATABLE)
		return err_set(e, ERR_USAGE, "migratable: a feature hinders it");
	return 0;
}

int rt_spec_parse(struct rt_spec *s, const char *json, size_t len, struct err *e)
{
	json_error_t error;
	json_t *j;
	int r;

	*s = (struct rt_spec){ 0 };
	if (len > RT_SPEC_MAX)
		return err_set(e, ERR_USAGE, "spec: longer than %d bytes", RT_SPEC_MAX);
	j = json_loadb(json, len, JSON_REJECT_DUPLICATES, &error);
	if (!j) /* jansson's text quotes the input */
		return err_set(e, ERR_USAGE, "spec: %s (byte %d)",
			       str_is_printable(error.text) ? error.text : "not JSON",
			       error.position);
	r = members_parse(members, ARRAY_SIZE(members), j, s, e);
	json_decref(j);
	if (r == 0)
		r = check_spec(s, e);
	if (r == 0)
		return 0;
	rt_spec_done(s);
	return err_wrap(e, "spec");
}

char *rt_spec_format(const struct rt_spec *s)
{
	json_t *j = members_format(members, ARRAY_SIZE(members), s);
	char *out = j ? json_dumps(j, JSON_COMPACT) : NULL;

	json_decref(j);
	return out;
}
