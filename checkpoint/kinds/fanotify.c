/* SPDX-License-Identifier: GPL-2.0-or-later */

/*
 * Groups of fanotify(7), as a user namespace may have them: they are told which files (FAN_REPORT_FID and the like),
 * of marks on files and directories. Events that were not read cannot be looked at without being taken, so they are
 * waited for.
 */
#include "base/fd.h"
#include "base/macro.h"
#include "checkpoint/handles.h"
#include "checkpoint/image.pb-c.h"
#include "checkpoint/internal.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/fanotify.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>

#ifndef FAN_MARK_EVICTABLE
#define FAN_MARK_EVICTABLE 0x200 /* Linux 5.19 */
#endif
#ifndef FAN_MARK_IGNORE
#define FAN_MARK_IGNORE 0x400 /* Linux 6.0 */
#endif
#define KEPT (FAN_MARK_EVICTABLE | FAN_MARK_IGNORE | FAN_MARK_IGNORED_SURV_MODIFY)
#define CLASSES (FAN_CLASS_CONTENT | FAN_CLASS_PRE_CONTENT)

static bool is(const struct ckpt_fd *f)
{
	return STREQ(f->link, "anon_inode:[fanotify]");
}

static int refuse(const struct ckpt_fd *f, const char *why, struct err *e)
{
	return err_set(e, ERR_UNSUPPORTED, "fd %d of process %d is a fanotify %s, which cannot be saved", f->fd,
		       (int)f->pid, why);
}

static int add_mark(struct ckpt_dump *d, struct ckpt_handle_places *places, const struct ckpt_fd *f, const char *line,
		    Ckpt__File *out, struct err *e)
{
	Ckpt__Watch *w = ckpt_alloc(&d->tree.arena, sizeof(*w));
	int r;

	if (!w)
		return err_code(e, -ENOMEM, "collect a fanotify");
	ckpt__watch__init(w);
	if (sscanf(line, "fanotify ino:%*x sdev:%*x mflags:%x mask:%x ignored_mask:%x", &w->flags, &w->mask,
		   &w->ignored) != 3)
		return refuse(f, "that watches mounts or file systems", e);
	w->flags &= KEPT;
	r = ckpt_watch_find(d, places, strstr(line, "ino:"), w, e);
	if (r == 0 && ckpt_push(&d->tree.arena, &out->watches, &out->n_watches, w) < 0)
		r = err_code(e, -ENOMEM, "collect a fanotify");
	return r;
}

static int dump(struct ckpt_dump *d, const struct ckpt_fd *f, Ckpt__File *out, struct err *e)
{
	struct ckpt_handle_places places = { d->root, d->init, &d->spec->root, 0, -EBADF };
	const char *own = strstr(f->info, "fanotify flags:"), *line;
	unsigned flags, events;
	int queued = 0, r = 0;

	if (!own || sscanf(own, "fanotify flags:%x event-flags:%x", &flags, &events) != 2)
		return refuse(f, "of which the kernel does not tell", e);
	if (flags & CLASSES)
		return refuse(f, "that decides on access", e);
	if (ioctl(f->own, FIONREAD, &queued) < 0)
		return err_sys(e, "look at a fanotify of process %d", (int)f->pid);
	if (queued) {
		refuse(f, "with events that were not read", e);
		return -EAGAIN;
	}
	out->value = flags;
	out->value2 = events;
	for (line = strstr(own + 1, "fanotify "); line && r == 0; line = strstr(line + 1, "fanotify "))
		r = add_mark(d, &places, f, line, out, e);
	fd_close(&places.mount);
	return r;
}

int ckpt_fanotify_check(const struct ckpt_tree *t, const Ckpt__File *f, struct err *e)
{
	bool good = f->value <= UINT32_MAX && f->value2 <= UINT32_MAX && !(f->value & CLASSES);

	for (size_t i = 0; good && i < f->n_watches; i++)
		good = ckpt_watch_is_good(t, f->watches[i]) && !(f->watches[i]->flags & ~(uint32_t)KEPT);
	return good ? 0 : err_set(e, ERR_FAIL, "the image is damaged: a fanotify");
}

static int open_again(struct ckpt_opening *o, const Ckpt__File *f, struct err *e)
{
	int fd = fanotify_init((unsigned)f->value | FAN_CLOEXEC, (unsigned)f->value2);

	(void)o;
	return fd < 0 ? err_sys(e, "make a fanotify") : fd;
}

static void mark(struct ckpt_late *q, const Ckpt__Watch *w, uint64_t path, uint64_t how, uint64_t mask)
{
	/* A path of the image leads to the thing itself; that of an open file through a link. */
	uint64_t args[5] = { ckpt_late_fd(q), FAN_MARK_ADD | how | (w->file ? 0 : FAN_MARK_DONT_FOLLOW), mask,
			     (uint64_t)AT_FDCWD, path };

	if (mask)
		ckpt_late_call5(q, "watch a file", SYS_fanotify_mark, args);
}

static int late(struct ckpt_late *q, const Ckpt__File *f, struct err *e)
{
	(void)e;
	for (size_t i = 0; i < f->n_watches; i++) {
		const Ckpt__Watch *w = f->watches[i];
		uint64_t path, survives = w->flags & FAN_MARK_IGNORED_SURV_MODIFY;
		int r = ckpt_watch_place(q, w, &path);

		if (r < 0)
			return r;
		mark(q, w, path, w->flags & FAN_MARK_EVICTABLE, w->mask);
		mark(q, w, path, survives | (w->flags & FAN_MARK_EVICTABLE) |
		     (w->flags & FAN_MARK_IGNORE ? FAN_MARK_IGNORE : FAN_MARK_IGNORED_MASK), w->ignored);
	}
	ckpt_late_enter(q, 0);
	return 0;
}

const struct ckpt_kind ckpt_kind_fanotify = { "fanotify", is, dump, open_again, false, .late = late };
