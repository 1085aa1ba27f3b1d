/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "checkpoint/own.h"

#include "base/macro.h"
#include "checkpoint/ghosts.h"
#include "checkpoint/image.pb-c.h"
#include "checkpoint/spaces.h"

#include <errno.h>
#include <linux/kcmp.h>
#include <sched.h>
#include <sys/syscall.h>

static bool is_same(pid_t a, pid_t b, int what)
{
	return syscall(SYS_kcmp, a, b, what, 0, 0) == 0;
}

/* Another thread than the first that has it, too: nothing could give both the same again. */
static int check_alone(const struct ckpt_task *k, pid_t tid, int what, struct err *e)
{
	for (size_t i = 1; k->tids[i] != tid; i++)
		if (is_same(k->tids[i], tid, what))
			return err_set(e, ERR_UNSUPPORTED, "threads %d and %d of process %d share %s that the first one does "
				       "not have, which cannot be saved", (int)k->tids[i], (int)tid, (int)k->pid,
				       what == KCMP_FS ? "a directory" : "open files");
	return 0;
}

static int collect_fs(struct ckpt_dump *d, pid_t tid, Ckpt__ThreadFs **ret, struct err *e)
{
	Ckpt__ThreadFs *f = ckpt_alloc(&d->tree.arena, sizeof(*f));
	struct ckpt_status s;
	uint64_t v = 022;
	int r;

	if (!f)
		return err_code(e, -ENOMEM, "collect thread %d", (int)tid);
	ckpt__thread_fs__init(f);
	r = ckpt_status_read(tid, &s);
	if (r < 0)
		return err_code(e, r, "look at thread %d", (int)tid);
	ckpt_status_numbers(&s, "Umask", 8, &v, 1);
	f->umask = (uint32_t)v;
	r = ckpt_place_link(d, tid, "cwd", &f->cwd, &f->cwd_ghost, &f->cwd_space, e);
	if (r == 0)
		r = ckpt_place_link(d, tid, "root", &f->root, &f->root_ghost, &f->root_space, e);
	*ret = f;
	return r;
}

static int collect_fds(struct ckpt_dump *d, pid_t tid, const Ckpt__Thread *t, Ckpt__FdTable **ret, struct err *e)
{
	Ckpt__FdTable *table = ckpt_alloc(&d->tree.arena, sizeof(*table));

	if (!table)
		return err_code(e, -ENOMEM, "collect files");
	ckpt__fd_table__init(table);
	table->pid = t->tid;
	*ret = table;
	return ckpt_table_collect(d, tid, table, e);
}

int ckpt_own_collect(struct ckpt_dump *d, const struct ckpt_task *k, pid_t tid, Ckpt__Thread *t, struct err *e)
{
	bool fs = !is_same(k->pid, tid, KCMP_FS), files = !is_same(k->pid, tid, KCMP_FILES);
	int r = 0;

	if (!fs && !files)
		return 0;
	t->own = ckpt_alloc(&d->tree.arena, sizeof(*t->own));
	if (!t->own)
		return err_code(e, -ENOMEM, "collect thread %d", (int)tid);
	ckpt__thread_own__init(t->own);
	if (fs)
		r = check_alone(k, tid, KCMP_FS, e);
	if (r == 0 && fs)
		r = collect_fs(d, tid, &t->own->fs, e);
	if (r == 0 && files)
		r = check_alone(k, tid, KCMP_FILES, e);
	return r == 0 && files ? collect_fds(d, tid, t, &t->own->fds, e) : r;
}

bool ckpt_has_own(const struct ckpt_task *k)
{
	for (size_t i = 1; i < k->thread_count; i++)
		if (k->threads[i]->own)
			return true;
	return false;
}

static int bad(const Ckpt__Thread *th, struct err *e)
{
	return err_set(e, ERR_FAIL, "the image is damaged: what thread %u has alone", th->tid);
}

int ckpt_own_check(const struct ckpt_tree *t, const struct ckpt_task *k, const Ckpt__Thread *th, struct err *e)
{
	const Ckpt__ThreadFs *f = th->own ? th->own->fs : NULL;
	const Ckpt__FdTable *table = th->own ? th->own->fds : NULL;

	if (th->own && th == k->threads[0])
		return bad(th, e);
	if (f && (f->cwd[0] != '/' || f->root[0] != '/' || strlen(f->cwd) >= 4096 || strlen(f->root) >= 4096 ||
		  f->cwd_ghost > t->ghost_count || f->root_ghost > t->ghost_count || !ckpt_space_is_mnt(t, f->cwd_space) ||
		  !ckpt_space_is_mnt(t, f->root_space)))
		return bad(th, e);
	for (size_t i = 0; table && i < table->n_fd; i++)
		if (table->fd[i]->file == 0 || table->fd[i]->file > t->file_count || table->fd[i]->fd > CKPT_FD_MAX)
			return bad(th, e);
	return table ? ckpt_locks_check(NULL, table, e) : 0;
}

static void enter_fs(struct restore *r, const struct restoring *p, size_t i, struct list *l)
{
	const Ckpt__Thread *t = p->task->threads[i], *leader = p->task->threads[0];
	const Ckpt__ThreadFs *f = t->own->fs;
	uint64_t at = (uint64_t)restore_fd_place(r, p->own_place[i]);

	list_call(l, "have its own directory", SYS_unshare, CLONE_FS, 0, 0, 0, 0, 0);
	if (t->n_spaces && t->spaces[CKPT_SPACE_MNT] != leader->spaces[CKPT_SPACE_MNT])
		list_call(l, "enter a thread's mount namespace", SYS_setns,
			  (uint64_t)restore_fd_space(r, t->spaces[CKPT_SPACE_MNT]), CLONE_NEWNS, 0, 0, 0, 0);
	list_call(l, "go to its root", SYS_fchdir, at, 0, 0, 0, 0, 0);
	list_call(l, "change its root", SYS_chroot, list_put(l, ".", 2), 0, 0, 0, 0, 0);
	list_call(l, "go to its directory", SYS_fchdir,
		  f->cwd_ghost ? (uint64_t)restore_fd_ghost(r, f->cwd_ghost) : at + 1, 0, 0, 0, 0, 0);
	list_call(l, NULL, SYS_umask, f->umask & 0777, 0, 0, 0, 0, 0);
}

static int one(struct restore *r, struct restoring *p, size_t i, struct list *l, struct err *e)
{
	const Ckpt__ThreadOwn *own = p->task->threads[i]->own;
	int n = 0;

	list_init(l, r);
	if (own->fs)
		enter_fs(r, p, i, l);
	if (!own->fds)
		return list_run(l, &p->batch, &p->threads[i], e);
	list_call(l, "have its own table of open files", SYS_unshare, CLONE_FILES, 0, 0, 0, 0, 0);
	n = restore_place_fds(r, p, i, own->fds, l, e);
	if (n == 0 && !list_fits(l, 1, 0))
		n = list_run(l, &p->batch, &p->threads[i], e);
	list_call(l, "close what is not its own", SYS_close_range, (uint64_t)r->base, UINT32_MAX, 0, 0, 0, 0);
	if (n == 0)
		n = restore_table_locks(p, i, own->fds, l, e);
	return n == 0 ? list_run(l, &p->batch, &p->threads[i], e) : n;
}

int restore_own(struct restore *r, struct restoring *p, struct list *l, struct err *e)
{
	int n = 0;

	for (size_t i = 1; n == 0 && i < p->task->thread_count; i++)
		if (p->task->threads[i]->own)
			n = one(r, p, i, l, e);
	return n;
}
