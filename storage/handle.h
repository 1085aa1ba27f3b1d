/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef STORAGE_HANDLE_H
#define STORAGE_HANDLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The number of the inode that a file's handle (name_to_handle_at(2)) is of, where its type has that in it: those of
 * ext4, xfs and others (linux/exportfs.h: FILEID_INO32_GEN, FILEID_INO64_GEN, each with a parent, too). Some, as tmpfs,
 * have their own way behind the same type: who relies on it compares one with stat(2) first. */
bool storage_handle_ino(int type, const void *handle, size_t len, uint64_t *ret);

#endif
