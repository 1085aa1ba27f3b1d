/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Pipes, and FIFOs by their paths: all ends and what is in them, copied with tee(2), which leaves it
 * there. Of one pipe all ends have the inode number; it stands for the pipe in the image. */
#include "base/macro.h"
#include "base/path.h"
#include "checkpoint/ghosts.h"
#include "checkpoint/image.pb-c.h"
#include "checkpoint/internal.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>

#define PIPE_MAX (64u << 20)

enum { OWNED_UID, OWNED_GID, OWNED_MODE, OWNED_COUNT };

static bool is(const struct ckpt_fd *f)
{
	return S_ISFIFO(f->st.st_mode) && (f->link[0] == '/' || strncmp(f->link, "pipe:[", 6) == 0);
}

static bool is_end_of(const Ckpt__File *f, const Ckpt__File *other)
{
	return other->kind == CKPT_FILE_PIPE && other->value == f->value &&
	       (f->path[0] == '/') == (other->path[0] == '/');
}

/* The end that has what belongs to the whole pipe: the first that was met. */
static const Ckpt__File *find_content(const struct ckpt_tree *t, const Ckpt__File *f)
{
	return f->object && f->object <= t->file_count && is_end_of(f, t->files[f->object - 1]) &&
	       t->files[f->object - 1]->n_more ? t->files[f->object - 1] : NULL;
}

/* Reads a copy. In packet mode (O_DIRECT) each read gives one message: their lengths are kept. */
static int read_copy(struct ckpt_arena *a, int from, size_t len, Ckpt__File *out)
{
	uint64_t *more;
	size_t at = 0, room = out->more[0] / 4096 + 2;

	more = ckpt_alloc(a, room * sizeof(*more));
	out->data.data = ckpt_alloc(a, len);
	if (!more || !out->data.data)
		return -ENOMEM;
	more[0] = out->more[0];
	out->more = more;
	while (at < len) {
		ssize_t n = read(from, out->data.data + at, len - at);

		if (n <= 0 || out->n_more == room)
			return n < 0 ? -errno : -EIO;
		more[out->n_more++] = (uint64_t)n;
		at += (size_t)n;
	}
	if (out->n_more == 2)
		out->n_more = 1; /* in one piece */
	out->data.len = len;
	return 0;
}

static int copy_content(struct ckpt_arena *a, const struct ckpt_fd *f, int reader, size_t len,
			Ckpt__File *out, struct err *e)
{
	cleanup_close int from = -EBADF, to = -EBADF;
	int fds[2], r;
	ssize_t n;

	if (pipe2(fds, O_CLOEXEC | O_NONBLOCK) < 0)
		return err_sys(e, "make a pipe");
	from = fds[0];
	to = fds[1];
	if (fcntl(to, F_SETPIPE_SZ, (int)out->more[0]) < 0)
		return err_sys(e, "make a pipe of %d bytes", (int)out->more[0]);
	n = tee(reader, to, len, SPLICE_F_NONBLOCK);
	if (n < 0)
		return err_sys(e, "copy what is in a pipe of process %d", (int)f->pid);
	if ((size_t)n != len)
		return err_set(e, ERR_FAIL, "%zd of the %zu bytes in a pipe of process %d were copied", n, len,
			       (int)f->pid);
	r = read_copy(a, from, len, out);
	return r < 0 ? err_code(e, r, "read the copy of a pipe of process %d", (int)f->pid) : 0;
}

/* A FIFO's reader sees a hangup only when there was a writer. */
static bool is_hung_up(const struct ckpt_fd *f)
{
	struct pollfd p = { f->own, POLLIN, 0 };

	return poll(&p, 1, 0) > 0 && (p.revents & POLLHUP);
}

/* Who may open an end again, as by /dev/stdout: a container's log is a pipe that was given to its user. */
static int owned_collect(struct ckpt_dump *d, const struct ckpt_fd *f, Ckpt__File *out)
{
	out->owned = ckpt_alloc(ckpt_dump_arena(d), OWNED_COUNT * sizeof(*out->owned));
	if (!out->owned)
		return -ENOMEM;
	out->owned[OWNED_UID] = ckpt_dump_id(d, f->st.st_uid);
	out->owned[OWNED_GID] = ckpt_dump_id(d, f->st.st_gid);
	out->owned[OWNED_MODE] = f->st.st_mode & 07777;
	out->n_owned = OWNED_COUNT;
	return 0;
}

/* Nothing where nobody has said anything: most are who made them. */
static int give_away(int fd, const Ckpt__File *c)
{
	struct stat st;

	if (c->n_owned != OWNED_COUNT)
		return 0;
	if (fstat(fd, &st) < 0 ||
	    ((st.st_uid != c->owned[OWNED_UID] || st.st_gid != c->owned[OWNED_GID]) &&
	     fchown(fd, c->owned[OWNED_UID], c->owned[OWNED_GID]) < 0) ||
	    ((st.st_mode & 07777) != (c->owned[OWNED_MODE] & 07777) && fchmod(fd, c->owned[OWNED_MODE] & 07777) < 0))
		return -errno;
	return 0;
}

static int dump(struct ckpt_dump *d, const struct ckpt_fd *f, Ckpt__File *out, struct err *e)
{
	struct ckpt_arena *a = ckpt_dump_arena(d);
	cleanup_close int other = -EBADF;
	int size = fcntl(f->own, F_GETPIPE_SZ), len = 0, r;
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/fd/%d", (int)f->pid, f->fd);
	if (f->link[0] == '/') {
		r = ckpt_place_find(d, path, f->link, &f->st, &out->path, &out->ghost, &out->space, e);
		if (r < 0)
			return r;
		out->value2 = is_hung_up(f);
	}
	out->value = f->st.st_ino;
	out->object = ckpt_first_of(d, f);
	if (!out->object)
		return err_code(e, -ENOMEM, "collect a pipe");
	if (out->object <= d->tree.file_count)
		return 0;
	out->more = ckpt_alloc(a, sizeof(uint64_t));
	if (!out->more || size < 0 || ioctl(f->own, FIONREAD, &len) < 0)
		return err_sys(e, "look at a pipe");
	out->n_more = 1;
	out->more[0] = (uint64_t)size;
	if (f->link[0] != '/' && owned_collect(d, f, out) < 0)
		return err_code(e, -ENOMEM, "collect a pipe");
	if (len == 0)
		return 0;
	if ((f->flags & O_ACCMODE) == O_WRONLY) {
		other = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
		if (other < 0)
			return err_sys(e, "open a pipe of process %d", (int)f->pid);
	}
	return copy_content(a, f, other < 0 ? f->own : other, (size_t)len, out, e);
}

static int write_messages(int fd, const Ckpt__File *c)
{
	uint64_t at = 0;

	for (size_t i = 1; i < c->n_more; i++) {
		if (c->more[i] > c->data.len - at ||
		    write(fd, c->data.data + at, c->more[i]) != (ssize_t)c->more[i])
			return -EIO;
		at += c->more[i];
	}
	return at < c->data.len && write(fd, c->data.data + at, c->data.len - at) < (ssize_t)(c->data.len - at)
		? -EIO : 0;
}

/*
 * Who has many pipes gets small ones from some number on (pipe-user-pages-soft of proc(5)), and may not make them larger.
 * Which those were goes by the order in which they were made: what was large may be small then, if what is in it fits.
 */
static int resize(int fd, const Ckpt__File *c)
{
	int now;

	if (fcntl(fd, F_SETPIPE_SZ, (int)c->more[0]) >= 0)
		return 0;
	now = errno == EPERM ? fcntl(fd, F_GETPIPE_SZ) : -1;
	return now >= 0 && c->data.len <= (size_t)now ? 0 : -errno;
}

/* The size and what is in it; `fd` is an end that can be written to when there is something. */
static int fill(struct ckpt_opening *o, int fd, const Ckpt__File *f, struct err *e)
{
	const Ckpt__File *c = find_content(o->tree, f);
	bool packets = c && c->n_more > 1;

	if (!c || c->more[0] > PIPE_MAX || c->data.len > c->more[0])
		return err_set(e, ERR_FAIL, "the image is damaged: a pipe");
	for (size_t i = 0; i < o->tree->file_count && !packets; i++)
		packets = is_end_of(f, o->tree->files[i]) && (o->tree->files[i]->flags & O_DIRECT);
	if (resize(fd, c) < 0)
		return err_sys(e, "make a pipe of %llu bytes", (unsigned long long)c->more[0]);
	if (!c->data.len)
		return 0;
	if (fcntl(fd, F_SETFL, O_NONBLOCK | (packets ? O_DIRECT : 0)) < 0 || write_messages(fd, c) < 0)
		return err_sys(e, "fill a pipe");
	return 0;
}

/* An end that is there already; -1: none. */
static int find_end(const struct ckpt_opening *o, const Ckpt__File *f)
{
	return find_content(o->tree, f) ? o->fds[f->object - 1] : -1;
}

static int open_pipe(struct ckpt_opening *o, const Ckpt__File *f, struct err *e)
{
	int mode = (int)(f->flags & O_ACCMODE), end = find_end(o, f), fds[2], fd, r;
	cleanup_close int from = -EBADF, to = -EBADF;
	char path[64];

	if (end < 0) {
		if (pipe2(fds, O_CLOEXEC | O_NONBLOCK) < 0)
			return err_sys(e, "make a pipe");
		from = fds[0];
		end = to = fds[1];
		r = fill(o, to, f, e);
		if (r == 0 && (r = give_away(to, find_content(o->tree, f))) < 0)
			err_code(e, r, "give a pipe to its owner");
		if (r < 0)
			return r;
	}
	/* The ends that a pipe is born with are as good as others, but for both ways at once. */
	if (from >= 0 && mode != O_RDWR)
		return mode == O_WRONLY ? TAKE_FD(to) : TAKE_FD(from);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", end);
	fd = open(path, mode | O_NONBLOCK | O_CLOEXEC);
	return fd < 0 ? err_sys(e, "open a pipe again") : fd;
}

/* The image may not name what the engine has open. */
static int open_path(const struct ckpt_opening *o, const Ckpt__File *f, int mode, struct err *e)
{
	int how = mode | O_NONBLOCK | O_CLOEXEC, fd;
	char place[64];

	if (!f->ghost) {
		fd = path_open_no_magic(f->path, how | (int)(f->flags & O_NOFOLLOW));
		return fd < 0 ? err_code(e, fd, "open %s again", f->path) : fd;
	}
	snprintf(place, sizeof(place), "/proc/self/fd/%d", o->ghosts[f->ghost - 1]);
	fd = open(place, how);
	return fd < 0 ? err_sys(e, "open %s again", f->path) : fd;
}

static int open_fifo(struct ckpt_opening *o, const Ckpt__File *f, struct err *e)
{
	const Ckpt__File *c = find_content(o->tree, f);
	int mode = (int)(f->flags & O_ACCMODE), fd, r = 0;
	cleanup_close int both = -EBADF;

	/* Writers need a reader, contents a writer; one that came and went is a hangup. */
	if (mode == O_WRONLY || f->value2 || (c && c->data.len)) {
		both = open_path(o, f, O_RDWR, e);
		if (both < 0)
			return both;
	}
	fd = open_path(o, f, mode, e);
	if (fd < 0)
		return fd;
	if (find_end(o, f) < 0)
		r = fill(o, both < 0 ? fd : both, f, e);
	if (r < 0)
		close(fd);
	return r < 0 ? r : fd;
}

static int open_again(struct ckpt_opening *o, const Ckpt__File *f, struct err *e)
{
	return f->path[0] == '/' ? open_fifo(o, f, e) : open_pipe(o, f, e);
}

const struct ckpt_kind ckpt_kind_pipe = { "pipe", is, dump, open_again, false };
