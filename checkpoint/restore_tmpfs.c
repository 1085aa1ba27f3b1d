/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "base/macro.h"
#include "base/path.h"
#include "checkpoint/as.h"
#include "checkpoint/binfmt.h"
#include "checkpoint/image.pb-c.h"
#include "checkpoint/internal.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/xattr.h>

struct filling {
	const struct ckpt_tree *tree;
	uint32_t super;
	int root;
	const char *keep;
};

/* The directory that a path lies in; *name is its last part. The path has been checked to have
 * one. */
static int open_parent(const struct filling *f, const char *path, const char **name)
{
	char dir[4096];

	*name = strrchr(path, '/') + 1;
	snprintf(dir, sizeof(dir), "%.*s", (int)(*name - 1 - path), path);
	return dir[0] ? path_open_no_links(f->root, dir + 1, O_PATH | O_DIRECTORY, 0, true) :
			fcntl(f->root, F_DUPFD_CLOEXEC, 3);
}

static bool is_wanted(const struct filling *f, const char *path)
{
	for (size_t i = 0; i < f->tree->tmpfs_count; i++)
		if (f->tree->tmpfs[i]->super == f->super && STREQ(f->tree->tmpfs[i]->path, path))
			return true;
	return false;
}

static bool is_placed_dir(const struct filling *f, const char *path)
{
	return f->tree->placed && STREQ(path + 1, f->tree->placed->dir);
}

/* What the runtime has put there and the tenant has taken away. */
static int remove_rest(const struct filling *f, int dir, const char *path)
{
	int fd = openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC), r = 0;
	cleanup_closedir DIR *d = fd < 0 ? NULL : fdopendir(fd);
	const struct dirent *de;
	char sub[4096];

	while (d && r == 0 && (de = readdir(d))) {
		cleanup_close int next = -EBADF;
		struct stat st;

		if (STREQ(de->d_name, ".") || STREQ(de->d_name, "..") ||
		    (size_t)snprintf(sub, sizeof(sub), "%s/%s", path, de->d_name) >= sizeof(sub) ||
		    (f->keep && STREQ(sub, f->keep)) || is_placed_dir(f, sub))
			continue;
		next = openat(dirfd(d), de->d_name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
		if (next < 0 || fstat(next, &st) < 0)
			return -errno;
		if (S_ISCHR(st.st_mode) || S_ISBLK(st.st_mode))
			continue;
		if (!is_wanted(f, sub))
			r = path_remove_tree_at(dirfd(d), de->d_name);
		else if (S_ISDIR(st.st_mode))
			r = remove_rest(f, next, sub);
	}
	return d ? r : -EIO;
}

static int make_file(int dir, const char *name, const Ckpt__TmpfsEntry *n)
{
	cleanup_close int fd = openat(dir, name, O_WRONLY | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);

	if (fd < 0 || ftruncate(fd, (off_t)n->size) < 0)
		return -errno;
	if (n->data.len &&
	    pwrite(fd, n->data.data, n->data.len, (off_t)n->offset) != (ssize_t)n->data.len)
		return errno ? -errno : -ENOSPC;
	return 0;
}

int ckpt_copy_data(int from, int to)
{
	cleanup_free uint8_t *buf = malloc(MIB(1));
	off_t at = 0, hole;

	if (!buf)
		return -ENOMEM;
	while ((at = lseek(from, at, SEEK_DATA)) >= 0)
		for (hole = lseek(from, at, SEEK_HOLE); at < hole;) {
			ssize_t n = pread(from, buf, (size_t)(hole - at) < MIB(1) ? (size_t)(hole - at) : MIB(1), at);

			ssize_t put = n > 0 ? pwrite(to, buf, (size_t)n, at) : -1;

			if (put != n)
				return n > 0 && put < 0 ? -errno : n > 0 ? -ENOSPC : -EIO;
			at += n;
		}
	return errno == ENXIO ? 0 : -errno;
}

/* It was filled on another file system, as it was not known that there would be this one. */
static int copy_placed(const struct filling *f, int dir, const char *name, const Ckpt__TmpfsEntry *n)
{
	cleanup_close int fd = openat(dir, name, O_WRONLY | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);

	if (fd < 0 || ftruncate(fd, (off_t)n->size) < 0)
		return -errno;
	return ckpt_copy_data(f->tree->placed->fd[n->shmem - 1], fd);
}

static int place_file(const struct filling *f, int dir, const char *name, const Ckpt__TmpfsEntry *n)
{
	const struct ckpt_placed *p = f->tree->placed;
	cleanup_close int fd = -EBADF;
	struct stat st;
	char from[64];

	if (!p || n->shmem > p->count)
		return -EPROTO;
	snprintf(from, sizeof(from), "%s/%u", p->dir, n->shmem);
	if (renameat(f->root, from, dir, name) < 0)
		return errno == ENOENT ? copy_placed(f, dir, name, n) : -errno;
	fd = openat(dir, name, O_WRONLY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0 || fstat(fd, &st) < 0 ||
	    ((uint64_t)st.st_size != n->size && ftruncate(fd, (off_t)n->size) < 0))
		return -errno;
	return 0;
}

static int make_link(const struct filling *f, int dir, const char *name, uint32_t of)
{
	const char *other;
	cleanup_close int from = open_parent(f, f->tree->tmpfs[of - 1]->path, &other);

	if (from < 0)
		return from;
	return linkat(from, other, dir, name, 0) < 0 ? -errno : 0;
}

/* Most that the runtime makes are there as they were. */
static int make_symlink(int dir, const char *name, const char *target)
{
	char now[4096];
	ssize_t len;

	if (symlinkat(target, dir, name) == 0)
		return 0;
	if (errno != EEXIST)
		return -errno;
	len = readlinkat(dir, name, now, sizeof(now));
	if (len == (ssize_t)strlen(target) && memcmp(now, target, (size_t)len) == 0)
		return 0;
	return unlinkat(dir, name, 0) < 0 || symlinkat(target, dir, name) < 0 ? -errno : 0;
}

static int make(const struct filling *f, int dir, const char *name, const Ckpt__TmpfsEntry *n)
{
	if (n->link)
		return make_link(f, dir, name, n->link);
	switch (n->mode & S_IFMT) {
	case S_IFDIR:
		return mkdirat(dir, name, 0700) < 0 && errno != EEXIST ? -errno : 0;
	case S_IFREG:
		return n->shmem ? place_file(f, dir, name, n) : make_file(dir, name, n);
	case S_IFLNK:
		return make_symlink(dir, name, n->target);
	case S_IFIFO:
	case S_IFSOCK:
	case S_IFCHR: /* a whiteout: the device 0, 0 */
		return mknodat(dir, name, n->mode & (S_IFMT | 07777), 0) < 0 ? -errno : 0;
	default:
		return -EINVAL;
	}
}

/* In what a nested user namespace has mounted there are no others than its own users. */
static int make_owned(const struct filling *f, int dir, const char *name, const Ckpt__TmpfsEntry *n)
{
	int r, back;

	if (!f->tree->supers[f->super - 1]->owner)
		return make(f, dir, name, n);
	r = ckpt_make_as(n->uid, n->gid);
	r = r == 0 ? make(f, dir, name, n) : r;
	back = ckpt_make_as(0, 0);
	return r < 0 ? r : back;
}

static bool is_same(const struct stat *st, const Ckpt__TmpfsEntry *n)
{
	return st->st_uid == n->uid && st->st_gid == n->gid &&
	       (st->st_mode & 07777) == (n->mode & 07777);
}

/* Owner, permissions, attributes, in the order in which none takes another away. */
static int adorn(int fd, const Ckpt__TmpfsEntry *n)
{
	char self[64];
	struct stat st;

	snprintf(self, sizeof(self), "/proc/self/fd/%d", fd);
	if (fstat(fd, &st) < 0)
		return -errno;
	/* A mask of the runtime's is read-only, and as it was. */
	if (!is_same(&st, n) && (fchownat(fd, "", n->uid, n->gid, AT_EMPTY_PATH) < 0 ||
				 (!S_ISLNK(n->mode) && chmod(self, n->mode & 07777) < 0)))
		return -errno;
	for (size_t i = 0; i < n->n_xattrs; i++)
		if (setxattr(self, n->xattrs[i]->name, n->xattrs[i]->value.data,
			     n->xattrs[i]->value.len, 0) < 0)
			return -errno;
	return 0;
}

static int set_times(int fd, const Ckpt__TmpfsEntry *n)
{
	struct timespec ts[2] = {
		{ (time_t)(n->atime_ns / 1000000000), (long)(n->atime_ns % 1000000000) },
		{ (time_t)(n->mtime_ns / 1000000000), (long)(n->mtime_ns % 1000000000) },
	};

	return utimensat(fd, "", ts, AT_EMPTY_PATH) < 0 && errno != EROFS ? -errno : 0;
}

static int open_entry(const struct filling *f, const Ckpt__TmpfsEntry *n)
{
	cleanup_close int dir = -EBADF;
	const char *name;
	int fd;

	if (!n->path[0])
		return fcntl(f->root, F_DUPFD_CLOEXEC, 3);
	dir = open_parent(f, n->path, &name);
	if (dir < 0)
		return dir;
	fd = openat(dir, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	return fd < 0 ? -errno : fd;
}

static int fill_one(const struct filling *f, size_t i, struct err *e)
{
	const Ckpt__TmpfsEntry *n = f->tree->tmpfs[i];
	const Ckpt__TmpfsEntry *next = i + 1 < f->tree->tmpfs_count ? f->tree->tmpfs[i + 1] : NULL;
	bool more = next && next->super == n->super && STREQ(next->path, n->path);
	cleanup_close int fd = -EBADF;
	int r = 0;

	if (n->path[0]) {
		const char *name;
		cleanup_close int dir = open_parent(f, n->path, &name);

		r = dir < 0 ? dir : make_owned(f, dir, name, n);
	}
	if (r == 0 && !more && !n->link) { /* the last piece of a file */
		fd = open_entry(f, n);
		r = fd < 0 ? fd : adorn(fd, n);
		if (r == 0 && !S_ISDIR(n->mode))
			r = set_times(fd, n);
	}
	return r < 0 ? err_code(e, r, "make %s in a tmpfs again", n->path) : 0;
}

int ckpt_tmpfs_restore(const struct ckpt_tree *t, uint32_t super, int root, const char *keep,
		       struct err *e)
{
	struct filling f = { t, super, root, keep };
	int r;

	if (ckpt_binfmt_is(t->supers[super - 1]))
		return ckpt_binfmt_restore(t, super, root, e);
	r = remove_rest(&f, root, "");
	if (r < 0)
		return err_code(e, r, "clear a tmpfs");
	for (size_t i = 0; r == 0 && i < t->tmpfs_count; i++)
		if (t->tmpfs[i]->super == super)
			r = fill_one(&f, i, e);
	/* What was not wanted, of a file that went meanwhile. */
	if (r == 0 && t->placed && faccessat(root, t->placed->dir, F_OK, AT_SYMLINK_NOFOLLOW) == 0) {
		r = path_remove_tree_at(root, t->placed->dir);
		r = r < 0 ? err_code(e, r, "clear a tmpfs") : 0;
	}
	/* A directory's times, once nothing more is made in it. */
	for (size_t i = 0; r == 0 && i < t->tmpfs_count; i++) {
		const Ckpt__TmpfsEntry *n = t->tmpfs[i];
		cleanup_close int fd = -EBADF;

		if (n->super != super || !S_ISDIR(n->mode))
			continue;
		fd = open_entry(&f, n);
		r = fd < 0 ? fd : set_times(fd, n);
		if (r < 0)
			return err_code(e, r, "set the times of %s", n->path);
	}
	return r;
}
