/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "checkpoint/image/image.h"

#include "base/fd.h"
#include "base/macro.h"
#include "checkpoint/image/internal.h"

#include <endian.h>
#include <errno.h>
#include <lz4.h>
#include <protobuf-c/protobuf-c.h>
#include <unistd.h>
#include <xxhash.h>
#include <zstd.h>

#define BUFFER MIB(1)

struct ckpt_writer {
	int fd;
	int failed; /* negative errno value, once something went wrong */
	enum ckpt_compression compression;
	XXH3_state_t *hash;
	ZSTD_CCtx *zstd;
	uint64_t records, bytes;
	size_t used;
	uint8_t *pack; /* an encoded payload */
	uint8_t buffer[BUFFER];
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
	XXH3_128bits_update(w->hash, data, len);
	w->bytes += len;
	if (w->used + len > BUFFER)
		flush(w);
	if (w->failed)
		return w->failed;
	if (len > BUFFER) {
		w->failed = fd_write_full(w->fd, data, len);
	} else {
		memcpy(w->buffer + w->used, data, len);
		w->used += len;
	}
	return w->failed;
}

static int put_record(struct ckpt_writer *w, enum ckpt_record_type type, uint64_t id,
		      const void *payload, size_t len, struct err *e)
{
	struct wire_header h = {
		.type = htole32(type), .version = htole16(1), .flags = htole16(CKPT_REC_CRITICAL),
		.id = htole64(id), .length = htole64(len),
	};

	if (len > CKPT_PAYLOAD_MAX)
		return err_set(e, ERR_FAIL, "a %s record of %zu bytes", ckpt_record_name(type), len);
	h.checksum = htole64(wire_checksum(&h, payload, len));
	put(w, &h, sizeof(h));
	put(w, payload, len);
	w->records++;
	return w->failed ? err_code(e, w->failed, "write the image") : 0;
}

struct ckpt_writer *ckpt_writer_new(int fd, enum ckpt_compression compression, struct err *e)
{
	struct wire_preamble p = { .magic = WIRE_MAGIC, .format = htole32(CKPT_IMAGE_FORMAT) };
	struct ckpt_writer *w = calloc(1, sizeof(*w));

	if (w) {
		w->fd = fd;
		w->compression = compression;
		w->hash = XXH3_createState();
		w->pack = malloc(PACK_ROOM);
		w->zstd = ZSTD_createCCtx();
	}
	if (!w || !w->hash || !w->pack || !w->zstd) {
		ckpt_writer_free(w);
		err_code(e, -ENOMEM, "write the image");
		return NULL;
	}
	XXH3_128bits_reset(w->hash);
	put(w, &p, sizeof(p));
	return w;
}

void ckpt_writer_free(struct ckpt_writer *w)
{
	if (!w)
		return;
	XXH3_freeState(w->hash);
	ZSTD_freeCCtx(w->zstd);
	free(w->pack);
	free(w);
}

int ckpt_write_message(struct ckpt_writer *w, enum ckpt_record_type type, uint64_t id,
		       const void *message, struct err *e)
{
	size_t len = protobuf_c_message_get_packed_size(message);
	cleanup_free uint8_t *buf = malloc(len + 1);

	if (!buf)
		return err_code(e, -ENOMEM, "write the image");
	protobuf_c_message_pack(message, buf);
	return put_record(w, type, id, buf, len, e);
}

static bool is_zero(const uint8_t *page)
{
	const uint64_t *p = (const void *)page;

	if (p[0] || p[511])
		return false;
	return memcmp(page, page + 8, CKPT_PAGE - 8) == 0;
}

static int put_run(struct ckpt_writer *w, uint64_t mm, uint64_t first, const uint8_t *data,
		   uint32_t count, bool zero, struct err *e)
{
	struct wire_pages *p = (struct wire_pages *)w->pack;
	char *out = (char *)(p + 1);
	size_t raw = (size_t)count * CKPT_PAGE, len = raw, room = PACK_ROOM - sizeof(*p);
	uint32_t encoding = CKPT_PAGES_RAW;

	if (zero) {
		encoding = CKPT_PAGES_ZERO;
		len = 0;
	} else if (w->compression == CKPT_COMPRESS_LZ4) {
		int n = LZ4_compress_default((const char *)data, out, (int)raw, (int)room);

		encoding = CKPT_PAGES_LZ4;
		len = n > 0 ? (size_t)n : raw;
	} else if (w->compression == CKPT_COMPRESS_ZSTD) {
		size_t n = ZSTD_compressCCtx(w->zstd, out, room, data, raw, 1);

		encoding = CKPT_PAGES_ZSTD;
		len = ZSTD_isError(n) ? raw : n;
	}
	if (!zero && len >= raw) {
		encoding = CKPT_PAGES_RAW;
		len = raw;
		memcpy(out, data, raw);
	}
	*p = (struct wire_pages){ htole64(mm), htole64(first), htole32(count), htole32(encoding) };
	return put_record(w, CKPT_REC_PAGES, 0, p, sizeof(*p) + len, e);
}

int ckpt_write_pages(struct ckpt_writer *w, uint64_t mm, uint64_t first, const void *data,
		     size_t count, struct err *e)
{
	const uint8_t *d = data;

	for (size_t i = 0, n; i < count; i += n) {
		bool zero = is_zero(d + i * CKPT_PAGE);
		int r;

		n = 1;
		while (i + n < count && n < CKPT_PAGES_MAX && is_zero(d + (i + n) * CKPT_PAGE) == zero)
			n++;
		r = put_run(w, mm, first + i, d + i * CKPT_PAGE, (uint32_t)n, zero, e);
		if (r < 0)
			return r;
	}
	return 0;
}

int ckpt_write_pages_ref(struct ckpt_writer *w, uint64_t mm, uint64_t first, uint32_t count,
			 uint64_t ref_mm, uint64_t ref_first, struct err *e)
{
	struct {
		struct wire_pages p;
		uint64_t mm, first;
	} out = { { htole64(mm), htole64(first), htole32(count), htole32(CKPT_PAGES_REF) },
		  htole64(ref_mm), htole64(ref_first) };

	return put_record(w, CKPT_REC_PAGES, 0, &out, sizeof(out), e);
}

int ckpt_write_end(struct ckpt_writer *w, bool durable, struct err *e)
{
	struct wire_trailer t = { .records = htole64(w->records) };
	XXH128_canonical_t digest;
	int r;

	XXH128_canonicalFromHash(&digest, XXH3_128bits_digest(w->hash));
	memcpy(t.digest, digest.digest, sizeof(t.digest));
	r = put_record(w, CKPT_REC_END, 0, &t, sizeof(t), e);
	if (r == 0 && flush(w) < 0)
		r = err_code(e, w->failed, "write the image");
	if (r == 0 && durable && fsync(w->fd) < 0)
		r = err_sys(e, "write the image to disk");
	return r;
}

uint64_t ckpt_written_bytes(const struct ckpt_writer *w)
{
	return w->bytes;
}
