/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Which private memory the processes have, and what the other side is told of it. */
#include "base/array.h"
#include "base/macro.h"
#include "checkpoint/family.h"
#include "checkpoint/image.pb-c.h"
#include "checkpoint/pidspaces.h"
#include "checkpoint/precopy_internal.h"
#include "checkpoint/registrations.h"
#include "checkpoint/uring.h"

#include <errno.h>
#include <sys/mman.h>
#include <xxhash.h>

/*
 * The map of a process that runs is read in pieces: areas that are joined meanwhile are told again. No
 * page may be in two areas, for two threads would send it at once, the older one last perhaps. A program
 * that is being executed has its stack at the very top for a moment, which is higher than anything is
 * mapped later where page tables have five levels (seen on Linux 6.12): its memory comes in the next round.
 */
static int area_add(struct area_list *l, const struct ckpt_map *m)
{
	uint64_t start = l->count && l->a[l->count - 1].end > m->start ? l->a[l->count - 1].end : m->start;

	if (start >= m->end || m->end > CKPT_ADDRESS_MAX)
		return 0;
	if (array_grow(&l->a, l->count, &l->room, 64) < 0)
		return -ENOMEM;
	l->a[l->count++] = (struct area){
		.start = start, .end = m->end,
		.prot = (m->perms[0] == 'r' ? PROT_READ : 0) | (m->perms[1] == 'w' ? PROT_WRITE : 0) |
			(m->perms[2] == 'x' ? PROT_EXEC : 0),
		.file = !ckpt_map_is_anonymous(m), .stack = STREQ(m->name, "[stack]"),
		.unnamed = ckpt_map_is_huge(m),
	};
	return 0;
}

/* Both are in order. */
static void keep_hopeless(struct watched *w)
{
	size_t k = 0;

	for (size_t i = 0; i < w->areas.count; i++) {
		struct area *a = &w->areas.a[i];

		while (k < w->before.count && w->before.a[k].start < a->start)
			k++;
		a->hopeless = k < w->before.count && w->before.a[k].start == a->start &&
			      w->before.a[k].end == a->end && w->before.a[k].hopeless;
	}
}

/* Size and reservation are told by smaps alone. What is of a memfd (MFD_HUGETLB) stays a file's. */
static int look_at_huge(struct watched *w)
{
	struct ckpt_flags flags = { 0 };
	int r = ckpt_flags_read(&flags, w->tid);

	for (size_t i = 0; r == 0 && i < w->areas.count; i++) {
		struct area *a = &w->areas.a[i];
		struct ckpt_map m = { .start = a->start, .end = a->end };
		const struct ckpt_flag *f = a->unnamed ? ckpt_flags_find(&flags, w->tid, &m) : NULL;

		if (!f || !f->huge)
			continue;
		a->huge = f->huge;
		a->no_reserve = f->no_reserve;
		a->file = false;
	}
	ckpt_flags_done(&flags);
	return r;
}

static bool is_ring(const struct ckpt_map *m)
{
	return STREQ(m->name, "/[aio] (deleted)") || STREQ(m->name, CKPT_URING_NAME);
}

bool ckpt_layout_has_rings(pid_t pid)
{
	cleanup_fclose FILE *f = ckpt_maps_open(pid);
	struct ckpt_map m;

	while (f && ckpt_maps_next(f, &m) > 0)
		if (is_ring(&m))
			return true;
	return false;
}

int ckpt_layout_read(struct ckpt_precopy *p, struct watched *w, struct err *e)
{
	cleanup_fclose FILE *f = ckpt_maps_open(w->tid);
	struct area_list last = w->before;
	bool huge = false;
	struct ckpt_map m;
	int r = 0;

	w->before = w->areas;
	w->areas = last;
	w->areas.count = 0;
	while (f && r == 0 && ckpt_maps_next(f, &m) > 0) {
		huge = huge || ckpt_map_is_huge(&m);
		if (ckpt_map_is_private(&m))
			r = area_add(&w->areas, &m);
		else if (is_ring(&m))
			p->rings = true;
		else if (m.perms[3] == 's')
			r = ckpt_shared_meet(p, w->tid, &m);
	}
	if (r < 0)
		return err_code(e, r, "read the map of process %d", (int)w->pid);
	if (huge && look_at_huge(w) < 0)
		return err_code(e, -ENOMEM, "read the map of process %d", (int)w->pid);
	keep_hopeless(w);
	return 0;
}

/* As the VPS numbers them; false when the process has ended. */
static bool number(pid_t pid, size_t level, Ckpt__Layout *l)
{
	struct ckpt_status s, parent;
	uint64_t ppid = 0, field[53] = { 0 };

	if (ckpt_status_read(pid, &s) < 0 || ckpt_stat_read(pid, field) < 0)
		return false;
	l->terminal = field[7] != 0;
	l->pid = ckpt_pid_number(&s, "NSpid", level);
	l->pgid = ckpt_pid_number(&s, "NSpgid", level);
	l->sid = ckpt_pid_number(&s, "NSsid", level);
	/* Who is in a nested pid namespace cannot be born before all is known, nor can its children. */
	if (l->pid > 1 && !ckpt_pid_number(&s, "NSpid", level + 1) &&
	    ckpt_status_numbers(&s, "PPid", 10, &ppid, 1) &&
	    ckpt_status_read((pid_t)ppid, &parent) == 0)
		l->ppid = ckpt_pid_number(&parent, "NSpid", level);
	return true;
}

uint64_t ckpt_ranges_hash(const struct ckpt_ranges *l)
{
	uint64_t h = 1;

	for (size_t i = 0; i < l->count; i++) {
		uint64_t v[3] = { l->r[i].start, l->r[i].end, h };

		h = XXH3_64bits(v, sizeof(v));
	}
	return h;
}

static uint64_t hash_of(const struct area_list *l, const struct ckpt_ranges *huge)
{
	uint64_t h = ckpt_ranges_hash(huge);

	for (size_t i = 0; i < l->count; i++) {
		uint64_t v[5] = { l->a[i].start, l->a[i].end, l->a[i].file, l->a[i].huge, h };

		h = XXH3_64bits(v, sizeof(v));
	}
	return h;
}

/* Which of its huge pages there are. */
static int find_huge(const struct watched *w, struct ckpt_ranges *ret)
{
	cleanup_close int pagemap = -EBADF;
	int r = 0;

	for (size_t i = 0; r == 0 && i < w->areas.count; i++) {
		if (!w->areas.a[i].huge)
			continue;
		if (pagemap < 0)
			pagemap = ckpt_proc_open(w->tid, "pagemap");
		if (pagemap < 0)
			return pagemap;
		r = ckpt_scan_own(pagemap, w->areas.a[i].start, w->areas.a[i].end, CKPT_SCAN_HUGE, ret, NULL);
	}
	return r == 0 ? ckpt_ranges_unite(ret) : r;
}

static int fill_area(const struct area *a, const struct ckpt_ranges *huge, struct ckpt_arena *arena, Ckpt__Area *out)
{
	struct ckpt_ranges own = { 0 };
	int r = 0;

	ckpt__area__init(out);
	out->start = a->start;
	out->end = a->end;
	out->prot = a->prot;
	out->flags = MAP_PRIVATE | MAP_ANONYMOUS | (a->stack ? MAP_GROWSDOWN : 0);
	out->huge = a->huge;
	out->no_reserve = a->no_reserve;
	for (size_t i = 0; a->huge && r == 0 && i < huge->count; i++) {
		uint64_t start = huge->r[i].start > a->start ? huge->r[i].start : a->start;
		uint64_t end = huge->r[i].end < a->end ? huge->r[i].end : a->end;

		r = start < end ? ckpt_ranges_add(&own, start, end, false) : 0;
	}
	if (r == 0 && own.count) {
		out->present = ckpt_runs_write(arena, &own, &out->n_present);
		r = out->present ? 0 : -ENOMEM;
	}
	ckpt_ranges_done(&own);
	return r;
}

static int write_message(struct ckpt_precopy *p, const struct watched *w, const struct ckpt_ranges *huge,
			 Ckpt__Layout *l, struct err *e)
{
	Ckpt__Area *areas = calloc(w->areas.count + 1, sizeof(*areas));
	struct ckpt_arena arena = { 0 };
	int r = 0;

	l->area = calloc(w->areas.count + 1, sizeof(*l->area));
	if (!areas || !l->area)
		r = -ENOMEM;
	for (size_t i = 0; r == 0 && i < w->areas.count; i++) {
		if (w->areas.a[i].file)
			continue;
		l->area[l->n_area] = &areas[l->n_area];
		r = fill_area(&w->areas.a[i], huge, &arena, l->area[l->n_area++]);
	}
	if (r < 0)
		err_code(e, r, "copy memory");
	if (r == 0 && w->inherited.count) {
		l->heir_of = w->heir_of;
		l->inherited = ckpt_runs_write(&arena, &w->inherited, &l->n_inherited);
		r = l->inherited ? 0 : err_code(e, -ENOMEM, "copy memory");
	}
	if (r == 0)
		r = ckpt_write_message(p->w, CKPT_REC_LAYOUT, l->mm, l, e);
	free(l->area);
	free(areas);
	ckpt_arena_done(&arena);
	return r;
}

int ckpt_layout_write(struct ckpt_precopy *p, struct watched *w, struct err *e)
{
	struct ckpt_ranges huge = { 0 };
	Ckpt__Layout l;
	int r = find_huge(w, &huge);
	uint64_t h = hash_of(&w->areas, &huge);

	ckpt__layout__init(&l);
	l.mm = w->mm;
	if (r == -ENOMEM || r == -EMFILE || r == -ENFILE) {
		err_code(e, r, "copy memory");
	} else if (r < 0) {
		r = 0; /* it has ended */
	} else if (h != w->layout && number(w->pid, p->level, &l)) {
		l.login = ckpt_login(w->pid, p->uid_base, p->uid_count);
		w->layout = h;
		r = write_message(p, w, &huge, &l, e);
	}
	ckpt_ranges_done(&huge);
	return r;
}
