/* SPDX-License-Identifier: GPL-2.0-or-later */

/* What only a thread itself can tell: the questions to one, and what it has answered. */
#include "base/macro.h"
#include "checkpoint/collect_internal.h"
#include "checkpoint/continued.h"
#include "checkpoint/image.pb-c.h"
#include "checkpoint/keys.h"
#include "checkpoint/ldt.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/prctl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/time.h>

#define FDS_AT_ONCE 256
#define RLIMITS 16

struct kernel_sigaction {
	uint64_t handler, flags, restorer, mask;
};

static int copy_ids(const struct visit *v)
{
	struct ckpt_arena *a = &v->d->tree.arena;
	int64_t n = v->q.call[v->at.group_count].ret;
	Ckpt__Thread *t = v->t;

	if (n < 0 || n > CKPT_GROUPS_MAX)
		return -EOVERFLOW;
	t->uids = ckpt_alloc(a, 4 * sizeof(uint32_t));
	t->gids = ckpt_alloc(a, 4 * sizeof(uint32_t));
	t->groups = ckpt_memdup(a, ckpt_ask_answer(&v->q, v->at.groups), (size_t)n * sizeof(uint32_t));
	if (!t->uids || !t->gids || !t->groups)
		return -ENOMEM;
	t->n_uids = t->n_gids = 4;
	t->n_groups = (size_t)n;
	memcpy(t->uids, ckpt_ask_answer(&v->q, v->at.uids), 3 * sizeof(uint32_t));
	memcpy(t->gids, ckpt_ask_answer(&v->q, v->at.gids), 3 * sizeof(uint32_t));
	t->uids[3] = (uint32_t)v->q.call[v->at.fsuid].ret;
	t->gids[3] = (uint32_t)v->q.call[v->at.fsgid].ret;
	return 0;
}

static int copy_actions(struct ckpt_arena *a, Ckpt__SignalActions *s, const struct kernel_sigaction *action)
{
	s->action = ckpt_alloc(a, 64 * sizeof(*s->action));
	if (!s->action)
		return -ENOMEM;
	for (uint32_t i = 1; i <= 64; i++) {
		const struct kernel_sigaction *ka = &action[i - 1];
		Ckpt__SignalAction *sa;

		if (!ka->handler && !ka->flags)
			continue;
		sa = ckpt_alloc(a, sizeof(*sa));
		if (!sa)
			return -ENOMEM;
		ckpt__signal_action__init(sa);
		*sa = (Ckpt__SignalAction){ sa->base, i, ka->handler, ka->flags, ka->restorer, ka->mask };
		s->action[s->n_action++] = sa;
	}
	return 0;
}

static int copy_timers(struct ckpt_arena *a, Ckpt__Process *p, const struct itimerval *timer)
{
	p->itimers = ckpt_alloc(a, 3 * sizeof(*p->itimers));
	for (int i = 0; p->itimers && i < 3; i++) {
		Ckpt__Itimer *t = ckpt_alloc(a, sizeof(*t));

		if (!t)
			return -ENOMEM;
		ckpt__itimer__init(t);
		t->interval_us =
			(uint64_t)timer[i].it_interval.tv_sec * 1000000 + (uint64_t)timer[i].it_interval.tv_usec;
		t->value_us = (uint64_t)timer[i].it_value.tv_sec * 1000000 + (uint64_t)timer[i].it_value.tv_usec;
		p->itimers[p->n_itimers++] = t;
	}
	return p->itimers ? 0 : -ENOMEM;
}

static int copy_limits(struct ckpt_arena *a, Ckpt__Process *p, const struct visit *v)
{
	const struct rlimit64 *limit = ckpt_ask_answer(&v->q, v->at.limits);

	p->rlimits = ckpt_alloc(a, RLIMITS * sizeof(*p->rlimits));
	for (size_t i = 0; p->rlimits && i < RLIMITS; i++) {
		Ckpt__Rlimit *l = ckpt_alloc(a, sizeof(*l));
		int64_t r = v->q.call[v->at.first_limit + i].ret;

		if (!l || r < 0)
			return l ? (int)r : -ENOMEM;
		ckpt__rlimit__init(l);
		l->soft = limit[i].rlim_cur;
		l->hard = limit[i].rlim_max;
		p->rlimits[p->n_rlimits++] = l;
	}
	return p->rlimits ? 0 : -ENOMEM;
}

static int copy_process(struct visit *v)
{
	struct ckpt_task *k = v->k;
	int subreaper, r = copy_actions(&v->d->tree.arena, k->actions, ckpt_ask_answer(&v->q, v->at.actions));

	memcpy(&subreaper, ckpt_ask_answer(&v->q, v->at.subreaper), sizeof(subreaper));
	k->mm->brk = (uint64_t)v->q.call[v->at.brk].ret;
	k->has_continued = ckpt_continued_take(&v->q, v->at.continued);
	k->mm->keys = ckpt_keys_take(&v->q, v->at.keys);
	k->process->dumpable = (int32_t)v->q.call[v->at.dumpable].ret;
	k->process->thp_disable = v->q.call[v->at.thp].ret > 0 ? (uint32_t)v->q.call[v->at.thp].ret : 0;
	k->process->personality = (uint32_t)v->q.call[v->at.persona].ret;
	k->process->child_subreaper = subreaper != 0;
	v->has_ldt = (int32_t)v->q.call[v->at.ldt].ret > 0;
	for (size_t i = 0; i < v->at.fd_count; i++)
		k->fds->fd[i]->cloexec = v->q.call[v->at.fds + i].ret & FD_CLOEXEC;
	if (r == 0)
		r = copy_limits(&v->d->tree.arena, k->process, v);
	return r == 0 ? copy_timers(&v->d->tree.arena, k->process, ckpt_ask_answer(&v->q, v->at.timers)) : r;
}

/*
 * Which fds close on exec. The flags in fdinfo also have the O_CLOEXEC with which the file was opened,
 * even when the fd is a duplicate without it (seen on Linux 6.18).
 */
static int ask_fds(struct visit *v, const Ckpt__FdTable *t, size_t from, struct err *e)
{
	int r = 0;

	for (size_t at = from, n; r == 0 && at < t->n_fd; at += n) {
		n = t->n_fd - at < CKPT_BATCH_MAX ? t->n_fd - at : CKPT_BATCH_MAX;
		ckpt_ask_init(&v->q, &v->b);
		for (size_t i = 0; i < n; i++)
			ckpt_ask(&v->q, SYS_fcntl, t->fd[at + i]->fd, F_GETFD, 0, 0);
		r = ckpt_batch_run(&v->b, &v->th, v->q.call, n, e);
		for (size_t i = 0; r == 0 && i < n; i++)
			t->fd[at + i]->cloexec = v->q.call[i].ret & FD_CLOEXEC;
	}
	return r;
}

static void ask_process(struct visit *v)
{
	struct ckpt_asking *q = &v->q;
	struct places *at = &v->at;
	const Ckpt__FdTable *fds = v->k->fds;

	at->brk = ckpt_ask(q, SYS_brk, 0, 0, 0, 0);
	at->dumpable = ckpt_ask(q, SYS_prctl, PR_GET_DUMPABLE, 0, 0, 0);
	at->thp = ckpt_ask(q, SYS_prctl, PR_GET_THP_DISABLE, 0, 0, 0);
	at->ldt = ckpt_ldt_ask(q);
	at->keys = ckpt_keys_ask(q);
	at->continued = ckpt_continued_ask(q);
	at->persona = ckpt_ask(q, SYS_personality, UINT32_MAX, 0, 0, 0);
	at->subreaper = ckpt_ask_room(q, sizeof(int));
	ckpt_ask(q, SYS_prctl, PR_GET_CHILD_SUBREAPER, at->subreaper, 0, 0);
	at->actions = ckpt_ask_room(q, 64 * sizeof(struct kernel_sigaction));
	for (uint64_t i = 0; i < 64; i++)
		ckpt_ask(q, SYS_rt_sigaction, i + 1, 0, at->actions + i * sizeof(struct kernel_sigaction), 8);
	at->timers = ckpt_ask_room(q, 3 * sizeof(struct itimerval));
	for (uint64_t i = 0; i < 3; i++)
		ckpt_ask(q, SYS_getitimer, i, at->timers + i * sizeof(struct itimerval), 0, 0);
	at->limits = ckpt_ask_room(q, RLIMITS * sizeof(struct rlimit64));
	at->first_limit = q->count;
	for (uint64_t i = 0; i < RLIMITS; i++)
		ckpt_ask(q, SYS_prlimit64, 0, i, 0, at->limits + i * sizeof(struct rlimit64));
	at->fds = q->count;
	at->fd_count = fds->n_fd < FDS_AT_ONCE ? fds->n_fd : FDS_AT_ONCE;
	for (size_t i = 0; i < at->fd_count; i++)
		ckpt_ask(q, SYS_fcntl, fds->fd[i]->fd, F_GETFD, 0, 0);
}

void visit_ask(struct visit *v)
{
	struct ckpt_asking *q = &v->q;
	struct places *at = &v->at;
	uint64_t listed[CKPT_GROUPS_MAX];
	size_t groups = ckpt_status_numbers(&v->status, "Groups", 10, listed, CKPT_GROUPS_MAX);

	ckpt_ask_init(q, &v->b);
	at->uids = ckpt_ask_room(q, 3 * sizeof(uint32_t));
	at->gids = ckpt_ask_room(q, 3 * sizeof(uint32_t));
	at->groups = ckpt_ask_room(q, groups * sizeof(uint32_t));
	ckpt_ask(q, SYS_getresuid, at->uids, at->uids + 4, at->uids + 8, 0);
	ckpt_ask(q, SYS_getresgid, at->gids, at->gids + 4, at->gids + 8, 0);
	at->group_count = ckpt_ask(q, SYS_getgroups, groups, at->groups, 0, 0);
	at->fsuid = ckpt_ask(q, SYS_setfsuid, UINT32_MAX, 0, 0, 0);
	at->fsgid = ckpt_ask(q, SYS_setfsgid, UINT32_MAX, 0, 0, 0);
	at->altstack = ckpt_ask_room(q, sizeof(stack_t));
	ckpt_ask(q, SYS_sigaltstack, 0, at->altstack, 0, 0);
	at->tid_address = ckpt_ask_room(q, sizeof(uint64_t));
	ckpt_ask(q, SYS_prctl, PR_GET_TID_ADDRESS, at->tid_address, 0, 0);
	at->pdeath = ckpt_ask_room(q, sizeof(int));
	ckpt_ask(q, SYS_prctl, PR_GET_PDEATHSIG, at->pdeath, 0, 0);
	at->secure = ckpt_ask(q, SYS_prctl, PR_GET_SECUREBITS, 0, 0, 0);
	ckpt_attributes_ask(q, &v->attributes);
	ckpt_registrations_ask(q, &v->registrations, v->leader);
	if (!v->leader)
		return;
	ask_process(v);
	v->policies = (struct ckpt_policy_places){ 0 };
	ckpt_policies_ask(q, v->k, &v->policies); /* last: what fits */
}

int visit_take(struct visit *v, struct err *e)
{
	Ckpt__Thread *t = v->t;
	int pdeath, r = copy_ids(v);
	stack_t altstack;

	memcpy(&altstack, ckpt_ask_answer(&v->q, v->at.altstack), sizeof(altstack));
	memcpy(&t->clear_tid, ckpt_ask_answer(&v->q, v->at.tid_address), sizeof(t->clear_tid));
	memcpy(&pdeath, ckpt_ask_answer(&v->q, v->at.pdeath), sizeof(pdeath));
	t->altstack = (uint64_t)(uintptr_t)altstack.ss_sp;
	t->altstack_size = altstack.ss_size;
	t->altstack_flags = (uint32_t)altstack.ss_flags;
	t->pdeath_signal = (uint32_t)pdeath;
	t->securebits = (uint32_t)v->q.call[v->at.secure].ret;
	if (v->leader && r == 0)
		r = copy_process(v);
	ckpt_attributes_take(&v->q, &v->attributes, t, v->leader ? v->k : NULL);
	if (r < 0)
		return err_code(e, r, "collect process %d", (int)v->k->pid);
	r = ckpt_registrations_take(v->d, &v->q, &v->registrations, t, v->leader ? v->k : NULL, e);
	if (r == 0 && v->leader)
		ckpt_policies_take(&v->q, v->k, &v->policies);
	/* Lists of their own, over what was answered. */
	if (r == 0 && t->own && t->own->fds)
		r = ask_fds(v, t->own->fds, 0, e);
	if (r < 0 || !v->leader)
		return r;
	r = ask_fds(v, v->k->fds, v->at.fd_count, e);
	return r == 0 ? ckpt_policies_finish(v->d, &v->q, v->k, &v->policies, &v->b, &v->th, e) : r;
}
