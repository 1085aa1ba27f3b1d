/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "supervisor/protocol/idl.h"

#include "base/macro.h"

#include <stdarg.h>

/* Where in a value the check is; the path grows to the right and is cut when it leaves again. */
struct check {
	char *path;
	size_t size, len;
	int depth;
	struct err *e;
};

__attribute__((format(printf, 2, 3))) static size_t enter(struct check *c, const char *fmt, ...)
{
	size_t was = c->len;
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(c->path + was, c->size - was, fmt, ap);
	va_end(ap);
	c->len += n < 0 ? 0 : (size_t)n;
	if (c->len >= c->size)
		c->len = c->size - 1;
	return was;
}

static void leave(struct check *c, size_t was)
{
	c->len = was;
	c->path[was] = '\0';
}

static int wrong(struct check *c, const char *what)
{
	return err_set(c->e, ERR_USAGE, "%s%s%s", c->path, c->len ? ": " : "", what);
}

static int check(struct check *c, const struct idl_type *t, json_t *v);

static const struct idl_field *field(const struct idl_type *t, const char *name)
{
	for (size_t i = 0; i < t->count; i++)
		if (STREQ(t->fields[i].name, name))
			return &t->fields[i];
	return NULL;
}

static int check_struct(struct check *c, const struct idl_type *t, json_t *v)
{
	const char *key;
	json_t *member;

	if (!json_is_object(v))
		return wrong(c, "not an object");
	json_object_foreach(v, key, member) {
		if (!field(t, key)) {
			enter(c, "%s%.100s", c->len ? "." : "", key);
			return wrong(c, "no such parameter");
		}
	}
	for (size_t i = 0; i < t->count; i++) {
		const struct idl_field *f = &t->fields[i];
		size_t was = enter(c, "%s%s", c->len ? "." : "", f->name);
		int r;

		member = json_object_get(v, f->name);
		if (!member && f->type->kind != IDL_MAYBE)
			return wrong(c, "missing");
		r = member ? check(c, f->type, member) : 0;
		if (r < 0)
			return r;
		leave(c, was);
	}
	return 0;
}

static int check_enum(struct check *c, const struct idl_type *t, const json_t *v)
{
	char what[256] = "not ";

	if (json_is_string(v) && field(t, json_string_value(v)))
		return 0;
	for (size_t i = 0; i < t->count; i++) {
		size_t len = strlen(what);

		snprintf(what + len, sizeof(what) - len, "%s%s",
			 i == 0 ? "" : i + 1 == t->count ? " or " : ", ", t->fields[i].name);
	}
	return wrong(c, what);
}

static int check_array(struct check *c, const struct idl_type *t, json_t *v)
{
	if (!json_is_array(v))
		return wrong(c, "not an array");
	for (size_t i = 0; i < json_array_size(v); i++) {
		size_t was = enter(c, "[%zu]", i);
		int r = check(c, t->element, json_array_get(v, i));

		if (r < 0)
			return r;
		leave(c, was);
	}
	return 0;
}

static int check_map(struct check *c, const struct idl_type *t, json_t *v)
{
	const char *key;
	json_t *member;

	if (!json_is_object(v))
		return wrong(c, "not an object");
	json_object_foreach(v, key, member) {
		size_t was = enter(c, "[%.100s]", key);
		int r = check(c, t->element, member);

		if (r < 0)
			return r;
		leave(c, was);
	}
	return 0;
}

static int check_kind(struct check *c, const struct idl_type *t, json_t *v)
{
	switch (t->kind) {
	case IDL_BOOL:
		return json_is_boolean(v) ? 0 : wrong(c, "not true or false");
	case IDL_INT:
		return json_is_integer(v) ? 0 : wrong(c, "not a whole number");
	case IDL_FLOAT:
		return json_is_number(v) ? 0 : wrong(c, "not a number");
	case IDL_STRING:
		return json_is_string(v) ? 0 : wrong(c, "not a string");
	case IDL_OBJECT:
		return 0;
	case IDL_ENUM:
		return check_enum(c, t, v);
	case IDL_STRUCT:
		return check_struct(c, t, v);
	case IDL_MAYBE:
		return json_is_null(v) ? 0 : check(c, t->element, v);
	case IDL_ARRAY:
		return check_array(c, t, v);
	case IDL_MAP:
		return check_map(c, t, v);
	case IDL_NAMED:
		return check(c, t->element, v);
	}
	return wrong(c, "of no known type");
}

static int check(struct check *c, const struct idl_type *t, json_t *v)
{
	int r;

	if (c->depth >= 2 * IDL_DEPTH_MAX)
		return wrong(c, "nested too deep");
	c->depth++;
	r = check_kind(c, t, v);
	c->depth--;
	return r;
}

int idl_check(const struct idl_type *t, json_t *value, char *path, size_t size, struct err *e)
{
	struct check c = { .path = path, .size = size, .e = e };
	json_t *none = NULL;
	int r;

	path[0] = '\0';
	if (!value)
		value = none = json_object();
	if (!value)
		return err_code(e, -ENOMEM, "check a value");
	r = check(&c, t, value);
	json_decref(none);
	return r;
}
