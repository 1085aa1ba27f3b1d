/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "migrate/internal.h"

#include "base/log.h"
#include "base/macro.h"
#include "base/proc.h"
#include "base/step.h"
#include "cgroup/resources.h"
#include "checkpoint/beside.h"
#include "checkpoint/precopy.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>

/*
 * A VPS that runs. Files and memory go in rounds while it runs; then everything is stopped, and what
 * was changed last goes with the rest of the image.
 */

#define PAGE 4096
#define RATE_FROM (1u << 20)     /* bytes of a round that tells the rate */
#define PASSES_MAX 8             /* over the files before the rounds of memory */
#define WATCH_FROM 4096          /* entries: with fewer a walk costs less than to look for files that are open */
#define BASE_PAUSE_US 8000       /* what is no matter of amounts: stopping, objects, the commit */
#define THROTTLE_MIN 10          /* per cent of its processor time that it keeps */
#define SHRINKS_NO_MORE(was, is) ((is) * 10 > (was) * 9)
#define FEW_PAGES 256            /* a MiB: another round would cost more than they do */
#define EXTRA_ROUNDS 4           /* beyond what --max-pause asks for */

/* A pass beside the tenant, or with everything stopped the last one. */
static int files_pass(struct mig_sending *s, bool last, struct storage_pass *ret, struct err *e)
{
	struct storage_writers w = { 0 };
	uint64_t from = now_monotonic_us();
	int r = mig_find_writers(s->o->live, s->upper, s->watching, &w, e);

	s->type = MIG_FILES;
	if (r == 0)
		r = storage_send_pass(s->files, &w, last, ret, e);
	s->files_us = now_monotonic_us() - from;
	mig_writers_done(&w);
	return r;
}

/* Until the last pass has little to do, or does not get less. */
static int files_rounds(struct mig_sending *s, struct err *e)
{
	struct storage_pass pass, before = { 0 };
	struct err ignored;
	int r = 0;

	s->status = (struct mig_status){ .stage = "files", .total = s->c->sent + s->o->offer.bytes };
	s->watching = s->o->offer.entries >= WATCH_FROM &&
		      storage_send_watch(s->files, s->dir, &ignored) == 0;
	for (unsigned i = 0; r == 0 && i < PASSES_MAX; i++) {
		r = files_pass(s, false, &pass, e);
		if (r == 0)
			r = fault_point("live", "files", e);
		if (pass.changed < 32 || (i && SHRINKS_NO_MORE(before.bytes, pass.bytes)))
			break;
		before = pass;
	}
	return r;
}

/* Short rounds are mostly what a round costs whatever it carries: they say nothing about the rate. */
static uint64_t predict(struct mig_sending *s, const struct ckpt_precopy_stats *st)
{
	if (st->bytes >= RATE_FROM && st->duration_us)
		s->rate = st->bytes * 1000000 / st->duration_us;
	return BASE_PAUSE_US + s->files_us +
	       (s->rate ? st->dirty_pages * PAGE * 1000000 / s->rate : 0);
}

static int tell_round(struct mig_sending *s, const struct ckpt_precopy_stats *st, struct err *e)
{
	s->o->report.rounds = st->round;
	s->status = (struct mig_status){
		.stage = "memory", .done = st->bytes, .total = st->bytes + st->dirty_pages * PAGE,
		.round = st->round, .remaining = st->dirty_pages * PAGE,
		.predicted_us = predict(s, st), .throttled = s->throttled,
	};
	return mig_send_tell(s, e);
}

/* All that was sent has been taken in: what takes time there shows in the time of the round. */
static int sync_with(struct mig_sending *s, enum mig_type what, struct err *e)
{
	struct mig_frame f;
	int r = mig_pump_drain(&s->pump, e);

	if (r < 0)
		return r;
	pthread_mutex_lock(&s->pump.lock);
	r = mig_send(s->c, what, NULL, 0, e);
	if (r == 0)
		r = mig_recv(s->c, &f, e);
	pthread_mutex_unlock(&s->pump.lock);
	return r == 0 && f.type != MIG_READY ? err_set(e, ERR_FAIL, "%s ends too early", s->c->peer) : r;
}

/* Memory last: what is written to it meanwhile goes in the pause. */
static int one_round(struct mig_sending *s, struct ckpt_precopy_stats *st, struct err *e)
{
	struct storage_pass pass;
	int r = files_pass(s, false, &pass, e);
	uint64_t from = now_monotonic_us();

	if (r == 0)
		r = ckpt_precopy_round(s->precopy, st, e);
	if (r == 0)
		r = sync_with(s, MIG_SYNC, e);
	st->duration_us = now_monotonic_us() - from;
	if (r == 0)
		r = fault_point("live", "round", e);
	return r < 0 ? r : tell_round(s, st, e);
}

/* Leaves it less processor time, in halves. False when it has little already, or this host cannot. The
 * monitor gives it its own again when it stays here. */
static bool slow_down(struct mig_sending *s)
{
	const struct mig_source *v = s->o->live;
	uint64_t own = config_number(&v->spec.limits, "cpu.max");
	long cpus = sysconf(_SC_NPROCESSORS_ONLN);
	struct cgroup_setting set = { .name = "cpu.max" };
	char note[CGROUP_NOTE_MAX];
	struct err ignored;
	unsigned left = s->throttled ? s->throttled / 2 : 50;

	if (left < THROTTLE_MIN)
		return false;
	if (own == 0 || own > (uint64_t)cpus * 1000)
		own = (uint64_t)cpus * 1000;
	set.number = own * left / 100;
	if (set.number < 10 || cgroup_apply(&v->cgroup, &set, 1, NULL, note, &ignored) < 0)
		return false;
	s->throttled = left;
	return true;
}

/* Short enough; and some more rounds, as long as each leaves less, make it shorter. */
static bool is_enough(const struct mig_sending *s, const struct ckpt_precopy_stats *st, uint64_t before,
		      unsigned *extra)
{
	if (s->status.predicted_us > s->o->live->max_pause_us)
		return false;
	return st->dirty_pages == 0 ||
	       (st->round > 1 && (st->dirty_pages < FEW_PAGES || SHRINKS_NO_MORE(before, st->dirty_pages) ||
				  (*extra)++ == EXTRA_ROUNDS));
}

/* Until the pause would be short enough. When a round leaves no less to be sent than the one before,
 * the VPS writes faster than the link carries, and is slowed down. */
static int memory_rounds(struct mig_sending *s, struct err *e)
{
	const struct mig_source *v = s->o->live;
	struct ckpt_precopy_stats st = { 0 };
	uint64_t before = UINT64_MAX;
	unsigned extra = 0;
	int r = 0;

	while (r == 0 && st.round < v->max_rounds) {
		r = one_round(s, &st, e);
		if (r < 0 || is_enough(s, &st, before, &extra))
			break;
		if (s->status.predicted_us > v->max_pause_us && SHRINKS_NO_MORE(before, st.dirty_pages) &&
		    !slow_down(s))
			break;
		before = st.dirty_pages;
	}
	return r;
}

static int run_last_pass(void *sending, struct err *e)
{
	struct mig_sending *s = sending;
	struct storage_pass pass;
	int r = files_pass(s, true, &pass, e);

	/* The other end puts it on its disk while the image comes. */
	if (r == 0 && s->pump.runs) {
		pthread_mutex_lock(&s->pump.lock);
		r = mig_flush(s->c, e);
		pthread_mutex_unlock(&s->pump.lock);
	}
	step_mark("live.disk");
	return r;
}

/* The files as they are at this instant, while the objects are collected. */
static int begin_last_pass(struct mig_sending *s, struct err *e)
{
	s->last_pass = calloc(1, sizeof(*s->last_pass));
	if (!s->last_pass)
		return err_code(e, -ENOMEM, "send files");
	/* Outside of rounds each record is told of, which is for one thread. */
	ckpt_job_start(s->last_pass, s->status.round, run_last_pass, s);
	return 0;
}

/* All that is opened by names at the other end is there by then: before the tree goes. */
static int on_settled(void *arg, struct err *e)
{
	struct mig_sending *s = arg;
	cleanup_free struct ckpt_job *l = TAKE_PTR(s->last_pass);

	return ckpt_job_wait(l, e);
}

/* With everything stopped. */
static int on_stopped(void *arg, struct err *e)
{
	struct mig_sending *s = arg;
	int r;

	if (!s->frozen_at_us)
		s->frozen_at_us = now_monotonic_us();
	step_mark("live.frozen");
	r = s->hold ? netns_hold_begin(s->hold, e) : 0;
	if (r == 0)
		r = fault_point("live", "stopped", e);
	return r < 0 ? r : begin_last_pass(s, e);
}

/* The pause begins with the stop, which takes its time, too; with the first one, when it had to go on in between. */
static void note_stop(struct mig_sending *s, const struct ckpt_dump_result *res)
{
	uint64_t at = now_monotonic_us() - res->frozen_us;

	if (at < s->frozen_at_us)
		s->frozen_at_us = at;
}

static int send_in_rounds(struct mig_sending *s, struct ckpt_dump_result *ret, struct err *e)
{
	/* That somebody reads at the other end we hear later than it is so: what the clocks are by now is not behind what
	 * they were then, and they begin there with that. */
	int r = sync_with(s, MIG_SYNC, e);

	if (r == 0)
		r = ckpt_precopy_clocks(s->precopy, e);
	if (r == 0)
		r = memory_rounds(s, e);
	s->status.stage = "switch-over";
	step_mark("live.rounds");
	return r < 0 ? r : ckpt_precopy_finish(s->precopy, &s->dump, ret, e);
}

static int send_image(struct mig_sending *s, struct err *e)
{
	const struct mig_source *v = s->o->live;
	struct ckpt_dump_options o = { .spec = &v->spec, .compression = CKPT_COMPRESS_NONE,
				       .paused = v->paused, .waiting = s->waiting, .stopped = on_stopped, .settled = on_settled,
				       .stopped_arg = s };
	struct ckpt_dump_result res;
	struct err ignored;
	int r = -EOPNOTSUPP;

	/* Nothing is written to in one that is paused, and nobody waits for it. */
	if (v->max_rounds && !v->paused)
		r = ckpt_precopy_open(&v->cgroup, v->init, s->pump.out, &o, &s->precopy, &ignored);
	/* A kernel that cannot tell what was written to: all goes in the pause. */
	r = r == 0 ? send_in_rounds(s, &res, e)
		   : ckpt_dump_prepare(&v->cgroup, v->init, s->pump.out, &o, &s->dump, &res, e);
	if (r == 0)
		note_stop(s, &res);
	return r;
}

/* All that need not be done in the pause. */
static int prepare_pause(struct mig_sending *s, struct err *e)
{
	const struct rt_network *n = &s->o->live->network;
	int r = 0;

	/* Where frames cannot be kept they are lost, and the peers send them again. */
	if (access("/dev/net/tun", F_OK) == 0)
		r = netns_hold_open(&n->host, &n->vps, &s->hold, e);
	s->o->report.state = MIG_IS_FROZEN;
	return r < 0 ? r : mig_record_write(s->dir, &s->o->report, e);
}

int mig_live_up(void *ctx, struct err *e)
{
	struct mig_sending *s = ctx;
	struct err why;
	int r, pumped;

	if (!s->o->live)
		return 0;
	r = files_rounds(s, e);
	if (r == 0)
		r = prepare_pause(s, e);
	if (r == 0)
		r = mig_pump_start(&s->pump, s->c, e);
	if (r < 0) {
		mig_live_down(s);
		return r;
	}
	r = sync_with(s, MIG_BEGIN, e);
	if (r == 0)
		r = send_image(s, e);
	pumped = mig_pump_finish(&s->pump, &why);
	if (pumped < 0) { /* that the engine could not write any more is no news */
		*e = why;
		r = pumped;
	}
	if (r < 0)
		mig_live_down(s);
	return r;
}

void mig_live_down(void *ctx)
{
	struct mig_sending *s = ctx;
	struct err ignored;

	if (!s->o->live || s->left)
		return;
	ckpt_dump_abort(TAKE_PTR(s->dump));
	ckpt_precopy_close(TAKE_PTR(s->precopy));
	netns_hold_end(TAKE_PTR(s->hold), true);
	if (mig_record_remove(s->dir, &ignored) < 0)
		log_warn("%s: %s", s->o->offer.from, ignored.msg);
}

int mig_live_hold(struct mig_sending *s, struct err *e)
{
	int r = s->hold ? netns_hold_silence(s->hold, e) : 0;

	return r < 0 ? r : s->o->live->hold(s->o->ctx, e);
}

void mig_live_end(struct mig_sending *s)
{
	struct err e;

	/* What cannot be killed here stays frozen, and the monitor kills it. */
	if (ckpt_dump_commit(TAKE_PTR(s->dump), &e) < 0)
		log_warn("%s: %s", s->o->offer.from, e.msg);
	ckpt_precopy_close(TAKE_PTR(s->precopy));
	netns_hold_end(TAKE_PTR(s->hold), false);
}

void mig_live_leave(struct mig_sending *s)
{
	/* The handle is left as it is: what we hold falls to the frozen group when we end. */
	s->left = true;
	s->dump = NULL;
	s->precopy = NULL;
	netns_hold_end(TAKE_PTR(s->hold), false);
}
