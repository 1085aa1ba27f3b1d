/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "checkpoint/image.pb-c.h"
#include "checkpoint/dump.h"
#include "checkpoint/restore.h"

#include "base/fd.h"
#include "base/macro.h"
#include "base/proc.h"
#include "base/step.h"
#include "checkpoint/enter.h"
#include "checkpoint/groups.h"
#include "checkpoint/host.h"
#include "checkpoint/kinds/pty.h"
#include "checkpoint/netstate.h"
#include "checkpoint/restore_births.h"
#include "checkpoint/restore_internal.h"
#include "checkpoint/restore_spaces.h"
#include "checkpoint/sockets.h"
#include "checkpoint/times.h"
#include "netns/netns.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>

#define OWN_FDS 64 /* that are opened on the way, at most */
#define FILES 1024 /* of ours, and mem of each process */
#define FREEZE_TIMEOUT_US 5000000
#define CLOCK_LATE_MAX_NS 60000000000ull

static bool is_free(const struct ckpt_tree *t, uint64_t start, uint64_t end)
{
	for (size_t i = 0; i < t->task_count; i++) {
		const Ckpt__Mm *mm = t->tasks[i].mm;

		if (mm->vdso < end + MIB(1) && start < mm->vdso + MIB(2))
			return false;
		for (size_t k = 0; k < mm->n_area; k++)
			if (mm->area[k]->start < end + MIB(1) && start < mm->area[k]->end + MIB(1))
				return false;
	}
	return true;
}

/* A place for our own memory that none of the processes uses. */
static int find_region(struct restore *r, struct err *e)
{
	for (uint64_t at = 0x10000000000ull; at < RESTORE_ADDRESS_MAX - MIB(64); at += 0x1000000000ull)
		if (is_free(&r->tree, at, at + RESTORE_REGION)) {
			r->region = at;
			return 0;
		}
	return err_set(e, ERR_FAIL, "no address is free in all processes");
}

/* The index of a path among those to be opened for mapping. */
static int add_mapped(struct restore *r, char *path, uint32_t space, bool write, struct err *e)
{
	struct mapped *m;

	for (size_t i = 0; i < r->mapped_count; i++)
		if (r->mapped[i]->write == write && r->mapped[i]->space == space && STREQ(r->mapped[i]->path, path))
			return (int)i;
	m = ckpt_alloc(&r->tree.arena, sizeof(*m));
	if (m)
		*m = (struct mapped){ path, write, space };
	if (!m || path[0] != '/' || ckpt_push(&r->tree.arena, &r->mapped, &r->mapped_count, m) < 0)
		return err_set(e, ERR_FAIL, "the image is damaged: a path %s", path);
	return (int)r->mapped_count - 1;
}

/* Of the fds that are open here: the first process is born with them, and needs some until it is itself. Of each
 * process that was put in place early there are several. */
static uint32_t own_highest(void)
{
	cleanup_closedir DIR *d = opendir("/proc/self/fd");
	const struct dirent *entry;
	uint32_t highest = 0;

	while (d && (entry = readdir(d)) != NULL) {
		uint32_t n = (uint32_t)strtoul(entry->d_name, NULL, 10);

		if (n > highest)
			highest = n;
	}
	return highest;
}

static uint32_t highest_fd(const struct ckpt_task *k, uint32_t highest)
{
	for (size_t i = 0; i < k->thread_count; i++) {
		const Ckpt__ThreadOwn *own = k->threads[i]->own;
		const Ckpt__FdTable *t = i == 0 ? k->fds : own ? own->fds : NULL;

		for (size_t n = 0; t && n < t->n_fd; n++)
			if (t->fd[n]->fd > highest)
				highest = t->fd[n]->fd;
	}
	return highest;
}

static int plan_own(struct restore *r, struct restoring *p)
{
	const struct ckpt_task *k = p->task;

	p->own_place = ckpt_alloc(&r->tree.arena, k->thread_count * sizeof(*p->own_place));
	for (size_t i = 0; p->own_place && i < k->thread_count; i++)
		if (k->threads[i]->own && k->threads[i]->own->fs) {
			p->own_place[i] = (int)r->place_count;
			r->place_count += 2;
		}
	return p->own_place ? 0 : -ENOMEM;
}

/* All numbers of the fds that the first process opens. */
static int plan_fds(struct restore *r, struct err *e)
{
	uint32_t highest = own_highest() + OWN_FDS;

	r->procs = ckpt_alloc(&r->tree.arena, r->plan.count * sizeof(*r->procs));
	if (!r->procs)
		return err_code(e, -ENOMEM, "restore");
	for (size_t i = 0; i < r->plan.count; i++)
		r->procs[i].batch.mem = -EBADF;
	for (size_t i = 0; i < r->tree.task_count; i++)
		highest = highest_fd(&r->tree.tasks[i], highest);
	for (size_t i = 0; i < r->tree.file_count; i++)
		for (size_t k = 0; k < r->tree.files[i]->n_targets; k++)
			if (r->tree.files[i]->targets[k]->fd > highest)
				highest = r->tree.files[i]->targets[k]->fd;
	r->base = (int)highest + 1;
	r->fills_late = ckpt_sockets_fill_late(&r->tree);
	for (size_t i = 0; i < r->tree.task_count; i++) {
		struct restoring *p = &r->procs[i];
		const Ckpt__Mm *mm;
		int n;

		p->task = &r->tree.tasks[i];
		mm = p->task->mm;
		p->threads = ckpt_alloc(&r->tree.arena, p->task->thread_count * sizeof(*p->threads));
		p->area_fd = ckpt_alloc(&r->tree.arena, (mm->n_area + 1) * sizeof(int));
		if (!p->threads || !p->area_fd || plan_own(r, p) < 0)
			return err_code(e, -ENOMEM, "restore");
		for (size_t k = 0; k < mm->n_area; k++) {
			const Ckpt__Area *a = mm->area[k];

			if (!a->path[0] || a->ghost)
				continue;
			n = add_mapped(r, a->path, a->space, (a->flags & MAP_SHARED) && (a->prot & PROT_WRITE), e);
			if (n < 0)
				return n;
			p->area_fd[k] = n; /* the number when all are known */
		}
		n = mm->exe_ghost ? 0 : add_mapped(r, mm->exe, mm->exe_space, false, e);
		if (n < 0)
			return n;
		p->exe_fd = n;
		p->place = -1;
		if (restore_is_elsewhere(r, p->task)) {
			p->place = (int)r->place_count;
			r->place_count += 2;
		}
	}
	for (size_t i = 0; i < r->tree.task_count; i++) {
		struct restoring *p = &r->procs[i];

		const Ckpt__Mm *mm = p->task->mm;

		p->exe_fd = mm->exe_ghost ? restore_fd_ghost(r, mm->exe_ghost)
					  : restore_fd_mapped(r, (size_t)p->exe_fd);
		for (size_t k = 0; k < mm->n_area; k++)
			p->area_fd[k] = mm->area[k]->ghost ? restore_fd_ghost(r, mm->area[k]->ghost)
							   : restore_fd_mapped(r, (size_t)p->area_fd[k]);
	}
	return 0;
}

/* The holder has the masters that nobody inside has: the console's, and those of clients who are gone. */
static int fill_terminals(struct restore *r, struct err *e)
{
	cleanup_close int pidfd = pidfd_open_pid(r->procs[0].task->pid);
	int n = ckpt_pty_console(&r->tree, rt_console_fd(r->vps), e);

	for (uint32_t i = 0; n == 0 && i < r->tree.file_count; i++) {
		const Ckpt__File *f = r->tree.files[i];
		int fd;

		if (f->kind != CKPT_FILE_PTY_MASTER || !f->pty->outside)
			continue;
		fd = (int)syscall(SYS_pidfd_getfd, pidfd, restore_fd_file(r, i + 1), 0);
		n = fd < 0 ? err_sys(e, "take terminal %u", f->pty->index) : rt_keep(r->vps, fd, e);
	}
	return n;
}

/* Process 1 of each pid namespace last, the innermost first: it says which numbers others' threads get, and may
 * have no right to that where it goes. */
static int join_users(struct restore *r, struct list *l, struct err *e)
{
	int n = 0;

	for (size_t i = 0; n == 0 && i < r->tree.task_count; i++)
		if (!ckpt_pid_is_first(&r->tree, r->tree.tasks[i].threads[0]))
			n = restore_join_user(r, &r->procs[i], l, e);
	for (size_t i = r->tree.task_count; n == 0 && i-- > 0;)
		if (ckpt_pid_is_first(&r->tree, r->tree.tasks[i].threads[0]))
			n = restore_join_user(r, &r->procs[i], l, e);
	return n;
}

/* Processes before mounts and open files: those with tables of their own fetch these, as they could not inherit
 * them. */
static int bear_first(struct restore *r, struct list *l, struct err *e)
{
	int n = restore_fork_tree(r, l, e);

	if (n == 0)
		n = restore_by_helper(r, restore_open_last, true, l, e);
	for (size_t i = 1; n == 0 && i < r->tree.task_count; i++) {
		const Ckpt__Process *k = r->tree.tasks[i].process;

		if (k->files_group == k->pid || k->ppid == 0)
			n = restore_fetch(r, &r->procs[i], l, e);
	}
	return n;
}

struct building {
	struct restore *r;
	struct ckpt_record *rec; /* the first behind the tree, */
	int more;                /* and whether it is there */
	struct list *l;
	int group, user;
	pid_t init, warm;
};

static int heritage(struct building *b, struct err *e)
{
	b->warm = ckpt_groups_warm(&b->r->tree, b->group, b->init);
	b->more = restore_heritage(b->r, b->rec, b->more, e);
	return b->more < 0 ? b->more : 0;
}

static int take_over(struct building *b, struct err *e)
{
	struct restore *r = b->r;

	return r->early ? restore_early_settle(r, b->l, e) : restore_take_over(r, &r->procs[0], b->init, 1, b->l, e);
}

static int terminals(struct building *b, struct err *e)
{
	return fill_terminals(b->r, e);
}

static int births_first(struct building *b, struct err *e)
{
	return restore_is_nested(b->r) ? bear_first(b->r, b->l, e) : 0;
}

static int sockets(struct building *b, struct err *e)
{
	return restore_sockets_take(b->r, e);
}

static int births(struct building *b, struct err *e)
{
	int n = restore_is_nested(b->r) ? 0 : restore_fork_tree(b->r, b->l, e);

	ckpt_groups_await(b->warm);
	b->warm = 0;
	return n;
}

/* Before they have memory, which is charged to the group. */
static int place_groups(struct building *b, struct err *e)
{
	int n = ckpt_groups_place(&b->r->tree, b->group, b->user, e);

	return n == 0 ? ckpt_groups_enable(&b->r->tree, b->group, b->user, e) : n;
}

static int contents(struct building *b, struct err *e)
{
	int n = fault_point("restore", "pages", e);

	if (n == 0)
		n = restore_contents(b->r, b->rec, b->more, b->l, e);
	return n == 0 ? restore_copy_inherited(b->r, e) : n;
}

static int late(struct building *b, struct err *e)
{
	return restore_late(b->r, b->l, e);
}

static int tables(struct building *b, struct err *e)
{
	return restore_tables(b->r, b->l, e);
}

static int settle_groups(struct building *b, struct err *e)
{
	return restore_settle_groups(b->r, b->group, b->user, e);
}

static int registers(struct restore *r, struct restoring *p, struct list *l, struct err *e)
{
	(void)l;
	return restore_registers(r, p, e);
}

static int users(struct building *b, struct err *e)
{
	return join_users(b->r, b->l, e);
}

static int freeze_groups(struct building *b, struct err *e)
{
	return ckpt_groups_freeze(&b->r->tree, b->group, b->user, e);
}

static int settle_numbers(struct building *b, struct err *e)
{
	return restore_settle_numbers(b->r, e);
}

/* Once, or for each process. */
static const struct {
	const char *name; /* for ckpt_time() */
	int (*all)(struct building *b, struct err *e);
	int (*each)(struct restore *r, struct restoring *p, struct list *l, struct err *e);
} steps[] = {
	{ "heritage", heritage, NULL },
	{ "take over", take_over, NULL },
	{ "terminals", terminals, NULL },
	{ "births in pid namespaces", births_first, NULL },
	{ "sockets", sockets, NULL },
	{ "births", births, NULL },
	{ "control groups", place_groups, NULL },
	{ "namespaces", NULL, restore_join },
	{ "memory areas", NULL, restore_memory },
	{ "what is not inherited", NULL, restore_disown },
	{ "contents", contents, NULL },
	{ "what needs all processes", late, NULL },
	{ "tables of open files", tables, NULL },
	{ "user namespaces", users, NULL },
	{ "processes", NULL, restore_process },
	{ "threads", NULL, restore_threads },
	{ "settings of groups", settle_groups, NULL },
	{ "registers", NULL, registers },
	{ "last numbers", settle_numbers, NULL },
	{ "frozen groups", freeze_groups, NULL },
};

/* Everything that is there is stopped; nothing of it has run. */
static int build(struct restore *r, struct ckpt_record *rec, int more, struct list *l, struct err *e)
{
	pid_t init = rt_init_pid(r->vps);
	cleanup_close int group = cgroup_open(rt_cgroup(r->vps), e), user = ckpt_space_open((int)init, "user", e);
	struct building b = { r, rec, more, l, group, user, init, 0 };
	int n = group < 0 || user < 0 ? -ENOENT : 0;

	for (size_t i = 0; n == 0 && i < ARRAY_SIZE(steps); i++) {
		if (steps[i].all)
			n = steps[i].all(&b, e);
		for (size_t k = 0; n == 0 && steps[i].each && k < r->tree.task_count; k++)
			n = steps[i].each(r, &r->procs[k], l, e);
		ckpt_time(steps[i].name);
	}
	ckpt_groups_await(b.warm);
	return n == 0 ? fault_point("restore", "commit", e) : n;
}

/* The clocks of a VPS that was started early began with what they had been a moment before, at the source:
 * they may be behind what its processes have seen last. */
static int await_clocks(struct restore *r, struct err *e)
{
	int64_t offset[2];
	uint64_t now, late;
	struct timespec ts;
	int n = ckpt_clock_offsets(rt_init_pid(r->vps), offset, e);

	if (n < 0)
		return n;
	now = now_monotonic_us() * 1000 + (uint64_t)offset[0];
	if (now >= r->tree.header->monotonic_ns)
		return 0;
	late = r->tree.header->monotonic_ns - now;
	if (late > CLOCK_LATE_MAX_NS)
		return err_set(e, ERR_FAIL, "the clocks of the VPS would go back by %llu ms",
			       (unsigned long long)late / 1000000);
	ts = (struct timespec){ (time_t)(late / 1000000000), (long)(late % 1000000000) };
	nanosleep(&ts, NULL);
	return 0;
}

/* Into the freezer of the group, which lets all go on at once. */
static int let_go(struct restore *r, bool paused, struct err *e)
{
	int n = r->early ? await_clocks(r, e) : 0;

	if (n == 0)
		n = cgroup_freeze(rt_cgroup(r->vps), FREEZE_TIMEOUT_US, e);
	if (n == 0)
		n = fault_point("restore", "frozen", e);
	if (n == 0)
		n = rt_unhurry(r->vps, e);
	for (size_t i = 0; n == 0 && i < r->tree.task_count; i++)
		for (size_t k = 0; n == 0 && k < r->procs[i].task->thread_count; k++)
			if (ckpt_trace_detach(r->procs[i].threads[k].tid) < 0)
				n = err_sys(e, "let process %u run", r->procs[i].task->process->pid);
	if (n == 0)
		n = fault_point("restore", "thaw", e);
	if (n == 0 && r->netns >= 0)
		n = ckpt_moved_leave(&r->moved, r->netns, e);
	if (n == 0)
		n = restore_sockets_unseal(r, e);
	if (n == 0)
		n = rt_connect(r->vps, e);
	if (n == 0)
		restore_sockets_commit(r);
	if (n == 0 && !paused)
		n = cgroup_thaw(rt_cgroup(r->vps), e);
	ckpt_time("commit");
	return n;
}

/* Traced zombies keep the first process from ending. */
static void end_all(struct restore *r)
{
	struct err ignored;
	size_t n = 0, room = 0;
	pid_t *tids;

	rt_kill(r->vps, &ignored);
	for (size_t i = 0; r->procs && i < r->plan.count; i++)
		room += r->procs[i].task ? r->procs[i].task->thread_count : 1;
	tids = ckpt_alloc(&r->tree.arena, (room + 1 + restore_early_tids(r, NULL)) * sizeof(*tids));
	n = tids ? restore_early_tids(r, tids) : 0;
	if (tids && r->maker)
		tids[n++] = r->maker;
	for (size_t i = 0; tids && r->procs && i < r->plan.count; i++) {
		const struct restoring *p = &r->procs[i];

		for (size_t k = 0; p->threads && k < (p->task ? p->task->thread_count : 1); k++)
			if (p->threads[k].tid)
				tids[n++] = p->threads[k].tid;
	}
	ckpt_trace_reap_all(tids, n);
}

/* No segment meets a port where nobody listens yet, and is answered with a reset. */
static int hold_network(void *restore, int netns_fd, struct err *e)
{
	struct restore *r = restore;
	bool any = r->early != NULL || r->moved.gone.count; /* early: what sockets there will be is not known */

	for (size_t i = 0; i < r->tree.file_count; i++)
		any |= r->tree.files[i]->kind == CKPT_FILE_INET;
	if (!any)
		return 0;
	r->netns = fcntl(netns_fd, F_DUPFD_CLOEXEC, 3);
	if (r->netns < 0)
		return err_sys(e, "keep the VPS's network namespace");
	/* For good: an engine that dies leaves a namespace that resets nobody's connection. */
	return netns_seal(netns_fd, true, e);
}

static void compare_network(void *restore, int netns_fd)
{
	struct restore *r = restore;

	ckpt_netsame_start(r->netsame, netns_fd);
}

/* Programs know interfaces by their numbers. One that was added or changed while it ran has another than a start
 * would give it. */
static uint32_t link_number(void *restore, const char *name)
{
	struct restore *r = restore;

	return ckpt_netstate_number(r->tree.nets, r->tree.net_count, 0, name);
}

static int start(struct restore *r, const struct rt_spec *spec, const struct rt_stdio *stdio, struct err *e)
{
	struct rt_restore how = {
		.network = hold_network, .networked = compare_network, .open = restore_open, .stay = restore_stay, .arg = r,
		.number = link_number,
	};
	int n;

	if (r->early && !is_free(&r->tree, r->region, r->region + RESTORE_REGION))
		return err_set(e, ERR_FAIL, "no address is free in all processes");
	if (r->early)
		return rt_renumber(r->vps, link_number, r, e);
	n = find_region(r, e);
	if (n < 0)
		return n;
	if (restore_is_nested(r))
		how.open = restore_open_first;
	r->netsame = ckpt_netsame_new(r->tree.nets, r->tree.net_count, 0);
	how.monotonic_ns = (int64_t)r->tree.header->monotonic_ns;
	how.boottime_ns = (int64_t)r->tree.header->boottime_ns;
	return rt_start_restore(spec, stdio, &how, &r->vps, e);
}

/* Up to the first record behind the tree. */
static int read_tree(struct restore *r, const struct rt_spec *spec, const struct rt_stdio *stdio,
		     struct ckpt_record *rec, struct list *l, struct err *e)
{
	int n = ckpt_read(r->reader, rec, e);

	if (n > 0 && rec->type == CKPT_REC_PRECOPY) {
		n = restore_early_begin(r, rec, spec, stdio, hold_network, e);
		if (n == 0)
			n = restore_early_read(r, rec, l, e);
	}
	if (n == 0)
		return err_set(e, ERR_FAIL, "the image is damaged: it is empty");
	return n < 0 ? n : ckpt_tree_read_on(&r->tree, r->reader, rec, e);
}

static int prepare(struct restore *r, const struct rt_spec *spec, const struct rt_stdio *stdio,
		   struct list *l, struct err *e)
{
	struct ckpt_record rec;
	struct ckpt_host host;
	int more, n;

	/* What deleted files hold lies in one that has no name, until they are made again. */
	r->tree.spool = open(spec->lib_dir, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	if (r->tree.spool < 0)
		return err_sys(e, "make a file in %s", spec->lib_dir);
	r->tree.has_spool = true;
	r->proc = open("/proc", O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (r->proc < 0)
		return err_sys(e, "open /proc");
	ckpt_time(NULL);
	more = read_tree(r, spec, stdio, &rec, l, e);
	ckpt_time("tree");
	if (more < 0)
		return more;
	ckpt_host_of(r->tree.header, &host);
	n = ckpt_host_check(&host, e);
	if (n == 0)
		n = ckpt_moved_find(r->tree.header, spec, &r->moved, e);
	if (n == 0)
		n = ckpt_plan_tree(&r->plan, &r->tree, NULL, e);
	if (n == 0)
		n = ckpt_births_check(&r->tree, &r->plan, e);
	if (n == 0)
		n = plan_fds(r, e);
	if (n == 0)
		n = restore_devpts_plan(r, e);
	if (n == 0)
		n = restore_births_prepare(r, e);
	if (n == 0)
		n = start(r, spec, stdio, e);
	ckpt_time("start");
	if (n == 0)
		n = build(r, &rec, more, l, e);
	fd_close(&r->proc);
	return n;
}

struct ckpt_restore {
	struct restore r;
};

static void restore_free(struct ckpt_restore *h)
{
	struct restore *r = &h->r;

	for (size_t i = 0; r->procs && i < r->plan.count; i++)
		fd_close(&r->procs[i].batch.mem);
	ckpt_netsame_free(r->netsame);
	restore_heirs_done(r);
	restore_early_done(r);
	for (size_t i = 0; i < RESTORE_FILLERS; i++)
		ckpt_decoder_free(r->decoders[i]);
	restore_sockets_done(r);
	ckpt_reader_free(r->reader);
	ckpt_tree_done(&r->tree);
	free(h);
}

/* *ret_size: what is to come, when the stream is a file; else 0. */
static struct ckpt_reader *open_stream(int fd, uint64_t *ret_size, struct err *e)
{
	struct ckpt_reader *reader = ckpt_reader_new(fd, e);
	struct stat st;

	*ret_size = fstat(fd, &st) == 0 && S_ISREG(st.st_mode) ? (uint64_t)st.st_size : 0;
	if (reader && !*ret_size && ckpt_reader_ahead(reader, e) < 0) {
		ckpt_reader_free(reader);
		return NULL;
	}
	return reader;
}

int ckpt_restore_prepare(const struct rt_spec *spec, const struct rt_stdio *stdio, int fd,
			 const struct ckpt_progress *progress, struct ckpt_restore **ret, struct err *e)
{
	struct ckpt_restore *h = calloc(1, sizeof(*h));
	cleanup_free struct list *l = malloc(sizeof(*l));
	uint64_t token;
	int n;

	if (!h || !l) {
		free(h);
		return err_code(e, -ENOMEM, "restore");
	}
	/* Before a thread reads ahead. */
	fd_reserve(FILES);
	h->r.lender = -EBADF;
	if (getrandom(&token, sizeof(token), 0) != sizeof(token))
		token = now_monotonic_us();
	snprintf(h->r.scratch, sizeof(h->r.scratch), "/run/.vps-restore-%016llx", (unsigned long long)token);
	h->r.progress = progress;
	h->r.netns = -EBADF;
	h->r.reader = open_stream(fd, &h->r.total, e);
	n = h->r.reader ? prepare(&h->r, spec, stdio, l, e) : -EIO;
	if (n < 0) {
		ckpt_restore_abort(h);
		return n;
	}
	*ret = h;
	return 0;
}

struct rt_vps *ckpt_restore_vps(const struct ckpt_restore *h)
{
	return h->r.vps;
}

int ckpt_restore_commit(struct ckpt_restore *h, bool paused, struct rt_vps **ret, struct err *e)
{
	int n = let_go(&h->r, paused, e);

	if (n < 0) {
		ckpt_restore_abort(h);
		return n;
	}
	*ret = h->r.vps;
	restore_free(h);
	return 0;
}

void ckpt_restore_abort(struct ckpt_restore *h)
{
	if (!h)
		return;
	if (h->r.vps) {
		end_all(&h->r);
		rt_finish(h->r.vps);
	}
	restore_free(h);
}

int ckpt_restore(const struct rt_spec *spec, const struct rt_stdio *stdio, int fd, struct rt_vps **ret,
		 struct err *e)
{
	struct ckpt_restore *h;
	int n = ckpt_restore_prepare(spec, stdio, fd, NULL, &h, e);

	return n == 0 ? ckpt_restore_commit(h, false, ret, e) : n;
}
