/* SPDX-License-Identifier: GPL-2.0-or-later */

/*
 * What is watched is found again by its handle, or is a file that is open in the VPS. Watches keep their
 * numbers. Events that were not read cannot be looked at without being taken: in their place comes the one
 * that says that events were lost (IN_Q_OVERFLOW), to which a program answers by looking at everything. But
 * who only watches what groups say of themselves, as systemd does, is told once more of each (groups.h): every stop
 * tells it so, as it freezes them.
 */
#include "base/fd.h"
#include "base/macro.h"
#include "checkpoint/handles.h"
#include "checkpoint/image.pb-c.h"
#include "checkpoint/internal.h"
#include "checkpoint/spaces.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/inotify.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>

#define SET_NEXT_WD _IOW('I', 0, int32_t) /* linux/inotify.h, CONFIG_CHECKPOINT_RESTORE */
#define FLAGS (IN_ALL_EVENTS | IN_ONESHOT | IN_EXCL_UNLINK)
#define GROUP_HANDLE 0xfe                  /* FILEID_KERNFS, linux/exportfs.h: of control groups alone */
#define FULL (1u << 22)                    /* more events than any queue holds */

static bool is(const struct ckpt_fd *f)
{
	return strcmp(f->link, "anon_inode:inotify") == 0;
}

/* An open file of the VPS with this inode; 0: none. The table of files is complete by now. */
static uint32_t find_open(const struct ckpt_dump *d, const Ckpt__Watch *w)
{
	for (size_t i = 0; i < d->files.count; i++)
		if (d->files.by_file[i]->ino == w->ino && d->files.by_file[i]->dev == w->dev)
			return (uint32_t)i + 1;
	return 0;
}

/* In process 1's mount namespace, or in another that leads there. */
static void find_path(struct ckpt_dump *d, struct ckpt_handle_places *places, const struct ckpt_handle *h,
		      Ckpt__Watch *w, char *path, size_t room)
{
	uint32_t main = d->spaces.main[CKPT_SPACE_MNT];

	if (ckpt_handle_path(places, h, path, room) == 0)
		return;
	for (uint32_t i = 1; i <= d->spaces.count; i++) {
		const struct ckpt_seen_space *s = &d->spaces.space[i - 1];
		struct ckpt_handle_places there = { s->root, s->pid, places->layers, 0, -EBADF };
		int r = s->kind == CKPT_SPACE_MNT && i != main && s->pid ? ckpt_handle_path(&there, h, path, room) : -1;

		fd_close(&there.mount);
		if (r == 0) {
			w->space = i;
			return;
		}
	}
	path[0] = '\0';
}

int ckpt_watch_find(struct ckpt_dump *d, struct ckpt_handle_places *places, const char *ino, Ckpt__Watch *w,
		    struct err *e)
{
	struct ckpt_handle h;
	char path[4096] = "";

	if (!ino || ckpt_handle_parse(ino, &h) < 0)
		return err_set(e, ERR_UNSUPPORTED, "the kernel does not tell what is watched");
	w->ino = h.ino;
	w->dev = makedev(h.sdev >> 20, h.sdev & 0xfffff);
	find_path(d, places, &h, w, path, sizeof(path));
	w->path = ckpt_strdup(&d->tree.arena, path);
	return w->path ? 0 : err_code(e, -ENOMEM, "collect what is watched");
}

static int add_watch(struct ckpt_dump *d, struct ckpt_handle_places *places, const char *line, Ckpt__File *out,
		     struct err *e)
{
	Ckpt__Watch *w = ckpt_alloc(&d->tree.arena, sizeof(*w));
	unsigned wd;
	int r;

	if (!w)
		return err_code(e, -ENOMEM, "collect an inotify");
	ckpt__watch__init(w);
	if (sscanf(line, "inotify wd:%x ino:%*x sdev:%*x mask:%x", &wd, &w->mask) != 2)
		return err_set(e, ERR_UNSUPPORTED, "the kernel does not tell what an inotify watches");
	w->wd = (int32_t)wd;
	w->mask &= FLAGS;
	r = ckpt_watch_find(d, places, strstr(line, "ino:"), w, e);
	if (r < 0)
		return r;
	if (ckpt_push(&d->tree.arena, &out->watches, &out->n_watches, w) < 0)
		return err_code(e, -ENOMEM, "collect an inotify");
	return 0;
}

static bool watches_group(const char *line, const Ckpt__Watch *w)
{
	const char *ino = strstr(line, "ino:"), *name = strrchr(w->path, '/');
	struct ckpt_handle h;

	return w->mask == IN_MODIFY && name && STREQ(name, "/cgroup.events") && ino && ckpt_handle_parse(ino, &h) == 0 &&
	       h.type == GROUP_HANDLE;
}

static int dump(struct ckpt_dump *d, const struct ckpt_fd *f, Ckpt__File *out, struct err *e)
{
	struct ckpt_handle_places places = { d->root, d->init, &d->spec->root, 0, -EBADF };
	bool groups = d->frozen.iced.count == 0; /* those change nothing by a freeze */
	int queued = 0, r = 0;

	if (ioctl(f->own, FIONREAD, &queued) < 0)
		return err_sys(e, "look at an inotify of process %d", (int)f->pid);
	for (const char *l = strstr(f->info, "inotify wd:"); l && r == 0; l = strstr(l + 1, "inotify wd:")) {
		r = add_watch(d, &places, l, out, e);
		groups = groups && r == 0 && watches_group(l, out->watches[out->n_watches - 1]);
	}
	fd_close(&places.mount);
	out->stirred = queued > 0 && groups && out->n_watches;
	out->value = queued > 0 && !out->stirred;
	return r;
}

int ckpt_inotify_resolve(struct ckpt_dump *d, struct err *e)
{
	for (size_t i = 0; i < d->tree.file_count; i++) {
		const Ckpt__File *f = d->tree.files[i];

		for (size_t k = 0; k < f->n_watches; k++) {
			Ckpt__Watch *w = f->watches[k];

			if (!w->path[0])
				w->file = find_open(d, w);
			if (!w->path[0] && !w->file)
				return err_set(e, ERR_UNSUPPORTED,
					       "the notifier that is fd %d of process %d watches a file "
					       "(inode %llu, device %u:%u) that cannot be found",
					       d->files.by_file[i]->fd, (int)d->files.by_file[i]->pid,
					       (unsigned long long)w->ino, major(w->dev), minor(w->dev));
			w->ino = w->dev = 0;
		}
	}
	return 0;
}

bool ckpt_watch_is_good(const struct ckpt_tree *t, const Ckpt__Watch *w)
{
	return w->space <= t->space_count && (!w->space || t->spaces[w->space - 1]->kind == CKPT_SPACE_MNT) &&
	       w->file <= t->file_count && strlen(w->path) < 4096 && (w->file || w->path[0] == '/');
}

int ckpt_inotify_check(const struct ckpt_tree *t, const Ckpt__File *f, struct err *e)
{
	if (f->kind == CKPT_FILE_FANOTIFY)
		return ckpt_fanotify_check(t, f, e);
	for (size_t i = 0; i < f->n_watches; i++) {
		const Ckpt__Watch *w = f->watches[i];

		if (!ckpt_watch_is_good(t, w) || w->wd < 1 || (w->mask & ~(uint32_t)FLAGS))
			return err_set(e, ERR_FAIL, "the image is damaged: an inotify");
	}
	return 0;
}

static int queued(int fd)
{
	int n = 0;

	return ioctl(fd, FIONREAD, &n) < 0 ? -errno : n;
}

/* Filled by a file of our own until the kernel says that it lost events; all but that is read. */
static int overflow(int fd)
{
	cleanup_close int file = memfd_create("events", MFD_CLOEXEC), again = -EBADF;
	uint8_t buf[16384];
	char path[64], byte = 0;
	int had = -1, n = 0, wd;

	snprintf(path, sizeof(path), "/proc/self/fd/%d", file);
	again = open(path, O_RDWR | O_CLOEXEC);
	wd = inotify_add_watch(fd, path, IN_MODIFY | IN_ACCESS);
	if (again < 0 || wd < 0)
		return -errno;
	for (unsigned i = 0; i < FULL && n > had; i++) {
		if (pwrite(again, &byte, 1, 0) != 1 || pread(again, &byte, 1, 0) != 1)
			return -errno;
		if (i % 512 == 511) {
			had = n;
			n = queued(fd);
		}
	}
	if (inotify_rm_watch(fd, wd) < 0)
		return -errno;
	while ((n = queued(fd)) > (int)sizeof(struct inotify_event)) {
		size_t want = (size_t)n - sizeof(struct inotify_event);

		if (read(fd, buf, want < sizeof(buf) ? want : sizeof(buf)) <= 0)
			return -errno;
	}
	return n;
}

static int open_again(struct ckpt_opening *o, const Ckpt__File *f, struct err *e)
{
	int fd = inotify_init1(IN_CLOEXEC | IN_NONBLOCK), r;

	(void)o;
	if (fd < 0)
		return err_sys(e, "make an inotify");
	r = f->value ? overflow(fd) : 0;
	if (r < 0) {
		close(fd);
		return err_code(e, r, "fill an inotify");
	}
	return fd;
}

int ckpt_watch_place(struct ckpt_late *q, const Ckpt__Watch *w, uint64_t *ret_path)
{
	char path[4096];
	int r;

	if (w->file)
		snprintf(path, sizeof(path), "/proc/self/fd/%d", ckpt_late_fd_of(q, w->file));
	else
		snprintf(path, sizeof(path), "%s", w->path);
	r = ckpt_late_room(q, 14, strlen(path) + 128);
	if (r < 0)
		return r;
	ckpt_late_enter(q, w->file ? 0 : w->space);
	*ret_path = ckpt_late_put(q, path, strlen(path) + 1);
	/* These calls would go through anything: but nobody who could change the way runs yet. */
	if (!w->file) {
		ckpt_late_open(q, "find what is watched", *ret_path, O_PATH | O_NOFOLLOW);
		ckpt_late_call(q, NULL, SYS_close, 3, 0, 0, 0);
	}
	return 0;
}

static int late(struct ckpt_late *q, const Ckpt__File *f, struct err *e)
{
	int32_t next = 1;

	(void)e;
	for (size_t i = 0; i < f->n_watches; i++) {
		const Ckpt__Watch *w = f->watches[i];
		uint64_t path;
		int r = ckpt_watch_place(q, w, &path);

		if (r < 0)
			return r;
		ckpt_late_call(q, "set the number of a watch", SYS_ioctl, ckpt_late_fd(q), SET_NEXT_WD,
			       (uint64_t)w->wd, 0);
		ckpt_late_call(q, "watch a file", SYS_inotify_add_watch, ckpt_late_fd(q), path,
			       w->mask | (w->file ? 0 : IN_DONT_FOLLOW), 0);
		if (w->wd >= next && w->wd < INT32_MAX)
			next = w->wd + 1;
	}
	ckpt_late_enter(q, 0);
	ckpt_late_call(q, "set the number of a watch", SYS_ioctl, ckpt_late_fd(q), SET_NEXT_WD,
		       (uint64_t)next, 0);
	return 0;
}

const struct ckpt_kind ckpt_kind_inotify = { "inotify", is, dump, open_again, false, .late = late };
