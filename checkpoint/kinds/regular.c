/* SPDX-License-Identifier: GPL-2.0-or-later */

/* What has a path in the VPS's root: files, directories, FIFOs, and those devices that hold nothing. */
#include "base/fd.h"
#include "base/macro.h"
#include "base/path.h"
#include "checkpoint/ghosts.h"
#include "checkpoint/image.pb-c.h"
#include "checkpoint/internal.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/sysmacros.h>

/* null, zero, full, random, urandom; the kernel's log too, when there is no place in it to be kept. */
static bool is_plain_device(const struct ckpt_fd *f)
{
	unsigned n = minor(f->st.st_rdev);

	return major(f->st.st_rdev) == 1 && (n == 3 || n == 5 || n == 7 || n == 8 || n == 9 ||
					     (n == 11 && (f->flags & O_ACCMODE) == O_WRONLY));
}

static bool is(const struct ckpt_fd *f)
{
	mode_t m = f->st.st_mode;

	if (f->link[0] != '/' || strncmp(f->link, "/memfd:", 7) == 0)
		return false;
	if (S_ISCHR(m))
		return is_plain_device(f);
	return S_ISREG(m) || S_ISDIR(m);
}

/* One that `vps exec` was given is the host's: the VPS's own, which does the same, takes its place. */
static bool is_of_host(struct ckpt_dump *d, const struct ckpt_fd *f, char **ret_path)
{
	static const struct {
		unsigned number;
		char path[16];
	} devices[] = { { 3, "/dev/null" }, { 5, "/dev/zero" }, { 7, "/dev/full" },
			{ 8, "/dev/random" }, { 9, "/dev/urandom" } };

	for (size_t i = 0; S_ISCHR(f->st.st_mode) && i < ARRAY_SIZE(devices); i++) {
		cleanup_close int fd = -EBADF;
		struct stat st;

		if (devices[i].number != minor(f->st.st_rdev))
			continue;
		fd = path_open_in_root(ckpt_space_root(d, 0), devices[i].path, O_PATH | O_NOFOLLOW, 0);
		if (fd < 0 || fstat(fd, &st) < 0 || !S_ISCHR(st.st_mode) || st.st_rdev != f->st.st_rdev)
			return false;
		*ret_path = ckpt_strdup(&d->tree.arena, devices[i].path);
		return *ret_path != NULL;
	}
	return false;
}

static int dump(struct ckpt_dump *d, const struct ckpt_fd *f, Ckpt__File *out, struct err *e)
{
	char proc[64];
	int r;

	snprintf(proc, sizeof(proc), "/proc/%d/fd/%d", (int)f->pid, f->fd);
	r = ckpt_place_find(d, proc, f->link, &f->st, &out->path, &out->ghost, &out->space, e);
	return r < 0 && is_of_host(d, f, &out->path) ? 0 : r;
}

static int open_again(struct ckpt_opening *o, const Ckpt__File *f, struct err *e)
{
	/* All of them are told by F_GETFL. The path is without links, but for one that was opened itself (O_PATH). */
	unsigned keep = O_ACCMODE | O_APPEND | O_DIRECT | O_DIRECTORY | O_NOATIME | O_PATH | O_SYNC | O_DSYNC;
	char path[64];
	int fd, how;

	if ((f->flags & O_TMPFILE) == O_TMPFILE)
		keep &= ~(unsigned)O_DIRECTORY; /* part of it */
	if (!f->ghost)
		keep |= O_NOFOLLOW;
	how = (int)(f->flags & keep) | O_NOCTTY | O_NONBLOCK | O_CLOEXEC;
	/* The image may not name what the engine has open. */
	if (!f->ghost) {
		fd = path_open_no_magic(f->path, how);
		return fd < 0 ? err_code(e, fd, "open %s again", f->path) : fd;
	}
	snprintf(path, sizeof(path), "/proc/self/fd/%d", o->ghosts[f->ghost - 1]);
	fd = open(path, how);
	return fd < 0 ? err_sys(e, "open %s again", f->path) : fd;
}

const struct ckpt_kind ckpt_kind_regular = { "regular", is, dump, open_again, false };
