/* SPDX-License-Identifier: GPL-2.0-or-later */

/*
 * What is registered with rings, and which of them with threads: the kernel holds open files then, by its own pointers.
 * Those of the VPS are found by where it has them.
 */
#include "base/fd.h"
#include "base/macro.h"
#include "checkpoint/image.pb-c.h"
#include "checkpoint/internal.h"
#include "checkpoint/kernel.h"
#include "checkpoint/kinds.h"
#include "checkpoint/uring.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/syscall.h>

#define FILES_MAX 32768u /* slots of a ring */
#define FILE_FLAGS 3u    /* beside the pointer: FFS_NOWAIT, FFS_ISREG */

/* Where the kernel has what, in that order. */
struct knowledge {
	struct known {
		uint64_t at;
		uint32_t file; /* its id */
	} *list;
	size_t count;
};

/* The slots of a task's table of open files. */
static int find_slots(struct ckpt_dump *d, pid_t pid, uint64_t *ret, struct err *e)
{
	cleanup_close int fd = -EBADF;
	char path[64];
	uint64_t at;
	int r;

	snprintf(path, sizeof(path), "/proc/%d", (int)pid);
	fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return err_sys(e, "open %s", path);
	r = ckpt_kernel_task(d->kernel, fd, &at, e);
	if (r == 0)
		r = ckpt_kernel_member(d->kernel, at, "task_struct", "files", 8, &at, e);
	if (r == 0)
		r = ckpt_kernel_member(d->kernel, at, "files_struct", "fdt", 8, &at, e);
	return r == 0 ? ckpt_kernel_member(d->kernel, at, "fdtable", "fd", 8, ret, e) : r;
}

static int find_files(struct ckpt_dump *d, uint64_t *file_at, struct err *e)
{
	uint64_t slots = 0;
	pid_t of = 0;
	int r = 0;

	for (size_t i = 0; r == 0 && i < d->tree.file_count; i++) {
		const struct ckpt_seen *s = d->files.by_file[i];

		if (s->pid == 0)
			continue;
		if (s->pid != of)
			r = find_slots(d, s->pid, &slots, e);
		of = s->pid;
		if (r == 0)
			r = ckpt_kernel_read(d->kernel, slots + 8 * (uint64_t)s->fd, &file_at[i], e);
	}
	return r;
}

static int compare(const void *one, const void *other)
{
	const struct known *a = one, *b = other;

	return a->at < b->at ? -1 : a->at > b->at;
}

static void learn(struct knowledge *k, uint64_t at, size_t i)
{
	k->list[k->count++] = (struct known){ at, (uint32_t)i + 1 };
}

/* The file's id; 0: it is none of those. */
static uint32_t find(const struct knowledge *k, uint64_t at)
{
	struct known key = { .at = at }, *found;

	found = bsearch(&key, k->list, k->count, sizeof(key), compare);
	return found ? found->file : 0;
}

/* All open files, and eventfds by what rings hold of them (struct eventfd_ctx). */
static int learn_all(struct ckpt_dump *d, const uint64_t *file_at, struct knowledge *files, struct knowledge *eventfds,
		     struct err *e)
{
	int r = 0;

	files->list = calloc(d->tree.file_count + 1, sizeof(*files->list));
	eventfds->list = calloc(d->tree.file_count + 1, sizeof(*eventfds->list));
	if (!files->list || !eventfds->list)
		return err_code(e, -ENOMEM, "collect files");
	for (size_t i = 0; r == 0 && i < d->tree.file_count; i++) {
		uint64_t at = 0;

		if (!file_at[i])
			continue;
		learn(files, file_at[i], i);
		if (d->tree.files[i]->kind != CKPT_FILE_EVENTFD)
			continue;
		r = ckpt_kernel_member(d->kernel, file_at[i], "file", "private_data", 8, &at, e);
		learn(eventfds, at, i);
	}
	qsort(files->list, files->count, sizeof(*files->list), compare);
	qsort(eventfds->list, eventfds->count, sizeof(*eventfds->list), compare);
	return r;
}

static int refuse(const struct ckpt_seen *s, const char *what, struct err *e)
{
	return err_set(e, ERR_UNSUPPORTED, "fd %d of process %d is an io_uring that %s, which cannot be saved", s->fd,
		       (int)s->pid, what);
}

/* What is in a slot, if anything. */
static int read_slot(struct ckpt_dump *d, const struct ckpt_seen *s, uint64_t node, uint32_t slot,
		     const struct knowledge *files, Ckpt__Uring *u, struct err *e)
{
	Ckpt__UringFile *f = ckpt_alloc(&d->tree.arena, sizeof(*f));
	uint64_t at;
	int r;

	if (!f || ckpt_push(&d->tree.arena, &u->file, &u->n_file, f) < 0)
		return err_code(e, -ENOMEM, "collect files");
	ckpt__uring_file__init(f);
	r = ckpt_kernel_member(d->kernel, node, "io_rsrc_node", "file_ptr", 8, &at, e);
	if (r == 0)
		r = ckpt_kernel_member(d->kernel, node, "io_rsrc_node", "tag", 8, &f->tag, e);
	if (r < 0)
		return r;
	f->slot = slot;
	f->file = find(files, at & ~(uint64_t)FILE_FLAGS);
	return f->file ? 0 : refuse(s, "has a registered file that nobody has open", e);
}

static int read_files(struct ckpt_dump *d, const struct ckpt_seen *s, uint64_t ctx, const struct knowledge *files,
		      Ckpt__Uring *u, struct err *e)
{
	static const char type[] = "io_ring_ctx";
	uint64_t count, nodes, start, end, node = 0;
	int r = ckpt_kernel_has(d->kernel, type, "file_table.data.nodes") ? 0 : 1;

	if (r == 0)
		r = ckpt_kernel_member(d->kernel, ctx, type, "file_table.data.nr", 4, &count, e);
	if (r != 0 || !count)
		return r < 0 ? r : 0;
	if (count > FILES_MAX)
		return refuse(s, "may have more registered files than a VPS needs", e);
	r = ckpt_kernel_member(d->kernel, ctx, type, "file_table.data.nodes", 8, &nodes, e);
	if (r == 0)
		r = ckpt_kernel_member(d->kernel, ctx, type, "file_alloc_start", 4, &start, e);
	if (r == 0)
		r = ckpt_kernel_member(d->kernel, ctx, type, "file_alloc_end", 4, &end, e);
	for (uint32_t i = 0; r == 0 && i < count; i++) {
		r = ckpt_kernel_read(d->kernel, nodes + 8 * (uint64_t)i, &node, e);
		if (r == 0 && node)
			r = read_slot(d, s, node, i, files, u, e);
	}
	if (r < 0)
		return r;
	u->files = (uint32_t)count;
	u->alloc_start = (uint32_t)start;
	u->alloc_end = (uint32_t)end;
	return 0;
}

static int read_eventfd(struct ckpt_dump *d, const struct ckpt_seen *s, uint64_t ctx, const struct knowledge *eventfds,
			Ckpt__Uring *u, struct err *e)
{
	uint64_t at, eventfd, async;
	int r = ckpt_kernel_member(d->kernel, ctx, "io_ring_ctx", "io_ev_fd", 8, &at, e);

	if (r < 0 || !at)
		return r;
	r = ckpt_kernel_member(d->kernel, at, "io_ev_fd", "cq_ev_fd", 8, &eventfd, e);
	if (r == 0)
		r = ckpt_kernel_member(d->kernel, at, "io_ev_fd", "eventfd_async", 4, &async, e);
	if (r < 0)
		return r;
	u->eventfd = find(eventfds, eventfd);
	u->eventfd_async = async & 1; /* one bit, in Linux 6.0 and before */
	return u->eventfd ? 0 : refuse(s, "tells an eventfd of completions that nobody has open", e);
}

static int read_all(struct ckpt_dump *d, const uint64_t *file_at, const struct ckpt_uring_known *known, struct err *e)
{
	struct knowledge files = { 0 }, eventfds = { 0 };
	int r = learn_all(d, file_at, &files, &eventfds, e);

	for (size_t i = 0; r == 0 && i < d->tree.file_count; i++) {
		const struct ckpt_seen *s = d->files.by_file[i];
		Ckpt__Uring *u = d->tree.files[i]->uring;
		uint64_t ctx;

		if (!u)
			continue;
		r = ckpt_kernel_member(d->kernel, file_at[i], "file", "private_data", 8, &ctx, e);
		if (r == 0)
			r = read_files(d, s, ctx, &files, u, e);
		if (r == 0)
			r = read_eventfd(d, s, ctx, &eventfds, u, e);
		if (r == 0)
			r = ckpt_uring_asked_collect(d, d->tree.files[i], s, ctx, known, file_at[i], e);
		if (r == 0)
			r = ckpt_uring_owner_collect(d, d->tree.files[i], s, ctx, known, file_at[i], e);
		r = ckpt_note(d, r, s->pid, s->fd, e);
	}
	free(files.list);
	free(eventfds.list);
	return r;
}

static uint64_t key_of(const void *arg, const Ckpt__Fd *fd)
{
	const uint64_t *file_at = arg;

	return fd->file ? file_at[fd->file - 1] : 0;
}

static int know(const struct ckpt_tree *t, const uint64_t *file_at, struct ckpt_uring_known *ret, struct err *e)
{
	int r = ckpt_whose_make(t, CKPT_BY_HOST, &ret->threads);

	if (r == 0)
		r = ckpt_opened_make(t, key_of, file_at, &ret->open);
	return r < 0 ? err_code(e, r, "collect files") : 0;
}

int ckpt_uring_registered(struct ckpt_dump *d, struct err *e)
{
	struct ckpt_uring_known known = { 0 };
	cleanup_free uint64_t *file_at = NULL;
	int r;

	if (!d->urings)
		return 0;
	file_at = calloc(d->tree.file_count + 1, sizeof(*file_at));
	if (!file_at)
		return err_code(e, -ENOMEM, "collect files");
	r = find_files(d, file_at, e);
	if (r == 0)
		r = know(&d->tree, file_at, &known, e);
	if (r == 0)
		r = read_all(d, file_at, &known, e);
	ckpt_whose_done(&known.threads);
	ckpt_opened_done(&known.open);
	return r == 0 ? ckpt_uring_rings_collect(d, file_at, e) : r;
}

bool ckpt_uring_files_fit(const struct ckpt_tree *t, const Ckpt__Uring *u)
{
	bool fit = u->files <= FILES_MAX && u->n_file <= u->files && u->alloc_start <= u->alloc_end &&
		   u->alloc_end <= u->files && u->eventfd <= t->file_count &&
		   (!u->eventfd || t->files[u->eventfd - 1]->kind == CKPT_FILE_EVENTFD);

	for (size_t i = 0; fit && i < u->n_file; i++)
		fit = u->file[i]->slot < u->files && u->file[i]->file && u->file[i]->file <= t->file_count;
	return fit;
}

static int register_files(struct ckpt_late *q, const Ckpt__Uring *u)
{
	const struct io_uring_rsrc_register all = { .nr = u->files, .flags = IORING_RSRC_REGISTER_SPARSE };
	const struct io_uring_file_index_range range = { .off = u->alloc_start,
							 .len = u->alloc_end - u->alloc_start };
	uint64_t ring = ckpt_late_fd(q);
	int n = ckpt_late_room(q, 2, sizeof(all) + sizeof(range) + 16);

	if (n < 0)
		return n;
	ckpt_late_call(q, "have an io_uring register files", SYS_io_uring_register, ring, IORING_REGISTER_FILES2,
		       ckpt_late_put(q, &all, sizeof(all)), sizeof(all));
	ckpt_late_call(q, "have an io_uring choose from registered files", SYS_io_uring_register, ring,
		       IORING_REGISTER_FILE_ALLOC_RANGE, ckpt_late_put(q, &range, sizeof(range)), 0);
	for (size_t i = 0; n == 0 && i < u->n_file; i++) {
		int fd = ckpt_late_fd_of(q, u->file[i]->file);
		struct io_uring_rsrc_update2 one = { .offset = u->file[i]->slot, .nr = 1 };

		n = ckpt_late_room(q, 1, sizeof(one) + 64);
		if (n < 0)
			return n;
		one.data = ckpt_late_put(q, &fd, sizeof(fd));
		one.tags = ckpt_late_put(q, &u->file[i]->tag, sizeof(u->file[i]->tag));
		ckpt_late_call(q, "register a file with an io_uring", SYS_io_uring_register, ring,
			       IORING_REGISTER_FILES_UPDATE2, ckpt_late_put(q, &one, sizeof(one)), sizeof(one));
	}
	return 0;
}

int ckpt_uring_late(struct ckpt_late *q, const Ckpt__File *f, struct err *e)
{
	const Ckpt__Uring *u = f->uring;
	int n = u->files ? register_files(q, u) : 0, fd;

	(void)e;
	if (n < 0 || !u->eventfd)
		return n;
	n = ckpt_late_room(q, 1, 16);
	if (n < 0)
		return n;
	fd = ckpt_late_fd_of(q, u->eventfd);
	ckpt_late_call(q, "have an io_uring tell an eventfd", SYS_io_uring_register, ckpt_late_fd(q),
		       u->eventfd_async ? IORING_REGISTER_EVENTFD_ASYNC : IORING_REGISTER_EVENTFD,
		       ckpt_late_put(q, &fd, sizeof(fd)), 1);
	return 0;
}
