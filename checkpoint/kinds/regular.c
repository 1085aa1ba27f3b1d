/* SPDX-License-Identifier: GPL-2.0-or-later */

/* What has a path in the VPS's root: files, directories, FIFOs, and those devices that hold nothing. */
#include "base/macro.h"
#include "base/path.h"
#include "checkpoint/image.pb-c.h"
#include "checkpoint/kinds.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/sysmacros.h>

static bool is(const struct ckpt_fd *f)
{
	mode_t m = f->st.st_mode;

	if (f->link[0] != '/' || strncmp(f->link, "/memfd:", 7) == 0)
		return false;
	if (S_ISCHR(m)) /* null, zero, full, random, urandom */
		return major(f->st.st_rdev) == 1 && minor(f->st.st_rdev) != 1;
	return S_ISREG(m) || S_ISDIR(m);
}

static int dump(struct ckpt_dump *d, const struct ckpt_fd *f, Ckpt__File *out, struct err *e)
{
	cleanup_close int fd = path_open_in_root(ckpt_dump_root(d), f->link, O_PATH, 0);
	struct stat st;

	(void)out;
	if (strncmp(f->link, "/proc/", 6) == 0 && strstr(f->link, "/proc/1/") != f->link)
		return err_set(e, ERR_UNSUPPORTED, "process %d has opened %s, which cannot be saved yet",
			       (int)f->pid, f->link);
	if (fd < 0 || fstat(fd, &st) < 0 || st.st_ino != f->st.st_ino || st.st_dev != f->st.st_dev) {
		err_set(e, ERR_UNSUPPORTED, "fd %d of process %d, %s, has been deleted or replaced", f->fd,
			(int)f->pid, f->link);
		return err_hint(e, "deleted files cannot be saved yet");
	}
	if (strstr(f->info, "\nlock:"))
		return err_set(e, ERR_UNSUPPORTED, "process %d holds a lock on %s, which cannot be saved "
			       "yet", (int)f->pid, f->link);
	return 0;
}

static int open_again(struct ckpt_opening *o, const Ckpt__File *f, struct err *e)
{
	unsigned keep = O_ACCMODE | O_APPEND | O_DIRECT | O_DIRECTORY | O_NOATIME | O_PATH | O_SYNC | O_DSYNC;
	int fd = open(f->path, (int)(f->flags & keep) | O_NOCTTY | O_NONBLOCK | O_CLOEXEC);

	(void)o;
	return fd < 0 ? err_sys(e, "open %s again", f->path) : fd;
}

const struct ckpt_kind ckpt_kind_regular = { "regular", is, dump, open_again, false, .info = true };
