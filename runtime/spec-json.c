/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "runtime/spec.h"

#include "base/macro.h"
#include "base/parse.h"
#include "netns/net.h"
#include "runtime/value.h"

#include <inttypes.h>
#include <jansson.h>
#include <stddef.h>
#include <stdio.h>

/*
 * The spec as JSON: one table of members, each of a kind that knows both directions. Every member is
 * written, and demanded unless its row says that zero is what its absence means, so that nothing is
 * left at zero by oversight.
 *
 * vpsd and the monitor may be of different versions while a package is upgraded. A member that is
 * new must therefore be OPTIONAL, with the old behaviour at zero; and IGNORABLE when a monitor that
 * has never heard of it may start the VPS all the same. The names of those travel along, in
 * `may_ignore`: whatever else is unknown to the reader is refused, for it may be a bound.
 */
struct member;

struct kind {
	int (*parse)(const struct member *m, json_t *j, void *at, struct err *e);
	json_t *(*format)(const struct member *m, const void *at);
};

struct member {
	const char *name;
	const struct kind *kind;
	size_t offset;
	size_t size;                               /* text: the array; object: members */
	int (*check)(const char *s, struct err *e);/* text and each string of a list; NULL: any */
	const struct member *members;              /* object */
	unsigned flags;
};

enum { OPTIONAL = 1, IGNORABLE = 2 };

#define MAY_IGNORE "may_ignore"

#define LIST_MAX 4096            /* strings in one list */
#define WORD_MAX (128 * 1024 - 1)/* one string of execve(2): MAX_ARG_STRLEN with its NUL */

static int refuse(const struct member *m, const char *what, struct err *e)
{
	return err_set(e, ERR_USAGE, "%s: not %s", m->name, what);
}

static int parse_text(const struct member *m, json_t *j, void *at, struct err *e)
{
	const char *s = json_string_value(j);

	if (!s || strlen(s) >= m->size || !str_is_printable(s))
		return refuse(m, "a printable string that fits", e);
	if (m->check && m->check(s, e) < 0)
		return err_wrap(e, "%s", m->name);
	memcpy(at, s, strlen(s) + 1);
	return 0;
}

static json_t *format_text(const struct member *m, const void *at)
{
	(void)m;
	return json_string(at);
}

static int parse_flag(const struct member *m, json_t *j, void *at, struct err *e)
{
	if (!json_is_boolean(j))
		return refuse(m, "true or false", e);
	*(bool *)at = json_is_true(j);
	return 0;
}

static json_t *format_flag(const struct member *m, const void *at)
{
	(void)m;
	return json_boolean(*(const bool *)at);
}

static int parse_number(const struct member *m, json_t *j, uint64_t max, uint64_t *ret,
			struct err *e)
{
	json_int_t v = json_integer_value(j);

	if (!json_is_integer(j) || v < 0 || (uint64_t)v > max)
		return refuse(m, "a number in its range", e);
	*ret = (uint64_t)v;
	return 0;
}

static int parse_u32(const struct member *m, json_t *j, void *at, struct err *e)
{
	uint64_t v = 0;
	int r = parse_number(m, j, UINT32_MAX, &v, e);

	if (r == 0)
		*(uint32_t *)at = (uint32_t)v;
	return r;
}

static json_t *format_u32(const struct member *m, const void *at)
{
	(void)m;
	return json_integer((json_int_t)*(const uint32_t *)at);
}

static int parse_wide(const struct member *m, json_t *j, void *at, struct err *e)
{
	return parse_number(m, j, INT64_MAX, at, e);
}

static json_t *format_wide(const struct member *m, const void *at)
{
	(void)m;
	return json_integer((json_int_t)*(const uint64_t *)at);
}

static int parse_sig(const struct member *m, json_t *j, void *at, struct err *e)
{
	uint64_t v = 0;
	int r = parse_number(m, j, 64, &v, e);

	if (r == 0 && v == 0)
		return refuse(m, "a signal", e);
	if (r == 0)
		*(int *)at = (int)v;
	return r;
}

static json_t *format_sig(const struct member *m, const void *at)
{
	(void)m;
	return json_integer(*(const int *)at);
}

static int parse_list(const struct member *m, json_t *j, void *at, struct err *e)
{
	if (!json_is_array(j) || json_array_size(j) > LIST_MAX)
		return refuse(m, "a list of strings", e);
	for (size_t i = 0; i < json_array_size(j); i++) {
		const char *s = json_string_value(json_array_get(j, i));

		if (!s || strlen(s) > WORD_MAX)
			return refuse(m, "a list of strings", e);
		if (m->check && m->check(s, e) < 0)
			return err_wrap(e, "%s", m->name);
		if (strv_add(at, s) < 0)
			return err_code(e, -ENOMEM, "%s", m->name);
	}
	return 0;
}

/* Appends s, or drops *list and makes it NULL: json_array_append_new() takes NULL for s. */
static void append(json_t **list, json_t *s)
{
	if (*list && json_array_append_new(*list, s) < 0) {
		json_decref(*list);
		*list = NULL;
	} else if (!*list) {
		json_decref(s);
	}
}

static json_t *format_list(const struct member *m, const void *at)
{
	const struct strv *v = at;
	json_t *j = json_array();

	(void)m;
	for (size_t i = 0; i < v->count; i++)
		append(&j, json_string(v->item[i]));
	return j;
}

/* `at` is the whole spec: the list and its count lie side by side. */
static int parse_mounts(const struct member *m, json_t *j, void *at, struct err *e)
{
	if (!json_is_array(j) || json_array_size(j) > LIST_MAX)
		return refuse(m, "a list of mounts", e);
	for (size_t i = 0; i < json_array_size(j); i++) {
		const char *s = json_string_value(json_array_get(j, i));

		if (!s)
			return refuse(m, "a list of mounts", e);
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
		append(&j, json_sprintf("%s:%s%s", s->mounts[i].host, s->mounts[i].guest,
					s->mounts[i].read_only ? ":ro" : ""));
	return j;
}

static int parse_features(const struct member *m, json_t *j, void *at, struct err *e)
{
	unsigned *bits = at;

	if (!json_is_array(j) || json_array_size(j) > LIST_MAX)
		return refuse(m, "a list of features", e);
	for (size_t i = 0; i < json_array_size(j); i++) {
		const char *s = json_string_value(json_array_get(j, i));
		unsigned bit = s ? rt_feature_find(s) : 0;

		if (!bit)
			return refuse(m, "a list of features", e);
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
		append(&j, json_string(rt_feature_name((enum rt_feature)(bits & -bits))));
	return j;
}

/* Pairs, not an object: a list's entries are several of one key, in their order. */
static int parse_limits(const struct member *m, json_t *j, void *at, struct err *e)
{
	if (!json_is_array(j) || json_array_size(j) > LIST_MAX)
		return refuse(m, "a list of settings", e);
	for (size_t i = 0; i < json_array_size(j); i++) {
		json_t *pair = json_array_get(j, i);
		const char *key = json_string_value(json_array_get(pair, 0));
		const char *value = json_string_value(json_array_get(pair, 1));
		const struct setting *s = key ? setting_lookup(key) : NULL;
		int r;

		if (!value || !*value || json_array_size(pair) != 2 || !s ||
		    !(s->flags & SETTING_LIMIT))
			return refuse(m, "a list of settings for limits", e);
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
			append(&j, json_pack("[ss]", c->lines[i].key, c->lines[i].value));
	return j;
}

static bool has_string(json_t *array, const char *text)
{
	json_t *item;
	size_t i;

	json_array_foreach(array, i, item)
		if (json_is_string(item) && STREQ(json_string_value(item), text))
			return true;
	return false;
}

/* Each member is in the table, or one that may be ignored. */
static int check_known(const struct member *m, size_t count, json_t *j, struct err *e)
{
	json_t *ignored = json_object_get(j, MAY_IGNORE), *value;
	const char *key;

	if (ignored && (!json_is_array(ignored) || json_array_size(ignored) > LIST_MAX))
		return err_set(e, ERR_USAGE, MAY_IGNORE ": not a list of members");
	json_object_foreach(j, key, value) {
		size_t i = 0;

		while (i < count && !STREQ(m[i].name, key))
			i++;
		if (i < count || STREQ(key, MAY_IGNORE) || has_string(ignored, key))
			continue;
		err_set(e, ERR_USAGE, "unknown member %.80s",
			str_is_printable(key) ? key : "with control characters");
		return err_hint(e, "vpsd is newer than vps-monitor: install both");
	}
	return 0;
}

static int parse_members(const struct member *m, size_t count, json_t *j, void *base,
			 struct err *e)
{
	int r;

	if (!json_is_object(j))
		return err_set(e, ERR_USAGE, "not an object");
	r = check_known(m, count, j, e);
	for (size_t i = 0; r == 0 && i < count; i++) {
		json_t *value = json_object_get(j, m[i].name);

		if (value)
			r = m[i].kind->parse(&m[i], value, (char *)base + m[i].offset, e);
		else if (!(m[i].flags & OPTIONAL)) {
			err_set(e, ERR_USAGE, "%s is missing", m[i].name);
			r = err_hint(e, "vpsd is older than vps-monitor: restart vpsd");
		}
	}
	return r;
}

static json_t *format_members(const struct member *m, size_t count, const void *base)
{
	json_t *j = json_object(), *ignored = json_array();

	for (size_t i = 0; j && i < count; i++) {
		json_t *v = m[i].kind->format(&m[i], (const char *)base + m[i].offset);

		if (json_object_set_new(j, m[i].name, v) < 0) { /* also when v is NULL */
			json_decref(j);
			j = NULL;
		}
		if (m[i].flags & IGNORABLE)
			append(&ignored, json_string(m[i].name));
	}
	if (!j || !json_array_size(ignored))
		json_decref(ignored);
	else
		json_object_set_new(j, MAY_IGNORE, ignored);
	return j;
}

static int parse_object(const struct member *m, json_t *j, void *at, struct err *e)
{
	if (parse_members(m->members, m->size, j, at, e) < 0)
		return err_wrap(e, "%s", m->name);
	return 0;
}

static json_t *format_object(const struct member *m, const void *at)
{
	return format_members(m->members, m->size, at);
}

static const struct kind text = { parse_text, format_text };
static const struct kind flag = { parse_flag, format_flag };
static const struct kind u32 = { parse_u32, format_u32 };
static const struct kind wide = { parse_wide, format_wide };
static const struct kind sig = { parse_sig, format_sig };
static const struct kind list = { parse_list, format_list };
static const struct kind mounts = { parse_mounts, format_mounts };
static const struct kind features = { parse_features, format_features };
static const struct kind limits = { parse_limits, format_limits };
static const struct kind object = { parse_object, format_object };

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
	{ #field, &text, AT(type, field), sizeof(((struct type *)0)->field), check_fn, ##__VA_ARGS__ }

/* clang-format off */
static const struct member root_members[] = {
	TEXT(storage_root, backend, check_name),
	TEXT(storage_root, dir, check_path),
	TEXT(storage_root, lower, check_path_or_none),
	{ "id_base", &u32, AT(storage_root, id_base) },
	{ "id_count", &u32, AT(storage_root, id_count) },
	{ "ephemeral", &flag, AT(storage_root, ephemeral), .flags = OPTIONAL | IGNORABLE },
};

static const struct member members[] = {
	TEXT(rt_spec, name, check_name),
	TEXT(rt_spec, uuid, value_uuid),
	TEXT(rt_spec, hostname, value_hostname),
	TEXT(rt_spec, run_dir, check_path),
	TEXT(rt_spec, lib_dir, check_path),
	TEXT(rt_spec, cgroup_parent, check_cgroup),
	TEXT(rt_spec, pool4, check_pool4, .flags = OPTIONAL),
	TEXT(rt_spec, pool6, check_pool6, .flags = OPTIONAL),
	{ "root", &object, AT(rt_spec, root), ARRAY_SIZE(root_members), NULL, root_members },
	{ "boot", &flag, AT(rt_spec, boot) },
	{ "tty", &flag, AT(rt_spec, tty), .flags = OPTIONAL },
	{ "argv", &list, AT(rt_spec, argv) },
	{ "env", &list, AT(rt_spec, env), 0, check_env },
	TEXT(rt_spec, user, check_user, .flags = OPTIONAL),
	TEXT(rt_spec, cwd, check_cwd, .flags = OPTIONAL),
	{ "stop_signal", &sig, AT(rt_spec, stop_signal) },
	{ "stop_timeout_us", &wide, AT(rt_spec, stop_timeout_us) },
	{ "features", &features, AT(rt_spec, features), .flags = OPTIONAL },
	{ "migratable", &flag, AT(rt_spec, migratable) },
	{ "mounts", &mounts, 0, .flags = OPTIONAL },
	{ "dns", &list, AT(rt_spec, dns), 0, value_address, .flags = OPTIONAL | IGNORABLE },
	{ "search", &list, AT(rt_spec, search), 0, check_name, .flags = OPTIONAL | IGNORABLE },
	{ "rlimits", &list, AT(rt_spec, rlimits), 0, value_rlimit },
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
	r = parse_members(members, ARRAY_SIZE(members), j, s, e);
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
	json_t *j = format_members(members, ARRAY_SIZE(members), s);
	char *out = j ? json_dumps(j, JSON_COMPACT) : NULL;

	json_decref(j);
	return out;
}
