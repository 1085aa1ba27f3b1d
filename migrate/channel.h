/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef MIGRATE_CHANNEL_H
#define MIGRATE_CHANNEL_H

#include "base/err.h"
#include "base/str.h"

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * Frames between two hosts, over whatever carries bytes both ways: a remote shell's standard input
 * and output, a pair of pipes; one way alone for a file. A stream begins with 8 bytes (MIG_MAGIC
 * and a version), then frames follow, each with a header of 16 bytes, numbers little-endian:
 *
 *   length of what follows (32 bits), type (16), encoding (16), checksum (64)
 *
 * The checksum is XXH3 over what follows, seeded with the frame's number and type, so that a frame
 * that is lost, doubled or out of order is noticed. It keeps accidents out, not enemies: whoever may
 * speak here was let in by the remote shell.
 */

#define MIG_MAGIC "VPSMOVE" /* and the version's byte */
#define MIG_VERSION 1
#define MIG_FRAME_MAX (1u << 20)

/* Numbers never change: they are in files. */
enum mig_type {
	MIG_HELLO = 1,  /* JSON: who wants to send what */
	MIG_ANSWER,     /* JSON: what stands in the way */
	MIG_ERROR,      /* JSON: status, error, hint; the last one */
	MIG_ALIVE,      /* nothing: it takes long, but goes on */
	MIG_TEMPLATE,   /* a record of storage/delta.h: of the template's tree */
	MIG_FILES,      /* the same: of the root */
	MIG_SIDE,       /* a piece of a file kept beside the config: name, NUL, bytes */
	MIG_IMAGE,      /* a piece of the processes' image (checkpoint/image/image.h) */
	MIG_PREPARE,    /* JSON: all has been sent */
	MIG_PREPARED,   /* JSON: all is there, nothing runs */
	MIG_COMMIT,     /* JSON: it is yours */
	MIG_COMMITTED,  /* JSON: it is mine */
	MIG_FRAMES,     /* no more of them; JSON: {"moved": true} when the source's record says so, or nothing */
	MIG_PACKET,     /* one of them: interface's number (8 bits), the frame */
	MIG_BEGIN,      /* nothing: the image is about to come, be ready for it */
	MIG_SYNC,       /* nothing: say so when you have all that was sent */
	MIG_READY,      /* nothing: the answer to either */
	MIG_TYPE_COUNT,
};

enum mig_encoding { MIG_RAW, MIG_LZ4, MIG_ZSTD, MIG_ENCODING_COUNT };
/* "none", "lz4", "zstd"; -EINVAL. */
int mig_encoding_find(const char *name);

struct mig_channel {
	int in, out;      /* -EBADF: one way */
	const char *peer; /* "root@host2", for messages; "" none */
	int (*cancelled)(void); /* may be NULL */
	int timeout_ms;   /* how long the peer may say nothing; -1: for ever */
	uint64_t until_us; /* when all waiting ends, though the peer may say that it goes on; 0: never */
	enum mig_encoding encoding; /* of large frames sent */
	uint64_t rate;    /* bytes a second at most, 0: any */
	/* Told by the channel. */
	uint64_t sent, received;
	/* Its own. */
	uint64_t sent_count, received_count, rate_from_us, rate_bytes;
	struct buf queue, packed, frame;
	bool begun, greeted;
};

struct mig_frame {
	enum mig_type type;
	const char *data; /* valid until the next mig_recv(); NUL-terminated */
	size_t len;
};

/* Frames are queued; they go when the queue is full, when something is received, at mig_flush().
 * Each may block; a peer that has sent MIG_ERROR is heard: its error is the caller's. */
int mig_send(struct mig_channel *c, enum mig_type type, const void *data, size_t len, struct err *e);
/* Takes `j` over. */
int mig_send_json(struct mig_channel *c, enum mig_type type, json_t *j, struct err *e);
int mig_flush(struct mig_channel *c, struct err *e);
/* Says why it ends here; nothing is reported when that does not work. */
void mig_send_error(struct mig_channel *c, const struct err *why);

/* The next frame but MIG_ALIVE. MIG_ERROR fills *e and fails. 0 also for MIG_TYPE_COUNT: the end of
 * the stream, between two frames. Reads no byte beyond the frame. */
int mig_recv(struct mig_channel *c, struct mig_frame *ret, struct err *e);
/* One that must be of this type; *ret is an object, to be let go by the caller. */
int mig_recv_json(struct mig_channel *c, enum mig_type type, json_t **ret, struct err *e);
/* The frame's JSON object, or NULL and an error. */
json_t *mig_frame_json(const struct mig_frame *f, struct err *e);

void mig_channel_done(struct mig_channel *c); /* leaves the fds open */

#endif
