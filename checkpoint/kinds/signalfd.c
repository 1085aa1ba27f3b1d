/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "checkpoint/image.pb-c.h"
#include "checkpoint/kinds.h"

#include <string.h>
#include <signal.h>
#include <sys/signalfd.h>

static bool is(const struct ckpt_fd *f)
{
	return strcmp(f->link, "anon_inode:[signalfd]") == 0;
}

static int dump(struct ckpt_dump *d, const struct ckpt_fd *f, Ckpt__File *out, struct err *e)
{
	(void)d;
	if (ckpt_info_number(f, "sigmask", 16, &out->value) < 0)
		return err_set(e, ERR_UNSUPPORTED, "the kernel does not tell the mask of a signalfd");
	return 0;
}

static int open_again(struct ckpt_opening *o, const Ckpt__File *f, struct err *e)
{
	sigset_t set;
	int fd;

	(void)o;
	sigemptyset(&set);
	memcpy(&set, &f->value, sizeof(f->value));
	fd = signalfd(-1, &set, SFD_CLOEXEC);
	return fd < 0 ? err_sys(e, "make a signalfd") : fd;
}

const struct ckpt_kind ckpt_kind_signalfd = { "signalfd", is, dump, open_again, false };
