/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Which pages a stream gets at the final stop. */
#include "base/fd.h"
#include "base/macro.h"
#include "checkpoint/family.h"
#include "checkpoint/hugetlb.h"
#include "checkpoint/image.pb-c.h"
#include "checkpoint/internal.h"
#include "checkpoint/oracle.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>

int ckpt_guards_keep(struct ckpt_dump *d, Ckpt__Area *area, const struct ckpt_ranges *guards)
{
	uint64_t at = area->start;

	if (!guards->count)
		return 0;
	pthread_mutex_lock(&d->arena_lock);
	area->guard = ckpt_alloc(&d->tree.arena, 2 * guards->count * sizeof(*area->guard));
	pthread_mutex_unlock(&d->arena_lock);
	if (!area->guard)
		return -ENOMEM;
	for (size_t i = 0; i < guards->count; i++) {
		area->guard[area->n_guard++] = (guards->r[i].start - at) / CKPT_PAGE;
		area->guard[area->n_guard++] = (guards->r[i].end - guards->r[i].start) / CKPT_PAGE;
		at = guards->r[i].end;
	}
	return 0;
}

static int scan_area(struct ckpt_dump *d, int pagemap, Ckpt__Area *a, struct ckpt_ranges *ret)
{
	struct ckpt_ranges guards = { 0 };
	int r = ckpt_scan_own(pagemap, a->start, a->end, a->flags & MAP_ANONYMOUS ? CKPT_SCAN_ANON : 0, ret, &guards);

	if (r == 0)
		r = ckpt_guards_keep(d, a, &guards);
	if (r == 0)
		r = ckpt_huge_keep(d, pagemap, a);
	ckpt_ranges_done(&guards);
	return r;
}

int ckpt_guards_shared(struct ckpt_dump *d, int pagemap, Ckpt__Area *a)
{
	struct ckpt_ranges guards = { 0 };
	bool looks = !a->huge && (a->guarded || a->end - a->start <= CKPT_GUARDS_LOOKED_FOR);
	int r = looks ? ckpt_scan_guards(pagemap, a->start, a->end, &guards) : 0;

	a->guarded = 0;
	if (r == 0)
		r = ckpt_guards_keep(d, a, &guards);
	ckpt_ranges_done(&guards);
	return r;
}

static int by_value(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return (x > y) - (x < y);
}

int ckpt_sources_add(struct ckpt_dump *d, struct err *e)
{
	const struct ckpt_tree *t = &d->tree;
	cleanup_free uint64_t *stack = calloc(t->task_count + 1, sizeof(*stack));
	struct ckpt_source *s;

	for (size_t i = 0; stack && i < t->task_count; i++)
		stack[i] = t->tasks[i].mm->start_stack;
	if (stack)
		qsort(stack, t->task_count, sizeof(*stack), by_value);
	for (size_t i = 0; stack && i < t->task_count; i++) {
		const struct ckpt_task *k = &t->tasks[i];
		const uint64_t *at = bsearch(&k->mm->start_stack, stack, t->task_count, sizeof(*stack), by_value);

		s = ckpt_copy_add(&d->copy, k->process->mm, k->pid);
		if (!s)
			return err_code(e, -ENOMEM, "copy memory");
		s->family = at && ((at > stack && at[-1] == *at) || (at + 1 < stack + t->task_count && at[1] == *at));
	}
	return stack ? 0 : err_code(e, -ENOMEM, "copy memory");
}

static int scan_task(void *arg, size_t n, struct err *e)
{
	struct ckpt_dump *d = arg;
	const struct ckpt_task *k = &d->tree.tasks[n];
	cleanup_close int pagemap = ckpt_proc_open(k->pid, "pagemap");
	struct ckpt_source *s = &d->copy.sources[d->tree.shmem_count + n];
	int r = 0;

	if (pagemap < 0)
		return err_code(e, pagemap, "open the memory of process %d", (int)k->pid);
	for (size_t i = 0; r == 0 && i < k->mm->n_area; i++)
		r = k->mm->area[i]->flags & MAP_SHARED ? ckpt_guards_shared(d, pagemap, k->mm->area[i])
						       : scan_area(d, pagemap, k->mm->area[i], &s->ranges);
	if (r == -ENOTTY)
		return err_set(e, ERR_UNSUPPORTED, "this kernel has no PAGEMAP_SCAN (Linux 6.7)");
	return r < 0 ? err_code(e, r, "scan the memory of process %d", (int)k->pid) : 0;
}

static int scan_shmem(struct ckpt_dump *d, size_t n, struct err *e)
{
	int fd = fcntl(d->shmem_fd[n], F_DUPFD_CLOEXEC, 0);
	struct ckpt_source *s;
	int r;

	if (fd < 0)
		return err_sys(e, "copy shared memory");
	s = ckpt_copy_add_shared(&d->copy, CKPT_SHMEM_MM + n, fd);
	if (!s) {
		close(fd);
		return err_code(e, -ENOMEM, "copy shared memory");
	}
	r = ckpt_scan_shared(fd, d->tree.shmems[n]->size, &s->ranges);
	return r < 0 ? err_code(e, r, "look for data in shared memory") : 0;
}

int ckpt_pages_scan(struct ckpt_dump *d, struct err *e)
{
	int r = ckpt_huge_keep_shared(d, e);

	for (size_t i = 0; r == 0 && i < d->tree.shmem_count; i++)
		r = scan_shmem(d, i, e);
	if (r == 0)
		r = ckpt_sources_add(d, e);
	if (r == 0)
		r = ckpt_in_halves(d->tree.task_count, scan_task, d, e);
	return r == 0 ? ckpt_family_find(d, d->tree.shmem_count, &d->heritage, e) : r;
}

/* What is inherited comes first, and a record that says so. */
static int write_heritage(struct ckpt_dump *d, struct ckpt_writer *w, struct ckpt_oracle *oracle, struct err *e)
{
	Ckpt__Heritage h;
	int r;

	if (!d->heritage.count)
		return 0;
	d->heritage.w = w;
	d->heritage.progress = d->progress;
	d->heritage.oracle = oracle;
	ckpt__heritage__init(&h);
	r = ckpt_copy_run(&d->heritage, e);
	return r == 0 ? ckpt_write_message(w, CKPT_REC_HERITAGE, 0, &h, e) : r;
}

int ckpt_pages_dump(struct ckpt_dump *d, struct ckpt_writer *w, struct err *e)
{
	struct ckpt_oracle *oracle = ckpt_oracle_new();
	int r;

	d->copy.w = w;
	d->copy.progress = d->progress;
	d->copy.oracle = oracle;
	r = write_heritage(d, w, oracle, e);
	if (r == 0)
		r = ckpt_copy_run(&d->copy, e);
	if (r == 0 && oracle)
		r = ckpt_oracle_check(oracle, &d->tree, d->shmem_fd, e);
	ckpt_oracle_free(oracle);
	return r;
}
