/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "supervisor/daemon.h"

#include "base/fd.h"
#include "base/log.h"
#include "base/macro.h"
#include "base/proc.h"
#include "supervisor/monitor_link.h"
#include "supervisor/move.h"
#include "supervisor/network.h"
#include "supervisor/save.h"

#include <fcntl.h>

#define GUARD_US (15 * 1000000ULL) /* over what a stop may take, a monitor that hangs is killed */

int vps_arrive(struct sup_vps *v, int image, struct err *e)
{
	int r = vps_check(v, SUP_EV_RESTORE, "receive", e);

	if (r == 0)
		r = vps_launch(v, NULL, image, "receive", e);
	if (r < 0)
		return r;
	v->down = true; /* that it fails is no reason to start it */
	vps_move(v, SUP_EV_RESTORE);
	return 0;
}

int vps_start(struct sup_vps *v, const struct vps_stdio *io, struct err *e)
{
	const char *verb = v->state == SUP_SUSPENDED ? "resume" : "start";
	cleanup_close int image = -EBADF;
	int r;

	r = vps_check(v, SUP_EV_START, verb, e);
	if (r < 0)
		return r;
	policy_cancel(v);
	r = move_check(v, "start", e);
	if (r < 0)
		return r;
	if (v->copying)
		return err_set(e, ERR_STATE, "%s %s: files are being copied into or out of it", verb,
			       v->name);
	r = vps_open_image(v, &image, e);
	if (r < 0)
		return err_wrap(e, "%s %s", verb, v->name);
	r = vps_launch(v, io, image, verb, e);
	if (r < 0)
		return r;
	vps_move(v, SUP_EV_START);
	event_emit(v->d, "starting", v->name, NULL);
	return 0;
}

uint64_t vps_stop_timeout(const struct sup_vps *v)
{
	return config_number(&v->config, "stop.timeout");
}

static int on_guard(sd_event_source *s, uint64_t usec, void *userdata)
{
	struct sup_vps *v = userdata;

	(void)s;
	(void)usec;
	log_error("%s: its monitor does not answer: killed", v->name);
	link_kill(v->link);
	return 0;
}

static void guard(struct sup_vps *v, uint64_t us)
{
	v->guard = sd_event_source_disable_unref(v->guard);
	sd_event_add_time_relative(v->d->event, &v->guard, CLOCK_MONOTONIC, us + GUARD_US, 0, on_guard,
				   v);
}

static void mark_down(struct sup_vps *v)
{
	char dir[512], path[600];
	int fd;

	v->down = true;
	snprintf(path, sizeof(path), "%s/down", host_root_run(&v->d->root, v->name, dir));
	fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	fd_close(&fd);
}

static void on_stop_reply(void *ctx, const struct err *e, const char *note)
{
	struct sup_vps *v = ctx;

	(void)note;
	if (e)
		log_warn("stop %s: %s", v->name, e->msg);
}

int vps_stop(struct sup_vps *v, uint64_t timeout_us, bool force, struct err *e)
{
	bool restarts = v->restart != NULL;
	json_t *msg;
	int r;

	policy_cancel(v);
	if (v->state == SUP_STOPPED && restarts)
		return 0; /* it was waiting for its restart */
	r = vps_check(v, SUP_EV_STOP, "stop", e);
	/* Of one that may be another host's not even the end is ours to decide. */
	if (r == 0)
		r = move_check(v, "stop", e);
	if (r < 0)
		return r;
	if (!v->link && v->state != SUP_STOPPING)
		return err_set(e, ERR_STATE, "stop %s: its monitor does not answer", v->name);
	mark_down(v);
	v->start_again = false;
	if (!v->link)
		return 0; /* what is left of it is being removed */
	msg = json_pack("{s:s, s:I, s:b}", "op", "stop", "timeout_us", (json_int_t)timeout_us,
			"force", force);
	r = link_request(v->link, msg, NULL, 0, on_stop_reply, v, e);
	if (r < 0 && !force)
		return err_wrap(e, "stop %s", v->name);
	if (r < 0)
		link_kill(v->link);
	guard(v, force ? 0 : timeout_us);
	if (v->state != SUP_STOPPING)
		event_emit(v->d, "stopping", v->name, NULL);
	vps_move(v, SUP_EV_STOP);
	vps_look(v, NULL);
	return 0;
}

/* The monitor's last record, when it has left one. */
static bool take_exit_record(struct sup_vps *v)
{
	char dir[512];
	cleanup_close int fd = open(host_root_run(&v->d->root, v->name, dir),
				    O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	cleanup_free char *text = NULL;
	json_t *j;

	if (fd < 0 || fd_read_file_at(fd, "exit", 65536, &text, NULL) < 0)
		return false;
	j = json_loads(text, 0, NULL);
	if (!j)
		return false;
	vps_take_end(&v->end, j);
	json_decref(j);
	return true;
}

void vps_on_gone(struct sup_vps *v)
{
	struct err e;

	link_free(TAKE_PTR(v->link));
	err_set(&e, ERR_FAIL, "its monitor died");
	arrival_failed(v, &e);
	move_monitor_died(v);
	if (take_exit_record(v)) {
		if (STREQ(v->end.how, "failed")) {
			err_set(&e, ERR_FAIL, "%s", v->end.error);
			vps_look(v, &e);
		}
		vps_ended(v);
	} else {
		save_monitor_died(v);
		vps_clean_up(v, "its monitor died");
	}
	daemon_hello(v);
}

static void on_cleaned(void *ctx, json_t *result, const struct err *e)
{
	struct sup_vps *v = ctx;

	(void)result;
	if (e)
		log_error("%s: remove what its monitor left behind: %s", v->name, e->msg);
	vps_ended(v);
}

void vps_clean_up(struct sup_vps *v, const char *why)
{
	char dir[512], lib[512];
	json_t *q = json_pack("{s:s, s:s, s:s, s:s, s:s}", "op", "cleanup", "name", v->name,
			      "cgroup_parent", v->d->root.tag, "run_dir",
			      host_root_run(&v->d->root, v->name, dir), "lib_dir",
			      host_root_lib(&v->d->root, v->name, lib));
	struct job_spec job = { .key = v->name, .request = q, .done = on_cleaned, .ctx = v };
	struct err e;

	log_error("%s: %s", v->name, why);
	v->state = SUP_STOPPING;
	v->end = (struct sup_end){ .how = "died", .at = now_realtime_us() / 1000000 };
	snprintf(v->end.error, sizeof(v->end.error), "%s", why);
	if (job_submit(v->d->jobs, &job, NULL, &e) < 0)
		on_cleaned(v, NULL, &e);
}

/* All is undone: notes how it ended and goes on as was asked for meanwhile. */
void vps_ended(struct sup_vps *v)
{
	bool was_starting = v->state == SUP_STARTING && !v->awaited;
	bool suspended = vps_is_suspended(v);
	char text[64];
	struct err e;

	link_free(TAKE_PTR(v->link));
	v->guard = sd_event_source_disable_unref(v->guard);
	v->restarts += v->reboots;
	v->reboots = 0;
	v->pid = 0;
	v->ready = false;
	vps_move(v, suspended ? SUP_EV_SUSPENDED : SUP_EV_ENDED);
	vps_save_end(v);
	vps_remove_run_dir(v);
	if (STREQ(v->end.how, "died")) {
		network_forget(v);
		network_mend(v->d);
	} else {
		network_release(v->d);
	}
	if (suspended) {
		save_ended(v);
		vps_look(v, NULL);
		return;
	}
	event_emit(v->d, "stopped", v->name, vps_end_text(&v->end, text, sizeof(text)));
	if (v->start_again && !v->destroy_next) {
		/* Waiters of the restart are in wait_for_restart(): they go on waiting. */
		v->start_again = false;
		if (vps_start(v, NULL, &e) < 0)
			vps_look(v, &e);
		else
			vps_look(v, NULL);
		return;
	}
	v->start_again = false;
	vps_look(v, NULL);
	if (v->destroy_next || v->ephemeral) {
		v->destroy_next = false;
		if (vps_destroy(v, &e) < 0)
			log_error("%s", e.msg);
	} else if (!v->down && (!was_starting || v->unattended)) {
		policy_ended(v, &v->end);
	}
}

/* The name is free again, or the VPS is as it was. */
static void on_destroyed(void *ctx, json_t *result, const struct err *e)
{
	struct sup_vps *v = ctx;
	struct sup_daemon *d = v->d;
	char dir[512], name[64];
	struct err told;

	(void)result;
	if (e && access(host_root_lib(&d->root, v->name, dir), F_OK) == 0) {
		told = *e;
		err_wrap(&told, "destroy %s", v->name);
		log_error("%s", told.msg);
		v->state = vps_idle_state(v);
		vps_load(v, &(struct err){ 0 });
		vps_look(v, &told);
		return;
	}
	if (e) {
		/* Its name is gone already; what is left of it is swept. */
		told = *e;
		err_wrap(&told, "destroy %s", v->name);
		log_error("%s", told.msg);
		daemon_sweep(d, v->name);
		vps_look(v, &told);
	}
	event_emit(d, "destroyed", v->name, NULL);
	snprintf(name, sizeof(name), "%s", v->name);
	vps_remove(v);
	allowed_renew(d, name);
}

int vps_destroy(struct sup_vps *v, struct err *e)
{
	const char *backend = config_get(&v->config, "backend");
	struct job_spec job = { .key = v->name, .done = on_destroyed, .ctx = v };
	int r;

	r = vps_check(v, SUP_EV_DESTROY, "destroy", e);
	if (r < 0 || sup_rule(v->state, SUP_EV_DESTROY)->verdict == SUP_JOIN)
		return r;
	if (v->copying)
		return err_set(e, ERR_STATE, "destroy %s: files are being copied into or out of it",
			       v->name);
	policy_cancel(v);
	job.request = json_pack("{s:s, s:s, s:s, s:s}", "op", "destroy", "lib", v->d->root.lib,
				"name", v->name, "backend", backend ? backend : "overlay");
	r = job_submit(v->d->jobs, &job, NULL, e);
	if (r < 0)
		return err_wrap(e, "destroy %s", v->name);
	vps_move(v, SUP_EV_DESTROY);
	return 0;
}
