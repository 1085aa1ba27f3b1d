/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Both ends and what is in it, copied with tee(2), which leaves it there. */
#include "base/macro.h"
#include "checkpoint/image.pb-c.h"
#include "checkpoint/kinds.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>

static bool is(const struct ckpt_fd *f)
{
	return S_ISFIFO(f->st.st_mode) && strncmp(f->link, "pipe:[", 6) == 0;
}

/* Of one pipe all ends have the inode number; it stands for the pipe in the image. */
static bool have_content(const struct ckpt_tree *t, uint64_t ino)
{
	for (size_t i = 0; i < t->file_count; i++)
		if (t->files[i]->kind == CKPT_FILE_PIPE && t->files[i]->value == ino &&
		    t->files[i]->n_more)
			return true;
	return false;
}

static int copy_content(struct ckpt_arena *a, const struct ckpt_fd *f, int size, int len,
			Ckpt__File *out, struct err *e)
{
	cleanup_close int from = -EBADF, to = -EBADF;
	int fds[2];
	ssize_t n;

	if (pipe2(fds, O_CLOEXEC | O_NONBLOCK) < 0)
		return err_sys(e, "make a pipe");
	from = fds[0];
	to = fds[1];
	out->data.data = ckpt_alloc(a, (size_t)len);
	if (!out->data.data)
		return err_code(e, -ENOMEM, "collect a pipe");
	if (fcntl(to, F_SETPIPE_SZ, size) < 0)
		return err_sys(e, "make a pipe of %d bytes", size);
	n = tee(f->own, to, (size_t)len, SPLICE_F_NONBLOCK);
	if (n != len || read(from, out->data.data, (size_t)len) != len)
		return err_sys(e, "copy the %d bytes in a pipe of process %d", len, (int)f->pid);
	out->data.len = (size_t)len;
	return 0;
}

static int dump(struct ckpt_dump *d, const struct ckpt_fd *f, Ckpt__File *out, struct err *e)
{
	struct ckpt_arena *a = ckpt_dump_arena(d);
	char path[64];
	struct ckpt_fd reader = *f;
	cleanup_close int fd = -EBADF;
	int size = fcntl(f->own, F_GETPIPE_SZ), len = 0;

	if (f->flags & O_DIRECT)
		return err_set(e, ERR_UNSUPPORTED, "process %d has a pipe in packet mode, fd %d, which "
			       "cannot be saved yet", (int)f->pid, f->fd);
	out->value = f->st.st_ino;
	if (have_content(ckpt_dump_tree(d), out->value))
		return 0;
	out->more = ckpt_alloc(a, sizeof(uint64_t));
	if (!out->more || size < 0 || ioctl(f->own, FIONREAD, &len) < 0)
		return err_sys(e, "look at a pipe");
	out->n_more = 1;
	out->more[0] = (uint64_t)size;
	if (len == 0)
		return 0;
	/* A reading end of our own, whichever this one is. */
	snprintf(path, sizeof(path), "/proc/%d/fd/%d", (int)f->pid, f->fd);
	fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	if (fd < 0)
		return err_sys(e, "open a pipe of process %d", (int)f->pid);
	reader.own = fd;
	return copy_content(a, &reader, size, len, out, e);
}

static int fill(int fd, const Ckpt__File *f, struct err *e)
{
	if (f->n_more != 1 || f->more[0] > (64u << 20) || f->data.len > f->more[0])
		return err_set(e, ERR_FAIL, "the image is damaged: a pipe");
	if (fcntl(fd, F_SETPIPE_SZ, (int)f->more[0]) < 0)
		return err_sys(e, "make a pipe of %llu bytes", (unsigned long long)f->more[0]);
	if (f->data.len && write(fd, f->data.data, f->data.len) != (ssize_t)f->data.len)
		return err_sys(e, "fill a pipe");
	return 0;
}

/* The first end that is asked for makes the pipe; others are opened through it. */
static int open_again(struct ckpt_opening *o, const Ckpt__File *f, struct err *e)
{
	char path[64];
	int fds[2], fd, r = 0;

	for (size_t i = 0; i < o->tree->file_count; i++) {
		const Ckpt__File *other = o->tree->files[i];

		if (other->kind != CKPT_FILE_PIPE || other->value != f->value || o->fds[i] < 0)
			continue;
		snprintf(path, sizeof(path), "/proc/self/fd/%d", o->fds[i]);
		fd = open(path, (int)(f->flags & O_ACCMODE) | O_NONBLOCK | O_CLOEXEC);
		return fd < 0 ? err_sys(e, "open a pipe again") : fd;
	}
	if (pipe2(fds, O_CLOEXEC | O_NONBLOCK) < 0)
		return err_sys(e, "make a pipe");
	for (size_t i = 0; i < o->tree->file_count && r == 0; i++) {
		const Ckpt__File *other = o->tree->files[i];

		if (other->kind == CKPT_FILE_PIPE && other->value == f->value && other->n_more)
			r = fill(fds[1], other, e);
	}
	if (r < 0 || (f->flags & O_ACCMODE) == O_RDWR) {
		snprintf(path, sizeof(path), "/proc/self/fd/%d", fds[0]);
		fd = r < 0 ? -1 : open(path, O_RDWR | O_NONBLOCK | O_CLOEXEC);
		close(fds[0]);
		close(fds[1]);
		return r < 0 ? r : fd < 0 ? err_sys(e, "open a pipe again") : fd;
	}
	fd = (f->flags & O_ACCMODE) == O_WRONLY ? 1 : 0;
	close(fds[!fd]);
	return fds[fd];
}

const struct ckpt_kind ckpt_kind_pipe = { "pipe", is, dump, open_again, false };
