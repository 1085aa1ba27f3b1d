/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef CHECKPOINT_SKBS_H
#define CHECKPOINT_SKBS_H

#include "base/err.h"
#include "checkpoint/kernel.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * What is queued in a socket that nobody has open: read from the kernel's memory, where a queue is a ring of buffers (struct
 * sk_buff). Nothing may come or go meanwhile.
 */
#define CKPT_SKBS_MAX 65536 /* of a queue */

struct ckpt_skb {
	uint64_t at; /* its struct sk_buff */
	const uint8_t *data; /* valid until `each` returns */
	size_t len;
};
typedef int (*ckpt_skb_fn)(const struct ckpt_skb *b, void *arg, struct err *e);

/* `queue` is where the struct sk_buff_head is. `each` returns a negative value to stop; without contents (`bare`) it sees no data.
 * ERR_UNSUPPORTED: it is in memory that may not be read. */
int ckpt_skbs_each(struct ckpt_kernel *k, uint64_t queue, bool bare, ckpt_skb_fn each, void *arg, struct err *e);
/* The struct sock of an open socket of ours. */
int ckpt_skbs_sock(struct ckpt_kernel *k, int fd, uint64_t *ret, struct err *e);

#endif
