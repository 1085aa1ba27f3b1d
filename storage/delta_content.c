/* SPDX-License-Identifier: GPL-2.0-or-later */

/*
 * The contents of files that are sent: only blocks with another digest than the receiver's. Whose file it is may give it
 * any size at no cost, so that nothing here goes by that: neither time nor memory, but by what it holds.
 */
#include "base/array.h"
#include "base/macro.h"
#include "storage/delta_send.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

/* One walk over a file; both lists are in order. */
struct walk {
	struct storage_send *s;
	struct delta_record *rec;
	const struct delta_block *old; /* what the receiver has and has not been looked at yet */
	size_t old_count;
	struct delta_block *now;
	size_t count, room;
};

static bool is_zero(const char *data, size_t len)
{
	return len == 0 || (data[0] == 0 && memcmp(data, data + 1, len - 1) == 0);
}

static int note_block(struct walk *w, uint64_t index, XXH128_hash_t hash)
{
	if (array_grow(&w->now, w->count, &w->room, w->old_count + 1) < 0)
		return -ENOMEM;
	w->now[w->count++] = (struct delta_block){ index, hash };
	return 0;
}

static int tell_block(struct walk *w, enum delta_op op, uint64_t index, size_t len, struct err *e)
{
	w->rec->op = op;
	w->rec->offset = index * DELTA_BLOCK;
	w->rec->length = DELTA_BLOCK;
	w->rec->data = w->s->block;
	w->rec->data_len = len;
	w->s->pass.bytes += op == DELTA_DATA ? len : 0;
	return delta_tell(w->s, w->rec, e);
}

/* What the receiver has before this block has become a hole. */
static int tell_holes(struct walk *w, uint64_t before, struct err *e)
{
	int r = 0;

	for (; r == 0 && w->old_count && w->old->index < before; w->old++, w->old_count--)
		r = tell_block(w, DELTA_ZERO, w->old->index, 0, e);
	return r;
}

/* The block in s->block, unless the receiver has it. */
static int send_block(struct walk *w, uint64_t index, size_t len, struct err *e)
{
	XXH128_hash_t hash;
	bool same = false;
	int r;

	if (is_zero(w->s->block, len))
		return tell_holes(w, index + 1, e);
	r = tell_holes(w, index, e);
	if (r < 0)
		return r;
	hash = XXH3_128bits_withSeed(w->s->block, len, w->s->seed);
	if (w->old_count && w->old->index == index) {
		same = XXH128_isEqual(hash, w->old->hash);
		w->old++;
		w->old_count--;
	}
	if (note_block(w, index, hash) < 0)
		return err_code(e, -ENOMEM, "send %s", w->rec->path);
	return same ? 0 : tell_block(w, DELTA_DATA, index, len, e);
}

/* The first block from this one on that is no hole; that behind the last one. */
static uint64_t next_block(int fd, uint64_t index, uint64_t end)
{
	off_t data = lseek(fd, (off_t)(index * DELTA_BLOCK), SEEK_DATA);

	if (data >= 0)
		return (uint64_t)data / DELTA_BLOCK;
	return errno == ENXIO ? end : index; /* else the file system has no SEEK_DATA */
}

static int walk_file(struct walk *w, int fd, uint64_t size, struct err *e)
{
	uint64_t end = size / DELTA_BLOCK + (size % DELTA_BLOCK != 0);
	int r = 0;

	for (uint64_t i = next_block(fd, 0, end); r == 0 && i < end; i = next_block(fd, i + 1, end)) {
		uint64_t left = size - i * DELTA_BLOCK;
		ssize_t n = pread(fd, w->s->block, left < DELTA_BLOCK ? left : DELTA_BLOCK, (off_t)(i * DELTA_BLOCK));

		if (n < 0)
			return err_sys(e, "read %s", w->rec->path);
		r = send_block(w, i, (size_t)n, e);
	}
	/* What it had behind its new end the receiver cuts off. */
	return r < 0 ? r : tell_holes(w, end, e);
}

int delta_send_content(struct storage_send *s, struct delta_record *rec, struct delta_file *f, int fd,
			off_t size, struct err *e)
{
	struct walk w = { .s = s, .rec = rec, .old = f->block, .old_count = f->blocks };
	int r = walk_file(&w, fd, (uint64_t)size, e);

	if (r < 0) {
		free(w.now);
		return r;
	}
	free(f->block);
	f->block = w.now;
	f->blocks = w.count;
	return 0;
}
