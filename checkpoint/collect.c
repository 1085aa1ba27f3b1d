/* SPDX-License-Identifier: GPL-2.0-or-later */

/* What a process and its threads are, but for memory and files: by lists of calls where only the
 * task itself can ask, else from outside. */
#include "base/fd.h"
#include "base/macro.h"
#include "checkpoint/image.pb-c.h"
#include "checkpoint/ghosts.h"
#include "checkpoint/attributes.h"
#include "checkpoint/internal.h"
#include "checkpoint/ipc.h"
#include "checkpoint/queues.h"
#include "checkpoint/seccomp.h"
#include "checkpoint/timers.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/prctl.h>
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/uio.h>

#define GET_RSEQ 0x420f
#define SCRATCH 131072
#define GROUPS_MAX 1024
#define PENDING_MAX 4096

struct kernel_sigaction {
	uint64_t handler, flags, restorer, mask;
};

/* What the calls fill, in the task's scratch memory behind the list. */
struct answers {
	uint32_t uid[3], gid[3], groups[GROUPS_MAX];
	stack_t altstack;
	uint64_t tid_address;
	int pdeath, subreaper;
	struct kernel_sigaction action[65];
	struct itimerval timer[3];
};

struct asking {
	struct ckpt_call calls[128];
	size_t count;
	uint64_t base;
};

static size_t ask(struct asking *q, uint64_t nr, uint64_t a, uint64_t b, uint64_t c, uint64_t d)
{
	q->calls[q->count] = (struct ckpt_call){ nr, { a, b, c, d }, 0 };
	return q->count++;
}

#define AT(q, member) ((q)->base + offsetof(struct answers, member))

static int bytes(struct ckpt_arena *a, ProtobufCBinaryData *ret, const void *data, size_t len)
{
	ret->data = ckpt_memdup(a, data, len);
	ret->len = len;
	return ret->data ? 0 : -ENOMEM;
}

static int regs_collect(struct ckpt_arena *a, pid_t tid, Ckpt__Thread *t)
{
	struct user_regs_struct regs;
	uint8_t xstate[32768];
	struct iovec iov = { xstate, sizeof(xstate) };
	struct {
		uint64_t pointer;
		uint32_t size, signature, flags, pad;
	} rseq = { 0 };
	int r = ckpt_trace_get_regs(tid, &regs);

	if (r == 0)
		ckpt_restarted_call(tid, &regs);
	if (r == 0)
		r = bytes(a, &t->regs, &regs, sizeof(regs));
	if (r == 0 && ptrace(PTRACE_GETREGSET, tid, (void *)NT_X86_XSTATE, &iov) < 0)
		r = -errno;
	if (r == 0)
		r = bytes(a, &t->xstate, xstate, iov.iov_len);
	if (r == 0)
		r = ckpt_trace_get_mask(tid, &t->sigmask);
	if (r < 0)
		return r;
	if (ptrace((enum __ptrace_request)GET_RSEQ, tid, (void *)sizeof(rseq), &rseq) > 0) {
		t->rseq = rseq.pointer;
		t->rseq_size = rseq.size;
		t->rseq_signature = rseq.signature;
	}
	syscall(SYS_get_robust_list, tid, &t->robust_list, &t->robust_list_size);
	return 0;
}

static int sched_collect(struct ckpt_arena *a, pid_t tid, Ckpt__Thread *t)
{
	struct sched_param param = { 0 };
	cpu_set_t set;
	int policy = sched_getscheduler(tid);

	if (policy < 0 || sched_getparam(tid, &param) < 0 ||
	    sched_getaffinity(tid, sizeof(set), &set) < 0)
		return -errno;
	t->policy = (uint32_t)policy;
	t->rt_priority = (uint32_t)param.sched_priority;
	errno = 0;
	t->nice = getpriority(PRIO_PROCESS, (id_t)tid);
	return errno ? -errno : bytes(a, &t->affinity, &set, sizeof(set));
}

/* Ids as process 1's user namespace has them, of a task in another: its own calls tell those of its own. */
static int outer_collect(struct ckpt_dump *d, pid_t tid, Ckpt__Thread *t)
{
	struct ckpt_arena *a = &d->tree.arena;
	struct ckpt_status s;
	uint64_t v[GROUPS_MAX];
	int r = ckpt_status_read(tid, &s);
	size_t n;

	t->outer_uids = ckpt_alloc(a, 4 * sizeof(uint32_t));
	t->outer_gids = ckpt_alloc(a, 4 * sizeof(uint32_t));
	if (r < 0 || !t->outer_uids || !t->outer_gids)
		return r < 0 ? r : -ENOMEM;
	t->n_outer_uids = ckpt_status_numbers(&s, "Uid", 10, v, 4);
	for (size_t i = 0; i < t->n_outer_uids; i++)
		t->outer_uids[i] = (uint32_t)v[i] - d->uid_base;
	t->n_outer_gids = ckpt_status_numbers(&s, "Gid", 10, v, 4);
	for (size_t i = 0; i < t->n_outer_gids; i++)
		t->outer_gids[i] = (uint32_t)v[i] - d->uid_base;
	n = ckpt_status_numbers(&s, "Groups", 10, v, GROUPS_MAX);
	t->outer_groups = ckpt_alloc(a, (n + 1) * sizeof(uint32_t));
	for (size_t i = 0; t->outer_groups && i < n; i++)
		t->outer_groups[i] = (uint32_t)v[i] - d->uid_base;
	t->n_outer_groups = n;
	return t->outer_groups && t->n_outer_uids == 4 && t->n_outer_gids == 4 ? 0 : -EPROTO;
}

/* A thread in other namespaces than its process's first one, or with other ids where those cannot be set. */
static int spaces_collect(struct ckpt_dump *d, struct ckpt_task *k, pid_t tid, Ckpt__Thread *t, struct err *e)
{
	const Ckpt__Thread *first = k->thread_count ? k->threads[0] : t;
	int r = ckpt_spaces_of_thread(d, tid, t, e);
	bool is_plain = r == 0 && t->spaces[CKPT_SPACE_USER] == d->spaces.main[CKPT_SPACE_USER];

	if (r == 0)
		r = ckpt_group_of_thread(d, tid, t, e);
	if (r < 0)
		return r;
	for (size_t i = 0; i < t->n_spaces; i++)
		if (t->spaces[i] != first->spaces[i] && !(ckpt_space_types[i].of_thread && is_plain))
			return err_set(e, ERR_UNSUPPORTED, "thread %d of process %d has a %s namespace of its own, which "
				       "cannot be saved yet", (int)tid, (int)k->pid, ckpt_space_types[i].name);
	if (is_plain)
		return 0;
	r = outer_collect(d, tid, t);
	if (r == 0 && memcmp(t->outer_uids, first->outer_uids, 16) + memcmp(t->outer_gids, first->outer_gids, 16))
		return err_set(e, ERR_UNSUPPORTED, "thread %d of process %d has ids of its own in a user namespace, "
			       "which cannot be saved yet", (int)tid, (int)k->pid);
	return r < 0 ? err_code(e, r, "read the ids of thread %d", (int)tid) : 0;
}

static int status_collect(struct ckpt_arena *a, pid_t tid, Ckpt__Thread *t, unsigned *filters)
{
	static const char *const caps[] = { "CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb" };
	struct ckpt_status s;
	uint64_t v[16] = { 0 };
	char path[64];
	cleanup_free char *comm = NULL;
	size_t len, n;
	int r = ckpt_status_read(tid, &s);

	if (r < 0)
		return r;
	n = ckpt_status_numbers(&s, "NSpid", 10, v, 16);
	t->tid = n ? (uint32_t)v[n - 1] : 0;
	n = ckpt_status_numbers(&s, "NStgid", 10, v, 16);
	t->pid = n ? (uint32_t)v[n - 1] : 0;
	t->n_caps = ARRAY_SIZE(caps);
	t->caps = ckpt_alloc(a, sizeof(uint64_t) * ARRAY_SIZE(caps));
	if (!t->caps)
		return -ENOMEM;
	for (size_t i = 0; i < ARRAY_SIZE(caps); i++)
		ckpt_status_numbers(&s, caps[i], 16, &t->caps[i], 1);
	if (ckpt_status_numbers(&s, "NoNewPrivs", 10, v, 1))
		t->no_new_privs = (uint32_t)v[0];
	*filters = ckpt_status_numbers(&s, "Seccomp_filters", 10, v, 1) ? (unsigned)v[0] : 0;
	snprintf(path, sizeof(path), "/proc/%d/comm", (int)tid);
	r = fd_read_file_at(AT_FDCWD, path, 64, &comm, &len);
	if (r < 0)
		return r;
	if (len && comm[len - 1] == '\n')
		comm[len - 1] = '\0';
	t->comm = ckpt_strdup(a, comm);
	return t->comm ? 0 : -ENOMEM;
}

/* Pending signals, looked at without being taken (PTRACE_PEEKSIGINFO, Linux 3.10). */
static int pending_collect(struct ckpt_dump *d, struct ckpt_task *k, pid_t tid, bool shared,
			   uint32_t ns_tid, struct err *e)
{
	Ckpt__PendingSignals *p = ckpt_alloc(&d->tree.arena, sizeof(*p));
	struct __ptrace_peeksiginfo_args args = {
		.flags = shared ? PTRACE_PEEKSIGINFO_SHARED : 0, .nr = 1,
	};
	siginfo_t si;
	long n;

	if (!p)
		return err_code(e, -ENOMEM, "collect signals");
	ckpt__pending_signals__init(p);
	p->tid = shared ? 0 : ns_tid;
	p->info = ckpt_alloc(&d->tree.arena, PENDING_MAX * sizeof(*p->info));
	if (!p->info)
		return err_code(e, -ENOMEM, "collect signals");
	while ((n = ptrace(PTRACE_PEEKSIGINFO, tid, &args, &si)) == 1) {
		if (p->n_info == PENDING_MAX)
			return err_set(e, ERR_UNSUPPORTED, "process %d has more than %d pending signals",
				       (int)k->pid, PENDING_MAX);
		if (bytes(&d->tree.arena, &p->info[p->n_info++], &si, sizeof(si)) < 0)
			return err_code(e, -ENOMEM, "collect signals");
		args.off++;
	}
	if (n < 0)
		return err_sys(e, "look at the signals of thread %d", (int)tid);
	if (p->n_info && ckpt_push(&d->tree.arena, &k->pending, &k->pending_count, p) < 0)
		return err_code(e, -ENOMEM, "collect signals");
	return 0;
}

static int copy_ids(struct ckpt_arena *a, const struct asking *q, size_t groups, size_t fsuid,
		    size_t fsgid, const struct answers *ans, Ckpt__Thread *t)
{
	int64_t n = q->calls[groups].ret;

	if (n < 0 || n > GROUPS_MAX)
		return -EOVERFLOW;
	t->uids = ckpt_alloc(a, 4 * sizeof(uint32_t));
	t->gids = ckpt_alloc(a, 4 * sizeof(uint32_t));
	t->groups = ckpt_memdup(a, ans->groups, (size_t)n * sizeof(uint32_t));
	if (!t->uids || !t->gids || !t->groups)
		return -ENOMEM;
	t->n_uids = t->n_gids = 4;
	t->n_groups = (size_t)n;
	for (int i = 0; i < 3; i++) {
		t->uids[i] = ans->uid[i];
		t->gids[i] = ans->gid[i];
	}
	t->uids[3] = (uint32_t)q->calls[fsuid].ret;
	t->gids[3] = (uint32_t)q->calls[fsgid].ret;
	return 0;
}

static int copy_process(struct ckpt_arena *a, struct ckpt_task *k, const struct answers *ans)
{
	Ckpt__SignalActions *s = k->actions;
	Ckpt__Process *p = k->process;

	s->action = ckpt_alloc(a, 64 * sizeof(*s->action));
	p->itimers = ckpt_alloc(a, 3 * sizeof(*p->itimers));
	if (!s->action || !p->itimers)
		return -ENOMEM;
	for (uint32_t i = 1; i <= 64; i++) {
		const struct kernel_sigaction *ka = &ans->action[i];
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
	for (int i = 0; i < 3; i++) {
		Ckpt__Itimer *t = ckpt_alloc(a, sizeof(*t));

		if (!t)
			return -ENOMEM;
		ckpt__itimer__init(t);
		t->interval_us = (uint64_t)ans->timer[i].it_interval.tv_sec * 1000000 +
				 (uint64_t)ans->timer[i].it_interval.tv_usec;
		t->value_us = (uint64_t)ans->timer[i].it_value.tv_sec * 1000000 +
			      (uint64_t)ans->timer[i].it_value.tv_usec;
		p->itimers[p->n_itimers++] = t;
	}
	return 0;
}

/* The calls of one thread; the leader's ask for the process too. */
static int ask_thread(struct ckpt_dump *d, struct ckpt_task *k, struct ckpt_batch *b,
		      struct ckpt_thread *th, Ckpt__Thread *t, bool leader, struct err *e)
{
	cleanup_free struct answers *ans = calloc(1, sizeof(*ans));
	cleanup_free struct asking *q = calloc(1, sizeof(*q));
	size_t groups, fsuid, fsgid, secure, brk = 0, dumpable = 0, thp = 0, persona = 0;
	int r;

	if (!ans || !q)
		return err_code(e, -ENOMEM, "collect process %d", (int)k->pid);
	q->base = b->scratch + CKPT_BATCH_LIST;
	ask(q, SYS_getresuid, AT(q, uid), AT(q, uid) + 4, AT(q, uid) + 8, 0);
	ask(q, SYS_getresgid, AT(q, gid), AT(q, gid) + 4, AT(q, gid) + 8, 0);
	groups = ask(q, SYS_getgroups, GROUPS_MAX, AT(q, groups), 0, 0);
	fsuid = ask(q, SYS_setfsuid, UINT32_MAX, 0, 0, 0);
	fsgid = ask(q, SYS_setfsgid, UINT32_MAX, 0, 0, 0);
	ask(q, SYS_sigaltstack, 0, AT(q, altstack), 0, 0);
	ask(q, SYS_prctl, PR_GET_TID_ADDRESS, AT(q, tid_address), 0, 0);
	ask(q, SYS_prctl, PR_GET_PDEATHSIG, AT(q, pdeath), 0, 0);
	secure = ask(q, SYS_prctl, PR_GET_SECUREBITS, 0, 0, 0);
	if (leader) {
		brk = ask(q, SYS_brk, 0, 0, 0, 0);
		dumpable = ask(q, SYS_prctl, PR_GET_DUMPABLE, 0, 0, 0);
		thp = ask(q, SYS_prctl, PR_GET_THP_DISABLE, 0, 0, 0);
		persona = ask(q, SYS_personality, UINT32_MAX, 0, 0, 0);
		ask(q, SYS_prctl, PR_GET_CHILD_SUBREAPER, AT(q, subreaper), 0, 0);
		for (uint64_t i = 1; i <= 64; i++)
			ask(q, SYS_rt_sigaction, i, 0, AT(q, action) + i * 32, 8);
		for (uint64_t i = 0; i < 3; i++)
			ask(q, SYS_getitimer, i, AT(q, timer) + i * sizeof(struct itimerval), 0, 0);
	}
	r = ckpt_batch_run(b, th, q->calls, q->count, e);
	if (r < 0)
		return r;
	r = ckpt_mem_read(b->pid, q->base, ans, sizeof(*ans));
	if (r == 0)
		r = copy_ids(&d->tree.arena, q, groups, fsuid, fsgid, ans, t);
	t->altstack = (uint64_t)(uintptr_t)ans->altstack.ss_sp;
	t->altstack_size = ans->altstack.ss_size;
	t->altstack_flags = (uint32_t)ans->altstack.ss_flags;
	t->clear_tid = ans->tid_address;
	t->pdeath_signal = (uint32_t)ans->pdeath;
	t->securebits = (uint32_t)q->calls[secure].ret;
	if (leader && r == 0) {
		k->mm->brk = (uint64_t)q->calls[brk].ret;
		k->process->dumpable = (int32_t)q->calls[dumpable].ret;
		k->process->thp_disable = q->calls[thp].ret > 0;
		k->process->personality = (uint32_t)q->calls[persona].ret;
		k->process->child_subreaper = ans->subreaper != 0;
		r = copy_process(&d->tree.arena, k, ans);
	}
	return r < 0 ? err_code(e, r, "collect process %d", (int)k->pid) : 0;
}

/* Runs the thread's calls; its own registers are back whatever happens. */
static int thread_collect(struct ckpt_dump *d, struct ckpt_task *k, struct ckpt_batch *b, pid_t tid,
			  struct err *e)
{
	struct ckpt_arena *a = &d->tree.arena;
	Ckpt__Thread *t = ckpt_alloc(a, sizeof(*t));
	struct ckpt_thread th;
	unsigned filters = 0;
	struct err ignored;
	int r, left;

	if (!t)
		return err_code(e, -ENOMEM, "collect thread %d", (int)tid);
	ckpt__thread__init(t);
	r = ckpt_thread_enter(b, &th, tid, e);
	if (r < 0)
		return r;
	r = ckpt_batch_map(b, &th, SCRATCH, e);
	if (r == 0)
		r = ask_thread(d, k, b, &th, t, k->thread_count == 0, e);
	if (r == 0)
		r = ckpt_attributes_collect(d, k, b, &th, t, k->thread_count == 0, e);
	if (r == 0 && k->thread_count == 0)
		r = ckpt_timers_collect(d, k, b, &th, e);
	if (r == 0)
		r = ckpt_batch_unmap(b, &th, e);
	left = ckpt_thread_leave(b, &th, r < 0 ? &ignored : e);
	if (r < 0 || left < 0)
		return r < 0 ? r : left;
	/* After the list: a signal may have been delivered meanwhile. */
	r = regs_collect(a, tid, t);
	if (r == 0)
		r = sched_collect(a, tid, t);
	if (r == 0)
		r = status_collect(a, tid, t, &filters);
	if (r == 0 && spaces_collect(d, k, tid, t, e) < 0)
		return -EINVAL;
	if (r == 0)
		r = ckpt_push(a, &k->threads, &k->thread_count, t);
	if (r < 0)
		return err_code(e, r, "collect thread %d", (int)tid);
	r = ckpt_seccomp_collect(d, tid, filters, t, e);
	if (r < 0)
		return r;
	return pending_collect(d, k, tid, false, t->tid, e);
}

/*
 * Which fds close on exec. The flags in fdinfo also have the O_CLOEXEC with which the file was opened,
 * even when the fd is a duplicate without it (seen on Linux 6.18).
 */
static int ask_cloexec(struct ckpt_task *k, struct ckpt_batch *b, struct ckpt_thread *th, struct err *e)
{
	cleanup_free struct ckpt_call *calls = calloc(CKPT_BATCH_MAX, sizeof(*calls));
	int r = calls ? 0 : err_code(e, -ENOMEM, "collect process %d", (int)k->pid);

	for (size_t at = 0, n; r == 0 && at < k->fds->n_fd; at += n) {
		n = k->fds->n_fd - at < CKPT_BATCH_MAX ? k->fds->n_fd - at : CKPT_BATCH_MAX;
		for (size_t i = 0; i < n; i++)
			calls[i] = (struct ckpt_call){ SYS_fcntl, { k->fds->fd[at + i]->fd, F_GETFD }, 0 };
		r = ckpt_batch_run(b, th, calls, n, e);
		for (size_t i = 0; r == 0 && i < n; i++)
			k->fds->fd[at + i]->cloexec = calls[i].ret & FD_CLOEXEC;
	}
	return r;
}

static int cloexec_collect(struct ckpt_task *k, struct ckpt_batch *b, struct err *e)
{
	struct ckpt_thread th;
	struct err ignored;
	int r, left;

	if (!k->fds->n_fd)
		return 0;
	r = ckpt_thread_enter(b, &th, k->pid, e);
	if (r < 0)
		return r;
	r = ckpt_batch_map(b, &th, CKPT_BATCH_LIST, e);
	if (r == 0)
		r = ask_cloexec(k, b, &th, e);
	if (r == 0)
		r = ckpt_batch_unmap(b, &th, e);
	left = ckpt_thread_leave(b, &th, r < 0 ? &ignored : e);
	return r < 0 ? r : left;
}

static int numbers_collect(struct ckpt_task *k)
{
	uint64_t f[53] = { 0 }, v[16];
	struct ckpt_status s;
	size_t n;
	int r = ckpt_stat_read(k->pid, f);

	if (r == 0)
		r = ckpt_status_read(k->pid, &s);
	if (r < 0)
		return r;
	k->mm->start_code = f[26];
	k->mm->end_code = f[27];
	k->mm->start_stack = f[28];
	k->mm->start_data = f[45];
	k->mm->end_data = f[46];
	k->mm->start_brk = f[47];
	k->mm->arg_start = f[48];
	k->mm->arg_end = f[49];
	k->mm->env_start = f[50];
	k->mm->env_end = f[51];
	n = ckpt_status_numbers(&s, "NSpgid", 10, v, 16);
	k->process->pgid = n ? (uint32_t)v[n - 1] : 0;
	n = ckpt_status_numbers(&s, "NSsid", 10, v, 16);
	k->process->sid = n ? (uint32_t)v[n - 1] : 0;
	n = ckpt_status_numbers(&s, "NSpid", 10, v, 16);
	k->process->pid = n ? (uint32_t)v[n - 1] : 0;
	k->process->ppid = (uint32_t)f[4]; /* the host's; translated when all are known */
	k->process->exit_signal = (uint32_t)f[38];
	k->process->stop_seen = f[52] == 0; /* matters when it is stopped */
	k->host_group = (pid_t)f[5];
	k->host_terminal = (uint32_t)f[7];
	k->host_foreground = (pid_t)f[8];
	n = ckpt_status_numbers(&s, "Umask", 8, v, 1);
	k->process->umask = n ? (uint32_t)v[0] : 022;
	return 0;
}

static int limits_collect(struct ckpt_arena *a, struct ckpt_task *k)
{
	Ckpt__Process *p = k->process;

	p->rlimits = ckpt_alloc(a, 16 * sizeof(*p->rlimits));
	for (int i = 0; p->rlimits && i < 16; i++) {
		Ckpt__Rlimit *l = ckpt_alloc(a, sizeof(*l));
		struct rlimit64 lim;

		if (!l || prlimit64(k->pid, (enum __rlimit_resource)i, NULL, &lim) < 0)
			return l ? -errno : -ENOMEM;
		ckpt__rlimit__init(l);
		l->soft = lim.rlim_cur;
		l->hard = lim.rlim_max;
		p->rlimits[p->n_rlimits++] = l;
	}
	return p->rlimits ? 0 : -ENOMEM;
}

static int places_collect(struct ckpt_dump *d, struct ckpt_task *k, struct err *e)
{
	Ckpt__Process *p = k->process;
	uint32_t ghost = 0;
	int r = ckpt_place_link(d, k->pid, "cwd", &p->cwd, &p->cwd_ghost, &p->cwd_space, e);

	if (r == 0)
		r = ckpt_place_link(d, k->pid, "root", &p->root, &ghost, &p->root_space, e);
	if (r == 0 && ghost)
		return err_set(e, ERR_UNSUPPORTED, "the root of process %d, %s, has been deleted, which cannot be saved "
			       "yet", (int)k->pid, p->root);
	if (r == 0)
		r = ckpt_place_link(d, k->pid, "exe", &k->mm->exe, &k->mm->exe_ghost, &k->mm->exe_space, e);
	if (r == 0 && k->mm->exe_ghost)
		d->tree.ghosts[k->mm->exe_ghost - 1]->executed = 1;
	return r;
}

static int outside_collect(struct ckpt_arena *a, struct ckpt_task *k)
{
	char path[64];
	cleanup_free char *auxv = NULL;
	size_t len;
	int r = numbers_collect(k);

	if (r == 0)
		r = limits_collect(a, k);
	if (r < 0)
		return r;
	snprintf(path, sizeof(path), "/proc/%d/auxv", (int)k->pid);
	r = fd_read_file_at(AT_FDCWD, path, 1024, &auxv, &len);
	return r < 0 ? r : bytes(a, &k->mm->auxv, auxv, len);
}

int ckpt_task_collect(struct ckpt_dump *d, struct ckpt_task *k, const struct ckpt_process *p,
		      struct err *e)
{
	struct ckpt_arena *a = &d->tree.arena;
	struct ckpt_batch b;
	int r;

	k->pid = p->pid;
	k->tids = p->tids;
	k->process = ckpt_alloc(a, sizeof(*k->process));
	k->actions = ckpt_alloc(a, sizeof(*k->actions));
	k->mm = ckpt_alloc(a, sizeof(*k->mm));
	if (!k->process || !k->actions || !k->mm)
		return err_code(e, -ENOMEM, "collect process %d", (int)p->pid);
	ckpt__process__init(k->process);
	ckpt__signal_actions__init(k->actions);
	ckpt__mm__init(k->mm);
	k->process->mm = (uint32_t)(k - d->tree.tasks) + 1;
	r = outside_collect(a, k);
	if (r < 0)
		return err_code(e, r, "collect process %d", (int)p->pid);
	r = places_collect(d, k, e);
	if (r == 0)
		r = ckpt_areas_collect(d, k, e);
	if (r < 0)
		return r;
	r = ckpt_fds_collect(d, k, e);
	if (r < 0)
		return r;
	r = ckpt_batch_open(&b, p->pid, p->tids, p->count, e);
	if (r == 0)
		r = cloexec_collect(k, &b, e);
	for (size_t i = 0; r == 0 && i < p->count; i++)
		r = thread_collect(d, k, &b, p->tids[i], e);
	if (r == 0)
		r = ckpt_timers_resolve(k, e);
	if (r == 0)
		r = ckpt_undo_collect(d, k, &b, e);
	if (r == 0)
		r = ckpt_mqueues_read(d, k, &b, e);
	k->process->stop_signal = (uint32_t)p->stop_signal;
	k->process->stop_seen = k->process->stop_seen && p->stop_signal;
	ckpt_batch_close(&b);
	return r < 0 ? r : pending_collect(d, k, p->pid, true, 0, e);
}
