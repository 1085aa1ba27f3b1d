/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Memory that is there before its process is known: mapped as it is told of, filled as pages come. */
#include "base/fd.h"
#include "base/macro.h"
#include "checkpoint/family.h"
#include "checkpoint/hugetlb.h"
#include "checkpoint/image.pb-c.h"
#include "checkpoint/restore_early.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#define FILLED_MIN 4096 /* pieces; as many as are put in order in a millisecond */

int early_keep_loose(struct early_set *s, uint64_t mm, uint64_t at, uint64_t end, const uint8_t *data)
{
	int n = 0;

	pthread_mutex_lock(&s->lock);
	for (; n == 0 && at < end; at += CKPT_PAGE) {
		n = ckpt_loose_put(s->loose, mm, at / CKPT_PAGE, data);
		data = data ? data + CKPT_PAGE : NULL;
	}
	pthread_mutex_unlock(&s->lock);
	return n;
}

/* What is there becomes loose: its mapping goes. */
static int salvage(struct restore *r, struct early *w, uint64_t start, uint64_t end)
{
	struct ckpt_ranges own = { 0 };
	uint8_t page[CKPT_PAGE];
	cleanup_close int pagemap = ckpt_proc_open(w->task.pid, "pagemap");
	int n = pagemap < 0 ? pagemap : ckpt_scan_own(pagemap, start, end, CKPT_SCAN_ANON, &own, NULL);
	for (size_t i = 0; n == 0 && i < own.count; i++)
		for (uint64_t at = own.r[i].start; n == 0 && at < own.r[i].end; at += CKPT_PAGE) {
			n = ckpt_mem_read(w->task.pid, at, page, CKPT_PAGE);
			if (n == 0)
				n = early_keep_loose(r->early, w->mm, at, at + CKPT_PAGE, page);
		}
	ckpt_ranges_done(&own);
	return n;
}

int early_salvage(struct restore *r, struct early *w, struct err *e)
{
	int n = 0;

	for (size_t i = 0; n == 0 && i < w->mapped.count; i++)
		n = salvage(r, w, w->mapped.r[i].start, w->mapped.r[i].end);
	return n < 0 ? err_code(e, n, "move the memory of process %u", w->pid) : 0;
}

struct mapping {
	struct restore *r;
	struct early *w;
	struct restoring *p;
	bool inherit;
	struct list *l;
	struct err *e;
};

static int room(struct mapping *m, size_t calls)
{
	return list_fits(m->l, calls, 0) ? 0 : list_run(m->l, &m->p->batch, &m->p->threads[0], m->e);
}

static bool overlaps(const struct ckpt_ranges *l, const struct ckpt_range *part)
{
	for (size_t i = 0; i < l->count; i++)
		if (l->r[i].start < part->end && part->start < l->r[i].end)
			return true;
	return false;
}

/* Memory that turns out to be of the other kind keeps its pages. */
static int unmap(void *arg, const struct ckpt_range *part)
{
	struct mapping *m = arg;
	int n = m->r->early && overlaps(&m->w->wanted, part) ? salvage(m->r, m->w, part->start, part->end) : 0;

	if (n < 0)
		return err_code(m->e, n, "move the memory of process %u", m->w->pid);
	n = room(m, 1);
	list_call(m->l, "unmap memory", SYS_munmap, part->start, part->end - part->start, 0, 0, 0, 0);
	return n;
}

static int map(void *arg, const struct ckpt_range *part)
{
	struct mapping *m = arg;
	uint64_t flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE | part->how;
	int n = room(m, 2);

	list_call(m->l, part->how & MAP_HUGETLB ? CKPT_HUGE_MAP : "map memory", SYS_mmap, part->start,
		  part->end - part->start, PROT_READ | PROT_WRITE, flags, UINT64_MAX, 0);
	if (!m->inherit)
		list_call(m->l, "keep memory from children", SYS_madvise, part->start, part->end - part->start,
			  MADV_DONTFORK, 0, 0, 0);
	return n;
}

/* Children are born without it until then. */
static int let_inherit(struct mapping *m, const struct ckpt_ranges *mapped)
{
	for (size_t i = 0; i < mapped->count; i++) {
		const struct ckpt_range *part = &mapped->r[i];
		int n = room(m, 1);

		list_call(m->l, "let children have memory", SYS_madvise, part->start, part->end - part->start,
			  MADV_DOFORK, 0, 0, 0);
		if (n < 0)
			return n;
	}
	return 0;
}

int early_sync_later(struct restore *r, struct early *w, struct restoring *p, bool inherit, struct list *l,
		     struct err *e)
{
	struct mapping m = { r, w, p, inherit, l, e };
	struct ckpt_ranges was = w->mapped;
	int n = ckpt_ranges_subtract(&w->mapped, &w->wanted, unmap, &m);

	if (n == 0)
		n = ckpt_ranges_subtract(&w->wanted, &w->mapped, map, &m);
	w->mapped = w->wanted;
	w->wanted = was;
	w->wanted.count = 0;
	return n == 0 && inherit ? let_inherit(&m, &w->mapped) : n;
}

int early_sync(struct restore *r, struct early *w, struct restoring *p, bool inherit, struct list *l,
	       struct err *e)
{
	int n;

	list_init(l, r);
	n = early_sync_later(r, w, p, inherit, l, e);
	return n == 0 ? list_run(l, &p->batch, &p->threads[0], e) : n;
}

/* How far from `at` on it is all in the list, or none of it: *ret_in. */
static const struct ckpt_range *stretch(const struct ckpt_ranges *l, uint64_t at, uint64_t *end, bool *ret_in)
{
	size_t lo = 0, hi = l->count;
	uint64_t stop;

	while (lo < hi) {
		size_t mid = (lo + hi) / 2;

		if (l->r[mid].end <= at)
			lo = mid + 1;
		else
			hi = mid;
	}
	*ret_in = lo < l->count && l->r[lo].start <= at;
	stop = *ret_in ? l->r[lo].end : lo < l->count ? l->r[lo].start : *end;
	*end = stop < *end ? stop : *end;
	return *ret_in ? &l->r[lo] : NULL;
}

/* The end of what can be written from `at` on, or of what cannot: a huge page that nobody has taken must not be. */
static uint64_t mapped_until(const struct early *w, uint64_t at, uint64_t end, bool *ret_mapped)
{
	const struct ckpt_range *m;

	*ret_mapped = false;
	if (!w->born)
		return end;
	m = stretch(&w->mapped, at, &end, ret_mapped);
	if (m && (m->how & MAP_HUGETLB))
		stretch(&w->huge, at, &end, ret_mapped);
	return end;
}

/* Pages that hold zeros already, perhaps because nothing was ever there, stay so; looking leaves them shared
 * (copy.h). */
static int clear(const struct early *w, uint64_t at, uint64_t end)
{
	static const uint8_t zeros[CKPT_PAGE];
	cleanup_close int mem = ckpt_proc_open(w->task.pid, "mem");
	uint8_t page[CKPT_PAGE];
	int n = mem < 0 ? mem : 0;

	for (; n == 0 && at < end; at += CKPT_PAGE) {
		n = pread(mem, page, CKPT_PAGE, (off_t)at) == CKPT_PAGE ? 0 : -EFAULT;
		if (n == 0 && memcmp(page, zeros, CKPT_PAGE) != 0)
			n = ckpt_mem_write(w->task.pid, at, zeros, CKPT_PAGE);
	}
	return n;
}

/* In order now and then, so that it does not grow with the number of rounds. */
int early_note_filled(struct early *w, uint64_t start, uint64_t end)
{
	int n = ckpt_ranges_add(&w->filled, start, end, false);

	if (n < 0 || w->filled.count < w->filled_room)
		return n;
	n = ckpt_ranges_unite(&w->filled);
	w->filled_room = 2 * w->filled.count + FILLED_MIN;
	return n;
}

/* They are in their place: older ones that were loose count no more. Zeros are only written over what was put. */
static int placed(struct early_set *s, struct early *w, uint64_t at, uint64_t end, bool zeros)
{
	int n;

	pthread_mutex_lock(&s->lock);
	n = zeros ? 0 : early_note_filled(w, at, end);
	for (; !ckpt_loose_is_empty(s->loose) && at < end; at += CKPT_PAGE)
		ckpt_loose_drop(s->loose, w->mm, at / CKPT_PAGE);
	pthread_mutex_unlock(&s->lock);
	return n;
}

static int put_shared(struct early_set *s, const struct ckpt_pages *pg, struct err *e)
{
	uint64_t n = pg->mm - CKPT_SHMEM_MM, at = pg->first * CKPT_PAGE, len = (uint64_t)pg->count * CKPT_PAGE;

	if (n >= s->shmem_count || at >= s->shmems[n].size)
		return 0; /* it has shrunk meanwhile, or is told of later */
	if (len > s->shmems[n].size - at)
		len = s->shmems[n].size - at;
	if (s->shmems[n].file && pg->data && !early_file_has(&s->shmems[n], at, at + len))
		return err_set(e, ERR_FAIL, "the image is damaged: pages that a file has not got");
	return ckpt_shared_put(s->shmems[n].fd, s->shmems[n].huge, NULL, at, pg->data, len, e);
}

int early_put(struct restore *r, const struct ckpt_pages *pg, struct err *e)
{
	struct early_set *s = r->early;
	uint64_t at = pg->first * CKPT_PAGE, end = at + (uint64_t)pg->count * CKPT_PAGE, stop;
	const uint8_t *data = pg->data;
	struct early *w;

	if (pg->mm >= CKPT_SHMEM_MM)
		return put_shared(s, pg, e);
	w = early_by_mm(s, pg->mm);
	if (pg->encoding == CKPT_PAGES_REF || pg->mm == 0)
		return err_set(e, ERR_FAIL, "the image is damaged: pages of no process");
	for (; at < end; at = stop) {
		bool mapped = false;
		int n;

		stop = w ? mapped_until(w, at, end, &mapped) : end;
		if (!mapped)
			n = early_keep_loose(s, pg->mm, at, stop, data);
		else
			n = data ? ckpt_mem_write(w->task.pid, at, data, stop - at) : clear(w, at, stop);
		if (n == 0 && mapped)
			n = placed(s, w, at, stop, !data);
		if (n < 0)
			return err_code(e, n, "fill the memory of process %u", w ? w->pid : 0);
		data = data ? data + (stop - at) : NULL;
	}
	return 0;
}

static int drop(void *arg, const struct ckpt_range *part)
{
	struct mapping *m = arg;
	int n = room(m, 1);

	list_call(m->l, "drop pages", SYS_madvise, part->start, part->end - part->start, MADV_DONTNEED, 0, 0, 0);
	return n;
}

/* Of an area that is mapped with these flags: the bits of an address within one of its pages. */
static uint64_t within_page(uint32_t how)
{
	return how & MAP_HUGETLB ? (1ull << (how >> MAP_HUGE_SHIFT & MAP_HUGE_MASK)) - 1 : CKPT_PAGE - 1;
}

/* What lies between two addresses, of memory that is mapped still: whole pages, of which only a part may have been
 * put there when they are huge. */
static int cut_filled(const struct early *w, uint64_t first, uint64_t last, struct ckpt_ranges *ret)
{
	size_t k = 0;
	int n = 0;

	for (size_t i = 0; n == 0 && i < w->mapped.count; i++) {
		uint64_t from = w->mapped.r[i].start < first ? first : w->mapped.r[i].start;
		uint64_t to = w->mapped.r[i].end > last ? last : w->mapped.r[i].end;
		uint64_t within = within_page(w->mapped.r[i].how);

		while (k < w->filled.count && w->filled.r[k].end <= from)
			k++;
		for (size_t j = k; n == 0 && j < w->filled.count && w->filled.r[j].start < to; j++) {
			uint64_t start = w->filled.r[j].start & ~within, end = (w->filled.r[j].end + within) & ~within;

			start = start < from ? from : start;
			end = end > to ? to : end;

			n = start < end ? ckpt_ranges_add(ret, start, end, false) : 0;
		}
	}
	return n == 0 ? ckpt_ranges_unite(ret) : n;
}

/* Those of `own`, which are emptied, that are not in `there`. */
static int drop_others(struct restore *r, struct restoring *p, struct ckpt_ranges *own, const struct ckpt_ranges *there,
		       struct list *l, struct err *e)
{
	struct mapping mapping = { r, p->early, p, true, l, e };
	int n;

	list_init(l, r);
	n = ckpt_ranges_subtract(own, there, drop, &mapping);
	if (n == 0)
		n = list_run(l, &p->batch, &p->threads[0], e);
	return n;
}

int early_drop(struct restore *r, struct restoring *p, const struct ckpt_ranges *there, struct list *l, struct err *e)
{
	struct ckpt_ranges own = { 0 };
	cleanup_close int pagemap = ckpt_proc_open(p->task->pid, "pagemap");
	int n = pagemap < 0 ? pagemap : 0;

	for (size_t i = 0; n == 0 && i < p->early->mapped.count; i++)
		n = ckpt_scan_own(pagemap, p->early->mapped.r[i].start, p->early->mapped.r[i].end, CKPT_SCAN_ANON, &own,
				  NULL);
	if (n == 0)
		n = ckpt_ranges_unite(&own);
	n = n < 0 ? err_code(e, n, "look at the memory of process %d", (int)p->task->pid)
		  : drop_others(r, p, &own, there, l, e);
	ckpt_ranges_done(&own);
	return n;
}

int early_drop_filled(struct restore *r, struct restoring *p, uint64_t first, uint64_t last,
		      const struct ckpt_ranges *there, struct list *l, struct err *e)
{
	struct ckpt_ranges own = { 0 };
	int n = ckpt_ranges_unite(&p->early->filled);

	if (n == 0)
		n = cut_filled(p->early, first, last, &own);
	n = n < 0 ? err_code(e, n, "look at the memory of process %d", (int)p->task->pid)
		  : drop_others(r, p, &own, there, l, e);
	ckpt_ranges_done(&own);
	return n;
}
