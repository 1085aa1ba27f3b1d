/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Files that no path leads to, opened while one does (hidden.c). */
#include "base/fd.h"
#include "base/macro.h"
#include "base/path.h"
#include "checkpoint/image.pb-c.h"
#include "checkpoint/restore_mounts.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mount.h>
#include <sys/stat.h>

#ifndef OPEN_TREE_CLONE
#define OPEN_TREE_CLONE 1
#endif

/* As a mapping may need it; of what is neither file nor directory only the place. */
static int open_it(int root, const Ckpt__Ghost *g)
{
	const char *path = g->path[1] ? g->path + 1 : ".";
	int fd = -EISDIR;

	if (S_ISREG(g->mode) && !g->executed)
		fd = path_open_no_links(root, path, O_RDWR | O_NONBLOCK | O_NOCTTY, 0, true);
	if (fd < 0 && (S_ISREG(g->mode) || S_ISDIR(g->mode)))
		fd = path_open_no_links(root, path, O_RDONLY | O_NONBLOCK | O_NOCTTY, 0, true);
	return fd >= 0 ? fd : path_open_no_links(root, path, O_PATH | O_NOFOLLOW, 0, true);
}

static int take(const struct mounting *m, uint32_t ghost, int root, struct err *e)
{
	const Ckpt__Ghost *g = m->tree->ghosts[ghost - 1];
	cleanup_close int fd = open_it(root, g);

	if (fd < 0)
		return err_code(e, fd, "open %s, which is covered", g->path);
	return dup3(fd, restore_fd_ghost(m->r, ghost), O_CLOEXEC) < 0 ? err_sys(e, "place a covered file") : 0;
}

int restore_hidden(const struct mounting *m, uint32_t mount, struct err *e)
{
	int n = 0;

	for (uint32_t i = 1; n == 0 && i <= m->tree->ghost_count; i++)
		if (m->tree->ghosts[i - 1]->hidden && m->tree->ghosts[i - 1]->mount == mount)
			n = take(m, i, m->fd[mount - 1], e);
	return n;
}

/* By a mount of their own, which is gone when they are closed. */
static int take_unmounted(const struct mounting *m, uint32_t ghost, struct err *e)
{
	int anchor = m->anchor[m->tree->ghosts[ghost - 1]->super - 1];
	cleanup_close int root =
		anchor < 0 ? -EBADF : open_tree(anchor, "", AT_EMPTY_PATH | OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);

	if (root < 0)
		return err_sys(e, "open %s, whose mount is gone", m->tree->ghosts[ghost - 1]->path);
	return take(m, ghost, root, e);
}

int restore_hidden_unmounted(const struct mounting *m, struct err *e)
{
	int n = restore_hop(m->shop, e);

	for (uint32_t i = 1; n == 0 && i <= m->tree->ghost_count; i++)
		if (m->tree->ghosts[i - 1]->hidden && !m->tree->ghosts[i - 1]->mount)
			n = take_unmounted(m, i, e);
	return n;
}
