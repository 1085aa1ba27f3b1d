/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "storage/internal.h"

#include "base/array.h"
#include "base/macro.h"
#include "base/path.h"
#include "base/str.h"

#include <fcntl.h>
#include <sys/stat.h>

/*
 * Adds up a tree that its tenant may be changing, and may have made deeper than there are fds. Two
 * fds are open at a time: the walk goes down by name and up by "..", and "..", which may lead
 * elsewhere after a rename, must be the directory it came from.
 */

struct level {
	dev_t dev;
	ino_t ino;
	struct strv dirs; /* the sub-directories still to see */
};

struct walk {
	struct level *level;
	size_t depth, room;
	uint64_t bytes;
};

static void walk_done(struct walk *w)
{
	while (w->depth > 0)
		strv_done(&w->level[--w->depth].dirs);
	free(w->level);
}

/* Reads a directory onto the stack and counts what is in it. */
static int enter(struct walk *w, int fd)
{
	cleanup_closedir DIR *dir = NULL;
	struct level *l;
	struct dirent *d;
	struct stat st;

	if (array_grow(&w->level, w->depth, &w->room, 16) < 0)
		return -ENOMEM;
	if (fstat(fd, &st) < 0)
		return -errno;
	l = &w->level[w->depth++];
	*l = (struct level){ .dev = st.st_dev, .ino = st.st_ino };
	w->bytes += (uint64_t)st.st_blocks * 512;

	dir = path_opendir_at(fd, ".");
	if (!dir)
		return -errno;
	while ((d = readdir(dir))) {
		if (STREQ(d->d_name, ".") || STREQ(d->d_name, ".."))
			continue;
		if (fstatat(fd, d->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0)
			continue; /* gone meanwhile */
		if (S_ISDIR(st.st_mode)) {
			if (strv_add(&l->dirs, d->d_name) < 0)
				return -ENOMEM;
			continue;
		}
		/* All links of a file are in this tree, so its parts add up to the whole. */
		w->bytes += (uint64_t)st.st_blocks * 512 / (st.st_nlink ? st.st_nlink : 1);
	}
	return 0;
}

/* Moves *fd to the next directory: down into the last one noted, or up. 0 at the end. */
static int step(struct walk *w, int *fd)
{
	struct level *l = &w->level[w->depth - 1];
	struct stat st;
	int next, r;

	if (l->dirs.count > 0) {
		char *name = l->dirs.item[--l->dirs.count];

		next = path_open_no_links(*fd, name, O_RDONLY | O_DIRECTORY, 0, true);
		l->dirs.item[l->dirs.count] = NULL;
		free(name);
		if (next < 0)
			return 1; /* gone, or not a directory any more */
		close(*fd);
		*fd = next;
		r = enter(w, next);
		return r < 0 ? r : 1;
	}
	strv_done(&l->dirs);
	if (--w->depth == 0)
		return 0;
	l--;
	next = openat(*fd, "..", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (next < 0)
		return -errno;
	close(*fd);
	*fd = next;
	if (fstat(next, &st) < 0)
		return -errno;
	return st.st_dev == l->dev && st.st_ino == l->ino ? 1 : -ESTALE;
}

static int walk_once(int dirfd, uint64_t *ret_bytes)
{
	cleanup_close int fd = openat(dirfd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct walk w = { 0 };
	int r;

	if (fd < 0)
		return -errno;
	r = enter(&w, fd);
	if (r == 0)
		while ((r = step(&w, &fd)) > 0)
			;
	*ret_bytes = w.bytes;
	walk_done(&w);
	return r;
}

int storage_tree_usage(int dirfd, uint64_t *ret_bytes, struct err *e)
{
	int r = -ESTALE;

	for (int tries = 0; r == -ESTALE && tries < 8; tries++)
		r = walk_once(dirfd, ret_bytes);
	return r < 0 ? err_code(e, r, "count the bytes of a root") : 0;
}
