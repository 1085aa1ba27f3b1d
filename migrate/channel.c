/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "migrate/channel.h"

#include "base/macro.h"
#include "base/proc.h"

#include <endian.h>
#include <errno.h>
#include <lz4.h>
#include <poll.h>
#include <xxhash.h>
#include <zstd.h>

#define QUEUE (256u << 10)
#define COMPRESS_FROM 512 /* bytes: smaller ones are not worth it */
#define ZSTD_LEVEL 1
#define POLL_MS 1000 /* how soon a cancelled job is noticed at the latest; the signal wakes it too */

struct header {
	uint32_t len;
	uint16_t type, encoding;
	uint64_t sum;
};

static const char *const encodings[] = { [MIG_RAW] = "none", [MIG_LZ4] = "lz4", [MIG_ZSTD] = "zstd" };

int mig_encoding_find(const char *name)
{
	for (int i = 0; i < MIG_ENCODING_COUNT; i++)
		if (STREQ(encodings[i], name))
			return i;
	return -EINVAL;
}

static uint64_t checksum(const void *data, size_t len, uint64_t number, uint16_t type)
{
	return XXH3_64bits_withSeed(data, len, number << 16 | type);
}

static int peer_gone(const struct mig_channel *c, struct err *e)
{
	err_set(e, ERR_FAIL, "%s%sthe connection ended too early", c->peer ? c->peer : "",
		c->peer && *c->peer ? ": " : "");
	return -EPIPE;
}

/* Waits until fd is ready. 1: the peer says something while we would write. */
static int wait_for(struct mig_channel *c, int fd, short events, struct err *e)
{
	struct pollfd p[] = { { .fd = fd, .events = events },
			      { .fd = events == POLLOUT ? c->in : -1, .events = POLLIN } };
	int left = c->timeout_ms;

	for (;;) {
		int step = left >= 0 && left < POLL_MS ? left : POLL_MS, n;

		if (c->cancelled && c->cancelled())
			return err_set(e, ERR_CANCELLED, "cancelled");
		if (c->until_us && now_monotonic_us() >= c->until_us)
			return err_set(e, ERR_TIMEOUT, "%s goes on, but does not come to an end", c->peer ? c->peer : "the peer");
		n = poll(p, ARRAY_SIZE(p), step);
		if (n < 0 && errno != EINTR)
			return err_sys(e, "wait for the peer");
		if (n > 0)
			return p[0].revents ? 0 : 1;
		if (n == 0 && left >= 0 && (left -= step) <= 0)
			return err_set(e, ERR_TIMEOUT, "%s: no answer in %d s",
				       c->peer ? c->peer : "the peer", c->timeout_ms / 1000);
	}
}

static int recv_one(struct mig_channel *c, struct mig_frame *ret, struct err *e);

/* An error can come; it is why nobody reads any more. */
static int hear_error(struct mig_channel *c, struct err *e)
{
	struct mig_frame f;
	int r = c->in < 0 ? peer_gone(c, e) : mig_recv(c, &f, e);

	if (r < 0)
		return r;
	return f.type == MIG_TYPE_COUNT ? peer_gone(c, e)
					: err_set(e, ERR_USAGE, "the peer speaks out of turn");
}

/* The peer says something while we write: 0 when it is only that it goes on. */
static int hear(struct mig_channel *c, struct err *e)
{
	struct mig_frame f;
	int r = recv_one(c, &f, e);

	if (r < 0 || f.type == MIG_ALIVE)
		return r;
	return f.type == MIG_TYPE_COUNT ? peer_gone(c, e)
					: err_set(e, ERR_USAGE, "the peer speaks out of turn");
}

/* Sleeps as long as the bytes sent so far should have taken. */
static int keep_rate(struct mig_channel *c, size_t len, struct err *e)
{
	uint64_t now = now_monotonic_us(), due;

	if (!c->rate)
		return 0;
	if (!c->rate_from_us || now - c->rate_from_us > 5000000) {
		c->rate_from_us = now;
		c->rate_bytes = 0;
	}
	c->rate_bytes += len;
	due = c->rate_from_us + (uint64_t)((double)c->rate_bytes * 1e6 / (double)c->rate);
	while ((now = now_monotonic_us()) < due) {
		uint64_t ms = (due - now + 999) / 1000;

		if (c->cancelled && c->cancelled())
			return err_set(e, ERR_CANCELLED, "cancelled");
		poll(NULL, 0, ms < POLL_MS ? (int)ms : POLL_MS);
	}
	return 0;
}

/* Pieces that a pipe with room for something takes at once or in part. */
static int write_some(struct mig_channel *c, const char **data, size_t *len, struct err *e)
{
	ssize_t n = write(c->out, *data, *len < 65536 ? *len : 65536);

	if (n < 0 && (errno == EINTR || errno == EAGAIN))
		return 0;
	if (n < 0)
		return errno == EPIPE ? hear_error(c, e) : err_sys(e, "send");
	*data += n;
	*len -= (size_t)n;
	c->sent += (uint64_t)n;
	return keep_rate(c, (size_t)n, e);
}

static int write_all(struct mig_channel *c, const char *data, size_t len, struct err *e)
{
	while (len) {
		int r = wait_for(c, c->out, POLLOUT, e);

		if (r > 0)
			r = hear(c, e);
		else if (r == 0)
			r = write_some(c, &data, &len, e);
		if (r < 0)
			return r;
	}
	return 0;
}

int mig_flush(struct mig_channel *c, struct err *e)
{
	size_t len = c->queue.len;

	c->queue.len = 0;
	return write_all(c, c->queue.data, len, e);
}

/* A payload in fewer bytes into c->packed, its raw length first; MIG_RAW when that is not to be. */
static enum mig_encoding pack(struct mig_channel *c, const void *data, size_t len)
{
	uint32_t raw = htole32((uint32_t)len);
	size_t room = c->encoding == MIG_LZ4 ? (size_t)LZ4_compressBound((int)len)
					     : ZSTD_compressBound(len), n;

	if (c->encoding == MIG_RAW || len < COMPRESS_FROM)
		return MIG_RAW;
	c->packed.len = 0;
	if (c->packed.room < room + 5) {
		char *bigger = realloc(c->packed.data, room + 5);

		if (!bigger)
			return MIG_RAW;
		c->packed.data = bigger;
		c->packed.room = room + 5;
	}
	memcpy(c->packed.data, &raw, sizeof(raw));
	if (c->encoding == MIG_LZ4)
		n = (size_t)LZ4_compress_default(data, c->packed.data + 4, (int)len, (int)room);
	else
		n = ZSTD_compress(c->packed.data + 4, room, data, len, ZSTD_LEVEL);
	if (n == 0 || (c->encoding == MIG_ZSTD && ZSTD_isError(n)) || n + 4 >= len)
		return MIG_RAW;
	c->packed.len = n + 4;
	return c->encoding;
}

static int begin(struct mig_channel *c)
{
	char magic[8] = MIG_MAGIC;

	if (c->begun)
		return 0;
	c->begun = true;
	magic[7] = MIG_VERSION;
	return buf_add(&c->queue, magic, sizeof(magic));
}

int mig_send(struct mig_channel *c, enum mig_type type, const void *data, size_t len, struct err *e)
{
	struct header h = { .type = htole16((uint16_t)type) };
	enum mig_encoding encoding;
	int r = begin(c);

	if (len > MIG_FRAME_MAX)
		return err_code(e, -EMSGSIZE, "send a frame");
	encoding = pack(c, data, len);
	if (encoding != MIG_RAW) {
		data = c->packed.data;
		len = c->packed.len;
	}
	h.len = htole32((uint32_t)len);
	h.encoding = htole16((uint16_t)encoding);
	h.sum = htole64(checksum(data, len, c->sent_count++, (uint16_t)type));
	if (r == 0)
		r = buf_add(&c->queue, &h, sizeof(h));
	if (r == 0 && len)
		r = buf_add(&c->queue, data, len);
	if (r < 0)
		return err_code(e, r, "send a frame");
	return c->queue.len >= QUEUE ? mig_flush(c, e) : 0;
}

int mig_send_json(struct mig_channel *c, enum mig_type type, json_t *j, struct err *e)
{
	cleanup_free char *text = json_dumps(j, JSON_COMPACT);
	int r = text ? mig_send(c, type, text, strlen(text), e) : err_code(e, -ENOMEM, "send a frame");

	json_decref(j);
	return r;
}

void mig_send_error(struct mig_channel *c, const struct err *why)
{
	struct err ignored;
	json_t *j;

	if (c->out < 0)
		return;
	j = json_pack("{s:i, s:o, s:o}", "status", why->code, "error",
		      json_string(why->msg) ?: json_string("?"), "hint",
		      json_string(why->hint) ?: json_string(""));
	c->in = -EBADF; /* nobody is listened to any more */
	c->cancelled = NULL;
	c->until_us = 0;
	c->timeout_ms = 5000;
	c->rate = 0; /* nor is what was sent before paid for */
	if (mig_send_json(c, MIG_ERROR, j, &ignored) == 0)
		mig_flush(c, &ignored);
}

/* 0: all of it; 1: the end before the first byte. */
static int read_all(struct mig_channel *c, char *data, size_t len, struct err *e)
{
	size_t have = 0;

	while (have < len) {
		int r = wait_for(c, c->in, POLLIN, e);
		ssize_t n;

		if (r < 0)
			return r;
		n = read(c->in, data + have, len - have);
		if (n < 0 && (errno == EINTR || errno == EAGAIN))
			continue;
		if (n < 0)
			return err_sys(e, "receive");
		if (n == 0)
			return have ? peer_gone(c, e) : 1;
		have += (size_t)n;
		c->received += (uint64_t)n;
	}
	return 0;
}

static int bad_stream(struct err *e)
{
	err_set(e, ERR_USAGE, "what comes is no stream of a VPS, or it is damaged");
	return -EBADMSG;
}

static int read_magic(struct mig_channel *c, struct err *e)
{
	char magic[8];
	int r = read_all(c, magic, sizeof(magic), e);

	if (r > 0)
		return peer_gone(c, e);
	if (r < 0)
		return r;
	if (memcmp(magic, MIG_MAGIC, 7) != 0)
		return bad_stream(e);
	if (magic[7] != MIG_VERSION)
		return err_set(e, ERR_UNSUPPORTED, "the stream is of version %d, this is version %d",
			       magic[7], MIG_VERSION);
	c->greeted = true;
	return 0;
}

static int reserve(struct buf *b, size_t len)
{
	char *bigger = b->room > len ? b->data : realloc(b->data, len + 1);

	if (!bigger)
		return -ENOMEM;
	if (b->room <= len)
		b->room = len + 1;
	b->data = bigger;
	return 0;
}

/* What came packed, unpacked into c->packed. */
static int unpack(struct mig_channel *c, enum mig_encoding encoding, struct mig_frame *f,
		  struct err *e)
{
	uint32_t raw;
	size_t n;

	if (f->len < 4)
		return bad_stream(e);
	memcpy(&raw, f->data, 4);
	raw = le32toh(raw);
	if (raw > MIG_FRAME_MAX)
		return bad_stream(e);
	if (reserve(&c->packed, raw) < 0)
		return err_code(e, -ENOMEM, "receive a frame");
	if (encoding == MIG_LZ4) {
		int got = LZ4_decompress_safe(f->data + 4, c->packed.data, (int)(f->len - 4), (int)raw);

		n = got < 0 ? SIZE_MAX : (size_t)got;
	} else {
		n = ZSTD_decompress(c->packed.data, raw, f->data + 4, f->len - 4);
	}
	if (n != raw)
		return bad_stream(e);
	c->packed.data[raw] = '\0';
	f->data = c->packed.data;
	f->len = raw;
	return 0;
}

static int read_frame(struct mig_channel *c, struct mig_frame *ret, struct err *e)
{
	uint16_t type, encoding;
	struct header h;
	uint32_t len;
	int r = read_all(c, (char *)&h, sizeof(h), e);

	*ret = (struct mig_frame){ .type = MIG_TYPE_COUNT };
	if (r != 0)
		return r < 0 ? r : 0;
	len = le32toh(h.len);
	type = le16toh(h.type);
	encoding = le16toh(h.encoding);
	if (len > MIG_FRAME_MAX || type < MIG_HELLO || type >= MIG_TYPE_COUNT ||
	    encoding >= MIG_ENCODING_COUNT)
		return bad_stream(e);
	if (reserve(&c->frame, len) < 0)
		return err_code(e, -ENOMEM, "receive a frame");
	r = read_all(c, c->frame.data, len, e);
	if (r != 0)
		return r < 0 ? r : peer_gone(c, e);
	if (checksum(c->frame.data, len, c->received_count++, type) != le64toh(h.sum))
		return bad_stream(e);
	c->frame.data[len] = '\0';
	*ret = (struct mig_frame){ (enum mig_type)type, c->frame.data, len };
	return encoding == MIG_RAW ? 0 : unpack(c, (enum mig_encoding)encoding, ret, e);
}

/* The peer's error as ours. */
static int take_error(struct mig_channel *c, const struct mig_frame *f, struct err *e)
{
	json_t *j = json_loadb(f->data, f->len, 0, NULL);
	const char *text = json_string_value(json_object_get(j, "error"));
	const char *hint = json_string_value(json_object_get(j, "hint"));
	json_int_t status = json_integer_value(json_object_get(j, "status"));

	err_set(e, status > 0 && status < 128 ? (enum err_status)status : ERR_FAIL, "%s%s%.900s",
		c->peer ? c->peer : "", c->peer && *c->peer ? ": " : "",
		text && str_is_printable(text) ? text : "it failed");
	if (hint && *hint && str_is_printable(hint))
		err_hint(e, "%.200s", hint);
	json_decref(j);
	return -EREMOTEIO;
}

static int recv_one(struct mig_channel *c, struct mig_frame *ret, struct err *e)
{
	int r = c->greeted ? 0 : read_magic(c, e);

	if (r == 0)
		r = read_frame(c, ret, e);
	return r == 0 && ret->type == MIG_ERROR ? take_error(c, ret, e) : r;
}

int mig_recv(struct mig_channel *c, struct mig_frame *ret, struct err *e)
{
	int r = c->queue.len ? mig_flush(c, e) : 0;

	do {
		if (r == 0)
			r = recv_one(c, ret, e);
	} while (r == 0 && ret->type == MIG_ALIVE);
	return r;
}

json_t *mig_frame_json(const struct mig_frame *f, struct err *e)
{
	json_t *j = json_loadb(f->data, f->len, JSON_REJECT_DUPLICATES, NULL);

	if (json_is_object(j))
		return j;
	json_decref(j);
	bad_stream(e);
	return NULL;
}

int mig_recv_json(struct mig_channel *c, enum mig_type type, json_t **ret, struct err *e)
{
	struct mig_frame f;
	int r = mig_recv(c, &f, e);

	if (r < 0)
		return r;
	if (f.type == MIG_TYPE_COUNT)
		return peer_gone(c, e);
	if (f.type != type)
		return bad_stream(e);
	*ret = mig_frame_json(&f, e);
	return *ret ? 0 : -EBADMSG;
}

void mig_channel_done(struct mig_channel *c)
{
	buf_done(&c->queue);
	buf_done(&c->packed);
	buf_done(&c->frame);
}
