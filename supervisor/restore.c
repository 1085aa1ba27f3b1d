/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "supervisor/move.h"
#include "supervisor/save.h"

#include "base/log.h"
#include "base/macro.h"
#include "supervisor/suspend.h"

struct restoring {
	struct sup_vps *vps; /* stays: `copying` keeps it from going */
	struct server_call *call;
	struct job *job;
};

static void on_progress(void *ctx, json_t *progress)
{
	struct restoring *r = ctx;

	if (call_more(r->call))
		server_continue(r->call, json_pack("{s:O}", "progress", progress));
}

static const char *setting(const struct sup_vps *v, const char *key)
{
	const char *text = config_get(&v->config, key);

	return text ? text : "";
}

static void on_swept(void *ctx, json_t *result, const struct err *e)
{
	(void)ctx;
	(void)result;
	if (e)
		log_error("%s", e->msg);
}

void restore_sweep(struct sup_vps *v)
{
	struct job_spec job = { .key = v->name, .done = on_swept };
	char lib[512], path[600];
	struct err e;

	snprintf(path, sizeof(path), "%s/" RESTORE_ROOT, host_root_lib(&v->d->root, v->name, lib));
	if (access(path, F_OK) < 0)
		return;
	job.request = json_pack("{s:s, s:s, s:s}", "op", "adopt-sweep", "lib_dir", lib, "backend",
				setting(v, "backend"));
	if (job_submit(v->d->jobs, &job, NULL, &e) < 0)
		log_error("%s", e.msg);
}

/* It is suspended in the image, or as it was. */
static void on_adopted(void *ctx, json_t *result, const struct err *failed)
{
	struct restoring *r = ctx;
	struct sup_vps *v = r->vps;
	struct server_call *c = r->call;
	struct err e;

	(void)result;
	free(r);
	v->copying--;
	v->state = vps_idle_state(v);
	if (failed) {
		restore_sweep(v);
		e = *failed;
		method_fail(c, "restore", v->name, &e);
	} else if (vps_start(v, NULL, &e) < 0) {
		server_fail(c, &e);
	} else {
		vps_wait(v, c, 0, wait_for_start);
	}
}

static void on_cancel(struct server_call *c, void *userdata)
{
	struct restoring *r = userdata;

	(void)c;
	job_cancel(r->job);
}

int restore_begin(struct sup_vps *v, int fd, const char *file, struct server_call *c, struct err *e)
{
	struct restoring *r = calloc(1, sizeof(*r));
	struct job_spec job = { .key = v->name, .fds = &fd, .nfds = fd >= 0, .waits = fd >= 0,
				.uid = call_uid(c), .progress = on_progress, .done = on_adopted, .ctx = r };
	char lib[512];
	int n;

	n = vps_check(v, SUP_EV_RESTORE, "restore", e);
	if (n == 0)
		n = move_check(v, "restore", e);
	if (n == 0 && v->copying)
		n = err_set(e, ERR_STATE, "restore %s: files are being copied into or out of it", v->name);
	if (n == 0 && !r)
		n = err_code(e, -ENOMEM, "restore %s", v->name);
	if (n < 0) {
		free(r);
		return n;
	}
	policy_cancel(v);
	*r = (struct restoring){ .vps = v, .call = c };
	job.request = json_pack("{s:s, s:s, s:s, s:s, s:s, s:s, s:I, s:s, s:s}", "op", "adopt", "lib",
				v->d->root.lib, "lib_dir", host_root_lib(&v->d->root, v->name, lib),
				"backend", setting(v, "backend"), "template", setting(v, "template"),
				"digest", setting(v, "template.digest"), "id_base", (json_int_t)v->id_base,
				"uuid", setting(v, "uuid"), "file", fd >= 0 ? file : "");
	n = job_submit(v->d->jobs, &job, &r->job, e);
	if (n < 0) {
		free(r);
		return err_wrap(e, "restore %s", v->name);
	}
	v->copying++;
	call_on_cancel(c, on_cancel, r);
	return 0;
}
