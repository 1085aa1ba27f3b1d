/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "supervisor/worker.h"

#include "base/fd.h"
#include "base/macro.h"
#include "base/proc.h"
#include "base/step.h"
#include "cgroup/cgroup.h"
#include "checkpoint/dump.h"
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
	struct rt_spec spec;
	struct cgroup_host host;
	struct cgroup cgroup;
	pid_t init;
	int pidfd;  /* of init */
	int lib;    /* lib/vps/NAME */
	int fd;     /* the image */
	struct ckpt_dump *dump;
	struct ckpt_dump_result result;
};

static void saver_done(struct saver *s)
{
	fd_close(&s->pidfd);
	fd_close(&s->lib);
	fd_close(&s->fd);
	rt_spec_done(&s->spec);
}

/* The spec as its monitor has written it down, and its group. */
static int find_vps(struct saver *s, struct err *e)
{
	cleanup_close int proc = open("/proc", O_PATH | O_DIRECTORY | O_CLOEXEC);
	cleanup_free char *text = NULL;
	char path[600];
	size_t len;
	int r;

	snprintf(path, sizeof(path), "%s/spec", job_text(s->job, "run_dir"));
	r = fd_read_file_at(AT_FDCWD, path, RT_SPEC_MAX, &text, &len);
	if (r < 0)
		return err_code(e, r, "read %s", path);
	r = rt_spec_parse(&s->spec, text, len, e);
	if (r == 0)
		r = proc < 0 ? err_sys(e, "open /proc") : cgroup_host_read(&s->host, proc, e);
	if (r < 0)
		return r;
	s->cgroup.host = &s->host;
	snprintf(s->cgroup.parent, sizeof(s->cgroup.parent), "%s", s->spec.cgroup_parent);
	snprintf(s->cgroup.name, sizeof(s->cgroup.name), "%s", s->spec.name);
	s->init = (pid_t)json_integer_value(json_object_get(s->job, "pid"));
	s->pidfd = proc_open(s->init, (uint64_t)json_integer_value(json_object_get(s->job, "start")));
	return s->pidfd < 0 ? err_set(e, ERR_STATE, "it has stopped") : 0;
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

static int open_image(struct saver *s, struct err *e)
{
	const char *dir = job_text(s->job, "lib_dir");

	s->lib = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	if (s->lib < 0)
		return err_sys(e, "open %s", dir);
	s->fd = openat(s->lib, SUSPEND_TMP, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
	return s->fd < 0 ? err_sys(e, "make %s/%s", dir, SUSPEND_TMP) : 0;
}

static int prepare(struct saver *s, struct err *e)
{
	struct ckpt_progress progress = { tell, NULL };
	struct ckpt_dump_options o = {
		.spec = &s->spec, .durable = true, .progress = &progress,
		.compression = compression(job_text(s->job, "compress")),
	};
	int r = ckpt_dump_prepare(&s->cgroup, s->init, s->fd, &o, &s->dump, &s->result, e);

	if (r < 0)
		return r;
	if (renameat(s->lib, SUSPEND_TMP, s->lib, SUSPEND_IMAGE) < 0)
		r = err_sys(e, "put the image in its place");
	if (r == 0)
		r = fault_point("suspend", "prepared", e);
	if (r < 0)
		ckpt_dump_abort(s->dump);
	return r;
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
			 (json_int_t)r->bytes, "frozen_us", (json_int_t)r->frozen_us, "processes",
			 (json_int_t)r->processes, "threads", (json_int_t)r->threads, "files",
			 (json_int_t)r->files);
}

static int suspend(struct saver *s, struct err *e)
{
	int r = find_vps(s, e);

	if (r == 0)
		r = open_image(s, e);
	if (r == 0)
		r = prepare(s, e);
	if (r < 0)
		return r;
	worker_say(json_pack("{s:o}", "prepared", result_json(s)));
	if (!hear_word(WORKER_FD_FIRST)) {
		ckpt_dump_abort(s->dump);
		return err_set(e, ERR_CANCELLED, "cancelled");
	}
	r = fault_point("suspend", "kill", e);
	if (r == 0)
		r = ckpt_dump_commit(s->dump, e);
	if (r < 0) /* the monitor ends it: it must not run on */
		_exit(1);
	return 0;
}

int worker_discard(json_t *job, json_t **ret, struct err *e)
{
	const char *dir = job_text(job, "lib_dir");
	cleanup_close int lib = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);

	(void)ret;
	return lib < 0 ? err_sys(e, "open %s", dir) : suspend_discard(lib, e);
}

int worker_suspend(json_t *job, json_t **ret, struct err *e)
{
	struct saver s = { .job = job, .pidfd = -EBADF, .lib = -EBADF, .fd = -EBADF };
	int r = suspend(&s, e);

	if (r == 0)
		*ret = result_json(&s);
	else if (s.lib >= 0)
		suspend_abort(s.lib);
	saver_done(&s);
	return r;
}
