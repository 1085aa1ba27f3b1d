/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef CHECKPOINT_MOUNTS_INTERNAL_H
#define CHECKPOINT_MOUNTS_INTERNAL_H

#include "base/err.h"
#include "checkpoint/mountinfo.h"

#include <stdbool.h>
#include <stdint.h>

/* What the collection of mounts (mounts.c) and that of their file systems (mounts_super.c) share. */

struct ckpt_dump;

/* The record of the file system of a mount in the namespace `space`; its options are taken apart. (mounts_super.c) */
int ckpt_super_collect(struct ckpt_dump *d, uint32_t space, struct ckpt_mountinfo *m, uint32_t *ret,
		       struct err *e);
/* The host's and the runtime's, which a restore finds mounted: the root, volumes, and the masks of /proc, /sys and
 * /dev. (mounts.c) */
bool ckpt_mount_is_given(const struct ckpt_dump *d, uint32_t space, const struct ckpt_mountinfo *m);
/* ERR_UNSUPPORTED, with what is mounted where and `why`. (mounts.c) */
int ckpt_mount_refuse(const struct ckpt_mountinfo *m, struct err *e, const char *why);

#endif
