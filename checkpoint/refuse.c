/* SPDX-License-Identifier: GPL-2.0-or-later */

/* What a process can have that is neither saved nor seen elsewhere. */
#include "base/fd.h"
#include "base/macro.h"
#include "checkpoint/internal.h"

#include <errno.h>
#include <fcntl.h>

static int check_timers(pid_t pid, struct err *e)
{
	cleanup_free char *text = NULL;
	char path[64];
	size_t len = 0;
	int r;

	snprintf(path, sizeof(path), "/proc/%d/timers", (int)pid);
	r = fd_read_file_at(AT_FDCWD, path, MIB(1), &text, &len);
	if (r < 0)
		return err_code(e, r, "read %s", path);
	if (len)
		return err_set(e, ERR_UNSUPPORTED, "process %d has timers (timer_create), which cannot be "
			       "saved yet", (int)pid);
	return 0;
}

int ckpt_refuse(struct ckpt_dump *d, const struct ckpt_process *p, struct err *e)
{
	return ckpt_note(d, check_timers(p->pid, e), p->pid, -1, e);
}
