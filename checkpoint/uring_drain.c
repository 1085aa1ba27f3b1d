/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Requests of io_uring that are under way, by the threads that have made them. */
#include "base/fd.h"
#include "base/macro.h"
#include "base/proc.h"
#include "checkpoint/drain.h"
#include "checkpoint/internal.h"
#include "checkpoint/kernel.h"
#include "checkpoint/uring.h"
#include "checkpoint/uring_waiting.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/syscall.h>

static int add_ring(struct ckpt_dump *d, struct ckpt_uring_table *t, int pidfd, int fd, struct err *e)
{
	cleanup_close int own = (int)syscall(SYS_pidfd_getfd, pidfd, fd, 0);
	void *bigger = reallocarray(t->ring, t->count + 1, sizeof(*t->ring));

	if (!bigger)
		return err_code(e, -ENOMEM, "look for io_urings");
	t->ring = bigger;
	if (own < 0)
		return err_sys(e, "take an io_uring");
	t->ring[t->count].fd = fd;
	return ckpt_kernel_file(d->kernel, own, &t->ring[t->count++].ctx, e);
}

/* Those that a thread has open. */
static int find_rings(struct ckpt_dump *d, pid_t tid, struct ckpt_uring_table *t, struct err *e)
{
	cleanup_close int pidfd = pidfd_open_task(tid);
	cleanup_closedir DIR *dir = NULL;
	const struct dirent *de;
	char path[64];
	int r = 0;

	snprintf(path, sizeof(path), "/proc/%d/fd", (int)tid);
	dir = opendir(path);
	if (pidfd < 0 || !dir)
		return err_sys(e, "open %s", path);
	while (r == 0 && (de = readdir(dir))) {
		char link[sizeof(CKPT_URING_NAME) + 1];
		ssize_t n = readlinkat(dirfd(dir), de->d_name, link, sizeof(link));

		if (n == sizeof(CKPT_URING_NAME) - 1 && memcmp(link, CKPT_URING_NAME, (size_t)n) == 0)
			r = add_ring(d, t, pidfd, atoi(de->d_name), e);
	}
	return r;
}

/* Threads share one table as a rule, which is looked at once. */
static int find_table(struct ckpt_dump *d, struct ckpt_uring_waits *w, pid_t tid, uint64_t files, size_t *ret,
		      struct err *e)
{
	struct ckpt_uring_table *bigger;

	for (*ret = 0; *ret < w->table_count; ++*ret)
		if (w->tables[*ret].files == files)
			return 0;
	bigger = reallocarray(w->tables, w->table_count + 1, sizeof(*bigger));
	if (!bigger)
		return err_code(e, -ENOMEM, "look for io_urings");
	w->tables = bigger;
	w->tables[w->table_count++] = (struct ckpt_uring_table){ .files = files };
	return find_rings(d, tid, &w->tables[*ret], e);
}

static int find_one(struct ckpt_dump *d, struct ckpt_uring_waits *w, size_t process, pid_t tid, struct err *e)
{
	struct ckpt_uring_wait fresh = { .process = process, .tid = tid }, *bigger;
	uint64_t task, files;
	int r = ckpt_uring_thread(d, tid, &task, e);

	if (r == 0)
		r = ckpt_kernel_member(d->kernel, task, "task_struct", "io_uring", 8, &fresh.tctx, e);
	if (r < 0 || !fresh.tctx)
		return r;
	r = ckpt_kernel_member(d->kernel, task, "task_struct", "files", 8, &files, e);
	if (r == 0)
		r = find_table(d, w, tid, files, &fresh.table, e);
	if (r < 0)
		return r;
	bigger = reallocarray(w->list, w->count + 1, sizeof(*bigger));
	if (!bigger)
		return err_code(e, -ENOMEM, "look for io_urings");
	w->list = bigger;
	w->list[w->count++] = fresh;
	return 0;
}

static int compare(const void *one, const void *other)
{
	const struct ckpt_uring_wait *a = one, *b = other;

	return a->tctx < b->tctx ? -1 : a->tctx > b->tctx;
}

const struct ckpt_uring_wait *ckpt_uring_waits_of(const struct ckpt_uring_waits *w, uint64_t tctx)
{
	struct ckpt_uring_wait key = { .tctx = tctx };

	return w->count ? bsearch(&key, w->list, w->count, sizeof(key), compare) : NULL;
}

int ckpt_uring_waits_find(struct ckpt_dump *d, struct ckpt_uring_waits *w, struct err *e)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < d->frozen.count; i++)
		for (size_t n = 0; r == 0 && n < d->frozen.procs[i].count; n++)
			r = find_one(d, w, i, d->frozen.procs[i].tids[n], e);
	if (w->count)
		qsort(w->list, w->count, sizeof(*w->list), compare);
	for (size_t i = 0; i < w->count; i++)
		w->tables[w->list[i].table].owner = i;
	return r;
}

void ckpt_uring_waits_done(struct ckpt_uring_waits *w)
{
	for (size_t i = 0; i < w->table_count; i++)
		free(w->tables[i].ring);
	free(w->tables);
	free(w->list);
	*w = (struct ckpt_uring_waits){ 0 };
}

/* Requests that a thread has made and that are not complete: as the kernel counts them, but for those that it has counted
 * in advance. */
static int count_pending(struct ckpt_dump *d, uint64_t tctx, uint32_t *ret, struct err *e)
{
	uint64_t ahead, all, counters, each;
	int r = ckpt_kernel_member(d->kernel, tctx, "io_uring_task", "cached_refs", 4, &ahead, e);

	if (r == 0)
		r = ckpt_kernel_member(d->kernel, tctx, "io_uring_task", "inflight.count", 8, &all, e);
	if (r == 0)
		r = ckpt_kernel_member(d->kernel, tctx, "io_uring_task", "inflight.counters", 8, &counters, e);
	if (r == 0)
		r = ckpt_kernel_sum(d->kernel, counters, NULL, NULL, &each, e);
	if (r == 0)
		*ret = (uint32_t)(all + each - ahead);
	return r;
}

/* What is complete is put into rings by the thread that asked for it, on its way out of a call; so is what had no
 * room there before. */
static int let_complete(const struct ckpt_uring_table *t, struct ckpt_batch *b, struct ckpt_thread *th, struct err *e)
{
	struct ckpt_call c = { SYS_getpid, { 0 }, 0 };
	int r = ckpt_batch_one(b, th, &c, &c.ret, e);

	for (size_t i = 0; r == 0 && i < t->count; i++) {
		c = (struct ckpt_call){ SYS_io_uring_enter, { (uint64_t)t->ring[i].fd, 0, 0, IORING_ENTER_GETEVENTS }, 0 };
		r = ckpt_batch_one(b, th, &c, &c.ret, e);
	}
	return r;
}

static int serve(struct ckpt_dump *d, const struct ckpt_uring_waits *w, const struct ckpt_uring_wait *one, struct err *e)
{
	const struct ckpt_process *p = &d->frozen.procs[one->process];
	struct ckpt_thread th = { .entered = false };
	struct ckpt_batch b = { .mem = -EBADF };
	struct err ignored;
	int left, r = ckpt_batch_open(&b, p->pid, p->tids, p->count, e);

	if (r < 0)
		return r;
	r = ckpt_thread_enter(&b, &th, one->tid, NULL, e);
	if (r == 0)
		r = let_complete(&w->tables[one->table], &b, &th, e);
	left = th.entered ? ckpt_thread_leave(&b, &th, r < 0 ? &ignored : e) : 0;
	ckpt_batch_close(&b);
	return r < 0 ? r : left;
}

int ckpt_uring_waits_serve(struct ckpt_dump *d, const struct ckpt_uring_waits *w, struct err *e)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < w->count; i++) {
		r = serve(d, w, &w->list[i], e);
		if (r < 0 && d->check && e->code == ERR_UNSUPPORTED)
			r = 0; /* of a process that runs no lists: who looks at it says so */
	}
	return r;
}

static bool knows(const struct ckpt_uring_left *l, uint64_t ctx)
{
	for (size_t i = 0; i < l->count; i++)
		if (l->ring[i].ctx == ctx)
			return true;
	return false;
}

/* Each ring once, whoever has it open. */
static int find_left(struct ckpt_dump *d, const struct ckpt_uring_table *t, struct ckpt_uring_left *ret, struct err *e)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < t->count; i++) {
		struct ckpt_uring_left_ring *bigger, *fresh;

		if (knows(ret, t->ring[i].ctx))
			continue;
		bigger = reallocarray(ret->ring, ret->count + 1, sizeof(*bigger));
		if (!bigger)
			return err_code(e, -ENOMEM, "look for io_urings");
		ret->ring = bigger;
		fresh = &bigger[ret->count++];
		fresh->ctx = t->ring[i].ctx;
		r = ckpt_uring_asked_find(d->kernel, fresh->ctx, &fresh->asked, e);
		ret->seen += fresh->asked.seen;
		if (r == 0 && ret->seen > CKPT_URING_ASKED_ALL)
			r = -E2BIG;
	}
	return r;
}

static uint32_t count_left(const struct ckpt_uring_left *l, uint64_t tctx)
{
	uint32_t n = 0;

	for (size_t i = 0; i < l->count; i++)
		for (size_t k = 0; k < l->ring[i].asked.count; k++)
			n += l->ring[i].asked.list[k].tctx == tctx;
	return n;
}

int ckpt_uring_waits_count(struct ckpt_dump *d, const struct ckpt_uring_waits *w, uint64_t *ret,
			   const struct ckpt_uring_wait **ret_who, struct ckpt_uring_left *ret_left, struct err *e)
{
	uint32_t pending = 0, any = 0;
	int r = 0;

	*ret = 0;
	*ret_left = (struct ckpt_uring_left){ 0 };
	for (size_t i = 0; r == 0 && !any && i < w->count; i++)
		r = count_pending(d, w->list[i].tctx, &any, e);
	for (size_t i = 0; r == 0 && any && i < w->table_count; i++) {
		*ret_who = &w->list[w->tables[i].owner];
		r = find_left(d, &w->tables[i], ret_left, e);
	}
	for (size_t i = 0; r == 0 && any && i < w->count; i++) {
		r = count_pending(d, w->list[i].tctx, &pending, e);
		ret_left->all += pending;
		pending -= count_left(ret_left, w->list[i].tctx);
		*ret += pending;
		if (pending)
			*ret_who = &w->list[i];
	}
	if (r < 0)
		ckpt_uring_left_done(ret_left);
	return r;
}

bool ckpt_uring_left_same(const struct ckpt_uring_left *a, const struct ckpt_uring_left *b)
{
	bool same = a->count == b->count;

	for (size_t i = 0; same && i < a->count; i++) {
		const struct ckpt_uring_asked *x = &a->ring[i].asked, *y = &b->ring[i].asked;

		same = a->ring[i].ctx == b->ring[i].ctx && ckpt_uring_asked_same(x, y);
	}
	return same;
}

void ckpt_uring_left_done(struct ckpt_uring_left *l)
{
	for (size_t i = 0; i < l->count; i++)
		ckpt_uring_asked_done(&l->ring[i].asked);
	free(l->ring);
	*l = (struct ckpt_uring_left){ 0 };
}
