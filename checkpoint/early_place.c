/* SPDX-License-Identifier: GPL-2.0-or-later */

/*
 * Pages that were held until their processes are there go where they belong, by several threads: of a system there are
 * thousands, each a page of a file that a process has written to, and no process runs before the last is in its place.
 */
#include "base/macro.h"
#include "checkpoint/beside.h"
#include "checkpoint/restore_early.h"

#include <errno.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/uio.h>

#define AT_ONCE 256 /* pages by one call; of IOV_MAX */

/* Of one process: those between two page numbers that are still there. */
struct early_place {
	struct restoring *p;
	uint64_t mm, first, end;
	struct ckpt_ranges there;
	bool any;
	int result;
};

struct placing {
	struct early_place *place;
	size_t k; /* of `there` */
	struct iovec from[AT_ONCE], to[AT_ONCE];
	size_t count;
};

int early_place_later(struct restore *r, struct restoring *p, uint64_t first, uint64_t end, struct ckpt_ranges *there,
		      struct err *e)
{
	struct early_set *s = r->early;
	size_t room = s->place_room ? 2 * s->place_room : 64;
	struct early_place *bigger = s->places;

	if (s->place_count == s->place_room) {
		bigger = reallocarray(s->places, room, sizeof(*bigger));
		if (!bigger)
			return err_code(e, -ENOMEM, "fill the memory of process %u", p->task->process->pid);
		s->places = bigger;
		s->place_room = room;
	}
	s->places[s->place_count++] = (struct early_place){ p, p->task->process->mm, first, end, *there, false, 0 };
	*there = (struct ckpt_ranges){ 0 };
	return 0;
}

static int write_waiting(struct placing *o)
{
	pid_t pid = o->place->p->task->pid;
	ssize_t n = o->count ? process_vm_writev(pid, o->from, o->count, o->to, o->count, 0) : 0;
	size_t want = o->count * CKPT_PAGE;

	o->count = 0;
	return n < 0 ? -errno : (size_t)n == want ? 0 : -EFAULT;
}

static int add_page(void *arg, uint64_t number, const uint8_t *data)
{
	struct placing *o = arg;
	const struct ckpt_ranges *there = &o->place->there;
	uint64_t at = number * CKPT_PAGE;

	while (o->k < there->count && there->r[o->k].end <= at)
		o->k++;
	if (o->k == there->count || there->r[o->k].start > at)
		return 0;
	if (!restore_has_private(o->place->p->task->mm, at))
		return -EPROTO;
	o->place->any = true;
	o->from[o->count] = (struct iovec){ (void *)(uintptr_t)data, CKPT_PAGE };
	o->to[o->count++] = (struct iovec){ (void *)(uintptr_t)at, CKPT_PAGE };
	return o->count < AT_ONCE ? 0 : write_waiting(o);
}

struct placers {
	struct early_set *set;
	_Atomic size_t next;
};

static void *place_some(void *arg)
{
	struct placers *all = arg;
	size_t i;

	while ((i = all->next++) < all->set->place_count) {
		struct early_place *place = &all->set->places[i];
		struct placing o = { .place = place };

		place->result = ckpt_loose_each(all->set->loose, place->mm, place->first, place->end, add_page, &o);
		if (place->result == 0)
			place->result = write_waiting(&o);
	}
	return NULL;
}

static void place_all(struct early_set *s)
{
	struct placers all = { s, 0 };
	pthread_t threads[RESTORE_FILLERS];
	size_t started = 0, n = 1;
	cpu_set_t set;

	if (sched_getaffinity(0, sizeof(set), &set) == 0)
		n = (size_t)CPU_COUNT(&set) < RESTORE_FILLERS ? (size_t)CPU_COUNT(&set) : RESTORE_FILLERS;
	while (started + 1 < n && started + 1 < s->place_count &&
	       ckpt_beside(&threads[started], place_some, &all))
		started++;
	place_some(&all);
	for (size_t i = 0; i < started; i++)
		pthread_join(threads[i], NULL);
}

int restore_place_loose(struct restore *r, struct err *e)
{
	struct early_set *s = r->early;
	int n = 0;

	if (!s || !s->place_count)
		return 0;
	ckpt_loose_sort(s->loose);
	place_all(s);
	for (size_t i = 0; i < s->place_count; i++) {
		struct early_place *place = &s->places[i];

		if (place->result < 0 && n == 0)
			n = err_code(e, place->result, "fill the memory of process %u", place->p->task->process->pid);
		place->p->placed |= place->any;
	}
	early_places_done(s);
	return n;
}

void early_places_done(struct early_set *s)
{
	for (size_t i = 0; i < s->place_count; i++)
		ckpt_ranges_done(&s->places[i].there);
	free(s->places);
	s->places = NULL;
	s->place_count = s->place_room = 0;
}
