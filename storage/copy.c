/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "storage/catalogue.h"

#include "base/fd.h"
#include "base/macro.h"
#include "base/path.h"

#include <fcntl.h>
#include <linux/fs.h>
#include <search.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/xattr.h>

/*
 * The source may change under us and may be hostile: each entry is opened without following a link
 * and looked at again through its fd. The destination is ours alone.
 */

struct link_seen {
	dev_t dev;
	ino_t ino;
	const char *path; /* where the first one was copied to */
};

struct copy {
	int dst;
	struct tell *tell;
	struct parent_cache from, to;
	void *links; /* tsearch(3) of struct link_seen */
	uint64_t done, total;
};

static int by_inode(const void *a, const void *b)
{
	const struct link_seen *x = a, *y = b;

	if (x->dev != y->dev)
		return x->dev < y->dev ? -1 : 1;
	return x->ino < y->ino ? -1 : x->ino > y->ino;
}

static int copy_range(struct copy *c, int from, int to, off_t at, off_t end, struct err *e)
{
	static const size_t piece = MIB(8);
	cleanup_free char *buf = NULL;

	while (at < end) {
		size_t want = (size_t)(end - at) < piece ? (size_t)(end - at) : piece;
		off_t in = at, out = at;
		ssize_t n = buf ? -1 : copy_file_range(from, &in, to, &out, want, 0);
		int r;

		if (n < 0) { /* EXDEV, EOPNOTSUPP, EINVAL: by hand, which says what is wrong */
			if (!buf)
				buf = malloc(piece);
			if (!buf)
				return err_code(e, -ENOMEM, "copy");
			n = pread(from, buf, want, at);
			if (n < 0)
				return err_sys(e, "read");
			if (n > 0 && lseek(to, at, SEEK_SET) < 0)
				return err_sys(e, "write");
			r = fd_write_full(to, buf, (size_t)n);
			if (r < 0)
				return err_code(e, r, "write");
		}
		if (n == 0)
			break; /* it became shorter */
		at += n;
		c->done += (uint64_t)n;
		r = storage_tell(c->tell, "copy", c->done, c->total, e);
		if (r < 0)
			return r;
	}
	return 0;
}

static int copy_data(struct copy *c, int from, int to, off_t size, struct err *e)
{
	off_t data, hole = 0;

	if (ioctl(to, FICLONE, from) == 0) {
		c->done += (uint64_t)size;
		return 0;
	}
	while ((data = lseek(from, hole, SEEK_DATA)) >= 0 && data < size) {
		int r;

		hole = lseek(from, data, SEEK_HOLE);
		if (hole < 0 || hole > size)
			hole = size;
		r = copy_range(c, from, to, data, hole, e);
		if (r < 0)
			return r;
	}
	if (data < 0 && errno != ENXIO) /* no SEEK_DATA on this file system */
		return copy_range(c, from, to, 0, size, e);
	return ftruncate(to, size) < 0 ? err_sys(e, "write") : 0;
}

static int copy_xattrs(int from, int to, struct err *e)
{
	cleanup_free char *names = malloc(65536), *value = malloc(65536);
	ssize_t len;

	if (!names || !value)
		return err_code(e, -ENOMEM, "copy attributes");
	len = flistxattr(from, names, 65536);
	if (len < 0)
		return errno == EOPNOTSUPP ? 0 : err_sys(e, "list attributes");
	for (const char *n = names; n < names + len; n += strlen(n) + 1) {
		ssize_t vlen;

		if (!storage_xattr_kept(n))
			continue;
		vlen = fgetxattr(from, n, value, 65536);
		if (vlen < 0 || fsetxattr(to, n, value, (size_t)vlen, 0) < 0)
			return err_sys(e, "attribute %s", n);
	}
	return 0;
}

/* Owner first: chown(2) clears set-user-id bits and file capabilities. */
static int copy_attributes(int from, int to, const struct stat *st, struct err *e)
{
	struct timespec times[2] = { st->st_atim, st->st_mtim };
	int r;

	if (fchown(to, st->st_uid, st->st_gid) < 0)
		return err_sys(e, "set the owner");
	if (fchmod(to, st->st_mode & 07777) < 0)
		return err_sys(e, "set the mode");
	r = copy_xattrs(from, to, e);
	if (r < 0)
		return r;
	return futimens(to, times) < 0 ? err_sys(e, "set the times") : 0;
}

/* 1 when it was linked to a copy that is there, else 0; then it is noted for those that follow. */
static int copy_link(struct copy *c, int to, const char *name, const char *path,
		     const struct stat *st, struct err *e)
{
	struct link_seen *l = malloc(sizeof(*l)), **found;

	if (!l)
		return err_code(e, -ENOMEM, "copy");
	*l = (struct link_seen){ .dev = st->st_dev, .ino = st->st_ino, .path = path };
	found = tsearch(l, &c->links, by_inode);
	if (!found) {
		free(l);
		return err_code(e, -ENOMEM, "copy");
	}
	if (*found == l)
		return 0;
	free(l);
	if (linkat(c->dst, (*found)->path, to, name, 0) < 0)
		return err_sys(e, "link to %s", (*found)->path);
	return 1;
}

static int copy_file(struct copy *c, int from, int to, const char *name, const char *path,
		     struct err *e)
{
	cleanup_close int in = path_open_no_links(from, name, O_RDONLY | O_NONBLOCK | O_NOCTTY, 0,
						  true);
	cleanup_close int out = -EBADF;
	struct stat st;
	int r;

	if (in == -EXDEV)
		return 0; /* something mounted over it */
	if (in < 0)
		return err_code(e, in, "open");
	if (fstat(in, &st) < 0 || !S_ISREG(st.st_mode))
		return err_set(e, ERR_FAIL, "it changed meanwhile");
	if (st.st_nlink > 1) {
		r = copy_link(c, to, name, path, &st, e);
		if (r != 0)
			return r < 0 ? r : 0;
	}
	out = openat(to, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (out < 0)
		return err_sys(e, "make");
	r = copy_data(c, in, out, st.st_size, e);
	return r < 0 ? r : copy_attributes(in, out, &st, e);
}

static int copy_dir(int from, int to, const char *name, const struct stat *st, struct err *e)
{
	cleanup_close int in = -EBADF, out = -EBADF;

	if (mkdirat(to, name, 0700) < 0)
		return err_sys(e, "make");
	in = openat(from, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	if (in < 0)
		return err_sys(e, "open");
	out = openat(to, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (out < 0)
		return err_sys(e, "open the copy");
	return copy_attributes(in, out, st, e);
}

static int copy_symlink(int from, int to, const char *name, const struct stat *st, struct err *e)
{
	struct timespec times[2] = { st->st_atim, st->st_mtim };
	char target[TEMPLATE_PATH_MAX + 1];
	ssize_t n = readlinkat(from, name, target, sizeof(target) - 1);

	if (n < 0)
		return err_sys(e, "read the link");
	target[n] = '\0';
	if (symlinkat(target, to, name) < 0)
		return err_sys(e, "make the link");
	if (fchownat(to, name, st->st_uid, st->st_gid, AT_SYMLINK_NOFOLLOW) < 0)
		return err_sys(e, "set the owner");
	if (utimensat(to, name, times, AT_SYMLINK_NOFOLLOW) < 0)
		return err_sys(e, "set the times");
	return 0;
}

static int copy_fifo(int to, const char *name, const struct stat *st, struct err *e)
{
	if (mkfifoat(to, name, 0600) < 0)
		return err_sys(e, "make the pipe");
	if (fchownat(to, name, st->st_uid, st->st_gid, AT_SYMLINK_NOFOLLOW) < 0)
		return err_sys(e, "set the owner");
	return fchmodat(to, name, st->st_mode & 07777, 0) < 0 ? err_sys(e, "set the mode") : 0;
}

static int copy_entry(struct copy *c, int src, const char *path, struct err *e)
{
	const char *name;
	struct stat st;
	int from, to;

	from = storage_parent(&c->from, src, path, &name, e);
	if (from < 0)
		return from;
	to = storage_parent(&c->to, c->dst, path, &name, e);
	if (to < 0)
		return to;
	if (fstatat(from, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return err_sys(e, "look at");
	if (st.st_uid > TEMPLATE_ID_MAX || st.st_gid > TEMPLATE_ID_MAX) {
		err_set(e, ERR_USAGE, "its owner %u:%u is past %u", st.st_uid, st.st_gid,
			TEMPLATE_ID_MAX);
		return err_hint(e, "a template holds ids as the distribution has them, 0 to %u",
				TEMPLATE_ID_MAX);
	}
	switch (st.st_mode & S_IFMT) {
	case S_IFDIR:
		return copy_dir(from, to, name, &st, e);
	case S_IFREG:
		return copy_file(c, from, to, name, path, e);
	case S_IFLNK:
		return copy_symlink(from, to, name, &st, e);
	case S_IFIFO:
		return copy_fifo(to, name, &st, e);
	default:
		return 0;
	}
}

/* What was put into a directory changed its times; innermost last is innermost first here. */
static int restore_dir_times(struct copy *c, int src, const struct strv *paths, struct err *e)
{
	for (size_t i = paths->count; i-- > 0;) {
		const char *name;
		struct stat st;
		int from = storage_parent(&c->from, src, paths->item[i], &name, e);
		int to = from < 0 ? from : storage_parent(&c->to, c->dst, paths->item[i], &name, e);

		if (to < 0)
			return to;
		if (fstatat(from, name, &st, AT_SYMLINK_NOFOLLOW) < 0 || !S_ISDIR(st.st_mode))
			continue;
		utimensat(to, name, (struct timespec[]){ st.st_atim, st.st_mtim },
			  AT_SYMLINK_NOFOLLOW);
	}
	return 0;
}

static int copy_listed(struct copy *c, int src, const struct strv *paths, struct err *e)
{
	struct stat st;
	int r;

	if (fstat(src, &st) < 0)
		return err_sys(e, "look at the tree");
	for (size_t i = 0; i < paths->count; i++) {
		r = copy_entry(c, src, paths->item[i], e);
		if (r == 0)
			r = storage_tell(c->tell, "copy", c->done, c->total, e);
		if (r < 0)
			return e->code == ERR_CANCELLED ? r : err_wrap(e, "%s", paths->item[i]);
	}
	r = restore_dir_times(c, src, paths, e);
	if (r < 0)
		return r;
	if (st.st_uid > TEMPLATE_ID_MAX || st.st_gid > TEMPLATE_ID_MAX)
		st.st_uid = st.st_gid = 0;
	return copy_attributes(src, c->dst, &st, e);
}

/* An upper bound (hard links count each time), for the progress bar. */
static uint64_t sum_sizes(struct copy *c, int src, const struct strv *paths)
{
	uint64_t sum = 0;
	struct err ignored;

	for (size_t i = 0; i < paths->count; i++) {
		const char *name;
		struct stat st;
		int from = storage_parent(&c->from, src, paths->item[i], &name, &ignored);

		if (from >= 0 && fstatat(from, name, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
		    S_ISREG(st.st_mode))
			sum += (uint64_t)st.st_size;
	}
	return sum;
}

int storage_tree_copy(int src, int dst, struct tell *tell, struct err *e)
{
	cleanup_free struct copy *c = calloc(1, sizeof(*c));
	cleanup_strv struct strv paths = { 0 };
	cleanup_close int top = -EBADF;
	int r;

	if (!c)
		return err_code(e, -ENOMEM, "copy a tree");
	/* The caller's may be O_PATH, which has no attributes to read. */
	top = openat(src, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (top < 0)
		return err_sys(e, "open the tree");
	c->dst = dst;
	c->tell = tell;
	c->from.fd = c->to.fd = -EBADF;
	r = storage_tree_list(top, &paths, tell, e);
	if (r == 0) {
		c->total = sum_sizes(c, top, &paths);
		r = copy_listed(c, top, &paths, e);
	}
	tdestroy(c->links, free);
	storage_parent_done(&c->from);
	storage_parent_done(&c->to);
	return r;
}
