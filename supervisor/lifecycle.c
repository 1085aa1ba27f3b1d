/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "supervisor/daemon.h"

#include "base/fd.h"
#include "base/log.h"
#include "base/macro.h"
#include "base/path.h"
#include "base/proc.h"
#include "runtime/spec.h"
#include "storage/template.h"
#include "supervisor/monitor_link.h"
#include "supervisor/move.h"
#include "supervisor/network.h"
#include "supervisor/save.h"
#include "supervisor/spare.h"
#include "supervisor/suspend.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>

/*
 * From start to end of a VPS, as its monitor tells it. Files in run/vps/NAME beside the monitor's:
 * `lock` (held by the monitor) and `down` (the user has asked it to stop; a vpsd that comes after
 * must not restart it by policy).
 */

#define GUARD_US (15 * 1000000ULL) /* over what a stop may take, a monitor that hangs is killed */

static void remove_run_dir(struct sup_vps *v)
{
	char dir[512];
	cleanup_close int fd = -EBADF;
	int r;

	snprintf(dir, sizeof(dir), "%s/vps", v->d->root.run);
	fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	r = fd < 0 ? -errno : path_remove_tree_at(fd, v->name);
	if (r < 0)
		log_warn("%s: remove %s/%s: %s", v->name, dir, v->name, strerrordesc_np(-r));
}

/* A new directory with its lock, locked; returns the lock's fd. */
static int make_run_dir(struct sup_vps *v, const char *dir, struct err *e)
{
	cleanup_close int fd = -EBADF;
	char path[600];

	remove_run_dir(v);
	if (mkdir(dir, 0700) < 0)
		return err_sys(e, "make %s", dir);
	snprintf(path, sizeof(path), "%s/lock", dir);
	fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (fd < 0 || flock(fd, LOCK_EX | LOCK_NB) < 0)
		return err_sys(e, "lock %s", path);
	return TAKE_FD(fd);
}

static int take_strings(struct strv *v, json_t *array)
{
	json_t *item;
	size_t i;

	strv_done(v);
	json_array_foreach(array, i, item)
		if (!json_is_string(item) || strv_add(v, json_string_value(item)) < 0)
			return -EINVAL;
	return 0;
}

/* lib/vps/NAME/command: what `run` is to run, instead of the template's init. */
static int take_command(struct sup_vps *v, struct rt_spec *s, struct err *e)
{
	cleanup_close int fd = vps_open_lib(v, e);
	cleanup_free char *text = NULL;
	const char *user, *cwd;
	json_t *j, *item;
	size_t i;
	int r;

	if (fd < 0)
		return fd;
	r = fd_read_file_at(fd, "command", RT_SPEC_MAX, &text, NULL);
	if (r == -ENOENT)
		return 0;
	if (r < 0)
		return err_code(e, r, "read the command");
	j = json_loads(text, 0, NULL);
	user = json_string_value(json_object_get(j, "user"));
	cwd = json_string_value(json_object_get(j, "cwd"));
	s->boot = false;
	s->tty = json_is_true(json_object_get(j, "tty"));
	snprintf(s->user, sizeof(s->user), "%s", user ? user : "");
	snprintf(s->cwd, sizeof(s->cwd), "%s", cwd ? cwd : "");
	r = take_strings(&s->argv, json_object_get(j, "argv"));
	json_array_foreach(json_object_get(j, "env"), i, item)
		if (r == 0)
			r = rt_spec_set_env(s, json_string_value(item) ?: "", e);
	json_decref(j);
	if (r < 0 || !s->argv.count)
		return err_set(e, ERR_USAGE, "the record of its command is damaged");
	return 0;
}

static int find_template(struct sup_vps *v, struct storage_template *t, struct rt_spec *s,
			 struct err *e)
{
	const char *name = config_get(&v->config, "template");
	const char *digest = config_get(&v->config, "template.digest");
	const char *lib = v->d->root.lib;
	int r;

	if (!name)
		return err_set(e, ERR_USAGE, "%s/vps/%s/config: there is no template in it", lib,
			       v->name);
	r = storage_template_find(lib, name, digest, t, e);
	if (r < 0)
		return r;
	storage_template_rootfs(lib, t, s->root.lower, sizeof(s->root.lower));
	return 0;
}

/* An edited config may name interfaces that have no address yet: they get one for good. */
static int complete_network(struct sup_vps *v, struct err *e)
{
	cleanup_close int fd = -EBADF;
	int r = network_complete(v, &v->config, e);

	if (r <= 0)
		return r;
	fd = vps_open_lib(v, e);
	return fd < 0 ? fd : config_write(&v->config, fd, "config", true, e);
}

static int make_spec(struct sup_vps *v, struct rt_spec *s, struct err *e)
{
	const struct host_root *root = &v->d->root;
	struct storage_template t;
	int r;

	r = vps_load(v, e);
	if (r == 0)
		r = find_template(v, &t, s, e);
	if (r < 0)
		return r;
	host_root_run(root, v->name, s->run_dir);
	host_root_lib(root, v->name, s->lib_dir);
	snprintf(s->cgroup_parent, sizeof(s->cgroup_parent), "%s", root->tag);
	network_pools(v->d, s);
	r = complete_network(v, e);
	if (r == 0)
		r = network_prepare(v, &v->config, e);
	if (r == 0)
		r = rt_spec_from_config(s, v->name, &v->config, &t, e);
	s->root.ephemeral = v->ephemeral;
	if (r == 0)
		r = network_resolve(v->d, &s->limits, e);
	if (r == 0)
		r = network_dns(v, s, e);
	return r < 0 ? r : take_command(v, s, e);
}

/* What it is suspended in; -EBADF when it is not. */
static int open_image(struct sup_vps *v, int *ret, struct err *e)
{
	cleanup_close int lib = -EBADF;
	int r;

	*ret = -EBADF;
	if (v->state != SUP_SUSPENDED)
		return 0;
	r = vps_image_is_here(v, e);
	if (r == 0)
		r = lib = vps_open_lib(v, e);
	if (r < 0)
		return r;
	*ret = openat(lib, SUSPEND_IMAGE, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	return *ret < 0 ? err_sys(e, "open its image") : 0;
}

static int spawn_monitor(struct sup_vps *v, const struct rt_spec *s, const struct vps_stdio *io,
			 int image, struct err *e)
{
	cleanup_free char *text = rt_spec_format(s);
	cleanup_close int spec = -EBADF, lock = -EBADF;

	spec = text ? fd_memfd("vps-spec", text, strlen(text)) : -ENOMEM;
	if (spec < 0)
		return err_code(e, spec, "prepare the start");
	lock = make_run_dir(v, s->run_dir, e);
	if (lock < 0)
		return lock;
	return link_spawn(v, spec, lock, image, io, e);
}

/* Its monitor, which starts it, or puts the processes of the image back. */
static int launch(struct sup_vps *v, const struct vps_stdio *io, int image, const char *verb,
		  struct err *e)
{
	struct rt_spec s = { 0 };
	int r = make_spec(v, &s, e);

	if (r == 0)
		r = spawn_monitor(v, &s, io, image, e);
	rt_spec_done(&s);
	if (r < 0) {
		remove_run_dir(v);
		network_release(v->d);
		return err_wrap(e, "%s %s", verb, v->name);
	}
	v->down = v->ready = v->unattended = false;
	v->reboots = 0;
	return 0;
}

int vps_arrive(struct sup_vps *v, int image, struct err *e)
{
	int r = vps_check(v, SUP_EV_RESTORE, "receive", e);

	if (r == 0)
		r = launch(v, NULL, image, "receive", e);
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
	r = open_image(v, &image, e);
	if (r < 0)
		return err_wrap(e, "%s %s", verb, v->name);
	r = launch(v, io, image, verb, e);
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

static void set_alive(struct sup_vps *v, json_t *msg)
{
	v->pid = (pid_t)json_integer_value(json_object_get(msg, "pid"));
	v->started_us = (uint64_t)json_integer_value(json_object_get(msg, "started_us"));
}

static void on_told(void *ctx, const struct err *e, const char *note)
{
	(void)note;
	if (e)
		log_debug("%s: %s", ((struct sup_vps *)ctx)->name, e->msg);
}

/* All of it is there again, stopped: nothing keeps it any longer. */
static void on_prepared(struct sup_vps *v, json_t *msg)
{
	struct err e;

	(void)msg;
	if (arrival_prepared(v))
		return;
	/* Of one that was being received when the vpsd before died it is known whose it is. */
	v->destroy_next = v->moved == SUP_ARRIVING;
	if (link_request(v->link, json_pack("{s:s}", "op", v->destroy_next ? "abort" : "commit"), NULL, 0, on_told, v, &e) < 0)
		log_error("%s: %s", v->name, e.msg);
}

static void on_hello(struct sup_vps *v, json_t *msg)
{
	const char *name = json_string_value(json_object_get(msg, "state"));
	int state = name ? sup_state_find(name) : -1;

	set_alive(v, msg);
	link_heard(v->link, msg);
	if (json_is_true(json_object_get(msg, "prepared")))
		on_prepared(v, msg);
	v->ready = json_is_true(json_object_get(msg, "ready"));
	v->reboots = (int)json_integer_value(json_object_get(msg, "restarts"));
	if (state >= 0 && state != SUP_STOPPED)
		v->state = (enum sup_state)state; /* what is true, whatever was thought before */
	log_info("%s: found %s, pid %d", v->name, sup_state_name(v->state), (int)v->pid);
	move_hello(v);
	daemon_hello(v);
}

static void on_started(struct sup_vps *v, json_t *msg)
{
	char pid[16];

	set_alive(v, msg);
	snprintf(pid, sizeof(pid), "%d", (int)v->pid);
	if (vps_move(v, SUP_EV_STARTED))
		event_emit(v->d, "started", v->name, pid);
	arrival_started(v);
	spare_prepare(v->d);
}

static void on_ready(struct sup_vps *v, json_t *msg)
{
	(void)msg;
	v->ready = true;
	event_emit(v->d, "ready", v->name, NULL);
}

static void on_state(struct sup_vps *v, json_t *msg)
{
	const char *name = json_string_value(json_object_get(msg, "state"));
	enum sup_state before = v->state;

	if (!name)
		return;
	if (STREQ(name, "paused"))
		vps_move(v, SUP_EV_PAUSED);
	else if (STREQ(name, "running"))
		vps_move(v, SUP_EV_RESUMED);
	else if (STREQ(name, "stopping"))
		vps_move(v, SUP_EV_ENDING);
	if (v->state != before && before != SUP_SAVING)
		event_emit(v->d, STREQ(name, "running") ? "resumed" : name, v->name, NULL);
}

static void on_rebooted(struct sup_vps *v, json_t *msg)
{
	set_alive(v, msg);
	v->ready = false;
	v->reboots++;
	if (v->state == SUP_SAVING) /* which fails, then */
		vps_move(v, SUP_EV_RESUMED);
	event_emit(v->d, "rebooted", v->name, NULL);
}

static json_int_t count_of(json_t *msg)
{
	return json_integer_value(json_object_get(msg, "count"));
}

static void on_oom(struct sup_vps *v, json_t *msg)
{
	json_int_t n = count_of(msg);
	char text[64];

	snprintf(text, sizeof(text), "%lld process%s killed", (long long)n, n == 1 ? "" : "es");
	event_emit(v->d, "oom", v->name, text);
}

static void on_pids_max(struct sup_vps *v, json_t *msg)
{
	json_int_t n = count_of(msg);
	char text[64];

	snprintf(text, sizeof(text), "%lld fork%s refused", (long long)n, n == 1 ? "" : "s");
	event_emit(v->d, "pids-max", v->name, text);
}

static void take_text(char *buf, size_t size, json_t *msg, const char *key)
{
	const char *s = json_string_value(json_object_get(msg, key));

	snprintf(buf, size, "%s", s ? s : "");
}

static void take_end(struct sup_end *end, json_t *msg)
{
	*end = (struct sup_end){ .at = now_realtime_us() / 1000000 };
	take_text(end->how, sizeof(end->how), msg, "how");
	take_text(end->error, sizeof(end->error), msg, "error");
	end->value = (int)json_integer_value(json_object_get(msg, "value"));
	end->forced = json_is_true(json_object_get(msg, "forced"));
	if (json_is_integer(json_object_get(msg, "at")))
		end->at = (uint64_t)json_integer_value(json_object_get(msg, "at"));
}

static void on_exited(struct sup_vps *v, json_t *msg)
{
	take_end(&v->end, msg);
	vps_ended(v);
}

static void on_failed(struct sup_vps *v, json_t *msg)
{
	json_int_t status = json_integer_value(json_object_get(msg, "status"));
	const char *hint = json_string_value(json_object_get(msg, "hint"));
	struct err e;

	take_end(&v->end, msg);
	snprintf(v->end.how, sizeof(v->end.how), "failed");
	v->end.value = (int)status;
	err_set(&e, status > 0 && status < 128 ? (enum err_status)status : ERR_FAIL, "%s",
		v->end.error);
	if (hint && *hint)
		err_hint(&e, "%s", hint);
	event_emit(v->d, "failed", v->name, v->end.error);
	v->start_again = false;
	arrival_failed(v, &e);
	vps_look(v, &e);
	vps_ended(v);
}

void vps_on_event(struct sup_vps *v, const char *event, json_t *msg)
{
	static const struct {
		const char *name;
		void (*take)(struct sup_vps *v, json_t *msg);
		bool last; /* takes care of the waiters itself */
	} events[] = {
		{ "hello", on_hello, false },     { "started", on_started, false },
		{ "ready", on_ready, false },     { "state", on_state, false },
		{ "rebooted", on_rebooted, false }, { "oom", on_oom, false },
		{ "pids-max", on_pids_max, false }, { "exited", on_exited, true },
		{ "failed", on_failed, true }, { "prepared", on_prepared, false },
	};

	for (size_t i = 0; i < ARRAY_SIZE(events); i++) {
		if (!STREQ(events[i].name, event))
			continue;
		events[i].take(v, msg);
		if (!events[i].last)
			vps_look(v, NULL);
		return;
	}
	log_warn("%s: its monitor tells of %.40s, which vpsd does not know", v->name, event);
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
	take_end(&v->end, j);
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
	remove_run_dir(v);
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
	char dir[512];
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
	vps_remove(v);
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
