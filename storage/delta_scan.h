/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef STORAGE_DELTA_SCAN_H
#define STORAGE_DELTA_SCAN_H

#include "storage/delta_internal.h"

#include <xxhash.h>

/* The sender's notes: what was seen, and so what the receiver has. */

/* 64 KiB of a file's contents that the receiver has; holes are not among them. */
struct delta_block {
	uint64_t index;
	XXH128_hash_t hash;
};

/* A file, by whatever names. Its number alone does not tell which: while the tree is walked a file
 * may go and its number be given to one of another type. */
struct delta_file {
	uint64_t ino;
	mode_t type;
	struct delta_block *block; /* in order */
	size_t blocks;
	size_t first;      /* the place, from 1 on, of an item that is a name of it */
	/* In this pass: */
	const char *where; /* a name that the receiver has it under; NULL: none */
	uint64_t parked;   /* the number that it was put aside under; 0: it was not */
	bool told;
};

struct delta_item {
	char *path;
	struct stat st;
	struct delta_file *file; /* NULL: a directory */
	size_t next; /* the place, from 1 on, of another name of the file; 0: there is none */
	bool dirty;  /* may change without a sign in what stat(2) tells */
	bool mapped; /* it was when the pass began: what was written since to a dirty page has left no sign */
	bool missed; /* it could not be looked at as it was seen: the next pass does, whatever was changed */
	bool absent; /* gone before it could be sent */
	bool touched; /* a directory whose entries this pass changed, and so its times */
};

struct delta_catalogue {
	struct delta_item *item; /* by path: what holds comes before what is held */
	size_t count, room;
	struct delta_file **file; /* by inode number */
	size_t files, files_room;
	size_t *dir; /* places of the directories, by inode number */
	size_t dirs;
};

/* A walk under way. */
struct delta_scan {
	int rootfd;
	enum storage_delta_kind kind;
	bool last;
	bool part;                 /* of a tree: an entry may come without its directory, and is left out */
	struct delta_catalogue *c; /* gets what is found */
	struct timespec now;
	uint64_t left_out, names; /* the latter: bytes of all paths */
};
/* Adds the tree's top. */
int delta_scan_top(struct delta_scan *s, struct err *e);
/* Adds the entry of that name of the directory `dir`, which is at the path `above`. Before the last pass it may have gone
 * meanwhile; `may_be_gone`: then, too. */
int delta_scan_entry(struct delta_scan *s, int dir, const char *above, const char *name, bool may_be_gone,
		     struct err *e);
/* Adds what lies below the directories that were added at the place `from` and later. */
int delta_scan_below(struct delta_scan *s, size_t from, struct err *e);
/*
 * Opens a directory that was seen. -ESTALE: another stands at its place. A directory above may be moved away for a moment
 * and come back, which changes neither this one nor what it is in: who could not look now looks again in the next pass.
 */
int delta_open_dir(int rootfd, const struct delta_item *item);
/* Puts what was added in order, as delta_scan() does. */
int delta_scan_done(struct delta_scan *s, struct delta_catalogue *before, struct err *e);
/* Finds again which items are directories, and names of a file. */
int delta_index(struct delta_catalogue *c);
bool delta_is_gone(int r); /* what a file system says of a name that is gone, or is something else now */
int delta_by_path(const void *a, const void *b); /* for qsort(3), of items */
int delta_by_ino(const void *a, const void *b);  /* of pointers to files */

/* Walks the tree. Each path is there once, in a directory that is there, too. Files that `before` knows take their block digests along, out of `before`.
 * Device nodes but whiteouts are counted and left out. */
int delta_scan(int rootfd, enum storage_delta_kind kind, bool last, struct delta_catalogue *before,
	       struct delta_catalogue *ret, uint64_t *ret_left_out, struct err *e);
void delta_catalogue_done(struct delta_catalogue *c);
struct delta_item *delta_find(const struct delta_catalogue *c, const char *path);
/* The same for who looks for one after the other: *near is where the last was, 0 at first. */
struct delta_item *delta_find_near(const struct delta_catalogue *c, const char *path, size_t *near);
/* The directory that `path` lies in. */
struct delta_item *delta_find_above(const struct delta_catalogue *c, const char *path);
struct delta_file *delta_find_file(const struct delta_catalogue *c, uint64_t ino, mode_t mode);
/* Takes the items out that are marked as absent. */
void delta_forget_absent(struct delta_catalogue *c);

#endif
