/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef SUPERVISOR_PROTOCOL_IDL_INTERNAL_H
#define SUPERVISOR_PROTOCOL_IDL_INTERNAL_H

#include "supervisor/protocol/idl.h"

#include <stdbool.h>

/* Inside idl.c and idl_words.c. */

struct idl_parser {
	struct idl *idl;
	const char *text, *end, *at;
	int depth;
	struct err *e;
};

/* Zeros, which live as long as the tree; NULL with the error filled. */
void *idl_alloc(struct idl_parser *p, size_t size);
/* "line N: …" */
__attribute__((format(printf, 2, 3))) int idl_bad(struct idl_parser *p, const char *fmt, ...);
/* The next character; -1 at the end. */
int idl_peek(const struct idl_parser *p);
/* Blanks, line ends and comments. */
void idl_skip(struct idl_parser *p);
/* Steps over this text if it is what comes next. */
bool idl_take(struct idl_parser *p, const char *s);
/* A member ends with its line; only a comment may follow. */
int idl_end_of_line(struct idl_parser *p);
bool idl_is_word(int c);
/* Of the word that comes next; 0: there is none. */
size_t idl_word_len(const struct idl_parser *p);
/* NULL with the error filled. `field`: underscores may stand in it, and small letters begin it. */
const char *idl_take_name(struct idl_parser *p, bool field);
const char *idl_take_interface_name(struct idl_parser *p);

#endif
