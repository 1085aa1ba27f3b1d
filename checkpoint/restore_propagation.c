/* SPDX-License-Identifier: GPL-2.0-or-later */

/*
 * Peer groups over all namespaces (mount_namespaces(7), "shared subtrees"). The first mount of a
 * group begins it, as a slave of its master where it has one; MOVE_MOUNT_SET_GROUP (Linux 5.15)
 * puts the others into it.
 */
#include "base/fd.h"
#include "base/macro.h"
#include "checkpoint/image.pb-c.h"
#include "checkpoint/restore_mounts.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <sys/mount.h>

#ifndef OPEN_TREE_CLONE
#define OPEN_TREE_CLONE 1
#endif
#ifndef MOVE_MOUNT_SET_GROUP
#define MOVE_MOUNT_SET_GROUP 0x100
#endif

/*
 * The mount that stands for a group is the one of its peers that shows most. Where it shows less than some of them,
 * or of those that receive from it, as the one that they were bound from is gone, a mount of the whole file system
 * stands for them while they are joined.
 */
struct group {
	uint32_t id, first; /* the peer that shows most; 0: nobody here is in it */
	int whole;          /* instead, or -EBADF */
	bool done;
};

struct joining {
	const struct mounting *m;
	struct group *group;
	size_t count;
	bool *done; /* as tree->mounts */
};

static struct group *find(const struct joining *j, uint32_t id)
{
	for (size_t i = 0; id && i < j->count; i++)
		if (j->group[i].id == id)
			return &j->group[i];
	return NULL;
}

static bool is_of(const Ckpt__Mount *k, uint32_t group)
{
	return k->peers == group || k->master == group;
}

/* What it is to be joined by, or -EBADF: nobody is in it. */
static int stand(const struct joining *j, const struct group *g)
{
	if (!g || g->whole >= 0)
		return g ? g->whole : -EBADF;
	return g->first ? j->m->fd[g->first - 1] : -EBADF;
}

static bool has_whole(const struct mounting *m, const struct group *g)
{
	for (uint32_t i = 1; g->first && i <= m->tree->mount_count; i++)
		if (is_of(restore_mount_of(m, i), g->id) &&
		    !ckpt_path_below(restore_mount_of(m, i)->root, restore_mount_of(m, g->first)->root))
			return false;
	return true;
}

static void add_group(struct joining *j, uint32_t id)
{
	struct group *g = find(j, id);

	if (!id || g)
		return;
	g = &j->group[j->count++];
	*g = (struct group){ id, 0, -EBADF, false };
	for (uint32_t i = 1; i <= j->m->tree->mount_count; i++)
		if (restore_mount_of(j->m, i)->peers == id &&
		    (!g->first || strlen(restore_mount_of(j->m, i)->root) <
					  strlen(restore_mount_of(j->m, g->first)->root)))
			g->first = i;
}

static int open_whole(const struct mounting *m, struct group *g, struct err *e)
{
	int n = restore_hop(m->shop, e);

	if (n == 0)
		g->whole = open_tree(m->anchor[restore_mount_of(m, g->first)->super - 1], "",
				     AT_EMPTY_PATH | OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);
	return n < 0 || g->whole >= 0 ? n : err_sys(e, "copy a mount");
}

static int find_groups(struct joining *j, struct err *e)
{
	int n = 0;

	for (uint32_t i = 1; i <= j->m->tree->mount_count; i++) {
		add_group(j, restore_mount_of(j->m, i)->peers);
		add_group(j, restore_mount_of(j->m, i)->master);
	}
	for (size_t i = 0; n == 0 && i < j->count; i++)
		if (!has_whole(j->m, &j->group[i]))
			n = open_whole(j->m, &j->group[i], e);
	return n;
}

static int set(int fd, uint64_t how, const char *root, struct err *e)
{
	struct mount_attr attr = { .propagation = how };

	return mount_setattr(fd, "", AT_EMPTY_PATH, &attr, sizeof(attr)) < 0 ?
		       err_sys(e, "set what the mount of %s propagates", root) :
		       0;
}

/* From inside its namespace. */
static int propagate(const struct mounting *m, uint32_t id, uint64_t how, struct err *e)
{
	int n = restore_hop(restore_fd_space(m->r, restore_mount_of(m, id)->space), e);

	return n == 0 ? set(m->fd[id - 1], how, restore_mount_of(m, id)->root, e) : n;
}

static int join(int from, int to, const char *root, struct err *e)
{
	if (move_mount(from, "", to, "",
		       MOVE_MOUNT_SET_GROUP | MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH) < 0)
		return err_sys(e, "let the mount of %s receive from its peers", root);
	return 0;
}

/* 1: its master is to come first. */
static int begin(const struct joining *j, uint32_t id, struct err *e)
{
	const struct mounting *m = j->m;
	const Ckpt__Mount *k = restore_mount_of(m, id);
	const struct group *master = find(j, k->master);
	int from = stand(j, master), n = 0;

	if (from >= 0 && !master->done)
		return 1;
	if (from >= 0)
		n = join(from, m->fd[id - 1], k->root, e);
	if (n == 0 && from >= 0)
		n = propagate(m, id, MS_SLAVE, e);
	if (n == 0 && k->peers)
		n = propagate(m, id, MS_SHARED, e);
	if (n == 0 && k->unbindable && !k->peers && from < 0)
		n = propagate(m, id, MS_UNBINDABLE, e);
	return n;
}

/* The same for what stands for a whole group. */
static int begin_whole(const struct joining *j, const struct group *g, struct err *e)
{
	const Ckpt__Mount *k = restore_mount_of(j->m, g->first);
	const struct group *master = find(j, k->master);
	int from = stand(j, master), n = 0;

	if (from >= 0 && !master->done)
		return 1;
	if (from >= 0)
		n = join(from, g->whole, k->root, e);
	if (n == 0 && from >= 0)
		n = set(g->whole, MS_SLAVE, k->root, e);
	return n == 0 ? set(g->whole, MS_SHARED, k->root, e) : n;
}

static int one(const struct joining *j, uint32_t id, struct err *e)
{
	const struct mounting *m = j->m;
	const Ckpt__Mount *k = restore_mount_of(m, id);
	struct group *g = find(j, k->peers);
	ssize_t found = m->found[id - 1];
	int n;

	/* What the runtime has joined to the host's is as it should be. */
	if (found >= 0 && (m->now[found].peers || m->now[found].master)) {
		if (g && g->first == id && g->whole < 0)
			g->done = true;
		return 0;
	}
	if (!g || (g->first == id && g->whole < 0)) {
		n = begin(j, id, e);
		if (g && n == 0)
			g->done = true;
		return n;
	}
	return g->done ? join(stand(j, g), m->fd[id - 1], k->root, e) : 1;
}

/* As far as it can be done by now; *ret_left: something waits for others. */
static int pass(struct joining *j, bool *ret_progress, bool *ret_left, struct err *e)
{
	*ret_progress = *ret_left = false;
	for (size_t i = 0; i < j->count; i++) {
		struct group *g = &j->group[i];
		int n = g->whole >= 0 && !g->done ? begin_whole(j, g, e) : 1;

		if (n < 0)
			return n;
		*ret_progress |= n == 0;
		g->done |= n == 0;
	}
	for (uint32_t i = 1; i <= j->m->tree->mount_count; i++) {
		int n = j->done[i - 1] ? 0 : one(j, i, e);

		if (n < 0)
			return n;
		*ret_progress |= n == 0 && !j->done[i - 1];
		j->done[i - 1] = n == 0;
		*ret_left |= n == 1;
	}
	return 0;
}

int restore_propagation(struct mounting *m, struct err *e)
{
	size_t most = m->tree->mount_count;
	cleanup_free bool *done = calloc(most + 1, sizeof(*done));
	cleanup_free struct group *group = calloc(2 * most + 1, sizeof(*group));
	struct joining j = { m, group, 0, done };
	bool progress = true, left = true;
	int n = done && group ? find_groups(&j, e) : err_code(e, -ENOMEM, "restore mounts");

	while (n == 0 && progress && left)
		n = pass(&j, &progress, &left, e);
	for (size_t i = 0; i < j.count; i++)
		fd_close(&group[i].whole);
	if (n < 0)
		return n;
	return left ? err_set(e, ERR_FAIL,
			      "the image is damaged: mounts that receive from each other") :
		      0;
}
