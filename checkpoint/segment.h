/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef CHECKPOINT_SEGMENT_H
#define CHECKPOINT_SEGMENT_H

#include "base/err.h"

#include <stdint.h>

/* A TCP segment without data, in the name of a peer. */
enum { CKPT_SEGMENT_FIN = 1, CKPT_SEGMENT_RST = 4 };

struct ckpt_segment {
	int netns; /* of the VPS; it never leaves it, `to` being an address of its own */
	const void *from, *to; /* struct sockaddr_in or sockaddr_in6 */
	uint32_t seq, ack;
	unsigned flags;
};
/* With the mark that passes netns_lock(). The kernel has worked it off when it returns. */
int ckpt_segment_send(const struct ckpt_segment *g, struct err *e);

#endif
