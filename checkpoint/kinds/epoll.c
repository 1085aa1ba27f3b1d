/* SPDX-License-Identifier: GPL-2.0-or-later */

/*
 * What an epoll watches is known by the fd number under which it was added and the open file that
 * it meant then: it is added again in the process, once that number stands for that file.
 */
#include "checkpoint/image.pb-c.h"
#include "checkpoint/kinds.h"

#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>

static bool is(const struct ckpt_fd *f)
{
	return strcmp(f->link, "anon_inode:[eventpoll]") == 0;
}

static int dump(struct ckpt_dump *d, const struct ckpt_fd *f, Ckpt__File *out, struct err *e)
{
	struct ckpt_arena *a = ckpt_dump_arena(d);

	for (const char *l = strstr(f->info, "tfd:"); l; l = strstr(l + 1, "tfd:")) {
		Ckpt__EpollTarget *t = ckpt_alloc(a, sizeof(*t));
		unsigned long long data;
		unsigned fd, events;

		if (!t)
			return err_code(e, -ENOMEM, "collect an epoll");
		if (sscanf(l, "tfd: %u events: %x data: %llx", &fd, &events, &data) != 3)
			return err_set(e, ERR_UNSUPPORTED, "the kernel does not tell what an epoll watches");
		ckpt__epoll_target__init(t);
		t->fd = fd;
		t->events = events;
		t->data = data;
		if (ckpt_push(a, &out->targets, &out->n_targets, t) < 0)
			return err_code(e, -ENOMEM, "collect an epoll");
	}
	out->owner = (uint32_t)f->ns_pid; /* whose fd numbers they are */
	return 0;
}

static int open_again(struct ckpt_opening *o, const Ckpt__File *f, struct err *e)
{
	int fd = epoll_create1(EPOLL_CLOEXEC);

	(void)o;
	(void)f;
	return fd < 0 ? err_sys(e, "make an epoll") : fd;
}

const struct ckpt_kind ckpt_kind_epoll = { "epoll", is, dump, open_again, true };
