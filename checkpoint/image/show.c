/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Any message as text or JSON, from its description: a kind that is added needs nothing here. */
#include "checkpoint/image/image.h"

#include "base/macro.h"

#include <inttypes.h>
#include <jansson.h>
#include <protobuf-c/protobuf-c.h>

struct show {
	FILE *out;
	bool json;
	bool first; /* of a list: no comma before it */
	struct {
		uint64_t count, bytes;
	} totals[CKPT_REC_COUNT];
	/* Pages of one address space that came one after the other. */
	uint64_t mm, pages, bytes, of[CKPT_PAGES_REF + 1];
};

static void show_message(struct show *s, const ProtobufCMessage *m);

/* Between quotation marks; what JSON does not allow as \u00xx. */
static void show_text(struct show *s, const char *text)
{
	json_t *valid = json_string(text);

	fputc('"', s->out);
	for (const unsigned char *c = (const unsigned char *)text; *c; c++)
		if (*c == '"' || *c == '\\' || *c < ' ' || *c == 127 || (*c > 127 && !valid))
			fprintf(s->out, s->json ? "\\u%04x" : "\\x%02x", *c);
		else
			fputc(*c, s->out);
	fputc('"', s->out);
	json_decref(valid);
}

static void show_bytes(struct show *s, const uint8_t *data, size_t len)
{
	fprintf(s->out, s->json ? "\"%zu bytes" : "<%zu bytes", len);
	if (len <= 16)
		for (size_t i = 0; i < len; i++)
			fprintf(s->out, " %02x", data[i]);
	fputc(s->json ? '"' : '>', s->out);
}

static void show_u64(struct show *s, uint64_t v)
{
	fprintf(s->out, v > 999999 && !s->json ? "0x%" PRIx64 : "%" PRIu64, v);
}

static size_t show_value(struct show *s, const ProtobufCFieldDescriptor *f, const uint8_t *at)
{
	switch (f->type) {
	case PROTOBUF_C_TYPE_INT32:
	case PROTOBUF_C_TYPE_SINT32:
		fprintf(s->out, "%" PRId32, *(const int32_t *)(const void *)at);
		return 4;
	case PROTOBUF_C_TYPE_UINT32:
		fprintf(s->out, "%" PRIu32, *(const uint32_t *)(const void *)at);
		return 4;
	case PROTOBUF_C_TYPE_INT64:
	case PROTOBUF_C_TYPE_SINT64:
		fprintf(s->out, "%" PRId64, *(const int64_t *)(const void *)at);
		return 8;
	case PROTOBUF_C_TYPE_UINT64:
		show_u64(s, *(const uint64_t *)(const void *)at);
		return 8;
	case PROTOBUF_C_TYPE_BOOL:
		fputs(*(const protobuf_c_boolean *)(const void *)at ? "true" : "false", s->out);
		return sizeof(protobuf_c_boolean);
	case PROTOBUF_C_TYPE_STRING:
		show_text(s, *(char *const *)(const void *)at ?: "");
		return sizeof(char *);
	case PROTOBUF_C_TYPE_BYTES: {
		const ProtobufCBinaryData *b = (const void *)at;

		show_bytes(s, b->data, b->len);
		return sizeof(*b);
	}
	case PROTOBUF_C_TYPE_MESSAGE:
		fputc('{', s->out);
		if (*(ProtobufCMessage *const *)(const void *)at)
			show_message(s, *(ProtobufCMessage *const *)(const void *)at);
		fputs(s->json ? "}" : " }", s->out);
		return sizeof(void *);
	default:
		fputs("\"?\"", s->out);
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

static void show_name(struct show *s, const char *name, bool *first)
{
	if (s->json)
		fprintf(s->out, "%s\"%s\":", *first ? "" : ",", name);
	else
		fprintf(s->out, " %s=", name);
	*first = false;
}

static void show_list(struct show *s, const ProtobufCFieldDescriptor *f, const uint8_t *item, size_t n)
{
	fputc('[', s->out);
	for (size_t k = 0; k < n; k++) {
		fputs(s->json ? (k ? "," : "") : " ", s->out);
		item += show_value(s, f, item);
	}
	fputs(s->json ? "]" : " ]", s->out);
}

static void show_message(struct show *s, const ProtobufCMessage *m)
{
	const ProtobufCMessageDescriptor *d = m->descriptor;
	bool first = true;

	for (unsigned i = 0; i < d->n_fields; i++) {
		const ProtobufCFieldDescriptor *f = &d->fields[i];
		const uint8_t *at = (const uint8_t *)m + f->offset;
		size_t n;

		if (f->label == PROTOBUF_C_LABEL_REPEATED) {
			memcpy(&n, (const uint8_t *)m + f->quantifier_offset, sizeof(n));
			if (!n)
				continue;
			show_name(s, f->name, &first);
			show_list(s, f, *(const uint8_t *const *)(const void *)at, n);
		} else if (!is_default(f, at)) {
			show_name(s, f->name, &first);
			show_value(s, f, at);
		}
	}
}

static void begin(struct show *s)
{
	if (s->json)
		fputs(s->first ? "\n" : ",\n", s->out);
	s->first = false;
}

static void flush_pages(struct show *s)
{
	static const char *const encodings[] = { "raw", "zero", "lz4", "zstd", "ref" };
	bool first = true;

	if (!s->pages)
		return;
	begin(s);
	fprintf(s->out, s->json ? "{\"type\":\"pages\",\"mm\":%" PRIu64 ",\"pages\":%" PRIu64
				  ",\"bytes\":%" PRIu64 ",\"encodings\":{"
				: "pages %" PRIu64 ": pages=%" PRIu64 " bytes=%" PRIu64,
		s->mm, s->pages, s->bytes);
	for (size_t i = 0; i < ARRAY_SIZE(encodings); i++)
		if (s->of[i]) {
			show_name(s, encodings[i], &first);
			fprintf(s->out, "%" PRIu64, s->of[i]);
		}
	fputs(s->json ? "}}" : "\n", s->out);
	s->pages = s->bytes = 0;
	memset(s->of, 0, sizeof(s->of));
}

static int add_pages(struct show *s, struct ckpt_reader *r, const struct ckpt_record *rec, struct err *e)
{
	struct ckpt_pages p;
	int n = ckpt_read_pages(r, rec, &p, e);

	if (n < 0)
		return n;
	if (p.mm != s->mm)
		flush_pages(s);
	s->mm = p.mm;
	s->pages += p.count;
	s->of[p.encoding] += p.count;
	s->bytes += rec->length;
	return 0;
}

static void show_record(struct show *s, const struct ckpt_record *rec)
{
	flush_pages(s);
	begin(s);
	if (s->json)
		fprintf(s->out, "{\"type\":\"%s\",\"id\":%" PRIu64 ",\"bytes\":%zu,\"fields\":{",
			ckpt_record_name(rec->type), rec->id, rec->length);
	else
		fprintf(s->out, "%s %" PRIu64 ":", ckpt_record_name(rec->type), rec->id);
	if (rec->message)
		show_message(s, rec->message);
	fputs(s->json ? "}}" : "\n", s->out);
}

static void show_totals(struct show *s)
{
	s->first = true;
	fputs(s->json ? "\n],\"totals\":[" : "\n", s->out);
	for (uint32_t i = 0; i < CKPT_REC_COUNT; i++) {
		if (!s->totals[i].count)
			continue;
		begin(s);
		fprintf(s->out, s->json ? "{\"type\":\"%s\",\"count\":%" PRIu64 ",\"bytes\":%" PRIu64 "}"
					: "%-14s %8" PRIu64 " records %14" PRIu64 " bytes\n",
			ckpt_record_name(i), s->totals[i].count, s->totals[i].bytes);
	}
	if (s->json)
		fputs("\n]}\n", s->out);
}

int ckpt_image_show(int fd, FILE *out, bool json, struct err *e)
{
	struct show s = { .out = out, .json = json, .first = true };
	struct ckpt_reader *r = ckpt_reader_new(fd, e);
	struct ckpt_record rec;
	int n;

	if (!r)
		return -EIO;
	if (json)
		fputs("{\"records\":[", out);
	while ((n = ckpt_read(r, &rec, e)) > 0) {
		if (rec.type < CKPT_REC_COUNT) {
			s.totals[rec.type].count++;
			s.totals[rec.type].bytes += rec.length;
		}
		if (rec.type != CKPT_REC_PAGES)
			show_record(&s, &rec);
		else if ((n = add_pages(&s, r, &rec, e)) < 0)
			break;
	}
	flush_pages(&s);
	if (n == 0)
		show_totals(&s);
	ckpt_reader_free(r);
	return n;
}
