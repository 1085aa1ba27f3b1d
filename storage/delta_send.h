/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef STORAGE_DELTA_SEND_H
#define STORAGE_DELTA_SEND_H

#include "storage/catalogue.h"
#include "storage/delta_touched.h"
#include "storage/journal.h"

/* Inside delta_send*.c. */

struct storage_send {
	int rootfd;
	struct storage_ids ids;
	enum storage_delta_kind kind;
	storage_put put;
	void *ctx;
	uint64_t seed; /* of the digests: nobody can choose blocks that have the same */
	struct delta_catalogue has; /* the receiver */
	struct parent_cache cache;
	struct buf out;
	char *block;
	/* Of the pass under way. */
	struct delta_catalogue now;
	struct storage_pass pass;
	const struct storage_writers *writers;
	bool last;
	uint64_t parks; /* files put aside so far */
	bool absent;    /* a directory could not be sent */
	/* Of passes that look at a part. */
	struct storage_journal *journal;
	bool seen;    /* all there was when it began: `has` and what it notes are all there is */
	bool pending; /* the last pass's part is to be put into `has` */
	struct delta_touched part;
	struct delta_catalogue part_now;
};

int delta_tell(struct storage_send *s, const struct delta_record *rec, struct err *e);
/*
 * delta_content.c: tells what of a regular file's first `size` bytes the receiver does not have. Holes need not be
 * read; a block of zeros becomes one. What lies past `size`, because the file grows meanwhile, is not read: the
 * receiver cuts it off, and the digest would speak of what it has not.
 */
int delta_send_content(struct storage_send *s, struct delta_record *rec, struct delta_file *f, int fd, off_t size,
		       struct err *e);

#endif
