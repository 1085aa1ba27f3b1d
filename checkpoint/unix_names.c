/* SPDX-License-Identifier: GPL-2.0-or-later */

/*
 * Names of unix sockets. One is bound where its file is to be. Where its name does not lead there (any more), it is
 * bound by that in a directory which is the root meanwhile: there are no links in it, and `..` leads no further than to
 * it. From there the file is moved to its place, or goes with the directory. To nothing that an image names a way leads
 * through our own fds (path_open_no_magic()).
 */
#include "base/fd.h"
#include "base/macro.h"
#include "base/path.h"
#include "checkpoint/as.h"
#include "checkpoint/unix_restore.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <xxhash.h>

#define BESIDE_ROOM 56

const char *unix_path(const ProtobufCBinaryData *name, char path[UNIX_PATH_ROOM])
{
	size_t len = name->len > sizeof(sa_family_t) ? name->len - sizeof(sa_family_t) : 0;

	path[0] = '\0';
	if (len && name->data[sizeof(sa_family_t)]) {
		memcpy(path, name->data + sizeof(sa_family_t), len);
		path[len] = '\0';
	}
	return path[0] ? path : NULL;
}

bool unix_is_named(const ProtobufCBinaryData *name)
{
	return name->len > sizeof(sa_family_t);
}

/* The directories that `path` goes through in a root of ours, made there; ret: where in it that leads. */
static int make_way(int root, const char *path, char ret[UNIX_PATH_ROOM])
{
	size_t n = 0;

	while (*path) {
		size_t len = strcspn(path, "/");

		if (len == 2 && strncmp(path, "..", 2) == 0) {
			while (n > 0 && ret[--n] != '/')
				;
		} else if (len > 1 || (len == 1 && *path != '.')) {
			n += (size_t)snprintf(ret + n, UNIX_PATH_ROOM - n, "%s%.*s", n ? "/" : "", (int)len, path);
			if (path[len] && mkdirat(root, ret, 0700) < 0 && errno != EEXIST)
				return -errno;
		}
		path += len + (path[len] == '/');
	}
	ret[n] = '\0';
	return n ? 0 : -EINVAL;
}

/* Where it leads from `root`, none of which is anybody's but ours. */
static int find_below(int root, const char *way, struct unix_place *ret, struct err *e)
{
	const char *slash = strrchr(way, '/');
	char dir[UNIX_PATH_ROOM] = ".";

	if (slash)
		snprintf(dir, sizeof(dir), "%.*s", (int)(slash - way), way);
	snprintf(ret->base, sizeof(ret->base), "%s", slash ? slash + 1 : way);
	ret->dir = openat(root, dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
	return ret->dir < 0 ? err_sys(e, "find %s", way) : 0;
}

static int call_bind(void *arg, struct err *e)
{
	const struct unix_call *c = arg;

	return bind(c->fd, (const void *)c->name.data, (socklen_t)c->name.len) < 0 ?
		       err_sys(e, "use the name of a unix socket again") :
		       0;
}

/* With `root` as the root. ret: where it is then. */
static int bind_below(int root, int fd, const ProtobufCBinaryData *name, struct unix_place *ret, struct err *e)
{
	struct unix_call c = { fd, *name };
	char path[UNIX_PATH_ROOM], way[UNIX_PATH_ROOM];
	int r = make_way(root, unix_path(name, path), way);

	if (r < 0)
		return err_code(e, r, "make a place for %s", path);
	r = find_below(root, way, ret, e);
	/* Another of that name may have been there, for a moment. */
	if (r == 0 && unlinkat(ret->dir, ret->base, 0) < 0 && errno != ENOENT)
		r = err_sys(e, "make a place for %s", path);
	return r == 0 ? ckpt_as(NULL, root, call_bind, &c, e) : r;
}

/* In nobody's sight, and gone with the last fd. */
static int make_scratch(void)
{
	cleanup_close int fs = fsopen("tmpfs", FSOPEN_CLOEXEC);

	if (fs < 0 || fsconfig(fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0) < 0)
		return -1;
	return fsmount(fs, FSMOUNT_CLOEXEC, 0);
}

/* A directory that is file i's alone. */
static int open_aside(const struct ckpt_opening *o, size_t i, struct err *e)
{
	cleanup_close int top = openat(o->scratch, ".", O_PATH | O_DIRECTORY | O_CLOEXEC);
	char name[32];
	int fd;

	if (top < 0) {
		top = make_scratch();
		if (top < 0 || dup3(top, o->scratch, O_CLOEXEC) < 0)
			return err_sys(e, "make a place for names of unix sockets");
	}
	snprintf(name, sizeof(name), "%zu", i);
	if (mkdirat(top, name, 0700) < 0 && errno != EEXIST)
		return err_sys(e, "make a place for the name of a unix socket");
	fd = openat(top, name, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	return fd < 0 ? err_sys(e, "open the place for the name of a unix socket") : fd;
}

int unix_bind_aside(const struct ckpt_opening *o, size_t i, int fd, const ProtobufCBinaryData *name,
		    struct unix_place *ret, struct err *e)
{
	struct unix_call c = { fd, *name };
	struct unix_place at = UNIX_NOWHERE;
	cleanup_close int root = -EBADF;
	char path[UNIX_PATH_ROOM];
	int r;

	if (!unix_is_named(name))
		return 0;
	if (!unix_path(name, path))
		return call_bind(&c, e);
	root = open_aside(o, i, e);
	r = root < 0 ? root : bind_below(root, fd, name, &at, e);
	/* Who connects again may be root of a nested user namespace alone. */
	if (r == 0 && fchmodat(at.dir, at.base, 0777, 0) < 0)
		r = err_sys(e, "open the place for the name of a unix socket");
	if (r == 0 && ret)
		*ret = at;
	else
		fd_close(&at.dir);
	return r;
}

/* Of a path that is somebody's: the directory that it leads to, and what is called in that. */
static int find_path(const char *path, struct unix_place *ret, struct err *e)
{
	const char *slash = strrchr(path, '/');
	char dir[4096 + UNIX_PATH_ROOM];

	snprintf(dir, sizeof(dir), "%.*s", slash ? (int)(slash - path) : 0, path);
	if ((size_t)snprintf(ret->base, sizeof(ret->base), "%s", slash ? slash + 1 : path) >= sizeof(ret->base))
		return err_code(e, -ENAMETOOLONG, "find %s", path);
	ret->dir = path_open_no_magic(dir[0] ? dir : "/", O_PATH | O_DIRECTORY);
	return ret->dir < 0 ? err_code(e, ret->dir, "find %s", path) : 0;
}

static int find_live(const Ckpt__Socket *s, struct unix_place *ret, struct err *e)
{
	const Ckpt__UnixSocket *u = s->local;
	char name[UNIX_PATH_ROOM], path[4096 + UNIX_PATH_ROOM];

	unix_path(&s->name, name);
	snprintf(path, sizeof(path), "%s%s%s", name[0] == '/' ? "" : u->dir, name[0] == '/' ? "" : "/", name);
	return find_path(u->path[0] ? u->path : path, ret, e);
}

int unix_find(const struct ckpt_opening *o, size_t i, struct unix_place *ret, struct err *e)
{
	const Ckpt__Socket *s = o->tree->files[i]->socket;
	char path[UNIX_PATH_ROOM], way[UNIX_PATH_ROOM];
	cleanup_close int root = -EBADF;
	uint32_t space = s->local->space;
	int r;

	if (!unix_path(&s->name, path))
		return 0;
	if (s->local->bound == CKPT_UNIX_GONE) {
		root = open_aside(o, i, e);
		r = root < 0 ? root : make_way(root, path, way);
		return r == 0 ? find_below(root, way, ret, e) : r == root ? r : err_code(e, r, "find %s", path);
	}
	r = space ? ckpt_opening_enter(o, space, e) : 0;
	if (r == 0)
		r = find_live(s, ret, e);
	return r == 0 && space ? ckpt_opening_enter(o, 0, e) : r;
}

int unix_find_name(const ProtobufCBinaryData *name, struct unix_place *ret, struct err *e)
{
	char path[UNIX_PATH_ROOM];

	return unix_path(name, path) ? find_path(path, ret, e) : 0;
}

/* By the image and the file, so that what an engine has left that was killed meanwhile goes when the image is restored
 * again. Nobody else guesses it: what is there is the tenant's. */
static void name_beside(const struct ckpt_opening *o, size_t i, char ret[BESIDE_ROOM])
{
	const Ckpt__Header *h = o->tree->header;
	uint64_t image = XXH3_64bits_withSeed(h->id, strlen(h->id), h->realtime_ns);

	snprintf(ret, BESIDE_ROOM, ".vps-binding-%016" PRIx64 "-%zu", image, i);
}

/* A directory that nobody else has. */
static int make_beside(const struct unix_place *to, const char *name, struct err *e)
{
	int fd = path_remove_tree_at(to->dir, name);

	if (fd < 0)
		return err_code(e, fd, "remove what was beside %s", to->base);
	if (mkdirat(to->dir, name, 0700) < 0)
		return err_sys(e, "make a directory beside %s", to->base);
	fd = openat(to->dir, name, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0) {
		err_sys(e, "open a directory beside %s", to->base);
		unlinkat(to->dir, name, AT_REMOVEDIR);
	}
	return fd;
}

/* Beside its place, under its own name. */
static int bind_moved(int fd, const Ckpt__Socket *s, const struct unix_place *to, const char *name, struct err *e)
{
	struct unix_place at = UNIX_NOWHERE;
	cleanup_close int root = make_beside(to, name, e);
	int r, gone;

	if (root < 0)
		return root;
	r = bind_below(root, fd, &s->name, &at, e);
	if (r == 0 && renameat(at.dir, at.base, to->dir, to->base) < 0)
		r = err_sys(e, "move a socket to %s", to->base);
	fd_close(&at.dir);
	gone = path_remove_tree_at(to->dir, name);
	return gone < 0 && r == 0 ? err_code(e, gone, "remove what was beside %s", to->base) : r;
}

/* By its own name, from where that begins. */
static int bind_by_name(int fd, const Ckpt__Socket *s, struct err *e)
{
	struct unix_call c = { fd, s->name };
	char name[UNIX_PATH_ROOM];
	cleanup_close int dir = -EBADF;
	int r;

	unix_path(&s->name, name);
	if (name[0] == '/')
		return call_bind(&c, e);
	dir = path_open_no_magic(s->local->dir, O_PATH | O_DIRECTORY);
	if (dir < 0 || fchdir(dir) < 0)
		return err_code(e, dir < 0 ? dir : -errno, "go to %s", s->local->dir);
	r = call_bind(&c, e);
	return chdir("/") < 0 && r == 0 ? err_sys(e, "go to /") : r;
}

/* Where nobody may write to the mount any more: by one of ours, of the same directory. 1: that is the place now. */
static int make_writable(struct unix_place *at, struct err *e)
{
	struct mount_attr writable = { .attr_clr = MOUNT_ATTR_RDONLY };
	cleanup_close int own = -EBADF;
	struct statvfs fs;

	if (fstatvfs(at->dir, &fs) < 0 || !(fs.f_flag & ST_RDONLY))
		return 0;
	own = open_tree(at->dir, "", AT_EMPTY_PATH | OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);
	if (own < 0 || mount_setattr(own, "", AT_EMPTY_PATH, &writable, sizeof(writable)) < 0)
		return err_sys(e, "mount the directory of %s to write to it", at->base);
	fd_close(&at->dir);
	at->dir = TAKE_FD(own);
	return 1;
}

/* With the owner and mode of what was there before: the entry is another socket's by now. */
static int bind_at(const struct ckpt_opening *o, size_t i, struct unix_place *at, struct err *e)
{
	const Ckpt__Socket *s = o->tree->files[i]->socket;
	char beside[BESIDE_ROOM];
	int r = make_writable(at, e), own = r;
	struct stat st = { 0 };

	if (r < 0)
		return r;
	name_beside(o, i, beside);
	if (fstatat(at->dir, at->base, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
	    (!S_ISSOCK(st.st_mode) || unlinkat(at->dir, at->base, 0) < 0))
		return err_set(e, ERR_FAIL, "%s is in the way", at->base);
	/* A nested user namespace may have no user for ours in what it has mounted. */
	r = s->local->space ? ckpt_make_as(s->local->uid, s->local->gid) : 0;
	if (r < 0)
		err_code(e, r, "be the owner of %s", at->base);
	else
		r = own || s->local->path[0] ? bind_moved(o->fds[i], s, at, beside, e) : bind_by_name(o->fds[i], s, e);
	if (s->local->space && ckpt_make_as(0, 0) < 0 && r == 0)
		r = err_sys(e, "be root again");
	if (r == 0 && (fchownat(at->dir, at->base, s->local->uid, s->local->gid, AT_SYMLINK_NOFOLLOW) < 0 ||
		       fchmodat(at->dir, at->base, s->local->mode & 07777, 0) < 0))
		r = err_sys(e, "give %s its owner", at->base);
	return r;
}

int unix_bind_live(const struct ckpt_opening *o, size_t i, struct err *e)
{
	const Ckpt__Socket *s = o->tree->files[i]->socket;
	struct unix_place at = UNIX_NOWHERE;
	uint32_t space = s->local->space;
	int r = space ? ckpt_opening_enter(o, space, e) : 0;

	if (r == 0)
		r = find_live(s, &at, e);
	if (r == 0)
		r = bind_at(o, i, &at, e);
	fd_close(&at.dir);
	return r == 0 && space ? ckpt_opening_enter(o, 0, e) : r;
}
