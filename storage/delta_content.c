/* SPDX-License-Identifier: GPL-2.0-or-later */

/* The contents of files that are sent: only blocks with another digest than the receiver's. */
#include "base/macro.h"
#include "storage/delta_send.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

static bool hash_is_hole(const XXH128_hash_t *h)
{
	return h->low64 == 0 && h->high64 == 0;
}

static bool is_zero(const char *data, size_t len)
{
	return len == 0 || (data[0] == 0 && memcmp(data, data + 1, len - 1) == 0);
}

/* Room for the digests of a file of `size` bytes; blocks past an old end were never sent. */
static int fit_blocks(struct delta_file *f, off_t size)
{
	size_t blocks = (size_t)((size + DELTA_BLOCK - 1) / DELTA_BLOCK);
	XXH128_hash_t *bigger;

	if (blocks > f->blocks) {
		bigger = reallocarray(f->hash, blocks, sizeof(*bigger));
		if (!bigger)
			return -ENOMEM;
		memset(bigger + f->blocks, 0, (blocks - f->blocks) * sizeof(*bigger));
		f->hash = bigger;
	}
	f->blocks = blocks;
	return 0;
}

/* Tells of one block if the receiver has another; `len` 0 is a hole. */
static int send_block(struct storage_send *s, struct delta_record *rec, struct delta_file *f,
		      size_t i, size_t len, struct err *e)
{
	XXH128_hash_t now = { 0 };
	bool hole = is_zero(s->block, len);

	if (!hole)
		now = XXH3_128bits_withSeed(s->block, len, s->seed);
	if (XXH128_isEqual(now, f->hash[i]))
		return 0;
	rec->op = hole ? DELTA_ZERO : DELTA_DATA;
	rec->offset = (uint64_t)i * DELTA_BLOCK;
	rec->length = DELTA_BLOCK;
	rec->data = s->block;
	rec->data_len = len;
	f->hash[i] = now;
	s->pass.bytes += hole ? 0 : len;
	return delta_tell(s, rec, e);
}

int delta_send_content(struct storage_send *s, struct delta_record *rec, struct delta_file *f, int fd,
			off_t size, struct err *e)
{
	off_t data = 0;
	int r = fit_blocks(f, size);

	if (r < 0)
		return err_code(e, r, "send %s", rec->path);
	for (size_t i = 0; r == 0 && i < f->blocks; i++) {
		off_t at = (off_t)i * DELTA_BLOCK;
		size_t len = size - at < (off_t)DELTA_BLOCK ? (size_t)(size - at) : DELTA_BLOCK;
		ssize_t n = 0;

		if (data < at + (off_t)DELTA_BLOCK) {
			data = lseek(fd, at, SEEK_DATA);
			if (data < 0)
				data = errno == ENXIO ? INT64_MAX : at;
		}
		if (data < at + (off_t)DELTA_BLOCK)
			n = pread(fd, s->block, len, at);
		if (n < 0)
			return err_sys(e, "read %s", rec->path);
		if (hash_is_hole(&f->hash[i]) && n == 0)
			continue;
		r = send_block(s, rec, f, i, (size_t)n, e);
	}
	return r;
}
