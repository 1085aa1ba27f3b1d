/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "checkpoint/ghosts.h"

#include "base/fd.h"
#include "base/macro.h"
#include "base/path.h"
#include "checkpoint/enter.h"
#include "checkpoint/groups.h"
#include "checkpoint/handles.h"
#include "checkpoint/image.pb-c.h"
#include "checkpoint/internal.h"
#include "checkpoint/lookout.h"
#include "checkpoint/spaces.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/sysmacros.h>
#include <linux/magic.h>
#include <sys/mount.h>
#include <sys/statvfs.h>
#include <sys/vfs.h>
#include <sys/xattr.h>

#define CHUNK MIB(1)
#define DELETED " (deleted)"
#define K_ST_NOSYMFOLLOW 0x2000 /* Linux 5.10 */

static uint64_t ns(struct timespec t)
{
	return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

/* The path that a deleted file had. */
static char *strip(struct ckpt_arena *a, const char *link)
{
	size_t len = strlen(link), tail = strlen(DELETED);
	char *path = ckpt_strdup(a, link);

	if (path && len > tail && STREQ(link + len - tail, DELETED))
		path[len - tail] = '\0';
	return path;
}

/* What O_TMPFILE made: d_path() shows it as "#" and the number of its inode. */
static bool is_nameless(const char *path)
{
	const char *name = path ? strrchr(path, '/') : NULL;

	return name && name[1] == '#' && name[2] && !name[2 + strspn(name + 2, "0123456789")];
}

/* Whether it lies where the VPS has files: not in a file system that only the kernel has (memfd_secret(2)). */
static bool is_mounted(int root, const char *path, const struct stat *st, int own)
{
	char up[4096];
	char *slash;

	snprintf(up, sizeof(up), "%s", path);
	while ((slash = strrchr(up, '/'))) {
		cleanup_close int fd = -EBADF;
		struct statfs mine, there;
		struct stat dir;

		*slash = '\0';
		fd = path_open_in_root(root, up[0] ? up : "/", O_PATH | O_DIRECTORY, 0);
		if (fd < 0 || fstat(fd, &dir) < 0 || fstatfs(fd, &there) < 0 || fstatfs(own, &mine) < 0)
			continue;
		/* Layers of an overlay may show their files under devices of their own. */
		return dir.st_dev == st->st_dev ||
		       (mine.f_type == OVERLAYFS_SUPER_MAGIC && there.f_type == OVERLAYFS_SUPER_MAGIC);
	}
	return false;
}

struct reading {
	struct ckpt_dump *d;
	Ckpt__Ghost *g;
	char path[64];
};

static int read_xattrs(void *arg, struct err *e)
{
	struct reading *r = arg;
	int n = ckpt_xattrs_read(&r->d->tree.arena, r->path, &r->g->xattrs, &r->g->n_xattrs);

	return n < 0 ? err_code(e, n, "read the attributes of %s, which was deleted", r->g->path) : 0;
}

/* By the VPS's own root: ids in access lists and in capabilities are as inside. */
static int collect_xattrs(struct ckpt_dump *d, Ckpt__Ghost *g, int fd, struct err *e)
{
	struct reading r = { .d = d, .g = g };

	snprintf(r.path, sizeof(r.path), "/proc/self/fd/%d", fd);
	return listxattr(r.path, NULL, 0) > 0
		? ckpt_within(&d->spaces.space[d->spaces.main[CKPT_SPACE_USER] - 1].fd, 1, read_xattrs, &r, e) : 0;
}

/* `super`: of what is mounted by itself, else 0; `root`: of the mount namespace that it lies in. */
static int add_ghost(struct ckpt_dump *d, const char *proc, const char *link, const struct stat *st, int root,
		     uint32_t super, uint32_t *ret, struct err *e)
{
	struct ckpt_arena *a = &d->tree.arena;
	struct ckpt_held *h;
	Ckpt__Ghost *g;
	int how = O_RDONLY | O_CLOEXEC | O_NONBLOCK;

	for (size_t i = 0; i < d->ghost_count; i++)
		if (d->ghosts[i]->dev == st->st_dev && d->ghosts[i]->ino == st->st_ino) {
			*ret = (uint32_t)i + 1;
			return 0;
		}
	if (!ckpt_ghost_may_be(st->st_mode))
		return err_set(e, ERR_UNSUPPORTED, "%s, %s, was deleted and is neither file nor directory, which "
			       "cannot be saved", proc, link);
	/* Whoever opens a FIFO is seen at its other end. */
	if (!S_ISREG(st->st_mode) && !S_ISDIR(st->st_mode))
		how = O_PATH | O_CLOEXEC;
	g = ckpt_alloc(a, sizeof(*g));
	h = ckpt_alloc(a, sizeof(*h));
	if (!g || !h)
		return err_code(e, -ENOMEM, "collect deleted files");
	ckpt__ghost__init(g);
	g->path = strip(a, link);
	g->tmpfile = !super && S_ISREG(st->st_mode) && is_nameless(g->path);
	g->mode = st->st_mode;
	g->uid = st->st_uid - d->uid_base;
	g->gid = st->st_gid - d->uid_base;
	g->size = S_ISREG(st->st_mode) ? (uint64_t)st->st_size : 0;
	g->atime_ns = ns(st->st_atim);
	g->mtime_ns = ns(st->st_mtim);
	*h = (struct ckpt_held){ st->st_dev, st->st_ino, open(proc, how) };
	if (h->fd < 0)
		return err_sys(e, "open %s", proc);
	g->super = super;
	if (g->path && !super && !is_mounted(root, g->path, st, h->fd)) {
		close(h->fd);
		return err_set(e, ERR_UNSUPPORTED, "%s is %s, which cannot be saved", proc, link);
	}
	if (!g->path || ckpt_push(a, &d->tree.ghosts, &d->tree.ghost_count, g) < 0 ||
	    ckpt_push(a, &d->ghosts, &d->ghost_count, h) < 0) {
		close(h->fd);
		return err_code(e, -ENOMEM, "collect deleted files");
	}
	*ret = (uint32_t)d->ghost_count;
	return collect_xattrs(d, g, h->fd, e);
}

int ckpt_ghost_mounted(struct ckpt_dump *d, int fd, const char *path, uint32_t super, uint32_t *ret, struct err *e)
{
	char proc[64];
	struct stat st;

	snprintf(proc, sizeof(proc), "/proc/self/fd/%d", fd);
	if (fstat(fd, &st) < 0)
		return err_sys(e, "look at %s, which was deleted", path);
	return add_ghost(d, proc, path, &st, -EBADF, super, ret, e);
}

static bool leads_to(int root, const char *path, const struct stat *st, uint64_t mount)
{
	cleanup_close int fd = path_open_in_root(root, path, O_PATH | O_NOFOLLOW, 0);
	struct statx there;

	return fd >= 0 && statx(fd, "", AT_EMPTY_PATH, STATX_INO | STATX_MNT_ID, &there) == 0 &&
	       there.stx_ino == st->st_ino && makedev(there.stx_dev_major, there.stx_dev_minor) == st->st_dev &&
	       there.stx_mnt_id == mount;
}

/* Where a file is that has been found before: most areas of most processes are of the same few. */
static struct ckpt_place **known(struct ckpt_dump *d, const char *link, const struct stat *st, uint64_t mount)
{
	struct ckpt_place **p = &d->places[(st->st_ino ^ mount) % CKPT_PLACES];

	while (*p && ((*p)->ino != st->st_ino || (*p)->dev != st->st_dev || (*p)->mount != mount ||
		      !STREQ((*p)->path, link)))
		p = &(*p)->next;
	return p;
}

static int remember(struct ckpt_dump *d, struct ckpt_place **at, const char *link, const struct stat *st,
		    uint64_t mount)
{
	struct ckpt_place *p = ckpt_alloc(&d->tree.arena, sizeof(*p));
	char *path = ckpt_strdup(&d->tree.arena, link);

	if (!p || !path)
		return -ENOMEM;
	*p = (struct ckpt_place){ st->st_dev, st->st_ino, mount, path, NULL };
	*at = p;
	return 0;
}

/* How many names a file still has that lost one. What lies in overlay's lower layer keeps its name there. */
static unsigned long names_left(const char *proc, const struct stat *st)
{
	return st->st_nlink - (st->st_nlink > 0 && ckpt_handle_is_lower(proc));
}

/*
 * A mount that was never attached, or is not yet (open_tree(2), fsmount(2)), may be changed by who is in no namespace of
 * its own either, one that was unmounted may not (EINVAL; mount_setattr(2), Linux 5.12). It is told to be as it is.
 */
static bool may_be_attached(const char *proc)
{
	struct mount_attr same = { 0 };
	cleanup_close int fd = open(proc, O_PATH | O_CLOEXEC);
	struct statvfs fs;

	if (fd < 0 || fstatvfs(fd, &fs) < 0)
		return false;
	*(fs.f_flag & K_ST_NOSYMFOLLOW ? &same.attr_set : &same.attr_clr) = MOUNT_ATTR_NOSYMFOLLOW;
	return mount_setattr(fd, "", AT_EMPTY_PATH, &same, sizeof(same)) == 0;
}

/* Its mount is in no namespace, as `e` says. */
static int find_unmounted(struct ckpt_dump *d, int r, const char *proc, const char *link, const struct stat *st, char **ret_path,
			  uint32_t *ret_ghost, uint32_t *ret_space, struct err *e)
{
	struct err other;
	int found;

	if (may_be_attached(proc))
		return err_set(e, ERR_UNSUPPORTED, "%s is of a mount that is attached nowhere (open_tree(2)), which cannot be saved",
			       proc);
	found = S_ISREG(st->st_mode) || S_ISDIR(st->st_mode) ? ckpt_hidden_unmounted(d, link, st, ret_ghost, &other) : 0;

	if (found != 1)
		return r;
	*ret_space = 0;
	*ret_path = ckpt_strdup(&d->tree.arena, link);
	return *ret_path ? 0 : err_code(e, -ENOMEM, "collect files");
}

int ckpt_place_find(struct ckpt_dump *d, const char *proc, const char *link, const struct stat *st,
		    char **ret_path, uint32_t *ret_ghost, uint32_t *ret_space, struct err *e)
{
	struct ckpt_place **place;
	uint64_t mount = 0;
	char *path;
	int root, r = ckpt_mount_space(d, proc, link, &mount, ret_space, e);

	*ret_ghost = 0;
	if (r < 0)
		return find_unmounted(d, r, proc, link, st, ret_path, ret_ghost, ret_space, e);
	root = ckpt_space_root(d, *ret_space);
	place = known(d, link, st, mount);
	if (!*place && leads_to(root, link, st, mount) && remember(d, place, link, st, mount) < 0)
		return err_code(e, -ENOMEM, "collect files");
	if (*place) {
		*ret_path = (*place)->path;
		return 0;
	}
	path = strip(&d->tree.arena, link);
	if (!path)
		return err_code(e, -ENOMEM, "collect files");
	*ret_path = path;
	if (STREQ(path, link)) {
		r = ckpt_hidden_covered(d, d->spaces.mount[d->spaces.last].record, link, st, ret_ghost, e);
		return r ? (r < 0 ? r : 0) :
			   err_set(e, ERR_UNSUPPORTED,
				   "%s is %s, which is hidden by a mount or has another file in its place", proc, link);
	}
	if (!S_ISDIR(st->st_mode) && names_left(proc, st) > 0) {
		*ret_path = ckpt_name_find(d, root, path, st);
		return *ret_path ? 0 : err_set(e, ERR_UNSUPPORTED, "%s, %s, has another name that cannot be found",
					       proc, link);
	}
	*ret_path = path;
	r = add_ghost(d, proc, link, st, root, 0, ret_ghost, e);
	if (r == 0)
		d->tree.ghosts[*ret_ghost - 1]->space = *ret_space;
	return r;
}

bool ckpt_place_known(struct ckpt_dump *d, const struct ckpt_looked_place *l, char **ret_path, uint32_t *ret_space)
{
	struct stat st = { .st_dev = l->dev, .st_ino = l->ino };
	struct ckpt_place *const *place = known(d, l->link, &st, l->mount);

	if (!*place || !ckpt_mount_find(d, l->mount, ret_space))
		return false;
	*ret_path = (*place)->path;
	return true;
}

int ckpt_place_link(struct ckpt_dump *d, pid_t pid, const char *name, char **ret_path,
		    uint32_t *ret_ghost, uint32_t *ret_space, struct err *e)
{
	char proc[64], link[4096];
	struct stat st;
	ssize_t n;

	snprintf(proc, sizeof(proc), "/proc/%d/%s", (int)pid, name);
	n = readlink(proc, link, sizeof(link) - 1);
	if (n < 0 && errno == ENAMETOOLONG)
		return err_set(e, ERR_UNSUPPORTED,
			       "%s of process %d is so deep in directories that it has no path, which "
			       "cannot be saved",
			       name, (int)pid);
	if (n < 0 || stat(proc, &st) < 0)
		return err_sys(e, "look at %s", proc);
	link[n] = '\0';
	return ckpt_place_find(d, proc, link, &st, ret_path, ret_ghost, ret_space, e);
}

static int write_pieces(const struct ckpt_dump *d, size_t n, uint8_t *buf, struct ckpt_writer *w,
			struct err *e)
{
	int fd = d->ghosts[n]->fd, r = 0;
	off_t at = 0, hole;

	while (r == 0 && (at = lseek(fd, at, SEEK_DATA)) >= 0) {
		hole = lseek(fd, at, SEEK_HOLE);
		while (r == 0 && at < hole) {
			Ckpt__GhostData m = CKPT__GHOST_DATA__INIT;
			ssize_t len = pread(fd, buf, (size_t)(hole - at) < CHUNK ? (size_t)(hole - at) : CHUNK, at);

			if (len <= 0)
				return err_sys(e, "read %s, which was deleted", d->tree.ghosts[n]->path);
			m.ghost = (uint32_t)n + 1;
			m.offset = (uint64_t)at;
			m.data.data = buf;
			m.data.len = (size_t)len;
			r = ckpt_write_message(w, CKPT_REC_GHOST_DATA, n + 1, &m, e);
			at += len;
		}
	}
	return r;
}

int ckpt_ghosts_write(struct ckpt_dump *d, struct ckpt_writer *w, struct err *e)
{
	cleanup_free uint8_t *buf = d->ghost_count ? malloc(CHUNK) : NULL;
	int r = 0;

	if (d->ghost_count && !buf)
		return err_code(e, -ENOMEM, "save deleted files");
	for (size_t i = 0; r == 0 && i < d->ghost_count; i++)
		if (S_ISREG(d->tree.ghosts[i]->mode) && !d->tree.ghosts[i]->hidden)
			r = write_pieces(d, i, buf, w, e);
	return r;
}

void ckpt_ghosts_done(struct ckpt_dump *d)
{
	for (size_t i = 0; i < d->ghost_count; i++)
		fd_close(&d->ghosts[i]->fd);
	d->ghost_count = 0;
}
