/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Where in the processes shared memory is. */
#include "base/array.h"
#include "base/macro.h"
#include "base/proc.h"
#include "checkpoint/freeze.h"
#include "checkpoint/image.pb-c.h"
#include "checkpoint/precopy_internal.h"

#include <errno.h>
#include <sys/sysmacros.h>

int ckpt_mappings_add(struct mappings *l, const struct mapping *m)
{
	if (array_grow(&l->m, l->count, &l->room, 16) < 0)
		return -ENOMEM;
	l->m[l->count++] = *m;
	return 0;
}

static int by_place(const void *a, const void *b)
{
	const struct mapping *x = a, *y = b;

	if (x->pid != y->pid)
		return x->pid < y->pid ? -1 : 1;
	return x->start < y->start ? -1 : x->start > y->start;
}

void ckpt_mappings_join(struct mappings *l)
{
	size_t n = 0;

	if (l->count)
		qsort(l->m, l->count, sizeof(*l->m), by_place);
	for (size_t i = 0; i < l->count; i++) {
		struct mapping *last = n ? &l->m[n - 1] : NULL, *m = &l->m[i];

		if (last && last->pid == m->pid && last->end == m->start &&
		    last->offset + (last->end - last->start) == m->offset) {
			last->end = m->end;
			last->writable |= m->writable;
			last->joined = true;
		} else {
			l->m[n++] = *m;
		}
	}
	l->count = n;
}

bool ckpt_mappings_are_same(const struct mappings *a, const struct mappings *b)
{
	if (a->count != b->count)
		return false;
	for (size_t i = 0; i < a->count; i++)
		if (by_place(&a->m[i], &b->m[i]) != 0 || a->m[i].end != b->m[i].end ||
		    a->m[i].offset != b->m[i].offset)
			return false;
	return true;
}

static struct shared *find(const struct ckpt_precopy *p, const struct ckpt_map *m)
{
	for (size_t i = 0; i < p->shared_count; i++) {
		struct shared *s = &p->shared[i];

		if (s->candidate && s->ino == m->ino && s->dev == makedev(m->major, m->minor) &&
		    s->sysv == ckpt_map_is_sysv(m))
			return s;
	}
	return NULL;
}

/* 1: the thread has memory. */
static int find_by(struct ckpt_precopy *p, pid_t tid)
{
	cleanup_fclose FILE *f = ckpt_maps_open(tid);
	bool any = false;
	struct ckpt_map m;
	int r = 0, more;

	if (!f)
		return errno == ESRCH ? 0 : -errno;
	while (r == 0 && (more = ckpt_maps_next(f, &m)) != 0) {
		struct shared *s = more > 0 && m.perms[3] == 's' ? find(p, &m) : NULL;

		if (more < 0)
			return more;
		any = true;
		if (s)
			r = ckpt_mappings_add(&s->seen, &(struct mapping){
				.pid = tid, .start = m.start, .end = m.end, .offset = m.offset,
				.writable = m.perms[1] == 'w',
			});
	}
	return r < 0 ? r : any;
}

static int note_gone(struct ckpt_precopy *p, pid_t pid)
{
	pid_t *l = reallocarray(p->gone, p->gone_count + 1, sizeof(*l));

	if (!l)
		return -ENOMEM;
	p->gone = l;
	l[p->gone_count++] = pid;
	return 0;
}

/*
 * Where the first thread has ended another tells of the process. Nothing is watched by the number of such a thread
 * (precopy_steady.c): what the process has is never steady. A thread that is just ending has no memory any more and is
 * no zombie yet: whether another has is not known then.
 */
static int find_in(struct ckpt_precopy *p, pid_t pid)
{
	int r = find_by(p, pid);
	pid_t tid;

	if (r == -ENOENT)
		return note_gone(p, pid);
	if (r != 0)
		return r > 0 ? 0 : r;
	tid = proc_live_tid(pid);
	if (tid == pid)
		return proc_is_zombie(pid) ? note_gone(p, pid) : -EAGAIN;
	r = find_by(p, tid);
	return r > 0 ? 0 : r < 0 ? r : -EAGAIN;
}

int ckpt_mappings_find(struct ckpt_precopy *p)
{
	cleanup_free pid_t *pids = NULL;
	struct err ignored;
	size_t n = 0;
	int r = ckpt_list(p->cgroup, &pids, &n, &ignored);

	for (size_t i = 0; i < p->shared_count; i++)
		p->shared[i].seen.count = 0;
	p->gone_count = 0;
	for (size_t i = 0; r == 0 && i < n; i++)
		r = find_in(p, pids[i]);
	for (size_t i = 0; i < p->shared_count; i++)
		ckpt_mappings_join(&p->shared[i].seen);
	return r;
}

int ckpt_mappings_collected(struct ckpt_precopy *p, const struct ckpt_tree *t)
{
	int r = 0;

	for (size_t i = 0; i < p->shared_count; i++)
		p->shared[i].seen.count = 0;
	for (size_t i = 0; i < t->task_count; i++) {
		const Ckpt__Mm *mm = t->tasks[i].mm;

		for (size_t k = 0; r == 0 && k < mm->n_area; k++) {
			const Ckpt__Area *a = mm->area[k];

			if (a->shmem && a->shmem <= p->shared_count && p->shared[a->shmem - 1].marked)
				r = ckpt_mappings_add(&p->shared[a->shmem - 1].seen, &(struct mapping){
					.pid = t->tasks[i].pid, .start = a->start, .end = a->end, .offset = a->offset,
				});
		}
	}
	for (size_t i = 0; i < p->shared_count; i++)
		ckpt_mappings_join(&p->shared[i].seen);
	return r;
}
