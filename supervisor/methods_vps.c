/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "supervisor/daemon.h"

#include "base/log.h"
#include "base/macro.h"
#include "base/parse.h"
#include "supervisor/monitor_link.h"
#include "supervisor/move.h"
#include "supervisor/save.h"

/* The methods of a VPS's life: from create to destroy. */

void method_list(struct server_call *c, void *userdata)
{
	struct sup_daemon *d = userdata;
	json_t *list = json_array();
	struct err e;

	for (size_t i = 0; i < d->count; i++) {
		struct sup_vps *v = d->vps[i];

		/* One that is being destroyed has no name on disk any more. */
		if (v->state == SUP_CREATING || v->state == SUP_DESTROYING)
			continue;
		if (may(call_uid(c), v, "List", &e) == 0)
			json_array_append_new(list, vps_json(v));
	}
	server_reply(c, json_pack("{s:o}", "vps", list), NULL, 0);
}

void method_status(struct server_call *c, void *userdata)
{
	struct sup_vps *v = method_vps(c, userdata, "Status");

	if (v)
		server_reply(c, json_pack("{s:o}", "vps", vps_json(v)), NULL, 0);
}

struct creating {
	struct server_call *call;
	struct create *create;
	json_t *note;
};

static void creating_free(struct creating *w)
{
	if (w)
		json_decref(w->note);
	free(w);
}

static json_t *what_is_missing(struct sup_daemon *d, json_t *list)
{
	json_t *notes = json_array(), *item, *text;
	size_t i;

	json_array_foreach(list, i, item) {
		const struct setting *s =
			setting_find(json_string_value(json_object_get(item, "key")), &(struct err){ 0 });

		if (s)
			missing_look(d, s->name, json_string_value(json_object_get(item, "value")), notes);
	}
	text = missing_text(notes);
	json_decref(notes);
	return text;
}

static void on_created(void *ctx, struct sup_vps *v, const struct err *e)
{
	struct creating *w = ctx;

	if (v)
		server_reply(w->call, json_pack("{s:o, s:O*}", "vps", vps_json(v), "note", w->note), NULL, 0);
	else
		server_fail(w->call, e);
	creating_free(w);
}

static void on_create_cancel(struct server_call *c, void *userdata)
{
	struct creating *w = userdata;

	(void)c;
	create_cancel(w->create);
}

void method_create(struct server_call *c, void *userdata)
{
	struct creating *w = calloc(1, sizeof(*w));
	struct create_request q = {
		.name = call_string(c, "name"),
		.template = call_string(c, "template"),
		.backend = call_string(c, "backend"),
		.settings = json_object_get(call_params(c), "settings"),
		.owner = call_uid(c),
	};
	struct err e;
	int r;

	if (!w)
		r = err_code(&e, -ENOMEM, "create %s", q.name);
	else
		r = create_begin(userdata, &q, on_created, w, &w->create, &e);
	if (r < 0) {
		free(w);
		server_fail(c, &e);
		return;
	}
	w->note = what_is_missing(userdata, q.settings);
	w->call = c;
	call_on_cancel(c, on_create_cancel, w);
}

void method_start(struct server_call *c, void *userdata)
{
	bool ready = call_bool(c, "wait");
	json_int_t timeout = call_int(c, "timeout_us", 0);
	struct sup_vps *v = method_vps(c, userdata, "Start"); /* may answer the call */
	struct sup_waiter *w;
	struct err e;

	if (!v)
		return;
	v->failures = 0;
	if (vps_start(v, NULL, &e) < 0) {
		server_fail(c, &e);
		return;
	}
	w = vps_wait(v, c, ready && timeout > 0 ? (uint64_t)timeout : 0, wait_for_start);
	if (w)
		w->ready = ready;
}

/* Negative: not given. */
static uint64_t stop_timeout(struct server_call *c, const struct sup_vps *v)
{
	json_int_t us = call_int(c, "timeout_us", -1);

	return us >= 0 ? (uint64_t)us : vps_stop_timeout(v);
}

void method_stop(struct server_call *c, void *userdata)
{
	struct sup_vps *v = method_vps(c, userdata, "Stop");
	struct err e;

	if (!v)
		return;
	if (v->state == SUP_SUSPENDED && call_bool(c, "force")) {
		if (save_discard(v, &e) < 0)
			server_fail(c, &e);
		else
			vps_wait(v, c, 0, wait_for_stop);
		return;
	}
	if (vps_stop(v, stop_timeout(c, v), call_bool(c, "force"), &e) < 0)
		server_fail(c, &e);
	else if (vps_wait(v, c, 0, wait_for_stop))
		vps_look(v, NULL);
}

void method_restart(struct server_call *c, void *userdata)
{
	struct sup_vps *v = method_vps(c, userdata, "Restart");
	bool stopped;
	struct err e;
	int r;

	if (!v)
		return;
	v->failures = 0;
	stopped = v->state == SUP_STOPPED;
	r = vps_check(v, SUP_EV_RESTART, "restart", &e);
	if (r == 0)
		r = stopped ? vps_start(v, NULL, &e)
			    : vps_stop(v, stop_timeout(c, v), call_bool(c, "force"), &e);
	if (r < 0) {
		server_fail(c, &e);
		return;
	}
	v->start_again = !stopped;
	vps_wait(v, c, 0, wait_for_restart);
}

/* Pause and resume: the monitor's answer is the client's. */
struct asking {
	struct server_call *call;
	struct sup_daemon *d;
	char name[64];
	const char *verb;
};

static void on_answer(void *ctx, const struct err *e, const char *note)
{
	struct asking *a = ctx;
	struct sup_vps *v = vps_find(a->d, a->name);
	bool pause = STREQ(a->verb, "pause");
	struct err told;

	(void)note;
	if (e || !v) {
		if (e)
			told = *e;
		else
			err_set(&told, ERR_NOT_FOUND, "%s %s: it is gone", a->verb, a->name);
		server_fail(a->call, &told);
		free(a);
		return;
	}
	/* The monitor tells the state too, before or after: then this changes nothing. */
	if (v->state == (pause ? SUP_RUNNING : SUP_PAUSED)) {
		vps_move(v, pause ? SUP_EV_PAUSED : SUP_EV_RESUMED);
		event_emit(a->d, pause ? "paused" : "resumed", v->name, NULL);
	}
	server_reply(a->call, json_pack("{s:o}", "vps", vps_json(v)), NULL, 0);
	free(a);
}

static void ask(struct server_call *c, struct sup_vps *v, enum sup_event ev, const char *verb)
{
	struct asking *a;
	struct err e;

	if (vps_check(v, ev, verb, &e) < 0 || move_check(v, verb, &e) < 0) {
		server_fail(c, &e);
		return;
	}
	if (v->checking) {
		err_set(&e, ERR_STATE, "%s %s: it is being checked", verb, v->name);
		err_hint(&e, "that takes a moment only");
		server_fail(c, &e);
		return;
	}
	a = calloc(1, sizeof(*a));
	if (!a) {
		err_code(&e, -ENOMEM, "%s %s", verb, v->name);
		server_fail(c, &e);
		return;
	}
	*a = (struct asking){ .call = c, .d = v->d, .verb = verb };
	snprintf(a->name, sizeof(a->name), "%s", v->name);
	if (link_request(v->link, json_pack("{s:s}", "op", verb), NULL, 0, on_answer, a, &e) < 0) {
		free(a);
		method_fail(c, verb, v->name, &e);
	}
}

void method_pause(struct server_call *c, void *userdata)
{
	struct sup_vps *v = method_vps(c, userdata, "Pause");

	if (v)
		ask(c, v, SUP_EV_PAUSE, "pause");
}

void method_resume(struct server_call *c, void *userdata)
{
	struct sup_vps *v = method_vps(c, userdata, "Resume");
	struct err e;

	if (!v)
		return;
	if (v->state != SUP_SUSPENDED)
		ask(c, v, SUP_EV_RESUME, "resume");
	else if (vps_start(v, NULL, &e) < 0)
		server_fail(c, &e);
	else
		vps_wait(v, c, 0, wait_for_start);
}

static bool is_alive(const struct sup_vps *v)
{
	return v->state == SUP_STARTING || v->state == SUP_RUNNING || v->state == SUP_PAUSED ||
	       v->state == SUP_STOPPING;
}

void method_destroy(struct server_call *c, void *userdata)
{
	bool force = call_bool(c, "force"), was_next;
	struct sup_vps *v = method_vps(c, userdata, "Destroy");
	struct err e;
	int r;

	if (!v)
		return;
	was_next = v->destroy_next;
	if (force && is_alive(v)) {
		v->destroy_next = true;
		r = vps_stop(v, 0, true, &e);
		if (r < 0)
			v->destroy_next = was_next;
	} else {
		r = vps_destroy(v, &e);
		if (r < 0 && e.code == ERR_STATE && is_alive(v))
			err_hint(&e, "stop it first, or destroy it with --force");
	}
	if (r < 0)
		server_fail(c, &e);
	else
		vps_wait(v, c, 0, wait_for_destroy);
}

struct renaming {
	struct server_call *call;
	struct sup_vps *vps, *reserved;
};

static void on_renamed(void *ctx, json_t *result, const struct err *e)
{
	struct renaming *m = ctx;
	struct sup_vps *v = m->vps;
	char to[64], from[64];
	struct err told;

	(void)result;
	snprintf(to, sizeof(to), "%s", m->reserved->name);
	snprintf(from, sizeof(from), "%s", v->name);
	vps_remove(m->reserved);
	v->copying--;
	if (e) {
		told = *e;
		method_fail(m->call, "rename", v->name, &told);
	} else if (vps_rename(v, to, &told) < 0) {
		server_fail(m->call, &told);
	} else {
		vps_load(v, &told);
		event_emit(v->d, "renamed", to, from);
		allowed_renew(v->d, from);
		allowed_renew(v->d, to);
		server_reply(m->call, json_pack("{s:o}", "vps", vps_json(v)), NULL, 0);
	}
	free(m);
}

static int rename_begin(struct sup_vps *v, const char *to, struct server_call *c, struct err *e)
{
	struct sup_daemon *d = v->d;
	struct job_spec job = { .key = v->name, .done = on_renamed };
	struct renaming *m;
	int r;

	r = vps_check(v, SUP_EV_RENAME, "rename", e);
	if (r < 0)
		return r;
	if (v->copying || v->restart)
		return err_set(e, ERR_STATE, "rename %s: %s", v->name,
			       v->restart ? "it is about to be restarted"
					  : "files are being copied into or out of it");
	if (!name_is_valid(to)) {
		err_set(e, ERR_USAGE, "rename %s: %.80s is not a name", v->name, to);
		return err_hint(e, NAME_HINT);
	}
	m = calloc(1, sizeof(*m));
	if (!m)
		return err_code(e, -ENOMEM, "rename %s", v->name);
	*m = (struct renaming){ .call = c, .vps = v };
	/* The new name is taken from now on, the old one until the end. */
	r = vps_add(d, to, &m->reserved, e);
	if (r < 0) {
		free(m);
		return err_wrap(e, "rename %s", v->name);
	}
	m->reserved->state = SUP_CREATING;
	job.ctx = m;
	job.request = json_pack("{s:s, s:s, s:s, s:s}", "op", "rename", "lib", d->root.lib, "name",
				v->name, "to", to);
	r = job_submit(d->jobs, &job, NULL, e);
	if (r < 0) {
		vps_remove(m->reserved);
		free(m);
		return err_wrap(e, "rename %s", v->name);
	}
	v->copying++;
	return 0;
}

void method_rename(struct server_call *c, void *userdata)
{
	struct sup_vps *v = method_vps(c, userdata, "Rename");
	struct err e;

	if (v && rename_begin(v, call_string(c, "new_name"), c, &e) < 0)
		server_fail(c, &e);
}

void method_wait(struct server_call *c, void *userdata)
{
	const char *name = call_string(c, "state");
	json_int_t timeout = call_int(c, "timeout_us", 0);
	enum sup_state want = name ? (enum sup_state)sup_state_find(name) : SUP_STOPPED;
	struct sup_vps *v = method_vps(c, userdata, "Wait");
	struct sup_waiter *w;

	if (!v)
		return;
	w = vps_wait(v, c, timeout > 0 ? (uint64_t)timeout : 0, wait_for_state);
	if (!w)
		return;
	w->want = want;
	/* One that is stopped now may be started yet: only coming to its end ends the wait. */
	if (v->state == w->want)
		vps_look(v, NULL);
}
