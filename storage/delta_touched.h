/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef STORAGE_DELTA_TOUCHED_H
#define STORAGE_DELTA_TOUCHED_H

#include "storage/delta_scan.h"

/*
 * A pass that knows which inodes were changed looks at these alone. What it compares are two small catalogues in the
 * place of the whole ones: of what the receiver has and of what there is now, those entries that may differ, and
 * whatever tells how they hang together: the directory of each, all names of each file.
 */
struct delta_numbers {
	const uint64_t *ino; /* sorted */
	size_t count;
};

#define DELTA_IN_PART 1

struct delta_touched {
	struct delta_catalogue *has; /* the whole; with its index (delta_index()) */
	struct delta_catalogue old;  /* the part; paths and files are the whole's */
	unsigned char *in;           /* of each item of the whole: DELTA_IN_PART and what only the gathering needs */
	/* Its own, while it is gathered. */
	struct delta_scan scan;
	struct parent_cache *cache;
	size_t *queue, queued, looked, room; /* places of items that are to be looked at */
	struct strv names;                   /* paths that are new */
	size_t named;
};

/*
 * Gathers both parts: t->old and *ret_now. `changed` are the inodes that may have been changed in any way, `open` those
 * whose files may have been written to, in `open_lists` lists. Nothing that is told twice is looked at twice.
 */
int delta_touched_find(struct delta_touched *t, int rootfd, enum storage_delta_kind kind, bool last,
		       struct delta_catalogue *has, const struct delta_numbers *changed,
		       const struct delta_numbers *open, size_t open_lists, struct delta_catalogue *ret_now,
		       struct err *e);
/* delta_merge.c. The receiver has `now` in the place of the part: the whole becomes that, `now` is empty. */
int delta_touched_merge(struct delta_touched *t, struct delta_catalogue *now, struct err *e);
void delta_touched_done(struct delta_touched *t);

#endif
