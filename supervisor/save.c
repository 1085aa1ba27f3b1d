/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "supervisor/save.h"

#include "base/fd.h"
#include "base/log.h"
#include "base/macro.h"
#include "base/proc.h"
#include "supervisor/monitor_link.h"
#include "supervisor/move.h"
#include "supervisor/network.h"
#include "supervisor/suspend.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>

struct saving {
	struct sup_vps *vps;
	struct server_call *call; /* NULL once it is answered */
	struct job *job;
	int word;           /* to the worker, which goes on at a word and lets go at its end */
	int worker;         /* pidfd, once the image is complete and all tasks are held */
	char id[37];
	char verb[16], compress[8];
	bool leave, files, paused;
	int fd;             /* where to; -EBADF: a place of its own */
	uid_t uid;          /* whose that is */
	char *file;         /* what the user calls that */
	bool cancelled;
	bool committed;     /* the record is on disk */
	json_t *record;     /* what it says */
	json_t *what;       /* was written */
	struct err refused; /* why not, code 0: no reason */
	bool ended;         /* the worker */
};

static void saving_free(struct saving *s)
{
	s->vps->saving = NULL;
	fd_close(&s->word);
	fd_close(&s->worker);
	fd_close(&s->fd);
	free(s->file);
	json_decref(s->record);
	json_decref(s->what);
	free(s);
}

static void on_told(void *ctx, const struct err *e, const char *note)
{
	(void)ctx;
	(void)note;
	if (e)
		log_debug("save: %s", e->msg);
}

static void tell_monitor(struct sup_vps *v, const char *op)
{
	struct err e;

	if (v->link && link_request(v->link, json_pack("{s:s}", "op", op), NULL, 0, on_told, NULL, &e) < 0)
		log_warn("%s: %s", v->name, e.msg);
}

static void succeed(struct saving *s, const char *event)
{
	struct sup_vps *v = s->vps;

	event_emit(v->d, event, v->name, s->file);
	server_reply(s->call, json_pack("{s:o, s:O}", "vps", vps_json(v), "saved", s->what), NULL, 0);
	saving_free(s);
}

/* It runs on as before, as the monitor has said by its state, or it is gone. */
static void on_aborted(void *ctx, const struct err *e, const char *note)
{
	struct saving *s = ctx;

	on_told(ctx, e, note);
	if (s->refused.code) {
		server_fail(s->call, &s->refused);
		saving_free(s);
	} else {
		succeed(s, "saved");
	}
}

static void let_run_on(struct saving *s)
{
	struct err ignored;

	if (link_request(s->vps->link, json_pack("{s:s}", "op", "save-abort"), NULL, 0, on_aborted, s,
			 &ignored) < 0)
		on_aborted(s, NULL, NULL);
}

static void fail(struct saving *s, const struct err *e)
{
	if (!s->refused.code)
		s->refused = *e;
	err_wrap(&s->refused, "%s %s", s->verb, s->vps->name);
	log_info("%s", s->refused.msg);
	let_run_on(s);
}

static void finish_when_over(struct saving *s)
{
	if (s->committed && s->ended && s->vps->state == SUP_SUSPENDED)
		succeed(s, "suspended");
}

static void on_discarded(void *ctx, json_t *result, const struct err *e)
{
	struct sup_vps *v = ctx;
	struct err told;

	(void)result;
	v->copying--;
	if (e) {
		told = *e;
		err_wrap(&told, "stop %s", v->name);
		vps_look(v, &told);
		return;
	}
	v->state = vps_idle_state(v);
	event_emit(v->d, "stopped", v->name, "its image was given up");
	vps_look(v, NULL);
}

int save_discard(struct sup_vps *v, struct err *e)
{
	struct job_spec job = { .key = v->name, .done = on_discarded, .ctx = v };
	char lib[512];
	int r = vps_check(v, SUP_EV_DISCARD, "stop", e);

	if (r == 0)
		r = move_check(v, "stop", e);
	if (r < 0)
		return r;
	if (v->copying)
		return err_set(e, ERR_STATE, "stop %s: files are being copied into or out of it", v->name);
	job.request = json_pack("{s:s, s:s}", "op", "discard", "lib_dir",
				host_root_lib(&v->d->root, v->name, lib));
	r = job_submit(v->d->jobs, &job, NULL, e);
	if (r < 0)
		return err_wrap(e, "stop %s", v->name);
	v->copying++;
	return 0;
}

void save_ended(struct sup_vps *v)
{
	if (v->saving && v->saving->committed)
		finish_when_over(v->saving);
}

static void on_saved(void *ctx, json_t *result, const struct err *e)
{
	struct saving *s = ctx;

	s->job = NULL;
	if (!s->committed && e) {
		network_let_go(s->vps); /* it may have died while it held frames */
		fail(s, e);
		return;
	}
	if (!s->committed) { /* it runs on */
		s->what = json_incref(result);
		let_run_on(s);
		return;
	}
	/* It is suspended, whatever became of the worker; the answer comes when all has ended. */
	s->ended = true;
	tell_monitor(s->vps, "save-finish");
	finish_when_over(s);
}

static void on_progress(void *ctx, json_t *progress)
{
	struct saving *s = ctx;

	if (call_more(s->call))
		server_continue(s->call, json_pack("{s:O}", "progress", progress));
}

static void committed(struct saving *s)
{
	s->committed = true;
	if (send(s->word, "c", 1, MSG_NOSIGNAL) < 0)
		log_warn("%s: tell the worker: %s", s->vps->name, strerrordesc_np(errno));
}

static void on_committed(void *ctx, const struct err *e, const char *note)
{
	struct sup_vps *v = ctx;
	struct saving *s = v->saving;

	(void)note;
	if (!s || (e && !v->link))
		return; /* it has died: see save_monitor_died() */
	if (!e) {
		committed(s);
		return;
	}
	s->refused = *e;
	fd_close(&s->word);
}

static void on_prepared(void *ctx, json_t *what)
{
	struct saving *s = ctx;
	struct sup_vps *v = s->vps;
	json_t *msg;

	if (s->cancelled)
		return;
	s->worker = job_pidfd(s->job);
	s->what = json_incref(what);
	s->record = json_pack("{s:s, s:I, s:O}", "id", s->id, "at",
			      (json_int_t)(now_realtime_us() / 1000000), "bytes",
			      json_object_get(what, "bytes"));
	if (s->file)
		json_object_set_new(s->record, "file", json_string(s->file));
	msg = json_pack("{s:s, s:O}", "op", "save-commit", "record", s->record);
	if (s->worker < 0 || link_request(v->link, msg, &s->worker, 1, on_committed, v, &s->refused) < 0)
		fd_close(&s->word);
}

void save_monitor_died(struct sup_vps *v)
{
	struct saving *s = v->saving;
	struct pollfd p = { .events = POLLIN };
	cleanup_close int lib = -EBADF;
	struct err e;

	if (!s || s->committed)
		return;
	p.fd = s->worker;
	lib = vps_open_lib(v, &e);
	/* Its death killed init, not before; a worker that lives still holds all that ran beside it. */
	if (lib >= 0 && (suspend_is(lib) || (s->worker >= 0 && poll(&p, 1, 0) == 0 &&
					     suspend_commit(lib, s->record, &e) == 0)))
		committed(s);
	else if (s->job)
		job_cancel(s->job);
}

static void on_cancel(struct server_call *c, void *userdata)
{
	struct saving *s = userdata;

	(void)c;
	s->cancelled = true;
	/* Once the monitor has been asked to commit it alone decides: a worker that gave up now would take
	 * the image away from under the record. */
	if (s->job && !s->record)
		job_cancel(s->job);
}

/* Everything that the worker needs to find the VPS. */
static json_t *job_request(const struct saving *s)
{
	const struct sup_vps *v = s->vps;
	char run[512], lib[512];
	uint64_t start = 0;

	proc_start_time(v->pid, &start);
	return json_pack("{s:s, s:s, s:s, s:s, s:s, s:I, s:I, s:b, s:b, s:b, s:s}", "op", "save", "run_dir",
			 host_root_run(&v->d->root, v->name, run), "lib_dir",
			 host_root_lib(&v->d->root, v->name, lib), "id", s->id, "compress", s->compress,
			 "pid", (json_int_t)v->pid, "start", (json_int_t)start,
			 "leave", s->leave, "files", s->files, "paused", s->paused, "file",
			 s->file ? s->file : "");
}

static int submit(struct saving *s, struct err *e)
{
	struct job_spec job = { .key = s->vps->name, .waits = s->fd >= 0, .uid = s->uid, .progress = on_progress,
				.prepared = on_prepared, .done = on_saved, .ctx = s };
	int pair[2], r;

	if (s->cancelled)
		return err_set(e, ERR_CANCELLED, "cancelled");
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
		return err_sys(e, "make a socket pair");
	s->word = pair[0];
	job.request = job_request(s);
	job.fds = (int[]){ pair[1], s->fd };
	job.nfds = s->fd >= 0 ? 2 : 1;
	r = job_submit(s->vps->d->jobs, &job, &s->job, e);
	close(pair[1]);
	return r;
}

/* The monitor keeps its hands off from now on. */
static void on_ready(void *ctx, const struct err *e, const char *note)
{
	struct saving *s = ctx;
	struct err own;

	(void)note;
	if (e)
		fail(s, e);
	else if (submit(s, &own) < 0)
		fail(s, &own);
}

static int may_save(struct sup_vps *v, const char *verb, bool leave, struct err *e)
{
	int r = vps_check(v, SUP_EV_SAVE, verb, e);

	if (r < 0)
		return r;
	if (v->copying)
		return err_set(e, ERR_STATE, "%s %s: files are being copied into or out of it", verb,
			       v->name);
	if (v->ephemeral && !leave)
		return err_set(e, ERR_STATE, "%s %s: it is removed when it ends (vps run --rm)", verb,
			       v->name);
	return 0;
}

int save_begin(struct sup_vps *v, const struct save_request *q, struct server_call *c, struct err *e)
{
	struct saving *s;
	int r = may_save(v, q->verb, q->leave, e);

	if (r < 0)
		return r;
	s = calloc(1, sizeof(*s));
	if (!s)
		return err_code(e, -ENOMEM, "%s %s", q->verb, v->name);
	*s = (struct saving){ .vps = v, .call = c, .word = -EBADF, .worker = -EBADF, .leave = q->leave,
			      .uid = call_uid(c), .files = q->files, .paused = v->state == SUP_PAUSED,
			      .file = q->file ? strdup(q->file) : NULL };
	s->fd = q->fd < 0 ? -EBADF : fcntl(q->fd, F_DUPFD_CLOEXEC, 3);
	snprintf(s->verb, sizeof(s->verb), "%s", q->verb);
	snprintf(s->compress, sizeof(s->compress), "%s", q->compress);
	r = proc_random_uuid(s->id);
	if (r < 0)
		err_code(e, r, "make a UUID");
	else if (q->fd >= 0 && s->fd < 0)
		r = err_code(e, -EMFILE, "keep the file");
	else
		r = link_request(v->link, json_pack("{s:s}", "op", "save"), NULL, 0, on_ready, s, e);
	v->saving = s;
	if (r < 0) {
		saving_free(s);
		return err_wrap(e, "%s %s", q->verb, v->name);
	}
	vps_move(v, SUP_EV_SAVE);
	call_on_cancel(c, on_cancel, s);
	return 0;
}
