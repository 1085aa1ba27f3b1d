/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "supervisor/move.h"
#include "supervisor/network.h"

#include "base/fd.h"
#include "base/log.h"
#include "base/macro.h"
#include "base/parse.h"
#include "base/proc.h"
#include "base/str.h"
#include "migrate/move.h"
#include "supervisor/monitor_link.h"

#include <errno.h>
#include <sys/socket.h>

/* The source's end: a move's course. */

#define MAX_PAUSE_US 50000
#define MAX_ROUNDS 20

struct moving {
	struct sup_vps *vps;
	struct server_call *call;
	struct job *job;
	char verb[8];
	bool asks;
	/* Of one that runs. */
	json_t *request;  /* until the monitor keeps its hands off */
	int in, out;
	int word;         /* to the worker */
	int worker;       /* pidfd */
	bool live, given_up, cancelled;
	struct err refused;
};

static void moving_free(struct moving *m)
{
	if (m->vps->moving == m)
		m->vps->moving = NULL;
	json_decref(m->request);
	fd_close(&m->in);
	fd_close(&m->out);
	fd_close(&m->word);
	fd_close(&m->worker);
	free(m);
}

static json_int_t number(json_t *j, const char *key)
{
	return json_integer_value(json_object_get(j, key));
}

/* Who watches events sees each round of memory. */
static void tell_round(struct sup_vps *v, json_t *progress)
{
	char left[32], text[128];

	snprintf(text, sizeof(text), "round %d, %s left, a pause of %d ms",
		 (int)number(progress, "round"),
		 format_size((uint64_t)number(progress, "remaining"), left, sizeof(left)),
		 (int)(number(progress, "predicted_us") / 1000));
	event_emit(v->d, "migrating", v->name, text);
}

static void on_progress(void *ctx, json_t *progress)
{
	struct moving *m = ctx;

	if (json_object_get(progress, "round"))
		tell_round(m->vps, progress);

	if (call_more(m->call))
		server_continue(m->call, json_pack("{s:O}", "progress", progress));
}

/* The name is free here when the answer comes. What else may become of the files, it has moved. */
static bool wait_until_gone(struct sup_waiter *w, const struct err *e)
{
	if (!e && (w->vps->destroy_next || w->vps->state == SUP_DESTROYING))
		return false;
	server_reply(w->call, TAKE_PTR(w->vps->moved_report), NULL, 0);
	return true;
}

static void on_done(void *ctx, json_t *result, const struct err *e)
{
	struct moving *m = ctx;
	struct sup_vps *v = m->vps;
	struct err told;

	if (!m->live)
		v->copying--;
	move_load(v);
	m->job = NULL;
	if (m->live && v->moved == SUP_HERE) { /* it failed, or was not meant */
		network_let_go(v);
		move_tell_monitor(v, json_pack("{s:s}", "op", "save-abort"));
	}
	if (e) {
		told = m->refused.code ? m->refused : *e;
		if (v->moved == SUP_IN_DOUBT && !m->asks)
			err_hint(&told, "whether it is there is not known: vps migrate %s %s asks",
				 v->name, v->moved_to);
		method_fail(m->call, m->verb, v->name, &told);
	} else if (v->moved == SUP_MOVED) {
		v->moved_report = json_incref(result);
		v->destroy_next = true;
		vps_wait(v, m->call, 0, wait_until_gone);
	} else {
		server_reply(m->call, json_incref(result), NULL, 0);
	}
	if (m->asks && !e && v->moved == SUP_HERE)
		move_is_here(v);
	moving_free(m);
	if (v->moved == SUP_MOVED || (v->moved == SUP_MOVED_KEPT && !e))
		move_is_away(v);
}

static void on_cancel(struct server_call *c, void *userdata)
{
	struct moving *m = userdata;

	(void)c;
	m->cancelled = true;
	/* Past the point of no return it is not for us to end it. */
	if (m->job && !m->given_up)
		job_cancel(m->job);
}

void move_monitor_died(struct sup_vps *v)
{
	struct moving *m = v->moving;

	if (!m || !m->job || m->given_up)
		return;
	err_set(&m->refused, ERR_FAIL, "its monitor died");
	job_cancel(m->job);
}

static void answer_worker(struct moving *m, char word)
{
	if (send(m->word, &word, 1, MSG_NOSIGNAL) < 0)
		log_warn("%s: tell the worker: %s", m->vps->name, strerrordesc_np(errno));
}

static void on_committed(void *ctx, const struct err *e, const char *note)
{
	struct sup_vps *v = ctx;
	struct moving *m = v->moving;

	(void)note;
	if (!m)
		return;
	if (e)
		m->refused = *e;
	/* A monitor that died may have written the record first; then the VPS is not ours any more. */
	move_load(v);
	answer_worker(m, v->moved == SUP_IN_DOUBT ? 'c' : 'f');
}

/* The copy stands there. The monitor gives the VPS up. */
static void on_prepared(void *ctx, json_t *what)
{
	struct moving *m = ctx;
	struct sup_vps *v = m->vps;
	json_t *msg;

	if (m->cancelled || !v->link) {
		answer_worker(m, 'f');
		return;
	}
	m->given_up = true;
	m->worker = job_pidfd(m->job);
	(void)what;
	msg = json_pack("{s:s}", "op", "move-commit");
	if (m->worker < 0) {
		json_decref(msg);
		answer_worker(m, 'f');
	} else if (link_request(v->link, msg, &m->worker, 1, on_committed, v, &m->refused) < 0) {
		answer_worker(m, 'f');
	}
}

static int submit(struct moving *m, struct err *e)
{
	struct job_spec job = { .key = m->vps->name, .nfds = 2, .waits = true, .progress = on_progress,
				.prepared = on_prepared, .done = on_done, .ctx = m };
	int pair[2] = { -EBADF, -EBADF }, r;

	if (m->live && socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
		return err_sys(e, "make a socket pair");
	m->word = pair[0];
	job.fds = (int[]){ m->in, m->out, pair[1] };
	job.nfds += m->live;
	job.request = TAKE_PTR(m->request);
	r = job_submit(m->vps->d->jobs, &job, &m->job, e);
	fd_close(&pair[1]);
	return r;
}

/* The monitor keeps its hands off from now on, or says why it cannot. */
static void on_ready(void *ctx, const struct err *e, const char *note)
{
	struct moving *m = ctx;
	struct err own;

	(void)note;
	if (!e && m->cancelled && err_set(&own, ERR_CANCELLED, "cancelled"))
		e = &own;
	if (!e && submit(m, &own) < 0)
		e = &own;
	if (e)
		on_done(m, NULL, e);
}

static int check_new_name(struct server_call *c, const struct sup_vps *v, const char *verb, struct err *e)
{
	const char *name = call_string(c, "new_name");

	if (!name || name_is_valid(name))
		return 0;
	err_set(e, ERR_USAGE, "%s %s: %.80s is not a name", verb, v->name,
		!*name ? "\"\"" : str_is_printable(name) ? name : "?");
	return err_hint(e, NAME_HINT);
}

/* A move that is in doubt is not begun anew: first the destination is asked. */
static int check(struct sup_vps *v, const char *mode, const char *verb, bool live, bool *ret_ask,
		 struct err *e)
{
	const char *backend = config_get(&v->config, "backend");
	cleanup_close int image = -EBADF;

	*ret_ask = v->moved == SUP_IN_DOUBT && STREQ(mode, "move");
	if (*ret_ask)
		return 0;
	if (v->moved != SUP_HERE)
		return move_check(v, verb, e);
	if (v->config_error.code) {
		*e = v->config_error;
		return err_wrap(e, "%s %s", verb, v->name);
	}
	if (v->state == SUP_SUSPENDED && vps_open_image(v, &image, e) < 0)
		return err_wrap(e, "%s %s", verb, v->name);
	if (v->moving || v->state == SUP_SAVING)
		return vps_check(v, SUP_EV_SAVE, verb, e);
	if (v->state != SUP_STOPPED && v->state != SUP_SUSPENDED && !live) {
		err_set(e, ERR_STATE, "%s %s: it is %s", verb, v->name, sup_state_name(v->state));
		return err_hint(e, "vps stop %s", v->name);
	}
	if (v->restart)
		return err_set(e, ERR_STATE, "%s %s: it is about to be restarted", verb, v->name);
	if (v->copying)
		return err_set(e, ERR_STATE, "%s %s: files are being copied into or out of it", verb,
			       v->name);
	if (v->ephemeral)
		return err_set(e, ERR_STATE, "%s %s: it is removed when it ends (vps run --rm)", verb,
			       v->name);
	if (backend && !STREQ(backend, "overlay"))
		return err_set(e, ERR_UNSUPPORTED, "%s %s: roots of %s cannot be sent yet", verb,
			       v->name, backend);
	return 0;
}

static const char *or_empty(const char *s)
{
	return s ? s : "";
}

static json_t *request(struct server_call *c, struct sup_vps *v, const char *mode, bool ask,
		       struct err *e)
{
	cleanup_free char *text = config_format(&v->config);
	const char *to = call_string(c, "new_name"), *compress = call_string(c, "compress");
	struct mig_record rec;
	cleanup_close int dir = -EBADF;
	char id[37];
	int r = proc_random_uuid(id);

	if (ask) {
		dir = vps_open_lib(v, e);
		r = dir < 0 ? dir : mig_record_read(dir, &rec);
		if (r == 0)
			snprintf(id, sizeof(id), "%s", rec.id);
	}
	if (r < 0 || !text) {
		err_code(e, r < 0 ? r : -ENOMEM, "prepare a migration");
		return NULL;
	}
	return json_pack("{s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:I, s:I, s:b, s:b, s:b, s:b, s:b, s:s}",
			 "op", "move-out", "lib", v->d->root.lib, "mode", ask ? "ask" : mode, "id", id, "name", v->name,
			 "new_name", to ? to : v->name, "config", text, "template",
			 or_empty(config_get(&v->config, "template")), "digest",
			 or_empty(config_get(&v->config, "template.digest")), "compress", compress ? compress : "none",
			 "bandwidth", call_int(c, "bandwidth", 0), "id_base", (json_int_t)v->id_base, "dry_run",
			 call_bool(c, "dry_run"), "keep", call_bool(c, "keep"), "suspended", v->state == SUP_SUSPENDED,
			 "resume", call_bool(c, "resume"), "with_template", !call_bool(c, "without_template"), "peer",
			 or_empty(call_string(c, "peer")));
}

static const char *verb_of(const char *mode)
{
	return STREQ(mode, "stream") ? "send" : STREQ(mode, "copy") ? "copy" : "migrate";
}

/* What the worker needs to find what runs. */
static void add_live(struct server_call *c, struct sup_vps *v, json_t *q)
{
	char run[512];
	uint64_t start = 0;

	proc_start_time(v->pid, &start);
	json_object_set_new(q, "run_dir", json_string(host_root_run(&v->d->root, v->name, run)));
	json_object_set_new(q, "pid", json_integer(v->pid));
	json_object_set_new(q, "paused", json_boolean(v->state == SUP_PAUSED));
	json_object_set_new(q, "start", json_integer((json_int_t)start));
	json_object_set_new(q, "max_pause_us", json_integer(call_int(c, "max_pause_us", MAX_PAUSE_US)));
	json_object_set_new(q, "max_rounds", json_integer(call_int(c, "max_rounds", MAX_ROUNDS)));
}

static bool is_to_be_live(struct server_call *c, const struct sup_vps *v)
{
	return STREQ(call_string(c, "mode"), "move") && !call_bool(c, "offline") &&
	       v->moved == SUP_HERE && (v->state == SUP_RUNNING || v->state == SUP_PAUSED);
}

static int begin_live(struct moving *m, struct err *e)
{
	struct sup_vps *v = m->vps;
	int r = vps_check(v, SUP_EV_SAVE, m->verb, e);

	if (r == 0)
		r = link_request(v->link, json_pack("{s:s}", "op", "save"), NULL, 0, on_ready, m, e);
	if (r < 0)
		return r;
	v->moving = m;
	vps_move(v, SUP_EV_SAVE);
	return 0;
}

static int begin(struct server_call *c, struct sup_vps *v, struct moving *m, struct err *e)
{
	const char *mode = call_string(c, "mode");
	int r;

	*m = (struct moving){ .vps = v, .call = c, .word = -EBADF, .worker = -EBADF };
	m->in = call_take_fd(c, 0);
	m->out = call_take_fd(c, 1);
	m->live = is_to_be_live(c, v);
	snprintf(m->verb, sizeof(m->verb), "%s", verb_of(mode));
	r = check_new_name(c, v, m->verb, e);
	if (r == 0)
		r = check(v, mode, m->verb, m->live, &m->asks, e);
	if (r < 0)
		return r;
	m->request = request(c, v, mode, m->asks, e);
	if (!m->request)
		return err_wrap(e, "%s %s", m->verb, v->name);
	if (m->live)
		add_live(c, v, m->request);
	r = m->live ? begin_live(m, e) : submit(m, e);
	if (r < 0)
		return err_wrap(e, "%s %s", m->verb, v->name);
	v->copying += !m->live;
	return 0;
}

void method_migrate(struct server_call *c, void *userdata)
{
	struct sup_vps *v = method_vps(c, userdata, "Migrate");
	struct moving *m = v ? calloc(1, sizeof(*m)) : NULL;
	struct err e;

	if (!v)
		return;
	if (!m) {
		err_code(&e, -ENOMEM, "migrate %s", v->name);
	} else if (begin(c, v, m, &e) == 0) {
		call_on_cancel(c, on_cancel, m);
		return;
	} else {
		moving_free(m);
	}
	server_fail(c, &e);
}
