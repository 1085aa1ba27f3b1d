/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef STORAGE_DELTA_INTERNAL_H
#define STORAGE_DELTA_INTERNAL_H

#include "base/str.h"
#include "storage/delta.h"

#include <sys/stat.h>
#include <time.h>

/* Inside the folder: what both ends of a delta share. */

#define DELTA_PATH_MAX 4095
#define DELTA_XATTR_MAX 65536 /* xattr(7): of all names together, and of a value */
#define DELTA_XATTRS 1024     /* attributes of one file */
#define DELTA_BLOCK (64u << 10)

/*
 * Records. Numbers are little-endian; `path` is relative to the top ("" is the top itself) and
 * preceded, as `target`, by its length in 16 bits.
 *
 *   DIR, ATTR, FILE, NODE   path, attributes
 *   DATA                    path, offset, bytes
 *   ZERO                    path, offset, length
 *   LINK                    path, target
 *   PARK, UNPARK            path, number
 *   REMOVE, RMDIR           path
 *   END
 */
enum delta_op {
	DELTA_DIR = 1, /* a directory, made unless it is there */
	DELTA_FILE,    /* an empty file, made */
	DELTA_NODE,    /* symbolic link, pipe, socket or whiteout, made */
	DELTA_DATA,
	DELTA_ZERO,    /* a hole where something was */
	DELTA_ATTR,    /* all attributes, and the size of a file: after its data */
	DELTA_LINK,    /* one more name of the file `target` */
	DELTA_PARK,    /* out of the tree, until UNPARK in the same pass */
	DELTA_UNPARK,
	DELTA_REMOVE,
	DELTA_RMDIR,
	DELTA_END,     /* of a pass */
	DELTA_OP_COUNT,
};

/* Ids are the tenant's, 0 to 65535. */
struct delta_attr {
	uint32_t mode, uid, gid, rdev;
	uint64_t size;
	struct timespec mtime;
	char target[DELTA_PATH_MAX + 1]; /* of a symbolic link */
	struct buf xattrs; /* as in a record: name length (8 bits), value length (32), both */
	unsigned xattr_count;
};

static inline void delta_attr_done(struct delta_attr *a)
{
	buf_done(&a->xattrs);
}
#define cleanup_attr __attribute__((cleanup(delta_attr_done)))

struct delta_record {
	enum delta_op op;
	char path[DELTA_PATH_MAX + 1];
	char target[DELTA_PATH_MAX + 1];
	uint64_t offset, length, number;
	const void *data; /* into what was decoded */
	size_t data_len;
	struct delta_attr attr;
};

/* delta_wire.c */
int delta_encode(const struct delta_record *r, struct buf *out);
/* -EBADMSG: not a record. A path that has passed has no empty, "." or ".." component, no slash at
 * its ends, no NUL; numbers fit what they are for. `r` is to be let go with delta_attr_done(&r->attr)
 * in any case. */
int delta_decode(const void *data, size_t len, struct delta_record *r);
/* Calls fn for each attribute; stops at what it returns when that is not 0. */
int delta_each_xattr(const struct buf *xattrs,
		     int (*fn)(void *ctx, const char *name, const void *value, size_t len), void *ctx);
int delta_add_xattr(struct delta_attr *a, const char *name, const void *value, size_t len);

/* delta_attr.c */
/* Reads all attributes of an entry; `fd` is the open file or directory, or -EBADF for what is not to
 * be opened. */
int delta_attr_read(int parent, const char *name, int fd, const struct stat *st,
		    const struct storage_ids *ids, enum storage_delta_kind kind,
		    struct delta_attr *ret);
/* Gives them to an entry, its size included. */
int delta_attr_write(int parent, const char *name, int fd, const struct delta_attr *a,
		     const struct storage_ids *ids, enum storage_delta_kind kind);

#endif
