/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "supervisor/protocol/idl_internal.h"

#include "base/macro.h"

#include <ctype.h>
#include <stdint.h>

static const struct idl_type *take_type(struct idl_parser *p);

static bool field_is_new(struct idl_parser *p, const struct idl_field *f, size_t count, const char *name)
{
	for (size_t i = 0; i < count; i++)
		if (STREQ(f[i].name, name)) {
			idl_bad(p, "%s stands twice", name);
			return false;
		}
	return true;
}

/* One field: `name: type` in a struct, `name` in an enum; the first one says which it is. */
static int take_field(struct idl_parser *p, struct idl_type *t, struct idl_field *f)
{
	bool is_struct;

	idl_skip(p);
	f->name = idl_take_name(p, true);
	if (!f->name)
		return -EINVAL;
	idl_skip(p);
	is_struct = idl_take(p, ":");
	if (!t->count)
		t->kind = is_struct ? IDL_STRUCT : IDL_ENUM;
	else if ((t->kind == IDL_STRUCT) != is_struct)
		return idl_bad(p, "%s: a struct's fields have types, an enum's have none", f->name);
	if (is_struct) {
		idl_skip(p);
		f->type = take_type(p);
		if (!f->type)
			return -EINVAL;
		idl_skip(p);
	}
	return 0;
}

/* After the opening parenthesis. */
static int take_fields(struct idl_parser *p, struct idl_type *t)
{
	cleanup_free struct idl_field *fields = NULL;
	struct idl_field *kept;

	t->kind = IDL_STRUCT;
	idl_skip(p);
	if (idl_take(p, ")"))
		return 0;
	do {
		struct idl_field *bigger, f = { 0 };

		if (take_field(p, t, &f) < 0 || !field_is_new(p, fields, t->count, f.name))
			return -EINVAL;
		bigger = reallocarray(fields, t->count + 1, sizeof(*fields));
		if (!bigger)
			return err_code(p->e, -ENOMEM, "parse an interface");
		fields = bigger;
		fields[t->count++] = f;
	} while (idl_take(p, ","));
	if (!idl_take(p, ")"))
		return idl_bad(p, "a comma or a closing parenthesis is missing");
	kept = idl_alloc(p, t->count * sizeof(*kept));
	if (!kept)
		return -ENOMEM;
	memcpy(kept, fields, t->count * sizeof(*kept));
	t->fields = kept;
	return 0;
}

static int take_word_type(struct idl_parser *p, struct idl_type *t)
{
	static const struct {
		const char *name;
		enum idl_kind kind;
	} builtin[] = {
		{ "bool", IDL_BOOL },     { "int", IDL_INT },       { "float", IDL_FLOAT },
		{ "string", IDL_STRING }, { "object", IDL_OBJECT },
	};
	size_t len = idl_word_len(p);

	for (size_t i = 0; i < ARRAY_SIZE(builtin); i++)
		if (len == strlen(builtin[i].name) && memcmp(p->at, builtin[i].name, len) == 0) {
			p->at += len;
			t->kind = builtin[i].kind;
			return 0;
		}
	if (!len || !isupper(*p->at))
		return idl_bad(p, "a type is missing");
	t->kind = IDL_NAMED;
	t->name = idl_take_name(p, false);
	return t->name ? 0 : -EINVAL;
}

static int fill_type(struct idl_parser *p, struct idl_type *t)
{
	if (idl_take(p, "("))
		return take_fields(p, t);
	if (idl_take(p, "?"))
		t->kind = IDL_MAYBE;
	else if (idl_take(p, "[]"))
		t->kind = IDL_ARRAY;
	else if (idl_take(p, "[string]"))
		t->kind = IDL_MAP;
	else
		return take_word_type(p, t);
	t->element = take_type(p);
	if (!t->element)
		return -EINVAL;
	if (t->kind == IDL_MAYBE && t->element->kind == IDL_MAYBE)
		return idl_bad(p, "?? is not a type");
	return 0;
}

static const struct idl_type *take_type(struct idl_parser *p)
{
	struct idl_type *t;
	int r;

	if (p->depth >= IDL_DEPTH_MAX) {
		idl_bad(p, "types are nested too deep");
		return NULL;
	}
	t = idl_alloc(p, sizeof(*t));
	if (!t)
		return NULL;
	p->depth++;
	r = fill_type(p, t);
	p->depth--;
	return r < 0 ? NULL : t;
}

static const struct idl_type *take_struct(struct idl_parser *p, bool enum_too)
{
	const struct idl_type *t;

	idl_skip(p);
	if (idl_peek(p) != '(') {
		idl_bad(p, "an opening parenthesis is missing");
		return NULL;
	}
	t = take_type(p);
	if (t && t->kind != IDL_STRUCT && !enum_too) {
		idl_bad(p, "parameters have types");
		return NULL;
	}
	return t;
}

static int take_member(struct idl_parser *p)
{
	struct idl_member m = { 0 }, *bigger;

	if (idl_take(p, "type"))
		m.kind = IDL_TYPE;
	else if (idl_take(p, "method"))
		m.kind = IDL_METHOD;
	else if (idl_take(p, "error"))
		m.kind = IDL_ERROR;
	else
		return idl_bad(p, "type, method or error is missing");
	if (idl_is_word(idl_peek(p)))
		return idl_bad(p, "type, method or error is missing");
	idl_skip(p);
	m.name = idl_take_name(p, false);
	if (!m.name)
		return -EINVAL;
	for (size_t i = 0; i < p->idl->count; i++)
		if (STREQ(p->idl->members[i].name, m.name))
			return idl_bad(p, "%s stands twice", m.name);
	m.type = take_struct(p, m.kind == IDL_TYPE);
	if (!m.type)
		return -EINVAL;
	if (m.kind == IDL_METHOD) {
		idl_skip(p);
		if (!idl_take(p, "->"))
			return idl_bad(p, "-> is missing");
		m.out = take_struct(p, false);
		if (!m.out)
			return -EINVAL;
	}
	bigger = reallocarray(p->idl->members, p->idl->count + 1, sizeof(m));
	if (!bigger)
		return err_code(p->e, -ENOMEM, "parse an interface");
	p->idl->members = bigger;
	p->idl->members[p->idl->count++] = m;
	return idl_end_of_line(p);
}

/* Named types may stand after their use. The tree is ours until idl_parse() returns, so the
 * const of its links is cast away here and nowhere else. */
static int resolve(struct idl_parser *p, const struct idl_type *ct)
{
	struct idl_type *t = (struct idl_type *)(uintptr_t)ct;
	int r = 0;

	if (t->kind == IDL_NAMED) {
		const struct idl_member *m = idl_type(p->idl, t->name);

		if (!m)
			return err_set(p->e, ERR_USAGE, "type %s is not defined", t->name);
		t->element = m->type;
		return 0;
	}
	if (t->element)
		return resolve(p, t->element);
	for (size_t i = 0; r == 0 && t->kind == IDL_STRUCT && i < t->count; i++)
		r = resolve(p, t->fields[i].type);
	return r;
}

static int parse(struct idl_parser *p)
{
	int r;

	idl_skip(p);
	if (!idl_take(p, "interface") || idl_is_word(idl_peek(p)))
		return idl_bad(p, "interface is missing");
	idl_skip(p);
	p->idl->name = idl_take_interface_name(p);
	if (!p->idl->name)
		return -EINVAL;
	r = idl_end_of_line(p);
	for (idl_skip(p); r == 0 && p->at < p->end; idl_skip(p))
		r = take_member(p);
	for (size_t i = 0; r == 0 && i < p->idl->count; i++) {
		r = resolve(p, p->idl->members[i].type);
		if (r == 0 && p->idl->members[i].out)
			r = resolve(p, p->idl->members[i].out);
	}
	return r;
}

int idl_parse(const char *text, size_t len, struct idl **ret, struct err *e)
{
	cleanup_idl struct idl *i = calloc(1, sizeof(*i));
	struct idl_parser p = { .idl = i, .text = text, .at = text, .end = text + len, .e = e };
	int r;

	if (!i)
		return err_code(e, -ENOMEM, "parse an interface");
	if (len > IDL_TEXT_MAX)
		return err_set(e, ERR_USAGE, "an interface has at most %d bytes", IDL_TEXT_MAX);
	r = parse(&p);
	if (r < 0)
		return r;
	*ret = TAKE_PTR(i);
	return 0;
}

static const struct idl_member *find(const struct idl *i, enum idl_member_kind kind,
				     const char *name)
{
	for (size_t n = 0; n < i->count; n++)
		if (i->members[n].kind == kind && STREQ(i->members[n].name, name))
			return &i->members[n];
	return NULL;
}

const struct idl_member *idl_method(const struct idl *i, const char *name)
{
	return find(i, IDL_METHOD, name);
}

const struct idl_member *idl_error(const struct idl *i, const char *name)
{
	return find(i, IDL_ERROR, name);
}

const struct idl_member *idl_type(const struct idl *i, const char *name)
{
	return find(i, IDL_TYPE, name);
}
