/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "supervisor/daemon.h"

#include "base/fd.h"
#include "base/macro.h"
#include "supervisor/save.h"

/* The methods that save a VPS. */

static const char *compression(struct server_call *c, struct err *e)
{
	static const char *const names[] = { "lz4", "zstd", "none" };
	const char *name = call_string(c, "compress");

	if (!name)
		return names[0];
	for (size_t i = 0; i < ARRAY_SIZE(names); i++)
		if (STREQ(name, names[i]))
			return names[i];
	err_set(e, ERR_USAGE, "%.32s is no compression", name);
	err_hint(e, "there are lz4, zstd and none");
	return NULL;
}

void method_suspend(struct server_call *c, void *userdata)
{
	struct sup_vps *v = method_vps(c, userdata, "Suspend");
	struct save_request q = { .verb = "suspend", .fd = -EBADF };
	struct err e;

	if (!v)
		return;
	q.compress = compression(c, &e);
	if (!q.compress)
		method_fail(c, q.verb, v->name, &e);
	else if (save_begin(v, &q, c, &e) < 0)
		server_fail(c, &e);
}

/* The name of the file that a call's fd is; what it is for messages. */
static const char *file_name(struct server_call *c, int fd)
{
	const char *file = call_string(c, "file");

	return fd < 0 ? NULL : file && *file ? file : "the file";
}

void method_checkpoint(struct server_call *c, void *userdata)
{
	json_t *files = json_object_get(call_params(c), "files");
	cleanup_close int fd = call_take_fd(c, 0);
	struct sup_vps *v = method_vps(c, userdata, "Checkpoint"); /* may answer the call */
	struct save_request q = { .verb = "checkpoint", .fd = fd };
	struct err e;

	if (!v)
		return;
	q.leave = call_bool(c, "leave_running");
	q.files = q.leave && !json_is_false(files);
	q.file = file_name(c, fd);
	q.compress = compression(c, &e);
	if (!q.compress)
		method_fail(c, q.verb, v->name, &e);
	else if (save_begin(v, &q, c, &e) < 0)
		server_fail(c, &e);
}

void method_restore(struct server_call *c, void *userdata)
{
	cleanup_close int fd = call_take_fd(c, 0);
	struct sup_vps *v = method_vps(c, userdata, "Restore");
	struct err e;

	if (v && restore_begin(v, fd, file_name(c, fd), c, &e) < 0)
		server_fail(c, &e);
}

void method_check(struct server_call *c, void *userdata)
{
	struct sup_vps *v = method_vps(c, userdata, "Movable");
	struct err e;

	if (v && check_begin(v, c, &e) < 0)
		server_fail(c, &e);
}

struct looking {
	struct server_call *call;
	struct job *job;
	bool verify;
};

static void on_progress(void *ctx, json_t *progress)
{
	struct looking *l = ctx;

	if (call_more(l->call))
		server_continue(l->call, json_pack("{s:O}", "progress", progress));
}

static void on_looked(void *ctx, json_t *result, const struct err *e)
{
	struct looking *l = ctx;

	if (e)
		server_fail(l->call, e);
	else
		server_reply(l->call, l->verify ? json_pack("{s:O}", "image", result) : NULL, NULL, 0);
	free(l);
}

static void on_cancel(struct server_call *c, void *userdata)
{
	struct looking *l = userdata;

	(void)c;
	job_cancel(l->job);
}

static void look(struct server_call *c, struct sup_daemon *d, bool verify)
{
	struct looking *l = calloc(1, sizeof(*l));
	int fds[2] = { call_take_fd(c, 0), verify ? -EBADF : call_take_fd(c, 1) };
	struct job_spec job = { .fds = fds, .nfds = verify ? 1 : 2, .waits = true, .uid = call_uid(c),
				.done = on_looked, .ctx = l, .progress = verify ? on_progress : NULL };
	struct err e;
	int r = 0;

	if (l) {
		*l = (struct looking){ .call = c, .verify = verify };
		job.request = json_pack("{s:s, s:b}", "op", verify ? "image-verify" : "image-show", "json",
					call_bool(c, "json"));
		r = job_submit(d->jobs, &job, &l->job, &e);
	} else {
		r = err_code(&e, -ENOMEM, "look at an image");
	}
	fd_close(&fds[0]);
	fd_close(&fds[1]);
	if (r < 0) {
		free(l);
		server_fail(c, &e);
		return;
	}
	call_on_cancel(c, on_cancel, l);
}

void method_image_show(struct server_call *c, void *userdata)
{
	look(c, userdata, false);
}

void method_image_verify(struct server_call *c, void *userdata)
{
	look(c, userdata, true);
}
