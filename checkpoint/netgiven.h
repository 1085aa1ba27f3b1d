/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef CHECKPOINT_NETGIVEN_H
#define CHECKPOINT_NETGIVEN_H

#include "base/err.h"
#include "checkpoint/image.pb-c.h"
#include "checkpoint/tree.h"
#include "netns/net.h"
#include "runtime/spec.h"

#include <stdbool.h>
#include <stddef.h>

/*
 * An image says which addresses the VPS had from its configuration. Where these are others now (a copy has its own;
 * `net` was set while it was suspended), what is restored lets go of the old ones: routes and rules that name them
 * are not made again, and once its connections are in place the addresses go, and these with them.
 */

/* Of interfaces, with the link-local ones that follow from their MACs, and of gateways. Prefixes mean nothing. */
#define CKPT_GIVEN_MAX (NETNS_IF_MAX * (NETNS_ADDR_MAX + 4))
struct ckpt_given {
	struct netns_addr addr[CKPT_GIVEN_MAX];
	size_t count;
};
/* An address of 4 or 16 bytes; false for any other length. */
bool ckpt_given_has(const struct ckpt_given *g, const void *address, size_t len);

/* Into the header of an image; whether one is in order. */
int ckpt_given_save(const struct rt_spec *spec, struct ckpt_arena *a, Ckpt__Header *h, struct err *e);
int ckpt_given_check(const Ckpt__Header *h, struct err *e);

struct ckpt_moved {
	struct ckpt_given gone, come; /* given then and not now, now and not then */
};
/* Both are empty for images that do not say. */
int ckpt_moved_find(const Ckpt__Header *h, const struct rt_spec *spec, struct ckpt_moved *ret, struct err *e);
/* Takes the old addresses away, wherever they are in that namespace. */
int ckpt_moved_leave(const struct ckpt_moved *moved, int netns_fd, struct err *e);

#endif
