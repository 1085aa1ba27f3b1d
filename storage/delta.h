/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef STORAGE_DELTA_H
#define STORAGE_DELTA_H

#include "base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * A tree carried to another place while its owner goes on changing it: the upper layer of a VPS, or
 * a template's tree. The sender walks it in passes. The first sends all that is there; each later
 * one what differs from what was sent before; the last, with the owner frozen, makes both the same.
 * What a pass found is told in records, which the receiver applies one by one.
 *
 * What has changed is told by inode number, size and ctime, which nobody can set back. Two things
 * escape them and are compared by content: a file changed within a tick of the clock after it was
 * looked at, and one that is mapped shared and writable, or was when the pass before began: a second write to a dirty
 * page leaves the ctime as it was (the caller names those: storage_writers). Content is compared by the digests of blocks that
 * the sender keeps of what it sent, so that of a large file only the blocks travel that differ.
 *
 * Kept: owners (as the tenant's ids), modes, times of modification, hard links, holes, symbolic
 * links, pipes, sockets, whiteouts; the attributes user.*, ACLs and file capabilities (with the ids
 * in them), and of an overlay's own the marks of opaque and redirected directories. Device nodes
 * are not: the root is mounted without them, and a peer must not be able to make any.
 */

struct storage_ids {
	uint32_t base;  /* host id of the tenant's id 0 */
	uint32_t count; /* 65536 */
};

enum storage_delta_kind {
	STORAGE_UPPER,    /* of an overlay: whiteouts and its attributes too */
	STORAGE_TEMPLATE,
};

#define STORAGE_RECORD_MAX (512u << 10) /* bytes of a record */

/* Gets each record of the sender. */
typedef int (*storage_put)(void *ctx, const void *record, size_t len, struct err *e);

struct storage_send;

/* `rootfd` is the tree's top, which stays the caller's and must outlive it. */
int storage_send_new(int rootfd, const struct storage_ids *ids, enum storage_delta_kind kind,
		     storage_put put, void *ctx, struct storage_send **ret, struct err *e);
void storage_send_free(struct storage_send *s);

struct storage_pass {
	uint64_t entries, changed; /* seen; told of */
	uint64_t bytes;            /* of contents sent */
	uint64_t left_out;         /* device nodes */
	bool part;                 /* it looked only at what was changed */
	bool lost;                 /* more had been changed than could be noted */
};

/*
 * From now on it is noted what is changed (journal.h), and once a pass has seen all, later ones look at that alone: what
 * they cost does not go by the number of entries. Where too much was changed to be noted, the next one looks at all
 * again. `scratch`: a directory of the same file system, for a trial. ERR_UNSUPPORTED, and all passes look at all, where
 * the kernel or the file system does not tell.
 */
int storage_send_watch(struct storage_send *s, int scratch, struct err *e);

/* Who may have changed a file without a sign: sorted inode numbers, as stat(2) of the tree has them, from before the pass. */
struct storage_writers {
	/* Files that are mapped shared and writable: their contents are compared whatever their ctime says, by the last pass or
	 * when they are mapped no more. */
	uint64_t *mapped;
	size_t mapped_count;
	/* Files that are open for writing: of what was written it may not have been told (sendfile(2), AIO). */
	uint64_t *open;
	size_t open_count;
	bool all; /* that there are; else the last pass looks at all files */
};

/*
 * One pass. `w` may be NULL where nothing is mapped. `last`: nobody changes the tree any more, so what cannot be read is an error and not a file
 * that has gone meanwhile.
 */
int storage_send_pass(struct storage_send *s, const struct storage_writers *w, bool last, struct storage_pass *ret,
		      struct err *e);

/* An upper bound of what a first pass would send, for progress and for the room it needs. */
int storage_send_size(struct storage_send *s, uint64_t *ret_bytes, uint64_t *ret_entries,
		      struct err *e);

struct storage_receive;

/*
 * `rootfd` is an empty directory (or what earlier records made of it), `limbofd` one on the same file
 * system for what is on its way from one name to another; both stay the caller's. The records may be
 * hostile: nothing outside of the two directories is touched, no owner outside of `ids` is given, no
 * device node is made.
 */
int storage_receive_new(int rootfd, int limbofd, const struct storage_ids *ids,
			enum storage_delta_kind kind, struct storage_receive **ret, struct err *e);
/* From now on what a pass has brought goes to the disk while it comes, and is there when that is settled. */
void storage_receive_durable(struct storage_receive *r);
/* 0: what came so far is on the disk; 1: not within so many milliseconds. */
int storage_receive_settle(struct storage_receive *r, unsigned ms, struct err *e);
int storage_receive_put(struct storage_receive *r, const void *record, size_t len, struct err *e);
/* True after the end of a pass, when no record is half applied. */
bool storage_receive_is_whole(const struct storage_receive *r);
void storage_receive_free(struct storage_receive *r);

#endif
