/* SPDX-License-Identifier: GPL-2.0-or-later */

/* The console, whose master the monitor holds: it is made anew at every start, and the restored
 * processes get the new one. */
#include "base/macro.h"
#include "checkpoint/image.pb-c.h"
#include "checkpoint/kinds/pty.h"

#include <fcntl.h>
#include <string.h>

static bool is(const struct ckpt_fd *f)
{
	return S_ISCHR(f->st.st_mode) && strcmp(f->link, "/dev/console") == 0;
}

static int dump(struct ckpt_dump *d, const struct ckpt_fd *f, Ckpt__File *out, struct err *e)
{
	if (!ckpt_pty_is_console(d, f->st.st_rdev))
		return err_set(e, ERR_UNSUPPORTED, "process %d has opened another %s than the VPS has now",
			       (int)f->pid, f->link);
	return ckpt_pty_state(d, f, out, e);
}

static int open_again(struct ckpt_opening *o, const Ckpt__File *f, struct err *e)
{
	int fd = open("/dev/console", (int)(f->flags & O_ACCMODE) | O_NOCTTY | O_CLOEXEC);

	(void)o;
	return fd < 0 ? err_sys(e, "open the console") : fd;
}

const struct ckpt_kind ckpt_kind_console = { "console", is, dump, open_again, true };
