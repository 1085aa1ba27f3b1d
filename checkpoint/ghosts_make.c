/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Deleted files of an image: kept in a spool while it is read, then made and deleted again. */
#include "checkpoint/ghosts.h"

#include "base/fd.h"
#include "base/macro.h"
#include "base/path.h"
#include "checkpoint/image.pb-c.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/xattr.h>

#define CHUNK MIB(1)
#define GHOSTS_MAX 65536

static int bad(struct err *e)
{
	return err_set(e, ERR_FAIL, "the image is damaged: a deleted file");
}

int ckpt_ghost_take(struct ckpt_tree *t, const struct ckpt_record *rec, struct err *e)
{
	const Ckpt__GhostData *m = rec->message;
	const Ckpt__Ghost *g = m->ghost && m->ghost <= t->ghost_count ? t->ghosts[m->ghost - 1] : NULL;
	struct ckpt_piece *p;

	if (!g || m->offset > g->size || m->data.len > g->size - m->offset || t->piece_count == UINT32_MAX)
		return bad(e);
	if (!t->has_spool)
		return 0;
	p = ckpt_alloc(&t->arena, sizeof(*p));
	if (!p || ckpt_push(&t->arena, &t->pieces, &t->piece_count, p) < 0)
		return err_code(e, -ENOMEM, "read the image");
	*p = (struct ckpt_piece){ m->ghost, m->offset, m->data.len, t->spooled };
	if (pwrite(t->spool, m->data.data, m->data.len, (off_t)t->spooled) != (ssize_t)m->data.len)
		return err_sys(e, "keep deleted files");
	t->spooled += m->data.len;
	return 0;
}

int ckpt_ghost_check(const struct ckpt_tree *t, size_t n, struct err *e)
{
	const Ckpt__Ghost *g = t->ghosts[n];

	return n >= GHOSTS_MAX || g->path[0] != '/' || strlen(g->path) >= 4096 || g->size > INT64_MAX ||
	       (!g->hidden && !ckpt_ghost_may_be(g->mode)) ? bad(e) : 0;
}

bool ckpt_ghost_may_be(uint32_t mode)
{
	return S_ISREG(mode) || S_ISDIR(mode) || S_ISFIFO(mode) || S_ISSOCK(mode);
}

/* A FIFO, or a socket's name; the fd is only its place. */
static bool is_special(const Ckpt__Ghost *g)
{
	return !S_ISREG(g->mode) && !S_ISDIR(g->mode);
}

/* The directory that it was in, or what is left of the way there; *ret_name is its name. */
static int open_parent(int root, const char *path, const char **ret_name)
{
	char dir[4096];
	char *slash;
	int fd = -EBADF;

	snprintf(dir, sizeof(dir), "%s", path);
	*ret_name = strrchr(path, '/') + 1;
	while (fd < 0 && (slash = strrchr(dir, '/'))) {
		*slash = '\0';
		if (root >= 0)
			fd = path_open_no_links(root, slash == dir ? "." : dir + 1, O_RDONLY | O_DIRECTORY, 0, false);
		else
			fd = path_open_no_magic(slash == dir ? "/" : dir, O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
	}
	return fd;
}

/* Under its name while that is free, else under one like it; without a name when it had none. */
static int make_node(int dir, const char *name, const Ckpt__Ghost *g, char *made, size_t room)
{
	int fd = -EEXIST;

	if (g->tmpfile) {
		fd = openat(dir, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
		return fd < 0 ? -errno : fd;
	}
	for (int i = 0; fd == -EEXIST && i < 1000; i++) {
		if (i == 0)
			snprintf(made, room, "%.255s", name);
		else
			snprintf(made, room, "%.200s.deleted%d", name, i);
		if (S_ISDIR(g->mode))
			fd = mkdirat(dir, made, 0700) < 0 ? -errno : 0;
		else if (is_special(g))
			fd = mknodat(dir, made, (g->mode & S_IFMT) | 0600, 0) < 0 ? -errno : 0;
		else
			fd = openat(dir, made, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
		if (fd < 0)
			fd = -errno;
	}
	if (fd < 0 || S_ISREG(g->mode))
		return fd;
	fd = openat(dir, made, O_NOFOLLOW | O_CLOEXEC | (is_special(g) ? O_PATH : O_RDONLY | O_DIRECTORY));
	return fd < 0 ? -errno : fd;
}

static int copy_piece(int spool, int fd, const struct ckpt_piece *p, uint8_t *buf)
{
	for (uint64_t done = 0; done < p->len;) {
		size_t want = p->len - done < CHUNK ? p->len - done : CHUNK;
		ssize_t n = pread(spool, buf, want, (off_t)(p->at + done));

		if (n <= 0 || pwrite(fd, buf, (size_t)n, (off_t)(p->offset + done)) != n)
			return -errno;
		done += (uint64_t)n;
	}
	return 0;
}

static int fill(const struct ckpt_tree *t, size_t n, int spool, int fd)
{
	const Ckpt__Ghost *g = t->ghosts[n];
	cleanup_free uint8_t *buf = malloc(CHUNK);
	struct timespec ts[2] = {
		{ (time_t)(g->atime_ns / 1000000000), (long)(g->atime_ns % 1000000000) },
		{ (time_t)(g->mtime_ns / 1000000000), (long)(g->mtime_ns % 1000000000) },
	};
	char path[64];
	int r = 0;

	if (!buf)
		return -ENOMEM;
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	if (S_ISREG(g->mode) && ftruncate(fd, (off_t)g->size) < 0)
		return -errno;
	for (size_t i = 0; r == 0 && i < t->piece_count; i++)
		if (t->pieces[i]->ghost == n + 1)
			r = copy_piece(spool, fd, t->pieces[i], buf);
	/* By its path, as an fd that is only a place can be changed in no other way. */
	if (r == 0 && (chown(path, g->uid, g->gid) < 0 || chmod(path, g->mode & 07777) < 0))
		r = -errno;
	for (size_t i = 0; r == 0 && i < g->n_xattrs; i++)
		if (setxattr(path, g->xattrs[i]->name, g->xattrs[i]->value.data, g->xattrs[i]->value.len, 0) < 0)
			r = -errno;
	if (r == 0 && utimensat(AT_FDCWD, path, ts, 0) < 0)
		r = -errno;
	return r;
}

int ckpt_ghost_unname(struct ckpt_ghost_name *g)
{
	int r = unlinkat(g->dir, g->name, g->is_dir ? AT_REMOVEDIR : 0) < 0 ? -errno : 0;

	futimens(g->dir, g->times);
	fd_close(&g->dir);
	return r;
}

int ckpt_ghost_make_named(const struct ckpt_tree *t, size_t n, int root, const char *path, int spool,
			  struct ckpt_ghost_name *ret, struct err *e)
{
	const Ckpt__Ghost *g = t->ghosts[n];
	const char *name;
	cleanup_close int dir = open_parent(root, path, &name), fd = -EBADF;
	struct stat st;
	int r;

	if (dir < 0 || fstat(dir, &st) < 0)
		return err_sys(e, "open the directory of %s", g->path);
	fd = make_node(dir, name, g, ret->name, sizeof(ret->name));
	if (fd < 0)
		return err_code(e, fd, "make %s, which was deleted, again", g->path);
	ret->dir = TAKE_FD(dir);
	ret->is_dir = S_ISDIR(g->mode);
	ret->times[0] = st.st_atim;
	ret->times[1] = st.st_mtim;
	r = fill(t, n, spool, fd);
	if (r == 0)
		return TAKE_FD(fd);
	if (!g->tmpfile)
		ckpt_ghost_unname(ret);
	return err_code(e, r, "fill %s, which was deleted", g->path);
}

/* A file that is open for writing is not executed. */
static int open_for_reading(int fd, const Ckpt__Ghost *g, struct err *e)
{
	char path[64];
	int again;

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	again = open(path, O_RDONLY | O_CLOEXEC);
	close(fd);
	return again < 0 ? err_sys(e, "open %s, which was deleted", g->path) : again;
}

int ckpt_ghost_make(const struct ckpt_tree *t, size_t n, int spool, struct err *e)
{
	const Ckpt__Ghost *g = t->ghosts[n];
	struct ckpt_ghost_name name = { .dir = -EBADF };
	int fd = ckpt_ghost_make_named(t, n, -EBADF, g->path, spool, &name, e), r = 0;

	if (fd < 0) {
		fd_close(&name.dir);
		return fd;
	}
	if (g->tmpfile)
		fd_close(&name.dir);
	else
		r = ckpt_ghost_unname(&name);
	if (r < 0) {
		close(fd);
		return err_code(e, r, "delete %s again", g->path);
	}
	return g->executed ? open_for_reading(fd, g, e) : fd;
}
