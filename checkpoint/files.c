/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Open files: which are the same, of which kind each is, and which fd stands for which. */
#include "base/fd.h"
#include "base/macro.h"
#include "base/proc.h"
#include "checkpoint/image.pb-c.h"
#include "checkpoint/internal.h"
#include "checkpoint/lookout.h"
#include "checkpoint/sockets.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/kcmp.h>
#include <search.h>
#include <sys/syscall.h>

#define INFO_MAX MIB(64) /* an epoll has a line for each file that it watches */

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
	[CKPT_FILE_INET] = &ckpt_kind_inet,
	[CKPT_FILE_NETLINK] = &ckpt_kind_netlink,
	[CKPT_FILE_PACKET] = &ckpt_kind_packet,
	[CKPT_FILE_TUN] = &ckpt_kind_tun,
	[CKPT_FILE_FOREIGN] = &ckpt_kind_foreign,
	[CKPT_FILE_REGULAR] = &ckpt_kind_regular,
	[CKPT_FILE_PTY_MASTER] = &ckpt_kind_pty_master,
	[CKPT_FILE_PTY_SLAVE] = &ckpt_kind_pty_slave,
	[CKPT_FILE_INOTIFY] = &ckpt_kind_inotify,
	[CKPT_FILE_FANOTIFY] = &ckpt_kind_fanotify,
	[CKPT_FILE_URING] = &ckpt_kind_uring,
	[CKPT_FILE_VIRTUAL] = &ckpt_kind_virtual,
	[CKPT_FILE_PIDFD] = &ckpt_kind_pidfd,
	[CKPT_FILE_MQUEUE] = &ckpt_kind_mqueue,
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

/*
 * The order of tsearch(3): by inode, then as the kernel orders open files (kcmp(2)), so that one is
 * found quickly among all that share an inode, as eventfds, timerfds and epolls do.
 */
static int compare(const void *one, const void *other)
{
	const struct ckpt_seen *a = one, *b = other;

	if (a->dev != b->dev)
		return a->dev < b->dev ? -1 : 1;
	if (a->ino != b->ino)
		return a->ino < b->ino ? -1 : 1;
	switch (syscall(SYS_kcmp, a->pid, b->pid, KCMP_FILE, a->fd, b->fd)) {
	case 0: return 0;
	case 1: return -1;
	default: return 1;
	}
}

static void keep_entry(void *entry)
{
	(void)entry; /* the arena's */
}

void ckpt_collect_done(struct ckpt_collect *c)
{
	tdestroy(c->root, keep_entry);
	tdestroy(c->inodes, keep_entry);
	for (size_t i = 0; i < c->held_count; i++)
		close(c->held[i]);
	free(c->held);
	*c = (struct ckpt_collect){ 0 };
}

static int compare_inode(const void *one, const void *other)
{
	const struct ckpt_seen *a = one, *b = other;

	if (a->dev != b->dev)
		return a->dev < b->dev ? -1 : 1;
	return a->ino < b->ino ? -1 : a->ino > b->ino;
}

uint32_t ckpt_first_of(struct ckpt_dump *d, const struct ckpt_fd *f)
{
	struct ckpt_seen key = { .dev = f->st.st_dev, .ino = f->st.st_ino, .file = (uint32_t)d->tree.file_count + 1 };
	struct ckpt_seen **at = tfind(&key, &d->files.inodes, compare_inode), *fresh;

	if (at)
		return (*at)->file;
	fresh = ckpt_memdup(&d->tree.arena, &key, sizeof(key));
	return fresh && tsearch(fresh, &d->files.inodes, compare_inode) ? key.file : 0;
}

/* Finds the open file, or enters it with file 0. NULL: out of memory. */
static struct ckpt_seen *enter(struct ckpt_dump *d, const struct ckpt_fd *f)
{
	struct ckpt_seen key = { f->st.st_dev, f->st.st_ino, f->pid, f->fd, 0 }, **at, *fresh;

	at = tfind(&key, &d->files.root, compare);
	if (at)
		return *at;
	fresh = ckpt_memdup(&d->tree.arena, &key, sizeof(key));
	return fresh && tsearch(fresh, &d->files.root, compare) ? fresh : NULL;
}

/* By our own fd, whose number is mostly the same, so that the kernel has its entry in /proc. Of a socket it is known. */
static int read_link(struct ckpt_fd *f, struct err *e)
{
	char path[64];
	ssize_t n;

	if (S_ISSOCK(f->st.st_mode) && !(f->flags & O_PATH)) {
		snprintf(f->link, sizeof(f->link), "socket:[%llu]", (unsigned long long)f->st.st_ino);
		return 0;
	}
	snprintf(path, sizeof(path), "/proc/%d/fd/%d", (int)getpid(), f->own);
	n = readlink(path, f->link, sizeof(f->link) - 1);
	if (n < 0 && errno == ENAMETOOLONG)
		return err_set(e, ERR_UNSUPPORTED,
			       "fd %d of process %d is a file so deep in directories that it has no "
			       "path, which cannot be saved",
			       f->fd, (int)f->pid);
	if (n < 0)
		return err_sys(e, "look at fd %d of process %d", f->fd, (int)f->pid);
	f->link[n] = '\0';
	return 0;
}

int ckpt_fd_info(pid_t pid, int fd, char **ret, struct err *e)
{
	char path[64];
	int r;

	snprintf(path, sizeof(path), "/proc/%d/fdinfo/%d", (int)pid, fd);
	r = fd_read_file_at(AT_FDCWD, path, INFO_MAX, ret, NULL);
	return r < 0 ? err_code(e, r, "read %s", path) : 0;
}

/* The latest kinds first: the first of all takes what merely has a path. */
static uint32_t find_kind(const struct ckpt_fd *f)
{
	if (f->flags & O_PATH) /* whatever it is: only its place matters */
		return f->link[0] != '/' ? 0 : ckpt_kind_virtual.is(f) ? CKPT_FILE_VIRTUAL : CKPT_FILE_REGULAR;
	if (S_ISSOCK(f->st.st_mode))
		return ckpt_socket_kind(f);
	for (uint32_t k = CKPT_FILE_KIND_COUNT - 1; k > 0; k--)
		if (ckpt_kinds[k] && ckpt_kinds[k]->is(f))
			return k;
	return 0;
}

static int fill_file(struct ckpt_dump *d, struct ckpt_fd *f, Ckpt__File *out, struct err *e)
{
	cleanup_free char *info = NULL;
	uint64_t hint = 0;
	off_t pos;
	int r, flags = fcntl(f->own, F_GETFL);

	if (flags < 0)
		return err_sys(e, "look at fd %d of process %d", f->fd, (int)f->pid);
	f->flags = (unsigned)flags;
	r = read_link(f, e);
	if (r < 0)
		return r;
	out->kind = find_kind(f);
	if (!out->kind)
		return err_set(e, ERR_UNSUPPORTED, "fd %d of process %d, %s, cannot be saved", f->fd,
			       (int)f->pid, f->link);
	/* Whatever is open may be locked by flock(2), pipes and sockets too. Our own fd tells that as well. */
	if (!(f->flags & O_PATH)) {
		r = ckpt_fd_info(getpid(), f->own, &info, e);
		if (r < 0)
			return r;
		f->info = info;
	}
	pos = S_ISREG(f->st.st_mode) || S_ISDIR(f->st.st_mode) ? lseek(f->own, 0, SEEK_CUR) : 0;
	out->pos = pos > 0 ? (uint64_t)pos : 0;
	out->flags = f->flags & ~(unsigned)O_CLOEXEC;
	if (S_ISREG(f->st.st_mode) && fcntl(f->own, F_GET_RW_HINT, &hint) == 0)
		out->hint = hint <= RWH_WRITE_LIFE_EXTREME ? (uint32_t)hint : 0;
	out->path = ckpt_strdup(&d->tree.arena, f->link);
	if (!out->path)
		return err_code(e, -ENOMEM, "collect files");
	r = S_ISSOCK(f->st.st_mode) && !(f->flags & O_PATH) ? ckpt_socket_space(d, f->own, &out->space, e) : 0;
	if (r == 0)
		r = ckpt_kinds[out->kind]->dump(d, f, out, e);
	if (r == 0)
		r = ckpt_file_locks(d, f, out, e);
	if (r == 0)
		r = ckpt_owner_collect(d, f, out, e);
	f->info = "";
	return r;
}

static int add_file(struct ckpt_dump *d, struct ckpt_fd *f, struct ckpt_seen *s, struct err *e)
{
	Ckpt__File *out = ckpt_alloc(&d->tree.arena, sizeof(*out));
	int r;

	if (!out)
		return err_code(e, -ENOMEM, "collect files");
	ckpt__file__init(out);
	r = fill_file(d, f, out, e);
	if (r < 0)
		return r;
	if (ckpt_push(&d->tree.arena, &d->tree.files, &d->tree.file_count, out) < 0 ||
	    ckpt_push(&d->tree.arena, &d->files.by_file, &d->files.count, s) < 0)
		return err_code(e, -ENOMEM, "collect files");
	s->file = (uint32_t)d->tree.file_count;
	return 0;
}

bool ckpt_file_opens_late(const Ckpt__File *f)
{
	return (f->kind == CKPT_FILE_VIRTUAL && f->value != CKPT_VIRTUAL_ENDED) ||
	       (f->kind == CKPT_FILE_PIDFD && f->value);
}

int ckpt_file_push(struct ckpt_dump *d, Ckpt__File *f)
{
	struct ckpt_seen *nobody = ckpt_alloc(&d->tree.arena, sizeof(*nobody));

	return nobody && ckpt_push(&d->tree.arena, &d->tree.files, &d->tree.file_count, f) == 0 &&
	       ckpt_push(&d->tree.arena, &d->files.by_file, &d->files.count, nobody) == 0 ? 0 : -ENOMEM;
}

/* f->pid, fd and own are filled. */
static int find_or_add(struct ckpt_dump *d, struct ckpt_fd *f, uint32_t *ret, struct err *e)
{
	struct ckpt_seen *s;
	int r;

	f->info = "";
	if (fstat(f->own, &f->st) < 0)
		return err_sys(e, "look at fd %d of process %d", f->fd, (int)f->pid);
	s = enter(d, f);
	if (!s)
		return err_code(e, -ENOMEM, "collect files");
	r = s->file ? 0 : add_file(d, f, s, e);
	*ret = s->file;
	return r;
}

int ckpt_file_add(struct ckpt_dump *d, int fd, uint32_t *ret, struct err *e)
{
	cleanup_free struct ckpt_fd *f = calloc(1, sizeof(*f));
	struct ckpt_collect *c = &d->files;
	size_t files = d->tree.file_count;
	cleanup_close int own = fd;
	int *held = reallocarray(c->held, c->held_count + 1, sizeof(*held));
	int r;

	if (held)
		c->held = held;
	if (!f || !held)
		return err_code(e, -ENOMEM, "collect files");
	*f = (struct ckpt_fd){ .pid = getpid(), .fd = fd, .own = fd };
	r = find_or_add(d, f, ret, e);
	/* Later ones are compared with it. */
	if (r == 0 && d->tree.file_count > files)
		c->held[c->held_count++] = TAKE_FD(own);
	return r;
}

static int add_fd(struct ckpt_dump *d, Ckpt__FdTable *t, int pidfd, struct ckpt_fd *f, int number,
		  struct err *e)
{
	Ckpt__Fd *out = ckpt_alloc(&d->tree.arena, sizeof(*out));
	int r;

	if (!out)
		return err_code(e, -ENOMEM, "collect files");
	ckpt__fd__init(out);
	out->fd = (uint32_t)number;
	f->fd = number;
	f->own = (int)syscall(SYS_pidfd_getfd, pidfd, number, 0);
	if (f->own < 0)
		return err_sys(e, "take fd %d of process %d", number, (int)f->pid);
	r = find_or_add(d, f, &out->file, e);
	if (r == 0)
		r = ckpt_fd_locks(d, f, t, e);
	fd_close(&f->own);
	if (r == 0 && ckpt_push(&d->tree.arena, &t->fd, &t->n_fd, out) < 0)
		r = err_code(e, -ENOMEM, "collect files");
	return r;
}

int ckpt_table_collect(struct ckpt_dump *d, pid_t tid, Ckpt__FdTable *t, struct err *e)
{
	cleanup_free struct ckpt_fd *f = calloc(1, sizeof(*f));
	cleanup_close int pidfd = pidfd_open_task(tid);
	const char *numbers;
	size_t len;
	int r;

	if (!f)
		return err_code(e, -ENOMEM, "collect files");
	f->pid = tid;
	r = pidfd < 0 ? -errno : ckpt_look(d, tid, CKPT_LOOK_FDS, &numbers, &len);
	if (r < 0)
		return err_code(e, r, "list the open files of process %d", (int)tid);
	for (const char *end = numbers + len; r == 0 && numbers < end; numbers = strchr(numbers, '\n') + 1)
		r = ckpt_note(d, add_fd(d, t, pidfd, f, atoi(numbers), e), tid, atoi(numbers), e);
	return r;
}

int ckpt_fds_collect(struct ckpt_dump *d, struct ckpt_task *k, struct err *e)
{
	k->fds = ckpt_alloc(&d->tree.arena, sizeof(*k->fds));
	if (!k->fds)
		return err_code(e, -ENOMEM, "collect files");
	ckpt__fd_table__init(k->fds);
	k->fds->pid = k->process->pid;
	return ckpt_table_collect(d, k->pid, k->fds, e);
}
