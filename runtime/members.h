/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef RUNTIME_MEMBERS_H
#define RUNTIME_MEMBERS_H

#include "base/err.h"

#include <jansson.h>
#include <stddef.h>

/*
 * A structure as a JSON object: one table of members, each of a kind that knows both directions. Every member is
 * written, and demanded unless its row says that zero is what its absence means, so that nothing is left at zero by
 * oversight.
 *
 * Who writes and who reads may be of different versions while a package is upgraded. A member that is new must
 * therefore be MEMBER_OPTIONAL, with the old behaviour at zero; and MEMBER_IGNORABLE when a reader that has never
 * heard of it may go on all the same. The names of those travel along, in `may_ignore`: whatever else is unknown to
 * the reader is refused, for it may be a bound.
 */
struct member;

struct member_kind {
	int (*parse)(const struct member *m, json_t *j, void *at, struct err *e);
	json_t *(*format)(const struct member *m, const void *at);
};

struct member {
	const char *name;
	const struct member_kind *kind;
	size_t offset;
	size_t size;                               /* text: the array; object: members */
	int (*check)(const char *s, struct err *e);/* text and each string of a list; NULL: any */
	const struct member *members;              /* object */
	unsigned flags;
};

enum { MEMBER_OPTIONAL = 1, MEMBER_IGNORABLE = 2 };

#define MEMBER_LIST_MAX 4096 /* entries of one list */
#define MEMBER_STRINGS_MAX (256 * 1024) /* of one list of strings: a command may have as many arguments (execve(2)) */

extern const struct member_kind member_text;
extern const struct member_kind member_flag;
extern const struct member_kind member_u32;
extern const struct member_kind member_wide;
extern const struct member_kind member_sig;
extern const struct member_kind member_list;
extern const struct member_kind member_object;

/* Into a zeroed structure, which the caller lets go of after an error, too. */
int members_parse(const struct member *m, size_t count, json_t *j, void *base, struct err *e);
/* NULL when out of memory. */
json_t *members_format(const struct member *m, size_t count, const void *base);

/* For kinds elsewhere: the error "NAME: not WHAT"; s at the end of *list, which is dropped and made NULL where there is
 * no memory. */
int member_refuse(const struct member *m, const char *what, struct err *e);
void member_append(json_t **list, json_t *s);

#endif
