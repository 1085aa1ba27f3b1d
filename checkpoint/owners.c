/* SPDX-License-Identifier: GPL-2.0-or-later */

/*
 * Who is sent SIGIO or SIGURG for an open file (F_SETOWN), with which signal (F_SETSIG), by whose rights.
 */
#include "base/macro.h"
#include "checkpoint/image.pb-c.h"
#include "checkpoint/dnotify.h"
#include "checkpoint/restore_internal.h"
#include "checkpoint/whose.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#ifndef F_GETOWNER_UIDS
#define F_GETOWNER_UIDS 17 /* CONFIG_CHECKPOINT_RESTORE */
#endif

#define SETTABLE (O_APPEND | O_NONBLOCK | O_DIRECT | O_NOATIME | O_ASYNC)

int ckpt_owner_collect(struct ckpt_dump *d, const struct ckpt_fd *f, Ckpt__File *out, struct err *e)
{
	struct f_owner_ex o = { 0 };
	uint32_t uids[2] = { 0 };
	int sig = fcntl(f->own, F_GETSIG);

	/* Neither is possible for a place (O_PATH). */
	if (sig < 0 || fcntl(f->own, F_GETOWN_EX, &o) < 0)
		return f->flags & O_PATH ? 0 :
					   err_sys(e, "ask for the owner of fd %d of process %d", f->fd, (int)f->pid);
	out->signal = (uint32_t)sig;
	if (!o.pid)
		return 0;
	if (fcntl(f->own, F_GETOWNER_UIDS, uids) < 0)
		return err_sys(e, "ask for the owner of fd %d of process %d", f->fd, (int)f->pid);
	out->owner = (uint32_t)o.pid; /* the host's until all processes are known */
	out->owner_type = (uint32_t)o.type;
	out->owner_uids = ckpt_memdup(&d->tree.arena, uids, sizeof(uids));
	out->n_owner_uids = 2;
	if (!out->owner_uids)
		return err_code(e, -ENOMEM, "collect files");
	for (int i = 0; i < 2; i++)
		out->owner_uids[i] -= d->uid_base;
	return ckpt_dnotify_collect(d, f, out, e);
}

struct whose {
	struct ckpt_whose threads, groups;
};

/* As the VPS numbers it; 0: it is not there. */
static uint32_t inside(const struct whose *all, int type, pid_t pid)
{
	const struct ckpt_whose_thread *w = ckpt_whose_find(type == F_OWNER_PGRP ? &all->groups : &all->threads, (uint32_t)pid);

	if (!w || (type == F_OWNER_PID && w->task->leader != pid))
		return 0;
	if (type == F_OWNER_PGRP)
		return w->task->process->pgid;
	return type == F_OWNER_TID ? w->task->threads[w->thread]->tid : w->task->process->pid;
}

static bool any_owners(const struct ckpt_tree *t)
{
	bool any = false;

	for (size_t i = 0; i < t->file_count; i++)
		any |= t->files[i]->owner != 0;
	return any;
}

static int resolve(struct ckpt_dump *d, const struct whose *all, struct err *e)
{
	for (size_t i = 0; i < d->tree.file_count; i++) {
		Ckpt__File *f = d->tree.files[i];
		pid_t pid = (pid_t)f->owner;

		if (!pid)
			continue;
		f->owner = inside(all, (int)f->owner_type, pid);
		if (!f->owner)
			return err_set(e, ERR_UNSUPPORTED, "fd %d of process %d belongs (F_SETOWN) to %d, which is "
				       "outside the VPS, and cannot be saved", d->files.by_file[i]->fd,
				       (int)d->files.by_file[i]->pid, (int)pid);
	}
	return 0;
}

int ckpt_owners_resolve(struct ckpt_dump *d, struct err *e)
{
	struct whose all = { 0 };
	int r = 0;

	if (any_owners(&d->tree)) {
		r = ckpt_whose_make(&d->tree, CKPT_BY_HOST, &all.threads);
		if (r == 0)
			r = ckpt_whose_make(&d->tree, CKPT_BY_GROUP, &all.groups);
		r = r < 0 ? err_code(e, r, "collect files") : resolve(d, &all, e);
	}
	ckpt_whose_done(&all.threads);
	ckpt_whose_done(&all.groups);
	return r == 0 ? ckpt_dnotify_resolve(d, e) : r;
}

int ckpt_owner_check(const Ckpt__File *f, struct err *e)
{
	return f->signal > 64 || (f->owner && (f->n_owner_uids != 2 || f->owner_type > F_OWNER_PGRP))
		? err_set(e, ERR_FAIL, "the image is damaged: the owner of a file") : 0;
}

static void set_owner(const struct restore *r, uint32_t id, struct list *l)
{
	const Ckpt__File *f = r->tree.files[id - 1];
	struct f_owner_ex o = { .type = (int)f->owner_type, .pid = (pid_t)f->owner };
	uint64_t fd = (uint64_t)restore_fd_file(r, id);

	if (f->signal)
		list_call(l, "set a file's signal", SYS_fcntl, fd, F_SETSIG, f->signal, 0, 0, 0);
	if (f->owner) {
		/* The rights with which it was set are kept with it. */
		list_call(l, "set a file's owner", SYS_setresuid, f->owner_uids[0], f->owner_uids[1], 0, 0, 0, 0);
		list_call(l, "set a file's owner", SYS_fcntl, fd, F_SETOWN_EX, list_put(l, &o, sizeof(o)), 0, 0, 0);
		list_call(l, "set a file's owner", SYS_setresuid, 0, 0, 0, 0, 0, 0);
	}
	if (f->flags & O_ASYNC)
		list_call(l, "set a file's flags", SYS_fcntl, fd, F_SETFL,
			  f->flags & SETTABLE, 0, 0, 0);
}

void restore_told_fd(const Ckpt__File *f, uint32_t fd, struct list *l)
{
	unsigned flags = f->flags & SETTABLE;

	if (!(f->flags & O_ASYNC) || (f->flags & O_PATH))
		return;
	list_call(l, "set a file's flags", SYS_fcntl, fd, F_SETFL, flags & ~(unsigned)O_ASYNC, 0, 0, 0);
	list_call(l, "set a file's flags", SYS_fcntl, fd, F_SETFL, flags, 0, 0, 0);
}

int restore_owners(struct restore *r, struct list *l, struct err *e)
{
	struct restoring *p = &r->procs[0];
	int n = 0;

	for (uint32_t id = 1; n == 0 && id <= r->tree.file_count; id++) {
		if (!list_fits(l, 6, sizeof(struct f_owner_ex)))
			n = list_run(l, &p->batch, &p->threads[0], e);
		set_owner(r, id, l);
	}
	/* A change of ids takes it away. */
	if (n == 0)
		n = list_run(l, &p->batch, &p->threads[0], e);
	list_call(l, NULL, SYS_prctl, PR_SET_DUMPABLE, 1, 0, 0, 0, 0);
	return n == 0 ? list_run(l, &p->batch, &p->threads[0], e) : n;
}
