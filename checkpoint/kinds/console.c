/* SPDX-License-Identifier: GPL-2.0-or-later */

/* The console, whose master the monitor holds: it is made anew at every start, and the restored
 * processes get the new one. */
#include "base/fd.h"
#include "base/macro.h"
#include "base/path.h"
#include "checkpoint/image.pb-c.h"
#include "checkpoint/internal.h"
#include "checkpoint/kinds/pty.h"

#include <fcntl.h>
#include <string.h>

static bool is(const struct ckpt_fd *f)
{
	return S_ISCHR(f->st.st_mode) && strcmp(f->link, "/dev/console") == 0;
}

/* Not that of a nested container, which is any terminal that is mounted there. */
static bool is_of_vps(const struct ckpt_dump *d, const struct ckpt_fd *f)
{
	cleanup_close int fd = path_open_in_root(ckpt_space_root(d, 0), "/dev/console", O_PATH, 0);
	struct stat st;

	return fd >= 0 && fstat(fd, &st) == 0 && st.st_dev == f->st.st_dev && st.st_ino == f->st.st_ino;
}

static int dump(struct ckpt_dump *d, const struct ckpt_fd *f, Ckpt__File *out, struct err *e)
{
	if (is_of_vps(d, f))
		return ckpt_pty_state(d, f, out, e);
	out->kind = CKPT_FILE_PTY_SLAVE;
	return ckpt_pty_dump_slave(d, f, out, e);
}

static int open_again(struct ckpt_opening *o, const Ckpt__File *f, struct err *e)
{
	int fd = open("/dev/console", (int)(f->flags & O_ACCMODE) | O_NOCTTY | O_CLOEXEC);

	(void)o;
	return fd < 0 ? err_sys(e, "open the console") : fd;
}

const struct ckpt_kind ckpt_kind_console = { "console", is, dump, open_again, true };
