/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "runtime/config.h"

#include "base/fd.h"
#include "base/macro.h"
#include "base/parse.h"
#include "base/str.h"
#include "netns/net.h"
#include "runtime/value.h"

#include <stdio.h>

static int check_name(const char *s, struct err *e)
{
	if (name_is_valid(s))
		return 0;
	return err_set(e, ERR_USAGE, "%.80s is not a name", s);
}

static int check_digest(const char *s, struct err *e)
{
	if (strlen(s) == 64 && strspn(s, "0123456789abcdef") == 64)
		return 0;
	return err_set(e, ERR_USAGE, "%.80s is not a SHA-256 digest", s);
}

/* Ids from 65536 up, so that the tenant's ids are never those of the host's own users. */
#define ID_BASE_MIN 65536
#define ID_BASE_MAX (INT64_C(4294967295) - 65536)

/* clang-format off */
static const struct setting records[] = {
	{ "uuid", SETTING_STRING, SETTING_FIXED, .check = value_uuid },
	{ "template", SETTING_STRING, SETTING_FIXED, .check = check_name },
	{ "template.digest", SETTING_STRING, SETTING_FIXED, .check = check_digest },
	{ "backend", SETTING_STRING, SETTING_FIXED, .check = check_name, .max = 15 },
	{ "id.base", SETTING_INT, SETTING_FIXED, .min = ID_BASE_MIN, .max = ID_BASE_MAX },
	{ "created", SETTING_INT, SETTING_FIXED, .min = 0, .max = INT64_MAX },
	{ "ephemeral", SETTING_BOOL, SETTING_FIXED, .def = "no" },
	{ "owner", SETTING_INT, SETTING_FIXED, .min = 0, .max = INT64_C(4294967294) },
};
/* clang-format on */

static const struct setting *record_lookup(const char *key)
{
	for (size_t i = 0; i < ARRAY_SIZE(records); i++)
		if (STREQ(records[i].name, key))
			return &records[i];
	return NULL;
}

bool config_is_record(const char *key)
{
	return record_lookup(key) != NULL;
}

static const struct setting *lookup(const char *key)
{
	const struct setting *s = record_lookup(key);

	return s ? s : setting_lookup(key);
}

static void line_done(struct config_line *l)
{
	free(l->key);
	free(l->value);
	free(l->text);
	*l = (struct config_line){ 0 };
}

void config_done(struct config *c)
{
	for (size_t i = 0; i < c->count; i++)
		line_done(&c->lines[i]);
	free(c->lines);
	*c = (struct config){ 0 };
}

/* Puts a line in at `at`; takes what is in *l, also when it fails. */
static int insert_take(struct config *c, size_t at, struct config_line *l, struct err *e)
{
	struct config_line *bigger = reallocarray(c->lines, c->count + 1, sizeof(*bigger));

	if (!bigger) {
		line_done(l);
		return err_code(e, -ENOMEM, "keep a setting");
	}
	c->lines = bigger;
	memmove(&bigger[at + 1], &bigger[at], (c->count - at) * sizeof(*bigger));
	bigger[at] = *l;
	c->count++;
	return 0;
}

static void remove_line(struct config *c, size_t at)
{
	line_done(&c->lines[at]);
	c->count--;
	memmove(&c->lines[at], &c->lines[at + 1], (c->count - at) * sizeof(*c->lines));
}

static struct config_line *find_line(const struct config *c, const char *key)
{
	for (size_t i = 0; i < c->count; i++)
		if (c->lines[i].key && STREQ(c->lines[i].key, key))
			return &c->lines[i];
	return NULL;
}

/* The copy of s[0..len) without blanks at its ends. */
static char *dup_trimmed(const char *s, size_t len)
{
	while (len > 0 && (*s == ' ' || *s == '\t')) {
		s++;
		len--;
	}
	while (len > 0 && (s[len - 1] == ' ' || s[len - 1] == '\t'))
		len--;
	return strndup(s, len);
}

/* True when a line may stand in the file: text, tabs allowed. */
static bool text_is_clean(char *text, size_t len)
{
	bool ok;

	if (strlen(text) != len)
		return false;
	for (size_t i = 0; i < len; i++)
		if (text[i] == '\t')
			text[i] = ' ';
	ok = str_is_printable(text);
	return ok;
}

static int parse_line(struct config *c, const char *s, size_t len, unsigned number, struct err *e)
{
	struct config_line line = { .number = number };
	cleanup_free char *clean = malloc(len + 1), *key = NULL;
	const struct config_line *twin;
	const struct setting *set;
	const char *equals;
	int r = 0;

	line.text = malloc(len + 1);
	if (line.text) {
		memcpy(line.text, s, len);
		line.text[len] = '\0';
	}
	if (!line.text || !clean) {
		line_done(&line);
		return err_code(e, -ENOMEM, "read a line");
	}
	memcpy(clean, line.text, len + 1);
	if (!text_is_clean(clean, len)) {
		line_done(&line);
		return err_set(e, ERR_USAGE, "control characters or bytes that are not UTF-8");
	}
	s = clean + strspn(clean, " ");
	if (*s == '\0' || *s == '#')
		return insert_take(c, c->count, &line, e);
	equals = strchr(s, '=');
	if (equals) {
		key = dup_trimmed(s, (size_t)(equals - s));
		line.value = dup_trimmed(equals + 1, strlen(equals + 1));
	}
	if (!equals || !key || !line.value) {
		line_done(&line);
		return !equals ? err_set(e, ERR_USAGE, "%.80s is not KEY = VALUE", s) :
				 err_code(e, -ENOMEM, "read a line");
	}
	set = record_lookup(key);
	if (!set)
		set = setting_find(key, e);
	if (!set)
		r = err_errno(ERR_USAGE);
	else
		r = setting_check(set, line.value, e);
	if (r == 0 && !(set->flags & SETTING_LIST) && (twin = find_line(c, set->name)))
		r = err_set(e, ERR_USAGE, "%s is already set in line %u", set->name, twin->number);
	if (r == 0) {
		line.key = strdup(set->name);
		if (!line.key)
			r = err_code(e, -ENOMEM, "read a line");
	}
	if (r < 0) {
		line_done(&line);
		return r;
	}
	return insert_take(c, c->count, &line, e);
}

int config_parse(struct config *c, const char *text, size_t len, const char *file, struct err *e)
{
	unsigned number = 0;

	*c = (struct config){ 0 };
	if (len > CONFIG_MAX)
		return err_set(e, ERR_USAGE, "%s: longer than %d bytes", file, CONFIG_MAX);
	while (len > 0) {
		const char *nl = memchr(text, '\n', len);
		size_t n = nl ? (size_t)(nl - text) : len;
		int r = parse_line(c, text, n, ++number, e);

		if (r < 0) {
			config_done(c);
			return err_wrap(e, "%s:%u", file, number);
		}
		n += nl ? 1 : 0;
		text += n;
		len -= n;
	}
	return 0;
}

int config_read(struct config *c, int dirfd, const char *path, struct err *e)
{
	cleanup_free char *text = NULL;
	size_t len;
	int r;

	*c = (struct config){ 0 };
	r = fd_read_file_at(dirfd, path, CONFIG_MAX, &text, &len);
	if (r == -EFBIG)
		return err_set(e, ERR_USAGE, "%s: longer than %d bytes", path, CONFIG_MAX);
	if (r < 0)
		return err_code(e, r, "read %s", path);
	return config_parse(c, text, len, path, e);
}

char *config_format(const struct config *c)
{
	cleanup_buf struct buf b = { 0 };
	int r = buf_add(&b, "", 0);

	for (size_t i = 0; r >= 0 && i < c->count; i++) {
		const struct config_line *l = &c->lines[i];

		if (l->text)
			r = buf_addf(&b, "%s\n", l->text);
		else
			r = buf_addf(&b, "%s = %s\n", l->key, l->value);
	}
	return r < 0 ? NULL : TAKE_PTR(b.data);
}

int config_write(const struct config *c, int dirfd, const char *path, bool durable, struct err *e)
{
	cleanup_free char *text = config_format(c);
	int r;

	if (!text)
		return err_code(e, -ENOMEM, "write %s", path);
	if (strlen(text) > CONFIG_MAX) /* could not be read back */
		return err_set(e, ERR_USAGE, "%s: longer than %d bytes", path, CONFIG_MAX);
	r = fd_replace_file_at(dirfd, path, text, strlen(text), 0600, durable);
	if (r < 0)
		return err_code(e, r, "write %s", path);
	return 0;
}

const char *config_get(const struct config *c, const char *key)
{
	const struct setting *s = lookup(key);
	const struct config_line *l;

	if (!s)
		return NULL;
	l = find_line(c, s->name);
	return l ? l->value : s->def;
}

const char *config_get_nth(const struct config *c, const char *key, size_t i)
{
	for (size_t k = 0; k < c->count; k++)
		if (c->lines[k].key && STREQ(c->lines[k].key, key) && i-- == 0)
			return c->lines[k].value;
	return NULL;
}

uint64_t config_number(const struct config *c, const char *key)
{
	const struct setting *s = lookup(key);
	const char *value = config_get(c, key);

	return s && value ? setting_number(s, value) : 0;
}

/* What an entry of a list is known by: the K of K=V, the name of an interface, or itself. */
static const char *entry_key(const struct setting *s, const char *entry, size_t *ret_len)
{
	const char *key = entry;

	if (s->flags & SETTING_KEYED) {
		*ret_len = strcspn(entry, "=");
		return entry;
	}
	if (!(s->flags & SETTING_NAMED)) {
		*ret_len = strlen(entry);
		return entry;
	}
	key = strncmp(entry, "name=", 5) == 0 ? entry + 5 : strstr(entry, ",name=");
	if (!key)
		key = NETNS_IF_NAME;
	else if (*key == ',')
		key += strlen(",name=");
	*ret_len = strcspn(key, ",");
	return key;
}

/* True when a list entry is the one meant by `value`: itself, or what it is known by. */
static bool entry_matches(const struct setting *s, const char *entry, const char *value)
{
	size_t len;
	const char *key = entry_key(s, entry, &len);

	return STREQ(entry, value) || (strlen(value) == len && memcmp(key, value, len) == 0);
}

/* True when two entries cannot stand side by side. */
static bool entry_replaces(const struct setting *s, const char *entry, const char *value)
{
	size_t a, b;
	const char *x = entry_key(s, entry, &a), *y = entry_key(s, value, &b);

	return a == b && memcmp(x, y, a) == 0;
}

static int unset(struct config *c, const struct setting *s, const char *entry, struct err *e)
{
	bool found = false;

	for (size_t i = c->count; i-- > 0;) {
		const struct config_line *l = &c->lines[i];

		if (!l->key || !STREQ(l->key, s->name) ||
		    (entry && !entry_matches(s, l->value, entry)))
			continue;
		remove_line(c, i);
		found = true;
	}
	if (entry && !found)
		return err_set(e, ERR_USAGE, "%s: there is no entry %.80s", s->name, entry);
	return 0;
}

static int change_value(struct config_line *l, const char *value, struct err *e)
{
	char *copy;

	if (STREQ(l->value, value))
		return 0;
	copy = strdup(value);
	if (!copy)
		return err_code(e, -ENOMEM, "keep a setting");
	free(l->value);
	free(l->text);
	l->value = copy;
	l->text = NULL;
	return 0;
}

static int set_value(struct config *c, const struct setting *s, const char *value, struct err *e)
{
	struct config_line line = { 0 };
	size_t at = c->count;

	for (size_t i = 0; i < c->count; i++) {
		struct config_line *l = &c->lines[i];

		if (!l->key || !STREQ(l->key, s->name))
			continue;
		if (!(s->flags & SETTING_LIST) || entry_replaces(s, l->value, value))
			return change_value(l, value, e);
		at = i + 1;
	}
	line.key = strdup(s->name);
	line.value = strdup(value);
	if (!line.key || !line.value) {
		line_done(&line);
		return err_code(e, -ENOMEM, "keep a setting");
	}
	return insert_take(c, at, &line, e);
}

static int set(struct config *c, const struct setting *s, const char *value, struct err *e)
{
	int r;

	if (!value || !*value)
		return unset(c, s, NULL, e);
	if (s->flags & SETTING_LIST && value[0] == '-')
		return unset(c, s, value + 1, e);
	r = setting_check(s, value, e);
	if (r < 0)
		return r;
	return set_value(c, s, value, e);
}

int config_set(struct config *c, const char *key, const char *value, struct err *e)
{
	const struct setting *s;

	if (record_lookup(key))
		return err_set(e, ERR_USAGE, "%s is set at creation and cannot be changed", key);
	s = setting_find(key, e);
	if (!s)
		return err_errno(ERR_USAGE);
	return set(c, s, value, e);
}

int config_set_record(struct config *c, const char *key, const char *value, struct err *e)
{
	const struct setting *s = record_lookup(key);

	if (!s)
		return err_set(e, ERR_USAGE, "%.80s is not a record", key);
	return set(c, s, value, e);
}
