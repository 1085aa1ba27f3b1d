/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "supervisor/worker_files.h"

#include "base/fd.h"
#include "base/macro.h"
#include "base/path.h"
#include "base/str.h"
#include "supervisor/worker.h"

#include <archive.h>
#include <archive_entry.h>
#include <dirent.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdbool.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/sysmacros.h>

#define DEPTH_MAX 256 /* one fd each */
#define TEXT_MAX (1U << 20)

struct pack {
	struct archive *out;
	uint64_t mount; /* id: what is mounted below is left out */
	uint64_t bytes;
	struct buf name;
	int fd, error; /* errno value of what it could not write there; any when the archive is to have no end */
};

/* libarchive leaks an archive whose writer fails: what cannot be written is dropped, and `error` tells. */
static la_ssize_t write_out(struct archive *a, void *ctx, const void *data, size_t len)
{
	struct pack *p = ctx;
	int r = p->error ? 0 : fd_write_full(p->fd, data, len);

	if (r < 0) {
		p->error = -r;
		archive_set_error(a, p->error, "%s", strerror(p->error));
	}
	return (la_ssize_t)len;
}

static int archive_bad(struct pack *p, struct err *e)
{
	const char *why = archive_error_string(p->out);

	return err_set(e, ERR_FAIL, "write the archive: %s", why ? why : "unknown error");
}

static int look_at(int dir, const char *name, struct statx *st)
{
	return statx(dir, name, AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT | AT_EMPTY_PATH,
		     STATX_BASIC_STATS | STATX_MNT_ID, st) < 0 ? -errno : 0;
}

static int put_header(struct pack *p, const struct statx *st, const char *target, struct err *e)
{
	struct archive_entry *en = archive_entry_new();
	int r = 0;

	if (!en)
		return err_code(e, -ENOMEM, "write the archive");
	archive_entry_set_pathname(en, p->name.data);
	archive_entry_set_mode(en, st->stx_mode);
	archive_entry_set_uid(en, st->stx_uid);
	archive_entry_set_gid(en, st->stx_gid);
	archive_entry_set_mtime(en, st->stx_mtime.tv_sec, st->stx_mtime.tv_nsec);
	archive_entry_set_size(en, S_ISREG(st->stx_mode) ? (la_int64_t)st->stx_size : 0);
	if (target)
		archive_entry_set_symlink(en, target);
	if (archive_write_header(p->out, en) < ARCHIVE_WARN || p->error)
		r = archive_bad(p, e);
	archive_entry_free(en);
	return r;
}

/* As many bytes as the header says: a file that shrinks meanwhile is filled up with zeros. */
static int put_data(struct pack *p, int fd, uint64_t size, struct err *e)
{
	char data[65536];

	while (size > 0) {
		size_t want = size < sizeof(data) ? (size_t)size : sizeof(data);
		ssize_t n = fd_read_full(fd, data, want);

		if (worker_cancelled())
			return err_set(e, ERR_CANCELLED, "cancelled");
		if (n < 0)
			return err_code(e, (int)n, "read %s", p->name.data);
		memset(data + n, 0, want - (size_t)n);
		if (archive_write_data(p->out, data, want) < 0 || p->error)
			return archive_bad(p, e);
		size -= want;
		p->bytes += want;
	}
	return 0;
}

/* The kernel makes its text when it is read, and tells no size, or a page's. */
static bool is_text_of_kernel(int fd)
{
	struct statfs s;

	return fstatfs(fd, &s) == 0 && (s.f_type == PROC_SUPER_MAGIC || s.f_type == SYSFS_MAGIC ||
					s.f_type == CGROUP2_SUPER_MAGIC || s.f_type == CGROUP_SUPER_MAGIC);
}

/* What cannot be read is empty: /proc has files that are for their own process, or for writing. */
static int put_text(struct pack *p, int fd, struct statx *st, struct err *e)
{
	cleanup_free char *data = malloc(TEXT_MAX);
	ssize_t n = data ? fd_read_full(fd, data, TEXT_MAX) : -ENOMEM;
	int r;

	if (!data)
		return err_code(e, -ENOMEM, "read %s", p->name.data);
	st->stx_size = n > 0 ? (uint64_t)n : 0;
	p->bytes += st->stx_size;
	r = put_header(p, st, NULL, e);
	if (r == 0 && n > 0 && (archive_write_data(p->out, data, (size_t)n) < 0 || p->error))
		r = archive_bad(p, e);
	return r;
}

static int put_file(struct pack *p, int dir, const char *name, struct err *e)
{
	cleanup_close int fd = openat(dir, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	struct statx st;
	int r;

	if (fd < 0 && errno == ENOENT)
		return 0;
	if (fd < 0)
		return err_sys(e, "open %s", p->name.data);
	r = look_at(fd, "", &st);
	if (r < 0 || !S_ISREG(st.stx_mode)) /* it has been exchanged */
		return 0;
	if (is_text_of_kernel(fd))
		return put_text(p, fd, &st, e);
	r = put_header(p, &st, NULL, e);
	return r < 0 ? r : put_data(p, fd, st.stx_size, e);
}

static int put_link(struct pack *p, int dir, const char *name, const struct statx *st, struct err *e)
{
	char target[4096];
	ssize_t n = readlinkat(dir, name, target, sizeof(target) - 1);

	if (n < 0)
		return 0; /* it has gone */
	target[n] = '\0';
	return put_header(p, st, target, e);
}

static int put_any(struct pack *p, int dir, const char *name, unsigned depth, struct err *e);

static int put_directory(struct pack *p, int dir, const char *name, const struct statx *st,
			 unsigned depth, struct err *e)
{
	cleanup_closedir DIR *d = NULL;
	size_t len = p->name.len;
	struct dirent *de;
	int fd, r;

	if (depth >= DEPTH_MAX)
		return err_set(e, ERR_USAGE, "%.200s…: directories are nested too deep", p->name.data);
	fd = openat(dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	d = fd < 0 ? NULL : fdopendir(fd);
	if (!d && fd >= 0)
		close(fd);
	if (!d)
		return errno == ENOENT || errno == ENOTDIR ? 0 : err_sys(e, "open %s", p->name.data);
	r = put_header(p, st, NULL, e);
	while (r == 0 && (de = readdir(d))) {
		if (STREQ(de->d_name, ".") || STREQ(de->d_name, ".."))
			continue;
		if (buf_addf(&p->name, "/%s", de->d_name) < 0)
			return err_code(e, -ENOMEM, "write the archive");
		r = put_any(p, dirfd(d), de->d_name, depth + 1, e);
		p->name.len = len;
		p->name.data[len] = '\0';
	}
	return r;
}

static int put_any(struct pack *p, int dir, const char *name, unsigned depth, struct err *e)
{
	struct statx st;

	if (worker_cancelled())
		return err_set(e, ERR_CANCELLED, "cancelled");
	if (look_at(dir, name, &st) < 0 || st.stx_mnt_id != p->mount)
		return 0;
	switch (st.stx_mode & S_IFMT) {
	case S_IFREG:
		return put_file(p, dir, name, e);
	case S_IFDIR:
		return put_directory(p, dir, name, &st, depth, e);
	case S_IFLNK:
		return put_link(p, dir, name, &st, e);
	case S_IFIFO:
		return put_header(p, &st, NULL, e);
	default: /* sockets and devices are nothing that could be copied */
		return 0;
	}
}

/* The directory that holds it, and its name in there; the root is "." of itself. */
static int open_parent(int root, const char *path, char last[256], struct err *e)
{
	cleanup_free char *dir = strdup(path);
	char *slash;
	int fd;

	if (!dir)
		return err_code(e, -ENOMEM, "open %.200s", path);
	for (size_t n = strlen(dir); n > 0 && dir[n - 1] == '/'; n--)
		dir[n - 1] = '\0';
	slash = strrchr(dir, '/');
	snprintf(last, 256, "%s", slash ? slash + 1 : dir);
	if (!*last || STREQ(last, "..") || (slash ? strlen(slash + 1) : strlen(dir)) > 255)
		snprintf(last, 256, ".");
	else if (slash)
		*slash = '\0';
	else
		*dir = '\0';
	fd = path_open_in_root(root, *dir ? dir : "/", O_RDONLY | O_DIRECTORY, 0);
	return fd < 0 ? err_code(e, fd, "open %.200s", path) : fd;
}

static int pack_all(struct pack *p, int dir, const char *last, struct err *e)
{
	struct statx st;
	int r = look_at(dir, last, &st);

	if (r < 0)
		return err_code(e, r, "%s", last);
	p->mount = st.stx_mnt_id;
	if (buf_addf(&p->name, "%s", last) < 0)
		return err_code(e, -ENOMEM, "write the archive");
	archive_write_set_format_pax_restricted(p->out);
	/* Names are bytes: no conversion that could fail on what a tenant calls its files. */
	archive_write_set_options(p->out, "hdrcharset=BINARY");
	archive_write_set_bytes_in_last_block(p->out, 1);
	if (archive_write_open(p->out, p, NULL, write_out, NULL) != ARCHIVE_OK)
		return archive_bad(p, e);
	r = put_any(p, dir, last, 0, e);
	if (r == 0 && (archive_write_close(p->out) != ARCHIVE_OK || p->error))
		r = archive_bad(p, e);
	return r;
}

int files_pack(int root, const char *path, int fd, uint64_t *ret_bytes, struct err *e)
{
	struct pack p = { .out = archive_write_new(), .fd = fd };
	cleanup_close int dir = -EBADF;
	char last[256];
	int r;

	if (!p.out)
		return err_code(e, -ENOMEM, "write the archive");
	dir = open_parent(root, path, last, e);
	r = dir < 0 ? dir : pack_all(&p, dir, last, e);
	if (r == -ENOENT || r == -ENOTDIR)
		e->code = ERR_NOT_FOUND;
	if (r < 0 && !p.error) /* without the end that would make half an archive look like a whole one */
		p.error = ECANCELED;
	archive_write_free(p.out);
	buf_done(&p.name);
	*ret_bytes = p.bytes;
	return r;
}
