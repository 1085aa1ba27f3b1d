/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "supervisor/move.h"
#include "supervisor/network.h"

#include "base/log.h"
#include "base/macro.h"
#include "base/parse.h"
#include "base/proc.h"
#include "migrate/move.h"
#include "supervisor/monitor_link.h"

#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <stdarg.h>
#include <sys/socket.h>

/*
 * The destination's end. A worker reads what is offered; then vpsd lists what stands in the way,
 * takes name, ids and addresses, and another worker does the rest. What the source says of the
 * config is a stranger's word: keys and values are checked as anybody's, and those that reach out of
 * the VPS (paths and devices of the host, its network, system calls) are not taken from it.
 */
struct receiving {
	struct receiving *next;
	struct sup_daemon *d;
	struct server_call *call;
	struct job *job;
	struct sup_vps *vps; /* NULL before it has a place */
	struct mig_offer offer;
	struct config config;
	json_t *offer_json, *obstacles;
	int in, out;
	char name[64];       /* as asked for here; "" the source's choice */
	bool cancelled;
	/* Of one that comes running. */
	int image;           /* the pipe's end that its monitor reads */
	int word;            /* to the worker */
	bool named, failed;
};

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

__attribute__((format(printf, 2, 3))) static void obstacle(struct receiving *r, const char *fmt, ...)
{
	char text[1024];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	json_array_append_new(r->obstacles, json_string(text));
}

static void check_name(struct receiving *r)
{
	if (!name_is_valid(r->name))
		obstacle(r, "%.80s is not a name", r->name);
	else if (vps_find(r->d, r->name))
		obstacle(r, "there is a VPS named %s already", r->name);
}

/* Settings that reach out of the VPS. */
static void check_reach(struct receiving *r)
{
	static const char *const keys[] = { "mount", "device", "feature" };
	const char *text;
	struct netns_if nif;
	struct err ignored;

	for (size_t k = 0; k < ARRAY_SIZE(keys); k++)
		for (size_t i = 0; (text = config_get_nth(&r->config, keys[k], i)); i++)
			obstacle(r, "%s = %s is not taken from another host", keys[k], text);
	for (size_t i = 0; (text = config_get_nth(&r->config, "net", i)); i++) {
		if (netns_if_parse(text, &nif, &ignored) < 0)
			continue;
		if (nif.mode == NETNS_HOST)
			obstacle(r, "net = host is not taken from another host");
		else if (nif.parent[0] && !if_nametoindex(nif.parent))
			obstacle(r, "there is no link %s, which its interface %s needs", nif.parent,
				 nif.name);
	}
}

/* Those from the pool, which are chosen anew, and MACs, which follow from the UUID. */
static int forget_addresses(struct config *c, struct err *e)
{
	char out[NETNS_IF_MAX][NETNS_TEXT_MAX];
	const char *text;
	size_t n = 0;
	int r = 0;

	for (; n < NETNS_IF_MAX && (text = config_get_nth(c, "net", n)); n++) {
		struct netns_if nif;

		r = netns_if_parse(text, &nif, e);
		if (r < 0)
			return r;
		if (nif.mode == NETNS_BRIDGE && !nif.parent[0])
			nif.addr_count = 0;
		nif.has_mac = false;
		netns_if_format(&nif, out[n]);
	}
	if (n)
		r = config_set(c, "net", NULL, e);
	for (size_t i = 0; r == 0 && i < n; i++)
		r = config_set(c, "net", out[i], e);
	return r;
}

static int new_identity(struct config *c, struct err *e)
{
	char uuid[37], created[32];
	int r = proc_random_uuid(uuid);

	if (r < 0)
		return err_code(e, r, "make a UUID");
	snprintf(created, sizeof(created), "%llu", (unsigned long long)(now_realtime_us() / 1000000));
	r = config_set_record(c, "uuid", uuid, e);
	if (r == 0)
		r = config_set_record(c, "created", created, e);
	return r < 0 ? r : forget_addresses(c, e);
}

/* A UUID that is here already would give two VPSs one MAC. */
static bool uuid_is_here(const struct receiving *r)
{
	const char *uuid = config_get(&r->config, "uuid");

	for (size_t i = 0; uuid && i < r->d->count; i++) {
		const char *other = config_get(&r->d->vps[i]->config, "uuid");

		if (other && STREQ(other, uuid))
			return true;
	}
	return false;
}

static int adapt(struct receiving *r, struct err *e)
{
	struct config *c = &r->config;
	bool anew = r->offer.mode == MIG_COPY || (r->offer.mode == MIG_STREAM && uuid_is_here(r));
	int ret = config_set_record(c, "template", r->offer.template.name, e);

	if (ret == 0)
		ret = config_set_record(c, "template.digest", r->offer.template.digest, e);
	if (ret == 0)
		ret = config_set_record(c, "backend", "overlay", e);
	if (ret == 0)
		ret = config_set_record(c, "owner", NULL, e);
	if (ret == 0)
		ret = config_set_record(c, "ephemeral", NULL, e);
	if (ret == 0 && anew)
		ret = new_identity(c, e);
	else if (ret == 0 && uuid_is_here(r))
		ret = err_set(e, ERR_EXISTS, "a VPS with its UUID is here already");
	return ret;
}

/* Fills r->config as it is to be here; what cannot be becomes an obstacle. */
static void check_config(struct receiving *r)
{
	struct sup_vps probe = { .d = r->d };
	struct err e;
	int ret = config_parse(&r->config, r->offer.config, strlen(r->offer.config), "config", &e);

	snprintf(probe.name, sizeof(probe.name), "%s", r->name);
	if (ret == 0) {
		check_reach(r);
		ret = adapt(r, &e);
	}
	if (ret == 0)
		ret = network_complete(&probe, &r->config, &e);
	if (ret >= 0)
		ret = network_check(&probe, &r->config, &e);
	if (ret < 0)
		obstacle(r, "%s", e.msg);
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
	for (size_t i = 0; ret == 0 && config_get_nth(&r->config, "net", i); i++)
		ret = config_set(&r->vps->config, "net", config_get_nth(&r->config, "net", i), e);
	return ret;
}

/* It is on the disk, whole. */
static int appear(struct sup_vps *v, struct err *e)
{
	int r = vps_load(v, e);

	if (r < 0)
		return r;
	vps_load_end(v);
	vps_move(v, SUP_EV_CREATED);
	event_emit(v->d, "received", v->name, NULL);
	return 0;
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

void move_recover(struct sup_daemon *d, const char *name)
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
	job.request = json_pack("{s:s, s:s, s:s}", "op", "move-recover", "lib", d->root.lib, "name",
				name);
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

static void on_stage(void *ctx, json_t *what)
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
static void arrived(struct receiving *r, bool received)
{
	struct sup_vps *v = r->vps;
	struct err e;

	v->arriving = NULL;
	move_load(v);
	if (received)
		event_emit(v->d, "received", v->name, NULL);
	if (v->moved == SUP_HERE) {
		v->down = false;
		/* The worker died between its word and ours. */
		if (!received && v->link && v->state == SUP_RESTORING &&
		    link_request(v->link, json_pack("{s:s}", "op", "commit"), NULL, 0, on_told, v, &e) < 0)
			log_error("%s: %s", v->name, e.msg);
		return;
	}
	mig_taken_drop(r->d->root.lib, r->offer.id);
	v->down = true;
	if (v->state == SUP_STOPPED) {
		if (vps_destroy(v, &e) < 0)
			log_error("%s", e.msg);
		return;
	}
	v->destroy_next = true;
	if (v->link && link_request(v->link, json_pack("{s:s}", "op", "abort"), NULL, 0, on_told, v, &e) < 0)
		link_kill(v->link);
}

static void on_received(void *ctx, json_t *result, const struct err *e)
{
	struct receiving *r = ctx;
	bool received = json_is_true(json_object_get(result, "received"));
	struct err own;

	if (r->named)
		arrived(r, received);
	else if (received && r->vps && appear(r->vps, &own) < 0)
		log_error("%s: %s", r->name, own.msg);
	/* A worker that died may have been past the point where it was ours. */
	else if (!received && r->vps)
		move_recover(r->d, r->name);
	if (e) {
		refuse(r, e);
		return;
	}
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
	struct job_spec job = { .key = r->name, .nfds = 2, .progress = on_progress,
				.prepared = on_stage, .done = on_received, .ctx = r };
	int pair[2] = { -EBADF, -EBADF }, image[2] = { -EBADF, -EBADF }, ret;

	if (!text)
		return err_code(e, -ENOMEM, "write the config");
	job.request = json_pack("{s:s, s:s, s:s, s:s, s:s, s:O, s:O, s:I}", "op", "move-in", "tag",
				r->d->root.tag, "lib", r->d->root.lib, "name", r->name, "config", text, "offer",
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
	check_name(r);
	check_config(r);
	if (json_array_size(r->obstacles) == 0 && !r->offer.dry_run)
		ret = take_place(r, e);
	if (ret == 0)
		ret = submit(r, e);
	if (ret < 0 && r->vps)
		vps_remove(r->vps);
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
	struct job_spec job = { .fds = (int[]){ r->in, r->out }, .nfds = 2, .done = on_offer, .ctx = r };

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
