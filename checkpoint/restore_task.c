/* SPDX-License-Identifier: GPL-2.0-or-later */

/* One process: two lists for its memory, with its pages put in between, then what else it is, then
 * its threads. */
#include "base/macro.h"
#include "checkpoint/image.pb-c.h"
#include "checkpoint/attributes.h"
#include "checkpoint/compat.h"
#include "checkpoint/dnotify.h"
#include "checkpoint/ipc.h"
#include "checkpoint/ldt.h"
#include "checkpoint/leaders.h"
#include "checkpoint/locked.h"
#include "checkpoint/own.h"
#include "checkpoint/queues.h"
#include "checkpoint/registrations.h"
#include "checkpoint/restore_births.h"
#include "checkpoint/restore_internal.h"
#include "checkpoint/restore_spaces.h"
#include "checkpoint/seccomp.h"
#include "checkpoint/uring.h"

#include <linux/capability.h>
#include <linux/close_range.h>
#include <linux/securebits.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>

static void set_signals(const struct ckpt_task *k, struct list *l)
{
	for (size_t i = 0; i < k->actions->n_action; i++) {
		const Ckpt__SignalAction *a = k->actions->action[i];
		uint64_t ka[4] = { a->handler, a->flags, a->restorer, a->mask };

		if (a->signal != SIGKILL && a->signal != SIGSTOP)
			list_call(l, "set a signal's action", SYS_rt_sigaction, a->signal,
				  list_put(l, ka, sizeof(ka)), 0, 8, 0, 0);
	}
}

int restore_place_fds(struct restore *r, struct restoring *p, size_t thread, const Ckpt__FdTable *t, struct list *l,
		      struct err *e)
{
	bool std[3] = { false };
	int n = 0;

	for (size_t i = 0; n == 0 && i < t->n_fd; i++) {
		const Ckpt__Fd *f = t->fd[i];

		if (f->fd < 3)
			std[f->fd] = true;
		if (!list_fits(l, 3, 0))
			n = list_run(l, &p->batch, &p->threads[thread], e);
		list_call(l, "place an open file", SYS_dup3, (uint64_t)restore_fd_file(r, f->file), f->fd,
			  f->cloexec ? 02000000 : 0, 0, 0, 0);
		restore_told_fd(r->tree.files[f->file - 1], f->fd, l);
	}
	for (uint64_t i = 0; n == 0 && i < 3; i++) {
		if (!list_fits(l, 1, 0))
			n = list_run(l, &p->batch, &p->threads[thread], e);
		if (!std[i])
			list_call(l, NULL, SYS_close, i, 0, 0, 0, 0, 0);
	}
	return n;
}

/* The last of the numbers above the guest's that it places, or goes by, itself. */
static uint32_t last_needed(const struct restore *r, const struct restoring *p)
{
	const Ckpt__Process *k = p->task->process;
	int last = r->base;

	for (size_t i = 0; i < p->task->fds->n_fd; i++)
		if (restore_fd_file(r, p->task->fds->fd[i]->file) > last)
			last = restore_fd_file(r, p->task->fds->fd[i]->file);
	if (p->place >= 0 && restore_fd_place(r, p->place) + 1 > last)
		last = restore_fd_place(r, p->place) + 1;
	return (uint32_t)(k->cwd_ghost && restore_fd_ghost(r, k->cwd_ghost) > last ? restore_fd_ghost(r, k->cwd_ghost)
										   : last);
}

/* What lies behind is neither copied into its table nor closed in that, which thousands of processes do for each of thousands of
 * files. */
static int set_fds(struct restore *r, struct restoring *p, struct list *l, struct err *e)
{
	if (!p->task->process->files_group && !p->subject && !restore_has_early_threads(r, p))
		list_call(l, "have its own table of open files", SYS_close_range, last_needed(r, p) + 1, UINT32_MAX,
			  CLOSE_RANGE_UNSHARE, 0, 0, 0);
	return restore_place_fds(r, p, 0, p->task->fds, l, e);
}

int restore_process(struct restore *r, struct restoring *p, struct list *l, struct err *e)
{
	const Ckpt__Process *k = p->task->process;
	int n = restore_own(r, p, l, e);

	list_init(l, r);
	if (n == 0)
		n = restore_dress(p, l, e);
	if (n == 0)
		n = restore_ldt(p, l, e);
	if (n == 0 && (!k->files_group || k->files_group == k->pid))
		n = set_fds(r, p, l, e);
	if (n == 0 && !list_fits(l, 80, 16384))
		n = list_run(l, &p->batch, &p->threads[0], e);
	if (n == 0 && p->task->mm->compat_vdso.len)
		n = restore_compat_actions(p, e);
	if (n < 0)
		return n;
	if (k->cwd_ghost || restore_goes_late(p))
		list_call(l, "go to its directory", SYS_fchdir,
			  (uint64_t)(k->cwd_ghost ? restore_fd_ghost(r, k->cwd_ghost) : restore_fd_place(r, p->place) + 1),
			  0, 0, 0, 0, 0);
	list_call(l, "close what is not its own", SYS_close_range, (uint64_t)r->base, UINT32_MAX, 0, 0, 0, 0);
	if (!p->task->mm->compat_vdso.len)
		set_signals(p->task, l);
	restore_locked(p->task->mm, l);
	if (!k->cwd_ghost && p->place < 0)
		list_call(l, "go to its directory", SYS_chdir, list_put(l, k->cwd, strlen(k->cwd) + 1), 0, 0, 0, 0,
			  0);
	list_call(l, NULL, SYS_umask, k->umask & 0777, 0, 0, 0, 0, 0);
	list_call(l, "set its personality", SYS_personality, k->personality, 0, 0, 0, 0, 0);
	if (k->child_subreaper)
		list_call(l, "adopt orphans", SYS_prctl, PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0, 0);
	if (k->thp_disable)
		list_call(l, "do without huge pages", SYS_prctl, PR_SET_THP_DISABLE, 1, k->thp_disable & ~1u, 0, 0, 0);
	restore_registrations(p->task, l);
	n = restore_dnotify(r, p, l, e);
	if (n == 0)
		n = restore_notify(r, p, l, e);
	if (n == 0)
		n = restore_table_locks(p, 0, p->task->fds, l, e);
	if (n < 0)
		return n;
	/* The first of those that share a table fills it before another takes out of it what all files came by. */
	return k->files_group ? list_run(l, &p->batch, &p->threads[0], e)
			      : list_start(l, &p->batch, &p->threads[0], e);
}

/* Never more than the VPS was started with. */
static int set_limit(const struct restoring *p, size_t i, const Ckpt__Rlimit *to, struct err *e)
{
	struct rlimit64 now, lim = { to->soft, to->hard };

	if (prlimit64(p->batch.pid, (enum __rlimit_resource)i, NULL, &now) < 0)
		return err_sys(e, "read the limits of process %u", p->task->process->pid);
	if (lim.rlim_max > now.rlim_max)
		lim.rlim_max = now.rlim_max;
	if (lim.rlim_cur > lim.rlim_max)
		lim.rlim_cur = lim.rlim_max;
	if ((lim.rlim_cur != now.rlim_cur || lim.rlim_max != now.rlim_max) &&
	    prlimit64(p->batch.pid, (enum __rlimit_resource)i, &lim, NULL) < 0)
		return err_sys(e, "set the limits of process %u", p->task->process->pid);
	return 0;
}

int restore_outside(struct restore *r, struct restoring *p, struct list *l, struct err *e)
{
	const Ckpt__Process *k = p->task->process;
	int n = 0;

	(void)r;
	(void)l;
	for (size_t i = 0; n == 0 && i < k->n_rlimits; i++)
		n = set_limit(p, i, k->rlimits[i], e);
	return n == 0 ? restore_attributes_outside(p, e) : n;
}

/* `as`: who has them as they are, NULL for the VPS's root; what is the same need not be allowed, nor have a
 * number, in a user namespace that the thread was born in. */
static void set_ids(const Ckpt__Thread *t, const Ckpt__Thread *as, struct list *l)
{
	if (!as || as->n_outer_groups != t->n_outer_groups ||
	    memcmp(as->outer_groups, t->outer_groups, t->n_outer_groups * sizeof(uint32_t)) != 0)
		list_call(l, "set its groups", SYS_setgroups, t->n_groups,
			  list_put(l, t->groups, t->n_groups * sizeof(uint32_t)), 0, 0, 0, 0);
	if (!as || memcmp(as->outer_gids, t->outer_gids, 4 * sizeof(uint32_t)) != 0) {
		list_call(l, "set its group ids", SYS_setresgid, t->gids[0], t->gids[1], t->gids[2], 0, 0, 0);
		list_call(l, "set its file system group", SYS_setfsgid, t->gids[3], 0, 0, 0, 0, 0);
	}
	if (!as || memcmp(as->outer_uids, t->outer_uids, 4 * sizeof(uint32_t)) != 0) {
		list_call(l, "set its user ids", SYS_setresuid, t->uids[0], t->uids[1], t->uids[2], 0, 0, 0);
		list_call(l, "set its file system user", SYS_setfsuid, t->uids[3], 0, 0, 0, 0, 0);
	}
}

/* What it has given up for good and may still inherit: nobody can add that once it is given up (capset(2)). What is
 * needed to become another is kept until then. */
static void inherit_beyond(const Ckpt__Thread *t, struct list *l)
{
	struct __user_cap_header_struct h = { _LINUX_CAPABILITY_VERSION_3, 0 };
	uint64_t has = t->caps[1] | 1u << CAP_SETPCAP | 1u << CAP_SETUID | 1u << CAP_SETGID;
	struct __user_cap_data_struct d[2] = {
		{ (uint32_t)has, (uint32_t)has, (uint32_t)t->caps[0] },
		{ (uint32_t)(has >> 32), (uint32_t)(has >> 32), (uint32_t)(t->caps[0] >> 32) },
	};

	list_call(l, "set what it may inherit", SYS_capset, list_put(l, &h, sizeof(h)), list_put(l, d, sizeof(d)), 0, 0, 0,
		  0);
}

/* Identity comes last of all that a thread does for itself: it may not do much afterwards. Ids and
 * capabilities are the VPS's own; the kernel bounds them by its user namespace and bounding set. */
static void set_identity(const Ckpt__Thread *t, const Ckpt__Thread *as, struct list *l)
{
	struct __user_cap_header_struct h = { _LINUX_CAPABILITY_VERSION_3, 0 };
	struct __user_cap_data_struct d[2] = {
		{ (uint32_t)t->caps[2], (uint32_t)t->caps[1], (uint32_t)t->caps[0] },
		{ (uint32_t)(t->caps[2] >> 32), (uint32_t)(t->caps[1] >> 32), (uint32_t)(t->caps[0] >> 32) },
	};

	if (t->caps[0] & ~t->caps[3])
		inherit_beyond(t, l);
	for (uint64_t c = 0; c <= 40; c++)
		if (!(t->caps[3] >> c & 1))
			list_call(l, NULL, SYS_prctl, PR_CAPBSET_DROP, c, 0, 0, 0, 0);
	list_call(l, "keep capabilities", SYS_prctl, PR_SET_SECUREBITS,
		  SECBIT_KEEP_CAPS | SECBIT_NO_SETUID_FIXUP, 0, 0, 0, 0);
	if (as != t)
		set_ids(t, as, l);
	list_call(l, "set its secure bits", SYS_prctl, PR_SET_SECUREBITS, t->securebits, 0, 0, 0, 0);
	list_call(l, "set its capabilities", SYS_capset, list_put(l, &h, sizeof(h)),
		  list_put(l, d, sizeof(d)), 0, 0, 0, 0);
	for (uint64_t c = 0; c <= 40; c++)
		if (t->caps[4] >> c & 1)
			list_call(l, "raise an ambient capability", SYS_prctl, PR_CAP_AMBIENT,
				  PR_CAP_AMBIENT_RAISE, c, 0, 0, 0);
	if (t->no_new_privs)
		list_call(l, "do without new privileges", SYS_prctl, PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0, 0);
}

/* While the thread has all capabilities yet: who put a filter may have had them and lost them since. They do
 * not apply before the engine lets go. */
int restore_filters(struct restore *r, struct restoring *p, size_t thread, size_t from, size_t to,
		    struct list *l, struct err *e)
{
	int n = 0;

	list_init(l, r);
	while (n == 0 && from < to) {
		from = ckpt_seccomp_put(&r->tree, p->task->threads[thread], from, to, l);
		n = list_run(l, &p->batch, &p->threads[thread], e);
	}
	return n;
}

/* What all threads have in common they inherit: threads whose filters descend from each other may
 * synchronize them (SECCOMP_FILTER_FLAG_TSYNC). */
int restore_share_filters(struct restore *r, struct restoring *p, struct list *l, struct err *e)
{
	const struct ckpt_task *k = p->task;
	size_t common = k->threads[0]->n_seccomp;
	int n;

	for (size_t i = 1; i < k->thread_count; i++) {
		size_t both = ckpt_seccomp_common(k->threads[0], k->threads[i]);

		if (both < common)
			common = both;
	}
	if (k->thread_count == 1 || common <= p->filters)
		return 0;
	n = restore_filters(r, p, 0, p->filters, common, l, e);
	p->filters = common;
	return n;
}

/* A list that is yet to run. */
static int set_thread(struct restore *r, struct restoring *p, size_t i, struct list *l, struct err *e)
{
	const Ckpt__Thread *t = p->task->threads[i];
	stack_t alt = { (void *)(uintptr_t)t->altstack, (int)(t->altstack_flags & ~(uint32_t)SS_ONSTACK), /* NOLINT */
			t->altstack_size };
	char comm[16] = { 0 };
	int n = restore_filters(r, p, i, p->filters, t->n_seccomp, l, e);

	if (n == 0)
		n = restore_compat_thread(p, i, e);
	if (n == 0)
		n = restore_uring_owned(r, p, i, l, e);
	if (n < 0)
		return n;
	list_init(l, r);
	snprintf(comm, sizeof(comm), "%.15s", t->comm);
	list_call(l, "name it", SYS_prctl, PR_SET_NAME, list_put(l, comm, sizeof(comm)), 0, 0, 0, 0);
	/* It may have been born before its process had this. */
	if (i > 0)
		list_call(l, "set its personality", SYS_personality, p->task->process->personality, 0, 0, 0, 0, 0);
	if (t->altstack_size)
		list_call(l, "set its signal stack", SYS_sigaltstack, list_put(l, &alt, sizeof(alt)), 0, 0,
			  0, 0, 0);
	list_call(l, "set its list of robust futexes", SYS_set_robust_list, t->robust_list,
		  t->robust_list_size ? t->robust_list_size : 24, 0, 0, 0, 0);
	list_call(l, "set its end address", SYS_set_tid_address, t->clear_tid, 0, 0, 0, 0, 0);
	if (t->rseq)
		list_call(l, "register its restartable sequences", SYS_rseq, t->rseq, t->rseq_size, 0,
			  t->rseq_signature, 0, 0);
	restore_uring_rings(t, l);
	restore_attributes(t, l);
	set_identity(t, restore_has_own_user(r, p) ? t : p->as, l);
	/* Another identity undoes these (prctl(2)). The first is tied to its holder. */
	if ((i > 0 || p->task->process->pid != 1) && !(t->pdeath_signal && restore_is_tied_late(r, p)))
		list_call(l, "tie it to its parent", SYS_prctl, PR_SET_PDEATHSIG, t->pdeath_signal, 0, 0, 0, 0);
	else if (i == 0 && p->task->process->pid == 1)
		list_call(l, "tie it to its holder", SYS_prctl, PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0, 0);
	if (i == 0)
		list_call(l, NULL, SYS_prctl, PR_SET_DUMPABLE, p->task->process->dumpable == 1, 0, 0, 0, 0);
	if (i == 0)
		restore_attributes_late(p->task, l);
	return 0;
}

/* The first thread last: it makes the others, and may not afterwards. */
int restore_threads(struct restore *r, struct restoring *p, struct list *l, struct err *e)
{
	const struct ckpt_task *k = p->task;
	bool there = p->subject || restore_has_early_threads(r, p);
	int n = there ? 0 : restore_share_filters(r, p, l, e);

	for (size_t i = 1; n == 0 && !there && i < k->thread_count; i++)
		n = restore_bear_thread(r, p, i, p->user, l, e);
	for (size_t i = k->thread_count - 1; n == 0 && i > 0; i--) {
		n = set_thread(r, p, i, l, e);
		if (n == 0)
			n = list_run(l, &p->batch, &p->threads[i], e);
	}
	if (n == 0)
		n = set_thread(r, p, 0, l, e);
	return n == 0 ? list_start(l, &p->batch, &p->threads[0], e) : n;
}
