/* SPDX-License-Identifier: GPL-2.0-or-later */

/*
 * Files that no path leads to though they have a name: another mount covers them, or theirs has been unmounted while
 * they were open. They are ghosts (ghosts.h) of which nothing need be kept but the way: through a mount, before
 * anything is mounted on it, or from their file system, by a mount that goes again.
 */
#include "base/fd.h"
#include "base/macro.h"
#include "base/path.h"
#include "checkpoint/ghosts.h"
#include "checkpoint/image.pb-c.h"
#include "checkpoint/internal.h"
#include "checkpoint/mountfs.h"

#include <errno.h>
#include <fcntl.h>

/* Below the root of a mount, which nothing covers in the copy that is looked at. 1: it is this file. */
static int is_at(struct ckpt_dump *d, uint32_t mount, const char *path, const struct stat *st, struct err *e)
{
	cleanup_close int root = ckpt_mount_take(d, mount, e), fd = -EBADF;
	struct stat there;

	if (root < 0)
		return root == -EXDEV ? 0 : root;
	fd = path_open_no_links(root, path[0] ? path + 1 : ".", O_PATH | O_NOFOLLOW, 0, true);
	return fd >= 0 && fstat(fd, &there) == 0 && there.st_dev == st->st_dev && there.st_ino == st->st_ino;
}

static int add(struct ckpt_dump *d, const char *path, const struct stat *st, uint32_t mount, uint32_t super,
	       uint32_t *ret, struct err *e)
{
	struct ckpt_arena *a = &d->tree.arena;
	struct ckpt_held *h = ckpt_alloc(a, sizeof(*h));
	Ckpt__Ghost *g = ckpt_alloc(a, sizeof(*g));

	if (!g || !h)
		return err_code(e, -ENOMEM, "collect hidden files");
	ckpt__ghost__init(g);
	g->path = ckpt_strdup(a, path[0] ? path : "/");
	g->mode = st->st_mode;
	g->mount = mount;
	g->super = super;
	g->hidden = 1;
	*h = (struct ckpt_held){ st->st_dev, st->st_ino, -EBADF };
	if (!g->path || ckpt_push(a, &d->tree.ghosts, &d->tree.ghost_count, g) < 0 ||
	    ckpt_push(a, &d->ghosts, &d->ghost_count, h) < 0)
		return err_code(e, -ENOMEM, "collect hidden files");
	*ret = (uint32_t)d->ghost_count;
	return 1;
}

static uint32_t known(const struct ckpt_dump *d, const struct stat *st)
{
	for (size_t i = 0; i < d->ghost_count; i++)
		if (d->ghosts[i]->dev == st->st_dev && d->ghosts[i]->ino == st->st_ino)
			return (uint32_t)i + 1;
	return 0;
}

int ckpt_hidden_covered(struct ckpt_dump *d, uint32_t mount, const char *link, const struct stat *st, uint32_t *ret,
			struct err *e)
{
	const char *below;
	char at[4096] = "";
	int r;

	*ret = known(d, st);
	if (*ret)
		return 1;
	if (ckpt_mount_path(&d->tree, mount, at, sizeof(at)) < 0)
		return 0;
	below = ckpt_path_below(link, at[0] ? at : "/");
	if (!below)
		return 0;
	r = is_at(d, mount, below, st, e);
	return r == 1 ? add(d, below, st, mount, 0, ret, e) : r;
}

/* Where the path in the mount was that on the file system, as far as there still is a mount that shows all of it. */
int ckpt_hidden_unmounted(struct ckpt_dump *d, const char *link, const struct stat *st, uint32_t *ret, struct err *e)
{
	const struct ckpt_tree *t = &d->tree;

	*ret = known(d, st);
	if (*ret)
		return 1;
	for (uint32_t id = 1; id <= t->mount_count; id++) {
		uint32_t super = t->mounts[id - 1]->super;
		const struct ckpt_mountfs *fs = ckpt_mountfs_find(t->supers[super - 1]->type);
		int r;

		if (!fs || !fs->contents || d->spaces.super[super - 1].dev != st->st_dev ||
		    !STREQ(t->mounts[id - 1]->root, "/"))
			continue;
		r = is_at(d, id, STREQ(link, "/") ? "" : link, st, e);
		if (r != 0)
			return r == 1 ? add(d, link, st, 0, super, ret, e) : r;
	}
	return 0;
}
