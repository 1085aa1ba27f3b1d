/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef CHECKPOINT_GHOSTS_H
#define CHECKPOINT_GHOSTS_H

#include "checkpoint/tree.h"

#include <sys/stat.h>

/*
 * Ghosts: files, directories and FIFOs without a name that are still open, mapped, executed or somebody's
 * working directory. Their contents go into the image; a restore makes them where they were, and takes
 * their names away again. Files with O_TMPFILE are such too.
 */
struct ckpt_dump;
struct ckpt_looked_place;
struct ckpt_writer;
struct ckpt_opening;

/*
 * Where a file that a path of /proc leads to (/proc/PID/fd/N, exe, cwd, map_files) can be opened again:
 * *ret_path, which is `link` or another name of it, or the id of a ghost (*ret_ghost); *ret_space is the mount
 * namespace (0: process 1's). `st` is its stat.
 * ERR_UNSUPPORTED when it is hidden, or is what cannot be kept.
 */
int ckpt_place_find(struct ckpt_dump *d, const char *proc, const char *link, const struct stat *st,
		    char **ret_path, uint32_t *ret_ghost, uint32_t *ret_space, struct err *e);
/* As above for a link in /proc/PID, like "exe". */
int ckpt_place_link(struct ckpt_dump *d, pid_t pid, const char *name, char **ret_path,
		    uint32_t *ret_ghost, uint32_t *ret_space, struct err *e);
/* True when that link leads to a file that has been found before, by its path. */
bool ckpt_place_known(struct ckpt_dump *d, const struct ckpt_looked_place *l, char **ret_path, uint32_t *ret_space);

/* Of what a mount shows, though it was deleted: `fd` leads to it (O_PATH), `path` is where in the file system it
 * was. */
int ckpt_ghost_mounted(struct ckpt_dump *d, int fd, const char *path, uint32_t super, uint32_t *ret, struct err *e);

/*
 * What has a name that no path leads to: `link` is that of /proc. In this mount (a record) behind others, or in none
 * any more. 1: *ret is its ghost; 0: it is not found. (hidden.c)
 */
int ckpt_hidden_covered(struct ckpt_dump *d, uint32_t mount, const char *link, const struct stat *st, uint32_t *ret,
			struct err *e);
int ckpt_hidden_unmounted(struct ckpt_dump *d, const char *link, const struct stat *st, uint32_t *ret, struct err *e);

/* Of which types they may be: files, directories, FIFOs, and the names of sockets. */
bool ckpt_ghost_may_be(uint32_t mode);

/* The contents; behind the records of the tree, before pages. */
int ckpt_ghosts_write(struct ckpt_dump *d, struct ckpt_writer *w, struct err *e);
/* Closes what the dump holds of them. */
void ckpt_ghosts_done(struct ckpt_dump *d);

/* Reading: contents are put into t->spool, or dropped when there is none. */
int ckpt_ghost_take(struct ckpt_tree *t, const struct ckpt_record *rec, struct err *e);
int ckpt_ghost_check(const struct ckpt_tree *t, size_t n, struct err *e);
/* In the first process: makes ghost n (from 0); a new fd. `spool` is t->spool, there. */
int ckpt_ghost_make(const struct ckpt_tree *t, size_t n, int spool, struct err *e);
/* The same for what is to be mounted, below the directory `root` and without links. It keeps a name until then, as
 * nothing without one can be: ckpt_ghost_unname() takes that away. */
struct ckpt_ghost_name {
	int dir;
	char name[256];
	bool is_dir;
	struct timespec times[2]; /* of the directory, before */
};
int ckpt_ghost_make_named(const struct ckpt_tree *t, size_t n, int root, const char *path, int spool,
			  struct ckpt_ghost_name *ret, struct err *e);
int ckpt_ghost_unname(struct ckpt_ghost_name *g);

#endif
