/* SPDX-License-Identifier: GPL-2.0-or-later */

/*
 * Peer groups over all namespaces (mount_namespaces(7), "shared subtrees"). The first mount of a
 * group begins it, as a slave of its master where it has one; MOVE_MOUNT_SET_GROUP (Linux 5.15)
 * puts the others into it.
 */
#include "base/macro.h"
#include "checkpoint/image.pb-c.h"
#include "checkpoint/restore_mounts.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <sys/mount.h>

#ifndef MOVE_MOUNT_SET_GROUP
#define MOVE_MOUNT_SET_GROUP 0x100
#endif

/* The mount that stands for a group: of those in it, the one that shows most. 0: nobody here is
 * in it. */
static uint32_t leader(const struct mounting *m, uint32_t group)
{
	uint32_t best = 0;

	for (uint32_t i = 1; i <= m->tree->mount_count; i++)
		if (m->tree->mounts[i - 1]->peers == group &&
		    (!best || strlen(m->tree->mounts[i - 1]->root) <
				      strlen(m->tree->mounts[best - 1]->root)))
			best = i;
	return best;
}

/* From inside its namespace. */
static int propagate(const struct mounting *m, uint32_t id, uint64_t how, struct err *e)
{
	struct mount_attr attr = { .propagation = how };

	if (setns(restore_fd_space(m->r, m->tree->mounts[id - 1]->space), CLONE_NEWNS) < 0 ||
	    mount_setattr(m->fd[id - 1], "", AT_EMPTY_PATH, &attr, sizeof(attr)) < 0)
		return err_sys(e, "set what the mount of %s propagates",
			       m->tree->mounts[id - 1]->root);
	return 0;
}

static int join(const struct mounting *m, uint32_t id, uint32_t other, struct err *e)
{
	if (move_mount(m->fd[other - 1], "", m->fd[id - 1], "",
		       MOVE_MOUNT_SET_GROUP | MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH) <
	    0)
		return err_sys(e, "let the mount of %s receive from that of %s",
			       m->tree->mounts[id - 1]->root, m->tree->mounts[other - 1]->root);
	return 0;
}

/* 1: its master is to come first. */
static int begin(const struct mounting *m, uint32_t id, const bool *done, struct err *e)
{
	const Ckpt__Mount *k = m->tree->mounts[id - 1];
	uint32_t master = k->master ? leader(m, k->master) : 0;
	int n = 0;

	if (master && !done[master - 1])
		return 1;
	if (master)
		n = join(m, id, master, e);
	if (n == 0 && master)
		n = propagate(m, id, MS_SLAVE, e);
	if (n == 0 && k->peers)
		n = propagate(m, id, MS_SHARED, e);
	if (n == 0 && k->unbindable && !k->peers && !master)
		n = propagate(m, id, MS_UNBINDABLE, e);
	return n;
}

static int one(const struct mounting *m, uint32_t id, const bool *done, struct err *e)
{
	const Ckpt__Mount *k = m->tree->mounts[id - 1];
	uint32_t first = k->peers ? leader(m, k->peers) : 0;
	ssize_t found = m->found[id - 1];

	/* What the runtime has joined to the host's is as it should be. */
	if (found >= 0 && (m->now[found].peers || m->now[found].master))
		return 0;
	if (!first || first == id)
		return begin(m, id, done, e);
	return done[first - 1] ? join(m, id, first, e) : 1;
}

int restore_propagation(struct mounting *m, struct err *e)
{
	cleanup_free bool *done = calloc(m->tree->mount_count + 1, sizeof(*done));
	bool progress = true, left = true;

	if (!done)
		return err_code(e, -ENOMEM, "restore mounts");
	while (progress && left) {
		progress = left = false;
		for (uint32_t i = 1; i <= m->tree->mount_count; i++) {
			int n = done[i - 1] ? 0 : one(m, i, done, e);

			if (n < 0)
				return n;
			progress |= n == 0 && !done[i - 1];
			done[i - 1] = n == 0;
			left |= n == 1;
		}
	}
	return left ? err_set(e, ERR_FAIL,
			      "the image is damaged: mounts that receive from each other") :
		      0;
}
