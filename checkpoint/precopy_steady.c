/* SPDX-License-Identifier: GPL-2.0-or-later */

/*
 * Shared memory whose changes marks tell, as they do for private memory, so that neither a round nor the pause reads all
 * of it: a database's buffers. Somebody who maps it where no marks are, writes and is gone between two looks would leave
 * no trace, so this is only for what nobody can get hold of unseen (fdless.h): a memfd can be written to, and System V
 * memory attached, by anybody. Anonymous memory gets into a process by
 *
 *   fork(2)             the kernel records who makes processes (parents.h): it matters of those who have the memory. Where there
 *                       are no such records each process takes a number in the VPS's pid namespace; we take one at each
 *                       look, and they must be next to each other
 *   mremap(2)           makes another mapping of it, or moves one: the userfaultfd tells (moves.h)
 *   remap_file_pages(2) the new mapping is not watched, which the scan tells
 *
 * and the page tables of all who have it must be marked from end to end: what has no mark there was written to, or
 * was and is gone, and is read. MADV_REMOVE, which makes holes and leaves the marks, is told of, too. Whoever ends, unmaps or executes another program is missing at the next look. Whatever is not
 * as it was means that the memory is read whole once more, and its hashes tell what has changed.
 *
 * Without records a VPS that gives out the numbers of its processes itself (clone3(2) with set_tid, ns_last_pid) could hide
 * one.
 */
#include "base/fd.h"
#include "base/macro.h"
#include "checkpoint/fdless.h"
#include "checkpoint/hugetlb.h"
#include "checkpoint/iced.h"
#include "checkpoint/image.pb-c.h"
#include "checkpoint/precopy_internal.h"
#include "checkpoint/watch.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>

#define LEAST MIB(8)     /* less is read as fast as it is looked at */
#define TIMES_MAX 32u    /* so often may it be mapped: each mapping's marks are looked at, and take a page table */

static struct watched *find(const struct ckpt_precopy *p, pid_t pid)
{
	for (size_t i = 0; i < p->count; i++)
		if (p->procs[i]->pid == pid)
			return p->procs[i]->there ? p->procs[i] : NULL;
	return NULL;
}

static bool is_candidate(const struct shared *s)
{
	struct stat st;

	return !s->hopeless && !s->final && fstat(s->fd, &st) == 0 && (uint64_t)st.st_blocks * 512 >= LEAST &&
	       ckpt_reach_is_known(s) && !ckpt_huge_of(s->fd);
}

/* Who has the host's user namespace may open what it likes. */
static bool is_confined(pid_t init)
{
	char path[64];
	struct stat its, ours;

	snprintf(path, sizeof(path), "/proc/%d/ns/user", (int)init);
	return stat(path, &its) == 0 && stat("/proc/self/ns/user", &ours) == 0 &&
	       (its.st_ino != ours.st_ino || its.st_dev != ours.st_dev);
}

/* What can never be written to cannot be watched (UFFDIO_REGISTER wants VM_MAYWRITE), nor need it be. */
static int watch_by(int uffd, struct mapping *m)
{
	int r = ckpt_watch_range(uffd, m->start, m->end);

	m->for_reading = r == -EPERM && !m->writable && !m->joined;
	return m->for_reading ? 0 : r;
}

/* With a new userfaultfd where it has none, or one of a program that it was before. */
static int watch(struct ckpt_precopy *p, struct mapping *m)
{
	struct watched *w = find(p, m->pid);
	struct err ignored;
	int fresh, r;

	if (!w)
		return -ESRCH; /* it was not visited yet */
	if (w->moves >= 0 && watch_by(w->moves, m) == 0)
		return 0;
	if (!p->moves)
		p->moves = ckpt_moves_new();
	if (!p->moves || ckpt_is_iced(p->cgroup, m->pid))
		return -EPERM;
	fresh = ckpt_watch_open(m->pid, true, &ignored);
	if (fresh < 0)
		return fresh;
	r = watch_by(fresh, m);
	if (r == 0)
		r = ckpt_moves_add(p->moves, fresh, &w->moved);
	if (r < 0) {
		close(fresh);
		return r;
	}
	ckpt_moves_close(p->moves, &w->moves);
	w->moves = fresh;
	return 0;
}

/* A mapping without marks does not tell what is in its place since, when that was in doubt. */
static bool is_as_watched(const struct shared *s)
{
	for (size_t i = 0; !s->steady && i < s->watched.count; i++)
		if (s->watched.m[i].for_reading)
			return false;
	return ckpt_mappings_are_same(&s->seen, &s->watched);
}

/* 1: it was not, as it was seen, and now is. */
static int watch_all(struct ckpt_precopy *p, struct shared *s)
{
	struct stat st;
	uint64_t size = 0;
	int r = 0;

	if (is_as_watched(s))
		return 0;
	s->steady = false;
	s->watched.count = 0;
	for (size_t i = 0; i < s->seen.count; i++)
		size += s->seen.m[i].end - s->seen.m[i].start;
	if (fstat(s->fd, &st) < 0 || size > TIMES_MAX * 512 * (uint64_t)st.st_blocks)
		return 0;
	for (size_t i = 0; r == 0 && i < s->seen.count; i++)
		r = watch(p, &s->seen.m[i]);
	s->hopeless = r < 0 && r != -ESRCH && r != -EAGAIN;
	for (size_t i = 0; r == 0 && i < s->seen.count; i++)
		r = ckpt_mappings_add(&s->watched, &s->seen.m[i]);
	return r < 0 ? 0 : 1;
}

/* What has lost its mark there, as it lies in the memory. Guards belong to a mapping: they are left alone. */
static int scan(const struct mapping *m, bool protect, uint64_t size, struct ckpt_ranges *ret)
{
	cleanup_close int pagemap = m->for_reading ? -EBADF : ckpt_proc_open(m->pid, "pagemap");
	struct ckpt_ranges l = { 0 }, guards = { 0 };
	int r = pagemap < 0 ? pagemap : ckpt_scan_unmarked(pagemap, m->start, m->end, protect, &l);

	if (m->for_reading)
		return 0;

	if (r == 0 && protect)
		r = ckpt_scan_guards(pagemap, m->start, m->end, &guards);
	if (r == 0 && guards.count)
		r = -EBUSY;
	for (size_t i = 0; r == 0 && i < l.count; i++) {
		uint64_t start = l.r[i].start - m->start + m->offset, end = l.r[i].end - m->start + m->offset;

		end = end < size ? end : size;
		r = start < end ? ckpt_ranges_add(ret, start, end, false) : 0;
	}
	ckpt_ranges_done(&guards);
	ckpt_ranges_done(&l);
	return r;
}

static int scan_all(const struct shared *s, bool protect, struct ckpt_ranges *ret)
{
	struct stat st;
	int r = fstat(s->fd, &st) < 0 ? -errno : 0;

	ret->count = 0;
	for (size_t i = 0; r == 0 && i < s->watched.count; i++)
		r = scan(&s->watched.m[i], protect, ((uint64_t)st.st_size + CKPT_PAGE - 1) & ~(uint64_t)(CKPT_PAGE - 1),
			 ret);
	return r == 0 ? ckpt_ranges_unite(ret) : r;
}

/* The visits have told of it, before there were marks. */
static bool has_direct(const struct ckpt_precopy *p, const struct shared *s)
{
	for (size_t i = 0; s->by_times && i < p->count; i++)
		if (p->procs[i]->there && p->procs[i]->direct)
			return true;
	for (size_t i = 0; i < s->watched.count; i++) {
		const struct watched *w = find(p, s->watched.m[i].pid);

		if (!w || w->direct)
			return true;
	}
	return p->rings;
}

/* Now that there are: what was begun since the visits has pages that it writes to and leaves no mark. */
static bool has_new_direct(const struct ckpt_precopy *p, const struct shared *s)
{
	for (size_t i = 0; s->by_times && i < p->count; i++)
		if (p->procs[i]->there && (ckpt_direct_find(p->procs[i]->tid) || ckpt_layout_has_rings(p->procs[i]->tid)))
			return true;
	for (size_t i = 0; i < s->watched.count; i++) {
		pid_t pid = s->watched.m[i].pid;

		if ((i == 0 || s->watched.m[i - 1].pid != pid) && (ckpt_direct_find(pid) || ckpt_layout_has_rings(pid)))
			return true;
	}
	return false;
}

/* All of it gets marks, before it is read. */
static int mark(const struct ckpt_precopy *p, struct shared *s)
{
	bool known = s->steady;
	int r;

	s->steady = (s->by_times ? s->noted : s->watched.count > 0) && !s->bore && ckpt_mappings_are_same(&s->seen, &s->watched) && !has_direct(p, s);
	if (!s->steady)
		return 0;
	r = scan_all(s, true, &s->written);
	s->steady = s->was_steady = r == 0 && !has_new_direct(p, s);
	s->marked = s->steady && known;
	s->hopeless = r == -EBUSY;
	if (r < 0)
		s->watched.count = 0;
	return r == -ENOMEM ? r : 0;
}

static bool has_candidates(const struct ckpt_precopy *p)
{
	bool any = false;

	for (size_t i = 0; i < p->shared_count; i++) {
		struct shared *s = &p->shared[i];

		ckpt_reach_look(s);
		s->marked = false;
		s->candidate = is_candidate(s);
		s->steady = s->steady && s->candidate;
		s->was_steady = false;
		ckpt_reach_note(s);
		any = any || s->candidate;
	}
	return any && !p->soft && is_confined(p->init) && ckpt_scan_marks_tell();
}

/* Who was born before they were all watched is seen by a second look. */
static int find_and_watch(struct ckpt_precopy *p)
{
	bool more = false;
	int r;

	ckpt_doubts_look(p);
	r = ckpt_mappings_find(p);
	for (size_t i = 0; r == 0 && i < p->shared_count; i++)
		if (p->shared[i].candidate)
			more = watch_all(p, &p->shared[i]) > 0 || more;
	if (r == 0 && more) {
		ckpt_doubts_births(p);
		r = ckpt_mappings_find(p);
	}
	ckpt_doubts_found(p);
	return r;
}

int ckpt_steady_round(struct ckpt_precopy *p, struct err *e)
{
	int r = 0;

	if (!has_candidates(p))
		return 0;
	ckpt_doubts_begin(p);
	if (find_and_watch(p) < 0) { /* it was not seen where it is: it is read */
		for (size_t i = 0; i < p->shared_count; i++)
			p->shared[i].steady = false;
		return 0;
	}
	for (size_t i = 0; r == 0 && i < p->shared_count; i++)
		if (p->shared[i].candidate)
			r = mark(p, &p->shared[i]);
	return r < 0 ? err_code(e, r, "watch shared memory") : 0;
}

int ckpt_steady_last(struct ckpt_precopy *p)
{
	for (size_t i = 0; i < p->shared_count; i++) {
		struct shared *s = &p->shared[i];
		int r;

		s->marked = false;
		if (!s->steady)
			continue;
		r = scan_all(s, false, &s->written);
		if (r == -ENOMEM)
			return r;
		s->marked = r == 0;
	}
	return 0;
}

/* Who has it so may have mapped it, and the time of its access tells nothing. */
static bool has_quiet_user(const struct ckpt_tree *t, size_t shmem)
{
	for (size_t i = 0; i < t->file_count; i++)
		if (t->files[i]->kind == CKPT_FILE_MEMFD && t->files[i]->object == shmem && (t->files[i]->flags & O_NOATIME))
			return true;
	return false;
}

int ckpt_steady_verify(struct ckpt_dump *d)
{
	struct ckpt_precopy *p = d->precopy;
	bool any = false;
	int r;

	for (size_t i = 0; i < p->shared_count; i++)
		any = any || p->shared[i].marked;
	r = any ? ckpt_mappings_collected(p, &d->tree) : 0;
	for (size_t i = 0; r == 0 && i < p->shared_count; i++) {
		struct shared *s = &p->shared[i];

		if (!s->marked)
			continue;
		s->last = s->last && ckpt_mappings_are_same(&s->seen, &s->watched) &&
			  !(s->by_times && has_quiet_user(&d->tree, i + 1));
		s->steady = s->steady && s->last;
		s->marked = false;
	}
	return r;
}

uint64_t ckpt_steady_dirty(const struct ckpt_precopy *p)
{
	struct ckpt_ranges l = { 0 };
	uint64_t pages = 0;

	for (size_t i = 0; i < p->shared_count; i++) {
		if (!p->shared[i].steady || scan_all(&p->shared[i], false, &l) < 0)
			continue;
		for (size_t k = 0; k < l.count; k++)
			pages += (l.r[k].end - l.r[k].start) / CKPT_PAGE;
	}
	ckpt_ranges_done(&l);
	return pages;
}

void ckpt_steady_done(struct shared *s)
{
	ckpt_ranges_done(&s->written);
	free(s->seen.m);
	free(s->watched.m);
}
