/* SPDX-License-Identifier: GPL-2.0-or-later */

/* POSIX message queues that are open, also those whose names are gone. What is in them: queues.c. */
#include "base/macro.h"
#include "checkpoint/image.pb-c.h"
#include "checkpoint/internal.h"
#include "checkpoint/queues.h"
#include "checkpoint/spaces.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <unistd.h>

#define MAGIC 0x19800202 /* MQUEUE_MAGIC */
#define FLAGS (O_ACCMODE | O_NONBLOCK)

static bool is(const struct ckpt_fd *f)
{
	struct statfs s;

	return S_ISREG(f->st.st_mode) && fstatfs(f->own, &s) == 0 && s.f_type == MAGIC;
}

static int dump(struct ckpt_dump *d, const struct ckpt_fd *f, Ckpt__File *out, struct err *e)
{
	return ckpt_mqueue_find(d, f, &out->object, e);
}

/* One without a name has one for a moment. */
static int make_unlinked(const Ckpt__File *f, const Ckpt__Mqueue *q, struct err *e)
{
	cleanup_close int fd = -EBADF;
	char name[32], path[64];
	int again;

	snprintf(name, sizeof(name), ".vps-%u", f->object);
	fd = ckpt_mqueue_make(q, name, e);
	if (fd < 0)
		return fd;
	if (syscall(SYS_mq_unlink, name) < 0)
		return err_sys(e, "unlink a message queue");
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	again = open(path, (int)(f->flags & FLAGS) | O_CLOEXEC);
	return again < 0 ? err_sys(e, "open a message queue") : again;
}

static int open_there(const struct ckpt_opening *o, const Ckpt__File *f, struct err *e)
{
	const Ckpt__Mqueue *q = o->tree->mqueues[f->object - 1];
	char path[64];
	int fd;

	if (!q->unlinked) {
		fd = (int)syscall(SYS_mq_open, q->name, (f->flags & FLAGS) | O_CLOEXEC, 0, NULL);
		return fd < 0 ? err_sys(e, "open the message queue %s", q->name) : fd;
	}
	for (size_t i = 0; i < o->tree->file_count; i++) {
		const Ckpt__File *other = o->tree->files[i];

		if (other->kind != CKPT_FILE_MQUEUE || other->object != f->object || o->fds[i] < 0)
			continue;
		snprintf(path, sizeof(path), "/proc/self/fd/%d", o->fds[i]);
		fd = open(path, (int)(f->flags & FLAGS) | O_CLOEXEC);
		return fd < 0 ? err_sys(e, "open a message queue") : fd;
	}
	return make_unlinked(f, q, e);
}

static int enter(const struct ckpt_opening *o, uint32_t space, struct err *e)
{
	return setns(o->spaces + (int)space - 1, CLONE_NEWIPC) < 0 ? err_sys(e, "enter an ipc namespace") : 0;
}

/* A name is one of the ipc namespace that it is opened in. */
static int open_again(struct ckpt_opening *o, const Ckpt__File *f, struct err *e)
{
	uint32_t main = ckpt_space_main(o->tree, CKPT_SPACE_IPC), space;
	int fd;

	if (f->object == 0 || f->object > o->tree->mqueue_count)
		return err_set(e, ERR_FAIL, "the image is damaged: a message queue");
	space = o->tree->mqueues[f->object - 1]->space;
	if (space != main && enter(o, space, e) < 0)
		return -EPERM;
	fd = open_there(o, f, e);
	if (space != main && enter(o, main, e) < 0) {
		if (fd >= 0)
			close(fd);
		return -EPERM;
	}
	return fd;
}

const struct ckpt_kind ckpt_kind_mqueue = { "mqueue", is, dump, open_again, true };
