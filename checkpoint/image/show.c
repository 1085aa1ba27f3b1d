/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Any message as text, from its description: a kind that is added needs nothing here. */
#include "checkpoint/image/image.h"

#include "base/macro.h"

#include <inttypes.h>
#include <protobuf-c/protobuf-c.h>

static void show_message(const ProtobufCMessage *m, FILE *out);

static void show_bytes(const uint8_t *data, size_t len, FILE *out)
{
	fprintf(out, "<%zu bytes", len);
	if (len <= 16)
		for (size_t i = 0; i < len; i++)
			fprintf(out, " %02x", data[i]);
	fputc('>', out);
}

static void show_string(const char *s, FILE *out)
{
	fputc('"', out);
	for (; s && *s; s++)
		if (*s == '"' || *s == '\\' || (unsigned char)*s < ' ' || *s == 127)
			fprintf(out, "\\x%02x", (unsigned char)*s);
		else
			fputc(*s, out);
	fputc('"', out);
}

static size_t show_value(const ProtobufCFieldDescriptor *f, const uint8_t *at, FILE *out)
{
	switch (f->type) {
	case PROTOBUF_C_TYPE_INT32:
	case PROTOBUF_C_TYPE_SINT32:
		fprintf(out, "%" PRId32, *(const int32_t *)(const void *)at);
		return 4;
	case PROTOBUF_C_TYPE_UINT32:
		fprintf(out, "%" PRIu32, *(const uint32_t *)(const void *)at);
		return 4;
	case PROTOBUF_C_TYPE_INT64:
		fprintf(out, "%" PRId64, *(const int64_t *)(const void *)at);
		return 8;
	case PROTOBUF_C_TYPE_UINT64: {
		uint64_t v = *(const uint64_t *)(const void *)at;

		fprintf(out, v > 999999 ? "0x%" PRIx64 : "%" PRIu64, v);
		return 8;
	}
	case PROTOBUF_C_TYPE_STRING:
		show_string(*(char *const *)(const void *)at, out);
		return sizeof(char *);
	case PROTOBUF_C_TYPE_BYTES: {
		const ProtobufCBinaryData *b = (const void *)at;

		show_bytes(b->data, b->len, out);
		return sizeof(*b);
	}
	case PROTOBUF_C_TYPE_MESSAGE:
		fputs("{", out);
		if (*(ProtobufCMessage *const *)(const void *)at)
			show_message(*(ProtobufCMessage *const *)(const void *)at, out);
		fputs(" }", out);
		return sizeof(void *);
	default:
		fputs("?", out);
		return sizeof(void *);
	}
}

static bool is_default(const ProtobufCFieldDescriptor *f, const uint8_t *at)
{
	uint64_t v = 0;

	switch (f->type) {
	case PROTOBUF_C_TYPE_STRING:
		return !**(char *const *)(const void *)at;
	case PROTOBUF_C_TYPE_BYTES:
		return ((const ProtobufCBinaryData *)(const void *)at)->len == 0;
	case PROTOBUF_C_TYPE_MESSAGE:
		return !*(void *const *)(const void *)at;
	default:
		memcpy(&v, at, f->type == PROTOBUF_C_TYPE_INT64 || f->type == PROTOBUF_C_TYPE_UINT64 ? 8 : 4);
		return v == 0;
	}
}

static void show_message(const ProtobufCMessage *m, FILE *out)
{
	const ProtobufCMessageDescriptor *d = m->descriptor;

	for (unsigned i = 0; i < d->n_fields; i++) {
		const ProtobufCFieldDescriptor *f = &d->fields[i];
		const uint8_t *at = (const uint8_t *)m + f->offset;

		if (f->label == PROTOBUF_C_LABEL_REPEATED) {
			size_t n;
			const uint8_t *item = *(const uint8_t *const *)(const void *)at;

			memcpy(&n, (const uint8_t *)m + f->quantifier_offset, sizeof(n));
			if (n)
				fprintf(out, " %s=[", f->name);
			for (size_t k = 0; k < n; k++) {
				fputc(' ', out);
				item += show_value(f, item, out);
			}
			if (n)
				fputs(" ]", out);
		} else if (!is_default(f, at)) {
			fprintf(out, " %s=", f->name);
			show_value(f, at, out);
		}
	}
}

int ckpt_image_show(int fd, FILE *out, struct err *e)
{
	static const char *const encodings[] = { "raw", "zero", "lz4", "zstd", "ref" };
	struct ckpt_reader *r = ckpt_reader_new(fd, e);
	struct ckpt_record rec;
	int n;

	if (!r)
		return -EIO;
	while ((n = ckpt_read(r, &rec, e)) > 0) {
		fprintf(out, "%s %" PRIu64 ":", ckpt_record_name(rec.type), rec.id);
		if (rec.message) {
			show_message(rec.message, out);
		} else if (rec.type == CKPT_REC_PAGES) {
			struct ckpt_pages p;

			n = ckpt_read_pages(r, &rec, &p, e);
			if (n < 0)
				break;
			fprintf(out, " mm=%" PRIu64 " at=0x%" PRIx64 " pages=%u %s bytes=%zu", p.mm,
				p.first * CKPT_PAGE, p.count, encodings[p.encoding], rec.length);
		}
		fputc('\n', out);
	}
	ckpt_reader_free(r);
	return n;
}
