/* SPDX-License-Identifier: GPL-2.0-or-later */

/*
 * What has happened since the last look by which shared memory that is watched may have been written to where no marks are:
 * somebody was born, or memory was moved. It is read whole then, so each look is a doubt the less at the stop.
 */
#include "base/fd.h"
#include "base/macro.h"
#include "base/step.h"
#include "checkpoint/enter.h"
#include "checkpoint/parents.h"
#include "checkpoint/precopy_internal.h"

#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#define MOVES_MAX 256u    /* between two looks; with more it is heard of no more, and read */
#define LONG_READ MIB(64) /* takes longer than another stop */

/* Nothing is steady before. */
void ckpt_doubts_begin(struct ckpt_precopy *p)
{
	if (!p->listened && !without_feature("births"))
		p->parents = ckpt_parents_new();
	p->listened = true;
}

static int own_number(void *arg, struct err *e)
{
	(void)e;
	*(pid_t *)arg = getpid();
	return 0;
}

static bool is_watched_in(const struct shared *s, pid_t pid)
{
	for (size_t i = 0; i < s->watched.count; i++)
		if (s->watched.m[i].pid == pid)
			return true;
	return false;
}

/* Nothing is steady when somebody else has taken a number since the last time. */
static void count_births(struct ckpt_precopy *p)
{
	struct err ignored;
	cleanup_close int space = ckpt_space_open(p->init, "pid", &ignored);
	pid_t last = p->number;

	p->number = 0;
	if (space < 0 || ckpt_within(&space, 1, own_number, &p->number, &ignored) < 0)
		p->number = 0;
	for (size_t i = 0; i < p->shared_count && (!last || p->number != last + 1); i++)
		p->shared[i].steady = false;
}

/* Whose child may have written to what it had, and have ended. */
static void see_parent(void *arg, pid_t pid)
{
	struct ckpt_precopy *p = arg;

	for (size_t i = 0; i < p->shared_count; i++)
		if (p->shared[i].steady && is_watched_in(&p->shared[i], pid))
			p->shared[i].steady = false;
}

static bool is_gone(const struct ckpt_precopy *p, pid_t pid)
{
	for (size_t i = 0; i < p->gone_count; i++)
		if (p->gone[i] == pid)
			return true;
	return false;
}

/*
 * Who was listed and bore a child may have given it the memory, and have ended before it was looked at: its child is
 * nowhere to be seen, and later nobody knows what its parent had. Who has children and was not listed descends from one
 * that was.
 */
static void see_parent_then(void *arg, pid_t pid)
{
	struct ckpt_precopy *p = arg;

	for (size_t i = 0; i < p->shared_count; i++) {
		struct shared *s = &p->shared[i];

		for (size_t k = 0; !s->bore && k < s->seen.count; k++)
			s->bore = s->seen.m[k].pid == pid;
		/* What nobody was seen to have mapped anybody may have had, and given. */
		s->bore = s->bore || is_gone(p, pid) || (s->by_times && !s->seen.count);
	}
}

/* Births that are counted are counted by the next look. */
void ckpt_doubts_found(struct ckpt_precopy *p)
{
	bool all;

	for (size_t i = 0; i < p->shared_count; i++)
		p->shared[i].bore = false;
	all = !p->parents || ckpt_parents_read(p->parents, see_parent_then, p);
	for (size_t i = 0; i < p->shared_count; i++)
		p->shared[i].bore = p->shared[i].bore || !all;
}

void ckpt_doubts_births(struct ckpt_precopy *p)
{
	if (!p->parents) {
		count_births(p);
		return;
	}
	if (ckpt_parents_read(p->parents, see_parent, p))
		return;
	for (size_t i = 0; i < p->shared_count; i++)
		p->shared[i].steady = false;
}

/* Each time it waits for us, and we do nothing else. */
static void give_up(struct ckpt_precopy *p, struct watched *w)
{
	for (size_t i = 0; i < p->shared_count; i++)
		if (is_watched_in(&p->shared[i], w->pid)) {
			p->shared[i].hopeless = true;
			p->shared[i].candidate = false;
		}
	ckpt_moves_close(p->moves, &w->moves);
}

static void look_for_moves(struct ckpt_precopy *p)
{
	if (!p->moves)
		return;
	ckpt_moves_settle(p->moves);
	for (size_t i = 0; i < p->count; i++) {
		unsigned moved = atomic_exchange(&p->procs[i]->moved, 0);

		for (size_t k = 0; moved && k < p->shared_count; k++)
			p->shared[k].steady = false;
		if (moved > MOVES_MAX)
			give_up(p, p->procs[i]);
	}
}

/* It was when it was last marked. */
static bool is_lost(const struct shared *s)
{
	return s->candidate && s->was_steady && !s->steady;
}

uint64_t ckpt_doubts_look(struct ckpt_precopy *p)
{
	uint64_t lost = 0;

	for (size_t i = 0; i < p->shared_count; i++)
		ckpt_reach_look(&p->shared[i]);
	ckpt_doubts_births(p);
	look_for_moves(p);
	for (size_t i = 0; i < p->shared_count; i++) {
		struct stat st;

		if (is_lost(&p->shared[i]) && fstat(p->shared[i].fd, &st) == 0)
			lost += 512 * (uint64_t)st.st_blocks;
	}
	return lost;
}

void ckpt_doubts_accept(struct ckpt_precopy *p)
{
	for (size_t i = 0; i < p->shared_count; i++)
		p->shared[i].was_steady = p->shared[i].steady;
}

bool ckpt_doubts_matter(const struct ckpt_precopy *p)
{
	for (size_t i = 0; i < p->shared_count; i++)
		if (p->shared[i].steady)
			return true;
	return false;
}

bool ckpt_doubts_lost(const struct ckpt_precopy *p)
{
	for (size_t i = 0; i < p->shared_count; i++)
		if (is_lost(&p->shared[i]))
			return true;
	return false;
}

bool ckpt_precopy_stop(struct ckpt_precopy *p)
{
	p->stopped = true;
	return ckpt_doubts_matter(p) && ckpt_doubts_look(p) >= LONG_READ;
}
