/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef CHECKPOINT_MOUNTFS_H
#define CHECKPOINT_MOUNTFS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A file system that a tenant can mount by itself in its user namespace, and that can be made
 * again. */
struct ckpt_mountfs {
	const char *name;
	const char *const *options; /* those of the file system that it is made again with */
	bool contents; /* what is in it is the VPS's alone, and is saved with it */
	int space; /* enum ckpt_space_kind that it shows one of, or -1 */
};

/* NULL: it is not one of these. */
const struct ckpt_mountfs *ckpt_mountfs_find(const char *name);
bool ckpt_mountfs_has_option(const struct ckpt_mountfs *fs, const char *key);
/* Whether an option of an overlay is a directory, or several. */
bool ckpt_mountfs_is_way(const char *option);
/* The one at `at` in its value; returns where the next begins, NULL when there was none. */
const char *ckpt_mountfs_next_way(const char *option, const char *at, char *ret, size_t size);

#endif
