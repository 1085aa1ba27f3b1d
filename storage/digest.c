/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "storage/catalogue.h"
#include "storage/sum.h"

#include "base/macro.h"
#include "base/path.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/xattr.h>

/*
 * The canonical listing, one record an entry, top first and then by path. Every variable part is
 * preceded by its length as 64 bits, numbers are 64 bits, all big-endian, so that no two trees
 * have the same listing:
 *
 *   path, type (S_IFMT bits), mode (07777), uid, gid, size (files), device (devices),
 *   target (symbolic links), number of attributes, each as name and value, content (files)
 */

#define LISTING_HEAD "vps template 1\n"
#define XATTR_LIST_MAX 65536 /* xattr(7): XATTR_LIST_MAX, and as much for a value */

struct digest {
	struct storage_sum *sum;
	struct tell *tell;
	char *buf; /* KIB(256) */
	uint64_t done, entries;
};

static void put_u64(struct digest *d, uint64_t v)
{
	unsigned char b[8];

	for (int i = 0; i < 8; i++)
		b[i] = (unsigned char)(v >> (56 - 8 * i));
	storage_sum_add(d->sum, b, sizeof(b));
}

static void put_bytes(struct digest *d, const void *data, size_t len)
{
	put_u64(d, len);
	storage_sum_add(d->sum, data, len);
}

static int by_name(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

static int put_values(struct digest *d, const char *proc, const struct strv *names)
{
	put_u64(d, names->count);
	for (size_t i = 0; i < names->count; i++) {
		ssize_t n = lgetxattr(proc, names->item[i], d->buf, XATTR_LIST_MAX);

		if (n < 0)
			return -errno;
		put_bytes(d, names->item[i], strlen(names->item[i]));
		put_bytes(d, d->buf, (size_t)n);
	}
	return 0;
}

/* There is no listxattrat() before Linux 6.13; /proc/self/fd/N/NAME says the same. */
static int put_xattrs(struct digest *d, int parent, const char *name)
{
	cleanup_strv struct strv names = { 0 };
	char proc[320];
	ssize_t len;

	snprintf(proc, sizeof(proc), "/proc/self/fd/%d/%s", parent, name);
	len = llistxattr(proc, d->buf, XATTR_LIST_MAX);
	if (len < 0 && errno != EOPNOTSUPP)
		return -errno;
	for (ssize_t at = 0; at < len; at += (ssize_t)strlen(d->buf + at) + 1)
		if (storage_xattr_kept(d->buf + at) && strv_add(&names, d->buf + at) < 0)
			return -ENOMEM;
	if (names.count)
		qsort(names.item, names.count, sizeof(*names.item), by_name);
	return put_values(d, proc, &names);
}

static int put_content(struct digest *d, int parent, const char *name, uint64_t size, struct err *e)
{
	cleanup_close int fd = openat(parent, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NOATIME);
	uint64_t have = 0;
	ssize_t n;

	if (fd < 0)
		return err_sys(e, "open %s", name);
	put_u64(d, size);
	while ((n = read(fd, d->buf, KIB(256))) > 0) {
		int r;

		storage_sum_add(d->sum, d->buf, (size_t)n);
		have += (uint64_t)n;
		d->done += (uint64_t)n;
		r = storage_tell(d->tell, "digest", d->done, 0, e);
		if (r < 0)
			return r;
	}
	if (n < 0)
		return err_sys(e, "read %s", name);
	return have == size ? 0 : err_set(e, ERR_FAIL, "read %s: it changed meanwhile", name);
}

static int put_entry(struct digest *d, int parent, const char *name, const char *path,
		     struct err *e)
{
	struct stat st;
	ssize_t n = 0;
	int r;

	if (fstatat(parent, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return err_sys(e, "look at %s", path);
	put_bytes(d, path, strlen(path));
	put_u64(d, st.st_mode & S_IFMT);
	put_u64(d, st.st_mode & 07777);
	put_u64(d, st.st_uid);
	put_u64(d, st.st_gid);
	put_u64(d, S_ISREG(st.st_mode) ? (uint64_t)st.st_size : 0);
	put_u64(d, S_ISCHR(st.st_mode) || S_ISBLK(st.st_mode) ? st.st_rdev : 0);
	if (S_ISLNK(st.st_mode)) {
		n = readlinkat(parent, name, d->buf, TEMPLATE_PATH_MAX + 1);
		if (n < 0)
			return err_sys(e, "read the link %s", path);
	}
	put_bytes(d, d->buf, (size_t)n);
	r = put_xattrs(d, parent, name);
	if (r < 0)
		return err_code(e, r, "read the attributes of %s", path);
	return S_ISREG(st.st_mode) ? put_content(d, parent, name, (uint64_t)st.st_size, e) : 0;
}

static int put_tree(struct digest *d, int rootfd, const struct strv *paths, struct err *e)
{
	struct parent_cache cache = { .fd = -EBADF };
	int r;

	storage_sum_add(d->sum, LISTING_HEAD, strlen(LISTING_HEAD));
	r = put_entry(d, rootfd, ".", "", e);
	for (size_t i = 0; r == 0 && i < paths->count; i++) {
		const char *name;
		int parent = storage_parent(&cache, rootfd, paths->item[i], &name, e);

		r = parent < 0 ? parent : put_entry(d, parent, name, paths->item[i], e);
	}
	storage_parent_done(&cache);
	return r;
}

int storage_tree_digest(int rootfd, struct strv *paths, struct tell *tell, char digest[65],
			uint64_t *ret_size, struct err *e)
{
	cleanup_free char *buf = malloc(KIB(256));
	struct digest d = { .tell = tell, .buf = buf };
	unsigned char sum[32] = { 0 };
	int r;

	if (!buf)
		return err_code(e, -ENOMEM, "make a digest");
	if (paths->count)
		qsort(paths->item, paths->count, sizeof(*paths->item), by_name);
	r = storage_sum_new(&d.sum, e);
	if (r < 0)
		return r;
	r = put_tree(&d, rootfd, paths, e);
	if (r == 0)
		r = storage_sum_end(d.sum, sum, e);
	storage_sum_free(d.sum);
	if (r < 0)
		return r;
	for (size_t i = 0; i < sizeof(sum); i++)
		snprintf(digest + 2 * i, 3, "%02x", sum[i]);
	*ret_size = d.done;
	return 0;
}
