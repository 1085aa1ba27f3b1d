/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Which private memory the processes have, and what the other side is told of it. */
#include "base/macro.h"
#include "checkpoint/image.pb-c.h"
#include "checkpoint/pidspaces.h"
#include "checkpoint/precopy_internal.h"
#include "checkpoint/registrations.h"

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
	if (l->count == l->room) {
		size_t room = l->room ? 2 * l->room : 64;
		struct area *a = reallocarray(l->a, room, sizeof(*a));

		if (!a)
			return -ENOMEM;
		l->a = a;
		l->room = room;
	}
	l->a[l->count++] = (struct area){
		.start = start, .end = m->end,
		.prot = (m->perms[0] == 'r' ? PROT_READ : 0) | (m->perms[1] == 'w' ? PROT_WRITE : 0) |
			(m->perms[2] == 'x' ? PROT_EXEC : 0),
		.file = !ckpt_map_is_anonymous(m), .stack = STREQ(m->name, "[stack]"),
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

int ckpt_layout_read(struct ckpt_precopy *p, struct watched *w, struct err *e)
{
	cleanup_fclose FILE *f = ckpt_maps_open(w->pid);
	struct area_list last = w->before;
	struct ckpt_map m;
	int r = 0;

	w->before = w->areas;
	w->areas = last;
	w->areas.count = 0;
	while (f && r == 0 && ckpt_maps_next(f, &m) > 0) {
		if (ckpt_map_is_private(&m))
			r = area_add(&w->areas, &m);
		else if (STREQ(m.name, "/[aio] (deleted)"))
			p->rings = true;
		else if (m.perms[3] == 's')
			r = ckpt_shared_meet(p, w->pid, &m);
	}
	if (r < 0)
		return err_code(e, r, "read the map of process %d", (int)w->pid);
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

static uint64_t hash_of(const struct area_list *l)
{
	uint64_t h = 1;

	for (size_t i = 0; i < l->count; i++) {
		uint64_t v[4] = { l->a[i].start, l->a[i].end, l->a[i].file, h };

		h = XXH3_64bits(v, sizeof(v));
	}
	return h;
}

static int write_message(struct ckpt_precopy *p, const struct watched *w, Ckpt__Layout *l, struct err *e)
{
	Ckpt__Area *areas = calloc(w->areas.count + 1, sizeof(*areas));
	int r = 0;

	l->area = calloc(w->areas.count + 1, sizeof(*l->area));
	for (size_t i = 0; areas && l->area && i < w->areas.count; i++) {
		const struct area *a = &w->areas.a[i];
		Ckpt__Area *out = &areas[l->n_area];

		if (a->file)
			continue;
		ckpt__area__init(out);
		out->start = a->start;
		out->end = a->end;
		out->prot = a->prot;
		out->flags = MAP_PRIVATE | MAP_ANONYMOUS | (a->stack ? MAP_GROWSDOWN : 0);
		l->area[l->n_area++] = out;
	}
	if (!areas || !l->area)
		r = err_code(e, -ENOMEM, "copy memory");
	if (r == 0)
		r = ckpt_write_message(p->w, CKPT_REC_LAYOUT, l->mm, l, e);
	free(l->area);
	free(areas);
	return r;
}

int ckpt_layout_write(struct ckpt_precopy *p, struct watched *w, struct err *e)
{
	Ckpt__Layout l;
	uint64_t h = hash_of(&w->areas);

	if (h == w->layout)
		return 0;
	ckpt__layout__init(&l);
	l.mm = w->mm;
	if (!number(w->pid, p->level, &l))
		return 0;
	l.login = ckpt_login(w->pid, p->uid_base, p->uid_count);
	w->layout = h;
	return write_message(p, w, &l, e);
}
