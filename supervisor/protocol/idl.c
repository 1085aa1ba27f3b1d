/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "supervisor/protocol/idl.h"

#include "base/macro.h"

#include <ctype.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>

/* Everything of a tree lies in blocks that are freed together. */
struct block {
	struct block *next;
	char data[];
};

struct parser {
	struct idl *idl;
	const char *text, *end, *at;
	int depth;
	struct err *e;
};

static void *arena_alloc(struct parser *p, size_t size)
{
	struct block *b = calloc(1, sizeof(*b) + size);

	if (!b) {
		err_code(p->e, -ENOMEM, "parse an interface");
		return NULL;
	}
	b->next = p->idl->arena;
	p->idl->arena = b;
	return b->data;
}

void idl_free(struct idl *i)
{
	struct block *b;

	if (!i)
		return;
	b = i->arena;
	while (b) {
		struct block *next = b->next;

		free(b);
		b = next;
	}
	free(i->members);
	free(i);
}

/* "line N: …" */
__attribute__((format(printf, 2, 3))) static int bad(struct parser *p, const char *fmt, ...)
{
	char what[256];
	va_list ap;
	int line = 1;

	for (const char *s = p->text; s < p->at; s++)
		line += *s == '\n';
	va_start(ap, fmt);
	vsnprintf(what, sizeof(what), fmt, ap);
	va_end(ap);
	return err_set(p->e, ERR_USAGE, "line %d: %s", line, what);
}

static int peek(const struct parser *p)
{
	return p->at < p->end ? (unsigned char)*p->at : -1;
}

static void skip_comment(struct parser *p)
{
	while (peek(p) >= 0 && peek(p) != '\n')
		p->at++;
}

/* Blanks, line ends and comments. */
static void skip(struct parser *p)
{
	for (;;) {
		int c = peek(p);

		if (c == '#')
			skip_comment(p);
		else if (c == ' ' || c == '\t' || c == '\n' || c == '\r')
			p->at++;
		else
			return;
	}
}

static bool take(struct parser *p, const char *s)
{
	size_t len = strlen(s);

	if ((size_t)(p->end - p->at) < len || memcmp(p->at, s, len) != 0)
		return false;
	p->at += len;
	return true;
}

/* A member ends with its line; only a comment may follow. */
static int end_of_line(struct parser *p)
{
	while (peek(p) == ' ' || peek(p) == '\t' || peek(p) == '\r')
		p->at++;
	if (peek(p) == '#')
		skip_comment(p);
	if (peek(p) >= 0 && peek(p) != '\n')
		return bad(p, "a line end is missing");
	return 0;
}

static bool is_word(int c)
{
	return c >= 0 && c < 128 && (isalnum(c) || c == '_');
}

/* A word of letters, digits and single underscores between them; empty when there is none. */
static size_t word_len(const struct parser *p)
{
	size_t n = 0, room = (size_t)(p->end - p->at);

	while (n < room && is_word((unsigned char)p->at[n]))
		n++;
	return n;
}

static const char *take_text(struct parser *p, size_t len)
{
	char *s = arena_alloc(p, len + 1);

	if (!s)
		return NULL;
	memcpy(s, p->at, len);
	p->at += len;
	return s;
}

/* `[A-Za-z](_?[A-Za-z0-9])*` for fields, `[A-Z][A-Za-z0-9]*` for types, methods and errors. */
static const char *take_name(struct parser *p, bool field)
{
	size_t len = word_len(p);
	bool good = len > 0 && len < 128 && (field ? isalpha(*p->at) : isupper(*p->at)) &&
		    p->at[len - 1] != '_';

	for (size_t i = 1; good && i < len; i++)
		if (p->at[i] == '_' && (!field || p->at[i - 1] == '_'))
			good = false;
	if (!good) {
		bad(p, "a %s name is missing", field ? "field" : "member");
		return NULL;
	}
	return take_text(p, len);
}

static const char *take_interface_name(struct parser *p)
{
	size_t n = 0, room = (size_t)(p->end - p->at);
	int dots = 0;

	for (; n < room && n < 255; n++) {
		int c = (unsigned char)p->at[n];
		int before = n ? (unsigned char)p->at[n - 1] : '.';
		int after = n + 1 < room ? (unsigned char)p->at[n + 1] : -1;

		if (c < 128 && isalnum(c) && (n || isalpha(c)))
			continue;
		/* A dash stands between letters or digits, a dot between labels. */
		if (c == '-' && before != '.' && (after == '-' || (is_word(after) && after != '_')))
			continue;
		if (c != '.' || before == '.' || !is_word(after) || after == '_')
			break;
		dots++;
	}
	if (!n || !dots) {
		bad(p, "an interface name with a dot is missing");
		return NULL;
	}
	return take_text(p, n);
}

static const struct idl_type *take_type(struct parser *p);

static bool field_is_new(struct parser *p, const struct idl_field *f, size_t count, const char *name)
{
	for (size_t i = 0; i < count; i++)
		if (STREQ(f[i].name, name)) {
			bad(p, "%s stands twice", name);
			return false;
		}
	return true;
}

/* One field: `name: type` in a struct, `name` in an enum; the first one says which it is. */
static int take_field(struct parser *p, struct idl_type *t, struct idl_field *f)
{
	bool is_struct;

	skip(p);
	f->name = take_name(p, true);
	if (!f->name)
		return -EINVAL;
	skip(p);
	is_struct = take(p, ":");
	if (!t->count)
		t->kind = is_struct ? IDL_STRUCT : IDL_ENUM;
	else if ((t->kind == IDL_STRUCT) != is_struct)
		return bad(p, "%s: a struct's fields have types, an enum's have none", f->name);
	if (is_struct) {
		skip(p);
		f->type = take_type(p);
		if (!f->type)
			return -EINVAL;
		skip(p);
	}
	return 0;
}

/* After the opening parenthesis. */
static int take_fields(struct parser *p, struct idl_type *t)
{
	cleanup_free struct idl_field *fields = NULL;
	struct idl_field *kept;

	t->kind = IDL_STRUCT;
	skip(p);
	if (take(p, ")"))
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
	} while (take(p, ","));
	if (!take(p, ")"))
		return bad(p, "a comma or a closing parenthesis is missing");
	kept = arena_alloc(p, t->count * sizeof(*kept));
	if (!kept)
		return -ENOMEM;
	memcpy(kept, fields, t->count * sizeof(*kept));
	t->fields = kept;
	return 0;
}

static int take_word_type(struct parser *p, struct idl_type *t)
{
	static const struct {
		const char *name;
		enum idl_kind kind;
	} builtin[] = {
		{ "bool", IDL_BOOL },     { "int", IDL_INT },       { "float", IDL_FLOAT },
		{ "string", IDL_STRING }, { "object", IDL_OBJECT },
	};
	size_t len = word_len(p);

	for (size_t i = 0; i < ARRAY_SIZE(builtin); i++)
		if (len == strlen(builtin[i].name) && memcmp(p->at, builtin[i].name, len) == 0) {
			p->at += len;
			t->kind = builtin[i].kind;
			return 0;
		}
	if (!len || !isupper(*p->at))
		return bad(p, "a type is missing");
	t->kind = IDL_NAMED;
	t->name = take_name(p, false);
	return t->name ? 0 : -EINVAL;
}

static int fill_type(struct parser *p, struct idl_type *t)
{
	if (take(p, "("))
		return take_fields(p, t);
	if (take(p, "?"))
		t->kind = IDL_MAYBE;
	else if (take(p, "[]"))
		t->kind = IDL_ARRAY;
	else if (take(p, "[string]"))
		t->kind = IDL_MAP;
	else
		return take_word_type(p, t);
	t->element = take_type(p);
	if (!t->element)
		return -EINVAL;
	if (t->kind == IDL_MAYBE && t->element->kind == IDL_MAYBE)
		return bad(p, "?? is not a type");
	return 0;
}

static const struct idl_type *take_type(struct parser *p)
{
	struct idl_type *t;
	int r;

	if (p->depth >= IDL_DEPTH_MAX) {
		bad(p, "types are nested too deep");
		return NULL;
	}
	t = arena_alloc(p, sizeof(*t));
	if (!t)
		return NULL;
	p->depth++;
	r = fill_type(p, t);
	p->depth--;
	return r < 0 ? NULL : t;
}

static const struct idl_type *take_struct(struct parser *p, bool enum_too)
{
	const struct idl_type *t;

	skip(p);
	if (peek(p) != '(') {
		bad(p, "an opening parenthesis is missing");
		return NULL;
	}
	t = take_type(p);
	if (t && t->kind != IDL_STRUCT && !enum_too) {
		bad(p, "parameters have types");
		return NULL;
	}
	return t;
}

static int take_member(struct parser *p)
{
	struct idl_member m = { 0 }, *bigger;

	if (take(p, "type"))
		m.kind = IDL_TYPE;
	else if (take(p, "method"))
		m.kind = IDL_METHOD;
	else if (take(p, "error"))
		m.kind = IDL_ERROR;
	else
		return bad(p, "type, method or error is missing");
	if (is_word(peek(p)))
		return bad(p, "type, method or error is missing");
	skip(p);
	m.name = take_name(p, false);
	if (!m.name)
		return -EINVAL;
	for (size_t i = 0; i < p->idl->count; i++)
		if (STREQ(p->idl->members[i].name, m.name))
			return bad(p, "%s stands twice", m.name);
	m.type = take_struct(p, m.kind == IDL_TYPE);
	if (!m.type)
		return -EINVAL;
	if (m.kind == IDL_METHOD) {
		skip(p);
		if (!take(p, "->"))
			return bad(p, "-> is missing");
		m.out = take_struct(p, false);
		if (!m.out)
			return -EINVAL;
	}
	bigger = reallocarray(p->idl->members, p->idl->count + 1, sizeof(m));
	if (!bigger)
		return err_code(p->e, -ENOMEM, "parse an interface");
	p->idl->members = bigger;
	p->idl->members[p->idl->count++] = m;
	return end_of_line(p);
}

/* Named types may stand after their use. The tree is ours until idl_parse() returns, so the
 * const of its links is cast away here and nowhere else. */
static int resolve(struct parser *p, const struct idl_type *ct)
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

static int parse(struct parser *p)
{
	int r;

	skip(p);
	if (!take(p, "interface") || is_word(peek(p)))
		return bad(p, "interface is missing");
	skip(p);
	p->idl->name = take_interface_name(p);
	if (!p->idl->name)
		return -EINVAL;
	r = end_of_line(p);
	for (skip(p); r == 0 && p->at < p->end; skip(p))
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
	struct parser p = { .idl = i, .text = text, .at = text, .end = text + len, .e = e };
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
