/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "migrate/internal.h"

#include "base/fd.h"
#include "base/macro.h"
#include "base/proc.h"
#include "base/step.h"

#include <fcntl.h>

#define ANSWER_US 120000000 /* as long as a peer may say nothing (supervisor/worker_move.c) */

int mig_send_tell(struct mig_sending *s, struct err *e)
{
	return s->o->tell && s->o->tell(s->o->ctx, &s->status) ? err_set(e, ERR_CANCELLED, "cancelled")
							       : 0;
}

static int put_record(void *ctx, const void *record, size_t len, struct err *e)
{
	struct mig_sending *s = ctx;
	int r;

	if (s->pump.runs)
		pthread_mutex_lock(&s->pump.lock);
	r = mig_send(s->c, s->type, record, len, e);
	if (s->pump.runs)
		pthread_mutex_unlock(&s->pump.lock);
	/* In the rounds of memory it is they that are told of. */
	if (r < 0 || s->status.round)
		return r;
	s->status.done = s->c->sent;
	return mig_send_tell(s, e);
}

static int open_files(struct mig_sending *s, struct err *e)
{
	const struct storage_ids ids = { s->o->id_base, 65536 };

	s->upper = mig_open_dir(s->dir, "root/upper", e);
	if (s->upper < 0)
		return s->upper;
	return storage_send_new(s->upper, &ids, STORAGE_UPPER, put_record, s, &s->files, e);
}

static int offer_up(void *ctx, struct err *e)
{
	struct mig_sending *s = ctx;
	struct mig_offer *o = &s->o->offer;
	json_t *j;
	int r = open_files(s, e);

	/* For the destination to see whether it has room. */
	if (r == 0)
		r = storage_send_size(s->files, &o->bytes, &o->entries, e);
	if (r == 0 && s->o->image >= 0)
		r = mig_offer_image(o, s->o->image, e);
	if (r == 0 && s->o->live)
		r = mig_offer_live(o, s->o->live, e);
	if (r == 0 && s->o->live)
		r = mig_check_source(s->o->live, o, s->o->obstacles, e);
	if (r < 0)
		return r;
	/* The destination is to say what it has against it all the same. */
	if (json_array_size(s->o->obstacles))
		o->dry_run = true;
	mig_offer_host(o);
	j = mig_offer_format(o);
	return j ? mig_send_json(s->c, MIG_HELLO, j, e) : err_set(e, ERR_FAIL, "make an offer");
}

static void list_obstacles(json_t *list, struct err *e)
{
	cleanup_buf struct buf text = { 0 };
	json_t *item;
	size_t i;

	json_array_foreach(list, i, item)
		buf_addf(&text, "%s%s", i ? "; " : "", json_string_value(item));
	err_set(e, ERR_STATE, "%.900s", text.data ? text.data : "?");
}

static int take_answer(struct mig_sending *s, json_t *answer, struct err *e)
{
	json_t *list = json_object_get(answer, "obstacles"), *item;
	size_t i;

	s->template = json_is_true(json_object_get(answer, "template"));
	json_array_foreach(list, i, item)
		if (i < 64 && json_is_string(item) && str_is_printable(json_string_value(item)))
			json_array_append(s->o->obstacles, item);
	if (json_array_size(s->o->obstacles) == 0 || s->dry_run)
		return 0;
	list_obstacles(s->o->obstacles, e);
	return -EREMOTEIO;
}

static int answer_up(void *ctx, struct err *e)
{
	struct mig_sending *s = ctx;
	json_t *answer = NULL;
	int r;

	if (s->o->offer.mode == MIG_STREAM) {
		s->template = s->o->offer.has_template;
		return 0;
	}
	r = mig_recv_json(s->c, MIG_ANSWER, &answer, e);
	if (r == 0)
		r = take_answer(s, answer, e);
	json_decref(answer);
	return r;
}

static int template_up(void *ctx, struct err *e)
{
	static const struct storage_ids ids = { 0, 65536 };
	struct mig_sending *s = ctx;
	const struct storage_template *t = &s->o->offer.template;
	cleanup_close int top = -EBADF;
	struct storage_send *send;
	struct storage_pass pass;
	char path[512];
	int r;

	if (!s->template)
		return 0;
	storage_template_rootfs(s->o->lib, t, path, sizeof(path));
	top = mig_open_dir(AT_FDCWD, path, e);
	if (top < 0)
		return top;
	s->type = MIG_TEMPLATE;
	s->status = (struct mig_status){ .stage = "template", .total = s->c->sent + t->size };
	r = storage_send_new(top, &ids, STORAGE_TEMPLATE, put_record, s, &send, e);
	if (r < 0)
		return r;
	r = storage_send_pass(send, NULL, true, &pass, e);
	storage_send_free(send);
	return r;
}

static int files_up(void *ctx, struct err *e)
{
	struct mig_sending *s = ctx;
	struct storage_pass pass;

	if (s->o->live)
		return 0;
	s->type = MIG_FILES;
	s->status = (struct mig_status){ .stage = "files", .total = s->c->sent + s->o->offer.bytes };
	return storage_send_pass(s->files, NULL, true, &pass, e);
}

static int send_side(struct mig_sending *s, const char *name, struct err *e)
{
	cleanup_free char *text = NULL, *piece = malloc(65536 + 64);
	size_t len, head = strlen(name) + 1;
	int r = piece ? fd_read_file_at(s->dir, name, MIG_SIDE_MAX, &text, &len) : -ENOMEM;

	if (r == -ENOENT)
		return 0;
	if (r < 0)
		return err_code(e, r, "read %s", name);
	memcpy(piece, name, head);
	for (size_t at = 0; r == 0 && at < len; at += 65536) {
		size_t n = len - at < 65536 ? len - at : 65536;

		memcpy(piece + head, text + at, n);
		r = mig_send(s->c, MIG_SIDE, piece, head + n, e);
	}
	return r;
}

/* How it ended, what it was refused and what it wrote is another one's story. */
static int send_sides(struct mig_sending *s, bool consoles, struct err *e)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < mig_side_count; i++)
		if (consoles == (strncmp(mig_sides[i], "console", 7) == 0) &&
		    (s->o->offer.mode != MIG_COPY || STREQ(mig_sides[i], "command")))
			r = send_side(s, mig_sides[i], e);
	return r;
}

static int sides_up(void *ctx, struct err *e)
{
	return send_sides(ctx, false, e);
}

static int image_up(void *ctx, struct err *e)
{
	struct mig_sending *s = ctx;

	return s->o->image >= 0 ? mig_send_image(s, e) : 0;
}

/* One that runs may have written something meanwhile. */
static int console_up(void *ctx, struct err *e)
{
	return send_sides(ctx, true, e);
}

static void account(struct mig_sending *s)
{
	s->o->report.bytes = s->c->sent;
	s->o->report.total_us = (s->over_us ? s->over_us : now_monotonic_us()) - s->from_us;
}

static json_t *report(struct mig_sending *s)
{
	const struct mig_record *rec = &s->o->report;

	account(s);
	return json_pack("{s:s, s:I, s:I, s:I, s:I}", "id", rec->id, "bytes", (json_int_t)rec->bytes,
			 "rounds", (json_int_t)rec->rounds, "pause_us", (json_int_t)rec->pause_us,
			 "total_us", (json_int_t)rec->total_us);
}

/* One that runs stands still until it comes: there is an end to that, however alive the peer says it is. */
static int hear_answer(struct mig_sending *s, enum mig_type type, struct err *e)
{
	json_t *answer = NULL;
	int r;

	if (s->o->live)
		s->c->until_us = now_monotonic_us() + ANSWER_US;
	r = mig_recv_json(s->c, type, &answer, e);
	s->c->until_us = 0;
	json_decref(answer);
	return r;
}

static int prepare_up(void *ctx, struct err *e)
{
	struct mig_sending *s = ctx;
	int r = mig_send_json(s->c, MIG_PREPARE, report(s), e);

	if (r < 0 || s->o->offer.mode == MIG_STREAM)
		return r < 0 ? r : mig_flush(s->c, e);
	s->status = (struct mig_status){ .stage = s->o->live ? "switch-over" : "prepare" };
	r = mig_send_tell(s, e);
	return r == 0 ? hear_answer(s, MIG_PREPARED, e) : r;
}

static bool gives_up(const struct mig_out *o)
{
	return o->offer.mode == MIG_MOVE;
}

/* From here on this host may not run it any more, unless the destination says that it has not got it. */
static int record_up(void *ctx, struct err *e)
{
	struct mig_sending *s = ctx;

	if (!gives_up(s->o))
		return 0;
	s->o->report.state = MIG_IS_COMMITTED;
	if (s->o->live)
		return mig_live_hold(s, e);
	return mig_record_write(s->dir, &s->o->report, e);
}

/* Undone by nobody: only the destination knows now. */
static void given_up(void *ctx)
{
	mig_live_leave(ctx);
}

static void note_pause(struct mig_sending *s)
{
	if (s->frozen_at_us)
		s->o->report.pause_us = now_monotonic_us() - s->frozen_at_us;
}

static int commit_up(void *ctx, struct err *e)
{
	struct mig_sending *s = ctx;
	struct err ignored;
	int r;

	if (s->o->offer.mode == MIG_STREAM)
		return 0;
	r = mig_live_frames(s, e);
	note_pause(s);
	if (r == 0)
		r = mig_send_json(s->c, MIG_COMMIT, report(s), e);
	if (r == 0)
		r = hear_answer(s, MIG_COMMITTED, e);
	note_pause(s);
	step_mark("send.committed");
	if (r < 0 || !gives_up(s->o))
		return r;
	if (!s->o->live) {
		s->o->report.state = MIG_IS_MOVED;
		return mig_record_write(s->dir, &s->o->report, e);
	}
	s->over_us = now_monotonic_us();
	/* What came since: that it does not get there is no matter of who has the VPS. */
	if (mig_live_frames(s, &ignored) == 0)
		mig_flush(s->c, &ignored);
	r = mig_record_turn(s->dir, MIG_IS_MOVED, e);
	mig_live_strays(s);
	if (r == 0)
		mig_live_end(s);
	return r;
}

static int ask(struct mig_sending *s, struct err *e)
{
	json_t *j = json_pack("{s:s, s:s}", "mode", mig_mode_name(MIG_ASK), "id", s->o->offer.id);
	json_t *answer = NULL;
	int r = mig_send_json(s->c, MIG_HELLO, j, e);

	if (r == 0)
		r = mig_recv_json(s->c, MIG_ANSWER, &answer, e);
	if (r == 0 && !json_is_boolean(json_object_get(answer, "taken")))
		r = err_set(e, ERR_FAIL, "%s does not say who has it", s->c->peer);
	if (r == 0) {
		s->o->taken = json_is_true(json_object_get(answer, "taken"));
		r = mig_record_read(s->dir, &s->o->report);
		if (r < 0)
			err_code(e, r, "read the record of the migration");
	}
	json_decref(answer);
	if (r < 0)
		return r;
	if (!s->o->taken)
		return mig_record_remove(s->dir, e);
	s->o->report.state = MIG_IS_MOVED;
	return mig_record_write(s->dir, &s->o->report, e);
}

static int send_all(struct mig_sending *s, struct err *e)
{
	static const struct step offer_steps[] = {
		{ "offer", offer_up, NULL },
		{ "answer", answer_up, NULL },
	};
	static STEP_TABLE(offer_table, "send", offer_steps);
	static const struct step steps[] = {
		{ "template", template_up, NULL }, { "files", files_up, NULL },
		{ "sides", sides_up, NULL },       { "image", image_up, NULL },
		{ "live", mig_live_up, mig_live_down },
		{ "console", console_up, NULL },   { "prepare", prepare_up, NULL },
		{ "record", record_up, given_up }, { "commit", commit_up, NULL },
	};
	static STEP_TABLE(table, "send", steps);
	int r;

	s->dry_run = s->o->offer.dry_run;
	s->o->obstacles = json_array();
	r = steps_up(&offer_table, s, e);
	return r < 0 || s->dry_run ? r : steps_up(&table, s, e);
}

int mig_out_run(struct mig_out *o, struct err *e)
{
	struct mig_sending s = { .o = o, .c = o->channel, .dir = -EBADF, .upper = -EBADF,
				 .from_us = now_monotonic_us() };
	cleanup_close int vps = mig_open_vps(o->lib, e), dir = -EBADF;
	int r;

	if (vps < 0)
		return vps;
	dir = s.dir = mig_open_dir(vps, o->offer.from, e);
	if (dir < 0)
		return dir;
	o->report = (struct mig_record){ .role = MIG_SOURCE, .keep = o->keep, .live = o->offer.live,
					 .paused = o->offer.paused };
	snprintf(o->report.id, sizeof(o->report.id), "%s", o->offer.id);
	snprintf(o->report.peer, sizeof(o->report.peer), "%s", o->channel->peer);
	r = o->offer.mode == MIG_ASK ? ask(&s, e) : send_all(&s, e);
	account(&s);
	storage_send_free(s.files);
	fd_close(&s.upper);
	/* The destination need not wait to see that the stream has ended. */
	if (r < 0 && r != -EREMOTEIO)
		mig_send_error(o->channel, e);
	return r;
}

void mig_out_done(struct mig_out *o)
{
	json_decref(TAKE_PTR(o->obstacles));
	mig_offer_done(&o->offer);
}
