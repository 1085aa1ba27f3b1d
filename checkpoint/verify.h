/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef CHECKPOINT_VERIFY_H
#define CHECKPOINT_VERIFY_H

#include "base/err.h"
#include "checkpoint/progress.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What an image says of itself. */
struct ckpt_facts {
	char id[37], uuid[37]; /* of the image, of the VPS; "" when it does not say */
	char vps[64];          /* the VPS's name then */
	bool files;            /* the VPS's files follow */
	uint64_t realtime_ns;  /* when it was made */
	size_t processes, threads, open_files;
	uint64_t pages;
};

/*
 * Reads the whole image from `fd`, to its trailer and not a byte further: all checksums, and all that
 * a restore checks before it touches anything. `progress` may be NULL.
 */
int ckpt_verify(int fd, const struct ckpt_progress *progress, struct ckpt_facts *ret, struct err *e);

#endif
