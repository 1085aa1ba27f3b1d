/* SPDX-License-Identifier: GPL-2.0-or-later */

/* What a process and its threads are that can be seen from outside. */
#include "base/fd.h"
#include "base/macro.h"
#include "checkpoint/ghosts.h"
#include "checkpoint/image.pb-c.h"
#include "checkpoint/internal.h"
#include "checkpoint/lookout.h"
#include "checkpoint/pidspaces.h"
#include "checkpoint/program.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/ptrace.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/uio.h>

#define GET_RSEQ 0x420f
#define PENDING_MAX 4096

static int bytes(struct ckpt_arena *a, ProtobufCBinaryData *ret, const void *data, size_t len)
{
	ret->data = ckpt_memdup(a, data, len);
	ret->len = len;
	return ret->data ? 0 : -ENOMEM;
}

/* Without what is zero at its end: parts of registers that the thread does not use, 8 KiB of AMX for one. Behind the
 * legacy area and the header, which are always there. */
static size_t used_xstate(const uint8_t *x, size_t len)
{
	static const uint8_t zero[64];

	while (len >= 576 + 64 && memcmp(x + len - 64, zero, 64) == 0)
		len -= 64;
	return len;
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
		r = bytes(a, &t->xstate, xstate, used_xstate(xstate, iov.iov_len));
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

static int affinity_collect(struct ckpt_arena *a, pid_t tid, Ckpt__Thread *t)
{
	cpu_set_t set;

	return sched_getaffinity(tid, sizeof(set), &set) < 0 ? -errno : bytes(a, &t->affinity, &set, sizeof(set));
}

/* Ids as process 1's user namespace has them, of a task in another: its own calls tell those of its own. */
static int outer_collect(struct ckpt_dump *d, const struct ckpt_status *s, Ckpt__Thread *t)
{
	struct ckpt_arena *a = &d->tree.arena;
	uint64_t v[CKPT_GROUPS_MAX];
	size_t n;

	t->outer_uids = ckpt_alloc(a, 4 * sizeof(uint32_t));
	t->outer_gids = ckpt_alloc(a, 4 * sizeof(uint32_t));
	if (!t->outer_uids || !t->outer_gids)
		return -ENOMEM;
	t->n_outer_uids = ckpt_status_numbers(s, "Uid", 10, v, 4);
	for (size_t i = 0; i < t->n_outer_uids; i++)
		t->outer_uids[i] = (uint32_t)v[i] - d->uid_base;
	t->n_outer_gids = ckpt_status_numbers(s, "Gid", 10, v, 4);
	for (size_t i = 0; i < t->n_outer_gids; i++)
		t->outer_gids[i] = (uint32_t)v[i] - d->uid_base;
	n = ckpt_status_numbers(s, "Groups", 10, v, CKPT_GROUPS_MAX);
	t->outer_groups = ckpt_alloc(a, (n + 1) * sizeof(uint32_t));
	for (size_t i = 0; t->outer_groups && i < n; i++)
		t->outer_groups[i] = (uint32_t)v[i] - d->uid_base;
	t->n_outer_groups = n;
	return t->outer_groups && t->n_outer_uids == 4 && t->n_outer_gids == 4 ? 0 : -EPROTO;
}

static bool may_differ(size_t kind, const Ckpt__Thread *t)
{
	return ckpt_space_types[kind].of_thread || (kind == CKPT_SPACE_MNT && t->own && t->own->fs);
}

/* A thread in other namespaces than its process's first one, or with other ids where those cannot be set. */
static int spaces_collect(struct ckpt_dump *d, struct ckpt_task *k, pid_t tid, const struct ckpt_status *s,
			  Ckpt__Thread *t, struct err *e)
{
	const Ckpt__Thread *first = k->thread_count ? k->threads[0] : t;
	int r = ckpt_spaces_of_thread(d, tid, t, e);
	bool is_plain = r == 0 && t->spaces[CKPT_SPACE_USER] == d->spaces.main[CKPT_SPACE_USER];

	if (r == 0)
		r = ckpt_pid_children(d, tid, t, e);
	if (r == 0)
		r = ckpt_group_of_thread(d, tid, t, e);
	if (r < 0)
		return r;
	for (size_t i = 0; i < t->n_spaces; i++)
		if (t->spaces[i] != first->spaces[i] && !(may_differ(i, t) && is_plain))
			return err_set(e, ERR_UNSUPPORTED,
				       "thread %d of process %d has a %s namespace of its own, which "
				       "cannot be saved yet",
				       (int)tid, (int)k->pid, ckpt_space_types[i].name);
	if (is_plain)
		return 0;
	r = outer_collect(d, s, t);
	if (r == 0 && (memcmp(t->outer_uids, first->outer_uids, 16) != 0 ||
		       memcmp(t->outer_gids, first->outer_gids, 16) != 0))
		return err_set(e, ERR_UNSUPPORTED, "thread %d of process %d has ids of its own in a user namespace, "
			       "which cannot be saved yet", (int)tid, (int)k->pid);
	return r < 0 ? err_code(e, r, "read the ids of thread %d", (int)tid) : 0;
}

/* The status has it too, where nothing is written in another way (proc(5)). */
static int name_collect(struct ckpt_arena *a, pid_t tid, const struct ckpt_status *s, Ckpt__Thread *t)
{
	cleanup_free char *comm = NULL;
	const char *name = strncmp(s->text, "Name:\t", 6) == 0 ? s->text + 6 : "\\";
	size_t len = strcspn(name, "\n");
	char path[64];
	int r;

	if (memchr(name, '\\', len)) {
		snprintf(path, sizeof(path), "/proc/%d/comm", (int)tid);
		r = fd_read_file_at(AT_FDCWD, path, 64, &comm, &len);
		if (r < 0)
			return r;
		len -= len && comm[len - 1] == '\n';
		name = comm;
	}
	t->comm = ckpt_alloc(a, len + 1);
	if (!t->comm)
		return -ENOMEM;
	memcpy(t->comm, name, len);
	return 0;
}

int ckpt_thread_status(struct ckpt_dump *d, pid_t tid, const struct ckpt_status *s, Ckpt__Thread *t, unsigned *filters)
{
	struct ckpt_arena *a = &d->tree.arena;
	static const char *const caps[] = { "CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb" };
	uint64_t v[16] = { 0 };
	int r = ckpt_pid_inner(d, s, "NSpid", &t->numbers, &t->n_numbers);

	if (r < 0)
		return r;
	t->tid = ckpt_pid_number(s, "NSpid", d->level);
	t->pid = ckpt_pid_number(s, "NStgid", d->level);
	t->n_caps = ARRAY_SIZE(caps);
	t->caps = ckpt_alloc(a, sizeof(uint64_t) * ARRAY_SIZE(caps));
	if (!t->caps)
		return -ENOMEM;
	for (size_t i = 0; i < ARRAY_SIZE(caps); i++)
		ckpt_status_numbers(s, caps[i], 16, &t->caps[i], 1);
	if (ckpt_status_numbers(s, "NoNewPrivs", 10, v, 1))
		t->no_new_privs = (uint32_t)v[0];
	*filters = ckpt_status_numbers(s, "Seccomp_filters", 10, v, 1) ? (unsigned)v[0] : 0;
	return name_collect(a, tid, s, t);
}

int ckpt_thread_outside(struct ckpt_dump *d, struct ckpt_task *k, pid_t tid, const struct ckpt_status *s,
			Ckpt__Thread *t, unsigned *ret_filters, struct err *e)
{
	struct ckpt_arena *a = &d->tree.arena;
	int r = affinity_collect(a, tid, t);

	if (r == 0)
		r = ckpt_thread_status(d, tid, s, t, ret_filters);
	if (r < 0)
		return err_code(e, r, "collect thread %d", (int)tid);
	return spaces_collect(d, k, tid, s, t, e);
}

int ckpt_registers_collect(struct ckpt_arena *a, pid_t tid, Ckpt__Thread *t, struct err *e)
{
	int r = regs_collect(a, tid, t);

	return r < 0 ? err_code(e, r, "collect thread %d", (int)tid) : 0;
}

static int pending_keep(struct ckpt_arena *a, Ckpt__PendingSignals *p, pid_t pid, const siginfo_t *si, struct err *e)
{
	if (!p->info)
		p->info = ckpt_alloc(a, PENDING_MAX * sizeof(*p->info));
	if (p->n_info == PENDING_MAX)
		return err_set(e, ERR_UNSUPPORTED, "process %d has more than %d pending signals", (int)pid,
			       PENDING_MAX);
	if (!p->info || bytes(a, &p->info[p->n_info++], si, sizeof(*si)) < 0)
		return err_code(e, -ENOMEM, "collect signals");
	return 0;
}

/* Pending signals, looked at without being taken (PTRACE_PEEKSIGINFO, Linux 3.10). Mostly there are none. */
int ckpt_pending_collect(struct ckpt_dump *d, struct ckpt_task *k, pid_t tid, bool shared,
			 uint32_t ns_tid, struct err *e)
{
	struct __ptrace_peeksiginfo_args args = {
		.flags = shared ? PTRACE_PEEKSIGINFO_SHARED : 0, .nr = 1,
	};
	Ckpt__PendingSignals *p = NULL;
	siginfo_t si;
	long n;
	int r = 0;

	while (r == 0 && (n = ptrace(PTRACE_PEEKSIGINFO, tid, &args, &si)) == 1) {
		args.off++;
		if (!p && (p = ckpt_alloc(&d->tree.arena, sizeof(*p)))) {
			ckpt__pending_signals__init(p);
			p->tid = shared ? 0 : ns_tid;
		}
		r = p ? pending_keep(&d->tree.arena, p, k->pid, &si, e) : err_code(e, -ENOMEM, "collect signals");
	}
	if (r == 0 && n < 0)
		return err_sys(e, "look at the signals of thread %d", (int)tid);
	if (r == 0 && p && ckpt_push(&d->tree.arena, &k->pending, &k->pending_count, p) < 0)
		return err_code(e, -ENOMEM, "collect signals");
	return r;
}

static int numbers_collect(struct ckpt_dump *d, struct ckpt_task *k, const struct ckpt_status *s)
{
	const uint64_t *f = d->frozen.procs[k - d->tree.tasks].stat;
	uint64_t v[1];
	size_t n;
	int r;

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
	k->process->pid = ckpt_pid_number(s, "NStgid", d->level); /* of whichever thread */
	k->process->pgid = ckpt_pid_number(s, "NSpgid", d->level);
	k->process->sid = ckpt_pid_number(s, "NSsid", d->level);
	r = ckpt_pid_inner(d, s, "NSpgid", &k->process->pgids, &k->process->n_pgids);
	if (r == 0)
		r = ckpt_pid_inner(d, s, "NSsid", &k->process->sids, &k->process->n_sids);
	if (r < 0)
		return r;
	k->process->ppid = (uint32_t)f[4]; /* the host's; translated when all are known */
	k->process->exit_signal = (uint32_t)f[38];
	k->process->stop_seen = f[52] == 0; /* matters when it is stopped */
	k->host_group = (pid_t)f[5];
	k->host_terminal = (uint32_t)f[7];
	k->host_foreground = (pid_t)f[8];
	n = ckpt_status_numbers(s, "Umask", 8, v, 1);
	k->process->umask = n ? (uint32_t)v[0] : 022;
	return 0;
}

/* As a restore must be able to make it the process's program again (PR_SET_MM_EXE_FILE): the kernel looks at that
 * as at execve(2), though nothing is executed. */
static int check_program(const struct ckpt_task *k, struct err *e)
{
	struct statvfs fs;
	struct stat st;
	char proc[64];

	snprintf(proc, sizeof(proc), "/proc/%d/exe", (int)k->pid);
	if (stat(proc, &st) < 0 || statvfs(proc, &fs) < 0)
		return err_sys(e, "look at %s", proc);
	if (!(st.st_mode & 0111) || fs.f_flag & ST_NOEXEC)
		return err_set(e, ERR_UNSUPPORTED, "the program of process %d, %s, may not be executed any more, which cannot be saved",
			       (int)k->pid, k->mm->exe);
	return 0;
}

/* Many processes are where others are. */
static int place_collect(struct ckpt_dump *d, pid_t pid, enum ckpt_look_place which, const char *name, char **ret_path,
			 uint32_t *ret_ghost, uint32_t *ret_space, struct err *e)
{
	const struct ckpt_looked_place *l = ckpt_look_place(d, pid, which);

	*ret_ghost = 0;
	return l && ckpt_place_known(d, l, ret_path, ret_space) ?
		       0 :
		       ckpt_place_link(d, pid, name, ret_path, ret_ghost, ret_space, e);
}

/* The same one is looked at once. */
static int program_collect(struct ckpt_dump *d, struct ckpt_task *k, struct err *e)
{
	const struct ckpt_looked_place *l = ckpt_look_place(d, k->pid, CKPT_LOOK_EXE), *last = d->program;
	int r;

	if (l && last && l->dev == last->dev && l->ino == last->ino && l->mount == last->mount)
		return 0;
	r = check_program(k, e);
	d->program = r == 0 ? l : NULL;
	return r;
}

static int places_collect(struct ckpt_dump *d, struct ckpt_task *k, struct err *e)
{
	Ckpt__Process *p = k->process;
	int r = place_collect(d, k->pid, CKPT_LOOK_CWD, "cwd", &p->cwd, &p->cwd_ghost, &p->cwd_space, e);

	if (r == 0)
		r = place_collect(d, k->pid, CKPT_LOOK_ROOT, "root", &p->root, &p->root_ghost, &p->root_space, e);
	if (r < 0)
		return r;
	r = place_collect(d, k->pid, CKPT_LOOK_EXE, "exe", &k->mm->exe, &k->mm->exe_ghost, &k->mm->exe_space, e);
	if (r < 0)
		r = ckpt_program_memfd(d, k, r, e);
	if (r == 0 && k->mm->exe_ghost)
		d->tree.ghosts[k->mm->exe_ghost - 1]->executed = 1;
	return r == 0 ? program_collect(d, k, e) : r;
}

int ckpt_process_outside(struct ckpt_dump *d, struct ckpt_task *k, const struct ckpt_status *s, struct err *e)
{
	const char *auxv;
	size_t len;
	int r = numbers_collect(d, k, s);

	if (r == 0)
		r = ckpt_look(d, k->pid, CKPT_LOOK_AUXV, &auxv, &len);
	if (r == 0)
		r = bytes(&d->tree.arena, &k->mm->auxv, auxv, len);
	return r < 0 ? err_code(e, r, "collect process %d", (int)k->pid) : places_collect(d, k, e);
}
