/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Deleted files, made again in the first process (restore_open.c), but for those that mounts cover (restore_hidden.c). */
#include "base/macro.h"
#include "base/path.h"
#include "checkpoint/ghosts.h"
#include "checkpoint/image.pb-c.h"
#include "checkpoint/restore_internal.h"
#include "checkpoint/restore_spaces.h"

#include <fcntl.h>
#include <sys/stat.h>

static bool is_same(int a, int b)
{
	struct stat s, t;

	return fstat(a, &s) == 0 && fstat(b, &t) == 0 && s.st_dev == t.st_dev && s.st_ino == t.st_ino;
}

/* What is mounted without a name was made in the workshop: from now on it is what one of its mounts shows, as a file
 * that was opened there cannot be saved again. */
static int find_mounted(const struct restore *r, uint32_t ghost, struct err *e)
{
	const struct ckpt_tree *t = &r->tree;
	uint32_t mode = t->ghosts[ghost - 1]->mode;
	int how = S_ISDIR(mode)  ? O_RDONLY | O_DIRECTORY :
		  !S_ISREG(mode) ? O_PATH :
		  t->ghosts[ghost - 1]->executed ? O_RDONLY :
						   O_RDWR;

	for (uint32_t id = 1; id <= t->mount_count; id++) {
		cleanup_close int fd = -EBADF;
		char path[4096] = "";
		bool found;

		if (t->mounts[id - 1]->ghost != ghost || ckpt_mount_path(t, id, path, sizeof(path)) < 0)
			continue;
		if (restore_enter(r, t->mounts[id - 1]->space, e) < 0)
			return -EPERM;
		fd = path_open_no_magic(path, how | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY);
		found = fd >= 0 && is_same(fd, restore_fd_ghost(r, ghost));
		if (restore_enter(r, 0, e) < 0)
			return -EPERM;
		if (found)
			return restore_place_fd(TAKE_FD(fd), restore_fd_ghost(r, ghost), e);
	}
	return 0;
}

int restore_open_ghosts(struct restore *r, struct ckpt_opening *o, struct err *e)
{
	int spool, n = 0;

	if (!r->tree.ghost_count)
		return 0;
	/* Out of the way of what is placed. */
	spool = fcntl(r->tree.spool, F_DUPFD_CLOEXEC, restore_fd_end(r));
	if (spool < 0)
		return err_sys(e, "keep what deleted files hold");
	for (uint32_t i = 1; n == 0 && i <= r->tree.ghost_count; i++) {
		const Ckpt__Ghost *g = r->tree.ghosts[i - 1];
		uint32_t space = g->space;
		int fd;

		o->ghosts[i - 1] = restore_fd_ghost(r, i);
		if (g->hidden) /* opened already (restore_hidden.c) */
			continue;
		if (g->super) {
			n = find_mounted(r, i, e);
			continue;
		}
		fd = space ? restore_enter(r, space, e) : 0;
		if (fd == 0)
			fd = ckpt_ghost_make(&r->tree, i - 1, spool, e);
		n = fd < 0 ? fd : restore_place_fd(fd, o->ghosts[i - 1], e);
		if (n == 0 && space)
			n = restore_enter(r, 0, e);
	}
	close(spool);
	return n;
}
