/* SPDX-License-Identifier: GPL-2.0-or-later */

/* An fd of a namespace, which may be all that keeps it. */
#include "base/macro.h"
#include "checkpoint/image.pb-c.h"
#include "checkpoint/kinds.h"
#include "checkpoint/spaces.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <linux/nsfs.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/statfs.h>

static bool is(const struct ckpt_fd *f)
{
	struct statfs fs;

	return S_ISREG(f->st.st_mode) && fstatfs(f->own, &fs) == 0 && fs.f_type == NSFS_MAGIC;
}

static int dump(struct ckpt_dump *d, const struct ckpt_fd *f, Ckpt__File *out, struct err *e)
{
	int type = ioctl(f->own, NS_GET_NSTYPE), kind = 0, id;

	while (kind < CKPT_SPACE_COUNT && ckpt_space_types[kind].flag != type)
		kind++;
	if (kind == CKPT_SPACE_COUNT)
		return err_set(e, ERR_UNSUPPORTED,
			       "fd %d of process %d, the namespace %s, cannot be saved", f->fd,
			       (int)f->pid, f->link);
	id = ckpt_spaces_add(d, (enum ckpt_space_kind)kind, f->own, 0, e);
	if (id < 0)
		return id;
	out->object = (uint32_t)id;
	return 0;
}

/* Opened anew: an fd of the engine's own would be the same open file for all who have one. */
static int open_again(struct ckpt_opening *o, const Ckpt__File *f, struct err *e)
{
	char path[64];
	int fd;

	if (f->object == 0 || f->object > o->tree->space_count)
		return err_set(e, ERR_FAIL, "the image is damaged: a namespace %u", f->object);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", o->spaces + (int)f->object - 1);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	return fd < 0 ? err_sys(e, "open a namespace again") : fd;
}

const struct ckpt_kind ckpt_kind_nsfs = { "nsfs", is, dump, open_again, true };
