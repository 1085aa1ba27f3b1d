/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "supervisor/daemon.h"
#include "supervisor/network.h"

#include "base/log.h"
#include "base/macro.h"
#include "base/parse.h"
#include "base/proc.h"
#include "base/str.h"
#include "storage/root.h"
#include "storage/template.h"

#include <inttypes.h>
#include <stdarg.h>

/*
 * A creation: everything is checked and the name and id range are taken at once; then the template
 * is made if it is the built-in one and not there yet; then a worker does what waits for the disk.
 */
struct create {
	struct sup_daemon *d;
	struct sup_vps *vps;
	char template[64];
	struct config config;
	json_t *command;
	struct job *job; /* the worker's */
	void (*done)(void *ctx, struct sup_vps *v, const struct err *e);
	void *ctx;
	bool ephemeral, cancelled;
};

static void finish(struct create *c, const struct err *e)
{
	struct sup_vps *v = c->vps;
	struct err told;

	if (e) {
		told = *e;
		err_wrap(&told, "create %s", v->name);
	} else if (vps_load(v, &told) == 0) {
		vps_move(v, SUP_EV_CREATED);
		event_emit(c->d, "created", v->name, c->template);
		allowed_renew(c->d, v->name);
	} else {
		e = &told;
	}
	if (e) {
		vps_remove(v);
		v = NULL;
	}
	c->done(c->ctx, v, e ? &told : NULL);
	config_done(&c->config);
	json_decref(c->command);
	free(c);
}

/* A worker that was killed has undone nothing: what has its name by then is whole, all else is
 * swept. */
static void on_created(void *ctx, json_t *result, const struct err *e)
{
	struct create *c = ctx;
	char dir[512];

	(void)result;
	c->job = NULL;
	if (e && access(host_root_lib(&c->d->root, c->vps->name, dir), F_OK) == 0 &&
	    e->code != ERR_EXISTS)
		e = NULL;
	if (e)
		daemon_sweep(c->d, c->vps->name);
	finish(c, e);
}

static int set_record(struct create *c, const char *key, struct err *e, const char *fmt, ...)
	__attribute__((format(printf, 4, 5)));

static int set_record(struct create *c, const char *key, struct err *e, const char *fmt, ...)
{
	char value[128];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(value, sizeof(value), fmt, ap);
	va_end(ap);
	return config_set_record(&c->config, key, value, e);
}

static int submit(struct create *c, const struct storage_template *t, struct err *e)
{
	struct job_spec job = { .key = c->vps->name, .done = on_created, .ctx = c };
	cleanup_free char *text = NULL;
	char rootfs[512];

	text = config_format(&c->config);
	if (!text)
		return err_code(e, -ENOMEM, "write the config");
	job.request = json_pack("{s:s, s:s, s:s, s:s, s:s, s:s, s:I}", "op", "create", "lib",
				c->d->root.lib, "name", c->vps->name, "backend",
				config_get(&c->config, "backend"), "lower",
				storage_template_rootfs(c->d->root.lib, t, rootfs, sizeof(rootfs)),
				"config", text, "id_base", (json_int_t)c->vps->id_base);
	if (c->command)
		json_object_set(job.request, "command", c->command);
	if (c->ephemeral)
		json_object_set_new(job.request, "ephemeral", json_true());
	return job_submit(c->d->jobs, &job, &c->job, e);
}

static void on_template(void *ctx, const struct err *failed)
{
	struct create *c = ctx;
	struct storage_template t;
	struct err e;
	int r = 0;

	if (failed) {
		finish(c, failed);
		return;
	}
	if (c->cancelled)
		r = err_set(&e, ERR_CANCELLED, "cancelled");
	if (r == 0)
		r = storage_template_find(c->d->root.lib, c->template, NULL, &t, &e);
	if (r == 0)
		r = set_record(c, "template", &e, "%s", t.name);
	if (r == 0)
		r = set_record(c, "template.digest", &e, "%s", t.digest);
	/* The VPS's own, so that the template counts as used from now on. */
	if (r == 0)
		r = config_set_record(&c->vps->config, "template", t.name, &e);
	if (r == 0)
		r = config_set_record(&c->vps->config, "template.digest", t.digest, &e);
	if (r == 0)
		r = submit(c, &t, &e);
	if (r < 0)
		finish(c, &e);
}

static int check_settings(struct create *c, const struct create_request *q, struct err *e)
{
	json_t *item;
	size_t i;
	int r = 0;

	json_array_foreach(q->settings, i, item) {
		const char *key = json_string_value(json_object_get(item, "key"));
		const char *value = json_string_value(json_object_get(item, "value"));
		const struct setting *s = setting_find(key, e);
		size_t before = c->config.count;

		r = s ? may_set(q->owner, s->name, e) : -EINVAL;
		if (r == 0)
			r = config_set(&c->config, s->name, value, e);
		/* The second would take the place of the first. */
		if (r == 0 && s->flags & SETTING_NAMED && *value && *value != '-' &&
		    c->config.count == before)
			r = err_set(e, ERR_USAGE, "%s: two interfaces have the same name", s->name);
		if (r < 0)
			return r;
	}
	return 0;
}

static int fill_records(struct create *c, const struct create_request *q, struct err *e)
{
	const char *backend = q->backend ? q->backend : "overlay";
	char uuid[37];
	int r;

	if (!storage_backend_find(backend, e))
		return -EINVAL;
	r = proc_random_uuid(uuid);
	if (r < 0)
		return err_code(e, r, "make a UUID");
	r = set_record(c, "uuid", e, "%s", uuid);
	if (r == 0)
		r = set_record(c, "backend", e, "%s", backend);
	if (r == 0)
		r = set_record(c, "id.base", e, "%" PRIu32, c->vps->id_base);
	if (r == 0)
		r = set_record(c, "created", e, "%" PRIu64, now_realtime_us() / 1000000);
	if (r == 0 && q->ephemeral)
		r = set_record(c, "ephemeral", e, "yes");
	if (r == 0 && q->owner)
		r = set_record(c, "owner", e, "%u", q->owner);
	return r;
}

static int check_name(struct sup_daemon *d, const char *name, struct err *e)
{
	const struct sup_vps *v;

	if (!name_is_valid(name)) {
		const char *shown = str_is_printable(name) ? name : "?";

		if (*name)
			err_set(e, ERR_USAGE, "create %.80s: %.80s is not a name", shown, shown);
		else
			err_set(e, ERR_USAGE, "create: \"\" is not a name");
		return err_hint(e, NAME_HINT);
	}
	v = vps_find(d, name);
	if (v && v->state == SUP_DESTROYING)
		return err_set(e, ERR_EXISTS, "create %s: the old one is still being destroyed", name);
	if (v)
		return err_set(e, ERR_EXISTS, "create %s: there is a VPS of that name already", name);
	return 0;
}

int create_begin(struct sup_daemon *d, const struct create_request *q,
		 void (*done)(void *ctx, struct sup_vps *v, const struct err *e), void *ctx,
		 struct create **ret, struct err *e)
{
	struct create *c;
	int r = check_name(d, q->name, e);

	if (r < 0)
		return r;
	c = calloc(1, sizeof(*c));
	if (!c)
		return err_code(e, -ENOMEM, "create %s", q->name);
	*c = (struct create){ .d = d, .done = done, .ctx = ctx, .command = json_incref(q->command),
			      .ephemeral = q->ephemeral };
	snprintf(c->template, sizeof(c->template), "%s", q->template ? q->template : TEMPLATE_DEFAULT);
	r = vps_add(d, q->name, &c->vps, e);
	if (r == 0) {
		c->vps->state = SUP_CREATING;
		c->vps->owner = q->owner;
		r = vps_alloc_ids(d, &c->vps->id_base, e);
	}
	if (r == 0)
		r = check_settings(c, q, e);
	if (r == 0)
		r = fill_records(c, q, e);
	if (r == 0)
		r = network_default(c->vps, &c->config, e);
	if (r == 0)
		r = network_take(c->vps, &c->config, e);
	if (r == 0)
		r = template_want(d, c->template, on_template, c, e);
	if (r < 0) {
		if (c->vps)
			vps_remove(c->vps);
		config_done(&c->config);
		json_decref(c->command);
		free(c);
		return err_wrap(e, "create %s", q->name);
	}
	*ret = c;
	return 0;
}

void create_cancel(struct create *c)
{
	c->cancelled = true;
	if (c->job)
		job_cancel(c->job);
}
