/* SPDX-License-Identifier: GPL-2.0-or-later */

/*
 * Mount namespaces, from what the runtime has mounted. Each file system of the image is attached
 * once in a workshop, a namespace of its own that goes when all is done, alone and so with all
 * that others cover; every mount of the image is a copy of (a part of) that, put into its place
 * from inside its namespace. All are private while that is done; what propagates to whom comes
 * last.
 *
 * Mounts go onto fds, and their places are looked up below the mount that they go into, without
 * links.
 *
 * Most have what the runtime mounts and nothing else: they do without all that.
 */
#include "checkpoint/restore_mounts.h"
#include "base/fd.h"
#include "base/macro.h"
#include "checkpoint/image.pb-c.h"
#include "checkpoint/mountfs.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <sys/mount.h>

#ifndef OPEN_TREE_CLONE
#define OPEN_TREE_CLONE 1
#endif

int restore_hop(int space, struct err *e)
{
	return setns(space, CLONE_NEWNS) < 0 ? err_sys(e, "enter a mount namespace") : 0;
}

/* Which of the runtime's mounts stands for one of the image's: the same place and file system;
 * what the host gives may be another here. */
static ssize_t match(const struct mounting *m, const Ckpt__Mount *k)
{
	ssize_t parent = k->parent ? m->found[k->parent - 1] : -1;

	if (k->parent && parent < 0)
		return -1;
	for (size_t i = 0; i < m->now_count; i++) {
		const struct ckpt_mountinfo *c = &m->now[i];
		const char *at = parent < 0 ? "" : ckpt_path_below(c->at, m->now[parent].at);

		if (parent < 0 ? ckpt_mountinfo_find(m->now, m->now_count, c->parent) >= 0 :
				 c->parent != m->now[parent].id || !at || !STREQ(at, k->at))
			continue;
		if (STREQ(c->type, m->tree->supers[k->super - 1]->type) ||
		    !ckpt_mountfs_find(m->tree->supers[k->super - 1]->type) || !k->parent)
			return (ssize_t)i;
	}
	return -1;
}

static int compare(struct mounting *m, struct err *e)
{
	m->used = calloc(m->now_count + 1, sizeof(*m->used));
	if (!m->used)
		return err_code(e, -ENOMEM, "restore mounts");
	for (uint32_t i = 0; i < m->tree->mount_count; i++) {
		m->found[i] =
			m->tree->mounts[i]->space == m->main ? match(m, m->tree->mounts[i]) : -1;
		if (m->found[i] >= 0)
			m->used[m->found[i]] = true;
	}
	return 0;
}

/* What the tenant has taken away; but masks are the local runtime's word. */
static int take_away(struct mounting *m, struct err *e)
{
	for (size_t i = m->now_count; i-- > 0;) {
		const char *at = m->now[i].at;

		if (m->used[i] || ckpt_path_below(at, "/proc") || ckpt_path_below(at, "/sys"))
			continue;
		/* EINVAL: gone with what it was mounted in. */
		if (umount2(at, MNT_DETACH | UMOUNT_NOFOLLOW) < 0 && errno != EINVAL &&
		    errno != ENOENT)
			return err_sys(e, "unmount %s, as the VPS has", at);
	}
	return 0;
}

static bool is_alike(const struct mounting *m, uint32_t id)
{
	return ((m->now[m->found[id - 1]].attributes ^ restore_mount_of(m, id)->attributes) & RESTORE_ATTRIBUTES) == 0;
}

/* What the tenant has set on a mount of the runtime's. */
static int adjust(struct mounting *m, uint32_t id, struct err *e)
{
	const Ckpt__Mount *k = restore_mount_of(m, id);
	const struct ckpt_mountinfo *c = &m->now[m->found[id - 1]];
	struct mount_attr attr = { .attr_clr = RESTORE_ATTRIBUTES, .attr_set = k->attributes };

	m->fd[id - 1] = open(c->at, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	if (m->fd[id - 1] < 0)
		return err_sys(e, "open %s", c->at);
	if (!is_alike(m, id) &&
	    mount_setattr(m->fd[id - 1], "", AT_EMPTY_PATH, &attr, sizeof(attr)) < 0)
		return err_sys(e, "set the attributes of %s", c->at);
	return 0;
}

static int restore_main(struct mounting *m, struct err *e)
{
	struct mount_target to = { m->own, -EBADF, -EBADF };
	uint32_t first, end;
	int n = restore_hop(m->own, e);

	restore_mount_range_of(m, m->main, &first, &end);
	if (first == end || m->found[first - 1] < 0)
		return err_set(e, ERR_FAIL, "the image is damaged: process 1 has no root");
	if (n == 0)
		n = take_away(m, e);
	for (uint32_t i = first; n == 0 && i < end; i++)
		if (m->found[i - 1] >= 0)
			n = adjust(m, i, e);
	for (uint32_t i = first; n == 0 && i < end; i++)
		if (m->found[i - 1] >= 0)
			n = restore_hidden(m, i, e);
	return n == 0 ? restore_mount_range(m, first, end, &to, e) : n;
}

/* As if it had been left as the runtime has mounted it (restore_propagation() would do nothing). */
static bool is_untouched(const struct mounting *m, const Ckpt__Mount *k, ssize_t found)
{
	if (found < 0 || k->ghost)
		return false;
	return m->now[found].peers || m->now[found].master || (!k->peers && !k->master && !k->unbindable);
}

/* Nothing is to be mounted, nor is there anything that no path leads to. */
static bool is_complete(const struct mounting *m)
{
	const struct ckpt_tree *t = m->tree;
	bool complete = !m->r->devpts_count;

	for (uint32_t i = 1; i <= t->space_count; i++)
		complete &= t->spaces[i - 1]->kind != CKPT_SPACE_MNT || i == m->main;
	for (size_t i = 0; i < t->ghost_count; i++)
		complete &= !t->ghosts[i]->hidden && !t->ghosts[i]->super;
	for (size_t i = 0; i < t->mount_count; i++)
		complete &= is_untouched(m, t->mounts[i], m->found[i]);
	return complete;
}

static bool is_covered(const struct mounting *m, const struct ckpt_mountinfo *c)
{
	for (size_t i = 0; i < m->now_count; i++)
		if (m->now[i].parent == c->id)
			return true;
	return false;
}

/* What others are mounted on is reached in a copy that they are not on. */
static int fill_in_place(const struct mounting *m, uint32_t super, const struct ckpt_mountinfo *c, struct err *e)
{
	bool copy = is_covered(m, c);
	int fd = copy ? open_tree(AT_FDCWD, c->at, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_SYMLINK_NOFOLLOW) :
			open(c->at, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	int n = fd < 0 ? err_sys(e, "open %s", c->at) :
			 ckpt_tmpfs_restore(m->tree, super, fd, ckpt_super_keep(m->tree, super), e);

	if (copy)
		rt_leave(fd);
	else
		fd_close(&fd);
	return n;
}

/* All is mounted: what differs is what is in it, and what it is like, which may be read-only. */
static int settle(struct mounting *m, struct err *e)
{
	int n = 0;

	for (uint32_t s = 1; n == 0 && s <= m->tree->super_count; s++) {
		ssize_t i = m->tree->supers[s - 1]->contents ? workshop_widest(m, s) : -1;

		if (i >= 0 && STREQ(m->tree->mounts[i]->root, "/"))
			n = fill_in_place(m, s, &m->now[m->found[i]], e);
	}
	if (n == 0)
		n = take_away(m, e);
	for (uint32_t i = 1; n == 0 && i <= m->tree->mount_count; i++)
		n = is_alike(m, i) ? 0 : adjust(m, i, e);
	return n;
}

static int restore_all(struct mounting *m, struct err *e)
{
	int n = workshop_open(m, e);

	if (n == 0)
		n = restore_main(m, e);
	for (uint32_t i = 1; n == 0 && i <= m->tree->space_count; i++)
		if (m->tree->spaces[i - 1]->kind == CKPT_SPACE_MNT && i != m->main)
			n = restore_nested_mounts(m, i, e);
	if (n == 0)
		n = restore_propagation(m, e);
	if (n == 0)
		n = restore_hidden_unmounted(m, e);
	if (n == 0)
		n = workshop_unname(m, e);
	return n == 0 ? restore_hop(m->own, e) : n;
}

static int prepare(struct mounting *m, struct err *e)
{
	const struct ckpt_tree *t = m->tree;
	int n = fd_read_file_at(m->proc, "self/mountinfo", MIB(16), &m->text, NULL);

	m->anchor = malloc((t->super_count + 1) * sizeof(int));
	m->top = calloc(t->super_count + 1, sizeof(*m->top));
	m->fd = malloc((t->mount_count + 1) * sizeof(int));
	m->found = calloc(t->mount_count + 1, sizeof(*m->found));
	m->later = calloc(t->mount_count + 1, sizeof(*m->later));
	m->made = malloc((t->ghost_count + 1) * sizeof(*m->made));
	if (n < 0 || !m->later || !m->made || !m->anchor || !m->top || !m->fd || !m->found)
		return err_code(e, n < 0 ? n : -ENOMEM, "restore mounts");
	for (size_t i = 0; i < t->ghost_count; i++)
		m->made[i].dir = -EBADF;
	memset(m->anchor, 0xff, t->super_count * sizeof(int));
	memset(m->fd, 0xff, t->mount_count * sizeof(int));
	n = ckpt_mountinfo_parse(m->text, &m->now, &m->now_count, e);
	return n == 0 ? compare(m, e) : n;
}

int restore_mounts(struct restore *r, int proc, struct err *e)
{
	struct mounting m = {
		.r = r,
		.tree = &r->tree,
		.main = ckpt_space_main(&r->tree, CKPT_SPACE_MNT),
		.proc = proc,
		.shop = -EBADF,
		.stage = -EBADF,
	};
	int n;

	if (!m.main || !r->tree.mount_count)
		return err_set(e, ERR_FAIL, "the image is damaged: it has no mounts");
	m.own = restore_fd_space(r, m.main);
	n = prepare(&m, e);
	if (n == 0)
		n = is_complete(&m) ? settle(&m, e) : restore_all(&m, e);
	for (size_t i = 0; m.fd && i < r->tree.mount_count; i++)
		fd_close(&m.fd[i]);
	for (size_t i = 0; m.anchor && i < r->tree.super_count; i++)
		fd_close(&m.anchor[i]);
	for (size_t i = 0; m.made && i < r->tree.ghost_count; i++)
		fd_close(&m.made[i].dir);
	fd_close(&m.stage);
	rt_leave(m.shop);
	free(m.anchor);
	free(m.top);
	free(m.fd);
	free(m.found);
	free(m.used);
	free(m.later);
	free(m.made);
	free(m.now);
	free(m.text);
	return n;
}
