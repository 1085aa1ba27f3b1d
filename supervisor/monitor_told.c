/* SPDX-License-Identifier: GPL-2.0-or-later */

/* What the monitor of a VPS tells vpsd, and what vpsd makes of it. */
#include "base/log.h"
#include "base/macro.h"
#include "base/proc.h"
#include "supervisor/daemon.h"
#include "supervisor/monitor_link.h"
#include "supervisor/move.h"
#include "supervisor/spare.h"

static void set_alive(struct sup_vps *v, json_t *msg)
{
	v->pid = (pid_t)json_integer_value(json_object_get(msg, "pid"));
	v->started_us = (uint64_t)json_integer_value(json_object_get(msg, "started_us"));
}

static void on_told(void *ctx, const struct err *e, const char *note)
{
	(void)note;
	if (e)
		log_debug("%s: %s", ((struct sup_vps *)ctx)->name, e->msg);
}

/* All of it is there again, stopped: nothing keeps it any longer. */
static void on_prepared(struct sup_vps *v, json_t *msg)
{
	struct err e;

	(void)msg;
	if (arrival_prepared(v))
		return;
	/* Of one that was being received when the vpsd before died it is known whose it is. */
	v->destroy_next = v->moved == SUP_ARRIVING;
	if (link_request(v->link, json_pack("{s:s}", "op", v->destroy_next ? "abort" : "commit"), NULL, 0, on_told, v,
			 &e) < 0)
		log_error("%s: %s", v->name, e.msg);
}

static void on_hello(struct sup_vps *v, json_t *msg)
{
	const char *name = json_string_value(json_object_get(msg, "state"));
	int state = name ? sup_state_find(name) : -1;

	set_alive(v, msg);
	link_heard(v->link, msg);
	if (json_is_true(json_object_get(msg, "prepared")))
		on_prepared(v, msg);
	v->ready = json_is_true(json_object_get(msg, "ready"));
	v->reboots = (int)json_integer_value(json_object_get(msg, "restarts"));
	if (state >= 0 && state != SUP_STOPPED)
		v->state = (enum sup_state)state; /* what is true, whatever was thought before */
	log_info("%s: found %s, pid %d", v->name, sup_state_name(v->state), (int)v->pid);
	move_hello(v);
	daemon_hello(v);
}

static void on_started(struct sup_vps *v, json_t *msg)
{
	char pid[16];

	set_alive(v, msg);
	snprintf(pid, sizeof(pid), "%d", (int)v->pid);
	if (vps_move(v, SUP_EV_STARTED))
		event_emit(v->d, "started", v->name, pid);
	allowed_tell(v);
	arrival_started(v);
	spare_prepare(v->d);
}

static void on_ready(struct sup_vps *v, json_t *msg)
{
	(void)msg;
	v->ready = true;
	event_emit(v->d, "ready", v->name, NULL);
}

static void on_state(struct sup_vps *v, json_t *msg)
{
	const char *name = json_string_value(json_object_get(msg, "state"));
	enum sup_state before = v->state;

	if (!name)
		return;
	if (STREQ(name, "paused"))
		vps_move(v, SUP_EV_PAUSED);
	else if (STREQ(name, "running"))
		vps_move(v, SUP_EV_RESUMED);
	else if (STREQ(name, "stopping"))
		vps_move(v, SUP_EV_ENDING);
	if (v->state != before && before != SUP_SAVING)
		event_emit(v->d, STREQ(name, "running") ? "resumed" : name, v->name, NULL);
}

static void on_rebooted(struct sup_vps *v, json_t *msg)
{
	set_alive(v, msg);
	v->ready = false;
	v->reboots++;
	if (v->state == SUP_SAVING) /* which fails, then */
		vps_move(v, SUP_EV_RESUMED);
	event_emit(v->d, "rebooted", v->name, NULL);
}

static json_int_t count_of(json_t *msg)
{
	return json_integer_value(json_object_get(msg, "count"));
}

static void on_oom(struct sup_vps *v, json_t *msg)
{
	json_int_t n = count_of(msg);
	char text[64];

	snprintf(text, sizeof(text), "%lld process%s killed", (long long)n, n == 1 ? "" : "es");
	event_emit(v->d, "oom", v->name, text);
}

static void on_pids_max(struct sup_vps *v, json_t *msg)
{
	json_int_t n = count_of(msg);
	char text[64];

	snprintf(text, sizeof(text), "%lld fork%s refused", (long long)n, n == 1 ? "" : "s");
	event_emit(v->d, "pids-max", v->name, text);
}

static void take_text(char *buf, size_t size, json_t *msg, const char *key)
{
	const char *s = json_string_value(json_object_get(msg, key));

	snprintf(buf, size, "%s", s ? s : "");
}

void vps_take_end(struct sup_end *end, json_t *msg)
{
	*end = (struct sup_end){ .at = now_realtime_us() / 1000000 };
	take_text(end->how, sizeof(end->how), msg, "how");
	take_text(end->error, sizeof(end->error), msg, "error");
	end->value = (int)json_integer_value(json_object_get(msg, "value"));
	end->forced = json_is_true(json_object_get(msg, "forced"));
	if (json_is_integer(json_object_get(msg, "at")))
		end->at = (uint64_t)json_integer_value(json_object_get(msg, "at"));
}

static void on_exited(struct sup_vps *v, json_t *msg)
{
	vps_take_end(&v->end, msg);
	vps_ended(v);
}

static void on_failed(struct sup_vps *v, json_t *msg)
{
	json_int_t status = json_integer_value(json_object_get(msg, "status"));
	const char *hint = json_string_value(json_object_get(msg, "hint"));
	struct err e;

	vps_take_end(&v->end, msg);
	snprintf(v->end.how, sizeof(v->end.how), "failed");
	v->end.value = (int)status;
	err_set(&e, status > 0 && status < 128 ? (enum err_status)status : ERR_FAIL, "%s",
		v->end.error);
	if (hint && *hint)
		err_hint(&e, "%s", hint);
	event_emit(v->d, "failed", v->name, v->end.error);
	v->start_again = false;
	arrival_failed(v, &e);
	vps_look(v, &e);
	vps_ended(v);
}

void vps_on_event(struct sup_vps *v, const char *event, json_t *msg)
{
	static const struct {
		const char *name;
		void (*take)(struct sup_vps *v, json_t *msg);
		bool last; /* takes care of the waiters itself */
	} events[] = {
		{ "hello", on_hello, false },     { "started", on_started, false },
		{ "ready", on_ready, false },     { "state", on_state, false },
		{ "rebooted", on_rebooted, false }, { "oom", on_oom, false },
		{ "pids-max", on_pids_max, false }, { "exited", on_exited, true },
		{ "failed", on_failed, true }, { "prepared", on_prepared, false },
	};

	for (size_t i = 0; i < ARRAY_SIZE(events); i++) {
		if (!STREQ(events[i].name, event))
			continue;
		events[i].take(v, msg);
		if (!events[i].last)
			vps_look(v, NULL);
		return;
	}
	log_warn("%s: its monitor tells of %.40s, which vpsd does not know", v->name, event);
}
