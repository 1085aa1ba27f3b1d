/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef SUPERVISOR_WORKER_FILES_H
#define SUPERVISOR_WORKER_FILES_H

#include "base/err.h"

#include <stdint.h>

/*
 * Tar streams (pax) of a tree that its tenant may change meanwhile in any way. Both resolve all
 * paths with openat2(RESOLVE_IN_ROOT) below `root`, follow no link in the last component and open
 * nothing but regular files and directories for reading or writing. Owners are those of the
 * caller's user namespace.
 */

/* Unpacks what `fd` gives below the directory `path`. */
int files_unpack(int root, const char *path, int fd, uint64_t *ret_bytes, struct err *e);
/* Packs what `path` names, with names relative to its parent; other mounts below are left out. */
int files_pack(int root, const char *path, int fd, uint64_t *ret_bytes, struct err *e);

#endif
