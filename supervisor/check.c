/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "supervisor/save.h"

#include "base/macro.h"
#include "base/proc.h"
#include "supervisor/monitor_link.h"
#include "supervisor/network.h"

struct checking {
	struct sup_daemon *d;
	struct server_call *call;
	char name[64];
};

/* The VPS may have gone meanwhile. */
static void finish(struct checking *k, json_t *obstacles, const struct err *e)
{
	struct sup_vps *v = vps_find(k->d, k->name);
	struct err told;

	if (v && v->checking)
		v->checking--;
	if (e) {
		told = *e;
		method_fail(k->call, "check", k->name, &told);
	} else {
		server_reply(k->call, json_pack("{s:b, s:O}", "movable", json_array_size(obstacles) == 0,
						"obstacles", obstacles), NULL, 0);
	}
	free(k);
}

static void on_checked(void *ctx, json_t *result, const struct err *e)
{
	struct checking *k = ctx;
	struct sup_vps *v = vps_find(k->d, k->name);

	if (e && v)
		network_let_go(v); /* the worker may have died while it held frames */
	finish(k, json_object_get(result, "obstacles"), e);
}

static int submit(struct checking *k, struct err *e)
{
	struct sup_vps *v = vps_find(k->d, k->name);
	struct job_spec job = { .key = k->name, .done = on_checked, .ctx = k };
	uint64_t start = 0;
	char run[512];

	if (!v || !v->pid)
		return err_set(e, ERR_STATE, "it has stopped");
	proc_start_time(v->pid, &start);
	job.request = json_pack("{s:s, s:s, s:I, s:I, s:b}", "op", "check", "run_dir",
				host_root_run(&v->d->root, v->name, run), "pid", (json_int_t)v->pid, "start",
				(json_int_t)start, "paused", v->state == SUP_PAUSED);
	return job_submit(v->d->jobs, &job, NULL, e);
}

/* The spec is written down. */
static void on_spec(void *ctx, const struct err *e, const char *note)
{
	struct err own;

	(void)note;
	if (e)
		finish(ctx, NULL, e);
	else if (submit(ctx, &own) < 0)
		finish(ctx, NULL, &own);
}

int check_begin(struct sup_vps *v, struct server_call *c, struct err *e)
{
	struct checking *k;
	int r;

	if (v->state == SUP_STOPPED || v->state == SUP_SUSPENDED) {
		server_reply(c, json_pack("{s:b, s:[]}", "movable", true, "obstacles"), NULL, 0);
		return 0;
	}
	r = vps_check(v, SUP_EV_SAVE, "check", e);
	if (r < 0)
		return r;
	k = calloc(1, sizeof(*k));
	if (!k)
		return err_code(e, -ENOMEM, "check %s", v->name);
	*k = (struct checking){ .d = v->d, .call = c };
	snprintf(k->name, sizeof(k->name), "%s", v->name);
	r = link_request(v->link, json_pack("{s:s}", "op", "spec"), NULL, 0, on_spec, k, e);
	if (r < 0) {
		free(k);
		return err_wrap(e, "check %s", v->name);
	}
	v->checking++;
	return 0;
}
