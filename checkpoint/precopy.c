/* SPDX-License-Identifier: GPL-2.0-or-later */

/*
 * Rounds over the memory of a running VPS: what one does in which order, and what comes before and behind them.
 *
 * Shared memory is read whole in each round, and what has the hash it had when it was sent is left out:
 * write(2) to a memfd is seen by nobody, and all processes that map it would have to be watched. Where nothing
 * can escape that, much of it is watched all the same (precopy_steady.c).
 */
#include "checkpoint/precopy.h"

#include "base/fd.h"
#include "base/macro.h"
#include "base/proc.h"
#include "base/step.h"
#include "checkpoint/image.pb-c.h"
#include "checkpoint/oracle.h"
#include "checkpoint/parents.h"
#include "checkpoint/pidspaces.h"
#include "checkpoint/precopy_internal.h"
#include "checkpoint/softdirty.h"
#include "checkpoint/watch.h"

#include <errno.h>

#define FILES 4096
#define CATCH_UP_MAX 3
#define MANY_PAGES 16384
#define FEW_PAGES 64 /* less than a round finds that takes as long as it must */

/* The record tells the reader to be done with the pages before it: they may come again. It has the clocks, too, and so
 * is on its way at once. */
int ckpt_round_begin(struct ckpt_precopy *p, struct err *e)
{
	Ckpt__Header *h;
	int r = ckpt_header_collect(&p->arena, proc_live_tid(p->init), p->o, &h, e);

	if (r == 0)
		r = ckpt_write_message(p->w, CKPT_REC_PRECOPY, p->rounds, h, e);
	return r == 0 ? ckpt_write_flush(p->w, e) : r;
}

int ckpt_precopy_clocks(struct ckpt_precopy *p, struct err *e)
{
	return ckpt_round_begin(p, e);
}

int ckpt_precopy_round(struct ckpt_precopy *p, struct ckpt_precopy_stats *ret, struct err *e)
{
	struct ckpt_copy c = { .w = p->w, .running = true, .progress = p->o->progress, .oracle = p->oracle };
	uint64_t start = now_monotonic_us(), before = ckpt_written_bytes(p->w);
	uint64_t shared = 0;
	int r = ckpt_round_begin(p, e);

	p->rings = p->stopped = false;
	if (r == 0)
		r = ckpt_precopy_visit(p, &c, e);
	if (r == 0)
		ckpt_direct_settle(p);
	if (r == 0)
		r = ckpt_layouts_tell(p, &c, e);
	if (r == 0)
		r = ckpt_steady_round(p, e);
	if (r == 0 && ckpt_files_meet(p) < 0)
		r = err_code(e, -ENOMEM, "copy files");
	if (r == 0)
		r = ckpt_shared_send(p, &shared, e);
	if (r == 0)
		r = fault_point("precopy", "round", e);
	if (r == 0)
		r = ckpt_copy_run(&c, e);
	if (r == 0)
		r = ckpt_write_flush(p->w, e);
	ckpt_copy_done(&c);
	if (r < 0)
		return r;
	*ret = (struct ckpt_precopy_stats){
		.round = ++p->rounds, .pages = shared + (c.before + c.done) / CKPT_PAGE,
		.bytes = ckpt_written_bytes(p->w) - before,
		.duration_us = now_monotonic_us() - start, .dirty_pages = ckpt_precopy_dirty(p),
	};
	return 0;
}

/* What the stop would have to read whole, while all runs; but for what is lost again while it is read. */
static int read_doubtful(struct ckpt_precopy *p, struct err *e)
{
	struct ckpt_precopy_stats st;
	int r;

	if ((!ckpt_doubts_matter(p) && !ckpt_doubts_lost(p)) || !ckpt_doubts_look(p))
		return 0;
	r = ckpt_precopy_round(p, &st, e);
	if (r == 0 && ckpt_doubts_look(p))
		ckpt_doubts_accept(p);
	return r;
}

/* What comes right before the stop reads the page tables of all memory, for flags that are told nowhere else: 9 ms a
 * GiB, in which as much is written to as in a round or two. Where it is far more, that makes no difference. */
int ckpt_precopy_catch_up(struct ckpt_precopy *p, unsigned births, struct err *e)
{
	/* Where a round waits for requests more is written to in one than before it; where it begins with a stop each
	 * is a pause of its own. */
	unsigned most = p->rings ? 0 : p->soft ? 1 : CATCH_UP_MAX;
	uint64_t before, dirty = ckpt_precopy_dirty(p);
	struct ckpt_precopy_stats st;
	int r;

	if (p->number)
		p->number += (pid_t)births;
	for (unsigned i = 0; i < most && dirty < MANY_PAGES; i++) {
		r = ckpt_precopy_round(p, &st, e);
		if (r < 0)
			return r;
		before = dirty;
		dirty = st.dirty_pages;
		if (dirty < FEW_PAGES || (i && dirty * 4 > before * 3))
			break;
	}
	return read_doubtful(p, e);
}

int ckpt_precopy_finish(struct ckpt_precopy *p, struct ckpt_dump **ret,
			struct ckpt_dump_result *result, struct err *e)
{
	return ckpt_dump_after(p, p->cgroup, p->init, p->w, p->o, ret, result, e);
}

int ckpt_precopy_open(const struct cgroup *c, pid_t init, int fd, const struct ckpt_dump_options *o,
		      struct ckpt_precopy **ret, struct err *e)
{
	bool soft = without_feature("userfaultfd") || !ckpt_watch_known();
	struct ckpt_precopy *p;
	int r;

	if (soft && (without_feature("soft-dirty") || !ckpt_soft_known())) {
		err_set(e, ERR_UNSUPPORTED, "this kernel cannot tell which memory is written to");
		return err_hint(e, "userfaultfd with UFFD_FEATURE_WP_ASYNC came with Linux 6.7");
	}
	r = cgroup_is_frozen(c, e);
	if (r > 0)
		return err_set(e, ERR_STATE, "the VPS is frozen: nothing is written to");
	if (r < 0)
		return r;
	/* Some are opened in the pause, with other threads about. */
	fd_reserve(FILES);
	p = calloc(1, sizeof(*p));
	if (!p)
		return err_code(e, -ENOMEM, "copy memory");
	*p = (struct ckpt_precopy){
		.cgroup = c, .init = init, .level = ckpt_pid_level(proc_live_tid(init)), .o = o, .soft = soft,
		.closes = -EBADF, .oracle = ckpt_oracle_new(),
	};
	p->w = ckpt_writer_new(fd, o->compression, e);
	r = p->w ? ckpt_ids_of(init, &p->uid_base, &p->uid_count, e) : -ENOMEM;
	if (r == 0)
		r = ckpt_round_begin(p, e);
	if (r < 0) {
		ckpt_precopy_close(p);
		return r;
	}
	*ret = p;
	return 0;
}

void ckpt_precopy_close(struct ckpt_precopy *p)
{
	if (!p)
		return;
	ckpt_moves_free(p->moves);
	ckpt_parents_free(p->parents);
	free(p->gone);
	for (size_t i = 0; i < p->count; i++) {
		fd_close(&p->procs[i]->uffd);
		fd_close(&p->procs[i]->moves);
		free(p->procs[i]->areas.a);
		free(p->procs[i]->before.a);
		ckpt_ranges_done(&p->procs[i]->inherited);
		free(p->procs[i]);
	}
	free(p->procs);
	ckpt_shared_done(p);
	fd_close(&p->closes);
	ckpt_ahead_done(&p->mounts);
	ckpt_oracle_free(p->oracle);
	ckpt_writer_free(p->w);
	ckpt_arena_done(&p->arena);
	free(p);
}
