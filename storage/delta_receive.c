/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "storage/delta_internal.h"

#include "base/macro.h"
#include "base/path.h"
#include "storage/catalogue.h"
#include "storage/delta_sync.h"

#include <fcntl.h>
#include <sys/sysmacros.h>

/*
 * The records come from a peer that may want our host: each path is opened below the top without a
 * link on the way, and what it names is looked at again before it is changed.
 */
struct storage_receive {
	int rootfd, limbofd;
	struct storage_ids ids;
	enum storage_delta_kind kind;
	struct parent_cache cache;
	int fd; /* the file of the records before this one */
	char path[DELTA_PATH_MAX + 1];
	bool whole, durable;
	struct delta_sync *sync; /* NULL: there is none, and each file is waited for */
	bool changed; /* by this pass */
	struct delta_record rec;
};

int storage_receive_new(int rootfd, int limbofd, const struct storage_ids *ids,
			enum storage_delta_kind kind, struct storage_receive **ret, struct err *e)
{
	struct storage_receive *r = calloc(1, sizeof(*r));

	if (!r)
		return err_code(e, -ENOMEM, "prepare to receive files");
	r->rootfd = rootfd;
	r->limbofd = limbofd;
	r->ids = *ids;
	r->kind = kind;
	r->fd = r->cache.fd = -EBADF;
	*ret = r;
	return 0;
}

void storage_receive_free(struct storage_receive *r)
{
	if (!r)
		return;
	delta_sync_free(r->sync);
	fd_close(&r->fd);
	storage_parent_done(&r->cache);
	free(r);
}

void storage_receive_durable(struct storage_receive *r)
{
	r->durable = true;
	if (!r->sync && delta_sync_new(&r->sync) < 0)
		r->sync = NULL;
}

int storage_receive_settle(struct storage_receive *r, unsigned ms, struct err *e)
{
	int ret = r->sync ? delta_sync_wait(r->sync, ms) : 0;

	return ret < 0 ? err_code(e, ret, "write the files to the disk") : ret;
}

static int make_durable(struct storage_receive *r, int fd)
{
	if (r->sync && delta_sync_add(r->sync, fd) == 0)
		return 0;
	return fsync(fd) < 0 ? -errno : 0;
}

bool storage_receive_is_whole(const struct storage_receive *r)
{
	return r->whole;
}

static int bad(struct err *e)
{
	return err_set(e, ERR_USAGE, "the stream holds a record of files that makes no sense");
}

static int open_parent(struct storage_receive *r, const char *path, const char **ret_name,
		       struct err *e)
{
	int fd = storage_parent(&r->cache, r->rootfd, path, ret_name, e);

	if (fd >= 0 && !**ret_name)
		*ret_name = ".";
	return fd;
}

static void forget_file(struct storage_receive *r)
{
	fd_close(&r->fd);
	r->path[0] = '\0';
}

/* r->fd becomes the regular file of this path. */
static int open_file(struct storage_receive *r, const char *path, int flags, struct err *e)
{
	const char *name;
	struct stat st;
	int parent;

	if (r->fd >= 0 && STREQ(r->path, path))
		return 0;
	forget_file(r);
	parent = open_parent(r, path, &name, e);
	if (parent < 0)
		return parent;
	r->fd = openat(parent, name, O_RDWR | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC | flags,
		       0600);
	if (r->fd < 0 || fstat(r->fd, &st) < 0)
		return err_sys(e, "write %s", path);
	if (!S_ISREG(st.st_mode))
		return bad(e);
	snprintf(r->path, sizeof(r->path), "%s", path);
	return 0;
}

static int on_dir(struct storage_receive *r, const struct delta_record *rec, struct err *e)
{
	const char *name;
	int parent = open_parent(r, rec->path, &name, e);

	if (parent < 0)
		return parent;
	return mkdirat(parent, name, 0700) < 0 ? err_sys(e, "make %s", rec->path) : 0;
}

static int on_file(struct storage_receive *r, const struct delta_record *rec, struct err *e)
{
	forget_file(r);
	return open_file(r, rec->path, O_CREAT | O_EXCL, e);
}

static int on_node(struct storage_receive *r, const struct delta_record *rec, struct err *e)
{
	const char *name;
	int parent = open_parent(r, rec->path, &name, e), made;

	if (parent < 0)
		return parent;
	if (S_ISCHR(rec->attr.mode) && r->kind != STORAGE_UPPER)
		return bad(e);
	if (S_ISLNK(rec->attr.mode))
		made = symlinkat(rec->attr.target, parent, name);
	else /* of devices the decoder lets only whiteouts through */
		made = mknodat(parent, name, rec->attr.mode & S_IFMT, makedev(0, 0));
	return made < 0 ? err_sys(e, "make %s", rec->path) : 0;
}

static int on_data(struct storage_receive *r, const struct delta_record *rec, struct err *e)
{
	const char *data = rec->data;
	size_t done = 0;
	int ret = open_file(r, rec->path, 0, e);

	while (ret == 0 && done < rec->data_len) {
		ssize_t n = pwrite(r->fd, data + done, rec->data_len - done,
				   (off_t)(rec->offset + done));

		if (n < 0 && errno != EINTR)
			return err_sys(e, "write %s", rec->path);
		done += n > 0 ? (size_t)n : 0;
	}
	return ret;
}

static int on_zero(struct storage_receive *r, const struct delta_record *rec, struct err *e)
{
	static const char zeros[DELTA_BLOCK];
	int ret = open_file(r, rec->path, 0, e);

	if (ret < 0)
		return ret;
	if (fallocate(r->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)rec->offset,
		      (off_t)rec->length) == 0)
		return 0;
	if (errno != EOPNOTSUPP || rec->length > sizeof(zeros))
		return err_sys(e, "make a hole in %s", rec->path);
	return pwrite(r->fd, zeros, rec->length, (off_t)rec->offset) < 0
		       ? err_sys(e, "write %s", rec->path) : 0;
}

static int on_attr(struct storage_receive *r, const struct delta_record *rec, struct err *e)
{
	cleanup_close int dir = -EBADF;
	const char *name;
	struct stat st;
	int parent = open_parent(r, rec->path, &name, e), fd = -EBADF, ret;

	if (parent < 0)
		return parent;
	if (fstatat(parent, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return err_sys(e, "look at %s", rec->path);
	if ((st.st_mode & S_IFMT) != (rec->attr.mode & S_IFMT))
		return bad(e);
	if (S_ISREG(st.st_mode)) {
		ret = open_file(r, rec->path, 0, e);
		if (ret < 0)
			return ret;
		fd = r->fd;
	} else if (S_ISDIR(st.st_mode)) {
		dir = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
		if (dir < 0)
			return err_sys(e, "open %s", rec->path);
		fd = dir;
	}
	ret = delta_attr_write(parent, name, fd, &rec->attr, &r->ids, r->kind);
	if (ret == -EBADMSG)
		return bad(e);
	if (ret == 0 && r->durable && fd == r->fd && fd >= 0)
		ret = make_durable(r, fd);
	return ret < 0 ? err_code(e, ret, "set the attributes of %s", rec->path) : 0;
}

static int on_link(struct storage_receive *r, const struct delta_record *rec, struct err *e)
{
	struct parent_cache from = { .fd = -EBADF };
	const char *name, *target;
	int parent = open_parent(r, rec->path, &name, e), old, ret = 0;

	if (parent < 0)
		return parent;
	old = storage_parent(&from, r->rootfd, rec->target, &target, e);
	if (old < 0)
		ret = old;
	else if (linkat(old, target, parent, name, 0) < 0)
		ret = err_sys(e, "link %s", rec->path);
	storage_parent_done(&from);
	return ret;
}

static const char *limbo_name(const struct delta_record *rec, char buf[32])
{
	snprintf(buf, 32, "%016llx", (unsigned long long)rec->number);
	return buf;
}

static int on_park(struct storage_receive *r, const struct delta_record *rec, struct err *e)
{
	const char *name;
	char limbo[32];
	struct stat st;
	int parent = open_parent(r, rec->path, &name, e);

	if (parent < 0)
		return parent;
	forget_file(r);
	if (fstatat(parent, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return err_sys(e, "look at %s", rec->path);
	if (S_ISDIR(st.st_mode))
		return bad(e);
	return renameat2(parent, name, r->limbofd, limbo_name(rec, limbo), RENAME_NOREPLACE) < 0
		       ? err_sys(e, "put %s aside", rec->path) : 0;
}

static int on_unpark(struct storage_receive *r, const struct delta_record *rec, struct err *e)
{
	const char *name;
	char limbo[32];
	int parent = open_parent(r, rec->path, &name, e);

	if (parent < 0)
		return parent;
	return renameat2(r->limbofd, limbo_name(rec, limbo), parent, name, RENAME_NOREPLACE) < 0
		       ? err_sys(e, "put %s back", rec->path) : 0;
}

static int on_remove(struct storage_receive *r, const struct delta_record *rec, struct err *e)
{
	const char *name;
	int parent = open_parent(r, rec->path, &name, e);

	if (parent < 0)
		return parent;
	forget_file(r);
	return unlinkat(parent, name, 0) < 0 ? err_sys(e, "remove %s", rec->path) : 0;
}

static int on_rmdir(struct storage_receive *r, const struct delta_record *rec, struct err *e)
{
	const char *name;
	int parent, ret;

	/* It may be the very directory that is kept open. */
	storage_parent_done(&r->cache);
	parent = open_parent(r, rec->path, &name, e);
	if (parent < 0)
		return parent;
	ret = unlinkat(parent, name, AT_REMOVEDIR) < 0 ? err_sys(e, "remove %s", rec->path) : 0;
	return ret;
}

/* What was put aside and not asked for again has lost its last name meanwhile. */
static int on_end(struct storage_receive *r, const struct delta_record *rec, struct err *e)
{
	cleanup_closedir DIR *dir = NULL;
	int fd = openat(r->limbofd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct dirent *d;

	(void)rec;
	forget_file(r);
	/* Names: a directory's sync carries those of others with it, in one journal. */
	if (r->durable && r->changed && make_durable(r, r->rootfd) < 0)
		return err_sys(e, "write the files to the disk");
	r->changed = false;
	dir = fd < 0 ? NULL : fdopendir(fd);
	if (!dir) {
		fd_close(&fd);
		return err_sys(e, "look at what was put aside");
	}
	while ((d = readdir(dir)))
		if (d->d_name[0] != '.' && unlinkat(r->limbofd, d->d_name, 0) < 0)
			return err_sys(e, "remove what was put aside");
	return 0;
}

int storage_receive_put(struct storage_receive *r, const void *record, size_t len, struct err *e)
{
	static int (*const take[DELTA_OP_COUNT])(struct storage_receive *r,
						 const struct delta_record *rec, struct err *e) = {
		[DELTA_DIR] = on_dir,       [DELTA_FILE] = on_file,     [DELTA_NODE] = on_node,
		[DELTA_DATA] = on_data,     [DELTA_ZERO] = on_zero,     [DELTA_ATTR] = on_attr,
		[DELTA_LINK] = on_link,     [DELTA_PARK] = on_park,     [DELTA_UNPARK] = on_unpark,
		[DELTA_REMOVE] = on_remove, [DELTA_RMDIR] = on_rmdir,   [DELTA_END] = on_end,
	};
	int ret = delta_decode(record, len, &r->rec);

	r->whole = false;
	if (ret == -EBADMSG || ret == -E2BIG)
		ret = bad(e);
	else if (ret < 0)
		err_code(e, ret, "take a record of files");
	else
		ret = take[r->rec.op](r, &r->rec, e);
	r->whole = ret == 0 && r->rec.op == DELTA_END;
	r->changed |= r->rec.op != DELTA_END;
	delta_attr_done(&r->rec.attr);
	return ret;
}
