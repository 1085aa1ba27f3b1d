/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef CHECKPOINT_UNIX_RESTORE_H
#define CHECKPOINT_UNIX_RESTORE_H

/* Between unix_restore.c and unix_fill.c. */
#include "checkpoint/image.pb-c.h"
#include "checkpoint/unix.h"

#define UNIX_PATH_ROOM 160
#define UNIX_NOT_ASIDE ((size_t)-1)

/* The path of an address, NULL for an abstract one or none. */
const char *unix_path(const ProtobufCBinaryData *name, char path[UNIX_PATH_ROOM]);
/* The directory that is the root while names of file i are used that are not its own any more. */
const char *unix_scratch(const struct ckpt_opening *o, size_t i, char dir[UNIX_PATH_ROOM]);
int unix_bind_aside(const struct ckpt_opening *o, size_t i, int fd, const ProtobufCBinaryData *name,
		    struct err *e);
/* To a name as it is, or in the scratch root of file `aside`. */
int unix_connect(const struct ckpt_opening *o, const Ckpt__Credentials *who, size_t aside, int fd,
		 const ProtobufCBinaryData *name, struct err *e);

#endif
