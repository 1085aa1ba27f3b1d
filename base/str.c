/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "base/str.h"

#include "base/macro.h"

#include <errno.h>
#include <stdarg.h>
#include <stdint.h>

void strv_done(struct strv *v)
{
	for (size_t i = 0; i < v->count; i++)
		free(v->item[i]);
	free(v->item);
	*v = (struct strv){ 0 };
}

static int strv_add_take(struct strv *v, char *s)
{
	if (!s)
		return -ENOMEM;
	if (v->count + 2 > v->room) { /* twice as many: a command may have 100,000 arguments */
		size_t room = 2 * (v->count + 2);
		char **bigger = reallocarray(v->item, room, sizeof(*bigger));

		if (!bigger) {
			free(s);
			return -ENOMEM;
		}
		v->item = bigger;
		v->room = room;
	}
	v->item[v->count++] = s;
	v->item[v->count] = NULL;
	return 0;
}

int strv_add(struct strv *v, const char *s)
{
	return strv_add_take(v, strdup(s));
}

bool strv_has(const struct strv *v, const char *s)
{
	for (size_t i = 0; i < v->count; i++)
		if (STREQ(v->item[i], s))
			return true;
	return false;
}

int strv_split(struct strv *v, const char *s, const char *seps)
{
	for (s += strspn(s, seps); *s; s += strspn(s, seps)) {
		size_t len = strcspn(s, seps);
		int r = strv_add_take(v, strndup(s, len));

		if (r < 0)
			return r;
		s += len;
	}
	return 0;
}

/* One word from *s into `word`, which has room for all of it. Moves *s behind it. */
static int take_word(const char **s, char *word)
{
	char quote = '\0';
	size_t n = 0;

	for (; **s && (quote || (**s != ' ' && **s != '\t')); (*s)++) {
		if (**s == quote) {
			quote = '\0';
		} else if (!quote && (**s == '\'' || **s == '"')) {
			quote = **s;
		} else if (**s == '\\' && quote != '\'') {
			if (!*++*s)
				return -EINVAL;
			word[n++] = **s;
		} else {
			word[n++] = **s;
		}
	}
	word[n] = '\0';
	return quote ? -EINVAL : 0;
}

int strv_split_words(struct strv *v, const char *s)
{
	for (s += strspn(s, " \t"); *s; s += strspn(s, " \t")) {
		char *word = malloc(strlen(s) + 1);
		int r = word ? take_word(&s, word) : -ENOMEM;

		if (r < 0) {
			free(word);
			return r;
		}
		r = strv_add_take(v, word);
		if (r < 0)
			return r;
	}
	return 0;
}

void buf_done(struct buf *b)
{
	free(b->data);
	*b = (struct buf){ 0 };
}

static int buf_grow(struct buf *b, size_t len)
{
	size_t need, room = b->room ? b->room : 256;
	char *bigger;

	if (len > SIZE_MAX / 4 || b->len > SIZE_MAX / 4) /* so that nothing below wraps */
		return -ENOMEM;
	need = b->len + len + 1;
	if (need <= b->room)
		return 0;
	while (room < need)
		room *= 2;
	bigger = realloc(b->data, room);
	if (!bigger)
		return -ENOMEM;
	b->data = bigger;
	b->room = room;
	return 0;
}

int buf_add(struct buf *b, const void *data, size_t len)
{
	int r = buf_grow(b, len);

	if (r < 0)
		return r;
	if (len)
		memcpy(b->data + b->len, data, len);
	b->len += len;
	b->data[b->len] = '\0';
	return 0;
}

int buf_addf(struct buf *b, const char *fmt, ...)
{
	va_list ap;
	int n, r;

	va_start(ap, fmt);
	n = vsnprintf(NULL, 0, fmt, ap);
	va_end(ap);
	if (n < 0)
		return -EINVAL;
	r = buf_grow(b, (size_t)n);
	if (r < 0)
		return r;
	va_start(ap, fmt);
	vsnprintf(b->data + b->len, (size_t)n + 1, fmt, ap);
	va_end(ap);
	b->len += (size_t)n;
	return 0;
}

/* Length of the UTF-8 sequence at s, 0 when it is not one (overlong and surrogates included). */
static size_t utf8_len(const unsigned char *s)
{
	size_t n = s[0] < 0x80 ? 1 : s[0] >= 0xc2 && s[0] < 0xe0 ? 2 :
		   s[0] >= 0xe0 && s[0] < 0xf0 ? 3 : s[0] >= 0xf0 && s[0] < 0xf5 ? 4 : 0;

	for (size_t i = 1; i < n; i++)
		if ((s[i] & 0xc0) != 0x80)
			return 0;
	if ((s[0] == 0xe0 && s[1] < 0xa0) || (s[0] == 0xed && s[1] > 0x9f) ||
	    (s[0] == 0xf0 && s[1] < 0x90) || (s[0] == 0xf4 && s[1] > 0x8f))
		return 0;
	return n;
}

bool str_is_printable(const char *s)
{
	const unsigned char *p = (const unsigned char *)s;

	while (*p) {
		size_t n = utf8_len(p);

		if (n == 0 || (n == 1 && (*p < 0x20 || *p == 0x7f)) ||
		    (n == 2 && p[0] == 0xc2 && p[1] < 0xa0))
			return false;
		p += n;
	}
	return true;
}
