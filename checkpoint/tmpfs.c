/* SPDX-License-Identifier: GPL-2.0-or-later */

/*
 * What lies in the tmpfs that every VPS is started with: it is gone with the VPS. Sockets in it are left
 * out, those that are bound come back with their sockets. The mounts themselves are the runtime's.
 */
#include "base/fd.h"
#include "base/macro.h"
#include "base/path.h"
#include "checkpoint/image.pb-c.h"
#include "checkpoint/internal.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>

static const char *const mounts[] = { "/run", "/dev/shm" };

#define CHUNK MIB(1)
#define TOTAL_MAX MIB(256) /* it is held in memory */
#define DEPTH_MAX 64

static int add(struct ckpt_dump *d, const char *path, const struct stat *st, Ckpt__TmpfsEntry **ret,
	       struct err *e)
{
	struct ckpt_tree *t = &d->tree;
	Ckpt__TmpfsEntry *n = ckpt_alloc(&t->arena, sizeof(*n));

	if (!n)
		return err_code(e, -ENOMEM, "collect %s", path);
	ckpt__tmpfs_entry__init(n);
	n->path = ckpt_strdup(&t->arena, path);
	n->mode = st->st_mode;
	n->uid = st->st_uid - d->uid_base;
	n->gid = st->st_gid - d->uid_base;
	n->mtime_ns = (uint64_t)st->st_mtim.tv_sec * 1000000000 + (uint64_t)st->st_mtim.tv_nsec;
	n->size = S_ISREG(st->st_mode) ? (uint64_t)st->st_size : 0;
	*ret = n;
	if (!n->path || ckpt_push(&t->arena, &t->tmpfs, &t->tmpfs_count, n) < 0)
		return err_code(e, -ENOMEM, "collect %s", path);
	return 0;
}

static int add_file(struct ckpt_dump *d, int fd, const char *path, const struct stat *st, struct err *e)
{
	Ckpt__TmpfsEntry *n;
	off_t at = 0, hole;
	int r = add(d, path, st, &n, e);

	if (r == 0 && st->st_nlink > 1)
		return err_set(e, ERR_UNSUPPORTED, "%s has several names, which cannot be saved yet", path);
	while (r == 0 && (at = lseek(fd, at, SEEK_DATA)) >= 0) {
		hole = lseek(fd, at, SEEK_HOLE);
		for (; r == 0 && at < hole; at += (off_t)CHUNK) {
			size_t len = (size_t)(hole - at) < CHUNK ? (size_t)(hole - at) : CHUNK;

			d->tmpfs_bytes += len;
			if (d->tmpfs_bytes > TOTAL_MAX)
				return err_set(e, ERR_UNSUPPORTED, "more than %zu MiB lie in tmpfs", TOTAL_MAX >> 20);
			if (n->data.len) /* one piece each */
				r = add(d, path, st, &n, e);
			if (r < 0)
				return r;
			n->offset = (uint64_t)at;
			n->data.data = ckpt_alloc(&d->tree.arena, len);
			if (!n->data.data || pread(fd, n->data.data, len, at) != (ssize_t)len)
				return err_sys(e, "read %s", path);
			n->data.len = len;
		}
		at = hole;
	}
	return r;
}

static int walk(struct ckpt_dump *d, int dirfd, const char *path, int depth, struct err *e)
{
	cleanup_closedir DIR *dir = NULL;
	const struct dirent *de;
	int fd = openat(dirfd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC), r = 0;

	dir = fd < 0 ? NULL : fdopendir(fd);
	if (!dir || depth > DEPTH_MAX)
		return err_sys(e, "read %s", path);
	while (r == 0 && (de = readdir(dir))) {
		cleanup_close int sub = -EBADF;
		char name[4096], target[4096];
		Ckpt__TmpfsEntry *n;
		struct stat st;
		ssize_t len;

		if (STREQ(de->d_name, ".") || STREQ(de->d_name, ".."))
			continue;
		if ((size_t)snprintf(name, sizeof(name), "%s/%s", path, de->d_name) >= sizeof(name))
			return err_set(e, ERR_UNSUPPORTED, "a path below %s is too long", path);
		if (STREQ(name, "/run/host")) /* the runtime's own */
			continue;
		if (fstatat(dirfd, de->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0)
			return err_sys(e, "look at %s", name);
		if (S_ISSOCK(st.st_mode))
			continue;
		if (S_ISLNK(st.st_mode)) {
			len = readlinkat(dirfd, de->d_name, target, sizeof(target) - 1);
			if (len < 0)
				return err_sys(e, "read %s", name);
			target[len] = '\0';
			r = add(d, name, &st, &n, e);
			if (r == 0)
				n->target = ckpt_strdup(&d->tree.arena, target);
			continue;
		}
		if (S_ISFIFO(st.st_mode)) {
			r = add(d, name, &st, &n, e);
			continue;
		}
		sub = openat(dirfd, de->d_name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
		if (sub < 0)
			return err_sys(e, "open %s", name);
		if (st.st_dev != d->tmpfs_dev)
			return err_set(e, ERR_UNSUPPORTED, "something is mounted on %s, which cannot be saved yet",
				       name);
		if (S_ISREG(st.st_mode))
			r = add_file(d, sub, name, &st, e);
		else
			r = add(d, name, &st, &n, e);
		if (r == 0 && S_ISDIR(st.st_mode))
			r = walk(d, sub, name, depth + 1, e);
	}
	return r;
}

int ckpt_tmpfs_collect(struct ckpt_dump *d, struct err *e)
{
	int r;

	for (size_t i = 0; i < ARRAY_SIZE(mounts); i++) {
		cleanup_close int fd = path_open_in_root(d->root, mounts[i], O_RDONLY | O_DIRECTORY, 0);
		struct stat st;

		if (fd < 0 || fstat(fd, &st) < 0)
			continue;
		d->tmpfs_dev = st.st_dev;
		r = walk(d, fd, mounts[i], 0, e);
		if (r < 0)
			return r;
	}
	return 0;
}

static bool is_ours(const char *path)
{
	for (size_t i = 0; i < ARRAY_SIZE(mounts); i++) {
		size_t len = strlen(mounts[i]);

		if (strncmp(path, mounts[i], len) == 0 && path[len] == '/' && !strstr(path, "/.."))
			return true;
	}
	return false;
}

static int make(const Ckpt__TmpfsEntry *n)
{
	mode_t mode = n->mode & 07777;
	int fd, r = 0;

	switch (n->mode & S_IFMT) {
	case S_IFDIR:
		return mkdir(n->path, mode) < 0 && errno != EEXIST ? -errno : 0;
	case S_IFLNK:
		return symlink(n->target, n->path) < 0 && errno != EEXIST ? -errno : 0;
	case S_IFIFO:
		return mkfifo(n->path, mode) < 0 && errno != EEXIST ? -errno : 0;
	case S_IFREG:
		fd = open(n->path, O_WRONLY | O_CREAT | O_NOFOLLOW | O_CLOEXEC, mode);
		if (fd < 0)
			return -errno;
		if (ftruncate(fd, (off_t)n->size) < 0 ||
		    pwrite(fd, n->data.data, n->data.len, (off_t)n->offset) != (ssize_t)n->data.len)
			r = -errno;
		close(fd);
		return r;
	default:
		return -EINVAL;
	}
}

int ckpt_tmpfs_restore(const struct ckpt_tree *t, struct err *e)
{
	for (size_t i = 0; i < t->tmpfs_count; i++) {
		const Ckpt__TmpfsEntry *n = t->tmpfs[i];
		struct timespec ts[2] = { { 0, UTIME_OMIT },
					  { (time_t)(n->mtime_ns / 1000000000), (long)(n->mtime_ns % 1000000000) } };
		int r;

		if (!is_ours(n->path))
			return err_set(e, ERR_FAIL, "the image is damaged: %s", n->path);
		r = make(n);
		if (r < 0)
			return err_code(e, r, "make %s again", n->path);
		if (lchown(n->path, n->uid, n->gid) < 0 ||
		    (!S_ISLNK(n->mode) && chmod(n->path, n->mode & 07777) < 0))
			return err_sys(e, "give %s its owner", n->path);
		utimensat(AT_FDCWD, n->path, ts, AT_SYMLINK_NOFOLLOW);
	}
	return 0;
}
