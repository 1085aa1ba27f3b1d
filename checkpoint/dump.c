/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "checkpoint/hugetlb.h"
#include "checkpoint/image.pb-c.h"
#include "checkpoint/dump.h"

#include "base/fd.h"
#include "base/macro.h"
#include "base/proc.h"
#include "base/step.h"
#include "checkpoint/ghosts.h"
#include "checkpoint/check.h"
#include "checkpoint/drain.h"
#include "checkpoint/internal.h"
#include "checkpoint/optwatch.h"
#include "checkpoint/kernel.h"
#include "checkpoint/locked.h"
#include "checkpoint/lookout.h"
#include "checkpoint/sockets.h"
#include "checkpoint/tcp.h"
#include "checkpoint/unix.h"
#include "checkpoint/waits.h"
#include "checkpoint/times.h"
#include "runtime/vps.h"

#include <errno.h>
#include <fcntl.h>
#include <time.h>

#define BUSY_TRIES 20
#define BUSY_NS 10000000
#define DOUBT_TRIES 1 /* then less is gained than it takes */
#define HOLD_TIMEOUT_US 10000000 /* on a machine that stalls: they are stopped already */
#define ARENA_BASE KIB(256)
#define ARENA_OF_PROCESS KIB(32)
#define ARENA_OF_CONNECTION KIB(3)
#define CONNECTIONS_MOST 65536ul
#define ARENA_OF_TCP_MOST MIB(256)

struct ckpt_arena *ckpt_dump_arena(struct ckpt_dump *d)
{
	return &d->tree.arena;
}

const struct ckpt_tree *ckpt_dump_tree(const struct ckpt_dump *d)
{
	return &d->tree;
}

int ckpt_dump_root(const struct ckpt_dump *d)
{
	return d->root;
}

Ckpt__Shmem *ckpt_dump_shmem(struct ckpt_dump *d, int id)
{
	return d->tree.shmems[id - 1];
}

uint32_t ckpt_dump_id(const struct ckpt_dump *d, uint32_t id)
{
	return id >= d->uid_base && id - d->uid_base < d->uid_count ? id - d->uid_base : 65534;
}

static int write_image(struct ckpt_dump *d, struct ckpt_writer *w, bool durable, struct err *e)
{
	int r = d->precopy ? ckpt_final_scan(d, e) : ckpt_pages_scan(d, e);

	/* After a pre-copy the other side has taken them by now. */
	if (r == 0 && !d->precopy)
		r = ckpt_huge_tell(d, e);
	ckpt_time("scan of pages");
	if (r == 0)
		r = ckpt_tree_write(&d->tree, w, e);
	if (r == 0)
		r = ckpt_ghosts_write(d, w, e);
	ckpt_time("records");
	if (r == 0)
		r = fault_point("checkpoint", "pages", e);
	if (r == 0)
		r = d->precopy ? ckpt_final_pages(d, w, e) : ckpt_pages_dump(d, w, e);
	if (r == 0)
		r = ckpt_write_end(w, durable, e);
	ckpt_time("pages");
	d->bytes = ckpt_written_bytes(w);
	return r;
}

static void dump_free(struct ckpt_dump *d)
{
	ckpt_lookout_done(d);
	for (size_t i = 0; i < d->tree.shmem_count; i++)
		fd_close(&d->shmem_fd[i]);
	ckpt_sockets_unlock(d);
	ckpt_network_done(d);
	fd_close(&d->root);
	fd_close(&d->group);
	fd_close(&d->proc);
	fd_close(&d->socks_pidfd);
	ckpt_spaces_done(d);
	ckpt_ahead_done(&d->ahead);
	ckpt_collect_done(&d->files);
	ckpt_flags_done(&d->flags);
	ckpt_flags_done(&d->attached);
	ckpt_copy_done(&d->copy);
	ckpt_copy_done(&d->heritage);
	ckpt_ghosts_done(d);
	ckpt_optwatch_done(d);
	ckpt_alike_free(d->alike);
	ckpt_areas_done(d);
	ckpt_uring_left_done(&d->left);
	ckpt_uring_waits_done(&d->waits);
	ckpt_kernel_close(d->kernel);
	ckpt_tree_done(&d->tree);
	free(d);
}

static void summarize(const struct ckpt_dump *d, uint64_t start, struct ckpt_dump_result *ret)
{
	*ret = (struct ckpt_dump_result){
		.frozen_us = now_monotonic_us() - start, .bytes = d->bytes,
		.processes = d->tree.task_count, .files = d->tree.file_count,
	};
	for (size_t i = 0; i < d->tree.task_count; i++)
		ret->threads += d->tree.tasks[i].thread_count;
}

/* It goes on as it was. */
static void let_go(struct ckpt_dump *d)
{
	struct err ignored;

	if (d->paused)
		cgroup_freeze(d->cgroup, HOLD_TIMEOUT_US, &ignored);
	ckpt_sockets_unlock(d);
	ckpt_unfreeze(&d->frozen);
	if (d->held && !d->paused)
		cgroup_thaw(d->cgroup, &ignored);
}

static struct ckpt_dump *dump_new(const struct cgroup *c, pid_t init, const struct ckpt_dump_options *o,
				  struct err *e)
{
	struct ckpt_dump *d = calloc(1, sizeof(*d));
	char path[64];

	if (!d) {
		err_code(e, -ENOMEM, "save the VPS");
		return NULL;
	}
	d->first = init;
	init = proc_live_tid(init);
	snprintf(path, sizeof(path), "/proc/%d/root", (int)init);
	d->root = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	d->group = d->socks_pidfd = -EBADF;
	pthread_mutex_init(&d->arena_lock, NULL);
	d->proc = open("/proc", O_PATH | O_DIRECTORY | O_CLOEXEC);
	d->init = init;
	d->cgroup = c;
	d->spec = o->spec;
	d->uid_base = o->spec->root.id_base;
	d->uid_count = o->spec->root.id_count;
	d->progress = o->progress;
	d->paused = o->paused;
	d->waiting = o->waiting;
	if (d->root < 0 || d->proc < 0) {
		err_sys(e, "open %s", d->root < 0 ? path : "/proc");
		dump_free(d);
		return NULL;
	}
	return d;
}

/* A dump of full queues is above all their memory: each page of it that the kernel has to find takes as long as it takes to
 * fill it. */
static size_t arena_of_tcp(const struct ckpt_dump *d)
{
	unsigned long count = ckpt_tcp_count(d->init);
	size_t queued = count ? ckpt_tcp_queued(d->init) : 0;
	size_t size = (count < CONNECTIONS_MOST ? count : CONNECTIONS_MOST) * ARENA_OF_CONNECTION + queued + queued / 8;

	return size < ARENA_OF_TCP_MOST ? size : ARENA_OF_TCP_MOST;
}

/* What takes long and need not be known exactly yet. */
static int look_ahead(struct ckpt_dump *d, struct err *e)
{
	cleanup_free pid_t *pids = NULL;
	uint8_t vdso[16];
	size_t n = 0;
	int r = ckpt_network_look_ahead(d, e);

	if (r == 0)
		r = ckpt_list(d->cgroup, &pids, &n, e);
	/* Rounds have met them: what this takes here, more would be written to meanwhile. */
	for (size_t i = 0; r == 0 && !d->precopy && i < n; i++)
		ckpt_warm(pids[i]);
	if (r == 0 && ckpt_arena_reserve(&d->tree.arena, ARENA_BASE + n * ARENA_OF_PROCESS + arena_of_tcp(d)) < 0)
		r = err_code(e, -ENOMEM, "save the VPS");
	for (size_t i = 0; r == 0 && i < n; i++)
		if (ckpt_flags_read(&d->flags, proc_live_tid(pids[i])) < 0)
			r = err_code(e, -ENOMEM, "look at the memory of process %d", (int)pids[i]);
	ckpt_waits_look_ahead(d);
	ckpt_locked_look_ahead(d);
	if (r == 0)
		ckpt_ahead_look(&d->ahead, d->proc, d->init, pids, n);
	if (r == 0)
		r = ckpt_network_prepare(d, pids, n, e);
	if (r == 0)
		ckpt_optwatch_look(d, pids, n);
	ckpt_vdso_digest(vdso); /* which is known from then on */
	return r;
}

/* What the caller saves of this instant he may save while the objects are collected. */
static int collect_beside(struct ckpt_dump *d, const struct ckpt_dump_options *o, struct err *e)
{
	struct err ignored;
	int r = o->stopped ? o->stopped(o->stopped_arg, e) : 0, settled;

	if (r < 0)
		return r;
	r = ckpt_dump_collect(d, o, e);
	settled = o->settled ? o->settled(o->stopped_arg, r < 0 && r != -EAGAIN ? &ignored : e) : 0;
	ckpt_time("wait for the caller");
	/* Another try would not repeat what the caller could not do: it is the end. */
	if (settled < 0 && (r == 0 || r == -EAGAIN))
		return settled == -EAGAIN ? -EIO : settled;
	return r;
}

int ckpt_dump_after(struct ckpt_precopy *p, const struct cgroup *c, pid_t init, struct ckpt_writer *w,
		    const struct ckpt_dump_options *o, struct ckpt_dump **ret,
		    struct ckpt_dump_result *result, struct err *e)
{
	struct ckpt_dump *d = NULL;
	struct err ignored;
	uint64_t start;
	int r, sent;

	for (unsigned tries = 0;; tries++) {
		d = dump_new(c, init, o, e);
		if (!d)
			return -EIO;
		d->precopy = p;
		ckpt_time(NULL);
		r = look_ahead(d, e);
		ckpt_time("look ahead");
		if (r == 0 && p)
			r = ckpt_precopy_catch_up(p, d->ahead.births, e);
		ckpt_time("rounds before the stop");
		if (r == 0)
			rt_hurry(c);
		if (r == 0)
			ckpt_freeze_look(c, &d->frozen);
		ckpt_time("hurry");
		start = now_monotonic_us();
		if (r == 0)
			r = ckpt_freeze(c, &d->frozen, e);
		ckpt_time("freeze");
		if (r == 0 && p && ckpt_precopy_stop(p) && tries < DOUBT_TRIES)
			r = -EAGAIN;
		if (r == 0)
			r = ckpt_drain(d, e);
		ckpt_time("requests under way");
		/* Threads, which have begun when the caller does what it has to. */
		if (r == 0 && p)
			ckpt_last_start(p);
		if (r == 0)
			r = ckpt_network_start(d, e);
		ckpt_time("start of the network");
		if (r == 0)
			r = collect_beside(d, o, e);
		sent = p ? ckpt_last_wait(p, r < 0 ? &ignored : e) : 0;
		if (r == 0)
			r = sent;
		ckpt_time("wait for the last round");
		if (r != -EAGAIN || tries == BUSY_TRIES)
			break;
		/* A connection waits to be accepted, or somebody was just born who has much shared memory: let the VPS do it. The more that takes, the more waits. */
		ckpt_dump_abort(d);
		nanosleep(&(struct timespec){ 0, BUSY_NS * (1 + tries / 4) }, NULL);
	}
	if (r == 0 && p)
		r = ckpt_final_number(d, e);
	if (r == 0)
		r = write_image(d, w, o->durable, e);
	if (r < 0) {
		ckpt_dump_abort(d);
		return r;
	}
	if (result)
		summarize(d, start, result);
	*ret = d;
	return 0;
}

int ckpt_dump_prepare(const struct cgroup *c, pid_t init, int fd, const struct ckpt_dump_options *o,
		      struct ckpt_dump **ret, struct ckpt_dump_result *result, struct err *e)
{
	struct ckpt_writer *w = ckpt_writer_new(fd, o->compression, e);
	int r = w ? ckpt_dump_after(NULL, c, init, w, o, ret, result, e) : -ENOMEM;

	ckpt_writer_free(w);
	return r;
}

int ckpt_dump_look(const struct cgroup *c, pid_t init, const struct ckpt_dump_options *o,
		   struct ckpt_check *check, struct err *e)
{
	struct ckpt_dump *d = dump_new(c, init, o, e);
	int r;

	if (!d)
		return -EIO;
	d->check = check;
	/* Who is only looked at stands no longer than who moves. */
	r = look_ahead(d, e);
	if (r == 0)
		ckpt_freeze_look(c, &d->frozen);
	if (r == 0)
		r = ckpt_freeze(c, &d->frozen, e);
	if (r == 0)
		r = ckpt_drain(d, e);
	if (r == 0 && o->stopped)
		r = o->stopped(o->stopped_arg, e);
	if (r == 0)
		r = ckpt_network_start(d, e);
	if (r == 0)
		r = ckpt_dump_collect(d, o, e);
	if (r == 0)
		ckpt_huge_need(d, check->huge);
	let_go(d);
	if (o->goes_on)
		o->goes_on(o->stopped_arg);
	dump_free(d);
	return r;
}

/* A task that loses its tracer goes from its ptrace stop into that of its group (Linux 5.2: both are
 * loops in get_signal(), no instruction runs in between). */
int ckpt_dump_hold(struct ckpt_dump *d, struct err *e)
{
	int r = cgroup_freeze(d->cgroup, HOLD_TIMEOUT_US, e);

	if (r == 0)
		d->held = true;
	return r;
}

int ckpt_dump_commit(struct ckpt_dump *d, struct err *e)
{
	int r = ckpt_sockets_silence(d, true, e);
	struct err ignored;

	if (r == 0)
		r = cgroup_kill(d->cgroup, e);
	if (r < 0) {
		ckpt_sockets_silence(d, false, &ignored);
		return r;
	}
	ckpt_ahead_let_go(&d->ahead);
	ckpt_frozen_reap(&d->frozen);
	dump_free(d);
	return 0;
}

void ckpt_dump_abort(struct ckpt_dump *d)
{
	if (!d)
		return;
	let_go(d);
	dump_free(d);
}

int ckpt_dump(const struct cgroup *c, pid_t init, int fd, const struct ckpt_dump_options *o,
	      struct ckpt_dump_result *ret, struct err *e)
{
	struct ckpt_dump *d;
	int r = ckpt_dump_prepare(c, init, fd, o, &d, ret, e);

	if (r == 0 && !o->leave_running)
		r = ckpt_dump_commit(d, e);
	else if (r == 0)
		ckpt_dump_abort(d);
	else
		return r;
	if (r < 0)
		ckpt_dump_abort(d);
	return r;
}
