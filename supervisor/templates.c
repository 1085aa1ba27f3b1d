/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "supervisor/daemon.h"

#include "base/fd.h"
#include "base/log.h"
#include "base/macro.h"
#include "base/parse.h"
#include "storage/template.h"

#include <dirent.h>
#include <fcntl.h>

/* Templates: reading them is quick and done here, all else is a worker's. */

/* A creation that waits for the default template; the first one has it built. */
struct template_wait {
	struct template_wait *next;
	void (*done)(void *ctx, const struct err *e);
	void *ctx;
};

json_t *templates_used(struct sup_daemon *d)
{
	json_t *list = json_array();

	for (size_t i = 0; i < d->count; i++) {
		const char *name = config_get(&d->vps[i]->config, "template");
		const char *digest = config_get(&d->vps[i]->config, "template.digest");
		char text[160];

		if (!name || !digest)
			continue;
		snprintf(text, sizeof(text), "%s/%s", name, digest);
		json_array_append_new(list, json_string(text));
	}
	return list;
}

static void on_swept(void *ctx, json_t *result, const struct err *e)
{
	(void)ctx;
	(void)result;
	if (e)
		log_error("%s", e->msg);
}

/* What a killed build left behind goes when no other build is under way that it could hit; also
 * generations that no VPS uses any more. A config that cannot be read may use any. */
static void sweep_if_idle(struct sup_daemon *d)
{
	struct job_spec job = { .key = "/templates", .done = on_swept, .ctx = d };
	struct err e;

	if (!d->sweep_templates || d->template_jobs)
		return;
	for (size_t i = 0; i < d->count; i++)
		if (d->vps[i]->config_error.code || d->vps[i]->state == SUP_CREATING)
			return;
	d->sweep_templates = false;
	job.request = json_pack("{s:s, s:s, s:o}", "op", "template-sweep", "lib", d->root.lib, "used",
				templates_used(d));
	if (job_submit(d->jobs, &job, NULL, &e) < 0)
		log_error("%s", e.msg);
}

static void job_begins(struct sup_daemon *d)
{
	d->template_jobs++;
}

static void job_ended(struct sup_daemon *d, const struct err *e)
{
	d->template_jobs--;
	if (e)
		d->sweep_templates = true;
	sweep_if_idle(d);
}

static void on_default_built(void *ctx, json_t *result, const struct err *e)
{
	struct sup_daemon *d = ctx;
	struct template_wait *list = TAKE_PTR(d->template_waits);
	struct err told;

	(void)result;
	if (e) {
		told = *e;
		err_wrap(&told, "build the template %s", TEMPLATE_DEFAULT);
	} else {
		event_emit(d, "template-added", TEMPLATE_DEFAULT, NULL);
	}
	while (list) {
		struct template_wait *w = list;

		list = w->next;
		w->done(w->ctx, e ? &told : NULL);
		free(w);
	}
	job_ended(d, e);
}

static int build_default(struct sup_daemon *d, struct err *e)
{
	struct job_spec job = { .key = "/build/" TEMPLATE_DEFAULT, .done = on_default_built, .ctx = d };
	int r;

	job.request = json_pack("{s:s, s:s, s:s, s:s, s:[]}", "op", "template-build", "lib",
				d->root.lib, "source", TEMPLATE_DEFAULT, "name", TEMPLATE_DEFAULT,
				"include");
	r = job_submit(d->jobs, &job, NULL, e);
	if (r == 0)
		job_begins(d);
	return r;
}

static int on_there(sd_event_source *s, void *userdata)
{
	struct template_wait *w = userdata;

	sd_event_source_unref(s);
	w->done(w->ctx, NULL);
	free(w);
	return 0;
}

int template_want(struct sup_daemon *d, const char *name,
		  void (*done)(void *ctx, const struct err *e), void *ctx, struct err *e)
{
	struct template_wait *w;
	struct storage_template t;
	sd_event_source *s = NULL;
	bool first;
	int r = -EINVAL;

	if (!name_is_valid(name))
		return err_set(e, ERR_USAGE, "%.80s is not the name of a template", name);
	r = storage_template_find(d->root.lib, name, NULL, &t, e);
	if (r < 0 && (e->code != ERR_NOT_FOUND || !STREQ(name, TEMPLATE_DEFAULT)))
		return r;
	w = calloc(1, sizeof(*w));
	if (!w)
		return err_code(e, -ENOMEM, "wait for the template %s", name);
	*w = (struct template_wait){ .done = done, .ctx = ctx };
	if (r == 0) {
		r = sd_event_add_defer(d->event, &s, on_there, w);
		if (r < 0)
			free(w);
		return r < 0 ? err_code(e, r, "wait for the template %s", name) : 0;
	}
	first = !d->template_waits;
	r = first ? build_default(d, e) : 0;
	if (r < 0) {
		free(w);
		return r;
	}
	w->next = d->template_waits;
	d->template_waits = w;
	return 0;
}

/* metadata of one template as the interface has it */
static json_t *template_json(const struct sup_daemon *d, const struct storage_template *t)
{
	json_t *users = json_array();

	for (size_t i = 0; i < d->count; i++) {
		const char *name = config_get(&d->vps[i]->config, "template");

		if (name && STREQ(name, t->name) && d->vps[i]->state != SUP_CREATING)
			json_array_append_new(users, json_string(d->vps[i]->name));
	}
	return json_pack("{s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:I, s:I, s:o}", "name", t->name,
			 "digest", t->digest, "distribution", t->distribution, "version", t->version,
			 "arch", t->arch, "init", t->init, "stop_signal", t->stop_signal, "size",
			 (json_int_t)t->size, "created", (json_int_t)t->created, "users", users);
}

void method_templates(struct server_call *c, void *userdata)
{
	struct sup_daemon *d = userdata;
	cleanup_free struct storage_template *list = NULL;
	size_t count = 0;
	json_t *out;
	struct err e;

	if (storage_template_list(d->root.lib, &list, &count, &e) < 0) {
		server_fail(c, &e);
		return;
	}
	out = json_array();
	for (size_t i = 0; i < count; i++)
		json_array_append_new(out, template_json(d, &list[i]));
	server_reply(c, json_pack("{s:o}", "templates", out), NULL, 0);
}

/* A build or import that a client waits for. */
struct making {
	struct sup_daemon *d;
	struct server_call *call;
	struct job *job;
	char name[64];
};

static void on_progress(void *ctx, json_t *progress)
{
	struct making *m = ctx;

	if (call_more(m->call))
		server_continue(m->call, json_pack("{s:O}", "progress", progress));
}

static void on_made(void *ctx, json_t *result, const struct err *e)
{
	struct making *m = ctx;
	struct storage_template t;
	struct err told;

	(void)result;
	if (e) {
		told = *e;
	} else if (storage_template_find(m->d->root.lib, m->name, NULL, &t, &told) == 0) {
		event_emit(m->d, "template-added", m->name, NULL);
		m->d->sweep_templates = true; /* the generation before may be of no use now */
		told.code = 0;
	}
	if (e || told.code)
		server_fail(m->call, &told);
	else
		server_reply(m->call, json_pack("{s:o}", "template", template_json(m->d, &t)), NULL, 0);
	job_ended(m->d, e);
	free(m);
}

static void on_cancel(struct server_call *c, void *userdata)
{
	struct making *m = userdata;

	(void)c;
	job_cancel(m->job);
}

/* Takes the request over. */
static void make(struct sup_daemon *d, struct server_call *c, const char *name, json_t *request,
		 int fd)
{
	struct making *m = calloc(1, sizeof(*m));
	char key[96];
	struct job_spec job = { .key = key, .request = request, .progress = on_progress, .done = on_made, .ctx = m,
				.fds = &fd, .nfds = fd >= 0, .waits = fd >= 0, .uid = call_uid(c) };
	struct err e;

	snprintf(key, sizeof(key), "/build/%s", name);
	if (!m) {
		json_decref(request);
		err_code(&e, -ENOMEM, "make the template %s", name);
	} else if (job_submit(d->jobs, &job, &m->job, &e) == 0) {
		m->d = d;
		m->call = c;
		snprintf(m->name, sizeof(m->name), "%s", name);
		job_begins(d);
		call_on_cancel(c, on_cancel, m);
		return;
	}
	free(m);
	server_fail(c, &e);
}

static bool may_make(struct server_call *c, const char *verb, const char *name)
{
	struct err e;

	if (may(call_uid(c), NULL, verb, &e) == 0) {
		if (name_is_valid(name))
			return true;
		err_set(&e, ERR_USAGE, "%.80s is not a name for a template", name);
		err_hint(&e, NAME_HINT);
	}
	server_fail(c, &e);
	return false;
}

void method_template_build(struct server_call *c, void *userdata)
{
	struct sup_daemon *d = userdata;
	const char *source = call_string(c, "source"), *name = call_string(c, "name");
	json_t *include = json_object_get(call_params(c), "include");

	name = name ? name : source;
	if (!may_make(c, "TemplateBuild", name))
		return;
	make(d, c, name,
	     json_pack("{s:s, s:s, s:s, s:s, s:o}", "op", "template-build", "lib", d->root.lib,
		       "source", source, "name", name, "include",
		       json_is_array(include) ? json_incref(include) : json_array()), -EBADF);
}

void method_template_import(struct server_call *c, void *userdata)
{
	struct sup_daemon *d = userdata;
	cleanup_close int fd = call_take_fd(c, 0);
	const char *const keys[] = { "init", "stop_signal", "distribution" };
	const char *name = call_string(c, "name");
	json_t *q;

	if (!may_make(c, "TemplateImport", name))
		return;
	q = json_pack("{s:s, s:s, s:s}", "op", "template-import", "lib", d->root.lib, "name", name);
	for (size_t i = 0; i < ARRAY_SIZE(keys); i++) {
		const char *value = call_string(c, keys[i]);

		json_object_set_new(q, keys[i], json_string(value ? value : ""));
	}
	make(d, c, name, q, fd);
}

struct removing {
	struct sup_daemon *d;
	struct server_call *call;
	char name[64];
};

static void on_removed(void *ctx, json_t *result, const struct err *e)
{
	struct removing *m = ctx;

	(void)result;
	if (e) {
		server_fail(m->call, e);
	} else {
		event_emit(m->d, "template-removed", m->name, NULL);
		server_reply(m->call, NULL, NULL, 0);
	}
	job_ended(m->d, NULL);
	free(m);
}

void method_template_remove(struct server_call *c, void *userdata)
{
	struct sup_daemon *d = userdata;
	const char *name = call_string(c, "name");
	struct removing *m;
	char key[96];
	struct job_spec job = { .key = key, .done = on_removed };
	struct err e;

	if (!may_make(c, "TemplateRemove", name))
		return;
	snprintf(key, sizeof(key), "/build/%s", name);
	m = calloc(1, sizeof(*m));
	if (m) {
		*m = (struct removing){ .d = d, .call = c };
		snprintf(m->name, sizeof(m->name), "%s", name);
		job.ctx = m;
		job.request = json_pack("{s:s, s:s, s:s, s:o}", "op", "template-remove", "lib",
					d->root.lib, "name", name, "used", templates_used(d));
		if (job_submit(d->jobs, &job, NULL, &e) == 0) {
			job_begins(d);
			return;
		}
	} else {
		err_code(&e, -ENOMEM, "remove the template %s", name);
	}
	free(m);
	server_fail(c, &e);
}
