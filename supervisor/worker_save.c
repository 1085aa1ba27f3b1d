/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "supervisor/worker.h"

#include "base/fd.h"
#include "base/macro.h"
#include "base/proc.h"
#include "base/step.h"
#include "checkpoint/check.h"
#include "checkpoint/dump.h"
#include "checkpoint/freeze.h"
#include "migrate/hold.h"
#include "migrate/move.h"
#include "supervisor/disk.h"
#include "supervisor/jobs.h"
#include "supervisor/suspend.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>

/*
 * Writes the image of a VPS. Until the word comes that its record is on disk, our death or an error
 * lets it run on untouched.
 */
struct saver {
	json_t *job;
	struct mig_source vps;
	int lib;    /* lib/vps/NAME */
	int fd;     /* the image */
	bool leave; /* it goes on afterwards */
	struct disk_save *disk;
	struct ckpt_progress progress;
	struct ckpt_dump_options options;
	struct mig_hold hold;
	struct ckpt_dump *dump;
	struct ckpt_dump_result result;
	uint64_t bytes, files_us;
};

static void saver_done(struct saver *s)
{
	disk_save_free(s->disk);
	fd_close(&s->lib);
	fd_close(&s->fd);
	mig_source_done(&s->vps);
}

static int find_vps(struct saver *s, struct err *e)
{
	return mig_source_open(&s->vps, job_text(s->job, "run_dir"),
			       (pid_t)json_integer_value(json_object_get(s->job, "pid")),
			       (uint64_t)json_integer_value(json_object_get(s->job, "start")), e);
}

static enum ckpt_compression compression(const char *name)
{
	if (STREQ(name, "zstd"))
		return CKPT_COMPRESS_ZSTD;
	return STREQ(name, "none") ? CKPT_COMPRESS_NONE : CKPT_COMPRESS_LZ4;
}

static int tell(void *arg, uint64_t done, uint64_t total)
{
	return worker_progress(arg, "save", done, total);
}

/* Where to: a file that the client has opened, or one of the VPS's own. */
static int open_image(struct saver *s, struct err *e)
{
	const char *dir = job_text(s->job, "lib_dir"), *name = s->leave ? CHECKPOINT_TMP : SUSPEND_TMP;
	struct stat st;

	s->lib = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	if (s->lib < 0)
		return err_sys(e, "open %s", dir);
	if (*job_text(s->job, "file")) {
		s->fd = fcntl(WORKER_FD_FIRST + 1, F_DUPFD_CLOEXEC, 0);
		if (s->fd < 0 || fstat(s->fd, &st) < 0 || !S_ISREG(st.st_mode))
			return err_set(e, ERR_USAGE, "%s is no file", job_text(s->job, "file"));
		return ftruncate(s->fd, 0) < 0 ? err_sys(e, "empty %s", job_text(s->job, "file")) : 0;
	}
	s->fd = openat(s->lib, name, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
	return s->fd < 0 ? err_sys(e, "make %s/%s", dir, name) : 0;
}

static bool is_paused(json_t *job)
{
	return json_is_true(json_object_get(job, "paused"));
}

static int prepare(struct saver *s, struct err *e)
{
	int r;

	s->progress = (struct ckpt_progress){ tell, NULL };
	s->options = (struct ckpt_dump_options){
		.spec = &s->vps.spec, .id = job_text(s->job, "id"), .files = s->disk != NULL,
		.compression = compression(job_text(s->job, "compress")), .durable = !s->leave,
		.progress = &s->progress, .paused = is_paused(s->job),
	};
	mig_hold_open(&s->hold, &s->vps, &s->options);
	r = ckpt_dump_prepare(&s->vps.cgroup, s->vps.init, s->fd, &s->options, &s->dump, &s->result, e);
	if (r < 0)
		mig_hold_end(&s->hold);
	return r;
}

static void let_go(struct saver *s)
{
	ckpt_dump_abort(TAKE_PTR(s->dump));
	mig_hold_end(&s->hold);
}

/* vpsd's word, when the record is on disk. Its end, or a cancellation: no. */
static bool hear_word(int sock)
{
	char word;

	return !worker_cancelled() && read(sock, &word, 1) == 1;
}

static json_t *result_json(const struct saver *s)
{
	const struct ckpt_dump_result *r = &s->result;

	return json_pack("{s:s, s:I, s:I, s:I, s:I, s:I}", "id", job_text(s->job, "id"), "bytes",
			 (json_int_t)s->bytes, "frozen_us", (json_int_t)r->frozen_us + (json_int_t)s->files_us,
			 "processes", (json_int_t)r->processes, "threads", (json_int_t)r->threads, "files",
			 (json_int_t)r->files);
}

static int publish(struct saver *s, const char *from, const char *to, struct err *e)
{
	if (!*job_text(s->job, "file") && renameat(s->lib, from, s->lib, to) < 0)
		return err_sys(e, "put the image in its place");
	return 0;
}

static int suspend(struct saver *s, struct err *e)
{
	int r = prepare(s, e);

	if (r < 0)
		return r;
	s->bytes = s->result.bytes;
	r = publish(s, SUSPEND_TMP, SUSPEND_IMAGE, e);
	if (r == 0)
		r = fault_point("suspend", "prepared", e);
	if (r < 0) {
		let_go(s);
		return r;
	}
	worker_say(json_pack("{s:o}", "prepared", result_json(s)));
	if (!hear_word(WORKER_FD_FIRST)) {
		/* vpsd is gone, and may have told the monitor to commit: the image is the monitor's to remove,
		 * which goes by whether we live. */
		if (!worker_cancelled())
			_exit(1);
		let_go(s);
		return err_set(e, ERR_CANCELLED, "cancelled");
	}
	r = fault_point("suspend", "kill", e);
	if (r == 0)
		r = ckpt_dump_commit(s->dump, e);
	if (r < 0) /* the monitor ends it: it must not run on */
		_exit(1);
	mig_hold_end(&s->hold);
	return 0;
}

/* A file that is written through a mapping may change without its times' telling (storage/delta.h). */
static bool maps_files(pid_t tid)
{
	cleanup_fclose FILE *f = NULL;
	char path[64], line[4600], perms[5], name[4096];

	snprintf(path, sizeof(path), "/proc/%d/maps", (int)tid);
	f = fopen(path, "re");
	while (f && fgets(line, sizeof(line), f))
		if (sscanf(line, "%*s %4s %*s %*s %*s %4095s", perms, name) == 2 && perms[1] == 'w' &&
		    perms[3] == 's' && name[0] == '/' && strncmp(name, "/dev/", 5) != 0 &&
		    strncmp(name, "/memfd:", 7) != 0 && strncmp(name, "/SYSV", 5) != 0)
			return true;
	return false;
}

static bool any_maps_files(const struct saver *s)
{
	cleanup_free pid_t *pids = NULL;
	size_t count = 0;
	struct err ignored;

	if (ckpt_list(&s->vps.cgroup, &pids, &count, &ignored) < 0)
		return true;
	for (size_t i = 0; i < count; i++)
		if (maps_files(proc_live_tid(pids[i])))
			return true;
	return false;
}

static int begin_files(struct saver *s, struct err *e)
{
	int r;

	if (!json_is_true(json_object_get(s->job, "files")))
		return 0;
	r = disk_save_new(&s->vps.spec.root, s->lib, worker_progress, &s->disk, e);
	if (r == 0 && !any_maps_files(s))
		r = disk_save_pass(s->disk, false, e);
	return r;
}

/* While nothing runs. */
static int finish_files(struct saver *s, struct err *e)
{
	uint64_t start = now_monotonic_us();
	int r = fault_point("checkpoint", "files", e);

	if (r == 0 && s->disk)
		r = disk_save_pass(s->disk, true, e);
	s->files_us = now_monotonic_us() - start;
	return r;
}

static int checkpoint(struct saver *s, struct err *e)
{
	struct stat st;
	int r = begin_files(s, e);

	if (r == 0)
		r = prepare(s, e);
	if (r < 0)
		return r;
	r = finish_files(s, e);
	let_go(s);
	if (r == 0 && s->disk)
		r = disk_save_append(s->disk, s->fd, e);
	if (r < 0)
		return r;
	if (fsync(s->fd) < 0 || fstat(s->fd, &st) < 0)
		return err_sys(e, "write the image");
	s->bytes = (uint64_t)st.st_size;
	r = publish(s, CHECKPOINT_TMP, CHECKPOINT_FILE, e);
	return r == 0 && fsync(s->lib) < 0 ? err_sys(e, "write the VPS's directory") : r;
}

int worker_save(json_t *job, json_t **ret, struct err *e)
{
	struct saver s = { .job = job, .leave = json_is_true(json_object_get(job, "leave")),
			   .vps.pidfd = -EBADF, .lib = -EBADF, .fd = -EBADF };
	int r = find_vps(&s, e);

	fd_limit_raise(); /* the memory of each process is open */
	if (r == 0)
		r = open_image(&s, e);
	if (r == 0)
		r = s.leave ? checkpoint(&s, e) : suspend(&s, e);
	if (r == 0)
		*ret = result_json(&s);
	else if (s.lib >= 0)
		suspend_abort(s.lib);
	saver_done(&s);
	return r;
}

static json_t *obstacle_json(const struct ckpt_obstacle *o)
{
	json_t *j = json_pack("{s:o, s:o}", "what", json_string(o->what) ?: json_string("?"), "advice",
			      json_string(o->advice) ?: json_string(""));

	if (o->guest_pid)
		json_object_set_new(j, "pid", json_integer(o->guest_pid));
	if (o->pid)
		json_object_set_new(j, "host_pid", json_integer(o->pid));
	if (o->fd >= 0)
		json_object_set_new(j, "fd", json_integer(o->fd));
	return j;
}

static int check(struct saver *s, json_t *list, struct err *e)
{
	struct ckpt_check c;
	int r;

	s->options = (struct ckpt_dump_options){ .spec = &s->vps.spec, .paused = is_paused(s->job) };
	mig_hold_open(&s->hold, &s->vps, &s->options);
	r = ckpt_check(&s->vps.cgroup, s->vps.init, &s->options, &c, e);
	mig_hold_end(&s->hold);
	for (size_t i = 0; r == 0 && i < c.count; i++)
		json_array_append_new(list, obstacle_json(&c.list[i]));
	ckpt_check_done(&c);
	return r;
}

int worker_check(json_t *job, json_t **ret, struct err *e)
{
	struct saver s = { .job = job, .vps.pidfd = -EBADF, .lib = -EBADF, .fd = -EBADF };
	json_t *list = json_array();
	int r = find_vps(&s, e);

	if (r == 0)
		r = check(&s, list, e);
	if (r == 0)
		*ret = json_pack("{s:O}", "obstacles", list);
	json_decref(list);
	saver_done(&s);
	return r;
}

int worker_discard(json_t *job, json_t **ret, struct err *e)
{
	const char *dir = job_text(job, "lib_dir");
	cleanup_close int lib = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);

	(void)ret;
	return lib < 0 ? err_sys(e, "open %s", dir) : suspend_discard(lib, e);
}
