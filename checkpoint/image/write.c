/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "checkpoint/image/image.h"

#include "base/fd.h"
#include "base/macro.h"
#include "checkpoint/image/internal.h"

#include <endian.h>
#include <errno.h>
#include <lz4.h>
#include <protobuf-c/protobuf-c.h>
#include <pthread.h>
#include <unistd.h>
#include <xxhash.h>
#include <zstd.h>

#define BUFFER MIB(1)
#define DIRECT KIB(64) /* longer records are not copied into the buffer */

struct ckpt_writer {
	int fd;
	int failed; /* negative errno value, once something went wrong */
	enum ckpt_compression compression;
	pthread_mutex_t lock;
	XXH3_state_t *hash;
	uint64_t records, bytes;
	size_t used;
	struct ckpt_encoder *own;
	uint8_t buffer[BUFFER];
};

struct ckpt_encoder {
	struct ckpt_writer *w;
	ZSTD_CCtx *zstd;
	uint8_t *pack; /* a record, or room before pages that are copied */
};

static int flush(struct ckpt_writer *w)
{
	if (!w->failed && w->used)
		w->failed = fd_write_full(w->fd, w->buffer, w->used);
	w->used = 0;
	return w->failed;
}

static int put(struct ckpt_writer *w, const void *data, size_t len)
{
	w->bytes += len;
	if (w->used + len > BUFFER || len > DIRECT)
		flush(w);
	if (w->failed)
		return w->failed;
	if (len > DIRECT) {
		w->failed = fd_write_full(w->fd, data, len);
	} else {
		memcpy(w->buffer + w->used, data, len);
		w->used += len;
	}
	return w->failed;
}

/* `record` has room for the header, the payload behind it. */
static int put_record(struct ckpt_writer *w, enum ckpt_record_type type, uint64_t id, uint8_t *record,
		      size_t len, struct err *e)
{
	struct wire_header h = {
		.type = htole32(type), .version = htole16(1), .flags = htole16(CKPT_REC_CRITICAL),
		.id = htole64(id), .length = htole64(len),
	};
	int failed;

	if (len > CKPT_PAYLOAD_MAX)
		return err_set(e, ERR_FAIL, "a %s record of %zu bytes", ckpt_record_name(type), len);
	h.checksum = htole64(wire_checksum(&h, record + sizeof(h), len));
	memcpy(record, &h, sizeof(h));
	pthread_mutex_lock(&w->lock);
	XXH3_128bits_update(w->hash, &h, sizeof(h));
	failed = put(w, record, sizeof(h) + len);
	w->records++;
	pthread_mutex_unlock(&w->lock);
	return failed ? err_code(e, failed, "write the image") : 0;
}

struct ckpt_encoder *ckpt_encoder_new(struct ckpt_writer *w, struct err *e)
{
	struct ckpt_encoder *en = calloc(1, sizeof(*en));

	if (en) {
		en->w = w;
		en->pack = malloc(PACK_ROOM);
		en->zstd = ZSTD_createCCtx();
	}
	if (!en || !en->pack || !en->zstd) {
		ckpt_encoder_free(en);
		err_code(e, -ENOMEM, "write the image");
		return NULL;
	}
	return en;
}

void ckpt_encoder_free(struct ckpt_encoder *en)
{
	if (!en)
		return;
	ZSTD_freeCCtx(en->zstd);
	free(en->pack);
	free(en);
}

struct ckpt_writer *ckpt_writer_new(int fd, enum ckpt_compression compression, struct err *e)
{
	struct wire_preamble p = { .magic = WIRE_MAGIC, .format = htole32(CKPT_IMAGE_FORMAT) };
	struct ckpt_writer *w = calloc(1, sizeof(*w));

	if (w) {
		w->fd = fd;
		w->compression = compression;
		pthread_mutex_init(&w->lock, NULL);
		w->hash = XXH3_createState();
		w->own = ckpt_encoder_new(w, e);
	}
	if (!w || !w->hash || !w->own) {
		ckpt_writer_free(w);
		err_code(e, -ENOMEM, "write the image");
		return NULL;
	}
	XXH3_128bits_reset(w->hash);
	XXH3_128bits_update(w->hash, &p, sizeof(p));
	put(w, &p, sizeof(p));
	return w;
}

void ckpt_writer_free(struct ckpt_writer *w)
{
	if (!w)
		return;
	XXH3_freeState(w->hash);
	ckpt_encoder_free(w->own);
	pthread_mutex_destroy(&w->lock);
	free(w);
}

int ckpt_write_message(struct ckpt_writer *w, enum ckpt_record_type type, uint64_t id,
		       const void *message, struct err *e)
{
	size_t len = protobuf_c_message_get_packed_size(message);
	cleanup_free uint8_t *buf = malloc(sizeof(struct wire_header) + len);

	if (!buf)
		return err_code(e, -ENOMEM, "write the image");
	protobuf_c_message_pack(message, buf + sizeof(struct wire_header));
	return put_record(w, type, id, buf, len, e);
}

static bool is_zero(const uint8_t *page)
{
	const uint64_t *p = (const void *)page;

	if (p[0] || p[511])
		return false;
	return memcmp(page, page + 8, CKPT_PAGE - 8) == 0;
}

/* Compressed into en->pack; 0 when that does not make it smaller. */
static size_t compress(struct ckpt_encoder *en, const uint8_t *data, size_t raw)
{
	uint8_t *out = en->pack + CKPT_PAGES_ROOM;
	size_t room = PACK_ROOM - CKPT_PAGES_ROOM, len = 0;

	if (en->w->compression == CKPT_COMPRESS_LZ4) {
		int n = LZ4_compress_default((const char *)data, (char *)out, (int)raw, (int)room);

		len = n > 0 ? (size_t)n : 0;
	} else if (en->w->compression == CKPT_COMPRESS_ZSTD) {
		len = ZSTD_compressCCtx(en->zstd, out, room, data, raw, 1);
		if (ZSTD_isError(len))
			len = 0;
	}
	return len < raw ? len : 0;
}

/* The header goes right before the pages, where pages that are written already were. */
static int put_run(struct ckpt_encoder *en, uint64_t mm, uint64_t first, uint8_t *data, uint32_t count,
		   bool zero, struct err *e)
{
	static const uint32_t encodings[] = { CKPT_PAGES_RAW, CKPT_PAGES_LZ4, CKPT_PAGES_ZSTD };
	size_t raw = (size_t)count * CKPT_PAGE, packed = zero ? 0 : compress(en, data, raw);
	uint8_t *record = packed || zero ? en->pack : data - CKPT_PAGES_ROOM;
	struct wire_pages p = {
		htole64(mm), htole64(first), htole32(count),
		htole32(zero ? CKPT_PAGES_ZERO : packed ? encodings[en->w->compression] : CKPT_PAGES_RAW),
	};

	memcpy(record + sizeof(struct wire_header), &p, sizeof(p));
	return put_record(en->w, CKPT_REC_PAGES, 0, record, sizeof(p) + (zero ? 0 : packed ? packed : raw), e);
}

int ckpt_encode_pages(struct ckpt_encoder *en, uint64_t mm, uint64_t first, uint8_t *data,
		      size_t count, struct err *e)
{
	for (size_t i = 0, n; i < count; i += n) {
		bool zero = is_zero(data + i * CKPT_PAGE);
		int r;

		n = 1;
		while (i + n < count && n < CKPT_PAGES_MAX && is_zero(data + (i + n) * CKPT_PAGE) == zero)
			n++;
		r = put_run(en, mm, first + i, data + i * CKPT_PAGE, (uint32_t)n, zero, e);
		if (r < 0)
			return r;
	}
	return 0;
}

int ckpt_write_pages(struct ckpt_writer *w, uint64_t mm, uint64_t first, const void *data,
		     size_t count, struct err *e)
{
	size_t room = CKPT_PAGES_ROOM + (size_t)CKPT_PAGES_MAX * CKPT_PAGE;
	cleanup_free uint8_t *copy = malloc(room);
	int r = copy ? 0 : err_code(e, -ENOMEM, "write the image");

	for (size_t i = 0, n; r == 0 && i < count; i += n) {
		n = count - i < CKPT_PAGES_MAX ? count - i : CKPT_PAGES_MAX;
		memcpy(copy + CKPT_PAGES_ROOM, (const uint8_t *)data + i * CKPT_PAGE, n * CKPT_PAGE);
		r = ckpt_encode_pages(w->own, mm, first + i, copy + CKPT_PAGES_ROOM, n, e);
	}
	return r;
}

int ckpt_write_pages_ref(struct ckpt_writer *w, uint64_t mm, uint64_t first, uint32_t count,
			 uint64_t ref_mm, uint64_t ref_first, struct err *e)
{
	struct {
		struct wire_header h;
		struct wire_pages p;
		uint64_t mm, first;
	} out = { { 0 }, { htole64(mm), htole64(first), htole32(count), htole32(CKPT_PAGES_REF) },
		  htole64(ref_mm), htole64(ref_first) };

	return put_record(w, CKPT_REC_PAGES, 0, (uint8_t *)&out, sizeof(out) - sizeof(out.h), e);
}

int ckpt_write_flush(struct ckpt_writer *w, struct err *e)
{
	return flush(w) < 0 ? err_code(e, w->failed, "write the image") : 0;
}

int ckpt_write_end(struct ckpt_writer *w, bool durable, struct err *e)
{
	struct {
		struct wire_header h;
		struct wire_trailer t;
	} out = { .t = { .records = htole64(w->records) } };
	XXH128_canonical_t digest;
	int r;

	XXH128_canonicalFromHash(&digest, XXH3_128bits_digest(w->hash));
	memcpy(out.t.digest, digest.digest, sizeof(out.t.digest));
	r = put_record(w, CKPT_REC_END, 0, (uint8_t *)&out, sizeof(out.t), e);
	if (r == 0)
		r = ckpt_write_flush(w, e);
	if (r == 0 && durable && fsync(w->fd) < 0)
		r = err_sys(e, "write the image to disk");
	return r;
}

uint64_t ckpt_written_bytes(const struct ckpt_writer *w)
{
	return w->bytes;
}
