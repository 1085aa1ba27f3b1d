/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef CHECKPOINT_UNIX_RESTORE_H
#define CHECKPOINT_UNIX_RESTORE_H

/* Between unix_names.c, unix_restore.c and unix_fill.c. */
#include "checkpoint/image.pb-c.h"
#include "checkpoint/unix.h"

#define UNIX_PATH_ROOM 160 /* for a path in an address, and what directories of ours come before it */
#define UNIX_NOBODY ((size_t)-1)

/* Where the file of a socket is: `base` in the directory `dir`, an fd of the caller's; negative: it has none. */
struct unix_place {
	int dir;
	char base[256];
};
#define UNIX_NOWHERE ((struct unix_place){ -EBADF, "" })

/* A call with a socket and a name. */
struct unix_call {
	int fd;
	ProtobufCBinaryData name;
};

/* The path of an address, NULL for an abstract one or none. */
const char *unix_path(const ProtobufCBinaryData *name, char path[UNIX_PATH_ROOM]);
/* It may be abstract. */
bool unix_is_named(const ProtobufCBinaryData *name);
/* bind(2), where that is in nobody's way: in a root of file i's alone. NULL, or *ret is where. */
int unix_bind_aside(const struct ckpt_opening *o, size_t i, int fd, const ProtobufCBinaryData *name,
		    struct unix_place *ret, struct err *e);
/* bind(2) of file i, whose file is to be where it was. */
int unix_bind_live(const struct ckpt_opening *o, size_t i, struct err *e);
/* Where file i was bound by one of the two. */
int unix_find(const struct ckpt_opening *o, size_t i, struct unix_place *ret, struct err *e);
/* Where a name leads to from the VPS's root. */
int unix_find_name(const ProtobufCBinaryData *name, struct unix_place *ret, struct err *e);
/* connect(2) to what is at that place, or has the abstract name. Closes the place. */
int unix_connect(const struct ckpt_opening *o, const Ckpt__Credentials *who, struct unix_place *to, int fd,
		 const ProtobufCBinaryData *name, struct err *e);
/* The address of what is at a place, for who has its directory as the root. */
struct sockaddr_un;
ProtobufCBinaryData unix_address(const struct unix_place *at, struct sockaddr_un *sa);

#endif
