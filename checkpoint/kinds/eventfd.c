/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "checkpoint/image.pb-c.h"
#include "checkpoint/kinds.h"

#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

static bool is(const struct ckpt_fd *f)
{
	return strcmp(f->link, "anon_inode:[eventfd]") == 0;
}

static int dump(struct ckpt_dump *d, const struct ckpt_fd *f, Ckpt__File *out, struct err *e)
{
	(void)d;
	if (ckpt_info_number(f, "eventfd-count", 16, &out->value) < 0)
		return err_set(e, ERR_UNSUPPORTED, "the kernel does not tell what an eventfd holds");
	ckpt_info_number(f, "eventfd-semaphore", 10, &out->value2); /* Linux 6.5 */
	return 0;
}

static int open_again(struct ckpt_opening *o, const Ckpt__File *f, struct err *e)
{
	int fd = eventfd(0, EFD_CLOEXEC | (f->value2 ? EFD_SEMAPHORE : 0));

	(void)o;
	if (fd < 0)
		return err_sys(e, "make an eventfd");
	if (f->value && write(fd, &f->value, sizeof(f->value)) != sizeof(f->value)) {
		err_sys(e, "set an eventfd");
		close(fd);
		return -EIO;
	}
	return fd;
}

const struct ckpt_kind ckpt_kind_eventfd = { "eventfd", is, dump, open_again, false };
