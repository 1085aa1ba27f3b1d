/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef CHECKPOINT_HOST_H
#define CHECKPOINT_HOST_H

#include "base/err.h"
#include "checkpoint/check.h"
#include "checkpoint/xstate.h"

#include <stdbool.h>
#include <stdint.h>

/*
 * What processes take for granted of the host that they were saved on: the registers that its processor
 * saves, and the vdso, whose code a thread may stand in and whose addresses C libraries have noted.
 */
struct ckpt_host {
	char kernel[65];     /* uname -r */
	uint32_t page_size;
	struct ckpt_xstate xstate;
	uint8_t vdso[16];    /* XXH3-128 */
	bool has_vdso;
	uint64_t huge[CKPT_HUGE_SIZES]; /* bytes in huge pages, by the logarithm of their size */
};

struct Ckpt__Header;
int ckpt_host_of(const struct Ckpt__Header *h, struct ckpt_host *ret, struct err *e);

/* Of the image that `fd` holds from where it stands; no more than its beginning is read. */
int ckpt_host_read(int fd, struct ckpt_host *ret, struct err *e);

/* ERR_UNSUPPORTED when this host cannot go on with it. */
int ckpt_host_check(const struct ckpt_host *h, struct err *e);

#endif
