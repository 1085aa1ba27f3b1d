/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "supervisor/daemon.h"

#include "base/macro.h"

/*
 * Calls that are answered when a VPS has come to some state. A waiter looks at the VPS whenever
 * something has changed; looking may start and stop other things and so be nested.
 */

static void reply_vps(struct sup_waiter *w)
{
	server_reply(w->call, json_pack("{s:o}", "vps", vps_json(w->vps)), NULL, 0);
}

static bool fail(struct sup_waiter *w, const struct err *e)
{
	server_fail(w->call, e);
	return true;
}

static void sweep(struct sup_vps *v)
{
	struct sup_waiter **p = &v->waiters;

	while (*p) {
		struct sup_waiter *w = *p;

		if (!w->done) {
			p = &w->next;
			continue;
		}
		*p = w->next;
		sd_event_source_disable_unref(w->timer);
		free(w);
	}
}

void vps_look(struct sup_vps *v, const struct err *e)
{
	v->looking++;
	for (struct sup_waiter *w = v->waiters; w; w = w->next)
		if (!w->done && w->look(w, e))
			w->done = true;
	if (--v->looking == 0)
		sweep(v);
}

static void on_cancel(struct server_call *c, void *userdata)
{
	struct sup_waiter *w = userdata;
	struct sup_vps *v = w->vps;
	struct err e;

	if (w->done)
		return;
	w->done = true;
	err_set(&e, ERR_CANCELLED, "cancelled");
	server_fail(c, &e);
	if (v->looking == 0)
		sweep(v);
}

static int on_timeout(sd_event_source *s, uint64_t usec, void *userdata)
{
	struct sup_waiter *w = userdata;
	struct sup_vps *v = w->vps;
	struct err e;

	(void)s;
	(void)usec;
	if (w->done)
		return 0;
	w->done = true;
	if (w->ready)
		err_set(&e, ERR_TIMEOUT, "start %s: it runs, but has not said that it is ready",
			v->name);
	else
		err_set(&e, ERR_TIMEOUT, "wait %s: it is still %s", v->name,
			sup_state_name(v->state));
	server_fail(w->call, &e);
	sweep(v);
	return 0;
}

struct sup_waiter *vps_wait(struct sup_vps *v, struct server_call *c, uint64_t timeout_us,
			    bool (*look)(struct sup_waiter *w, const struct err *e))
{
	struct sup_waiter *w = calloc(1, sizeof(*w));
	struct err e;

	if (!w || (timeout_us && sd_event_add_time_relative(v->d->event, &w->timer, CLOCK_MONOTONIC,
							    timeout_us, 0, on_timeout, w) < 0)) {
		free(w);
		err_code(&e, -ENOMEM, "wait for %s", v->name);
		server_fail(c, &e);
		return NULL;
	}
	w->vps = v;
	w->call = c;
	w->look = look;
	w->next = v->waiters;
	v->waiters = w;
	call_on_cancel(c, on_cancel, w);
	return w;
}

bool wait_for_start(struct sup_waiter *w, const struct err *e)
{
	struct sup_vps *v = w->vps;
	struct err ended;

	if (e)
		return fail(w, e);
	if (v->state == SUP_STARTING || v->state == SUP_RESTORING || (v->state == SUP_RUNNING && w->ready && !v->ready))
		return false;
	if (v->state == SUP_RUNNING || v->state == SUP_PAUSED) {
		reply_vps(w);
		return true;
	}
	if (v->state == SUP_STOPPING && !v->down)
		return false; /* how it ended is not known yet */
	if (v->state == SUP_SUSPENDED) {
		err_set(&ended, ERR_STATE, "resume %s: %s", v->name,
			v->end.error[0] ? v->end.error : "its monitor died");
		return fail(w, &ended);
	}
	err_set(&ended, ERR_STATE, "start %s: it stopped while it was starting%s%s", v->name,
		v->end.error[0] && v->state == SUP_STOPPED ? ": " : "",
		v->state == SUP_STOPPED ? v->end.error : "");
	return fail(w, &ended);
}

bool wait_for_stop(struct sup_waiter *w, const struct err *e)
{
	if (w->vps->state != SUP_STOPPED) {
		if (e && w->vps->state != SUP_STOPPING)
			return fail(w, e);
		return false;
	}
	reply_vps(w);
	return true;
}

bool wait_for_restart(struct sup_waiter *w, const struct err *e)
{
	struct sup_vps *v = w->vps;

	if (v->start_again && !e)
		return false;
	return wait_for_start(w, e);
}

bool wait_for_state(struct sup_waiter *w, const struct err *e)
{
	struct sup_vps *v = w->vps;
	char end[64];
	const char *text;
	json_t *j;

	if (e && e->code == ERR_NOT_FOUND)
		return fail(w, e);
	if (v->state != w->want && v->state != SUP_STOPPED && v->state != SUP_DESTROYING)
		return false;
	/* A policy's restart is not the end. */
	if (v->state == SUP_STOPPED && w->want != SUP_STOPPED && (v->start_again || v->restart))
		return false;
	text = v->state == SUP_STOPPED ? vps_end_text(&v->end, end, sizeof(end)) : NULL;
	j = json_pack("{s:s}", "state", sup_state_name(v->state));
	if (text)
		json_object_set_new(j, "exit", json_string(text));
	server_reply(w->call, j, NULL, 0);
	return true;
}

bool wait_for_destroy(struct sup_waiter *w, const struct err *e)
{
	struct err gone;

	/* That it is gone is what was asked for. */
	if (e && e->code == ERR_NOT_FOUND && w->vps->state == SUP_DESTROYING) {
		server_reply(w->call, NULL, NULL, 0);
		return true;
	}
	if (e)
		return fail(w, e);
	if (w->vps->destroy_next || w->vps->state == SUP_DESTROYING)
		return false;
	err_set(&gone, ERR_FAIL, "destroy %s: it was not destroyed", w->vps->name);
	return fail(w, &gone);
}
