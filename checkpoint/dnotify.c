/* SPDX-License-Identifier: GPL-2.0-or-later */

/*
 * Directories that are watched by fcntl(2), F_NOTIFY. The kernel tells nobody: it is read from its memory, where
 * whoever watches is the owner of the open file (F_GETOWN), as nearly no other directory's has one.
 */
#include "checkpoint/dnotify.h"

#include "base/macro.h"
#include "checkpoint/image.pb-c.h"
#include "checkpoint/kernel.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/syscall.h>

#define CHAIN_MAX 1024

/* As the kernel keeps them (linux/fsnotify_backend.h), and as they are asked for. */
static const struct {
	uint32_t kept, asked;
} events[] = {
	{ 0x1, DN_ACCESS }, { 0x2, DN_MODIFY }, { 0x4, DN_ATTRIB }, { 0x100, DN_CREATE }, { 0x200, DN_DELETE },
	{ 0x10000000, DN_RENAME }, { 0x20000000, DN_MULTISHOT },
};

static int add(struct ckpt_dump *d, Ckpt__File *out, uint32_t fd, uint32_t mask)
{
	Ckpt__Dnotify *n = ckpt_alloc(&d->tree.arena, sizeof(*n));

	if (!n)
		return -ENOMEM;
	ckpt__dnotify__init(n);
	n->fd = fd;
	for (size_t i = 0; i < ARRAY_SIZE(events); i++)
		n->mask |= mask & events[i].kept ? events[i].asked : 0;
	return ckpt_push(&d->tree.arena, &out->dnotify, &out->n_dnotify, n);
}

/* Those of this open file in the list of one mark. Whether it is one of dnotify's shows when the first is read: it
 * leads to an open file of the same inode. */
static int take_mark(struct ckpt_dump *d, uint64_t mark, uint64_t file, Ckpt__File *out, struct err *e)
{
	uint64_t dn, filp, fd, mask;
	struct err ignored;
	int r = ckpt_kernel_member(d->kernel, mark, "dnotify_mark", "dn", 8, &dn, e);

	for (size_t i = 0; r == 0 && dn && i < CHAIN_MAX; i++) {
		if (ckpt_kernel_member(d->kernel, dn, "dnotify_struct", "dn_filp", 8, &filp, &ignored) < 0)
			return 0;
		if (filp == file && (ckpt_kernel_member(d->kernel, dn, "dnotify_struct", "dn_fd", 4, &fd, e) < 0 ||
				     ckpt_kernel_member(d->kernel, dn, "dnotify_struct", "dn_mask", 4, &mask, e) < 0))
			return -EIO;
		if (filp == file && add(d, out, (uint32_t)fd, (uint32_t)mask) < 0)
			return err_code(e, -ENOMEM, "collect files");
		if (ckpt_kernel_member(d->kernel, dn, "dnotify_struct", "dn_next", 8, &dn, &ignored) < 0)
			return 0;
	}
	return r;
}

static int look(struct ckpt_dump *d, const struct ckpt_fd *f, Ckpt__File *out, struct err *e)
{
	uint64_t file, inode, connector, node, in_mark;
	struct err ignored;
	int r = d->kernel ? 0 : ckpt_kernel_open(&d->kernel, e);

	/* A kernel without it. */
	if (r == 0 && ckpt_kernel_place(d->kernel, 0, "dnotify_mark", "dn", &node, &ignored) < 0)
		return 0;
	if (r == 0)
		r = ckpt_kernel_open_file(d->kernel, f->own, &file, e);
	if (r == 0)
		r = ckpt_kernel_member(d->kernel, file, "file", "f_inode", 8, &inode, e);
	if (r == 0)
		r = ckpt_kernel_member(d->kernel, inode, "inode", "i_fsnotify_marks", 8, &connector, e);
	if (r < 0 || !connector)
		return r;
	r = ckpt_kernel_member(d->kernel, connector, "fsnotify_mark_connector", "list.first", 8, &node, e);
	if (r == 0)
		r = ckpt_kernel_place(d->kernel, 0, "fsnotify_mark", "obj_list", &in_mark, e);
	for (size_t i = 0; r == 0 && node && i < CHAIN_MAX; i++) {
		r = take_mark(d, node - in_mark, file, out, e);
		if (r == 0)
			r = ckpt_kernel_member(d->kernel, node, "hlist_node", "next", 8, &node, e);
	}
	return r;
}

int ckpt_dnotify_collect(struct ckpt_dump *d, const struct ckpt_fd *f, Ckpt__File *out, struct err *e)
{
	int r = S_ISDIR(f->st.st_mode) ? look(d, f, out, e) : 0;

	return r < 0 ? err_wrap(e, "look for what watches fd %d of process %d (F_NOTIFY)", f->fd, (int)f->pid) : 0;
}

static bool has(const struct ckpt_task *k, uint32_t fd, uint32_t file)
{
	for (size_t i = 0; i < k->fds->n_fd; i++)
		if (k->fds->fd[i]->fd == fd)
			return k->fds->fd[i]->file == file;
	return false;
}

int ckpt_dnotify_resolve(struct ckpt_dump *d, struct err *e)
{
	const struct ckpt_tree *t = &d->tree;

	for (uint32_t id = 1; id <= t->file_count; id++)
		for (size_t n = 0; n < t->files[id - 1]->n_dnotify; n++) {
			Ckpt__Dnotify *w = t->files[id - 1]->dnotify[n];

			/* Of several that have it at this number, the owner. */
			for (size_t i = 0; i < t->task_count; i++)
				if (has(&t->tasks[i], w->fd, id) &&
				    (!w->pid || t->tasks[i].process->pid == t->files[id - 1]->owner))
					w->pid = t->tasks[i].process->pid;
			if (!w->pid)
				return err_set(e, ERR_UNSUPPORTED,
					       "%s is watched (F_NOTIFY) through an fd that is closed, "
					       "which cannot be saved",
					       t->files[id - 1]->path);
		}
	return 0;
}

int restore_dnotify(const struct restore *r, struct restoring *p, struct list *l, struct err *e)
{
	int n = 0;

	for (size_t k = 0; n == 0 && k < r->watcher_count; k++) {
		uint32_t id = r->watchers[k];

		for (size_t i = 0; n == 0 && i < r->tree.files[id - 1]->n_dnotify; i++) {
			const Ckpt__Dnotify *w = r->tree.files[id - 1]->dnotify[i];

			if (w->pid != p->task->process->pid || !has(p->task, w->fd, id))
				continue;
			n = list_fits(l, 1, 0) ? 0 : list_run(l, &p->batch, &p->threads[0], e);
			list_call(l, "watch a directory", SYS_fcntl, w->fd, F_NOTIFY, w->mask, 0, 0, 0);
		}
	}
	return n;
}
