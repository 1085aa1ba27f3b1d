/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Where things are in the kernel's memory: its own description of its types (BTF), which it has in a file. */
#include "checkpoint/kernel_internal.h"

#include "base/fd.h"
#include "base/macro.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/btf.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#define TYPES "/sys/kernel/btf/vmlinux"
#define TYPES_MAX MIB(64)
#define DEPTH 8 /* of structures without a name in others */

/* How long what follows a type of this kind is. */
static size_t tail_of(uint32_t info)
{
	size_t n = BTF_INFO_VLEN(info);

	switch (BTF_INFO_KIND(info)) {
	case BTF_KIND_INT:
	case BTF_KIND_VAR:
	case BTF_KIND_DECL_TAG: return 4;
	case BTF_KIND_ARRAY: return sizeof(struct btf_array);
	case BTF_KIND_ENUM: return n * sizeof(struct btf_enum);
	case BTF_KIND_FUNC_PROTO: return n * sizeof(struct btf_param);
	case BTF_KIND_STRUCT:
	case BTF_KIND_UNION:
	case BTF_KIND_DATASEC:
	case BTF_KIND_ENUM64: return n * 12;
	default: return 0;
	}
}

static const struct btf_type *type_at(const struct ckpt_types *d, uint32_t number)
{
	return (const void *)(d->text + d->type[number]);
}

/* Mapped, which Linux 6.16 allows: it is 5 MB. */
static int open_types(struct ckpt_types *d)
{
	cleanup_close int fd = open(TYPES, O_RDONLY | O_CLOEXEC);
	struct stat st;
	void *map;

	if (fd < 0 || fstat(fd, &st) < 0)
		return -errno;
	map = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE | MAP_POPULATE, fd, 0);
	if (map == MAP_FAILED)
		return fd_read_file_at(AT_FDCWD, TYPES, TYPES_MAX, &d->text, &d->size);
	d->text = map;
	d->size = (size_t)st.st_size;
	d->mapped = true;
	return 0;
}

/* The last name ends in a NUL, as all do. */
static const char *name_at(const struct ckpt_types *d, uint32_t off)
{
	const struct btf_header *h = (const void *)d->text;

	return off < h->str_len ? d->text + h->hdr_len + h->str_off + off : "";
}

static uint32_t bucket_of(const char *name)
{
	uint32_t hash = 5381;

	while (*name)
		hash = hash * 33 + (uint8_t)*name++;
	return hash % CKPT_TYPES_BUCKETS;
}

static void add_struct(struct ckpt_types *d, uint32_t number)
{
	uint32_t *bucket = &d->bucket[bucket_of(name_at(d, type_at(d, number)->name_off))];

	d->next[number] = *bucket;
	*bucket = number;
}

/* Where they begin and end. */
static int find_types(const struct ckpt_types *d, const uint8_t **ret_at, const uint8_t **ret_end)
{
	const struct btf_header *h = (const void *)d->text;

	if (d->size < sizeof(*h) || h->magic != BTF_MAGIC || h->hdr_len > d->size ||
	    h->type_off > d->size - h->hdr_len || h->type_len > d->size - h->hdr_len - h->type_off ||
	    h->str_off > d->size - h->hdr_len || h->str_len > d->size - h->hdr_len - h->str_off || !h->str_len ||
	    d->text[h->hdr_len + h->str_off + h->str_len - 1])
		return -EPROTO;
	*ret_at = (const uint8_t *)d->text + h->hdr_len + h->type_off;
	*ret_end = *ret_at + h->type_len;
	return 0;
}

/* NULL when there is none any more, which is before the end when they are damaged. */
static const struct btf_type *next_type(const uint8_t **at, const uint8_t *end)
{
	const struct btf_type *t = (const void *)*at;
	size_t left = (size_t)(end - *at);

	if (left < sizeof(*t) || sizeof(*t) + tail_of(t->info) > left)
		return NULL;
	*at += sizeof(*t) + tail_of(t->info);
	return t;
}

static int index_types(struct ckpt_types *d)
{
	const struct btf_type *t;
	const uint8_t *at, *end;
	size_t room;
	int r = find_types(d, &at, &end);

	if (r < 0)
		return r;
	room = (size_t)(end - at) / sizeof(*t) + 1;
	d->type = calloc(room, sizeof(*d->type));
	d->next = calloc(room, sizeof(*d->next));
	if (!d->type || !d->next)
		return -ENOMEM;
	for (d->count = 1; (t = next_type(&at, end)); d->count++) {
		d->type[d->count] = (uint32_t)((const char *)t - d->text);
		if (BTF_INFO_KIND(t->info) == BTF_KIND_STRUCT)
			add_struct(d, d->count);
	}
	return (size_t)(end - at) < sizeof(*t) ? 0 : -EPROTO;
}

int ckpt_types_open(struct ckpt_types *d)
{
	int r = open_types(d);

	return r < 0 ? r : index_types(d);
}

void ckpt_types_done(struct ckpt_types *d)
{
	if (d->mapped)
		munmap(d->text, d->size);
	else
		free(d->text);
	free(d->type);
	free(d->next);
}

/* What follows the first of several names when it is this one; NULL when it is not. */
static const char *behind(const char *names, const char *first)
{
	size_t len = strlen(first);

	if (strncmp(names, first, len) != 0 || (names[len] && names[len] != '.'))
		return NULL;
	return names + len + (names[len] == '.');
}

static uint32_t bits_of(const struct ckpt_types *d, uint32_t type)
{
	for (unsigned depth = 0; depth < DEPTH && type && type < d->count; depth++) {
		const struct btf_type *t = type_at(d, type);

		switch (BTF_INFO_KIND(t->info)) {
		case BTF_KIND_INT:
		case BTF_KIND_ENUM:
		case BTF_KIND_ENUM64:
		case BTF_KIND_STRUCT:
		case BTF_KIND_UNION: return 8 * t->size;
		case BTF_KIND_PTR: return 8 * sizeof(uint64_t);
		case BTF_KIND_TYPEDEF:
		case BTF_KIND_CONST:
		case BTF_KIND_VOLATILE:
		case BTF_KIND_TYPE_TAG: type = t->type; break;
		default: return 0;
		}
	}
	return 0;
}

static bool find_member(const struct ckpt_types *d, uint32_t type, const char *name, unsigned depth,
			struct ckpt_bits *ret)
{
	const struct btf_type *t = type && type < d->count ? type_at(d, type) : NULL;
	const struct btf_member *m = t ? (const void *)(t + 1) : NULL;

	if (!t || depth == DEPTH ||
	    (BTF_INFO_KIND(t->info) != BTF_KIND_STRUCT && BTF_INFO_KIND(t->info) != BTF_KIND_UNION))
		return false;
	for (uint32_t i = 0; i < BTF_INFO_VLEN(t->info); i++) {
		bool few = BTF_INFO_KFLAG(t->info);
		uint32_t bits = few ? BTF_MEMBER_BIT_OFFSET(m[i].offset) : m[i].offset;
		struct ckpt_bits in = { 0, few ? BTF_MEMBER_BITFIELD_SIZE(m[i].offset) : 0 };
		const char *own = name_at(d, m[i].name_off), *rest = own[0] ? behind(name, own) : name;

		if (rest && (!rest[0] || find_member(d, m[i].type, rest, depth + 1, &in))) {
			*ret = (struct ckpt_bits){ bits + in.first, in.count ? in.count : bits_of(d, m[i].type) };
			return true;
		}
	}
	return false;
}

int ckpt_types_bits(const struct ckpt_types *d, const char *type, const char *member, struct ckpt_bits *ret,
		    struct err *e)
{
	for (uint32_t i = d->bucket[bucket_of(type)]; i; i = d->next[i])
		if (STREQ(name_at(d, type_at(d, i)->name_off), type) && find_member(d, i, member, 0, ret))
			return 0;
	return err_set(e, ERR_UNSUPPORTED, "the kernel has no %s in its %s", member, type);
}

/* By the places of the names: who asks for thousands of the same does so from one. */
static bool is_known(const struct ckpt_types *d, const char *type, const char *member, uint32_t *ret)
{
	for (size_t i = 0; i < d->known_count; i++)
		if (d->known[i].member == member && d->known[i].type == type) {
			*ret = d->known[i].offset;
			return true;
		}
	return false;
}

int ckpt_types_offset(struct ckpt_types *d, const char *type, const char *member, uint32_t *ret, struct err *e)
{
	struct ckpt_bits bits;
	int r;

	if (is_known(d, type, member, ret))
		return 0;
	r = ckpt_types_bits(d, type, member, &bits, e);
	if (r < 0)
		return r;
	*ret = bits.first / 8;
	if (d->known_count < CKPT_TYPES_KNOWN) {
		d->known[d->known_count].type = type;
		d->known[d->known_count].member = member;
		d->known[d->known_count++].offset = *ret;
	}
	return 0;
}

int ckpt_types_size(const struct ckpt_types *d, const char *type, uint32_t *ret, struct err *e)
{
	for (uint32_t i = d->bucket[bucket_of(type)]; i; i = d->next[i])
		if (STREQ(name_at(d, type_at(d, i)->name_off), type)) {
			*ret = type_at(d, i)->size;
			return 0;
		}
	return err_set(e, ERR_UNSUPPORTED, "the kernel has no %s", type);
}

/* Without an index of them, which would take longer. */
int ckpt_kernel_function(const char *name, uint32_t *ret, struct err *e)
{
	struct ckpt_types *d = calloc(1, sizeof(*d));
	const struct btf_type *t = NULL;
	const uint8_t *at, *end;
	uint32_t number = 0;
	int r;

	if (!d)
		return err_code(e, -ENOMEM, "read what the kernel knows");
	r = open_types(d);
	if (r == 0)
		r = find_types(d, &at, &end);
	do
		number++;
	while (r == 0 && (t = next_type(&at, end)) &&
	       (BTF_INFO_KIND(t->info) != BTF_KIND_FUNC || !STREQ(name_at(d, t->name_off), name)));
	*ret = number;
	ckpt_types_done(d);
	free(d);
	return !t ? err_set(e, ERR_UNSUPPORTED, "the kernel has no %s() that programs may call", name) : 0;
}
