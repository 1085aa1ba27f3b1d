/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "supervisor/move.h"
#include "supervisor/network.h"

#include "base/fd.h"
#include "base/log.h"
#include "base/macro.h"
#include "migrate/move.h"
#include "supervisor/monitor_link.h"

#include <errno.h>

/* The source's end: which of two copies is the one, by its record, by the destination or by the operator's word. */

static json_t *arrival(const struct mig_record *r)
{
	return json_pack("{s:I, s:I, s:I, s:I, s:I}", "at", (json_int_t)(r->at_us / 1000000), "pause_us",
			 (json_int_t)r->pause_us, "total_us", (json_int_t)r->total_us, "rounds",
			 (json_int_t)r->rounds, "bytes", (json_int_t)r->bytes);
}

void move_load(struct sup_vps *v)
{
	struct mig_record rec = { 0 };
	cleanup_close int dir = -EBADF;
	struct err e;
	int r;

	v->moved = SUP_HERE;
	json_decref(v->arrived);
	v->arrived = NULL;
	dir = vps_open_lib(v, &e);
	r = dir < 0 ? dir : mig_record_read(dir, &rec);
	if (r == 0 && rec.role == MIG_DESTINATION && rec.state == MIG_IS_MOVED)
		v->arrived = arrival(&rec);
	if (r < 0 && r != -ENOENT) { /* also when there is no fd for it: it must not run in two places */
		log_error("%s: the record of its migration cannot be read, or is damaged", v->name);
		v->moved = SUP_IN_DOUBT;
	} else if (r == 0 && rec.role == MIG_SOURCE && rec.state == MIG_IS_COMMITTED) {
		v->moved = SUP_IN_DOUBT;
	} else if (r == 0 && rec.role == MIG_SOURCE && rec.state == MIG_IS_MOVED) {
		v->moved = rec.keep ? SUP_MOVED_KEPT : SUP_MOVED;
	} else if (r == 0 && rec.role == MIG_DESTINATION && rec.state != MIG_IS_MOVED) {
		r = mig_taken_has(v->d->root.lib, rec.id, &e);
		v->moved = r > 0 ? SUP_HERE : r == 0 ? SUP_ARRIVING : SUP_IN_DOUBT;
	}
	snprintf(v->moved_to, sizeof(v->moved_to), "%s", rec.peer);
}

int move_check(const struct sup_vps *v, const char *verb, struct err *e)
{
	if (v->moved == SUP_HERE)
		return 0;
	if (v->moved == SUP_ARRIVING)
		return err_set(e, ERR_STATE, "%s %s: it is being received", verb, v->name);
	if (v->moved == SUP_IN_DOUBT) {
		err_set(e, ERR_STATE, "%s %s: it may have moved to %s", verb, v->name, v->moved_to);
		return err_hint(e, "vps migrate %s %s asks there", v->name, v->moved_to);
	}
	err_set(e, ERR_STATE, "%s %s: it has moved to %s", verb, v->name, v->moved_to);
	return err_hint(e, "if it does not run there: vps migrate --resolve %s source", v->name);
}

static void on_told(void *ctx, const struct err *e, const char *note)
{
	(void)ctx;
	(void)note;
	if (e)
		log_debug("move: %s", e->msg);
}

void move_tell_monitor(struct sup_vps *v, json_t *msg)
{
	struct err e;

	if (!v->link)
		json_decref(msg);
	else if (link_request(v->link, msg, NULL, 0, on_told, NULL, &e) < 0)
		log_warn("%s: %s", v->name, e.msg);
}

static void finish_monitor(struct sup_vps *v, bool taken)
{
	move_tell_monitor(v, json_pack("{s:s, s:b}", "op", "move-finish", "taken", taken));
}

void move_is_away(struct sup_vps *v)
{
	struct err e;

	event_emit(v->d, "moved", v->name, v->moved_to);
	v->down = true; /* its end is no reason to start it again */
	v->destroy_next = v->moved == SUP_MOVED;
	if (v->link)
		finish_monitor(v, true);
	else if (v->destroy_next && vps_destroy(v, &e) < 0)
		log_error("%s", e.msg);
}

void move_is_here(struct sup_vps *v)
{
	network_let_go(v);
	finish_monitor(v, false);
}

void move_hello(struct sup_vps *v)
{
	if (v->moved == SUP_MOVED || v->moved == SUP_MOVED_KEPT)
		move_is_away(v);
	else if (v->moved == SUP_HERE) /* was it asked who has it? Else there is nothing to finish */
		move_is_here(v);
}

/* The operator's word, where the peer cannot be asked. */
static int resolve(struct sup_vps *v, bool here, struct err *e)
{
	cleanup_close int dir = -EBADF;

	if (v->moved == SUP_HERE)
		return err_set(e, ERR_STATE, "migrate %s: nothing about it is in doubt", v->name);
	if (v->copying || v->moving)
		return err_set(e, ERR_STATE, "migrate %s: it is being migrated", v->name);
	if (v->arriving || v->moved == SUP_ARRIVING)
		return move_check(v, "migrate", e); /* whose it is its source decides */
	if (!here) {
		v->moved = SUP_MOVED;
		move_is_away(v);
		return 0;
	}
	dir = vps_open_lib(v, e);
	if (dir < 0 || mig_record_remove(dir, e) < 0)
		return err_wrap(e, "migrate %s", v->name);
	move_load(v);
	move_is_here(v);
	return 0;
}

void method_migrate_resolve(struct server_call *c, void *userdata)
{
	struct sup_vps *v = method_vps(c, userdata, "MigrateResolve");
	struct err e;

	if (!v)
		return;
	if (resolve(v, STREQ(call_string(c, "keeper"), "source"), &e) < 0)
		server_fail(c, &e);
	else
		server_reply(c, NULL, NULL, 0);
}
