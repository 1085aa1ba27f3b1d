/* SPDX-License-Identifier: GPL-2.0-or-later */

/*
 * An epoll watches open files, each under the number of the fd with which it was added; by now that
 * number may stand for another file, or none. kcmp(2) tells which file is meant. It is added again under
 * its old number, while that stands for the file, by the first process before it gets its own fds.
 *
 * Edges: the kernel does not tell whether one was reported already. A file that is ready is reported
 * once more (a program that watches edges must bear that), so that none is lost.
 */
#include "base/macro.h"
#include "checkpoint/image.pb-c.h"
#include "checkpoint/restore_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/kcmp.h>
#include <search.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>

/* One that has gone off keeps only such bits (EPOLLERR and EPOLLHUP, which all else has, included). */
#define PRIVATE (EPOLLWAKEUP | EPOLLONESHOT | EPOLLET | EPOLLEXCLUSIVE)

static bool is(const struct ckpt_fd *f)
{
	return strcmp(f->link, "anon_inode:[eventpoll]") == 0;
}

static int dump(struct ckpt_dump *d, const struct ckpt_fd *f, Ckpt__File *out, struct err *e)
{
	struct ckpt_arena *a = ckpt_dump_arena(d);

	for (const char *l = strstr(f->info, "tfd:"); l; l = strstr(l + 1, "tfd:")) {
		Ckpt__EpollTarget *t = ckpt_alloc(a, sizeof(*t));
		unsigned long long data, ino;
		unsigned fd, events, dev;

		if (!t)
			return err_code(e, -ENOMEM, "collect an epoll");
		if (sscanf(l, "tfd: %u events: %x data: %llx pos:%*d ino:%llx sdev:%x", &fd, &events, &data,
			   &ino, &dev) != 5)
			return err_set(e, ERR_UNSUPPORTED, "the kernel does not tell what an epoll watches");
		ckpt__epoll_target__init(t);
		t->fd = fd;
		t->events = events;
		t->data = data;
		t->ino = ino;
		t->dev = makedev(dev >> 20, dev & 0xfffff); /* as the kernel has it */
		if (ckpt_push(a, &out->targets, &out->n_targets, t) < 0)
			return err_code(e, -ENOMEM, "collect an epoll");
	}
	return 0;
}

static int open_again(struct ckpt_opening *o, const Ckpt__File *f, struct err *e)
{
	int fd = epoll_create1(EPOLL_CLOEXEC);

	(void)o;
	(void)f;
	return fd < 0 ? err_sys(e, "make an epoll") : fd;
}

/* The file that a process has under a number now; 0: none. Tables are in ascending order. */
static uint32_t in_table(const struct ckpt_dump *d, pid_t pid, uint32_t fd)
{
	for (size_t i = 0; i < d->tree.task_count; i++) {
		const Ckpt__FdTable *t = d->tree.tasks[i].fds;
		size_t lo = 0, hi = t->n_fd;

		if (d->tree.tasks[i].pid != pid)
			continue;
		while (lo < hi) {
			size_t mid = (lo + hi) / 2;

			if (t->fd[mid]->fd < fd)
				lo = mid + 1;
			else
				hi = mid;
		}
		return lo < t->n_fd && t->fd[lo]->fd == fd ? t->fd[lo]->file : 0;
	}
	return 0;
}

/* What an epoll watches, to be found among the files. */
struct wanted {
	const struct ckpt_seen *epoll;
	struct kcmp_epoll_slot slot;
	dev_t dev;
	ino_t ino;
};

/* The target's place: 0 here, 1 behind `s` in the kernel's order, 2 before it. */
static long place(const struct wanted *w, const struct ckpt_seen *s)
{
	return syscall(SYS_kcmp, s->pid, w->epoll->pid, KCMP_EPOLL_TFD, s->fd, &w->slot);
}

/* The file that its number stands for, when that needs no kcmp(2), which walks all that an epoll watches: a
 * socket's inode has one open file. */
static bool is_socket(const struct ckpt_dump *d, const Ckpt__EpollTarget *t)
{
	const struct ckpt_seen *s = t->file ? d->files.by_file[t->file - 1] : NULL;

	return s && s->ino == t->ino && s->dev == t->dev &&
	       strncmp(d->tree.files[t->file - 1]->path, "socket:[", 8) == 0;
}

/* Of several under one number the kernel counts in the order of the list. */
static uint32_t turn_of(const Ckpt__File *f, size_t k)
{
	uint32_t turn = 0;

	for (size_t i = 0; i < k; i++)
		turn += f->targets[i]->fd == f->targets[k]->fd;
	return turn;
}

/* As files.c orders them. */
static int compare(const void *key, const void *entry)
{
	const struct wanted *w = key;
	const struct ckpt_seen *s = entry;

	if (w->dev != s->dev)
		return w->dev < s->dev ? -1 : 1;
	if (w->ino != s->ino)
		return w->ino < s->ino ? -1 : 1;
	switch (place(w, s)) {
	case 0: return 0;
	case 1: return 1;
	default: return -1;
	}
}

static uint32_t find(const struct ckpt_dump *d, const struct wanted *w)
{
	const struct ckpt_collect *c = &d->files;
	struct ckpt_seen **found = tfind(w, &c->root, compare);

	if (found)
		return (*found)->file;
	/* Some file systems show their files to stat(2) under another device than fdinfo does. */
	for (size_t i = 0; i < c->count; i++)
		if (place(w, c->by_file[i]) == 0)
			return (uint32_t)i + 1;
	return 0;
}

static int resolve(struct ckpt_dump *d, const struct ckpt_seen *epoll, const Ckpt__File *f, size_t k, struct err *e)
{
	Ckpt__EpollTarget *t = f->targets[k];
	struct wanted w = { epoll, { (uint32_t)epoll->fd, t->fd, 0 }, (dev_t)t->dev, (ino_t)t->ino };

	t->file = in_table(d, epoll->pid, t->fd);
	if (!is_socket(d, t)) {
		w.slot.toff = turn_of(f, k);
		if (!t->file || place(&w, d->files.by_file[t->file - 1]) != 0)
			t->file = find(d, &w);
	}
	t->ino = t->dev = 0;
	return t->file ? 0 :
			 err_set(e, ERR_UNSUPPORTED,
				 "the epoll that is fd %d of process %d watches a file, once fd %u, that no "
				 "process of the VPS has open",
				 epoll->fd, (int)epoll->pid, t->fd);
}

int ckpt_epoll_resolve(struct ckpt_dump *d, struct err *e)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < d->tree.file_count; i++) {
		const Ckpt__File *f = d->tree.files[i];

		for (size_t k = 0; r == 0 && f->kind == CKPT_FILE_EPOLL && k < f->n_targets; k++)
			r = resolve(d, d->files.by_file[i], f, k, e);
	}
	return r;
}

int ckpt_epoll_check(const struct ckpt_tree *t, const Ckpt__File *f, struct err *e)
{
	for (size_t i = 0; i < f->n_targets; i++)
		if (f->targets[i]->file == 0 || f->targets[i]->file > t->file_count ||
		    f->targets[i]->fd > CKPT_FD_MAX)
			return err_set(e, ERR_FAIL, "the image is damaged: an epoll");
	return 0;
}

static bool has_gone_off(const Ckpt__EpollTarget *t)
{
	return (t->events & EPOLLONESHOT) && !(t->events & ~(uint32_t)PRIVATE);
}

static void control(struct list *l, const struct restore *r, uint32_t id, const Ckpt__EpollTarget *t,
		    uint64_t what, uint32_t events)
{
	struct epoll_event ev = { .events = events };

	ev.data.u64 = t->data;
	list_call(l, "watch an open file", SYS_dup3, (uint64_t)restore_fd_file(r, t->file), t->fd, 02000000,
		  0, 0, 0);
	list_call(l, "watch an open file", SYS_epoll_ctl, (uint64_t)restore_fd_file(r, id), what, t->fd,
		  list_put(l, &ev, sizeof(ev)), 0, 0);
}

/* Through what a pipe without a name, watched where it is read, can be written to, if nobody is sent a signal for that; 0:
 * nothing. */
static uint32_t writer_of(const struct ckpt_tree *t, const Ckpt__File *pipe)
{
	uint32_t writer = 0;

	if (pipe->kind != CKPT_FILE_PIPE || pipe->path[0] == '/' || (pipe->flags & O_ACCMODE) != O_RDONLY)
		return 0;
	for (uint32_t i = 1; i <= t->file_count; i++) {
		const Ckpt__File *f = t->files[i - 1];

		if (f->kind != CKPT_FILE_PIPE || f->path[0] == '/' || f->value != pipe->value)
			continue;
		if (f->flags & O_ASYNC)
			return 0;
		if ((f->flags & O_ACCMODE) != O_RDONLY)
			writer = i;
	}
	return writer;
}

/* An empty pipe has something to read for as long as it takes to hear of that. > 0: it has gone off. */
static int set_off_pipe(struct restore *r, struct restoring *p, uint32_t id, const Ckpt__EpollTarget *t,
			struct list *l, struct err *e)
{
	uint32_t writer = writer_of(&r->tree, r->tree.files[t->file - 1]);
	struct epoll_event room = { 0 };
	int n;

	if (!writer)
		return 0;
	list_call(l, "write to a pipe", SYS_write, (uint64_t)restore_fd_file(r, writer), list_put(l, "", 1), 1, 0, 0, 0);
	list_call(l, "look at an epoll", SYS_epoll_wait, (uint64_t)restore_fd_file(r, id), list_put(l, &room, sizeof(room)), 1,
		  0, 0, 0);
	list_call(l, "read from a pipe", SYS_read, (uint64_t)restore_fd_file(r, t->file), list_put(l, "", 1), 1, 0, 0, 0);
	n = list_run(l, &p->batch, &p->threads[0], e);
	return n < 0 ? n : l->calls[1].ret > 0;
}

/*
 * What has gone off is added as if it waited for everything, and goes off again if the file is ready
 * for anything, as most are. One that is not (and is no pipe) can only be left waiting for errors and hangups:
 * the kernel adds these.
 */
static int add_gone_off(struct restore *r, struct restoring *p, uint32_t id, const Ckpt__EpollTarget *t,
			struct list *l, struct err *e)
{
	struct epoll_event room = { 0 };
	int n;

	control(l, r, id, t, EPOLL_CTL_ADD, t->events | EPOLLIN | EPOLLOUT | EPOLLPRI | EPOLLRDHUP);
	list_call(l, "look at an epoll", SYS_epoll_wait, (uint64_t)restore_fd_file(r, id),
		  list_put(l, &room, sizeof(room)), 1, 0, 0, 0);
	n = list_run(l, &p->batch, &p->threads[0], e);
	if (n < 0 || l->calls[2].ret > 0)
		return n;
	n = set_off_pipe(r, p, id, t, l, e);
	if (n != 0)
		return n < 0 ? n : 0;
	control(l, r, id, t, EPOLL_CTL_MOD, t->events);
	return list_run(l, &p->batch, &p->threads[0], e);
}

/*
 * Who adds a file. A signalfd waits where the signals of the process that adds it arrive (signalfd_poll()
 * in the kernel), so that it must be one whose epoll it is. All others are any process's.
 */
static struct restoring *adder(struct restore *r, uint32_t id, const Ckpt__EpollTarget *t)
{
	for (size_t i = 0; r->tree.files[t->file - 1]->kind == CKPT_FILE_SIGNALFD && i < r->tree.task_count; i++) {
		const struct ckpt_task *k = r->procs[i].task;

		/* One that has a table of its own by now has nothing of ours. */
		for (size_t n = 0; !k->process->files_group && n < k->fds->n_fd; n++)
			if (k->fds->fd[n]->file == id)
				return &r->procs[i];
	}
	return &r->procs[0];
}

int restore_epoll(struct restore *r, uint32_t id, struct list *l, struct err *e)
{
	struct restoring *first = &r->procs[0], *p = first;
	const Ckpt__File *f = r->tree.files[id - 1];
	int n = list_run(l, &p->batch, &p->threads[0], e);

	for (size_t i = 0; n == 0 && i < f->n_targets; i++)
		if (has_gone_off(f->targets[i]))
			n = add_gone_off(r, adder(r, id, f->targets[i]), id, f->targets[i], l, e);
	for (size_t i = 0; n == 0 && i < f->n_targets; i++) {
		struct restoring *by = adder(r, id, f->targets[i]);

		if (has_gone_off(f->targets[i]))
			continue;
		if (by != p || !list_fits(l, 2, sizeof(struct epoll_event)))
			n = list_run(l, &p->batch, &p->threads[0], e);
		p = by;
		control(l, r, id, f->targets[i], EPOLL_CTL_ADD, f->targets[i]->events);
	}
	return n == 0 && p != first ? list_run(l, &p->batch, &p->threads[0], e) : n;
}

const struct ckpt_kind ckpt_kind_epoll = { "epoll", is, dump, open_again, true };
