/* SPDX-License-Identifier: GPL-2.0-or-later */

/*
 * What lies in the file systems that are in memory, and gone with the VPS. It is read in a copy of the mount
 * that nothing covers; attributes by the VPS's root, so that ids in access lists and in capabilities are as inside.
 */
#include "base/fd.h"
#include "base/macro.h"
#include "checkpoint/binfmt.h"
#include "checkpoint/enter.h"
#include "checkpoint/groups.h"
#include "checkpoint/image.pb-c.h"
#include "checkpoint/precopy_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/xattr.h>

#define CHUNK MIB(1)
#define TOTAL_MAX MIB(256) /* it is held in memory */
#define DEPTH_MAX 128 /* each takes two fds */

struct walk {
	struct ckpt_dump *d;
	uint32_t super;
	const char *keep; /* the runtime's own */
	struct name {
		ino_t ino;
		uint32_t entry;
	} * names; /* of files that have several */
	size_t name_count;
};

static uint64_t ns_of(const struct timespec *t)
{
	return (uint64_t)t->tv_sec * 1000000000 + (uint64_t)t->tv_nsec;
}

static int add(struct walk *w, const char *path, const struct stat *st, Ckpt__TmpfsEntry **ret,
	       struct err *e)
{
	struct ckpt_tree *t = &w->d->tree;
	Ckpt__TmpfsEntry *n = ckpt_alloc(&t->arena, sizeof(*n));

	if (!n)
		return err_code(e, -ENOMEM, "collect %s", path);
	ckpt__tmpfs_entry__init(n);
	n->super = w->super;
	n->path = ckpt_strdup(&t->arena, path);
	n->mode = st->st_mode;
	n->uid = ckpt_dump_id(w->d, st->st_uid);
	n->gid = ckpt_dump_id(w->d, st->st_gid);
	n->mtime_ns = ns_of(&st->st_mtim);
	n->atime_ns = ns_of(&st->st_atim);
	n->size = S_ISREG(st->st_mode) ? (uint64_t)st->st_size : 0;
	*ret = n;
	if (!n->path || ckpt_push(&t->arena, &t->tmpfs, &t->tmpfs_count, n) < 0)
		return err_code(e, -ENOMEM, "collect %s", path);
	return 0;
}

static int add_data(struct walk *w, int fd, Ckpt__TmpfsEntry *n, const struct stat *st,
		    struct err *e)
{
	off_t at = 0, hole;
	int r = 0;

	while (r == 0 && (at = lseek(fd, at, SEEK_DATA)) >= 0) {
		hole = lseek(fd, at, SEEK_HOLE);
		for (; r == 0 && at < hole; at += (off_t)CHUNK) {
			size_t len = (size_t)(hole - at) < CHUNK ? (size_t)(hole - at) : CHUNK;

			w->d->tmpfs_bytes += len;
			if (w->d->tmpfs_bytes > TOTAL_MAX)
				return err_set(e, ERR_UNSUPPORTED, "more than %zu MiB lie in tmpfs",
					       TOTAL_MAX >> 20);
			if (n->data.len) /* one piece each */
				r = add(w, n->path, st, &n, e);
			if (r < 0)
				return r;
			n->offset = (uint64_t)at;
			n->data.data = ckpt_alloc(&w->d->tree.arena, len);
			if (!n->data.data || pread(fd, n->data.data, len, at) != (ssize_t)len)
				return err_sys(e, "read %s", n->path);
			n->data.len = len;
		}
		at = hole;
	}
	return r;
}

/* Its data has been sent, or is just now. */
static bool is_sent(const struct ckpt_dump *d, const struct stat *st, uint32_t *ret)
{
	struct ckpt_precopy *p = d->precopy;

	/* Not of one that became a program meanwhile: who restores it could not write to it any more. */
	for (size_t i = 0; p && !(st->st_mode & 0111) && i < p->shared_count; i++)
		if (p->shared[i].place && p->shared[i].dev == st->st_dev && p->shared[i].ino == st->st_ino) {
			d->tree.shmems[i]->tmpfs = 1;
			*ret = (uint32_t)i + 1;
			return true;
		}
	return false;
}

/* The entry that this inode has already, or 0: then it is remembered as the next one. */
static int first_name(struct walk *w, const struct stat *st, uint32_t *ret)
{
	struct name *grown;

	*ret = 0;
	if (S_ISDIR(st->st_mode) || st->st_nlink < 2)
		return 0;
	for (size_t i = 0; i < w->name_count; i++)
		if (w->names[i].ino == st->st_ino) {
			*ret = w->names[i].entry;
			return 0;
		}
	grown = reallocarray(w->names, w->name_count + 1, sizeof(*grown));
	if (!grown)
		return -ENOMEM;
	w->names = grown;
	grown[w->name_count++] = (struct name){ st->st_ino, (uint32_t)w->d->tree.tmpfs_count + 1 };
	return 0;
}

static int add_link(struct walk *w, int fd, Ckpt__TmpfsEntry *n, struct err *e)
{
	char target[4096];
	ssize_t len = readlinkat(fd, "", target, sizeof(target) - 1);

	if (len < 0)
		return err_sys(e, "read %s", n->path);
	target[len] = '\0';
	n->target = ckpt_strdup(&w->d->tree.arena, target);
	return n->target ? 0 : err_code(e, -ENOMEM, "collect %s", n->path);
}

struct attributes {
	struct ckpt_arena *a;
	Ckpt__TmpfsEntry *n;
	int proc;
	const char *self;
};

static int read_xattrs(void *arg, struct err *e)
{
	const struct attributes *x = arg;
	int r = fchdir(x->proc) < 0 ? -errno : ckpt_xattrs_read(x->a, x->self, &x->n->xattrs, &x->n->n_xattrs);

	return r < 0 ? err_code(e, r, "read the attributes of %s", x->n->path) : 0;
}

static int add_xattrs(struct walk *w, const char *path, const char *self, Ckpt__TmpfsEntry *n, struct err *e)
{
	struct attributes x = { &w->d->tree.arena, n, w->d->proc, self };

	return listxattr(path, NULL, 0) > 0 ?
		       ckpt_within(&w->d->spaces.space[w->d->spaces.main[CKPT_SPACE_USER] - 1].fd, 1, read_xattrs, &x,
				   e) :
		       0;
}

/* One file, opened with O_PATH; a directory's contents follow. */
static int add_inode(struct walk *w, int fd, const char *path, const struct stat *st, struct err *e)
{
	cleanup_close int data = -EBADF;
	Ckpt__TmpfsEntry *n;
	char proc[64];
	const char *self = proc + strlen("/proc/");
	uint32_t other;
	int r = first_name(w, st, &other);

	if (r < 0)
		return err_code(e, r, "collect %s", path);
	r = add(w, path, st, &n, e);
	if (r < 0 || other) {
		n->link = other;
		return r;
	}
	snprintf(proc, sizeof(proc), "/proc/self/fd/%d", fd);
	if (!S_ISLNK(st->st_mode))
		r = add_xattrs(w, proc, self, n, e);
	if (r < 0)
		return r;
	if (S_ISLNK(st->st_mode))
		return add_link(w, fd, n, e);
	if (!S_ISREG(st->st_mode) || is_sent(w->d, st, &n->shmem))
		return 0;
	data = open(proc, O_RDONLY | O_NOATIME | O_CLOEXEC);
	return data < 0 ? err_sys(e, "open %s", path) : add_data(w, data, n, st, e);
}

/* What a directory holds. */
struct listing {
	char **names;
	size_t count;
	off_t last;
	bool falls; /* offsets do; but that of the last entry, which is the highest of all */
};

static int walk(struct walk *w, int fd, const char *path, int depth, struct err *e);

static int step(struct walk *w, int dir, const char *path, const char *name, int depth,
		struct err *e)
{
	cleanup_close int fd = -EBADF;
	char sub[4096];
	struct stat st;
	int r;

	if ((size_t)snprintf(sub, sizeof(sub), "%s/%s", path, name) >= sizeof(sub))
		return err_set(e, ERR_UNSUPPORTED, "a path below %s is too long", path);
	fd = openat(dir, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0 || fstat(fd, &st) < 0)
		return err_sys(e, "look at %s", sub);
	/* Device nodes are the runtime's: a tenant can make none (but whiteouts, which are no
	 * device). */
	if ((w->keep && STREQ(sub, w->keep)) ||
	    ((S_ISCHR(st.st_mode) || S_ISBLK(st.st_mode)) && st.st_rdev))
		return 0;
	r = add_inode(w, fd, sub, &st, e);
	return r == 0 && S_ISDIR(st.st_mode) ? walk(w, fd, sub, depth + 1, e) : r;
}

static int keep_name(struct listing *l, const struct dirent *de)
{
	char **grown = reallocarray(l->names, l->count + 1, sizeof(*grown));

	l->falls |= de->d_off < l->last;
	l->last = de->d_off;
	if (grown)
		l->names = grown;
	if (STREQ(de->d_name, ".") || STREQ(de->d_name, ".."))
		return 0;
	if (!grown)
		return -ENOMEM;
	grown[l->count] = strdup(de->d_name);
	if (!grown[l->count])
		return -ENOMEM;
	l->count++;
	return 0;
}

/* In the order in which they were made, as who has read half of a directory goes on where that ends: since Linux 6.13
 * tmpfs lists the newest first, whose offset is the highest. */
static int walk(struct walk *w, int fd, const char *path, int depth, struct err *e)
{
	cleanup_closedir DIR *dir = NULL;
	const struct dirent *de;
	struct listing l = { 0 };
	int own = openat(fd, ".", O_RDONLY | O_DIRECTORY | O_NOATIME | O_CLOEXEC), r = 0;

	dir = own < 0 ? NULL : fdopendir(own);
	if (!dir)
		return err_sys(e, "read %s", path);
	if (depth > DEPTH_MAX)
		return err_set(e, ERR_UNSUPPORTED, "%s lies too deep", path);
	while (r == 0 && (de = readdir(dir)))
		r = keep_name(&l, de);
	if (r < 0)
		err_code(e, r, "read %s", path);
	for (size_t i = 0; r == 0 && i < l.count; i++)
		r = step(w, dirfd(dir), path, l.names[l.falls ? l.count - 1 - i : i], depth, e);
	while (l.count)
		free(l.names[--l.count]);
	free(l.names);
	return r;
}

static int read_super(struct walk *w, int root, struct err *e)
{
	struct stat st;
	int r;

	if (fstat(root, &st) < 0)
		return err_sys(e, "look at a tmpfs");
	r = add_inode(w, root, "", &st, e);
	return r == 0 ? walk(w, root, "", 0, e) : r;
}

/* A copy of one of its mounts that shows all of it. */
static int open_super(struct ckpt_dump *d, uint32_t super, struct err *e)
{
	const struct ckpt_tree *t = &d->tree;
	const Ckpt__Super *s = t->supers[super - 1];

	for (uint32_t i = 0; i < t->mount_count; i++) {
		const Ckpt__Mount *m = t->mounts[i];
		int r;

		if (m->super != super || !STREQ(m->root, "/"))
			continue;
		r = ckpt_mount_take(d, i + 1, e);
		if (r != -EXDEV)
			return r;
	}
	return err_set(e, ERR_UNSUPPORTED,
		       "a %s (%s) is mounted in parts alone, or wholly covered, which cannot be "
		       "saved yet",
		       s->type, s->source);
}

/* As what was sent of it has named it. */
static void tell_place(struct ckpt_dump *d, uint32_t super)
{
	const struct ckpt_precopy *p = d->precopy;

	for (size_t i = 0; p && i < p->mounts.super_count; i++)
		if (p->mounts.super[i].dev == d->spaces.super[super - 1].dev)
			d->tree.supers[super - 1]->place = p->mounts.super[i].at;
}

static int collect_super(struct ckpt_dump *d, uint32_t super, struct err *e)
{
	struct walk w = { .d = d, .super = super, .keep = ckpt_super_keep(&d->tree, super) };
	int known = ckpt_ahead_super(&d->ahead, d->spaces.super[super - 1].dev);
	cleanup_close int own = known < 0 ? open_super(d, super, e) : -EBADF;
	int root = known < 0 ? own : known, r = root < 0 ? root : 0;

	tell_place(d, super);
	if (r == 0)
		r = ckpt_binfmt_is(d->tree.supers[super - 1]) ? ckpt_binfmt_collect(d, super, root, e) :
								 read_super(&w, root, e);

	free(w.names);
	return r;
}

int ckpt_tmpfs_collect(struct ckpt_dump *d, struct err *e)
{
	int r = 0;

	for (uint32_t i = 1; r == 0 && i <= d->tree.super_count; i++)
		if (d->tree.supers[i - 1]->contents)
			r = collect_super(d, i, e);
	return r;
}
