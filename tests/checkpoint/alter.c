/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "tests/checkpoint/alter.h"

#include "checkpoint/image.pb-c.h"
#include "checkpoint/image/image.h"

#include <errno.h>
#include <protobuf-c/protobuf-c.h>
#include <stdlib.h>
#include <string.h>

#define HOUR_NS 3600000000000ull

struct alteration {
	const char *from, *to; /* of paths */
	const char *clock;     /* or NULL */
	int count;
};

static void *grown(const void *data, size_t len, size_t at, struct alteration *a, size_t *ret_len)
{
	size_t from = strlen(a->from), to = strlen(a->to);
	char *copy = malloc(len + to + 1);

	memcpy(copy, data, at);
	memcpy(copy + at, a->to, to);
	memcpy(copy + at + to, (const char *)data + at + from, len - at - from);
	*ret_len = len - from + to;
	copy[*ret_len] = '\0';
	a->count++;
	return copy;
}

static void alter_string(char **s, struct alteration *a)
{
	size_t from = strlen(a->from), len;
	char *was = *s;

	if (!was || strncmp(was, a->from, from) != 0 || (was[from] && was[from] != '/'))
		return;
	*s = grown(was, strlen(was), 0, a, &len);
	free(was);
}

static void alter_bytes(ProtobufCBinaryData *b, struct alteration *a)
{
	const uint8_t *at = b->len ? memmem(b->data, b->len, a->from, strlen(a->from)) : NULL;
	uint8_t *was = b->data;

	if (!at)
		return;
	b->data = grown(was, b->len, (size_t)(at - was), a, &b->len);
	free(was);
}

static void alter(ProtobufCMessage *m, struct alteration *a);

static void alter_field(const ProtobufCFieldDescriptor *f, void *member, struct alteration *a)
{
	switch (f->type) {
	case PROTOBUF_C_TYPE_STRING: alter_string(member, a); break;
	case PROTOBUF_C_TYPE_BYTES: alter_bytes(member, a); break;
	case PROTOBUF_C_TYPE_MESSAGE: alter(*(ProtobufCMessage **)member, a); break;
	default: break;
	}
}

static size_t size_of(ProtobufCType t)
{
	return t == PROTOBUF_C_TYPE_BYTES ? sizeof(ProtobufCBinaryData) : sizeof(void *);
}

static void alter(ProtobufCMessage *m, struct alteration *a)
{
	for (unsigned i = 0; m && i < m->descriptor->n_fields; i++) {
		const ProtobufCFieldDescriptor *f = &m->descriptor->fields[i];
		char *member = (char *)m + f->offset;

		if (f->type != PROTOBUF_C_TYPE_STRING && f->type != PROTOBUF_C_TYPE_BYTES &&
		    f->type != PROTOBUF_C_TYPE_MESSAGE)
			continue;
		if (f->label != PROTOBUF_C_LABEL_REPEATED)
			alter_field(f, member, a);
		else
			for (size_t n = 0; n < *(size_t *)((char *)m + f->quantifier_offset); n++)
				alter_field(f, *(char **)member + n * size_of(f->type), a);
	}
}

static int copy_pages(struct ckpt_reader *r, const struct ckpt_record *rec, struct ckpt_writer *w, struct err *e)
{
	static const uint8_t zeros[CKPT_PAGE];
	struct ckpt_pages p;
	int n = ckpt_read_pages(r, rec, &p, e);

	if (n == 0 && p.encoding == CKPT_PAGES_REF)
		return ckpt_write_pages_ref(w, p.mm, p.first, p.count, p.ref_mm, p.ref_first, e);
	if (n == 0 && p.data)
		return ckpt_write_pages(w, p.mm, p.first, p.data, p.count, e);
	for (uint32_t i = 0; n == 0 && i < p.count; i++)
		n = ckpt_write_pages(w, p.mm, p.first + i, zeros, 1, e);
	return n;
}

static void advance(Ckpt__Header *h, struct alteration *a)
{
	*(strcmp(a->clock, "monotonic") == 0 ? &h->monotonic_ns : &h->boottime_ns) += HOUR_NS;
	a->count++;
}

static int copy_record(struct ckpt_reader *r, struct ckpt_record *rec, struct ckpt_writer *w, struct alteration *a,
		       struct err *e)
{
	void *m;
	int n;

	if (rec->type == CKPT_REC_PAGES)
		return copy_pages(r, rec, w, e);
	m = ckpt_record_take(rec);
	if (!a->clock)
		alter(m, a);
	else if (rec->type == CKPT_REC_HEADER)
		advance(m, a);
	n = ckpt_write_message(w, (enum ckpt_record_type)rec->type, rec->id, m, e);
	protobuf_c_message_free_unpacked(m, NULL);
	return n;
}

static int copy_image(int in, int out, struct alteration *a, struct err *e)
{
	struct ckpt_reader *r = ckpt_reader_new(in, e);
	struct ckpt_writer *w = r ? ckpt_writer_new(out, CKPT_COMPRESS_LZ4, e) : NULL;
	struct ckpt_record rec;
	int n = w ? ckpt_read(r, &rec, e) : -EIO;

	while (n > 0) {
		n = copy_record(r, &rec, w, a, e);
		n = n < 0 ? n : ckpt_read(r, &rec, e);
	}
	if (n == 0)
		n = ckpt_write_end(w, false, e);
	ckpt_writer_free(w);
	ckpt_reader_free(r);
	return n < 0 ? n : a->count;
}

int alter_image(int in, int out, const char *from, const char *to, struct err *e)
{
	return copy_image(in, out, &(struct alteration){ .from = from, .to = to }, e);
}

int alter_clock(int in, int out, const char *clock, struct err *e)
{
	return copy_image(in, out, &(struct alteration){ .clock = clock }, e);
}
