/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "supervisor/move.h"

#include "base/log.h"
#include "base/macro.h"
#include "base/proc.h"
#include "migrate/move.h"

/* The source's end. */

void move_load(struct sup_vps *v)
{
	struct mig_record rec = { 0 };
	cleanup_close int dir = -EBADF;
	struct err e;
	int r;

	v->moved = SUP_HERE;
	dir = vps_open_lib(v, &e);
	r = dir < 0 ? -ENOENT : mig_record_read(dir, &rec);
	if (r == -EBADMSG) {
		log_error("%s: the record of its migration is damaged", v->name);
		v->moved = SUP_IN_DOUBT;
	} else if (r == 0 && rec.role == MIG_SOURCE && rec.state == MIG_IS_COMMITTED) {
		v->moved = SUP_IN_DOUBT;
	} else if (r == 0 && rec.role == MIG_SOURCE && rec.state == MIG_IS_MOVED) {
		v->moved = rec.keep ? SUP_MOVED_KEPT : SUP_MOVED;
	}
	snprintf(v->moved_to, sizeof(v->moved_to), "%s", rec.peer);
}

int move_check(const struct sup_vps *v, const char *verb, struct err *e)
{
	if (v->moved == SUP_HERE)
		return 0;
	if (v->moved == SUP_IN_DOUBT) {
		err_set(e, ERR_STATE, "%s %s: it may have moved to %s", verb, v->name, v->moved_to);
		return err_hint(e, "vps migrate %s %s asks there", v->name, v->moved_to);
	}
	err_set(e, ERR_STATE, "%s %s: it has moved to %s", verb, v->name, v->moved_to);
	return err_hint(e, "if it does not run there: vps migrate --resolve %s source", v->name);
}

struct moving {
	struct sup_vps *vps;
	struct server_call *call;
	struct job *job;
	char verb[8];
	bool asks;
};

static void on_progress(void *ctx, json_t *progress)
{
	struct moving *m = ctx;

	if (call_more(m->call))
		server_continue(m->call, json_pack("{s:O}", "progress", progress));
}

/* It is the destination's now. */
static void has_moved(struct sup_vps *v)
{
	struct err e;

	event_emit(v->d, "moved", v->name, v->moved_to);
	if (v->moved == SUP_MOVED && vps_destroy(v, &e) < 0)
		log_error("%s", e.msg);
}

static void on_done(void *ctx, json_t *result, const struct err *e)
{
	struct moving *m = ctx;
	struct sup_vps *v = m->vps;
	struct err told;

	v->copying--;
	move_load(v);
	if (e) {
		told = *e;
		if (v->moved == SUP_IN_DOUBT && !m->asks)
			err_hint(&told, "whether it is there is not known: vps migrate %s %s asks",
				 v->name, v->moved_to);
		method_fail(m->call, m->verb, v->name, &told);
	} else {
		server_reply(m->call, json_incref(result), NULL, 0);
	}
	free(m);
	if (v->moved == SUP_MOVED || (v->moved == SUP_MOVED_KEPT && !e))
		has_moved(v);
}

static void on_cancel(struct server_call *c, void *userdata)
{
	struct moving *m = userdata;

	(void)c;
	job_cancel(m->job);
}

/* A move that is in doubt is not begun anew: first the destination is asked. */
static int check(struct sup_vps *v, const char *mode, const char *verb, bool *ret_ask, struct err *e)
{
	const char *backend = config_get(&v->config, "backend");

	*ret_ask = v->moved == SUP_IN_DOUBT && STREQ(mode, "move");
	if (*ret_ask)
		return 0;
	if (v->moved != SUP_HERE)
		return move_check(v, verb, e);
	if (v->config_error.code) {
		*e = v->config_error;
		return err_wrap(e, "%s %s", verb, v->name);
	}
	if (v->state != SUP_STOPPED || v->restart) {
		err_set(e, ERR_STATE, "%s %s: it is %s", verb, v->name, sup_state_name(v->state));
		return err_hint(e, "vps stop %s", v->name);
	}
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
	return json_pack("{s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:I, s:I, s:b, s:b, s:b, s:s}",
			 "op", "move-out", "lib", v->d->root.lib, "mode", ask ? "ask" : mode, "id", id,
			 "name", v->name, "new_name", to ? to : v->name, "config", text, "template",
			 or_empty(config_get(&v->config, "template")), "digest",
			 or_empty(config_get(&v->config, "template.digest")), "compress",
			 compress ? compress : "none", "bandwidth", call_int(c, "bandwidth", 0),
			 "id_base", (json_int_t)v->id_base, "dry_run", call_bool(c, "dry_run"), "keep",
			 call_bool(c, "keep"), "with_template", !call_bool(c, "without_template"),
			 "peer", or_empty(call_string(c, "peer")));
}

static const char *verb_of(const char *mode)
{
	return STREQ(mode, "stream") ? "send" : STREQ(mode, "copy") ? "copy" : "migrate";
}

static int begin(struct server_call *c, struct sup_vps *v, struct moving *m, struct err *e)
{
	const char *mode = call_string(c, "mode");
	cleanup_close int in = call_take_fd(c, 0), out = call_take_fd(c, 1);
	struct job_spec job = { .key = v->name, .fds = (int[]){ in, out }, .nfds = 2,
				.progress = on_progress, .done = on_done, .ctx = m };
	int r;

	*m = (struct moving){ .vps = v, .call = c };
	snprintf(m->verb, sizeof(m->verb), "%s", verb_of(mode));
	r = check(v, mode, m->verb, &m->asks, e);
	if (r < 0)
		return r;
	job.request = request(c, v, mode, m->asks, e);
	if (!job.request)
		return err_wrap(e, "%s %s", m->verb, v->name);
	r = job_submit(v->d->jobs, &job, &m->job, e);
	return r < 0 ? err_wrap(e, "%s %s", m->verb, v->name) : 0;
}

void method_migrate(struct server_call *c, void *userdata)
{
	struct sup_vps *v = method_vps(c, userdata, "Migrate");
	struct moving *m = v ? calloc(1, sizeof(*m)) : NULL;
	struct err e;

	if (!v)
		return;
	if (!m)
		err_code(&e, -ENOMEM, "migrate %s", v->name);
	else if (begin(c, v, m, &e) == 0) {
		v->copying++;
		call_on_cancel(c, on_cancel, m);
		return;
	}
	free(m);
	server_fail(c, &e);
}

/* The operator's word, where the peer cannot be asked. */
static int resolve(struct sup_vps *v, bool here, struct err *e)
{
	cleanup_close int dir = -EBADF;

	if (v->moved == SUP_HERE)
		return err_set(e, ERR_STATE, "migrate %s: nothing about it is in doubt", v->name);
	if (v->copying)
		return err_set(e, ERR_STATE, "migrate %s: it is being migrated", v->name);
	if (!here)
		return vps_destroy(v, e);
	dir = vps_open_lib(v, e);
	if (dir < 0 || mig_record_remove(dir, e) < 0)
		return err_wrap(e, "migrate %s", v->name);
	move_load(v);
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
