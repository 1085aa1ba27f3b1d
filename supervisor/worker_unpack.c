/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "supervisor/worker_files.h"

#include "base/fd.h"
#include "base/macro.h"
#include "base/path.h"
#include "supervisor/worker.h"

#include <archive.h>
#include <archive_entry.h>
#include <fcntl.h>
#include <stdbool.h>
#include <sys/stat.h>
#include <sys/xattr.h>

struct unpack {
	int root;
	const char *below; /* the directory that it goes below, as given */
	struct archive *in;
	uint64_t bytes;
};

static int archive_bad(struct archive *a, struct err *e)
{
	const char *why = archive_error_string(a);

	return err_set(e, ERR_USAGE, "the archive: %s", why ? why : "it cannot be read");
}

/* The entry's path below the root, without its last component, and that component. */
static int split(const struct unpack *u, const char *name, char *dir, size_t size, char last[256],
		 struct err *e)
{
	const char *slash;
	size_t len;

	for (const char *p = name; *p;) {
		len = strcspn(p, "/");
		if (len == 2 && p[0] == '.' && p[1] == '.')
			return err_set(e, ERR_USAGE, "the archive: %.200s: a path may not hold ..",
				       name);
		p += len + (p[len] == '/');
	}
	for (len = strlen(name); len > 0 && name[len - 1] == '/'; len--)
		;
	slash = memrchr(name, '/', len);
	len -= slash ? (size_t)(slash + 1 - name) : 0;
	if (len > 255 || (size_t)snprintf(dir, size, "%s/%.*s", u->below,
					  slash ? (int)(slash - name) : 0, name) >= size)
		return err_code(e, -ENAMETOOLONG, "the archive: %.200s", name);
	snprintf(last, 256, "%.*s", (int)len, slash ? slash + 1 : name);
	return 0;
}

/* The directory, made where it is missing. */
static int open_dir(const struct unpack *u, const char *dir, struct err *e)
{
	cleanup_free char *part = strdup(dir);
	int fd = path_open_in_root(u->root, dir, O_RDONLY | O_DIRECTORY, 0);

	if (fd >= 0 || fd != -ENOENT || !part)
		return fd < 0 ? err_code(e, fd, "open %s", dir) : fd;
	for (char *p = strchr(part + strlen(u->below), '/'); p; p = strchr(p + 1, '/')) {
		char *next = p + 1 + strcspn(p + 1, "/"), was = *next;
		cleanup_close int parent = -EBADF;

		*p = '\0';
		parent = path_open_in_root(u->root, *part ? part : "/", O_RDONLY | O_DIRECTORY, 0);
		*p = '/';
		*next = '\0';
		if (parent >= 0 && p[1] && mkdirat(parent, p + 1, 0755) < 0 && errno != EEXIST)
			return err_sys(e, "make %s", part);
		*next = was;
	}
	fd = path_open_in_root(u->root, dir, O_RDONLY | O_DIRECTORY, 0);
	return fd < 0 ? err_code(e, fd, "open %s", dir) : fd;
}

static bool is_zeros(const char *data, size_t len)
{
	return len > 0 && !data[0] && memcmp(data, data + 1, len - 1) == 0;
}

/* Runs of zeros become holes: what a sparse file does not take here it does not take there. */
static int copy_data(struct unpack *u, int fd, const char *name, struct err *e)
{
	char data[65536];
	off_t size = 0;
	la_ssize_t n;

	while ((n = archive_read_data(u->in, data, sizeof(data))) > 0) {
		bool hole = is_zeros(data, (size_t)n);
		int r = hole ? 0 : fd_write_full(fd, data, (size_t)n);

		if (worker_cancelled())
			return err_set(e, ERR_CANCELLED, "cancelled");
		if (r < 0)
			return err_code(e, r, "write %s", name);
		size += n;
		u->bytes += (uint64_t)n;
		if (hole && lseek(fd, n, SEEK_CUR) < 0)
			return err_sys(e, "write %s", name);
	}
	if (n < 0)
		return archive_bad(u->in, e);
	return ftruncate(fd, size) < 0 ? err_sys(e, "write %s", name) : 0;
}

/* Those that the VPS's root may set. What the file system there does not take is left out, as cp(1) does. */
static void set_xattrs(int fd, struct archive_entry *en)
{
	const char *name;
	const void *value;
	size_t size;

	archive_entry_xattr_reset(en);
	while (archive_entry_xattr_next(en, &name, &value, &size) == ARCHIVE_OK)
		if (name && (strncmp(name, "user.", 5) == 0 || STREQ(name, "security.capability")))
			fsetxattr(fd, name, value, size, 0);
}

/* Owner, then mode (a change of owner takes setuid away), attributes (and capabilities), then time. Ids that the VPS has not
 * become its root's. */
static int set_attributes(int fd, struct archive_entry *en, const char *name, struct err *e)
{
	struct timespec times[2] = { { .tv_nsec = UTIME_NOW },
				     { archive_entry_mtime(en), archive_entry_mtime_nsec(en) } };
	la_int64_t uid = archive_entry_uid(en), gid = archive_entry_gid(en);

	if (fchown(fd, uid < 0 || uid > 65535 ? 0 : (uid_t)uid,
		   gid < 0 || gid > 65535 ? 0 : (gid_t)gid) < 0)
		return err_sys(e, "change the owner of %s", name);
	if (fchmod(fd, archive_entry_perm(en) & 07777) < 0)
		return err_sys(e, "change the mode of %s", name);
	set_xattrs(fd, en);
	if (archive_entry_mtime_is_set(en))
		futimens(fd, times);
	return 0;
}

static int make_directory(struct unpack *u, int dir, const char *last, struct archive_entry *en,
			  struct err *e)
{
	cleanup_close int fd = -EBADF;

	(void)u;
	if (mkdirat(dir, last, 0700) < 0 && errno != EEXIST)
		return err_sys(e, "make %s", last);
	fd = openat(dir, last, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return err_sys(e, "open %s", last);
	return set_attributes(fd, en, last, e);
}

static int make_file(struct unpack *u, int dir, const char *last, struct archive_entry *en,
		     struct err *e)
{
	cleanup_close int fd = openat(dir, last, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC,
				      0600);
	int r;

	if (fd < 0)
		return err_sys(e, "make %s", last);
	r = copy_data(u, fd, last, e);
	return r < 0 ? r : set_attributes(fd, en, last, e);
}

static int make_symlink(struct unpack *u, int dir, const char *last, struct archive_entry *en,
			struct err *e)
{
	la_int64_t uid = archive_entry_uid(en), gid = archive_entry_gid(en);
	const char *target = archive_entry_symlink(en);

	(void)u;
	if (symlinkat(target ? target : "", dir, last) < 0)
		return err_sys(e, "make the link %s", last);
	if (fchownat(dir, last, uid < 0 || uid > 65535 ? 0 : (uid_t)uid,
		     gid < 0 || gid > 65535 ? 0 : (gid_t)gid, AT_SYMLINK_NOFOLLOW) < 0)
		return err_sys(e, "change the owner of %s", last);
	return 0;
}

static int make_hardlink(struct unpack *u, int dir, const char *last, struct archive_entry *en,
			 struct err *e)
{
	char path[4096], name[256];
	cleanup_close int from = -EBADF;
	int r = split(u, archive_entry_hardlink(en), path, sizeof(path), name, e);

	if (r < 0)
		return r;
	from = path_open_in_root(u->root, path, O_RDONLY | O_DIRECTORY, 0);
	if (from < 0)
		return err_code(e, from, "open %s", path);
	return linkat(from, name, dir, last, 0) < 0 ? err_sys(e, "link %s", last) : 0;
}

static int make_fifo(struct unpack *u, int dir, const char *last, struct archive_entry *en,
		     struct err *e)
{
	(void)u;
	return mkfifoat(dir, last, archive_entry_perm(en) & 0777) < 0
		       ? err_sys(e, "make the pipe %s", last) : 0;
}

static int take_entry(struct unpack *u, struct archive_entry *en, struct err *e)
{
	const char *name = archive_entry_pathname(en);
	char path[4096], last[256];
	cleanup_close int dir = -EBADF;
	int r;

	if (!name)
		return err_set(e, ERR_USAGE, "the archive: an entry has no name");
	r = split(u, name, path, sizeof(path), last, e);
	if (r < 0)
		return r;
	dir = open_dir(u, path, e);
	if (dir < 0)
		return dir;
	if (!*last || STREQ(last, ".")) /* the directory it goes below: not ours to change */
		return 0;
	if (archive_entry_filetype(en) == AE_IFDIR)
		return make_directory(u, dir, last, en, e);
	/* What is there is replaced, not written through. */
	if (unlinkat(dir, last, 0) < 0 && errno != ENOENT)
		return err_sys(e, "replace %s", name);
	if (archive_entry_hardlink(en))
		return make_hardlink(u, dir, last, en, e);
	switch (archive_entry_filetype(en)) {
	case AE_IFREG:
		return make_file(u, dir, last, en, e);
	case AE_IFLNK:
		return make_symlink(u, dir, last, en, e);
	case AE_IFIFO:
		return make_fifo(u, dir, last, en, e);
	default:
		return err_set(e, ERR_USAGE, "%.200s: only files, directories, links and pipes can be"
			       " copied into a VPS", name);
	}
}

int files_unpack(int root, const char *path, int fd, uint64_t *ret_bytes, struct err *e)
{
	struct unpack u = { .root = root, .below = path };
	struct archive_entry *en;
	cleanup_close int dir = path_open_in_root(root, path, O_PATH | O_DIRECTORY, 0);
	int r = 0, n;

	if (dir < 0) {
		err_code(e, dir, "%.200s", path);
		if (dir == -ENOENT)
			e->code = ERR_NOT_FOUND;
		return dir;
	}
	u.in = archive_read_new();
	if (!u.in)
		return err_code(e, -ENOMEM, "read the archive");
	archive_read_support_format_tar(u.in);
	archive_read_support_filter_none(u.in);
	if (archive_read_open_fd(u.in, fd, 65536) != ARCHIVE_OK)
		r = archive_bad(u.in, e);
	while (r == 0 && (n = archive_read_next_header(u.in, &en)) != ARCHIVE_EOF) {
		if (n < ARCHIVE_WARN)
			r = archive_bad(u.in, e);
		else if (worker_cancelled())
			r = err_set(e, ERR_CANCELLED, "cancelled");
		else
			r = take_entry(&u, en, e);
	}
	archive_read_free(u.in);
	*ret_bytes = u.bytes;
	return r;
}
