/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef CHECKPOINT_IMAGE_INTERNAL_H
#define CHECKPOINT_IMAGE_INTERNAL_H

#include "checkpoint/image/image.h"

#include <stdint.h>

/* What is on the wire, as image.h describes it. */
#define WIRE_MAGIC { 'V', 'P', 'S', 'I', 'M', 'A', 'G', 'E' }

struct wire_preamble {
	char magic[8];
	uint32_t format, zero;
};

struct wire_header {
	uint32_t type;
	uint16_t version, flags;
	uint64_t id, length, zero, checksum;
};
_Static_assert(sizeof(struct wire_header) == 40, "no padding");

struct wire_pages {
	uint64_t mm, first;
	uint32_t count, encoding;
};

struct wire_trailer {
	uint8_t digest[16];
	uint64_t records;
};

_Static_assert(sizeof(struct wire_header) + sizeof(struct wire_pages) == CKPT_PAGES_ROOM, "as image.h says");

/* Enough for the longest encoding of CKPT_PAGES_MAX pages. */
#define PACK_ROOM (CKPT_PAGES_ROOM + (size_t)CKPT_PAGES_MAX * CKPT_PAGE + 65536)

/* Of the header up to the checksum, and the payload. */
uint64_t wire_checksum(const struct wire_header *h, const void *payload, size_t len);

#endif
