/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef CHECKPOINT_IMAGE_IMAGE_H
#define CHECKPOINT_IMAGE_IMAGE_H

#include "base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

/*
 * The stream that a checkpoint is: written once from beginning to end, to a file or a peer.
 *
 *   preamble   8 bytes "VPSIMAGE", u32 format (1), u32 0
 *   records    header and payload
 *   trailer    a record CKPT_REC_END, nothing behind it
 *
 * A record's header is 40 bytes: u32 type, u16 version, u16 flags, u64 id, u64 length of the payload,
 * u64 0, u64 XXH3-64 of the payload, seeded with that of the 32 bytes before. All little endian. Payloads are protobuf
 * messages (image.proto), those of pages are below. The trailer's is the XXH3-128 of the preamble and
 * of the headers of all records before it (16 bytes, canonical order), and their number (u64). A stream without it is no image.
 *
 * Pages: u64 mm, u64 first page number, u32 count, u32 encoding, then the encoded bytes; for
 * CKPT_PAGES_REF u64 mm and u64 first page number of pages that came before.
 */
#define CKPT_IMAGE_FORMAT 1

enum ckpt_record_type {
	CKPT_REC_END = 1,
	CKPT_REC_HEADER,
	CKPT_REC_PROCESS,
	CKPT_REC_THREAD,
	CKPT_REC_SIGACTIONS,
	CKPT_REC_PENDING,
	CKPT_REC_MM,
	CKPT_REC_SHMEM,
	CKPT_REC_FDS,
	CKPT_REC_FILE,
	CKPT_REC_PAGES,
	CKPT_REC_TMPFS,
	CKPT_REC_SOCKET_DATA = 40,
	CKPT_REC_NET_STATE,
	CKPT_REC_SOCKET_OPTIONS,
	/* From 20 on in tens, a ten for a field: tree, namespaces, sockets, files, memory, migration. */
	CKPT_REC_SECCOMP = 20,
	CKPT_REC_SPACE = 30,
	CKPT_REC_SUPER,
	CKPT_REC_MOUNT,
	CKPT_REC_GROUP,
	CKPT_REC_ZOMBIE = 21,
	CKPT_REC_GHOST = 50,
	CKPT_REC_GHOST_DATA = 51,
	CKPT_REC_IPC = 52,
	CKPT_REC_MQUEUE = 53,
	CKPT_REC_PRECOPY = 60,
	CKPT_REC_LAYOUT = 61,
	CKPT_REC_POPULATED = 62,
	CKPT_REC_HERITAGE = 63,
	CKPT_REC_COUNT = 80,
};

enum { CKPT_REC_CRITICAL = 1 }; /* a reader that does not know the type must refuse the image */

enum ckpt_pages_encoding {
	CKPT_PAGES_RAW, CKPT_PAGES_ZERO, CKPT_PAGES_LZ4, CKPT_PAGES_ZSTD, CKPT_PAGES_REF,
};

#define CKPT_PAGE 4096u
#define CKPT_PAGES_MAX 256u                 /* in a record: 1 MiB */
#define CKPT_PAYLOAD_MAX ((size_t)4 << 20)  /* bytes of any payload */
#define CKPT_RECORDS_MAX ((uint64_t)1 << 32)

struct ProtobufCMessage;
struct ProtobufCMessageDescriptor;

/* Writing. */
struct ckpt_writer;
enum ckpt_compression { CKPT_COMPRESS_NONE, CKPT_COMPRESS_LZ4, CKPT_COMPRESS_ZSTD };

/* Writes the preamble to `fd`, which stays the caller's. NULL on failure. */
struct ckpt_writer *ckpt_writer_new(int fd, enum ckpt_compression compression, struct err *e);
void ckpt_writer_free(struct ckpt_writer *w);
/* Errors stick: after the first nothing more is written and all calls fail. */
int ckpt_write_message(struct ckpt_writer *w, enum ckpt_record_type type, uint64_t id,
		       const void *message, struct err *e);
/* Any number of pages of address space `mm`; pages of zeros are found. */
int ckpt_write_pages(struct ckpt_writer *w, uint64_t mm, uint64_t first, const void *data,
		     size_t count, struct err *e);
/*
 * The same without a copy, one encoder for each thread that writes pages to the same writer: the
 * CKPT_PAGES_ROOM bytes before `data` and what has been written of it are overwritten.
 */
#define CKPT_PAGES_ROOM 64u
struct ckpt_encoder;
struct ckpt_encoder *ckpt_encoder_new(struct ckpt_writer *w, struct err *e);
void ckpt_encoder_free(struct ckpt_encoder *en);
int ckpt_encode_pages(struct ckpt_encoder *en, uint64_t mm, uint64_t first, uint8_t *data,
		      size_t count, struct err *e);
int ckpt_write_pages_ref(struct ckpt_writer *w, uint64_t mm, uint64_t first, uint32_t count,
			 uint64_t ref_mm, uint64_t ref_first, struct err *e);
/* What is buffered goes out: the reader has something to do. */
int ckpt_write_flush(struct ckpt_writer *w, struct err *e);
/* The trailer, and fsync when `durable`. */
int ckpt_write_end(struct ckpt_writer *w, bool durable, struct err *e);
uint64_t ckpt_written_bytes(const struct ckpt_writer *w);

/* Reading: the stream may come from anybody. */
struct ckpt_record {
	uint32_t type;
	uint16_t version, flags;
	uint64_t id;
	const uint8_t *data; /* valid until the next call */
	size_t length;
	void *message;       /* unpacked; NULL for pages, the trailer and unknown types */
	void **slot;         /* the reader's own */
};

struct ckpt_pages {
	uint64_t mm, first;
	uint32_t count;
	enum ckpt_pages_encoding encoding;
	uint64_t ref_mm, ref_first; /* CKPT_PAGES_REF */
	const uint8_t *data;        /* count pages; NULL for ZERO and REF */
};

struct ckpt_reader;
/* Reads the preamble. ERR_UNSUPPORTED for another format, ERR_FAIL for what is no image. */
struct ckpt_reader *ckpt_reader_new(int fd, struct err *e);
void ckpt_reader_free(struct ckpt_reader *r);
/* From now on more than the image may be read from the fd, in large pieces: nothing else comes through it. */
int ckpt_reader_ahead(struct ckpt_reader *r, struct err *e);
/* 1: a record; 0: the trailer came, is right, and is the end of the stream (nothing is read behind
 * it). Records that are unknown and not critical are skipped. */
int ckpt_read(struct ckpt_reader *r, struct ckpt_record *ret, struct err *e);
/*
 * The same for several threads, each with a decoder of its own: ckpt_read_next() is called by one at a
 * time and only takes the record from the stream; ckpt_decode() checks it and unpacks its message (1:
 * unknown and not critical, to be skipped). What they
 * return is valid until the decoder's next use. Every record must be decoded.
 */
struct ckpt_decoder;
struct ckpt_decoder *ckpt_decoder_new(struct ckpt_reader *r, struct err *e);
void ckpt_decoder_free(struct ckpt_decoder *d);
int ckpt_read_next(struct ckpt_decoder *d, struct ckpt_record *ret, struct err *e);
int ckpt_decode(struct ckpt_decoder *d, struct ckpt_record *rec, struct err *e);
int ckpt_decode_pages(struct ckpt_decoder *d, const struct ckpt_record *rec, struct ckpt_pages *ret,
		      struct err *e);
/* Of a file from which nothing was read ahead: the first record of this type that is still to come (1; 0: there is none),
 * by a decoder of its own. The reader stays where it is. */
int ckpt_find(struct ckpt_decoder *d, uint32_t type, struct ckpt_record *ret, struct err *e);

/* Takes the message out of a record; the caller frees it. */
void *ckpt_record_take(struct ckpt_record *rec);
void ckpt_message_free(void *message);
/* Checks and decodes a CKPT_REC_PAGES; valid until the next call. */
int ckpt_read_pages(struct ckpt_reader *r, const struct ckpt_record *rec, struct ckpt_pages *ret,
		    struct err *e);

/* The name of a type ("process"), and its message's description; NULL when there is none. */
const char *ckpt_record_name(uint32_t type);
const struct ProtobufCMessageDescriptor *ckpt_record_descriptor(uint32_t type);

/* Prints every record of the stream, a line each (pages: a line for those of an address space), and
 * how many bytes each type takes; or all that as one JSON object. */
int ckpt_image_show(int fd, FILE *out, bool json, struct err *e);

#endif
