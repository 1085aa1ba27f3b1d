/* SPDX-License-Identifier: GPL-2.0-or-later */

/* The words of an interface's text. */
#include "supervisor/protocol/idl_internal.h"

#include "base/macro.h"

#include <ctype.h>
#include <stdarg.h>
#include <stdint.h>

/* Everything of a tree lies in blocks that are freed together. */
struct block {
	struct block *next;
	char data[];
};

void *idl_alloc(struct idl_parser *p, size_t size)
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
int idl_bad(struct idl_parser *p, const char *fmt, ...)
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

int idl_peek(const struct idl_parser *p)
{
	return p->at < p->end ? (unsigned char)*p->at : -1;
}

static void skip_comment(struct idl_parser *p)
{
	while (idl_peek(p) >= 0 && idl_peek(p) != '\n')
		p->at++;
}

/* Blanks, line ends and comments. */
void idl_skip(struct idl_parser *p)
{
	for (;;) {
		int c = idl_peek(p);

		if (c == '#')
			skip_comment(p);
		else if (c == ' ' || c == '\t' || c == '\n' || c == '\r')
			p->at++;
		else
			return;
	}
}

bool idl_take(struct idl_parser *p, const char *s)
{
	size_t len = strlen(s);

	if ((size_t)(p->end - p->at) < len || memcmp(p->at, s, len) != 0)
		return false;
	p->at += len;
	return true;
}

/* A member ends with its line; only a comment may follow. */
int idl_end_of_line(struct idl_parser *p)
{
	while (idl_peek(p) == ' ' || idl_peek(p) == '\t' || idl_peek(p) == '\r')
		p->at++;
	if (idl_peek(p) == '#')
		skip_comment(p);
	if (idl_peek(p) >= 0 && idl_peek(p) != '\n')
		return idl_bad(p, "a line end is missing");
	return 0;
}

bool idl_is_word(int c)
{
	return c >= 0 && c < 128 && (isalnum(c) || c == '_');
}

/* A word of letters, digits and single underscores between them; empty when there is none. */
size_t idl_word_len(const struct idl_parser *p)
{
	size_t n = 0, room = (size_t)(p->end - p->at);

	while (n < room && idl_is_word((unsigned char)p->at[n]))
		n++;
	return n;
}

static const char *take_text(struct idl_parser *p, size_t len)
{
	char *s = idl_alloc(p, len + 1);

	if (!s)
		return NULL;
	memcpy(s, p->at, len);
	p->at += len;
	return s;
}

/* `[A-Za-z](_?[A-Za-z0-9])*` for fields, `[A-Z][A-Za-z0-9]*` for types, methods and errors. */
const char *idl_take_name(struct idl_parser *p, bool field)
{
	size_t len = idl_word_len(p);
	bool good = len > 0 && len < 128 && (field ? isalpha(*p->at) : isupper(*p->at)) &&
		    p->at[len - 1] != '_';

	for (size_t i = 1; good && i < len; i++)
		if (p->at[i] == '_' && (!field || p->at[i - 1] == '_'))
			good = false;
	if (!good) {
		idl_bad(p, "a %s name is missing", field ? "field" : "member");
		return NULL;
	}
	return take_text(p, len);
}

const char *idl_take_interface_name(struct idl_parser *p)
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
		if (c == '-' && before != '.' && (after == '-' || (idl_is_word(after) && after != '_')))
			continue;
		if (c != '.' || before == '.' || !idl_is_word(after) || after == '_')
			break;
		dots++;
	}
	if (!n || !dots) {
		idl_bad(p, "an interface name with a dot is missing");
		return NULL;
	}
	return take_text(p, n);
}
