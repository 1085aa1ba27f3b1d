/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "cgroup/internal.h"

#include "base/macro.h"
#include "base/path.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>

/*
 * A tenant can leave thousands of groups, as deep as it liked when no limit was set. The walk holds
 * one fd and remembers nothing but where it came from, so neither breadth nor depth costs memory:
 * it goes down into the first group that rmdir(2) refuses, and up again by "..", which is safe here
 * because groups of the v2 tree cannot be moved to another parent.
 */

/* More steps than any limit on groups needs; ends a walk that somebody works against. */
#define STEPS_MAX 4000000

struct walk {
	int fd;
	size_t depth;
	ino_t left; /* the group that the walk came up from, known to have no groups below */
};

static int open_dir(int dirfd, const char *name)
{
	int fd = openat(dirfd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

	return fd < 0 ? -errno : fd;
}

/* Removes the groups in w->fd that have none below. Returns an fd of the first other, or -ENOENT
 * when none is left. */
static int remove_leaves(struct walk *w)
{
	cleanup_closedir DIR *dir = path_opendir_at(w->fd, ".");
	struct dirent *d;

	if (!dir)
		return -errno;
	while ((d = readdir(dir))) {
		int r;

		if (d->d_type != DT_DIR || STREQ(d->d_name, ".") || STREQ(d->d_name, ".."))
			continue;
		if (unlinkat(w->fd, d->d_name, AT_REMOVEDIR) == 0 || errno == ENOENT)
			continue;
		/* EBUSY: groups below or processes inside. */
		if (errno != EBUSY && errno != ENOTEMPTY)
			return -errno;
		if (d->d_ino == w->left)
			return -EBUSY;
		r = open_dir(w->fd, d->d_name);
		if (r != -ENOENT)
			return r;
	}
	return -ENOENT;
}

static int go_up(struct walk *w)
{
	struct stat st;
	int up;

	if (fstat(w->fd, &st) < 0)
		return -errno;
	up = open_dir(w->fd, "..");
	if (up < 0)
		return up;
	close(w->fd);
	w->fd = up;
	w->depth--;
	w->left = st.st_ino;
	return 0;
}

static int remove_below(struct walk *w)
{
	for (unsigned steps = 0; steps < STEPS_MAX; steps++) {
		int r = remove_leaves(w);

		if (r >= 0) {
			close(w->fd);
			w->fd = r;
			w->depth++;
			w->left = 0;
			continue;
		}
		if (r != -ENOENT)
			return r;
		if (w->depth == 0)
			return 0;
		r = go_up(w);
		if (r < 0)
			return r;
	}
	return -EBUSY;
}

int cgroup_remove_tree(int dirfd, const char *name)
{
	struct walk w = { 0 };
	int r;

	if (unlinkat(dirfd, name, AT_REMOVEDIR) == 0 || errno == ENOENT)
		return 0;
	if (errno != EBUSY && errno != ENOTEMPTY)
		return -errno;
	w.fd = open_dir(dirfd, name);
	if (w.fd < 0)
		return w.fd == -ENOENT ? 0 : w.fd;
	r = remove_below(&w);
	close(w.fd);
	if (r < 0)
		return r;
	if (unlinkat(dirfd, name, AT_REMOVEDIR) < 0 && errno != ENOENT)
		return -errno;
	return 0;
}
