/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "supervisor/receive.h"

#include "base/log.h"
#include "base/macro.h"
#include "supervisor/monitor_link.h"

#include <errno.h>
#include <sys/socket.h>

/*
 * A VPS that comes running: its monitor puts the processes back from the image that the worker passes
 * on, and waits; the worker learns that all is there, and says when it is ours.
 */

static void on_told(void *ctx, const struct err *e, const char *note)
{
	(void)ctx;
	(void)note;
	if (e)
		log_debug("receive: %s", e->msg);
}

static void answer(struct receiving *r, const struct err *e)
{
	cleanup_free char *text = NULL;
	json_t *j = NULL;

	if (e) {
		j = json_pack("{s:o, s:o}", "error", json_string(e->msg) ?: json_string("?"), "hint",
			      json_string(e->hint) ?: json_string(""));
		text = json_dumps(j, JSON_COMPACT);
		json_decref(j);
	}
	if (send(r->word, text ? text : "c", text ? strlen(text) : 1, MSG_NOSIGNAL) < 0)
		log_debug("%s: tell the worker: %s", r->name, strerrordesc_np(errno));
}

bool arrival_prepared(struct sup_vps *v)
{
	if (!v->arriving)
		return false;
	answer(v->arriving, NULL);
	return true;
}

void arrival_started(struct sup_vps *v)
{
	if (v->arriving)
		answer(v->arriving, NULL);
}

void arrival_failed(struct sup_vps *v, const struct err *e)
{
	if (!v->arriving || v->arriving->failed)
		return;
	v->arriving->failed = true;
	answer(v->arriving, e);
}

/* Its files have their name; its monitor reads the image. */
static int begin_image(struct receiving *r, struct err *e)
{
	struct sup_vps *v = r->vps;
	int ret;

	r->named = true;
	ret = vps_load(v, e);
	if (ret < 0)
		return ret;
	vps_load_end(v);
	move_load(v);
	v->state = SUP_STOPPED;
	v->arriving = r;
	ret = vps_arrive(v, r->image, e);
	fd_close(&r->image);
	return ret;
}

static void on_ours(void *ctx, const struct err *e, const char *note)
{
	struct sup_vps *v = ctx;

	(void)note;
	if (e)
		arrival_failed(v, e);
}

static int begin_to_run(struct receiving *r, struct err *e)
{
	struct sup_vps *v = r->vps;

	move_load(v); /* the worker has written that it is ours */
	v->down = false;
	if (!v->link || v->moved != SUP_HERE)
		return err_set(e, ERR_STATE, "its monitor died");
	return link_request(v->link, json_pack("{s:s}", "op", "commit"), NULL, 0, on_ours, v, e);
}

void arrival_stage(void *ctx, json_t *what)
{
	struct receiving *r = ctx;
	const char *stage = json_string_value(json_object_get(what, "stage"));
	bool image = stage && STREQ(stage, "image");
	struct err e;

	if ((image ? begin_image(r, &e) : begin_to_run(r, &e)) < 0)
		answer(r, &e);
	else if (image)
		answer(r, NULL);
}

/* It runs; or what is left of it goes, unless it had become ours. */
void arrival_ended(struct receiving *r, bool received)
{
	struct sup_vps *v = r->vps;
	struct err e;

	v->arriving = NULL;
	move_load(v);
	if (received) {
		event_emit(v->d, "received", v->name, NULL);
		allowed_renew(v->d, v->name);
	}
	if (v->moved == SUP_HERE) {
		v->down = false;
		/* The worker died between its word and ours. */
		if (!received && v->link && v->state == SUP_RESTORING &&
		    link_request(v->link, json_pack("{s:s}", "op", "commit"), NULL, 0, on_told, v, &e) < 0)
			log_error("%s: %s", v->name, e.msg);
		return;
	}
	v->down = true;
	if (v->moved == SUP_IN_DOUBT) { /* it may be ours: it stands as it is until vpsd starts again and looks */
		log_error("%s: whether it has arrived is not known", v->name);
		return;
	}
	mig_taken_drop(r->d->root.lib, r->offer.id);
	if (v->state == SUP_STOPPED) {
		if (vps_destroy(v, &e) < 0)
			log_error("%s", e.msg);
		return;
	}
	v->destroy_next = true;
	if (v->link && link_request(v->link, json_pack("{s:s}", "op", "abort"), NULL, 0, on_told, v, &e) < 0)
		link_kill(v->link);
}
