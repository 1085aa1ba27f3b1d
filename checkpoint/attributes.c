/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "checkpoint/attributes.h"

#include "base/fd.h"
#include "base/macro.h"
#include "checkpoint/image.pb-c.h"
#include "checkpoint/lookout.h"
#include "checkpoint/registrations.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/ioprio.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/syscall.h>

/* Younger than libc's headers. */
#define K_GET_MDWE 66
#define K_SET_MDWE 65
#define K_GET_CPUID 0x1011
#define K_SET_CPUID 0x1012
#define K_SET_DISPATCH 0x4210
#define SPECULATIONS 3 /* store bypass, indirect branches, L1D flush */

struct sched_attributes {
	uint32_t size, policy;
	uint64_t flags;
	int32_t nice;
	uint32_t priority;
	uint64_t runtime, deadline, period;
	uint32_t util_min, util_max;
};
#define K_UTIL_CLAMP 0x60u /* SCHED_FLAG_UTIL_CLAMP: both are given */
#define K_DEADLINE 6

static int sched_collect(struct ckpt_arena *a, pid_t pid, pid_t tid, Ckpt__ThreadMore *m,
			 struct err *e)
{
	struct sched_attributes s = { .size = sizeof(s) };
	struct rlimit64 lim;

	if (syscall(SYS_sched_getattr, tid, &s, sizeof(s), 0) < 0 ||
	    prlimit64(pid, RLIMIT_RTPRIO, NULL, &lim) < 0)
		return err_sys(e, "look at the scheduling of thread %d", (int)tid);
	if (s.policy == K_DEADLINE || (s.priority && s.priority > lim.rlim_cur)) {
		err_set(e, ERR_UNSUPPORTED,
			"thread %d has a real-time priority that its limits do not allow",
			(int)tid);
		return err_hint(e,
				"it was set from outside (chrt), and must be set back to be saved");
	}
	m->sched.data = ckpt_memdup(a, &s, sizeof(s));
	m->sched.len = sizeof(s);
	return m->sched.data ? 0 : err_code(e, -ENOMEM, "collect thread %d", (int)tid);
}

/* What is in files of /proc. */
static int files_collect(struct ckpt_dump *d, struct ckpt_task *k, Ckpt__ProcessMore *m, struct err *e)
{
	const char *text;
	size_t len;
	int r = ckpt_look(d, k->pid, CKPT_LOOK_OOM_SCORE, &text, &len);

	if (r < 0)
		return err_code(e, r, "read /proc/%d/oom_score_adj", (int)k->pid);
	k->process->oom_score_adj = (int32_t)atoi(text);
	r = ckpt_look(d, k->pid, CKPT_LOOK_CORE_FILTER, &text, &len);
	if (r < 0)
		return err_code(e, r, "read /proc/%d/coredump_filter", (int)k->pid);
	m->coredump_filter = (uint32_t)strtoul(text, NULL, 16);
	return 0;
}

void ckpt_attributes_ask(struct ckpt_asking *q, struct ckpt_attribute_places *at)
{
	at->tsc = ckpt_ask_room(q, sizeof(uint32_t));
	at->first = ckpt_ask(q, SYS_prctl, PR_GET_TSC, at->tsc, 0, 0);
	ckpt_ask(q, SYS_prctl, PR_GET_TIMERSLACK, 0, 0, 0);
	ckpt_ask(q, SYS_prctl, PR_MCE_KILL_GET, 0, 0, 0);
	ckpt_ask(q, SYS_arch_prctl, K_GET_CPUID, 0, 0, 0);
	ckpt_ask(q, SYS_prctl, K_GET_MDWE, 0, 0, 0);
	for (uint64_t i = 0; i < SPECULATIONS; i++)
		ckpt_ask(q, SYS_prctl, PR_GET_SPECULATION_CTRL, i, 0, 0);
}

void ckpt_attributes_take(const struct ckpt_asking *q, const struct ckpt_attribute_places *at, const Ckpt__Thread *t,
			  struct ckpt_task *leads)
{
	const struct ckpt_call *c = &q->call[at->first];
	Ckpt__ThreadMore *m = t->more;

	memcpy(&m->tsc, ckpt_ask_answer(q, at->tsc), sizeof(m->tsc));
	m->timer_slack = (uint64_t)c[1].ret;
	m->mce_kill = c[2].ret > 0 ? (uint32_t)c[2].ret : PR_MCE_KILL_DEFAULT;
	m->no_cpuid = c[3].ret == 0;
	if (leads)
		leads->process->more->mdwe = c[4].ret > 0 ? (uint32_t)c[4].ret : 0;
	for (size_t i = 0; i < SPECULATIONS; i++)
		m->speculation[m->n_speculation++] = c[5 + i].ret > 0 ? (uint32_t)c[5 + i].ret : 0;
}

int ckpt_attributes_collect(struct ckpt_dump *d, struct ckpt_task *k, const struct ckpt_thread *th, Ckpt__Thread *t,
			    bool leader, struct err *e)
{
	struct ckpt_arena *a = &d->tree.arena;
	Ckpt__ThreadMore *m = ckpt_alloc(a, sizeof(*m));
	Ckpt__ProcessMore *p = leader ? ckpt_alloc(a, sizeof(*p)) : NULL;
	int r;

	if (!m || (leader && !p))
		return err_code(e, -ENOMEM, "collect thread %d", (int)th->tid);
	ckpt__thread_more__init(m);
	t->more = m;
	m->speculation = ckpt_alloc(a, SPECULATIONS * sizeof(*m->speculation));
	if (!m->speculation)
		return err_code(e, -ENOMEM, "collect thread %d", (int)th->tid);
	if (th->dispatch.mode) {
		m->dispatch.data = ckpt_memdup(a, &th->dispatch, sizeof(th->dispatch));
		m->dispatch.len = sizeof(th->dispatch);
	}
	m->io_priority = (uint32_t)syscall(SYS_ioprio_get, IOPRIO_WHO_PROCESS, th->tid);
	r = sched_collect(a, k->pid, th->tid, m, e);
	if (p) {
		ckpt__process_more__init(p);
		k->process->more = p;
		r = r == 0 ? files_collect(d, k, p, e) : r;
		r = r == 0 ? ckpt_registrations_files(d, k, p, e) : r;
	}
	return r;
}

int ckpt_attributes_check(const struct ckpt_task *k, const Ckpt__Thread *t, struct err *e)
{
	const Ckpt__ThreadMore *m = t->more;

	if (!m || !k->process->more || m->sched.len != sizeof(struct sched_attributes) ||
	    (m->dispatch.len && m->dispatch.len != sizeof(struct ckpt_dispatch)) ||
	    m->n_speculation != SPECULATIONS || m->io_priority >> 13 == IOPRIO_CLASS_RT)
		return err_set(e, ERR_FAIL, "the image is damaged: attributes of thread %u",
			       t->tid);
	return ckpt_registrations_check(k, t, e);
}

void restore_attributes(const Ckpt__Thread *t, struct list *l)
{
	const Ckpt__ThreadMore *m = t->more;
	struct sched_attributes s;

	memcpy(&s, m->sched.data, sizeof(s));
	s.size = sizeof(s);
	restore_policy(t, l);
	/* May be less than it was: what somebody gave it from outside is not given again. */
	list_call(l, NULL, SYS_sched_setattr, 0, list_put(l, &s, sizeof(s)), 0, 0, 0, 0);
	if (s.util_min || (s.util_max && s.util_max != 1024)) {
		s.flags |= K_UTIL_CLAMP;
		list_call(l, NULL, SYS_sched_setattr, 0, list_put(l, &s, sizeof(s)), 0, 0, 0, 0);
	}
	list_call(l, NULL, SYS_ioprio_set, IOPRIO_WHO_PROCESS, 0, m->io_priority, 0, 0, 0);
	list_call(l, "set its timer slack", SYS_prctl, PR_SET_TIMERSLACK, m->timer_slack, 0, 0, 0,
		  0);
	if (m->tsc == PR_TSC_SIGSEGV)
		list_call(l, "keep it from the clock", SYS_prctl, PR_SET_TSC, m->tsc, 0, 0, 0, 0);
	if (m->mce_kill != PR_MCE_KILL_DEFAULT)
		list_call(l, NULL, SYS_prctl, PR_MCE_KILL, PR_MCE_KILL_SET, m->mce_kill, 0, 0, 0);
	if (m->no_cpuid)
		list_call(l, "keep it from cpuid", SYS_arch_prctl, K_SET_CPUID, 0, 0, 0, 0, 0);
	for (uint64_t i = 0; i < SPECULATIONS; i++) {
		uint32_t how = m->speculation[i] & ~(uint32_t)PR_SPEC_PRCTL;

		if ((m->speculation[i] & PR_SPEC_PRCTL) && how != PR_SPEC_ENABLE)
			list_call(l, NULL, SYS_prctl, PR_SET_SPECULATION_CTRL, i, how, 0, 0, 0);
	}
}

void restore_attributes_late(const struct ckpt_task *k, struct list *l)
{
	if (k->process->more->mdwe)
		list_call(l, "deny it memory that is written and executed", SYS_prctl, K_SET_MDWE,
			  k->process->more->mdwe, 0, 0, 0, 0);
	restore_futex_hash(k, l);
}

int restore_attributes_outside(const struct restoring *p, struct err *e)
{
	const Ckpt__Process *k = p->task->process;
	cleanup_free char *now = NULL;
	char path[64], text[16];
	int r;

	snprintf(path, sizeof(path), "/proc/%d/oom_score_adj", (int)p->batch.pid);
	snprintf(text, sizeof(text), "%d", k->oom_score_adj);
	r = fd_read_file_at(AT_FDCWD, path, 64, &now, NULL);
	/* Never less in danger than the local start made it. */
	if (r == 0 && k->oom_score_adj > atoi(now))
		r = fd_write_file_at(AT_FDCWD, path, text);
	if (r == 0) {
		snprintf(path, sizeof(path), "/proc/%d/coredump_filter", (int)p->batch.pid);
		snprintf(text, sizeof(text), "0x%x", k->more->coredump_filter);
		r = fd_write_file_at(AT_FDCWD, path, text);
	}
	return r < 0 ? err_code(e, r, "write %s", path) : restore_autogroup(p, e);
}

int restore_dispatch(pid_t tid, const Ckpt__Thread *t)
{
	struct ckpt_dispatch how;

	if (!t->more->dispatch.len)
		return 0;
	memcpy(&how, t->more->dispatch.data, sizeof(how));
	return ptrace((enum __ptrace_request)K_SET_DISPATCH, tid, (void *)sizeof(how), &how) < 0 ?
		       -errno :
		       0;
}
