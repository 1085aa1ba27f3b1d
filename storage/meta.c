/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "storage/catalogue.h"

#include "base/macro.h"
#include "base/parse.h"

#include <ctype.h>
#include <stddef.h>

static bool word_is_valid(const char *s)
{
	for (; *s; s++)
		if (!isalnum((unsigned char)*s) && !strchr("._+-~:", *s))
			return false;
	return true;
}

static bool init_is_valid(const char *s)
{
	return s[0] == '/' && str_is_printable(s);
}

static bool signal_is_valid(const char *s)
{
	return parse_signal(s) > 0;
}

/* One row a key; `is_valid` NULL: a number of bytes or seconds. */
static const struct meta_key {
	const char *name;
	size_t offset, size;
	bool (*is_valid)(const char *value);
} meta_keys[] = {
#define TEXT(field, check) { #field, offsetof(struct storage_template, field), \
			     sizeof(((struct storage_template *)0)->field), check }
#define NUMBER(field) { #field, offsetof(struct storage_template, field), 0, NULL }
	TEXT(distribution, word_is_valid),
	TEXT(version, word_is_valid),
	TEXT(arch, word_is_valid),
	TEXT(init, init_is_valid),
	TEXT(stop_signal, signal_is_valid),
	NUMBER(size),
	NUMBER(created),
#undef TEXT
#undef NUMBER
};

static int set_key(const struct meta_key *k, const char *value, struct storage_template *t)
{
	char *field = (char *)t + k->offset;

	if (!k->is_valid)
		return parse_u64(value, (uint64_t *)(void *)field) < 0 ? -EINVAL : 0;
	if (!k->is_valid(value) || strlen(value) >= k->size)
		return -EINVAL;
	memcpy(field, value, strlen(value) + 1);
	return 0;
}

static char *trim(char *s)
{
	size_t len;

	s += strspn(s, " \t");
	for (len = strlen(s); len > 0 && strchr(" \t\r", s[len - 1]); len--)
		s[len - 1] = '\0';
	return s;
}

static int parse_line(char *line, const char *where, unsigned number, struct storage_template *t,
		      struct err *e)
{
	char *key = trim(line), *value = strchr(key, '=');

	if (key[0] == '\0' || key[0] == '#')
		return 0;
	if (!value)
		return err_set(e, ERR_USAGE, "%s:%u: not of the form `key = value`", where, number);
	*value = '\0';
	value = trim(value + 1);
	key = trim(key);
	for (size_t i = 0; i < ARRAY_SIZE(meta_keys); i++) {
		if (!STREQ(meta_keys[i].name, key))
			continue;
		if (set_key(&meta_keys[i], value, t) < 0)
			return err_set(e, ERR_USAGE, "%s:%u: %.80s is not a value of `%s`", where, number,
				       *value && str_is_printable(value) ? value : "this", key);
		return 0;
	}
	return 0;
}

int storage_meta_parse(const char *text, const char *where, struct storage_template *t,
		       struct err *e)
{
	cleanup_free char *copy = strdup(text);
	unsigned number = 0;
	char *line, *rest = copy;

	if (!copy)
		return err_code(e, -ENOMEM, "read %s", where);
	while ((line = strsep(&rest, "\n"))) {
		int r = parse_line(line, where, ++number, t, e);

		if (r < 0)
			return r;
	}
	return 0;
}

int storage_meta_format(const struct storage_template *t, struct buf *out)
{
	for (size_t i = 0; i < ARRAY_SIZE(meta_keys); i++) {
		const struct meta_key *k = &meta_keys[i];
		const char *field = (const char *)t + k->offset;
		int r = 0;

		if (!k->is_valid)
			r = buf_addf(out, "%s = %llu\n", k->name,
				     (unsigned long long)*(const uint64_t *)(const void *)field);
		else if (field[0])
			r = buf_addf(out, "%s = %s\n", k->name, field);
		if (r < 0)
			return r;
	}
	return 0;
}

int storage_meta_check(const struct storage_template *meta, struct err *e)
{
	cleanup_buf struct buf text = { 0 }, again = { 0 };
	struct storage_template back = { 0 };
	char where[80];
	int r;

	if (!name_is_valid(meta->name))
		return err_set(e, ERR_USAGE, "template %.80s: not a name", meta->name);
	snprintf(where, sizeof(where), "template %s", meta->name);
	if (storage_meta_format(meta, &text) < 0)
		return err_code(e, -ENOMEM, "%s", where);
	r = storage_meta_parse(text.data, where, &back, e);
	if (r < 0)
		return r;
	if (storage_meta_format(&back, &again) < 0)
		return err_code(e, -ENOMEM, "%s", where);
	if (!STREQ(text.data, again.data))
		return err_set(e, ERR_USAGE, "%s: a value does not fit on a line", where);
	return 0;
}
