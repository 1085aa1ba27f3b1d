/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef STORAGE_INTERNAL_H
#define STORAGE_INTERNAL_H

#include "storage/root.h"

/* One row of the table in backend.c each. */
extern const struct storage_backend storage_overlay;

/* The overlay's mount(), either with the lower as detached layer (Linux 6.15) or attached by a
 * helper in a mount namespace of its own. */
int storage_overlay_mount(const struct storage_root *r, int userns_fd, bool helper, int *ret_late,
			  struct err *e);

/* Bytes allocated to what lies below dirfd (its own entry included); each hard-linked file counts
 * once. The tree may be hostile and changing. */
int storage_tree_usage(int dirfd, uint64_t *ret_bytes, struct err *e);

#endif
