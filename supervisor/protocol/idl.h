/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef SUPERVISOR_PROTOCOL_IDL_H
#define SUPERVISOR_PROTOCOL_IDL_H

#include "base/err.h"

#include <jansson.h>
#include <stddef.h>

/*
 * A Varlink interface (https://varlink.org/Interface-Definition), parsed into a read-only tree, and
 * the check of JSON values against its types. Both ends of the control socket use it: what the
 * interface file does not say is refused before any code of ours sees it.
 */

#define IDL_TEXT_MAX (256 * 1024) /* bytes of an interface file */
#define IDL_DEPTH_MAX 32          /* nesting of types, and of the values that are checked */

enum idl_kind {
	IDL_BOOL,
	IDL_INT,
	IDL_FLOAT,
	IDL_STRING,
	IDL_OBJECT, /* any JSON value */
	IDL_ENUM,   /* fields: the values' names */
	IDL_STRUCT, /* fields */
	IDL_MAYBE,  /* ?element: null, or not there at all */
	IDL_ARRAY,  /* []element */
	IDL_MAP,    /* [string]element */
	IDL_NAMED,  /* element: the struct or enum of that name in the same interface */
};

struct idl_type {
	enum idl_kind kind;
	const struct idl_type *element;
	const char *name; /* IDL_NAMED */
	const struct idl_field *fields;
	size_t count;
};

struct idl_field {
	const char *name;
	const struct idl_type *type; /* NULL in an enum */
};

enum idl_member_kind { IDL_TYPE, IDL_METHOD, IDL_ERROR };

struct idl_member {
	enum idl_member_kind kind;
	const char *name;
	const struct idl_type *type; /* a type's, an error's parameters, a method's input */
	const struct idl_type *out;  /* a method's output, else NULL */
};

struct idl {
	const char *name; /* "io.vps.Manager" */
	struct idl_member *members;
	size_t count;
	void *arena;
};

/*
 * Parses `len` bytes of text; all names are unique and resolved afterwards. ERR_USAGE with
 * "line N: …" when it is not an interface. The caller frees *ret.
 */
int idl_parse(const char *text, size_t len, struct idl **ret, struct err *e);
void idl_free(struct idl *i);

/* By name without the interface's ("Start"). NULL when there is none. */
const struct idl_member *idl_method(const struct idl *i, const char *name);
const struct idl_member *idl_error(const struct idl *i, const char *name);
const struct idl_member *idl_type(const struct idl *i, const char *name);

/*
 * 0 when the value is of the type; a NULL value stands for {}. Otherwise ERR_USAGE,
 * "settings[2].key: not a string", and the offending parameter ("settings[2].key", "" for the
 * value itself) in path. Members that the type does not have are refused; null and an absent
 * member are the same where the type is ?T.
 */
int idl_check(const struct idl_type *t, json_t *value, char *path, size_t size,
	      struct err *e);

static inline void idl_freep(struct idl **i)
{
	idl_free(*i);
}

#define cleanup_idl __attribute__((cleanup(idl_freep)))

#endif
