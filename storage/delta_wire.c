/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "storage/delta_internal.h"

#include "base/macro.h"

#include <endian.h>
#include <errno.h>
#include <sys/sysmacros.h>

/* What follows the path, for each kind of record. */
static const struct {
	bool attr, data, range, target, number, no_path;
} layout[DELTA_OP_COUNT] = {
	[DELTA_DIR] = { .attr = true },     [DELTA_FILE] = { .attr = true },
	[DELTA_NODE] = { .attr = true },    [DELTA_ATTR] = { .attr = true },
	[DELTA_DATA] = { .data = true },    [DELTA_ZERO] = { .range = true },
	[DELTA_LINK] = { .target = true },  [DELTA_PARK] = { .number = true },
	[DELTA_UNPARK] = { .number = true }, [DELTA_END] = { .no_path = true },
};

static int put_number(struct buf *b, uint64_t v, size_t bytes)
{
	uint64_t le = htole64(v);

	return buf_add(b, &le, bytes);
}

static int put_text(struct buf *b, const char *s)
{
	int r = put_number(b, strlen(s), 2);

	return r < 0 ? r : buf_add(b, s, strlen(s));
}

static int put_attr(struct buf *b, const struct delta_attr *a)
{
	int r = put_number(b, a->mode, 4);

	if (r == 0)
		r = put_number(b, a->uid, 4);
	if (r == 0)
		r = put_number(b, a->gid, 4);
	if (r == 0)
		r = put_number(b, a->rdev, 4);
	if (r == 0)
		r = put_number(b, a->size, 8);
	if (r == 0)
		r = put_number(b, (uint64_t)a->mtime.tv_sec, 8);
	if (r == 0)
		r = put_number(b, (uint64_t)a->mtime.tv_nsec, 4);
	if (r == 0)
		r = put_text(b, a->target);
	if (r == 0)
		r = put_number(b, a->xattr_count, 2);
	return r < 0 || !a->xattrs.len ? r : buf_add(b, a->xattrs.data, a->xattrs.len);
}

int delta_encode(const struct delta_record *rec, struct buf *out)
{
	int r;

	out->len = 0;
	r = put_number(out, rec->op, 1);
	if (r == 0 && !layout[rec->op].no_path)
		r = put_text(out, rec->path);
	if (r == 0 && layout[rec->op].attr)
		r = put_attr(out, &rec->attr);
	if (r == 0 && layout[rec->op].target)
		r = put_text(out, rec->target);
	if (r == 0 && layout[rec->op].number)
		r = put_number(out, rec->number, 8);
	if (r == 0 && (layout[rec->op].data || layout[rec->op].range))
		r = put_number(out, rec->offset, 8);
	if (r == 0 && layout[rec->op].range)
		r = put_number(out, rec->length, 8);
	if (r == 0 && layout[rec->op].data)
		r = buf_add(out, rec->data, rec->data_len);
	return r;
}

struct cursor {
	const unsigned char *at;
	size_t left;
};

static int get_bytes(struct cursor *c, size_t len, const void **ret)
{
	if (len > c->left)
		return -EBADMSG;
	*ret = c->at;
	c->at += len;
	c->left -= len;
	return 0;
}

static int get_number(struct cursor *c, size_t bytes, uint64_t *ret)
{
	const void *data;
	uint64_t le = 0;

	if (get_bytes(c, bytes, &data) < 0)
		return -EBADMSG;
	memcpy(&le, data, bytes);
	*ret = le64toh(le);
	return 0;
}

static int get_u32(struct cursor *c, uint32_t *ret)
{
	uint64_t v;

	if (get_number(c, 4, &v) < 0)
		return -EBADMSG;
	*ret = (uint32_t)v;
	return 0;
}

static int get_text(struct cursor *c, char out[DELTA_PATH_MAX + 1])
{
	const void *data;
	uint64_t len;

	if (get_number(c, 2, &len) < 0 || len > DELTA_PATH_MAX || get_bytes(c, len, &data) < 0 ||
	    memchr(data, '\0', len))
		return -EBADMSG;
	memcpy(out, data, len);
	out[len] = '\0';
	return 0;
}

/* Components of 1 to 255 bytes that name something below. */
static bool path_is_good(const char *path)
{
	if (!*path)
		return true;
	for (const char *p = path;; p++) {
		size_t len = strcspn(p, "/");

		if (len == 0 || len > 255 || (len == 1 && p[0] == '.') ||
		    (len == 2 && p[0] == '.' && p[1] == '.'))
			return false;
		p += len;
		if (!*p)
			return true;
	}
}

static int get_path(struct cursor *c, char out[DELTA_PATH_MAX + 1])
{
	int r = get_text(c, out);

	return r == 0 && !path_is_good(out) ? -EBADMSG : r;
}

static int get_xattrs(struct cursor *c, struct delta_attr *a)
{
	uint64_t count, name_len, value_len;
	const void *name, *value;
	char text[256];

	if (get_number(c, 2, &count) < 0 || count > DELTA_XATTRS)
		return -EBADMSG;
	for (uint64_t i = 0; i < count; i++) {
		int r;

		if (get_number(c, 1, &name_len) < 0 || get_number(c, 4, &value_len) < 0 ||
		    !name_len || value_len > DELTA_XATTR_MAX ||
		    get_bytes(c, name_len, &name) < 0 || get_bytes(c, value_len, &value) < 0 ||
		    memchr(name, '\0', name_len))
			return -EBADMSG;
		memcpy(text, name, name_len);
		text[name_len] = '\0';
		r = delta_add_xattr(a, text, value, value_len);
		if (r < 0)
			return r;
	}
	return 0;
}

static bool type_is_good(const struct delta_record *r)
{
	mode_t type = r->attr.mode & S_IFMT;
	bool node = type == S_IFLNK || type == S_IFIFO || type == S_IFSOCK ||
		    (type == S_IFCHR && r->attr.rdev == makedev(0, 0));

	if ((type == S_IFLNK) != (r->attr.target[0] != '\0'))
		return false;
	if (r->op == DELTA_DIR)
		return type == S_IFDIR;
	if (r->op == DELTA_FILE)
		return type == S_IFREG;
	return node || (r->op == DELTA_ATTR && (type == S_IFDIR || type == S_IFREG));
}

static int get_attr(struct cursor *c, struct delta_record *r)
{
	struct delta_attr *a = &r->attr;
	uint64_t sec, nsec;

	if (get_u32(c, &a->mode) < 0 || get_u32(c, &a->uid) < 0 || get_u32(c, &a->gid) < 0 ||
	    get_u32(c, &a->rdev) < 0 || get_number(c, 8, &a->size) < 0 ||
	    get_number(c, 8, &sec) < 0 || get_number(c, 4, &nsec) < 0 || get_text(c, a->target) < 0)
		return -EBADMSG;
	a->mtime = (struct timespec){ .tv_sec = (time_t)sec, .tv_nsec = (long)nsec };
	if (a->size > INT64_MAX || nsec >= 1000000000 || !type_is_good(r))
		return -EBADMSG;
	return get_xattrs(c, a);
}

static int get_range(struct cursor *c, struct delta_record *r)
{
	bool sized = layout[r->op].range;

	if (get_number(c, 8, &r->offset) < 0 || (sized && get_number(c, 8, &r->length) < 0))
		return -EBADMSG;
	if (!sized) {
		r->data = c->at;
		r->length = r->data_len = c->left;
		c->left = 0;
	}
	return r->offset > INT64_MAX || r->length > INT64_MAX - r->offset ? -EBADMSG : 0;
}

int delta_decode(const void *data, size_t len, struct delta_record *r)
{
	struct cursor c = { data, len };
	uint64_t op;
	int ret = 0;

	memset(&r->attr, 0, sizeof(r->attr));
	r->path[0] = '\0';
	if (len > STORAGE_RECORD_MAX || get_number(&c, 1, &op) < 0 || op < DELTA_DIR ||
	    op >= DELTA_OP_COUNT)
		return -EBADMSG;
	r->op = (enum delta_op)op;
	if (!layout[op].no_path)
		ret = get_path(&c, r->path);
	/* The top is there, and stays. */
	if (ret == 0 && !layout[op].no_path && !r->path[0] && op != DELTA_ATTR)
		ret = -EBADMSG;
	if (ret == 0 && layout[op].attr)
		ret = get_attr(&c, r);
	if (ret == 0 && layout[op].target)
		ret = get_path(&c, r->target);
	if (ret == 0 && layout[op].number)
		ret = get_number(&c, 8, &r->number);
	if (ret == 0 && (layout[op].data || layout[op].range))
		ret = get_range(&c, r);
	return ret == 0 && c.left ? -EBADMSG : ret;
}

int delta_add_xattr(struct delta_attr *a, const char *name, const void *value, size_t len)
{
	size_t name_len = strlen(name);
	int r;

	if (name_len == 0 || name_len > 255 || len > DELTA_XATTR_MAX ||
	    a->xattr_count >= DELTA_XATTRS ||
	    a->xattrs.len + name_len + len > 4 * (size_t)DELTA_XATTR_MAX)
		return -E2BIG;
	r = put_number(&a->xattrs, name_len, 1);
	if (r == 0)
		r = put_number(&a->xattrs, len, 4);
	if (r == 0)
		r = buf_add(&a->xattrs, name, name_len);
	if (r == 0 && len)
		r = buf_add(&a->xattrs, value, len);
	a->xattr_count += r == 0;
	return r;
}

int delta_each_xattr(const struct buf *xattrs,
		     int (*fn)(void *ctx, const char *name, const void *value, size_t len), void *ctx)
{
	struct cursor c = { (const unsigned char *)xattrs->data, xattrs->len };
	uint64_t name_len, value_len;
	const void *name, *value;
	char text[256];
	int r = 0;

	/* They were made by delta_add_xattr(). */
	while (r == 0 && c.left && get_number(&c, 1, &name_len) == 0 &&
	       get_number(&c, 4, &value_len) == 0 && get_bytes(&c, name_len, &name) == 0 &&
	       get_bytes(&c, value_len, &value) == 0) {
		memcpy(text, name, name_len);
		text[name_len] = '\0';
		r = fn(ctx, text, value, value_len);
	}
	return r;
}
