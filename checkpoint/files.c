/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Open files: which are the same, of which kind each is, and which fd stands for which. */
#include "base/fd.h"
#include "base/macro.h"
#include "base/proc.h"
#include "checkpoint/image.pb-c.h"
#include "checkpoint/internal.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/kcmp.h>
#include <sys/syscall.h>

const struct ckpt_kind *const ckpt_kinds[CKPT_FILE_KIND_COUNT] = {
	[CKPT_FILE_CONSOLE] = &ckpt_kind_console,
	[CKPT_FILE_PIPE] = &ckpt_kind_pipe,
	[CKPT_FILE_EVENTFD] = &ckpt_kind_eventfd,
	[CKPT_FILE_EPOLL] = &ckpt_kind_epoll,
	[CKPT_FILE_TIMERFD] = &ckpt_kind_timerfd,
	[CKPT_FILE_SIGNALFD] = &ckpt_kind_signalfd,
	[CKPT_FILE_MEMFD] = &ckpt_kind_memfd,
	[CKPT_FILE_UNIX] = &ckpt_kind_unix,
	[CKPT_FILE_NSFS] = &ckpt_kind_nsfs,
	[CKPT_FILE_REGULAR] = &ckpt_kind_regular,
};

int ckpt_info_number(const struct ckpt_fd *f, const char *key, int base, uint64_t *ret)
{
	size_t len = strlen(key);

	for (const char *l = f->info; *l; l += strcspn(l, "\n"), l += *l == '\n')
		if (strncmp(l, key, len) == 0 && l[len] == ':') {
			*ret = strtoull(l + len + 1, NULL, base);
			return 0;
		}
	return -ENOENT;
}

static int look(struct ckpt_fd *f, int pidfd, struct err *e)
{
	char path[64];
	cleanup_close int info = -EBADF;
	uint64_t v = 0;
	ssize_t n;

	f->own = (int)syscall(SYS_pidfd_getfd, pidfd, f->fd, 0);
	if (f->own < 0 || fstat(f->own, &f->st) < 0)
		return err_sys(e, "take fd %d of process %d", f->fd, (int)f->pid);
	snprintf(path, sizeof(path), "/proc/%d/fd/%d", (int)f->pid, f->fd);
	n = readlink(path, f->link, sizeof(f->link) - 1);
	if (n < 0)
		return err_sys(e, "read %s", path);
	f->link[n] = '\0';
	snprintf(path, sizeof(path), "/proc/%d/fdinfo/%d", (int)f->pid, f->fd);
	info = open(path, O_RDONLY | O_CLOEXEC);
	n = info < 0 ? -errno : fd_read_full(info, f->info, sizeof(f->info) - 1);
	if (n < 0)
		return err_code(e, (int)n, "read %s", path);
	f->info[n] = '\0';
	f->info_len = (size_t)n;
	if (f->info_len == sizeof(f->info) - 1)
		return err_set(e, ERR_UNSUPPORTED, "fd %d of process %d has too much behind it", f->fd,
			       (int)f->pid);
	ckpt_info_number(f, "pos", 10, &f->pos);
	ckpt_info_number(f, "flags", 8, &v);
	f->flags = (unsigned)v;
	return 0;
}

/* The id of an open file that has been seen, or 0. */
static uint32_t seen(const struct ckpt_collect *c, const struct ckpt_fd *f)
{
	for (size_t i = 0; i < c->count; i++)
		if (c->seen[i].ino == f->st.st_ino && c->seen[i].dev == f->st.st_dev &&
		    syscall(SYS_kcmp, c->seen[i].pid, f->pid, KCMP_FILE, c->seen[i].fd, f->fd) == 0)
			return c->seen[i].file;
	return 0;
}

static int remember(struct ckpt_collect *c, const struct ckpt_fd *f, uint32_t file)
{
	if (c->count == c->room) {
		size_t room = c->room ? 2 * c->room : 256;
		struct ckpt_seen *s = reallocarray(c->seen, room, sizeof(*s));

		if (!s)
			return -ENOMEM;
		c->seen = s;
		c->room = room;
	}
	c->seen[c->count++] =
		(struct ckpt_seen){ f->st.st_dev, f->st.st_ino, f->pid, f->fd, file };
	return 0;
}

static int add_file(struct ckpt_dump *d, const struct ckpt_fd *f, uint32_t *ret, struct err *e)
{
	Ckpt__File *out = ckpt_alloc(&d->tree.arena, sizeof(*out));
	int r;

	if (!out)
		return err_code(e, -ENOMEM, "collect files");
	ckpt__file__init(out);
	for (uint32_t k = 1; k < CKPT_FILE_KIND_COUNT && !out->kind; k++)
		if (ckpt_kinds[k] && ckpt_kinds[k]->is(f))
			out->kind = k;
	if (!out->kind)
		return err_set(e, ERR_UNSUPPORTED, "fd %d of process %d, %s, cannot be saved", f->fd,
			       (int)f->pid, f->link);
	out->flags = f->flags & ~(unsigned)O_CLOEXEC;
	out->pos = f->pos;
	out->path = ckpt_strdup(&d->tree.arena, f->link);
	if (!out->path)
		return err_code(e, -ENOMEM, "collect files");
	r = ckpt_kinds[out->kind]->dump(d, f, out, e);
	if (r == 0 && (ckpt_push(&d->tree.arena, &d->tree.files, &d->tree.file_count, out) < 0 ||
		       remember(&d->files, f, (uint32_t)d->tree.file_count) < 0))
		r = err_code(e, -ENOMEM, "collect files");
	*ret = (uint32_t)d->tree.file_count;
	return r;
}

static int add_fd(struct ckpt_dump *d, struct ckpt_task *k, int pidfd, int number, struct err *e)
{
	cleanup_free struct ckpt_fd *f = calloc(1, sizeof(*f));
	Ckpt__Fd *out = ckpt_alloc(&d->tree.arena, sizeof(*out));
	int r;

	if (!f || !out)
		return err_code(e, -ENOMEM, "collect files");
	f->pid = k->pid;
	f->ns_pid = (pid_t)k->process->pid;
	f->fd = number;
	f->own = -EBADF;
	r = look(f, pidfd, e);
	if (r == 0) {
		ckpt__fd__init(out);
		out->fd = (uint32_t)number;
		out->file = seen(&d->files, f);
		if (!out->file)
			r = add_file(d, f, &out->file, e);
	}
	fd_close(&f->own);
	if (r == 0 && ckpt_push(&d->tree.arena, &k->fds->fd, &k->fds->n_fd, out) < 0)
		r = err_code(e, -ENOMEM, "collect files");
	return r;
}

int ckpt_fds_collect(struct ckpt_dump *d, struct ckpt_task *k, struct err *e)
{
	cleanup_close int pidfd = pidfd_open_pid(k->pid);
	cleanup_closedir DIR *dir = NULL;
	const struct dirent *de;
	char path[64];
	int r = 0;

	k->fds = ckpt_alloc(&d->tree.arena, sizeof(*k->fds));
	if (!k->fds)
		return err_code(e, -ENOMEM, "collect files");
	ckpt__fd_table__init(k->fds);
	k->fds->pid = k->process->pid;
	snprintf(path, sizeof(path), "/proc/%d/fd", (int)k->pid);
	dir = opendir(path);
	if (pidfd < 0 || !dir)
		return err_sys(e, "open %s", path);
	while (r == 0 && (de = readdir(dir)))
		if (de->d_name[0] != '.')
			r = add_fd(d, k, pidfd, atoi(de->d_name), e);
	return r;
}
