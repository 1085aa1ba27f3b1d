/* SPDX-License-Identifier: GPL-2.0-or-later */

/*
 * The processes in a round: which are looked at, and which pages of theirs were written since the last one.
 *
 * A page is protected first and read afterwards, so that a write after it was read is seen by the next
 * round. Everything that was not watched since its last protection counts as written: memory that was
 * mapped, moved or inherited since, and all of a process that has executed another program, as its
 * memory is no longer registered. So it does no harm to know a process by its number alone.
 */
#include "checkpoint/precopy_internal.h"

#include "base/fd.h"
#include "base/macro.h"
#include "base/proc.h"
#include "checkpoint/iced.h"
#include "checkpoint/softdirty.h"
#include "checkpoint/watch.h"

#include <errno.h>
#include <linux/kcmp.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#define FREEZE_TIMEOUT_US 10000000

static struct watched *find(struct ckpt_precopy *p, pid_t pid)
{
	for (size_t n = 0; n < p->count; n++) {
		size_t i = (p->last_found + n) % p->count;

		if (p->procs[i]->pid == pid) {
			p->last_found = i;
			return p->procs[i];
		}
	}
	return NULL;
}

struct watched *ckpt_precopy_find(struct ckpt_precopy *p, pid_t pid, struct err *e)
{
	struct watched *w = find(p, pid), **grown;

	if (w)
		return w;
	w = calloc(1, sizeof(*w));
	grown = w ? reallocarray(p->procs, p->count + 1, sizeof(struct watched *)) : NULL;
	if (!grown) {
		free(w);
		err_code(e, -ENOMEM, "watch process %d", (int)pid);
		return NULL;
	}
	*w = (struct watched){
		.pid = pid, .tid = proc_live_tid(pid), .mm = (uint32_t)p->count + 1, .uffd = -EBADF, .moves = -EBADF,
	};
	p->procs = grown;
	p->procs[p->count++] = w;
	ckpt_warm(pid);
	return w;
}

/* Not watched, or by the userfaultfd of a program that this process was before: a new one tells. */
static int renew(struct watched *w, struct area *a, struct err *e)
{
	int fresh = ckpt_watch_open(w->pid, false, e), r;

	w->renewed = true;
	if (fresh < 0)
		return fresh;
	r = ckpt_watch_range(fresh, a->start, a->end);
	if (r == 0 || w->uffd < 0) {
		fd_close(&w->uffd);
		w->uffd = fresh;
	} else {
		close(fresh);
	}
	a->hopeless = r < 0;
	return 0;
}

static int scanned(const struct watched *w, int r, struct err *e)
{
	return r < 0 ? err_code(e, r, "scan the memory of process %d", (int)w->pid) : 0;
}

/* Everything is stopped. */
static int scan_soft(const struct watched *w, int pagemap, const struct area *a, struct ckpt_ranges *ret, struct err *e)
{
	unsigned how = w->marked ? CKPT_SCAN_WRITTEN | CKPT_SCAN_SOFT : CKPT_SCAN_ANEW;

	return scanned(w, ckpt_scan_own(pagemap, a->start, a->end, how, ret, NULL), e);
}

static int scan_area(struct watched *w, int pagemap, struct area *a, struct ckpt_ranges *ret, struct err *e)
{
	unsigned how = CKPT_SCAN_PROTECT | CKPT_SCAN_WATCHED | area_kind(a);
	size_t before = ret->count;
	int r;

	/* Watched, but not by us: it shares, or shared, its memory with another process. */
	r = ckpt_scan_own(pagemap, a->start, a->end, how | (w->uffd >= 0 ? CKPT_SCAN_WRITTEN : CKPT_SCAN_ANEW), ret,
			  NULL);
	if (r != -EPERM)
		return scanned(w, r, e);
	/* All of it counts as written. */
	if (w->uffd >= 0 && ckpt_watch_range(w->uffd, a->start, a->end) == 0) {
		ckpt_ranges_cut(ret, before, a->start);
		r = ckpt_scan_own(pagemap, a->start, a->end, how | CKPT_SCAN_ANEW, ret, NULL);
	}
	if (r == -EPERM && !w->renewed) {
		r = renew(w, a, e);
		if (r < 0)
			return r;
		ckpt_ranges_cut(ret, before, a->start);
		r = ckpt_scan_own(pagemap, a->start, a->end, how | CKPT_SCAN_ANEW, ret, NULL);
	}
	if (r != -EPERM)
		return scanned(w, r, e);
	/* It waits for the final stop. Marks of a part of it that is watched have been set by the attempts, so
	 * that all that is there is sent now. */
	a->hopeless = true;
	ckpt_ranges_cut(ret, before, a->start);
	return scanned(
		w, ckpt_scan_own(pagemap, a->start, a->end, CKPT_SCAN_ANEW | (how & CKPT_SCAN_HUGE), ret, NULL), e);
}

/* As ckpt_sources_add() tells. */
static bool has_family(const struct ckpt_precopy *p, const struct watched *w)
{
	for (size_t i = 0; i < p->count; i++)
		if (p->procs[i] != w && p->procs[i]->stack == w->stack)
			return true;
	return false;
}

void ckpt_precopy_recognize(struct watched *w)
{
	uint64_t field[53] = { 0 };

	if (ckpt_stat_read(w->tid, field) < 0)
		field[4] = field[22] = field[28] = 0;
	w->ppid = (pid_t)field[4];
	w->stack = field[28];
	if (w->born != field[22])
		w->canary = 0;
	w->born = field[22];
}

/* All are met before the first is read. */
static int meet(struct ckpt_precopy *p, const pid_t *pids, size_t n, struct err *e)
{
	for (size_t i = 0; i < n; i++) {
		struct watched *w = pids[i] ? ckpt_precopy_find(p, pids[i], e) : NULL;

		if (!pids[i])
			continue;
		if (!w)
			return -ENOMEM;
		ckpt_precopy_recognize(w);
	}
	return 0;
}

static int scan(const struct ckpt_precopy *p, struct watched *w, int pagemap, struct ckpt_ranges *ret, struct err *e)
{
	int r = 0;

	w->marked = p->soft && ckpt_soft_holds(pagemap, w->canary);
	w->canary = 0;
	for (size_t i = 0; r == 0 && i < w->areas.count; i++) {
		struct area *a = &w->areas.a[i];

		if (p->soft && !w->canary && !(a->prot & PROT_WRITE))
			w->canary = ckpt_soft_choose(pagemap, a->start, a->end);
		if (!a->hopeless)
			r = p->soft ? scan_soft(w, pagemap, a, ret, e) : scan_area(w, pagemap, a, ret, e);
	}
	if (r < 0 || !p->soft)
		return r;
	r = ckpt_soft_clear(w->tid, w->canary);
	return r < 0 ? err_code(e, r, "take the marks off the memory of process %d", (int)w->pid) : 0;
}

/* Who is about to be a zombie has no memory any more (vsize of proc_pid_stat(5)). */
static bool has_ended(pid_t pid)
{
	uint64_t field[53];

	return ckpt_stat_read(pid, field) < 0 || field[23] == 0;
}

/* 1: it has ended meanwhile. */
static int visit(struct ckpt_precopy *p, struct watched *w, struct ckpt_copy *c, struct err *e)
{
	cleanup_close int pagemap = -EBADF;
	struct ckpt_source *s;
	int r;

	w->tid = proc_live_tid(w->pid);
	pagemap = ckpt_proc_open(w->tid, "pagemap");
	/* A process that was frozen from inside runs nothing for us, and writes nothing. */
	w->renewed = ckpt_is_iced(p->cgroup, w->pid);
	if (pagemap == -EMFILE || pagemap == -ENFILE)
		return err_code(e, pagemap, "open the memory of process %d", (int)w->pid);
	if (pagemap < 0)
		return 1;
	r = ckpt_layout_read(p, w, e);
	if (r < 0)
		return r;
	s = ckpt_copy_add(c, w->mm, w->tid);
	if (!s)
		return err_code(e, -ENOMEM, "copy memory");
	s->family = w->family = has_family(p, w);
	w->direct = ckpt_direct_find(w->tid);
	r = scan(p, w, pagemap, &s->ranges, e);
	if (r == 0)
		return 0;
	/* Or it becomes another program just now: without its userfaultfd all of it is sent the next time. */
	if (has_ended(w->tid) || r == -ESRCH || r == -EINVAL || r == -EFAULT) {
		s->ranges.count = 0;
		w->canary = 0;
		return 1;
	}
	return r;
}

struct numbers {
	pid_t pid, tid; /* as in struct watched */
};

/* kcmp(2) orders address spaces. */
static int by_mm(const void *a, const void *b)
{
	const struct numbers *x = a, *y = b;
	long n = syscall(SYS_kcmp, x->tid, y->tid, KCMP_VM, 0, 0);

	return n == 1 ? -1 : n == 2 ? 1 : 0;
}

/*
 * A child of vfork(2) runs in its parent's memory, whose marks it would take away: of those that share
 * theirs only one is visited, the first that was met. The others' numbers become 0.
 */
static int leave_out_shared(struct ckpt_precopy *p, pid_t *pids, size_t n, struct err *e)
{
	cleanup_free struct numbers *u = calloc(n + 1, sizeof(*u));

	if (!u)
		return err_code(e, -ENOMEM, "watch processes");
	for (size_t i = 0; i < n; i++)
		u[i] = (struct numbers){ pids[i], proc_live_tid(pids[i]) };
	qsort(u, n, sizeof(*u), by_mm);
	for (size_t i = 1; i < n; i++) {
		struct watched *a, *b;

		if (syscall(SYS_kcmp, u[i - 1].tid, u[i].tid, KCMP_VM, 0, 0) != 0)
			continue;
		a = find(p, u[i - 1].pid);
		b = find(p, u[i].pid);
		if (a && (!b || a->mm < b->mm))
			u[i] = u[i - 1];
		u[i - 1].pid = 0;
	}
	for (size_t i = 0; i < n; i++)
		pids[i] = u[i].pid;
	return 0;
}

static int visit_all(struct ckpt_precopy *p, struct ckpt_copy *c, struct err *e)
{
	cleanup_free pid_t *pids = NULL;
	size_t n = 0;
	int r = ckpt_list(p->cgroup, &pids, &n, e);

	if (r < 0)
		return r;
	for (size_t i = 0; i < p->count; i++)
		p->procs[i]->there = false;
	r = leave_out_shared(p, pids, n, e);
	if (r == 0)
		r = meet(p, pids, n, e);
	if (r < 0)
		return r;
	for (size_t i = 0; i < n; i++) {
		struct watched *w = pids[i] ? ckpt_precopy_find(p, pids[i], e) : NULL;

		if (!pids[i])
			continue;
		r = w ? visit(p, w, c, e) : -ENOMEM;
		if (r < 0)
			return r;
		w->there = r == 0;
	}
	for (size_t i = 0; i < p->count; i++)
		if (!p->procs[i]->there) {
			fd_close(&p->procs[i]->uffd);
			ckpt_moves_close(p->moves, &p->procs[i]->moves);
		}
	return 0;
}

/* Between the look at a soft-dirty mark and its removal nothing may be written. */
static int visit_stopped(struct ckpt_precopy *p, struct ckpt_copy *c, struct err *e)
{
	struct err ignored;
	int r = cgroup_freeze(p->cgroup, FREEZE_TIMEOUT_US, e);

	if (r == 0)
		r = visit_all(p, c, e);
	return cgroup_thaw(p->cgroup, r < 0 ? &ignored : e) < 0 && r == 0 ? -EIO : r;
}

int ckpt_precopy_visit(struct ckpt_precopy *p, struct ckpt_copy *c, struct err *e)
{
	return p->soft ? visit_stopped(p, c, e) : visit_all(p, c, e);
}

uint64_t ckpt_precopy_dirty(const struct ckpt_precopy *p)
{
	uint64_t pages = ckpt_steady_dirty(p);

	for (size_t i = 0; i < p->count; i++) {
		const struct watched *w = p->procs[i];
		cleanup_close int pagemap = w->there ? ckpt_proc_open(w->tid, "pagemap") : -EBADF;
		struct ckpt_ranges l = { 0 };

		for (size_t k = 0; pagemap >= 0 && k < w->areas.count; k++) {
			const struct area *a = &w->areas.a[k];
			unsigned how = CKPT_SCAN_WRITTEN | (p->soft ? CKPT_SCAN_SOFT : 0) |
				       (area_kind(a) & ~(unsigned)CKPT_SCAN_FILE);

			if (p->soft ||
			    ckpt_scan_own(pagemap, a->start, a->end, how | CKPT_SCAN_WATCHED, &l, NULL) == -EPERM)
				ckpt_scan_own(pagemap, a->start, a->end, how, &l, NULL);
		}
		for (size_t k = 0; k < l.count; k++)
			pages += (l.r[k].end - l.r[k].start) / CKPT_PAGE;
		ckpt_ranges_done(&l);
	}
	return pages;
}
