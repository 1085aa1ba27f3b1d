/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "runtime/members.h"

#include "base/macro.h"
#include "base/parse.h"
#include "base/str.h"

#include <string.h>

#define MAY_IGNORE "may_ignore"

#define WORD_MAX (128 * 1024 - 1) /* one string of execve(2): MAX_ARG_STRLEN with its NUL */

int member_refuse(const struct member *m, const char *what, struct err *e)
{
	return err_set(e, ERR_USAGE, "%s: not %s", m->name, what);
}

static int parse_text(const struct member *m, json_t *j, void *at, struct err *e)
{
	const char *s = json_string_value(j);

	if (!s || strlen(s) >= m->size || !str_is_printable(s))
		return member_refuse(m, "a printable string that fits", e);
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
		return member_refuse(m, "true or false", e);
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
		return member_refuse(m, "a number in its range", e);
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
		return member_refuse(m, "a signal", e);
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
	if (!json_is_array(j) || json_array_size(j) > MEMBER_STRINGS_MAX)
		return member_refuse(m, "a list of strings", e);
	for (size_t i = 0; i < json_array_size(j); i++) {
		const char *s = json_string_value(json_array_get(j, i));

		if (!s || strlen(s) > WORD_MAX)
			return member_refuse(m, "a list of strings", e);
		if (m->check && m->check(s, e) < 0)
			return err_wrap(e, "%s", m->name);
		if (strv_add(at, s) < 0)
			return err_code(e, -ENOMEM, "%s", m->name);
	}
	return 0;
}

/* json_array_append_new() takes NULL for s. */
void member_append(json_t **list, json_t *s)
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
		member_append(&j, json_string(v->item[i]));
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

	if (ignored && (!json_is_array(ignored) || json_array_size(ignored) > MEMBER_LIST_MAX))
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

int members_parse(const struct member *m, size_t count, json_t *j, void *base,
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
		else if (!(m[i].flags & MEMBER_OPTIONAL)) {
			err_set(e, ERR_USAGE, "%s is missing", m[i].name);
			r = err_hint(e, "vpsd is older than vps-monitor: restart vpsd");
		}
	}
	return r;
}

json_t *members_format(const struct member *m, size_t count, const void *base)
{
	json_t *j = json_object(), *ignored = json_array();

	for (size_t i = 0; j && i < count; i++) {
		json_t *v = m[i].kind->format(&m[i], (const char *)base + m[i].offset);

		if (json_object_set_new(j, m[i].name, v) < 0) { /* also when v is NULL */
			json_decref(j);
			j = NULL;
		}
		if (m[i].flags & MEMBER_IGNORABLE)
			member_append(&ignored, json_string(m[i].name));
	}
	if (!j || !json_array_size(ignored))
		json_decref(ignored);
	else
		json_object_set_new(j, MAY_IGNORE, ignored);
	return j;
}

static int parse_object(const struct member *m, json_t *j, void *at, struct err *e)
{
	if (members_parse(m->members, m->size, j, at, e) < 0)
		return err_wrap(e, "%s", m->name);
	return 0;
}

static json_t *format_object(const struct member *m, const void *at)
{
	return members_format(m->members, m->size, at);
}

const struct member_kind member_text = { parse_text, format_text };
const struct member_kind member_flag = { parse_flag, format_flag };
const struct member_kind member_u32 = { parse_u32, format_u32 };
const struct member_kind member_wide = { parse_wide, format_wide };
const struct member_kind member_sig = { parse_sig, format_sig };
const struct member_kind member_list = { parse_list, format_list };
const struct member_kind member_object = { parse_object, format_object };
