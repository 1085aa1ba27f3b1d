/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "supervisor/daemon.h"
#include "supervisor/move.h"
#include "supervisor/network.h"

#include "base/fd.h"
#include "base/log.h"
#include "base/macro.h"
#include "base/parse.h"
#include "base/path.h"
#include "base/proc.h"
#include "supervisor/monitor_link.h"
#include "supervisor/save.h"
#include "supervisor/suspend.h"
#include "supervisor/protocol/interface.h"
#include "supervisor/spare.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>

/*
 * What vpsd finds when it comes up: VPSs on disk, monitors that have outlived the vpsd before, ends
 * that nobody has taken note of, and creations and removals that were left in the middle.
 */

/* Monitors that say nothing do not keep the clients waiting for ever; one of a machine that stalls is to be heard, as
 * without it a VPS that runs has no pid. */
#define HELLO_US (10 * 1000000ULL)
#define RETRY_US 20000
#define RETRIES 500

#define CREATING ".creating-"
#define DESTROYING ".destroying-"
#define RECEIVING ".receiving-"

int daemon_init(struct sup_daemon *d, const char *root, struct err *e)
{
	const struct { const char *dir, *sub; mode_t mode; } dirs[] = {
		{ d->root.lib, "", 0700 }, { d->root.lib, "/vps", 0700 },
		{ d->root.lib, "/templates", 0700 }, { d->root.run, "", 0755 },
		{ d->root.run, "/vps", 0700 },
	};
	char path[512];
	int r;

	d->lock_fd = -EBADF;
	d->started_us = now_boottime_us();
	r = host_root_init(&d->root, root, e);
	if (r < 0)
		return r;
	for (size_t i = 0; i < ARRAY_SIZE(dirs); i++) {
		snprintf(path, sizeof(path), "%s%s", dirs[i].dir, dirs[i].sub);
		r = path_mkdirs_at(AT_FDCWD, path, dirs[i].mode);
		if (r < 0)
			return err_code(e, r, "make %s", path);
	}
	r = sd_event_new(&d->event);
	return r < 0 ? err_code(e, r, "make the event loop") : network_init(d, e);
}

void daemon_done(struct sup_daemon *d)
{
	autostart_done(d);
	network_done(d);
	spare_done(d);
	server_free(TAKE_PTR(d->server));
	jobs_free(TAKE_PTR(d->jobs));
	while (d->count)
		vps_remove(d->vps[d->count - 1]);
	free(d->vps);
	event_done(d);
	sd_event_source_disable_unref(d->hello_timer);
	sd_event_unref(d->event);
}

static void open_up(struct sup_daemon *d)
{
	if (d->open)
		return;
	d->open = true;
	d->hello_timer = sd_event_source_disable_unref(d->hello_timer);
	d->on_open(d);
	for (size_t i = 0; i < d->count; i++)
		allowed_tell(d->vps[i]);
}

void daemon_hello(struct sup_vps *v)
{
	if (!v->awaited)
		return;
	v->awaited = false;
	if (--v->d->awaited == 0)
		open_up(v->d);
}

static int on_hello_timer(sd_event_source *s, uint64_t usec, void *userdata)
{
	struct sup_daemon *d = userdata;

	(void)s;
	(void)usec;
	if (d->awaited)
		log_warn("%u monitors do not answer", d->awaited);
	open_up(d);
	return 0;
}

static void on_swept(void *ctx, json_t *result, const struct err *e)
{
	(void)ctx;
	(void)result;
	if (e)
		log_error("%s", e->msg);
}

static void sweep_entry(struct sup_daemon *d, const char *entry, const char *name)
{
	struct job_spec job = { .key = name, .done = on_swept, .ctx = d };
	struct err e;

	job.request = json_pack("{s:s, s:s, s:s}", "op", "sweep", "lib", d->root.lib, "entry", entry);
	if (job_submit(d->jobs, &job, NULL, &e) < 0)
		log_error("%s", e.msg);
}

void daemon_sweep(struct sup_daemon *d, const char *name)
{
	char entry[96];

	snprintf(entry, sizeof(entry), CREATING "%s", name);
	sweep_entry(d, entry, name);
	snprintf(entry, sizeof(entry), DESTROYING "%s", name);
	sweep_entry(d, entry, name);
}

static int scan_lib(struct sup_daemon *d, struct err *e)
{
	cleanup_closedir DIR *dir = NULL;
	struct dirent *de;
	char path[512];

	snprintf(path, sizeof(path), "%s/vps", d->root.lib);
	dir = opendir(path);
	if (!dir)
		return err_sys(e, "open %s", path);
	while ((de = readdir(dir))) {
		const char *n = de->d_name;
		struct sup_vps *v;
		struct err bad;

		if (strncmp(n, CREATING, strlen(CREATING)) == 0 && name_is_valid(n + strlen(CREATING))) {
			sweep_entry(d, n, n + strlen(CREATING));
		} else if (strncmp(n, DESTROYING, strlen(DESTROYING)) == 0 &&
			   name_is_valid(n + strlen(DESTROYING))) {
			sweep_entry(d, n, n + strlen(DESTROYING));
		} else if (name_is_valid(n)) {
			if (vps_add(d, n, &v, e) < 0)
				return -ENOMEM;
			vps_load_end(v);
			move_load(v);
			if (vps_load(v, &bad) < 0)
				log_error("%s: %s", n, bad.msg);
		}
	}
	/* When all that have their names are known. */
	rewinddir(dir);
	while ((de = readdir(dir)))
		if (strncmp(de->d_name, RECEIVING, strlen(RECEIVING)) == 0 &&
		    name_is_valid(de->d_name + strlen(RECEIVING)))
			move_recover(d, de->d_name + strlen(RECEIVING), "");
	return 0;
}

static bool has(int dirfd, const char *name)
{
	return faccessat(dirfd, name, F_OK, AT_SYMLINK_NOFOLLOW) == 0;
}

/* The state record is another boot's: nothing of it lives. */
static bool is_of_another_boot(int dirfd)
{
	cleanup_free char *text = NULL;
	char boot[37];
	const char *was;
	bool other;
	json_t *j;

	if (fd_read_file_at(dirfd, "state", 65536, &text, NULL) < 0 || proc_boot_id(boot) < 0)
		return false;
	j = json_loads(text, 0, NULL);
	was = json_string_value(json_object_get(j, "boot_id"));
	other = was && !STREQ(was, boot);
	json_decref(j);
	return other;
}

/* A monitor lives when it holds the lock, which the kernel drops with it. */
static bool monitor_lives(int dirfd)
{
	cleanup_close int fd = openat(dirfd, "lock", O_RDWR | O_CLOEXEC | O_NOFOLLOW);

	return fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) < 0 && errno == EWOULDBLOCK;
}

static void look_for_monitor(struct sup_vps *v);

static int on_retry(sd_event_source *s, uint64_t usec, void *userdata)
{
	struct sup_vps *v = userdata;

	(void)s;
	(void)usec;
	v->retry = sd_event_source_disable_unref(v->retry);
	look_for_monitor(v);
	return 0;
}

static void ended_unseen(struct sup_vps *v, int dirfd)
{
	if (has(dirfd, "exit")) {
		vps_on_gone(v);
		return;
	}
	vps_clean_up(v, is_of_another_boot(dirfd) ? "the host went down while it ran"
						  : "its monitor died");
	daemon_hello(v);
}

static void look_for_monitor(struct sup_vps *v)
{
	char path[512];
	cleanup_close int fd = open(host_root_run(&v->d->root, v->name, path),
				    O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);

	if (fd < 0) {
		v->state = vps_idle_state(v);
		daemon_hello(v);
		return;
	}
	v->down = has(fd, "down");
	if (!monitor_lives(fd)) {
		ended_unseen(v, fd);
	} else if (link_connect(v) < 0) {
		/* It has been spawned just now, or it has ended and is about to go. */
		if (++v->tries > RETRIES ||
		    sd_event_add_time_relative(v->d->event, &v->retry, CLOCK_MONOTONIC, RETRY_US, 0,
					       on_retry, v) < 0) {
			log_error("%s: its monitor lives, but does not listen", v->name);
			daemon_hello(v);
		}
	}
}

/* No monitor was there, or the host went down: then nobody can say whether what was being resumed
 * had run. */
static void recover_image(struct sup_vps *v)
{
	struct err e;
	cleanup_close int lib = vps_open_lib(v, &e);

	if (lib < 0 || suspend_recover(lib, false, &e) < 0)
		log_error("%s: %s", v->name, e.msg);
	v->state = vps_idle_state(v);
	restore_sweep(v);
}

static void scan_run(struct sup_daemon *d)
{
	char path[512];

	/* Looking may end and restart VPSs, but adds and removes none: that takes a job. */
	for (size_t i = 0; i < d->count; i++) {
		struct sup_vps *v = d->vps[i];

		if (v->state == SUP_CREATING) /* a worker finds out what becomes of it */
			continue;
		if (access(host_root_run(&d->root, v->name, path), F_OK) < 0) {
			recover_image(v);
			continue;
		}
		v->state = SUP_STARTING;
		v->awaited = true;
		d->awaited++;
	}
	for (size_t i = 0; i < d->count; i++)
		if (d->vps[i]->awaited)
			look_for_monitor(d->vps[i]);
}

/* run/vps/NAME of what is not in lib: nothing of ours can run there. */
static void sweep_run(struct sup_daemon *d)
{
	cleanup_closedir DIR *dir = NULL;
	struct dirent *de;
	char path[512];

	snprintf(path, sizeof(path), "%s/vps", d->root.run);
	dir = opendir(path);
	while (dir && (de = readdir(dir))) {
		if (!name_is_valid(de->d_name) || vps_find(d, de->d_name))
			continue;
		log_warn("%s/%s is of no VPS: removed", path, de->d_name);
		path_remove_tree_at(dirfd(dir), de->d_name);
	}
}

int daemon_scan(struct sup_daemon *d, struct err *e)
{
	int r = scan_lib(d, e);

	if (r < 0)
		return r;
	/* One more than there are, so that the clients are let in here and not from below. */
	d->awaited = 1;
	scan_run(d);
	sweep_run(d);
	for (size_t i = 0; i < d->count; i++) {
		struct sup_vps *v = d->vps[i];
		struct err bad;

		if (v->state == SUP_STOPPED && (v->ephemeral || v->moved == SUP_MOVED || v->moved == SUP_ARRIVING) &&
		    vps_destroy(v, &bad) < 0)
			log_error("%s", bad.msg);
	}
	d->sweep_templates = true;
	r = sd_event_add_time_relative(d->event, &d->hello_timer, CLOCK_MONOTONIC, HELLO_US, 0,
				       on_hello_timer, d);
	if (r < 0)
		return err_code(e, r, "set a timer");
	if (--d->awaited == 0)
		open_up(d);
	return 0;
}
