/* SPDX-License-Identifier: GPL-2.0-or-later */

/*
 * The end of a pre-copy, while all is stopped: the pages that were written since they were sent, and which
 * pages are there at all. A page that was dropped (MADV_DONTNEED, munmap(2)) was not written to.
 */
#include "base/fd.h"
#include "base/macro.h"
#include "checkpoint/hugetlb.h"
#include "checkpoint/image.pb-c.h"
#include "checkpoint/oracle.h"
#include "checkpoint/precopy_internal.h"
#include "checkpoint/softdirty.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>

#define RUNS_MAX 200000 /* numbers in a record: 2 MB at the most */

/* Shared memory keeps the numbers it has been sent under. */
int ckpt_final_begin(struct ckpt_dump *d, struct err *e)
{
	for (size_t i = 0; i < d->precopy->shared_count; i++) {
		int fd = fcntl(d->precopy->shared[i].fd, F_DUPFD_CLOEXEC, 0), id;

		if (fd < 0)
			return err_sys(e, "keep shared memory");
		id = ckpt_shmem_add(d, fd, "", e);
		if (id < 0)
			return id;
	}
	return 0;
}

/* What is left of it when nobody has it any more: no size. */
static void forget_unused(struct ckpt_dump *d)
{
	struct ckpt_tree *t = &d->tree;

	for (size_t i = 0; i < d->precopy->shared_count; i++) {
		bool used = t->shmems[i]->memfd || t->shmems[i]->tmpfs;

		for (size_t k = 0; !used && k < t->ipc_count; k++)
			used = t->ipc[k]->shmem == i + 1;
		for (size_t k = 0; !used && k < t->task_count; k++)
			for (size_t n = 0; !used && n < t->tasks[k].mm->n_area; n++)
				used = t->tasks[k].mm->area[n]->shmem == i + 1;
		d->precopy->shared[i].unused = !used;
		if (!used)
			t->shmems[i]->size = t->shmems[i]->sysv = 0;
	}
}

int ckpt_final_number(struct ckpt_dump *d, struct err *e)
{
	d->precopy->finishing = true;
	forget_unused(d);
	for (size_t i = 0; i < d->tree.task_count; i++) {
		struct watched *w = ckpt_precopy_find(d->precopy, d->tree.tasks[i].leader, e);

		if (!w)
			return -ENOMEM;
		if (d->precopy->soft)
			ckpt_precopy_recognize(w);
		d->tree.tasks[i].process->mm = w->mm;
	}
	return 0;
}

static int scan_area(struct ckpt_dump *d, const struct watched *w, int pagemap, int mem, Ckpt__Area *a,
		     struct ckpt_ranges *ret)
{
	unsigned how = a->huge ? CKPT_SCAN_HUGE : a->flags & MAP_ANONYMOUS ? CKPT_SCAN_ANON : CKPT_SCAN_FILE;
	struct ckpt_ranges guards = { 0 }, huge = { 0 }, *to = a->huge ? &huge : ret;
	size_t before = to->count;
	int r = -EPERM;

	if (w->uffd >= 0 || w->marked)
		r = ckpt_scan_own(pagemap, a->start, a->end, how | (w->marked ? CKPT_SCAN_SOFT : CKPT_SCAN_WATCHED), to,
				  &guards);
	if (r == -EPERM) {
		ckpt_ranges_cut(to, before, a->start);
		guards.count = 0;
		r = ckpt_scan_own(pagemap, a->start, a->end, how | CKPT_SCAN_ANEW, to, &guards);
	}
	if (r == 0 && a->huge)
		r = ckpt_huge_mistrust(mem, a, &huge, ret);
	if (r == 0)
		r = ckpt_guards_keep(d, a, &guards);
	if (r == 0)
		r = ckpt_huge_keep(d, pagemap, a);
	ckpt_ranges_done(&huge);
	ckpt_ranges_done(&guards);
	return r;
}

static bool is_file(const Ckpt__Area *a)
{
	return !a->huge && !(a->flags & (MAP_ANONYMOUS | MAP_SHARED));
}

/*
 * Areas of files that touch, as each library has five, are looked at by one call. False, and nothing is found, where they
 * are not all watched or have guards: then each is by itself.
 */
static bool scan_files(const struct watched *w, int pagemap, Ckpt__Area *const *a, size_t count, struct ckpt_ranges *ret)
{
	uint64_t start = a[0]->start, end = a[count - 1]->end;
	struct ckpt_ranges guards = { 0 };
	size_t before = ret->count;
	bool good = count > 1 && w->uffd >= 0 && !w->marked &&
		    ckpt_scan_own(pagemap, start, end, CKPT_SCAN_FILE | CKPT_SCAN_WATCHED, ret, &guards) == 0 && !guards.count;

	if (!good)
		ckpt_ranges_cut(ret, before, start);
	ckpt_ranges_done(&guards);
	return good;
}

/* How many from this one on. */
static size_t count_files(Ckpt__Area *const *a, size_t count)
{
	size_t n = 0;

	while (n < count && is_file(a[n]) && (n == 0 || a[n - 1]->end == a[n]->start))
		n++;
	return n;
}

/* In turn: pages that are not there, and pages that are. */
static int write_populated(struct ckpt_writer *w, const Ckpt__Mm *mm, uint32_t id,
			   const struct ckpt_ranges *l, struct err *e)
{
	uint64_t *run = malloc((2 * l->count + 2) * sizeof(*run)), first = 0;
	uint64_t end = mm->n_area ? mm->area[mm->n_area - 1]->end / CKPT_PAGE : 0;
	size_t i = 0;
	int r = run ? 0 : err_code(e, -ENOMEM, "copy memory");

	while (r == 0 && first < end) {
		Ckpt__Populated m;
		uint64_t at = first;

		ckpt__populated__init(&m);
		m.mm = id;
		m.first = first;
		m.run = run;
		for (; i < l->count && m.n_run < RUNS_MAX; i++) {
			uint64_t start = l->r[i].start / CKPT_PAGE, stop = l->r[i].end / CKPT_PAGE;

			if (m.n_run && start == at) {
				run[m.n_run - 1] += stop - start;
			} else {
				run[m.n_run++] = start - at;
				run[m.n_run++] = stop - start;
			}
			at = stop;
		}
		m.end = first = i < l->count ? at : end;
		r = ckpt_write_message(w, CKPT_REC_POPULATED, id, &m, e);
	}
	free(run);
	return r;
}

static void keep_written(struct ckpt_ranges *l)
{
	size_t n = 0;

	for (size_t i = 0; i < l->count; i++)
		if (l->r[i].written)
			l->r[n++] = l->r[i];
	l->count = n;
}

static int scan_task(void *arg, size_t n, struct err *e)
{
	struct ckpt_dump *d = arg;
	const struct ckpt_task *k = &d->tree.tasks[n];
	cleanup_close int pagemap = ckpt_proc_open(k->pid, "pagemap"), mem = ckpt_proc_open(k->pid, "mem");
	struct ckpt_source *s = &d->copy.sources[n];
	struct watched *w = d->precopy->procs[k->process->mm - 1]; /* as ckpt_final_number() has it */
	int r = 0;

	if (pagemap < 0 || mem < 0)
		return err_code(e, pagemap < 0 ? pagemap : mem, "open the memory of process %d", (int)k->pid);
	w->marked = d->precopy->soft && ckpt_soft_holds(pagemap, w->canary);
	for (size_t i = 0; r == 0 && i < k->mm->n_area; i++) {
		size_t files = count_files(&k->mm->area[i], k->mm->n_area - i);

		if (files > 1 && scan_files(w, pagemap, &k->mm->area[i], files, &s->ranges))
			i += files - 1;
		else
			r = k->mm->area[i]->flags & MAP_SHARED
				? ckpt_guards_shared(d, pagemap, k->mm->area[i])
				: scan_area(d, w, pagemap, mem, k->mm->area[i], &s->ranges);
	}
	return r < 0 ? err_code(e, r, "scan the memory of process %d", (int)k->pid) : 0;
}

int ckpt_final_scan(struct ckpt_dump *d, struct err *e)
{
	int r = ckpt_huge_keep_shared(d, e);

	if (r == 0)
		r = ckpt_sources_add(d, e);
	if (r == 0)
		r = ckpt_in_halves(d->tree.task_count, scan_task, d, e);
	return r == 0 ? ckpt_final_heirs(d, e) : r;
}

/* Memory that was not met in a round (only held by an fd, or made since). */
static int meet_shared(struct ckpt_dump *d)
{
	struct ckpt_precopy *p = d->precopy;

	for (size_t i = p->shared_count; i < d->tree.shmem_count; i++) {
		int fd = fcntl(d->shmem_fd[i], F_DUPFD_CLOEXEC, 0);

		if (fd < 0 || ckpt_shared_take(p, fd) < 0)
			return -ENOMEM;
	}
	return 0;
}

int ckpt_final_pages(struct ckpt_dump *d, struct ckpt_writer *w, struct err *e)
{
	struct ckpt_precopy *p = d->precopy;
	uint64_t shared;
	int r = 0;

	d->copy.w = w;
	d->copy.progress = d->progress;
	d->copy.oracle = p->oracle;
	/* As the tree's processes. */
	for (size_t i = 0; r == 0 && i < d->copy.count; i++) {
		struct ckpt_source *s = &d->copy.sources[i];

		r = write_populated(w, d->tree.tasks[i].mm, (uint32_t)s->mm, &s->ranges, e);
		keep_written(&s->ranges);
	}
	if (r == 0 && (ckpt_steady_verify(d) < 0 || meet_shared(d) < 0))
		r = err_code(e, -ENOMEM, "copy shared memory");
	if (r == 0)
		r = ckpt_shared_send(p, &shared, e);
	if (r == 0)
		r = ckpt_copy_run(&d->copy, e);
	if (r == 0 && p->oracle)
		r = ckpt_oracle_check(p->oracle, &d->tree, d->shmem_fd, e);
	return r;
}
