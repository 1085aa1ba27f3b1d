/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef SUPERVISOR_DISK_H
#define SUPERVISOR_DISK_H

#include "base/err.h"
#include "storage/root.h"

#include <stdbool.h>
#include <stdint.h>

/*
 * The files of a VPS behind the trailer of its image, for a checkpoint after which it runs on:
 *
 *   8 bytes "VPSFILES"
 *   records: u32 length, u32 0, u64 XXH3-64 of what follows, seeded with the record's number; then a
 *   record of storage/delta.h
 *   a record of length 0, the end
 *
 * All little endian. They are written in two passes: one while the VPS runs, and what has changed
 * since while it stands still with its processes.
 */
struct disk_save;

/* `tell` as of worker.h, may be NULL. */
typedef int (*disk_tell)(void *ctx, const char *stage, uint64_t done, uint64_t total);

/* `root` must outlive it; what is written waits in a file of the directory `tmpdir`. */
int disk_save_new(const struct storage_root *root, int tmpdir, disk_tell tell, struct disk_save **ret,
		  struct err *e);
/* `last`: nobody changes the files any more. */
int disk_save_pass(struct disk_save *s, bool last, struct err *e);
/* Appends all of it to `fd`. */
int disk_save_append(struct disk_save *s, int fd, struct err *e);
void disk_save_free(struct disk_save *s);

/*
 * Reads it from `fd`, which stands behind an image, into `root`, which has been created and holds
 * nothing (NULL: reads and checks the framing alone). Whatever is in there, nothing outside of it is
 * touched (storage/delta.h).
 */
int disk_load(int fd, const struct storage_root *root, disk_tell tell, struct err *e);

#endif
