/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef CHECKPOINT_XSTATE_H
#define CHECKPOINT_XSTATE_H

#include "base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * Where a processor keeps the registers of a thread: the area of XSAVE in its standard format, as NT_X86_XSTATE has it
 * (Intel's manual, volume 1, chapter 13). It begins with 512 bytes of x87 and SSE and a header of 64, alike everywhere;
 * behind them each component has an offset of the processor's own. AMD's keep AVX-512 and PKRU elsewhere than Intel's.
 */
#define CKPT_XSTATE_MAX 65536
#define CKPT_XSTATE_PARTS 63 /* components 2 to 62; the bits of XCR0 below and above are none */

struct ckpt_xstate {
	uint64_t mask; /* XCR0: the components that this processor and kernel keep */
	struct ckpt_xstate_part {
		uint32_t size, offset; /* size 0: there is none */
	} part[CKPT_XSTATE_PARTS];
};

/* This processor's; valid for ever. */
const struct ckpt_xstate *ckpt_xstate_here(void);

/* As images and offers have it: number, size, offset of each component, in turn. `ret` has room for 3 * CKPT_XSTATE_PARTS;
 * the result is how many there are. */
size_t ckpt_xstate_format(const struct ckpt_xstate *x, uint32_t *ret);
/* Of what anybody may have written; `n` is 0 in images of older versions, whose layout is taken to be this processor's.
 * ERR_FAIL when it describes no area. */
int ckpt_xstate_parse(uint64_t mask, const uint32_t *numbers, size_t n, struct ckpt_xstate *ret, struct err *e);

/* ERR_UNSUPPORTED when a processor as `here` lacks what one as `there` keeps. */
int ckpt_xstate_check(const struct ckpt_xstate *there, const struct ckpt_xstate *here, struct err *e);

/*
 * The `len` bytes at `data`, an area as `from` that is zero from there on, become one of `size` bytes as `to`. Components in
 * their initial state are left out. -EINVAL: it is no such area; -EOPNOTSUPP: one of its components has no place.
 */
int ckpt_xstate_convert(const struct ckpt_xstate *from, const uint8_t *data, size_t len, const struct ckpt_xstate *to,
			uint8_t *ret, size_t size);

#endif
