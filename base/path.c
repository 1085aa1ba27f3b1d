/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "base/path.h"

#include "base/macro.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/syscall.h>

static int open2(int dirfd, const char *path, int flags, mode_t mode, uint64_t resolve)
{
	struct open_how how = {
		.flags = (uint64_t)(unsigned)flags | O_CLOEXEC,
		.mode = flags & (O_CREAT | __O_TMPFILE) ? mode : 0,
		.resolve = resolve,
	};
	long fd;

	do
		fd = syscall(SYS_openat2, dirfd, path, &how, sizeof(how));
	while (fd < 0 && (errno == EINTR || errno == EAGAIN)); /* EAGAIN: a rename raced `..` */
	return fd < 0 ? -errno : (int)fd;
}

int path_open_in_root(int rootfd, const char *path, int flags, mode_t mode)
{
	return open2(rootfd, path, flags, mode, RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS);
}

int path_open_no_links(int rootfd, const char *path, int flags, mode_t mode, bool same_mount)
{
	return open2(rootfd, path, flags, mode,
		     RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS | RESOLVE_NO_SYMLINKS |
			     (same_mount ? RESOLVE_NO_XDEV : 0));
}

void path_how_no_magic(int flags, struct open_how *ret)
{
	if (flags & O_PATH)
		flags &= O_PATH | O_DIRECTORY | O_NOFOLLOW;
	*ret = (struct open_how){ .flags = (uint64_t)(unsigned)flags | O_CLOEXEC, .resolve = RESOLVE_NO_MAGICLINKS };
}

/* Not open2(): a lease is EAGAIN here (O_NONBLOCK), and no root is left by a race. */
int path_open_no_magic(const char *path, int flags)
{
	struct open_how how;
	long fd;

	path_how_no_magic(flags, &how);
	do
		fd = syscall(SYS_openat2, AT_FDCWD, path, &how, sizeof(how));
	while (fd < 0 && errno == EINTR);
	return fd < 0 ? -errno : (int)fd;
}

DIR *path_opendir_at(int dirfd, const char *name)
{
	int fd = openat(dirfd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);

	if (!dir && fd >= 0)
		close(fd);
	return dir;
}

int path_mkdirs_at(int dirfd, const char *path, mode_t mode)
{
	char part[4096];
	size_t len = strlen(path);

	if (len == 0 || len >= sizeof(part))
		return -ENAMETOOLONG;
	for (size_t i = 1; i <= len; i++) {
		struct stat st;
		int r;

		if (path[i] != '/' && path[i] != '\0')
			continue;
		memcpy(part, path, i);
		part[i] = '\0';
		if (mkdirat(dirfd, part, mode) == 0)
			continue;
		r = -errno; /* EROFS comes before EEXIST */
		if (r != -EEXIST && r != -EROFS)
			return r;
		if (fstatat(dirfd, part, &st, 0) < 0)
			return errno == ENOENT ? r : -errno;
		if (!S_ISDIR(st.st_mode))
			return -ENOTDIR;
	}
	return 0;
}

/* Takes one entry out of dirfd; returns an open fd of it when it is a directory with entries. */
static int remove_entry(int dirfd, const char *name)
{
	if (unlinkat(dirfd, name, 0) == 0 || errno == ENOENT)
		return -ENOENT;
	if (errno != EISDIR && errno != EPERM)
		return -errno;
	if (unlinkat(dirfd, name, AT_REMOVEDIR) == 0 || errno == ENOENT)
		return -ENOENT;
	if (errno != ENOTEMPTY && errno != EEXIST)
		return -errno;
	return path_open_no_links(dirfd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0, true);
}

/* Empties a directory. Returns the fd of the first sub-directory that is not empty (its name in
 * `name`), or -ENOENT when nothing is left. */
static int remove_entries(int fd, char name[256])
{
	cleanup_closedir DIR *dir = path_opendir_at(fd, ".");
	struct dirent *d;

	if (!dir)
		return -errno;
	while ((d = readdir(dir))) {
		int r;

		if (STREQ(d->d_name, ".") || STREQ(d->d_name, ".."))
			continue;
		r = remove_entry(fd, d->d_name);
		if (r == -ENOENT)
			continue;
		if (r >= 0)
			snprintf(name, 256, "%s", d->d_name);
		return r == -EXDEV ? -EBUSY : r;
	}
	return -ENOENT;
}

/*
 * Depth first without recursion, and with at most two open directories: after a sub-directory has
 * been emptied the walk starts again from the top, moving deep trees up first. A directory deeper
 * than DEPTH_MAX is renamed to the top under a name of ours, so that no depth exhausts anything.
 */
#define DEPTH_MAX 64

static int remove_below(int topfd, int fd, int depth)
{
	for (;;) {
		cleanup_close int sub = -EBADF;
		char name[256];
		int r;

		r = remove_entries(fd, name);
		if (r == -ENOENT)
			return 0;
		if (r < 0)
			return r;
		sub = r;
		if (depth >= DEPTH_MAX) {
			char moved[64];
			static unsigned serial;

			snprintf(moved, sizeof(moved), ".vps-removing-%d-%u", (int)getpid(),
				 serial++);
			if (renameat(fd, name, topfd, moved) < 0)
				return -errno;
			continue;
		}
		r = remove_below(topfd, sub, depth + 1);
		if (r < 0)
			return r;
		if (unlinkat(fd, name, AT_REMOVEDIR) < 0 && errno != ENOENT && errno != ENOTEMPTY)
			return -errno;
	}
}

/* `name` in `dirfd` itself. */
static int remove_tree(int dirfd, const char *name)
{
	cleanup_close int fd = -EBADF;
	int r;

	r = remove_entry(dirfd, name);
	if (r == -ENOENT)
		return 0;
	if (r < 0)
		return r == -EXDEV ? -EBUSY : r;
	fd = r;
	for (int tries = 0; tries < 16; tries++) {
		r = remove_below(fd, fd, 0);
		if (r < 0)
			return r;
		if (unlinkat(dirfd, name, AT_REMOVEDIR) == 0 || errno == ENOENT)
			return 0;
		if (errno != ENOTEMPTY)
			return -errno;
	}
	return -ENOTEMPTY;
}

int path_remove_tree_at(int dirfd, const char *name)
{
	cleanup_close int parent = -EBADF;
	const char *slash = strrchr(name, '/');
	char dir[PATH_MAX];

	if (!slash)
		return remove_tree(dirfd, name);
	/* The way to it is ours; from there on nothing is followed. */
	if ((size_t)(slash - name) >= sizeof(dir) - 1)
		return -ENAMETOOLONG;
	snprintf(dir, sizeof(dir), "%.*s/", (int)(slash - name), name);
	parent = openat(dirfd, dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (parent < 0)
		return errno == ENOENT ? 0 : -errno;
	return remove_tree(parent, slash + 1);
}

int path_self_dir(char *buf, size_t size)
{
	ssize_t n = readlink("/proc/self/exe", buf, size - 1);
	char *slash;

	if (n < 0)
		return -errno;
	buf[n] = '\0';
	slash = strrchr(buf, '/');
	if (!slash)
		return -ENOENT;
	*slash = '\0';
	return 0;
}

int path_program(const char *name, char *buf, size_t size)
{
	char dir[4096];
	int r;

	r = path_self_dir(dir, sizeof(dir));
	if (r < 0)
		return r;
	if ((size_t)snprintf(buf, size, "%s/%s", dir, name) >= size)
		return -ENAMETOOLONG;
	if (access(buf, X_OK) == 0)
		return 0;
	if ((size_t)snprintf(buf, size, "%s/%s", VPS_LIBEXECDIR, name) >= size)
		return -ENAMETOOLONG;
	return access(buf, X_OK) == 0 ? 0 : -ENOENT;
}

/* The directory above the build tree that the running program lies in; tests lie deeper in it. */
static int source_dir(char *buf, size_t size)
{
	char mark[4352];
	int r = path_self_dir(buf, size);

	for (int up = 0; r == 0 && up < 4; up++) {
		char *slash = strrchr(buf, '/');

		if (!slash || slash == buf)
			break;
		snprintf(mark, sizeof(mark), "%s/build.ninja", buf);
		*slash = '\0';
		if (access(mark, F_OK) == 0)
			return 0;
	}
	return r < 0 ? r : -ENOENT;
}

int path_data(const char *name, char *buf, size_t size)
{
	char dir[4096];

	if (source_dir(dir, sizeof(dir)) == 0) {
		if ((size_t)snprintf(buf, size, "%s/%s", dir, name) >= size)
			return -ENAMETOOLONG;
		if (access(buf, F_OK) == 0)
			return 0;
	}
	if ((size_t)snprintf(buf, size, "%s/%s", VPS_DATADIR, name) >= size)
		return -ENAMETOOLONG;
	return access(buf, F_OK) == 0 ? 0 : -ENOENT;
}
