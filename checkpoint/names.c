/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Another name of a file that lost the one it was opened by: first where that was, then everywhere on its
 * file system. */
#include "base/fd.h"
#include "base/macro.h"
#include "base/path.h"
#include "checkpoint/internal.h"

#include <fcntl.h>
#include <sys/stat.h>

#define DEPTH_MAX 64

struct search {
	const struct stat *st;
	dev_t mount;      /* of the directories on the file system */
	char path[4096];
	size_t len;
};

/* True when found; the path is in s. */
static bool look(struct search *s, int dirfd, bool deep, int depth)
{
	int fd = openat(dirfd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	cleanup_closedir DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	size_t len = s->len;
	const struct dirent *de;

	if (!dir)
		fd_close(&fd);
	while (dir && (de = readdir(dir))) {
		cleanup_close int sub = -EBADF;
		struct stat st;

		if (STREQ(de->d_name, ".") || STREQ(de->d_name, "..") ||
		    len + strlen(de->d_name) + 2 > sizeof(s->path))
			continue;
		s->len = len + (size_t)snprintf(s->path + len, sizeof(s->path) - len, "/%s", de->d_name);
		if (de->d_type != DT_DIR && de->d_ino == s->st->st_ino &&
		    fstatat(dirfd, de->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
		    st.st_ino == s->st->st_ino && st.st_dev == s->st->st_dev)
			return true;
		if (!deep || de->d_type != DT_DIR || depth == DEPTH_MAX)
			continue;
		sub = openat(dirfd, de->d_name, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
		if (sub >= 0 && fstat(sub, &st) == 0 && st.st_dev == s->mount && look(s, sub, true, depth + 1))
			return true;
	}
	s->path[s->len = len] = '\0';
	return false;
}

/* The directory of a path, or what is left of the way there. */
static int open_left(int root, char *path)
{
	char *slash;
	int fd = -EBADF;

	while (fd < 0 && (slash = strrchr(path, '/'))) {
		*slash = '\0';
		fd = path_open_in_root(root, path[0] ? path : "/", O_RDONLY | O_DIRECTORY, 0);
	}
	return fd;
}

/* The path of the mount that a directory lies on: the last on the way up with its device. */
static void to_mount(int root, char *path, dev_t dev)
{
	char up[4096];
	char *slash;

	snprintf(up, sizeof(up), "%s", path);
	while ((slash = strrchr(up, '/'))) {
		cleanup_close int fd = -EBADF;
		struct stat st;

		*slash = '\0';
		fd = path_open_in_root(root, up[0] ? up : "/", O_PATH | O_DIRECTORY, 0);
		if (fd < 0 || fstat(fd, &st) < 0 || st.st_dev != dev)
			return;
		snprintf(path, sizeof(up), "%s", up);
	}
}

char *ckpt_name_find(struct ckpt_dump *d, int root, const char *lost, const struct stat *st)
{
	struct search s = { .st = st };

	snprintf(s.path, sizeof(s.path), "%s", lost);
	for (int deep = 0; deep < 2; deep++) {
		cleanup_close int fd = deep ? path_open_in_root(root, s.path[0] ? s.path : "/", O_RDONLY | O_DIRECTORY, 0)
					    : open_left(root, s.path);
		struct stat dir;

		if (fd < 0 || fstat(fd, &dir) < 0)
			return NULL;
		s.mount = dir.st_dev;
		s.len = strlen(s.path);
		if (look(&s, fd, deep, 0))
			return ckpt_strdup(&d->tree.arena, s.path);
		to_mount(root, s.path, dir.st_dev);
	}
	return NULL;
}
