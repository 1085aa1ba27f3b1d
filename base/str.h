/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef BASE_STR_H
#define BASE_STR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A growing NULL-terminated list of strings that it owns. Zero-initialise it. */
struct strv {
	char **item;
	size_t count, room; /* room: places for pointers that are allocated */
};

/* Frees the strings and the list, which is empty afterwards. */
void strv_done(struct strv *v);
/* Copies s to the end; -ENOMEM. */
int strv_add(struct strv *v, const char *s);
bool strv_has(const struct strv *v, const char *s);
/* Splits at runs of any of `seps`; no quoting. */
int strv_split(struct strv *v, const char *s, const char *seps);

/* Splits a command line into words at blanks; '…', "…" and \\ quote as in a shell, and nothing else
 * is special. -EINVAL: a quote without its end. */
int strv_split_words(struct strv *v, const char *s);

#define cleanup_strv __attribute__((cleanup(strv_done)))

/* A growing byte buffer, NUL-terminated after each append. Zero-initialise it. */
struct buf {
	char *data;
	size_t len, room;
};

void buf_done(struct buf *b);
int buf_add(struct buf *b, const void *data, size_t len);
__attribute__((format(printf, 2, 3))) int buf_addf(struct buf *b, const char *fmt, ...);

#define cleanup_buf __attribute__((cleanup(buf_done)))

/* What a noun gets behind a number: "" or "s". */
static inline const char *str_s(uint64_t n)
{
	return n == 1 ? "" : "s";
}

/* True when s holds only printable text without control characters, as valid UTF-8. */
bool str_is_printable(const char *s);

#endif
