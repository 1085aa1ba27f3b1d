/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "storage/delta_internal.h"

#include "base/macro.h"
#include "storage/catalogue.h"

#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/xattr.h>

/*
 * Attributes of files, with ids as the tenant has them. Two extended attributes hold ids as well:
 * ACLs (acl(5); linux/posix_acl_xattr.h) and file capabilities of a user namespace's root
 * (capabilities(7), VFS_CAP_REVISION_3).
 */

#define NOBODY 65534 /* what an id outside of the range is inside */

#define ACL_VERSION 2
#define ACL_TAG_USER 0x02
#define ACL_TAG_GROUP 0x08
#define CAP_V2_SIZE 20
#define CAP_V3_SIZE 24
#define CAP_REVISION 0xff000000u
#define CAP_V2 0x02000000u
#define CAP_V3 0x03000000u

static uint32_t id_inside(uint32_t id, const struct storage_ids *ids)
{
	return id >= ids->base && id - ids->base < ids->count ? id - ids->base : NOBODY;
}

/* True when the tenant has such an id. */
static bool id_outside(uint32_t id, const struct storage_ids *ids, uint32_t *ret)
{
	*ret = ids->base + id;
	return id < ids->count;
}

static bool xattr_is_carried(const char *name, enum storage_delta_kind kind)
{
	if (storage_xattr_kept(name))
		return true;
	return kind == STORAGE_UPPER && (STREQ(name, "trusted.overlay.opaque") ||
					 STREQ(name, "trusted.overlay.redirect"));
}

static uint32_t get32(const unsigned char *p)
{
	uint32_t v;

	memcpy(&v, p, sizeof(v));
	return le32toh(v);
}

static void put32(unsigned char *p, uint32_t v)
{
	v = htole32(v);
	memcpy(p, &v, sizeof(v));
}

/* The place of each id in a value; 0: past the last, -EINVAL: not such a value. */
static int acl_ids(const unsigned char *v, size_t len, size_t i, size_t *ret)
{
	if (len < 4 || (len - 4) % 8 || get32(v) != ACL_VERSION)
		return -EINVAL;
	for (size_t at = 4 + 8 * i; at < len; at += 8) {
		unsigned tag = v[at] | (unsigned)v[at + 1] << 8;

		*ret = at + 4;
		return tag == ACL_TAG_USER || tag == ACL_TAG_GROUP ? 2 : 1;
	}
	return 0;
}

static int caps_check(const unsigned char *v, size_t len)
{
	uint32_t revision = len >= 4 ? get32(v) & CAP_REVISION : 0;

	if (revision == CAP_V2 && len == CAP_V2_SIZE)
		return 0;
	return revision == CAP_V3 && len == CAP_V3_SIZE ? 1 : -EINVAL;
}

/* Turns each id in a value with turn(); a value that is not what it should be is -EINVAL. */
static int turn_ids(const char *name, unsigned char *v, size_t len, const struct storage_ids *ids,
		    bool (*turn)(uint32_t id, const struct storage_ids *ids, uint32_t *ret))
{
	uint32_t id;
	size_t at;
	int r;

	if (STREQ(name, "security.capability")) {
		r = caps_check(v, len);
		if (r <= 0)
			return r;
		if (!turn(get32(v + CAP_V3_SIZE - 4), ids, &id))
			return -EINVAL;
		put32(v + CAP_V3_SIZE - 4, id);
		return 0;
	}
	if (strncmp(name, "system.posix_acl_", strlen("system.posix_acl_")) != 0)
		return 0;
	for (size_t i = 0; (r = acl_ids(v, len, i, &at)) > 0; i++) {
		if (r == 1)
			continue;
		if (!turn(get32(v + at), ids, &id))
			return -EINVAL;
		put32(v + at, id);
	}
	return r;
}

static bool turn_inside(uint32_t id, const struct storage_ids *ids, uint32_t *ret)
{
	*ret = id_inside(id, ids);
	return true;
}

static int read_xattrs(int fd, const struct storage_ids *ids,
		       enum storage_delta_kind kind, struct delta_attr *a)
{
	cleanup_free char *names = malloc(DELTA_XATTR_MAX);
	cleanup_free unsigned char *value = malloc(DELTA_XATTR_MAX);
	ssize_t len, n;
	int r = 0;

	if (!names || !value)
		return -ENOMEM;
	len = flistxattr(fd, names, DELTA_XATTR_MAX);
	if (len < 0)
		return errno == EOPNOTSUPP ? 0 : -errno;
	for (const char *name = names; r == 0 && name < names + len; name += strlen(name) + 1) {
		if (!xattr_is_carried(name, kind))
			continue;
		n = fgetxattr(fd, name, value, DELTA_XATTR_MAX);
		if (n < 0)
			r = errno == ENODATA ? 0 : -errno;
		else if (turn_ids(name, value, (size_t)n, ids, turn_inside) == 0)
			r = delta_add_xattr(a, name, value, (size_t)n);
	}
	return r;
}

int delta_attr_read(int parent, const char *name, int fd, const struct stat *st,
		    const struct storage_ids *ids, enum storage_delta_kind kind,
		    struct delta_attr *ret)
{
	ssize_t n;

	*ret = (struct delta_attr){ .mode = st->st_mode, .uid = id_inside(st->st_uid, ids),
				    .gid = id_inside(st->st_gid, ids), .mtime = st->st_mtim,
				    .rdev = (uint32_t)st->st_rdev };
	if (S_ISREG(st->st_mode))
		ret->size = (uint64_t)st->st_size;
	if (S_ISLNK(st->st_mode)) {
		n = readlinkat(parent, name, ret->target, sizeof(ret->target) - 1);
		if (n <= 0) /* EINVAL: it is no link any more */
			return n < 0 && errno != EINVAL ? -errno : -ESTALE;
		ret->target[n] = '\0';
	}
	/* Those that are carried only files and directories can have (xattr(7)). */
	return fd < 0 ? 0 : read_xattrs(fd, ids, kind, ret);
}

struct writing {
	int fd;
	const struct storage_ids *ids;
	enum storage_delta_kind kind;
	const struct delta_attr *a;
};

/* A name in the lower layer, or a path from its top; overlay itself refuses "..". */
static bool redirect_is_good(const char *v, size_t len)
{
	return len > 0 && len <= DELTA_PATH_MAX && !memchr(v, '\0', len);
}

static int write_xattr(void *ctx, const char *name, const void *value, size_t len)
{
	struct writing *w = ctx;
	cleanup_free unsigned char *mine = malloc(len + 1);

	if (!xattr_is_carried(name, w->kind))
		return -EBADMSG;
	if (STREQ(name, "trusted.overlay.redirect") && !redirect_is_good(value, len))
		return -EBADMSG;
	if (!mine)
		return -ENOMEM;
	memcpy(mine, value, len);
	if (turn_ids(name, mine, len, w->ids, id_outside) < 0)
		return -EBADMSG;
	return fsetxattr(w->fd, name, mine, len, 0) < 0 ? -errno : 0;
}

static int same_name(void *ctx, const char *name, const void *value, size_t len)
{
	(void)value;
	(void)len;
	return STREQ(ctx, name);
}

/* Those that the source has not any more. */
static int remove_others(struct writing *w)
{
	cleanup_free char *names = malloc(DELTA_XATTR_MAX);
	ssize_t len;

	if (!names)
		return -ENOMEM;
	len = flistxattr(w->fd, names, DELTA_XATTR_MAX);
	if (len < 0)
		return errno == EOPNOTSUPP ? 0 : -errno;
	for (char *name = names; name < names + len; name += strlen(name) + 1) {
		if (!xattr_is_carried(name, w->kind) ||
		    delta_each_xattr(&w->a->xattrs, same_name, name))
			continue;
		if (fremovexattr(w->fd, name) < 0 && errno != ENODATA)
			return -errno;
	}
	return 0;
}

/* Owner first: it takes set-id bits and capabilities away. */
int delta_attr_write(int parent, const char *name, int fd, const struct delta_attr *a,
		     const struct storage_ids *ids, enum storage_delta_kind kind)
{
	struct timespec times[2] = { a->mtime, a->mtime };
	struct writing w = { .fd = fd, .ids = ids, .kind = kind, .a = a };
	uint32_t uid, gid;
	int r;

	if (!id_outside(a->uid, ids, &uid) || !id_outside(a->gid, ids, &gid))
		return -EBADMSG;
	if (fchownat(parent, name, uid, gid, AT_SYMLINK_NOFOLLOW) < 0)
		return -errno;
	if (S_ISCHR(a->mode))
		return utimensat(parent, name, times, AT_SYMLINK_NOFOLLOW) < 0 ? -errno : 0;
	if (fd >= 0 && S_ISREG(a->mode) && ftruncate(fd, (off_t)a->size) < 0)
		return -errno;
	r = fd >= 0 ? fchmod(fd, a->mode & 07777)
		    : S_ISLNK(a->mode) ? 0 : fchmodat(parent, name, a->mode & 07777, 0);
	if (r < 0)
		return -errno;
	if (fd < 0 && a->xattr_count)
		return -EBADMSG;
	r = fd < 0 ? 0 : remove_others(&w);
	if (r == 0)
		r = delta_each_xattr(&a->xattrs, write_xattr, &w);
	if (r < 0)
		return r;
	return utimensat(parent, name, times, AT_SYMLINK_NOFOLLOW) < 0 ? -errno : 0;
}
