/* SPDX-License-Identifier: GPL-2.0-or-later */

/* How the processes of a dump belong together: parents, zombies, what they share. */
#include "base/fd.h"
#include "base/macro.h"
#include "base/path.h"
#include "checkpoint/image.pb-c.h"
#include "checkpoint/clocks.h"
#include "checkpoint/internal.h"
#include "checkpoint/kinds/pty.h"
#include "checkpoint/lookout.h"
#include "checkpoint/pidspaces.h"
#include "checkpoint/plan.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/kcmp.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>

static void swap(struct ckpt_frozen *f, pid_t *parents, size_t a, size_t b)
{
	struct ckpt_process p = f->procs[a];
	pid_t pid = parents[a];

	f->procs[a] = f->procs[b];
	f->procs[b] = p;
	parents[a] = parents[b];
	parents[b] = pid;
}

/* Moves the children of those before `done` behind them, and theirs; how many are in order then. */
static size_t descend(struct ckpt_frozen *f, pid_t *parents, size_t from, size_t done)
{
	for (size_t i = from; i < done; i++)
		for (size_t k = done; k < f->count; k++)
			if (parents[k] == f->procs[i].leader)
				swap(f, parents, k, done++);
	return done;
}

/* Those from `done` on descend from nobody who was stopped, or from one that has all but ended. */
static int look_again(const struct ckpt_frozen *f, pid_t *parents, size_t done, struct err *e)
{
	int r = 0;

	for (size_t i = done; r == 0 && i < f->count; i++)
		r = ckpt_ending_parent(f, f->procs[i].pid, &parents[i], e);
	return r;
}

int ckpt_order(struct ckpt_dump *d, pid_t init, struct err *e)
{
	struct ckpt_frozen *f = &d->frozen;
	cleanup_free pid_t *parents = calloc(f->count, sizeof(*parents));
	size_t done = 0;
	int r;

	if (!parents)
		return err_code(e, -ENOMEM, "collect");
	for (size_t i = 0; i < f->count; i++) {
		uint64_t *field = ckpt_alloc(&d->tree.arena, 53 * sizeof(*field));

		r = field ? ckpt_stat_read(f->procs[i].pid, field) : -ENOMEM;
		if (r < 0)
			return err_code(e, r, "look at process %d", (int)f->procs[i].pid);
		f->procs[i].stat = field;
		parents[i] = (pid_t)field[4];
		if (f->procs[i].leader == init) {
			swap(f, parents, 0, i);
			done = 1;
		}
	}
	if (!done)
		return err_set(e, ERR_STATE, "process %d is not in the VPS's group", (int)init);
	d->init = f->procs[0].pid;
	done = descend(f, parents, 0, done);
	r = look_again(f, parents, done, e);
	if (r < 0)
		return r;
	done = descend(f, parents, 0, done);
	/* What is left was started from outside, or descends from what was. */
	for (size_t i = done; i < f->count; i++) {
		bool inside = false;

		for (size_t k = done; k < f->count; k++)
			inside = inside || f->procs[k].leader == parents[i];
		if (inside)
			continue;
		swap(f, parents, i, done);
		done = descend(f, parents, done, done + 1);
		i = done - 1;
	}
	return 0;
}

static int zombie_collect(struct ckpt_dump *d, const struct ckpt_task *parent, pid_t pid,
			  const struct ckpt_status *s, struct err *e)
{
	Ckpt__Zombie *z = ckpt_alloc(&d->tree.arena, sizeof(*z));
	cleanup_free char *comm = NULL;
	uint64_t f[53] = { 0 }, uid = 0;
	char path[64];
	size_t len;
	int r;

	if (!z)
		return err_code(e, -ENOMEM, "collect zombies");
	ckpt__zombie__init(z);
	snprintf(path, sizeof(path), "/proc/%d/comm", (int)pid);
	r = ckpt_stat_read(pid, f);
	if (r == 0)
		r = fd_read_file_at(AT_FDCWD, path, 64, &comm, &len);
	if (r < 0)
		return err_code(e, r, "look at process %d", (int)pid);
	z->pid = ckpt_pid_number(s, "NSpid", d->level);
	z->ppid = parent->process->pid;
	z->pgid = ckpt_pid_number(s, "NSpgid", d->level);
	z->sid = ckpt_pid_number(s, "NSsid", d->level);
	r = ckpt_pid_of_zombie(d, parent, pid, s, z, e);
	if (r < 0)
		return r;
	/* There is no core to be left again, so that it is not said that one was. */
	z->status = f[52] & 0x7f ? f[52] & 0x7f : (uint32_t)f[52] & 0xff00;
	z->exit_signal = (uint32_t)f[38];
	ckpt_status_numbers(s, "Uid", 10, &uid, 1);
	z->uid = ckpt_dump_id(d, (uint32_t)uid);
	len -= len && comm[len - 1] == '\n';
	z->comm.len = len < 15 ? len : 15;
	z->comm.data = ckpt_memdup(&d->tree.arena, comm, z->comm.len);
	if (!z->comm.data ||
	    ckpt_push(&d->tree.arena, &d->tree.zombies, &d->tree.zombie_count, z) < 0)
		return err_code(e, -ENOMEM, "collect zombies");
	return 0;
}

/* They are in no control group; the kernel lists them with their parents. */
int ckpt_zombies_collect(struct ckpt_dump *d, const struct ckpt_task *k, struct err *e)
{
	size_t last = (size_t)(k - d->tree.tasks);

	for (size_t i = 0; i < k->thread_count; i++) {
		const char *text;
		size_t len;

		if (ckpt_look(d, k->tids[i], CKPT_LOOK_CHILDREN, &text, &len) < 0)
			continue; /* a kernel without CONFIG_PROC_CHILDREN */
		for (char *end; *text; text = end + strspn(end, " ")) {
			struct ckpt_status s;
			long pid = strtol(text, &end, 10);
			int r = 0;

			if (end == text)
				break;
			if (ckpt_is_frozen(&d->frozen, (pid_t)pid, &last))
				continue;
			r = ckpt_ending_await((pid_t)pid, e);
			if (r == 0 && ckpt_status_read((pid_t)pid, &s) == 0 && strstr(s.text, "\nState:\tZ"))
				r = zombie_collect(d, k, (pid_t)pid, &s, e);
			if (r < 0)
				return r;
		}
	}
	return 0;
}

static int parents(struct ckpt_tree *t, struct err *e)
{
	for (size_t i = 0; i < t->task_count; i++) {
		Ckpt__Process *k = t->tasks[i].process;
		pid_t parent = (pid_t)k->ppid;
		size_t n = 0;

		while (n < i && t->tasks[n].leader != parent)
			n++;
		k->ppid = n < i ? t->tasks[n].process->pid : 0;
		if (n == i && i > 0 && k->sid != k->pid)
			return err_set(e, ERR_UNSUPPORTED,
				       "process %d was started from outside the VPS, and is "
				       "in a session from there",
				       (int)t->tasks[i].pid);
	}
	return 0;
}

/* An order of processes that the kernel keeps to itself, in which those that share something are equal. */
struct comparison {
	const struct ckpt_tree *tree;
	int what; /* KCMP_* */
};

static int compare(const void *a, const void *b, void *arg)
{
	const struct comparison *c = arg;
	size_t i = *(const size_t *)a, k = *(const size_t *)b;
	long r = syscall(SYS_kcmp, c->tree->tasks[i].pid, c->tree->tasks[k].pid, c->what, 0, 0);

	if (r == 0)
		return (i > k) - (i < k);
	return r == 1 ? -1 : 1;
}

/* For each process, which is the first of those that share it. */
static int share(const struct ckpt_tree *t, int what, size_t *first, struct err *e)
{
	struct comparison c = { t, what };
	cleanup_free size_t *order = calloc(t->task_count, sizeof(*order));

	if (!order)
		return err_code(e, -ENOMEM, "collect");
	for (size_t i = 0; i < t->task_count; i++)
		order[i] = i;
	qsort_r(order, t->task_count, sizeof(*order), compare, &c);
	for (size_t i = 0; i < t->task_count; i++) {
		bool same = i > 0 && syscall(SYS_kcmp, t->tasks[order[i - 1]].pid,
					     t->tasks[order[i]].pid, what, 0, 0) == 0;

		first[order[i]] = same ? first[order[i - 1]] : order[i];
	}
	return 0;
}

/* Of semaphores that are undone when the last of several processes ends (CLONE_SYSVSEM), each would undo all. */
static int undo_alone(const struct ckpt_tree *t, size_t *first, struct err *e)
{
	bool any = false;
	int r;

	for (size_t i = 0; i < t->task_count; i++)
		any = any || t->tasks[i].process->n_undos;
	r = any ? share(t, KCMP_SYSVSEM, first, e) : 0;
	for (size_t i = 0; any && r == 0 && i < t->task_count; i++)
		if (first[i] != i && t->tasks[i].process->n_undos)
			r = err_set(e, ERR_UNSUPPORTED,
				    "processes %d and %d share what is undone of semaphores when they end, which cannot be saved",
				    (int)t->tasks[first[i]].pid, (int)t->tasks[i].pid);
	return r;
}

/*
 * Whose I/O priority is one (CLONE_IO). Who has no context looks as if it shared that with all others who have none; who
 * has a priority has a context.
 */
static int io_shares(struct ckpt_tree *t, size_t *first, struct err *e)
{
	bool any = false;
	int r;

	for (size_t i = 0; i < t->task_count; i++)
		any = any || t->tasks[i].threads[0]->more->io_priority;
	r = any ? share(t, KCMP_IO, first, e) : 0;
	for (size_t i = 0; any && r == 0 && i < t->task_count; i++)
		if (first[i] != i && t->tasks[i].threads[0]->more->io_priority)
			t->tasks[i].process->more->io_group = t->tasks[first[i]].process->more->io_group =
				t->tasks[first[i]].process->pid;
	return r;
}

static int shares(struct ckpt_tree *t, bool may_share_memory, struct err *e)
{
	cleanup_free size_t *first = calloc(t->task_count, sizeof(*first));
	int r = first ? 0 : err_code(e, -ENOMEM, "collect");

	if (r == 0 && may_share_memory)
		r = share(t, KCMP_VM, first, e);
	for (size_t i = 0; r == 0 && may_share_memory && i < t->task_count; i++)
		if (first[i] != i)
			return err_set(
				e, ERR_UNSUPPORTED,
				"processes %d and %d share their memory, which cannot be saved yet",
				(int)t->tasks[first[i]].pid, (int)t->tasks[i].pid);
	if (r == 0)
		r = undo_alone(t, first, e);
	if (r == 0)
		r = share(t, KCMP_FILES, first, e);
	for (size_t i = 0; r == 0 && i < t->task_count; i++)
		if (first[i] != i)
			t->tasks[i].process->files_group = t->tasks[first[i]].process->files_group =
				t->tasks[first[i]].process->pid;
	if (r == 0)
		r = share(t, KCMP_FS, first, e);
	for (size_t i = 0; r == 0 && i < t->task_count; i++)
		if (first[i] != i)
			t->tasks[i].process->fs_group = t->tasks[first[i]].process->fs_group =
				t->tasks[first[i]].process->pid;
	return r == 0 ? io_shares(t, first, e) : r;
}

/* What it shares with one that did not bear it; NULL. */
static const char *shared_elsewhere(const Ckpt__Process *k, const Ckpt__Process *by)
{
	if (k->files_group && k->files_group != k->pid && (!by || by->files_group != k->files_group))
		return "open files";
	if (k->fs_group && k->fs_group != k->pid && (!by || by->fs_group != k->fs_group))
		return "directory";
	if (k->more->io_group && k->more->io_group != k->pid && (!by || by->more->io_group != k->more->io_group))
		return "I/O priority (CLONE_IO)";
	return NULL;
}

/* That everybody can be born again, and from somebody with whom it shares what it shares. */
static int check_plan(struct ckpt_tree *t, struct err *e)
{
	struct ckpt_plan plan;
	size_t stuck = 0;
	int r = ckpt_plan_tree(&plan, t, &stuck, e);

	if (r == -EOPNOTSUPP)
		return err_set(e, ERR_UNSUPPORTED,
			       "process %d is in a session or group that nothing can bring it "
			       "into again",
			       (int)t->tasks[stuck < t->task_count ? stuck : 0].pid);
	if (r == 0)
		r = ckpt_births_check(t, &plan, e);
	if (r == 0)
		r = ckpt_clocks_check(t, e);
	for (size_t i = 0; r == 0 && i < plan.op_count; i++) {
		const struct ckpt_op *o = &plan.ops[i];
		const Ckpt__Process *k, *by;
		const char *shared;

		if (o->kind != CKPT_OP_BIRTH || o->who >= t->task_count)
			continue;
		k = t->tasks[o->who].process;
		by = o->by < t->task_count ? t->tasks[o->by].process : NULL;
		shared = shared_elsewhere(k, by);
		if (shared)
			return err_set(e, ERR_UNSUPPORTED, "process %d shares its %s with one that is not its parent",
				       (int)t->tasks[o->who].pid, shared);
	}
	return r;
}

int ckpt_relate(struct ckpt_dump *d, struct err *e)
{
	int r = ckpt_note(d, parents(&d->tree, e), 0, -1, e);

	if (r == 0)
		r = ckpt_note(d, shares(&d->tree, d->frozen.shared, e), 0, -1, e);
	return r == 0 ? ckpt_note(d, check_plan(&d->tree, e), 0, -1, e) : r;
}

/* One that nobody has open is opened now: those of nested containers always are. */
static int open_terminal(struct ckpt_dump *d, uint32_t index, uint32_t *ret, struct err *e)
{
	char path[64];
	int fd;

	snprintf(path, sizeof(path), "/dev/pts/%u", index);
	fd = path_open_in_root(ckpt_space_root(d, 0), path, O_RDWR | O_NOCTTY | O_CLOEXEC, 0);
	return fd < 0 ? err_code(e, fd, "open terminal %s", path) : ckpt_file_add(d, fd, ret, e);
}

static int find_terminal(struct ckpt_dump *d, const struct ckpt_task *k, struct err *e)
{
	uint32_t nr = k->host_terminal, devpts, index;
	dev_t device = makedev(nr >> 8 & 0xfff, (nr & 0xff) | (nr >> 12 & 0xfff00));

	if (!ckpt_pty_is_device(device))
		return err_set(e, ERR_UNSUPPORTED, "process %d has a terminal that is not the VPS's",
			       (int)k->pid);
	index = ckpt_pty_index(device);
	devpts = ckpt_pty_of_session(&d->tree, index, getsid(k->pid));
	k->process->terminal = ckpt_pty_find(&d->tree, devpts, index);
	if (!k->process->terminal && devpts)
		return err_set(e, ERR_UNSUPPORTED, "the terminal %u of process %d is open nowhere in the VPS",
			       index, (int)k->pid);
	return k->process->terminal ? 0 : open_terminal(d, index, &k->process->terminal, e);
}

int ckpt_terminals_resolve(struct ckpt_dump *d, struct err *e)
{
	struct ckpt_tree *t = &d->tree;

	for (size_t i = 0; i < t->task_count; i++) {
		const struct ckpt_task *k = &t->tasks[i];
		int r = k->host_terminal ? find_terminal(d, k, e) : 0;

		if (r < 0)
			return r;
		for (size_t n = 0; k->host_terminal && n < t->task_count; n++)
			if (t->tasks[n].host_group == k->host_foreground)
				k->process->foreground = t->tasks[n].process->pgid;
	}
	ckpt_pty_forget_sessions(t);
	return 0;
}
