/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "supervisor/daemon.h"

#include "base/fd.h"
#include "base/macro.h"
#include "base/proc.h"

#include <fcntl.h>
#include <sys/stat.h>

/* Files: the console's log, and copying into and out of a VPS. */

void method_logs(struct server_call *c, void *userdata)
{
	static const char *const names[] = { "console.log.1", "console.log" };
	struct sup_vps *v = method_vps(c, userdata, "Logs");
	cleanup_close int dir = -EBADF;
	int fds[ARRAY_SIZE(names)];
	size_t n = 0;
	struct err e;

	if (!v)
		return;
	dir = vps_open_lib(v, &e);
	if (dir < 0) {
		method_fail(c, "logs", v->name, &e);
		return;
	}
	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		fds[n] = openat(dir, names[i], O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
		n += fds[n] >= 0;
	}
	server_reply(c, json_pack("{s:i}", "files", (int)n), fds, n);
	while (n > 0)
		close(fds[--n]);
}

struct copy {
	struct server_call *call;
	struct sup_vps *vps; /* stays: `copying` keeps it from going */
	struct job *job;
	const char *verb;
};

static void on_copied(void *ctx, json_t *result, const struct err *e)
{
	struct copy *p = ctx;
	struct err told;

	p->vps->copying--;
	if (e) {
		told = *e;
		method_fail(p->call, p->verb, p->vps->name, &told);
	} else {
		server_reply(p->call, json_incref(result), NULL, 0);
	}
	free(p);
}

static void on_cancel(struct server_call *c, void *userdata)
{
	struct copy *p = userdata;

	(void)c;
	job_cancel(p->job);
}

/* What the worker needs to reach the tree: a running init, or the back end's parts. */
static json_t *copy_request(struct sup_vps *v, const char *verb, const char *path)
{
	const char *backend = config_get(&v->config, "backend");
	const char *template = config_get(&v->config, "template");
	const char *digest = config_get(&v->config, "template.digest");
	uint64_t start = 0;
	json_t *q;

	q = json_pack("{s:s, s:s, s:s, s:s, s:I, s:s, s:s, s:s}", "op", verb, "lib", v->d->root.lib,
		      "name", v->name, "path", path, "id_base", (json_int_t)v->id_base, "backend",
		      backend ? backend : "overlay", "template", template ? template : "", "digest",
		      digest ? digest : "");
	if (v->pid > 0 && proc_start_time(v->pid, &start) == 0) {
		json_object_set_new(q, "pid", json_integer(v->pid));
		json_object_set_new(q, "start", json_integer((json_int_t)start));
	}
	return q;
}

/* Its files are somebody else's in these states. */
static const char *const in_the_way[SUP_STATE_COUNT] = {
	[SUP_STOPPING] = "stopping",	 [SUP_STARTING] = "starting",
	[SUP_SUSPENDED] = "suspended",	 [SUP_SAVING] = "being saved",
	[SUP_RESTORING] = "being resumed", [SUP_DESTROYING] = "being destroyed",
};

static void copy_files(struct server_call *c, struct sup_vps *v, const char *verb)
{
	struct copy *p = calloc(1, sizeof(*p));
	cleanup_close int fd = call_take_fd(c, 0);
	struct job_spec job = { .fds = &fd, .nfds = 1, .waits = true, .uid = call_uid(c),
				.done = on_copied, .ctx = p };
	struct err e;
	int r = 0;

	if (!p)
		r = err_code(&e, -ENOMEM, "%s %s", verb, v->name);
	else if (in_the_way[v->state])
		r = err_set(&e, ERR_STATE, "%s %s: it is %s", verb, v->name, in_the_way[v->state]);
	if (r < 0 && v->state == SUP_SUSPENDED)
		err_hint(&e, "vps resume %s; its files belong to what it was doing", v->name);
	if (r == 0) {
		*p = (struct copy){ .call = c, .vps = v, .verb = verb };
		job.request = copy_request(v, verb, call_string(c, "path"));
		r = job_submit(v->d->jobs, &job, &p->job, &e);
	}
	if (r < 0) {
		free(p);
		server_fail(c, &e);
		return;
	}
	v->copying++;
	call_on_cancel(c, on_cancel, p);
}

void method_push(struct server_call *c, void *userdata)
{
	struct sup_vps *v = method_vps(c, userdata, "Push");

	if (v)
		copy_files(c, v, "push");
}

void method_pull(struct server_call *c, void *userdata)
{
	struct sup_vps *v = method_vps(c, userdata, "Pull");

	if (v)
		copy_files(c, v, "pull");
}
