/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "checkpoint/image/image.h"

#include "base/fd.h"
#include "base/macro.h"
#include "checkpoint/image/internal.h"

#include <endian.h>
#include <errno.h>
#include <inttypes.h>
#include <lz4.h>
#include <protobuf-c/protobuf-c.h>
#include <xxhash.h>
#include <zstd.h>

/* Unpacking takes more memory than the payload had (an empty submessage is two bytes there). */
#define UNPACK_MAX MIB(64)

#define AHEAD KIB(256)

struct ckpt_reader {
	int fd;
	uint8_t *ahead; /* what has been read already, from `at` to `have`; NULL: never more than is asked for */
	size_t at, have;
	bool ended;
	XXH3_state_t *hash;
	uint64_t records;
	struct ckpt_decoder *own;
};

struct ckpt_decoder {
	struct ckpt_reader *r;
	ZSTD_DCtx *zstd;
	struct wire_header header;
	uint8_t *payload;
	size_t room;
	uint8_t *pages;
	void *message;
	size_t budget;
};

uint64_t wire_checksum(const struct wire_header *h, const void *payload, size_t len)
{
	/* XXH3 of the payload, seeded with that of the header: no copy of either. */
	return XXH3_64bits_withSeed(payload, len,
				    XXH3_64bits(h, offsetof(struct wire_header, checksum)));
}

static int broken(struct err *e, const char *what)
{
	return err_set(e, ERR_FAIL, "the image is damaged: %s", what);
}

/* Of what was read ahead. */
static size_t take(struct ckpt_reader *r, uint8_t *to, size_t len)
{
	size_t some = r->have - r->at < len ? r->have - r->at : len;

	if (some)
		memcpy(to, r->ahead + r->at, some);
	r->at += some;
	return some;
}

/* Large parts go past the buffer. */
static ssize_t read_on(struct ckpt_reader *r, uint8_t *to, size_t len)
{
	size_t done = take(r, to, len);
	ssize_t n;

	while (r->ahead && done < len && len - done < AHEAD) {
		n = read(r->fd, r->ahead, AHEAD);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? -errno : (ssize_t)done;
		r->at = 0;
		r->have = (size_t)n;
		done += take(r, to + done, len - done);
	}
	n = fd_read_full(r->fd, to + done, len - done);
	return n < 0 ? n : (ssize_t)done + n;
}

/* 0, or broken at the end of the stream. */
static int get(struct ckpt_reader *r, void *buf, size_t len, struct err *e)
{
	ssize_t n = len ? read_on(r, buf, len) : 0;

	if (n < 0)
		return err_code(e, (int)n, "read the image");
	return (size_t)n == len ? 0 : broken(e, "it ends too early");
}

int ckpt_reader_ahead(struct ckpt_reader *r, struct err *e)
{
	r->ahead = malloc(AHEAD);
	return r->ahead ? 0 : err_code(e, -ENOMEM, "read the image");
}

struct ckpt_decoder *ckpt_decoder_new(struct ckpt_reader *r, struct err *e)
{
	struct ckpt_decoder *d = calloc(1, sizeof(*d));

	if (d) {
		d->r = r;
		d->zstd = ZSTD_createDCtx();
		d->pages = malloc((size_t)CKPT_PAGES_MAX * CKPT_PAGE);
	}
	if (!d || !d->zstd || !d->pages) {
		ckpt_decoder_free(d);
		err_code(e, -ENOMEM, "read the image");
		return NULL;
	}
	return d;
}

void ckpt_decoder_free(struct ckpt_decoder *d)
{
	if (!d)
		return;
	ckpt_message_free(d->message);
	ZSTD_freeDCtx(d->zstd);
	free(d->payload);
	free(d->pages);
	free(d);
}

struct ckpt_reader *ckpt_reader_new(int fd, struct err *e)
{
	static const struct wire_preamble want = { .magic = WIRE_MAGIC };
	struct ckpt_reader *r = calloc(1, sizeof(*r));
	struct wire_preamble p;
	int n = 0;

	if (r) {
		r->fd = fd;
		r->hash = XXH3_createState();
		r->own = ckpt_decoder_new(r, e);
	}
	if (!r || !r->hash || !r->own)
		n = err_code(e, -ENOMEM, "read the image");
	if (n == 0)
		n = get(r, &p, sizeof(p), e);
	if (n == 0 && memcmp(p.magic, want.magic, sizeof(p.magic)) != 0)
		n = err_set(e, ERR_FAIL, "this is not an image of a VPS");
	if (n == 0 && (le32toh(p.format) != CKPT_IMAGE_FORMAT || p.zero))
		n = err_set(e, ERR_UNSUPPORTED, "an image of format %u; this program reads format %d",
			    le32toh(p.format), CKPT_IMAGE_FORMAT);
	if (n < 0) {
		ckpt_reader_free(r);
		return NULL;
	}
	XXH3_128bits_reset(r->hash);
	XXH3_128bits_update(r->hash, &p, sizeof(p));
	return r;
}

void ckpt_reader_free(struct ckpt_reader *r)
{
	if (!r)
		return;
	ckpt_decoder_free(r->own);
	XXH3_freeState(r->hash);
	free(r->ahead);
	free(r);
}

static int make_room(struct ckpt_decoder *d, size_t len, struct err *e)
{
	uint8_t *p = len > d->room ? realloc(d->payload, len) : d->payload;

	if (!p && len > d->room)
		return err_code(e, -ENOMEM, "read the image");
	d->payload = p;
	d->room = len > d->room ? len : d->room;
	return 0;
}

static void *bounded_alloc(void *data, size_t size)
{
	struct ckpt_decoder *d = data;

	if (size > d->budget)
		return NULL;
	d->budget -= size;
	return malloc(size ? size : 1);
}

static void plain_free(void *data, void *p)
{
	(void)data;
	free(p);
}

void ckpt_message_free(void *message)
{
	if (message)
		protobuf_c_message_free_unpacked(message, NULL);
}

void *ckpt_record_take(struct ckpt_record *rec)
{
	if (rec->slot)
		*rec->slot = NULL;
	return TAKE_PTR(rec->message);
}

static int check_end(struct ckpt_decoder *d, size_t len, struct err *e)
{
	const struct wire_trailer *t = (const void *)d->payload;
	XXH128_canonical_t digest;

	if (len != sizeof(*t))
		return broken(e, "its trailer has another length");
	if (le64toh(d->header.checksum) != wire_checksum(&d->header, d->payload, len))
		return broken(e, "a checksum is wrong");
	XXH128_canonicalFromHash(&digest, XXH3_128bits_digest(d->r->hash));
	if (memcmp(digest.digest, t->digest, sizeof(t->digest)) != 0 ||
	    le64toh(t->records) != d->r->records)
		return broken(e, "its digest is another");
	d->r->ended = true;
	return 0;
}

static int unpack(struct ckpt_decoder *d, struct ckpt_record *rec, struct err *e)
{
	const ProtobufCMessageDescriptor *desc = ckpt_record_descriptor(rec->type);
	ProtobufCAllocator bounded = { bounded_alloc, plain_free, d };

	if (!desc)
		return 0;
	d->budget = UNPACK_MAX;
	d->message = protobuf_c_message_unpack(desc, &bounded, rec->length, rec->data);
	if (!d->message)
		return broken(e, ckpt_record_name(rec->type));
	rec->message = d->message;
	rec->slot = &d->message;
	return 0;
}

static void describe(const struct ckpt_decoder *d, size_t len, struct ckpt_record *ret)
{
	const struct wire_header *h = &d->header;

	*ret = (struct ckpt_record){
		.type = le32toh(h->type), .version = le16toh(h->version), .flags = le16toh(h->flags),
		.id = le64toh(h->id), .data = d->payload, .length = len,
	};
}

int ckpt_read_next(struct ckpt_decoder *d, struct ckpt_record *ret, struct err *e)
{
	struct ckpt_reader *r = d->r;
	struct wire_header *h = &d->header;
	uint64_t len;
	int n;

	ckpt_message_free(TAKE_PTR(d->message));
	if (r->ended)
		return 0;
	n = get(r, h, sizeof(*h), e);
	if (n < 0)
		return n;
	len = le64toh(h->length);
	if (len > CKPT_PAYLOAD_MAX || h->zero || r->records == CKPT_RECORDS_MAX)
		return broken(e, "a record is too long");
	n = make_room(d, len, e);
	if (n == 0)
		n = get(r, d->payload, len, e);
	if (n < 0)
		return n;
	if (le32toh(h->type) == CKPT_REC_END)
		return check_end(d, len, e);
	XXH3_128bits_update(r->hash, h, sizeof(*h)); /* which has the checksum of the payload */
	r->records++;
	describe(d, len, ret);
	return 1;
}

int ckpt_decode(struct ckpt_decoder *d, struct ckpt_record *rec, struct err *e)
{
	if (le64toh(d->header.checksum) != wire_checksum(&d->header, d->payload, rec->length))
		return broken(e, "a checksum is wrong");
	if (ckpt_record_name(rec->type) && rec->version == 1)
		return unpack(d, rec, e);
	if (!(rec->flags & CKPT_REC_CRITICAL))
		return 1;
	err_set(e, ERR_UNSUPPORTED, "the image has a record of type %u version %u", rec->type,
		rec->version);
	return err_hint(e, "it was made by a newer vps");
}

int ckpt_read(struct ckpt_reader *r, struct ckpt_record *ret, struct err *e)
{
	int n, known;

	do {
		n = ckpt_read_next(r->own, ret, e);
		known = n > 0 ? ckpt_decode(r->own, ret, e) : 0;
	} while (n > 0 && known > 0);
	return known < 0 ? known : n;
}

int ckpt_find(struct ckpt_decoder *d, uint32_t type, struct ckpt_record *ret, struct err *e)
{
	struct wire_header *h = &d->header;
	off_t at = lseek(d->r->fd, 0, SEEK_CUR);
	uint64_t len = 0;

	do {
		at += (off_t)len;
		if (at < 0 || pread(d->r->fd, h, sizeof(*h), at) != sizeof(*h))
			return 0;
		len = le64toh(h->length);
		if (len > CKPT_PAYLOAD_MAX || h->zero)
			return broken(e, "a record is too long");
		at += (off_t)sizeof(*h);
	} while (le32toh(h->type) != type);
	if (make_room(d, len, e) < 0)
		return -ENOMEM;
	if (pread(d->r->fd, d->payload, len, at) != (ssize_t)len)
		return broken(e, "it ends too early");
	describe(d, len, ret);
	return ckpt_decode(d, ret, e) < 0 ? -EBADMSG : 1;
}

int ckpt_read_pages(struct ckpt_reader *r, const struct ckpt_record *rec, struct ckpt_pages *ret,
		    struct err *e)
{
	return ckpt_decode_pages(r->own, rec, ret, e);
}

int ckpt_decode_pages(struct ckpt_decoder *d, const struct ckpt_record *rec, struct ckpt_pages *ret,
		      struct err *e)
{
	const struct wire_pages *p = (const void *)rec->data;
	size_t raw, len = rec->length - sizeof(*p), got = 0;

	if (rec->type != CKPT_REC_PAGES || rec->length < sizeof(*p))
		return broken(e, "a record of pages is too short");
	*ret = (struct ckpt_pages){ le64toh(p->mm), le64toh(p->first), le32toh(p->count),
				    (enum ckpt_pages_encoding)le32toh(p->encoding), 0, 0, NULL };
	if (ret->count == 0 || (ret->encoding != CKPT_PAGES_ZERO && ret->encoding != CKPT_PAGES_REF &&
				ret->count > CKPT_PAGES_MAX) ||
	    ret->first >= UINT64_MAX / CKPT_PAGE - ret->count)
		return broken(e, "a record of pages has a wrong count");
	raw = (size_t)ret->count * CKPT_PAGE;
	switch (ret->encoding) {
	case CKPT_PAGES_ZERO:
		return len == 0 ? 0 : broken(e, "pages of zeros have a content");
	case CKPT_PAGES_REF:
		if (len != 16)
			return broken(e, "a reference to pages has another length");
		memcpy(&ret->ref_mm, p + 1, 8);
		memcpy(&ret->ref_first, (const uint8_t *)(p + 1) + 8, 8);
		ret->ref_mm = le64toh(ret->ref_mm);
		ret->ref_first = le64toh(ret->ref_first);
		return 0;
	case CKPT_PAGES_RAW:
		ret->data = (const uint8_t *)(p + 1);
		return len == raw ? 0 : broken(e, "pages have another length");
	case CKPT_PAGES_LZ4: {
		int n = LZ4_decompress_safe((const char *)(p + 1), (char *)d->pages, (int)len, (int)raw);

		got = n > 0 ? (size_t)n : 0;
		break;
	}
	case CKPT_PAGES_ZSTD:
		got = ZSTD_decompressDCtx(d->zstd, d->pages, raw, p + 1, len);
		break;
	default:
		return broken(e, "pages have an unknown encoding");
	}
	ret->data = d->pages;
	return got == raw ? 0 : broken(e, "pages do not decompress");
}
