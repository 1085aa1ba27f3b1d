/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "supervisor/receive.h"

#include "base/log.h"
#include "base/macro.h"
#include "base/parse.h"
#include "base/str.h"
#include "supervisor/network.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/socket.h>

/*
 * The destination's end. A worker reads what is offered; then vpsd lists what stands in the way,
 * takes name, ids and addresses, and another worker does the rest.
 */
static void receiving_free(struct receiving *r)
{
	for (struct receiving **p = &r->d->receiving; *p; p = &(*p)->next)
		if (*p == r) {
			*p = r->next;
			break;
		}
	if (r->vps && r->vps->arriving == r)
		r->vps->arriving = NULL;
	fd_close(&r->in);
	fd_close(&r->out);
	fd_close(&r->image);
	fd_close(&r->word);
	mig_offer_done(&r->offer);
	config_done(&r->config);
	json_decref(r->offer_json);
	json_decref(r->obstacles);
	free(r);
}

/* Its name, ids, addresses and template are taken from now on. */
static int take_place(struct receiving *r, struct err *e)
{
	static const char *const keys[] = { "template", "template.digest", "uuid" };
	char base[16];
	int ret = vps_add(r->d, r->name, &r->vps, e);

	if (ret < 0)
		return ret;
	r->vps->state = SUP_CREATING;
	ret = vps_alloc_ids(r->d, &r->vps->id_base, e);
	snprintf(base, sizeof(base), "%u", r->vps->id_base);
	if (ret == 0)
		ret = config_set_record(&r->config, "id.base", base, e);
	for (size_t i = 0; ret == 0 && i < ARRAY_SIZE(keys); i++)
		ret = config_set_record(&r->vps->config, keys[i], config_get(&r->config, keys[i]), e);
	return ret == 0 ? network_take(r->vps, &r->config, e) : ret;
}

/* It is on the disk, whole. */
static int appear(struct sup_vps *v, struct err *e)
{
	int r = vps_load(v, e);

	if (r < 0)
		return r;
	vps_load_end(v);
	move_load(v);
	vps_move(v, SUP_EV_CREATED);
	v->state = vps_idle_state(v);
	event_emit(v->d, "received", v->name, NULL);
	allowed_renew(v->d, v->name);
	return 0;
}

/* It is ours all the same when it cannot be resumed. */
static void go_on(struct sup_vps *v)
{
	struct err e;

	if (v->state == SUP_SUSPENDED && vps_start(v, NULL, &e) < 0)
		log_error("%s", e.msg);
}

struct recovering {
	struct sup_daemon *d;
	char name[64];
};

static void on_recovered(void *ctx, json_t *result, const struct err *e)
{
	struct recovering *w = ctx;
	struct sup_vps *v = vps_find(w->d, w->name);
	struct err own;

	if (e)
		log_error("%s", e->msg);
	if (json_is_true(json_object_get(result, "received")) && v && appear(v, &own) < 0)
		log_error("%s: %s", w->name, own.msg);
	if (v && v->state == SUP_CREATING)
		vps_remove(v);
	free(w);
}

void move_recover(struct sup_daemon *d, const char *name, const char *id)
{
	struct recovering *w = calloc(1, sizeof(*w));
	struct job_spec job = { .key = name, .done = on_recovered, .ctx = w };
	struct sup_vps *v = vps_find(d, name);
	struct err e;

	if (!w)
		return;
	w->d = d;
	snprintf(w->name, sizeof(w->name), "%s", name);
	/* Nobody may take the name before it is known whose it is. */
	if (!v && vps_add(d, name, &v, &e) == 0)
		v->state = SUP_CREATING;
	job.request = json_pack("{s:s, s:s, s:s, s:s}", "op", "move-recover", "lib", d->root.lib, "name", name, "id", id);
	if (job_submit(d->jobs, &job, NULL, &e) < 0) {
		log_error("%s", e.msg);
		free(w);
	}
}

static void refuse(struct receiving *r, const struct err *e)
{
	struct err told = *e;

	err_wrap(&told, "receive");
	server_fail(r->call, &told);
	receiving_free(r);
}

static void on_received(void *ctx, json_t *result, const struct err *e)
{
	struct receiving *r = ctx;
	bool received = json_is_true(json_object_get(result, "received"));
	struct err own;

	if (r->named)
		arrival_ended(r, received);
	else if (received && r->vps && appear(r->vps, &own) < 0)
		log_error("%s: %s", r->name, own.msg);
	/* A worker that died may have been past the point where it was ours. */
	else if (!received && r->vps)
		move_recover(r->d, r->name, r->offer.id);
	if (e) {
		refuse(r, e);
		return;
	}
	if (received && r->vps && r->offer.resume)
		go_on(r->vps);
	json_object_set_new(result, "name", json_string(r->name));
	server_reply(r->call, json_incref(result), NULL, 0);
	receiving_free(r);
}

static void on_progress(void *ctx, json_t *progress)
{
	struct receiving *r = ctx;

	if (call_more(r->call))
		server_continue(r->call, json_pack("{s:O}", "progress", progress));
}

static int submit(struct receiving *r, struct err *e)
{
	cleanup_free char *text = config_format(&r->config);
	/* A refusal touches nothing and waits for nobody: what has its name may be what is being moved here. */
	struct job_spec job = { .key = r->vps ? r->name : NULL, .nfds = 2, .waits = true, .progress = on_progress,
				.prepared = arrival_stage, .done = on_received, .ctx = r };
	int pair[2] = { -EBADF, -EBADF }, image[2] = { -EBADF, -EBADF }, ret;
	const char *pool4, *pool6;

	if (!text)
		return err_code(e, -ENOMEM, "write the config");
	network_pools(r->d, &pool4, &pool6);
	job.request = json_pack("{s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:O, s:O, s:I}", "op", "move-in", "tag",
				r->d->root.tag, "pool4", pool4, "pool6", pool6, "lib", r->d->root.lib, "name", r->name, "config", text, "offer",
				r->offer_json, "obstacles", r->obstacles, "id_base",
				(json_int_t)(r->vps ? r->vps->id_base : 0));
	if (r->offer.live && (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0 ||
			      pipe2(image, O_CLOEXEC) < 0)) {
		json_decref(job.request);
		fd_close(&pair[0]);
		fd_close(&pair[1]);
		return err_sys(e, "make a socket pair");
	}
	r->word = pair[0];
	r->image = image[0];
	fcntl(image[1], F_SETPIPE_SZ, 1 << 20);
	job.fds = (int[]){ r->in, r->out, pair[1], image[1] };
	job.nfds += r->offer.live ? 2 : 0;
	ret = job_submit(r->d->jobs, &job, &r->job, e);
	fd_close(&pair[1]);
	fd_close(&image[1]);
	return ret;
}

static int on_offer_good(struct receiving *r, struct err *e)
{
	int ret = mig_offer_parse(r->offer_json, &r->offer, e);

	if (ret < 0)
		return ret;
	if (!r->name[0])
		snprintf(r->name, sizeof(r->name), "%s", r->offer.name);
	r->obstacles = json_array();
	receive_check(r);
	if (json_array_size(r->obstacles) == 0 && !r->offer.dry_run)
		ret = take_place(r, e);
	if (ret == 0)
		ret = submit(r, e);
	if (ret < 0 && r->vps)
		vps_remove(TAKE_PTR(r->vps));
	return ret;
}

static void say_nothing(struct receiving *r, const char *why)
{
	server_reply(r->call, json_pack("{s:b, s:s, s:s}", "received", false, "error", why, "name", ""),
		     NULL, 0);
	receiving_free(r);
}

static void on_offer(void *ctx, json_t *result, const struct err *e)
{
	struct receiving *r = ctx;
	struct err own;

	r->job = NULL;
	r->offer_json = json_incref(json_object_get(result, "offer"));
	if (e)
		refuse(r, e);
	else if (json_is_null(r->offer_json))
		say_nothing(r, "nothing came");
	else if (STREQ(json_string_value(json_object_get(r->offer_json, "mode")) ?: "", "ask"))
		say_nothing(r, ""); /* it was answered */
	else if (r->cancelled && err_set(&own, ERR_CANCELLED, "cancelled"))
		refuse(r, &own);
	else if (on_offer_good(r, &own) < 0)
		refuse(r, &own);
}

static void on_cancel(struct server_call *c, void *userdata)
{
	struct receiving *r = userdata;

	(void)c;
	r->cancelled = true;
	if (r->job)
		job_cancel(r->job);
}

static json_t *busy_ids(const struct sup_daemon *d)
{
	json_t *list = json_array();

	for (const struct receiving *r = d->receiving; r; r = r->next)
		if (r->offer.id[0])
			json_array_append_new(list, json_string(r->offer.id));
	return list;
}

static int begin(struct receiving *r, struct err *e)
{
	struct job_spec job = { .fds = (int[]){ r->in, r->out }, .nfds = 2, .waits = true,
				.done = on_offer, .ctx = r };

	job.request = json_pack("{s:s, s:s, s:o}", "op", "move-offer", "lib", r->d->root.lib, "busy",
				busy_ids(r->d));
	return job_submit(r->d->jobs, &job, &r->job, e);
}

void method_receive(struct server_call *c, void *userdata)
{
	struct receiving *r = NULL;
	const char *name = call_string(c, "name");
	struct err e;
	int ret = may(call_uid(c), NULL, "Receive", &e);

	if (ret == 0 && name && !name_is_valid(name)) {
		err_set(&e, ERR_USAGE, "receive: %.80s is not a name",
			!*name ? "\"\"" : str_is_printable(name) ? name : "?");
		ret = err_hint(&e, NAME_HINT);
	}
	if (ret == 0) {
		r = calloc(1, sizeof(*r));
		if (!r)
			ret = err_code(&e, -ENOMEM, "receive");
	}
	if (r) {
		*r = (struct receiving){ .d = userdata, .call = c, .image = -EBADF, .word = -EBADF };
		r->in = call_take_fd(c, 0);
		r->out = call_take_fd(c, 1);
		snprintf(r->name, sizeof(r->name), "%s", name ? name : "");
		ret = begin(r, &e);
	}
	if (ret < 0) {
		if (r)
			receiving_free(r);
		server_fail(c, &e);
		return;
	}
	r->next = r->d->receiving;
	r->d->receiving = r;
	call_on_cancel(c, on_cancel, r);
}
