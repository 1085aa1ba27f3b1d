/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef CHECKPOINT_HANDLES_H
#define CHECKPOINT_HANDLES_H

#include "storage/root.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define CKPT_HANDLE_MAX 128 /* MAX_HANDLE_SZ */

/* A file as fdinfo tells of it. */
struct ckpt_handle {
	uint64_t ino;
	unsigned sdev;      /* as the kernel has it: major << 20 | minor */
	unsigned type, size; /* size 0: its file system has no handles */
	uint8_t data[CKPT_HANDLE_MAX];
};

/* Where a handle may lead. */
struct ckpt_handle_places {
	int root;            /* of the VPS */
	pid_t init;
	const struct storage_root *layers;
	/* The mount that was found last; -EBADF in the beginning. The caller closes it. */
	unsigned sdev;
	int mount;
};

/* From "ino:…" on; 0 or -EPROTO. */
int ckpt_handle_parse(const char *text, struct ckpt_handle *ret);

/* Whether a path of /proc leads to a file in the lower layer of an overlay. */
bool ckpt_handle_is_lower(const char *proc);

/*
 * The number that a file of an overlay has in the upper layer, as stat(2) has it there, by whatever path and mount it
 * was reached: `path`, of /proc, is followed from `dirfd`. 1: there it is; 0: it is none of an upper layer;
 * -EOPNOTSUPP: this kernel (before 6.5) or the layer's file system does not tell; or why it cannot be looked at.
 */
int ckpt_handle_upper(int dirfd, const char *path, uint64_t *ret);

/* A path in the VPS's root that leads to the file; -ENOENT and the like when none is found. */
int ckpt_handle_path(struct ckpt_handle_places *p, const struct ckpt_handle *h, char *path,
		     size_t room);

#endif
