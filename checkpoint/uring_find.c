/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Who has to do with io_urings, which there are, and by whom each is served: as many steps as there are threads and rings,
 * not as many as both together, since all stand still meanwhile. */
#include "base/fd.h"
#include "base/macro.h"
#include "base/proc.h"
#include "checkpoint/drain.h"
#include "checkpoint/internal.h"
#include "checkpoint/kernel.h"
#include "checkpoint/uring.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/syscall.h>

static int no_memory(struct err *e)
{
	return err_code(e, -ENOMEM, "look for io_urings");
}

static int add_ring(struct ckpt_dump *d, struct ckpt_uring_table *t, int pidfd, int fd, struct err *e)
{
	cleanup_close int own = (int)syscall(SYS_pidfd_getfd, pidfd, fd, 0);
	void *bigger = reallocarray(t->ring, t->count + 1, sizeof(*t->ring));

	if (!bigger)
		return no_memory(e);
	t->ring = bigger;
	if (own < 0)
		return err_sys(e, "take an io_uring");
	t->ring[t->count] = (struct ckpt_uring_open){ .fd = fd };
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

	/* The last one first: it is that of the process, as a rule. */
	for (size_t i = w->table_count; i-- > 0;)
		if (w->tables[i].files == files) {
			*ret = i;
			return 0;
		}
	bigger = reallocarray(w->tables, w->table_count + 1, sizeof(*bigger));
	if (!bigger)
		return no_memory(e);
	w->tables = bigger;
	*ret = w->table_count++;
	w->tables[*ret] = (struct ckpt_uring_table){ .files = files, .owner = w->count };
	return find_rings(d, tid, &w->tables[*ret], e);
}

static int find_one(struct ckpt_dump *d, struct ckpt_uring_waits *w, size_t process, pid_t tid, struct err *e)
{
	struct ckpt_uring_wait fresh = { .process = process, .tid = tid }, *bigger;
	uint64_t files;
	int r = ckpt_uring_thread(d, tid, &fresh.task, e);

	if (r == 0) {
		w->threads[w->thread_count++] = (struct ckpt_uring_key){ fresh.task, (size_t)tid };
		r = ckpt_kernel_member(d->kernel, fresh.task, "task_struct", "io_uring", 8, &fresh.tctx, e);
	}
	if (r < 0 || !fresh.tctx)
		return r;
	r = ckpt_kernel_member(d->kernel, fresh.task, "task_struct", "files", 8, &files, e);
	if (r == 0)
		r = find_table(d, w, tid, files, &fresh.table, e);
	if (r < 0)
		return r;
	bigger = reallocarray(w->list, w->count + 1, sizeof(*bigger));
	if (!bigger)
		return no_memory(e);
	w->list = bigger;
	w->list[w->count++] = fresh;
	return 0;
}

static int compare(const void *one, const void *other)
{
	const struct ckpt_uring_key *a = one, *b = other;

	return a->at < b->at ? -1 : a->at > b->at;
}

static void sort(struct ckpt_uring_key *keys, size_t count)
{
	if (count)
		qsort(keys, count, sizeof(*keys), compare);
}

static const struct ckpt_uring_wait *find(const struct ckpt_uring_waits *w, const struct ckpt_uring_key *keys, uint64_t at)
{
	struct ckpt_uring_key key = { .at = at };
	const struct ckpt_uring_key *found = w->count ? bsearch(&key, keys, w->count, sizeof(key), compare) : NULL;

	return found ? &w->list[found->of] : NULL;
}

const struct ckpt_uring_wait *ckpt_uring_waits_of(const struct ckpt_uring_waits *w, uint64_t tctx)
{
	return find(w, w->by_tctx, tctx);
}

const struct ckpt_uring_wait *ckpt_uring_waits_of_task(const struct ckpt_uring_waits *w, uint64_t task)
{
	return find(w, w->by_task, task);
}

pid_t ckpt_uring_waits_tid(const struct ckpt_uring_waits *w, uint64_t task)
{
	struct ckpt_uring_key key = { .at = task }, *found = NULL;

	if (w->thread_count)
		found = bsearch(&key, w->threads, w->thread_count, sizeof(key), compare);
	return found ? (pid_t)found->of : 0;
}

static int index_threads(struct ckpt_uring_waits *w, struct err *e)
{
	w->by_tctx = calloc(w->count + 1, sizeof(*w->by_tctx));
	w->by_task = calloc(w->count + 1, sizeof(*w->by_task));
	if (!w->by_tctx || !w->by_task)
		return no_memory(e);
	for (size_t i = 0; i < w->count; i++) {
		w->by_tctx[i] = (struct ckpt_uring_key){ w->list[i].tctx, i };
		w->by_task[i] = (struct ckpt_uring_key){ w->list[i].task, i };
	}
	sort(w->threads, w->thread_count);
	sort(w->by_tctx, w->count);
	sort(w->by_task, w->count);
	return 0;
}

/* Whoever has it open shares it. */
static int index_rings(struct ckpt_uring_waits *w, struct err *e)
{
	size_t count = 0;

	for (size_t i = 0; i < w->table_count; i++)
		count += w->tables[i].count;
	w->rings = calloc(count + 1, sizeof(*w->rings));
	if (!w->rings)
		return no_memory(e);
	for (size_t i = 0, n = 0; i < w->table_count; i++)
		for (size_t k = 0; k < w->tables[i].count; k++)
			w->rings[n++] = (struct ckpt_uring_key){ w->tables[i].ring[k].ctx, i };
	sort(w->rings, count);
	for (size_t i = 0; i < count; i++)
		if (!i || w->rings[i].at != w->rings[i - 1].at)
			w->rings[w->ring_count++] = w->rings[i];
	return 0;
}

/* Of one for a thread alone (IORING_SETUP_DEFER_TASKRUN) only that; any other is served by anybody who has it open. */
static int find_server(struct ckpt_dump *d, const struct ckpt_uring_waits *w, size_t table, uint64_t ctx,
		       struct ckpt_uring_wait **ret, struct err *e)
{
	const struct ckpt_uring_wait *only;
	uint64_t flags = 0, task = 0;
	int r = ckpt_kernel_member(d->kernel, ctx, "io_ring_ctx", "flags", 4, &flags, e);

	*ret = &w->list[w->tables[table].owner];
	if (r < 0 || !(flags & IORING_SETUP_DEFER_TASKRUN))
		return r;
	r = ckpt_kernel_member(d->kernel, ctx, "io_ring_ctx", "submitter_task", 8, &task, e);
	only = ckpt_uring_waits_of_task(w, task);
	*ret = only && only->table == table ? &w->list[only - w->list] : NULL;
	return r;
}

static int find_servers(struct ckpt_dump *d, struct ckpt_uring_waits *w, struct err *e)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < w->table_count; i++)
		for (size_t k = 0; r == 0 && k < w->tables[i].count; k++) {
			struct ckpt_uring_open *ring = &w->tables[i].ring[k];
			struct ckpt_uring_wait *by;

			r = find_server(d, w, i, ring->ctx, &by, e);
			if (r < 0 || !by)
				continue;
			ring->next = by->serves;
			by->serves = k + 1;
		}
	return r;
}

int ckpt_uring_waits_find(struct ckpt_dump *d, struct ckpt_uring_waits *w, struct err *e)
{
	size_t count = 0;
	int r;

	for (size_t i = 0; i < d->frozen.count; i++)
		count += d->frozen.procs[i].count;
	w->threads = calloc(count + 1, sizeof(*w->threads));
	r = w->threads ? 0 : no_memory(e);
	for (size_t i = 0; r == 0 && i < d->frozen.count; i++)
		for (size_t n = 0; r == 0 && n < d->frozen.procs[i].count; n++)
			r = find_one(d, w, i, d->frozen.procs[i].tids[n], e);
	if (r == 0)
		r = index_threads(w, e);
	if (r == 0)
		r = index_rings(w, e);
	return r == 0 ? find_servers(d, w, e) : r;
}

void ckpt_uring_waits_done(struct ckpt_uring_waits *w)
{
	for (size_t i = 0; i < w->table_count; i++)
		free(w->tables[i].ring);
	free(w->tables);
	free(w->list);
	free(w->threads);
	free(w->by_tctx);
	free(w->by_task);
	free(w->rings);
	*w = (struct ckpt_uring_waits){ 0 };
}
