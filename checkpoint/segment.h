/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef CHECKPOINT_SEGMENT_H
#define CHECKPOINT_SEGMENT_H

#include "base/err.h"

#include <stddef.h>
#include <stdint.h>

/* A TCP segment in the name of a peer. */
enum { CKPT_SEGMENT_FIN = 1, CKPT_SEGMENT_RST = 4 };

struct ckpt_segment {
	int netns; /* of the VPS; it never leaves it, `to` being an address of its own */
	const void *from, *to; /* struct sockaddr_in or sockaddr_in6 */
	uint32_t seq, ack;
	uint16_t window; /* as the peer tells it, scaled */
	unsigned flags;
	const void *data; /* up to CKPT_SEGMENT_MAX bytes */
	size_t len;
};
#define CKPT_SEGMENT_MAX 32000 /* what the kernel makes of it is one piece of memory of 32 KiB */
#define CKPT_SEGMENT_HEAD 60   /* what is before the data, at most: an interface takes both at once or not at all */
/* With the mark that passes netns_lock(). The kernel has worked it off when it returns. */
int ckpt_segment_send(const struct ckpt_segment *g, struct err *e);

#endif
