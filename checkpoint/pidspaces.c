/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "checkpoint/pidspaces.h"

#include "base/fd.h"
#include "base/macro.h"
#include "checkpoint/image.pb-c.h"
#include "checkpoint/lookout.h"

#include <errno.h>
#include <linux/nsfs.h>
#include <sched.h>
#include <sys/ioctl.h>

size_t ckpt_pid_level(pid_t pid)
{
	uint64_t v[CKPT_PID_LEVELS + 1];
	struct ckpt_status s;
	size_t n = ckpt_status_read(pid, &s) == 0 ?
			   ckpt_status_numbers(&s, "NSpid", 10, v, ARRAY_SIZE(v)) :
			   0;

	return n ? n - 1 : 0;
}

uint32_t ckpt_pid_number(const struct ckpt_status *s, const char *key, size_t level)
{
	uint64_t v[CKPT_PID_LEVELS + 1];

	return ckpt_status_numbers(s, key, 10, v, ARRAY_SIZE(v)) > level ? (uint32_t)v[level] : 0;
}

uint32_t ckpt_pid_parents_number(pid_t pid)
{
	struct ckpt_status s;
	size_t level = ckpt_pid_level(pid);

	return level && ckpt_status_read(pid, &s) == 0 ? ckpt_pid_number(&s, "NSpid", level - 1) :
							 0;
}

int ckpt_pid_inner(struct ckpt_dump *d, const struct ckpt_status *s, const char *key,
		   uint32_t **ret, size_t *n)
{
	uint64_t v[CKPT_PID_LEVELS + 1];
	size_t count = ckpt_status_numbers(s, key, 10, v, ARRAY_SIZE(v));

	*n = 0;
	if (count <= d->level + 1)
		return 0;
	*ret = ckpt_alloc(&d->tree.arena, count * sizeof(**ret));
	for (size_t i = d->level + 1; *ret && i < count; i++)
		(*ret)[(*n)++] = (uint32_t)v[i];
	return *ret ? 0 : -ENOMEM;
}

int ckpt_pidspace_parent(struct ckpt_dump *d, int fd, struct err *e)
{
	cleanup_close int parent = ioctl(fd, NS_GET_PARENT);

	if (parent < 0)
		return err_sys(e, "ask for the pid namespace above one");
	return ckpt_spaces_add(d, CKPT_SPACE_PID, parent, 0, e);
}

/* The number behind pid:[]; 0 when there is no such file. */
static ino_t link_of(struct ckpt_dump *d, pid_t tid, const char *name)
{
	ino_t ino;

	return ckpt_look_space(d, tid, name, &ino) == 0 ? ino : 0;
}

/* 0: not one that somebody is in. */
static uint32_t find(const struct ckpt_dump *d, ino_t ino)
{
	for (size_t i = 0; i < d->spaces.count; i++)
		if (d->spaces.space[i].kind == CKPT_SPACE_PID && d->spaces.space[i].ino == ino)
			return (uint32_t)i + 1;
	return 0;
}

int ckpt_pid_children(struct ckpt_dump *d, pid_t tid, Ckpt__Thread *t, struct err *e)
{
	uint32_t own = t->spaces[CKPT_SPACE_PID];
	ino_t theirs = link_of(d, tid, "pid_for_children");

	if (!own)
		return err_set(e, ERR_FAIL, "the pid namespace of thread %d cannot be read",
			       (int)tid);
	if (d->spaces.space[own - 1].ino == theirs)
		return 0;
	/* The kernel shows one only when its process 1 was born. */
	t->pid_children = theirs ? find(d, theirs) : 0;
	if (!t->pid_children)
		t->pid_empty = theirs ? CKPT_PID_DEAD : CKPT_PID_UNBORN;
	return 0;
}

int ckpt_pid_of_zombie(struct ckpt_dump *d, const struct ckpt_task *parent, pid_t pid,
		       const struct ckpt_status *s, Ckpt__Zombie *z, struct err *e)
{
	ino_t ino = link_of(d, pid, "pid");
	uint32_t outside;
	size_t depth;

	if (ckpt_pid_inner(d, s, "NSpid", &z->numbers, &z->n_numbers) < 0 ||
	    ckpt_pid_inner(d, s, "NSpgid", &z->pgids, &z->n_pgids) < 0 ||
	    ckpt_pid_inner(d, s, "NSsid", &z->sids, &z->n_sids) < 0)
		return err_code(e, -ENOMEM, "collect zombies");
	if (!z->n_numbers)
		return 0;
	z->pid_space = ino ? find(d, ino) : 0;
	if (z->pid_space)
		return 0;
	/* Process 1 of a namespace has taken it along: nobody can tell any more that it was there. */
	outside = ckpt_pid_space(&d->tree, parent->threads[0]);
	depth = ckpt_pid_depth(&d->tree, outside);
	if (z->numbers[z->n_numbers - 1] == 1 && z->n_numbers == depth + 1) {
		z->n_numbers = z->n_pgids = z->n_sids = depth;
		z->pid_space = outside;
		return 0;
	}
	return err_set(e, ERR_UNSUPPORTED,
		       "process %d has ended and left a pid namespace, which cannot be saved",
		       (int)pid);
}

uint32_t ckpt_pid_space(const struct ckpt_tree *t, const Ckpt__Thread *th)
{
	uint32_t space = th->n_spaces > CKPT_SPACE_PID ? th->spaces[CKPT_SPACE_PID] : 0;

	return space == ckpt_space_main(t, CKPT_SPACE_PID) ? 0 : space;
}

/* 0 for process 1's. */
static uint32_t above(const struct ckpt_tree *t, uint32_t space, enum ckpt_space_kind kind)
{
	uint32_t up =
		kind == CKPT_SPACE_PID ? t->spaces[space - 1]->parent : t->spaces[space - 1]->owner;

	return up == ckpt_space_main(t, kind) ? 0 : up;
}

size_t ckpt_pid_depth(const struct ckpt_tree *t, uint32_t space)
{
	size_t n = 0;

	for (; space; n++)
		space = above(t, space, CKPT_SPACE_PID);
	return n;
}

static bool is_below(const struct ckpt_tree *t, uint32_t space, uint32_t up,
		     enum ckpt_space_kind kind)
{
	while (space && space != up)
		space = above(t, space, kind);
	return space == up;
}

bool ckpt_pid_is_below(const struct ckpt_tree *t, uint32_t space, uint32_t up)
{
	return is_below(t, space, up, CKPT_SPACE_PID);
}

bool ckpt_user_is_below(const struct ckpt_tree *t, uint32_t space, uint32_t up)
{
	uint32_t main = ckpt_space_main(t, CKPT_SPACE_USER);

	return is_below(t, space == main ? 0 : space, up == main ? 0 : up, CKPT_SPACE_USER);
}

bool ckpt_pid_is_first(const struct ckpt_tree *t, const Ckpt__Thread *th)
{
	return ckpt_pid_space(t, th) && th->numbers[th->n_numbers - 1] == 1;
}

uint32_t ckpt_user_id(const struct ckpt_tree *t, uint32_t user, uint32_t id, bool is_group)
{
	unsigned inside, outside, count;
	const Ckpt__Space *s;
	const char *p;
	int len;

	if (!user || user == ckpt_space_main(t, CKPT_SPACE_USER) || id == UINT32_MAX)
		return id;
	s = t->spaces[user - 1];
	id = ckpt_user_id(t, s->owner, id, is_group);
	p = is_group ? s->gid_map : s->uid_map;
	for (; id != UINT32_MAX && sscanf(p, "%u %u %u%n", &inside, &outside, &count, &len) == 3;
	     p += len)
		if (id >= outside && id - outside < count)
			return inside + (id - outside);
	return UINT32_MAX;
}
