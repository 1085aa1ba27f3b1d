/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "cli/archive.h"

#include "base/macro.h"
#include "base/str.h"

#include <archive.h>
#include <archive_entry.h>
#include <ftw.h>
#include <poll.h>
#include <sys/stat.h>

#define CHUNK (64 * 1024)

struct stream {
	struct transfer *t;
	struct archive_entry_linkresolver *links; /* packing: files met before, by device and inode */
	int error; /* errno value of the pipe; ECANCELED too when what was written is to have no end */
	char buf[CHUNK];
};

/* The pipe is ready (1), a signal came (-ECANCELED), or vpsd has answered already (-EPIPE). */
static int wait_pipe(struct transfer *t, short events)
{
	struct pollfd p[] = { { .fd = t->fd, .events = events },
			      { .fd = t->signals, .events = POLLIN },
			      { .fd = t->answer, .events = POLLIN } };

	for (;;) {
		int n = poll(p, ARRAY_SIZE(p), -1);

		if (n < 0 && errno != EINTR)
			return -errno;
		if (n > 0 && p[1].revents)
			return -ECANCELED;
		if (n > 0 && p[2].revents)
			return -EPIPE;
		if (n > 0 && p[0].revents)
			return 1;
	}
}

/* libarchive leaks an archive whose writer fails: what cannot be written is dropped, and `error` tells. */
static la_ssize_t write_pipe(struct archive *a, void *ctx, const void *data, size_t len)
{
	struct stream *s = ctx;

	while (!s->error) {
		int r = wait_pipe(s->t, POLLOUT);
		ssize_t n = r < 0 ? -1 : write(s->t->fd, data, len);

		if (n >= 0)
			return n;
		if (r >= 0 && (errno == EINTR || errno == EAGAIN))
			continue;
		s->error = r < 0 ? -r : errno;
		archive_set_error(a, s->error, "write to vpsd");
	}
	return (la_ssize_t)len;
}

static la_ssize_t read_pipe(struct archive *a, void *ctx, const void **data)
{
	struct stream *s = ctx;

	*data = s->buf;
	for (;;) {
		int r = wait_pipe(s->t, POLLIN);
		ssize_t n = r < 0 ? -1 : read(s->t->fd, s->buf, sizeof(s->buf));

		if (n >= 0)
			return n;
		if (r >= 0 && (errno == EINTR || errno == EAGAIN))
			continue;
		s->error = r < 0 ? -r : errno;
		archive_set_error(a, s->error, "read from vpsd");
		return -1;
	}
}

/* What libarchive's failure means for us. */
static int failed(const struct stream *s, struct archive *a, const char *what, struct err *e)
{
	const char *why = archive_error_string(a);

	if (s->error == ECANCELED)
		return err_set(e, ERR_CANCELLED, "interrupted");
	if (s->error == EPIPE) {
		err_set(e, ERR_DAEMON, "vpsd stopped reading");
		return -EPIPE;
	}
	if (archive_errno(a) == ENOSPC || archive_errno(a) == EDQUOT || archive_errno(a) == EROFS)
		return err_set(e, ERR_NOSPACE, "%s: %s", what, why);
	return err_set(e, archive_errno(a) == ENOENT ? ERR_NOT_FOUND : ERR_FAIL, "%s: %s", what,
		       why ? why : "failed");
}

static uint64_t walked;

static int add_size(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)path;
	(void)ftw;
	if (type == FTW_F && S_ISREG(st->st_mode))
		walked += (uint64_t)st->st_size;
	return 0;
}

/* For the bar; what cannot be looked at is reported when it is packed. */
static uint64_t size_of(const char *const *sources, size_t count)
{
	walked = 0;
	for (size_t i = 0; i < count; i++)
		nftw(sources[i], add_size, 32, FTW_PHYS);
	return walked;
}

/* "SOURCE/rest" becomes "TOP/rest". */
static int set_path(struct archive_entry *entry, const char *source, const char *top)
{
	const char *path = archive_entry_pathname(entry);
	size_t len = strlen(source);
	cleanup_buf struct buf name = { 0 };

	while (len > 0 && source[len - 1] == '/') /* libarchive leaves them out */
		len--;
	if (!path || strncmp(path, source, len) != 0 || (len && path[len] && path[len] != '/'))
		return -EINVAL;
	path += len;
	while (*path == '/')
		path++;
	if (buf_addf(&name, "%s%s%s", top, *path ? "/" : "", path) < 0)
		return -ENOMEM;
	archive_entry_set_pathname(entry, name.data);
	/* Owners go as numbers: the host's names mean nothing inside. */
	archive_entry_set_uname(entry, NULL);
	archive_entry_set_gname(entry, NULL);
	return 0;
}

static int pack_data(struct transfer *t, struct stream *s, struct archive *disk,
		     struct archive *out, const char *path, struct err *e)
{
	int64_t offset = 0, last = 0;
	const void *data;
	size_t len;
	int r;

	while ((r = archive_read_data_block(disk, &data, &len, &offset)) == ARCHIVE_OK) {
		static const char zeros[4096];

		/* archive_write_data() has no offsets, so holes are written out as they read. */
		while (last < offset) {
			size_t n = offset - last < (int64_t)sizeof(zeros) ?
					   (size_t)(offset - last) : sizeof(zeros);

			if (archive_write_data(out, zeros, n) < 0 || s->error)
				return failed(s, out, path, e);
			last += (int64_t)n;
		}
		if (len && (archive_write_data(out, data, len) < 0 || s->error))
			return failed(s, out, path, e);
		last += (int64_t)len;
		t->bytes += len;
		progress_show(&t->progress, t->stage, t->bytes, t->total);
	}
	return r == ARCHIVE_EOF ? 0 : failed(s, disk, path, e);
}

static int pack_entry(struct transfer *t, struct stream *s, struct archive *disk,
		      struct archive *out, struct archive_entry *entry, const char *source,
		      const char *top, struct err *e)
{
	cleanup_free char *path = strdup(archive_entry_sourcepath(entry) ?
						 archive_entry_sourcepath(entry) : source);
	struct archive_entry *unused = NULL; /* tar's strategy holds no entry back */
	int r;

	if (!path || set_path(entry, source, top) < 0)
		return err_set(e, ERR_FAIL, "pack %s: its path cannot be made", source);
	switch (archive_entry_filetype(entry)) {
	case AE_IFSOCK: /* tar has no word for it */
	case AE_IFCHR:  /* nothing that a VPS may make */
	case AE_IFBLK:
		t->left_out++;
		return 0;
	}
	/* The file's holes are not recorded, so neither may its map be. */
	archive_entry_sparse_clear(entry);
	archive_entry_linkify(s->links, &entry, &unused);
	r = archive_write_header(out, entry);
	if (r == ARCHIVE_WARN)
		r = ARCHIVE_OK;
	if (r != ARCHIVE_OK || s->error)
		return failed(s, out, path, e);
	if (archive_entry_filetype(entry) == AE_IFREG && archive_entry_size(entry) > 0)
		return pack_data(t, s, disk, out, path, e);
	return 0;
}

static int pack_tree(struct transfer *t, struct stream *s, struct archive *out, const char *source,
		     const char *top, struct err *e)
{
	struct archive *disk = archive_read_disk_new();
	struct archive_entry *entry = archive_entry_new();
	int r = 0, got = ARCHIVE_OK;

	if (!disk || !entry) {
		r = err_code(e, -ENOMEM, "pack %s", source);
	} else {
		archive_read_disk_set_symlink_physical(disk);
		if (archive_read_disk_open(disk, source) != ARCHIVE_OK)
			r = failed(s, disk, source, e);
	}
	while (r == 0 && (got = archive_read_next_header2(disk, entry)) != ARCHIVE_EOF) {
		if (got < ARCHIVE_WARN) {
			r = failed(s, disk, source, e);
			break;
		}
		r = pack_entry(t, s, disk, out, entry, source, top, e);
		archive_read_disk_descend(disk);
		archive_entry_clear(entry);
	}
	archive_entry_free(entry);
	archive_read_free(disk);
	return r;
}

int archive_pack(struct transfer *t, const char *const *sources, const char *const *tops,
		 size_t count, struct err *e)
{
	struct stream s = { .t = t };
	struct archive *out = archive_write_new();
	int r = 0;

	s.links = archive_entry_linkresolver_new();
	if (!out || !s.links)
		return err_code(e, -ENOMEM, "pack");
	archive_entry_linkresolver_set_strategy(s.links, ARCHIVE_FORMAT_TAR_PAX_INTERCHANGE);
	t->total = size_of(sources, count);
	archive_write_set_format_pax(out);
	archive_write_set_bytes_per_block(out, CHUNK);
	archive_write_set_bytes_in_last_block(out, 1);
	if (archive_write_open(out, &s, NULL, write_pipe, NULL) != ARCHIVE_OK)
		r = failed(&s, out, "pack", e);
	for (size_t i = 0; r == 0 && i < count; i++)
		r = pack_tree(t, &s, out, sources[i], tops[i], e);
	if (r == 0 && (archive_write_close(out) != ARCHIVE_OK || s.error))
		r = failed(&s, out, "pack", e);
	if (r < 0 && !s.error)
		s.error = ECANCELED; /* no end mark: what was cut must not look whole */
	archive_write_free(out);
	archive_entry_linkresolver_free(s.links);
	progress_end(&t->progress);
	return r;
}

/* "FIRST/rest" becomes "TOP/rest"; -EINVAL when the path does not begin with `first`. */
static int retop(const char *path, const char *first, const char *top, struct buf *ret)
{
	size_t len = strlen(first);

	ret->len = 0;
	if (!path || strncmp(path, first, len) != 0 || (path[len] && path[len] != '/'))
		return -EINVAL;
	path += len;
	while (*path == '/')
		path++;
	return buf_addf(ret, "%s%s%s", top, *path ? "/" : "", path);
}

struct unpack {
	struct transfer *t;
	struct stream *s;
	struct archive *in, *disk;
	char first[256]; /* component of the stream's first entry */
	const char *top;
};

static int fix_entry(struct unpack *u, struct archive_entry *entry, struct err *e)
{
	const char *path = archive_entry_pathname(entry), *link = archive_entry_hardlink(entry);
	cleanup_buf struct buf name = { 0 }, target = { 0 };

	if (path && !u->first[0])
		snprintf(u->first, sizeof(u->first), "%.*s", (int)strcspn(path, "/"), path);
	if (!u->first[0] || STREQ(u->first, "..") || retop(path, u->first, u->top, &name) < 0 ||
	    (link && retop(link, u->first, u->top, &target) < 0))
		return err_set(e, ERR_DAEMON, "the stream has a path that was not asked for: %.200s",
			       path ? path : "");
	archive_entry_set_pathname(entry, name.data);
	if (link)
		archive_entry_set_hardlink(entry, target.data);
	/* A set-id program of the tenant's would be one of the host's. */
	archive_entry_set_perm(entry, archive_entry_perm(entry) & 0777);
	archive_entry_xattr_clear(entry);
	archive_entry_acl_clear(entry);
	archive_entry_set_fflags(entry, 0, 0);
	return 0;
}

static int unpack_data(struct unpack *u, const char *path, struct err *e)
{
	const void *data;
	int64_t offset;
	size_t len;
	int r;

	while ((r = archive_read_data_block(u->in, &data, &len, &offset)) == ARCHIVE_OK) {
		if (archive_write_data_block(u->disk, data, len, offset) != ARCHIVE_OK)
			return failed(u->s, u->disk, path, e);
		u->t->bytes += len;
		progress_show(&u->t->progress, u->t->stage, u->t->bytes, u->t->total);
	}
	return r == ARCHIVE_EOF ? 0 : failed(u->s, u->in, path, e);
}

/* libarchive would remove the file. */
static int keep_file(const char *path, struct err *e)
{
	struct stat st;

	if (lstat(path, &st) < 0 || S_ISDIR(st.st_mode))
		return 0;
	return err_set(e, ERR_EXISTS, "%s: it is there and no directory, but one in the VPS", path);
}

static int unpack_entry(struct unpack *u, struct archive_entry *entry, struct err *e)
{
	mode_t type = archive_entry_filetype(entry);
	const char *path;
	int r = fix_entry(u, entry, e);

	if (r < 0)
		return r;
	if (!archive_entry_hardlink(entry) && type != AE_IFREG && type != AE_IFDIR &&
	    type != AE_IFLNK) {
		u->t->left_out++;
		return 0;
	}
	path = archive_entry_pathname(entry);
	if (type == AE_IFDIR && !archive_entry_hardlink(entry) && keep_file(path, e) < 0)
		return -EEXIST;
	if (archive_write_header(u->disk, entry) < ARCHIVE_WARN)
		return failed(u->s, u->disk, path, e);
	if (archive_entry_size(entry) > 0 && !archive_entry_hardlink(entry)) {
		r = unpack_data(u, path, e);
		if (r < 0)
			return r;
	}
	return archive_write_finish_entry(u->disk) < ARCHIVE_WARN ? failed(u->s, u->disk, path, e) : 0;
}

static int unpack_all(struct unpack *u, struct err *e)
{
	struct archive_entry *entry;
	int got, r = 0;

	archive_read_support_format_tar(u->in);
	archive_read_support_format_empty(u->in);
	archive_write_disk_set_options(u->disk, ARCHIVE_EXTRACT_TIME | ARCHIVE_EXTRACT_UNLINK |
						ARCHIVE_EXTRACT_SPARSE |
						ARCHIVE_EXTRACT_SECURE_SYMLINKS |
						ARCHIVE_EXTRACT_SECURE_NODOTDOT |
						ARCHIVE_EXTRACT_SECURE_NOABSOLUTEPATHS);
	if (archive_read_open(u->in, u->s, NULL, read_pipe, NULL) != ARCHIVE_OK)
		return failed(u->s, u->in, "read the stream", e);
	while (r == 0 && (got = archive_read_next_header(u->in, &entry)) != ARCHIVE_EOF)
		r = got < ARCHIVE_WARN ? failed(u->s, u->in, "read the stream", e) :
					 unpack_entry(u, entry, e);
	if (r == 0 && archive_write_close(u->disk) != ARCHIVE_OK)
		r = failed(u->s, u->disk, "unpack", e);
	return r;
}

int archive_unpack(struct transfer *t, int dir, const char *top, struct err *e)
{
	struct stream *s = calloc(1, sizeof(*s));
	struct unpack u = { .t = t, .s = s, .top = top };
	int r;

	if (!s)
		return err_code(e, -ENOMEM, "unpack");
	s->t = t;
	u.in = archive_read_new();
	u.disk = archive_write_disk_new();
	/* libarchive's secure modes look at the path it is given, so that begins here. */
	if (!u.in || !u.disk)
		r = err_code(e, -ENOMEM, "unpack");
	else if (fchdir(dir) < 0)
		r = err_sys(e, "enter the destination");
	else
		r = unpack_all(&u, e);
	archive_write_free(u.disk);
	archive_read_free(u.in);
	free(s);
	progress_end(&t->progress);
	return r;
}
