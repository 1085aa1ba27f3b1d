/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "supervisor/jobs.h"

#include "base/fd.h"
#include "base/log.h"
#include "base/macro.h"
#include "base/parse.h"
#include "base/path.h"
#include "base/proc.h"
#include "base/str.h"
#include "supervisor/program.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/wait.h>

#define KILL_AFTER_US (10 * 1000000ULL)

struct job {
	struct jobs *jobs;
	struct job *next, **link;
	char *key;
	json_t *request;
	int fds[JOB_FDS_MAX];
	size_t nfds;
	bool waits;
	uid_t uid;
	job_progress progress, prepared;
	job_done done;
	void *ctx;

	pid_t pid; /* 0: waits */
	int out;
	sd_event_source *child, *io, *timer;
	struct buf line;
	json_t *result;
	struct err error;
	bool failed, cancelled;
};

struct jobs {
	sd_event *event;
	sd_event_source *kick;
	int lock_fd;
	char program[4096];
	struct job *all, **end; /* in the order they came */
	size_t running; /* without those that wait */
	size_t count;
};

int job_line_parse(const char *line, size_t len, json_t **ret, struct err *ret_error)
{
	json_t *v = json_loadb(line, len, JSON_REJECT_DUPLICATES, NULL), *part;
	json_t *status = json_object_get(v, "status");
	const char *error = json_string_value(json_object_get(v, "error"));
	const char *hint = json_string_value(json_object_get(v, "hint"));
	int kind = -EBADMSG;

	*ret = NULL;
	if (json_is_object(part = json_object_get(v, "progress"))) {
		*ret = json_incref(part);
		kind = JOB_LINE_PROGRESS;
	} else if (json_is_object(part = json_object_get(v, "prepared"))) {
		*ret = json_incref(part);
		kind = JOB_LINE_PREPARED;
	} else if (json_is_object(part = json_object_get(v, "result"))) {
		*ret = json_incref(part);
		kind = JOB_LINE_RESULT;
	} else if (error && json_is_integer(status) && json_integer_value(status) > 0 &&
		   json_integer_value(status) < 128) {
		err_set(ret_error, (enum err_status)json_integer_value(status), "%s", error);
		if (hint && *hint)
			err_hint(ret_error, "%s", hint);
		kind = JOB_LINE_ERROR;
	}
	json_decref(v);
	return kind;
}

static void job_free(struct job *job)
{
	if (*job->link == job)
		*job->link = job->next;
	if (job->next)
		job->next->link = job->link;
	else
		job->jobs->end = job->link;
	job->jobs->count--;
	if (job->pid && !job->waits)
		job->jobs->running--;
	sd_event_source_disable_unref(job->child);
	sd_event_source_disable_unref(job->io);
	sd_event_source_disable_unref(job->timer);
	fd_close(&job->out);
	for (size_t i = 0; i < job->nfds; i++)
		fd_close(&job->fds[i]);
	buf_done(&job->line);
	json_decref(job->request);
	json_decref(job->result);
	free(job->key);
	free(job);
}

static void job_take_line(struct job *job, const char *line, size_t len)
{
	json_t *v = NULL;

	switch (job_line_parse(line, len, &v, &job->error)) {
	case JOB_LINE_PROGRESS:
		if (job->progress)
			job->progress(job->ctx, v);
		break;
	case JOB_LINE_PREPARED:
		if (job->prepared)
			job->prepared(job->ctx, v);
		break;
	case JOB_LINE_RESULT:
		json_decref(job->result);
		job->result = TAKE_PTR(v);
		break;
	case JOB_LINE_ERROR:
		job->failed = true;
		break;
	default:
		log_warn("a worker said what is no answer: %.*s", (int)(len < 80 ? len : 80), line);
	}
	json_decref(v);
}

static void job_take_lines(struct job *job)
{
	char *begin = job->line.data, *nl;
	size_t left = job->line.len;

	while (left && (nl = memchr(begin, '\n', left)) != NULL) {
		job_take_line(job, begin, (size_t)(nl - begin));
		left -= (size_t)(nl + 1 - begin);
		begin = nl + 1;
	}
	if (job->line.data)
		memmove(job->line.data, begin, left);
	job->line.len = left;
	if (left > JOB_LINE_MAX) {
		log_warn("a worker's line is too long");
		job->line.len = 0;
	}
}

/* Reads what is there. */
static void job_read(struct job *job)
{
	char data[16384];
	ssize_t n;

	while (job->out >= 0) {
		n = read(job->out, data, sizeof(data));
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN)
			break;
		if (n <= 0 || buf_add(&job->line, data, (size_t)n) < 0) {
			job->io = sd_event_source_disable_unref(job->io);
			fd_close(&job->out);
			break;
		}
		job_take_lines(job);
	}
}

static int job_on_io(sd_event_source *s, int fd, uint32_t revents, void *userdata)
{
	(void)s;
	(void)fd;
	(void)revents;
	job_read(userdata);
	return 0;
}

/* How it ended, when it did not say so itself. */
static void job_judge(struct job *job, const siginfo_t *si)
{
	const char *op = json_string_value(json_object_get(job->request, "op"));
	char sig[32];

	if (job->failed || (job->result && si->si_code == CLD_EXITED && si->si_status == 0))
		return;
	job->failed = true;
	if (job->cancelled)
		err_set(&job->error, ERR_CANCELLED, "cancelled");
	else if (si->si_code == CLD_EXITED)
		err_set(&job->error, ERR_FAIL, "%s: the worker ended with status %d", op,
			si->si_status);
	else
		err_set(&job->error, ERR_FAIL, "%s: the worker was killed by %s", op,
			format_signal(si->si_status, sig, sizeof(sig)));
}

static void job_finish(struct job *job)
{
	struct jobs *j = job->jobs;
	job_done done = job->done;
	void *ctx = job->ctx;
	json_t *result = json_incref(job->result);
	struct err e = job->error;
	bool failed = job->failed;

	job_free(job);
	sd_event_source_set_enabled(j->kick, SD_EVENT_ONESHOT);
	done(ctx, result, failed ? &e : NULL);
	json_decref(result);
}

static int job_on_child(sd_event_source *s, const siginfo_t *si, void *userdata)
{
	struct job *job = userdata;

	(void)s;
	job_read(job);
	job_judge(job, si);
	job_finish(job);
	return 0;
}

static int job_on_timer(sd_event_source *s, uint64_t usec, void *userdata)
{
	struct job *job = userdata;

	(void)s;
	(void)usec;
	if (!job->pid) {
		job_finish(job);
		return 0;
	}
	log_warn("%s: its worker does not end: killed", job->key ? job->key : "a job");
	kill(job->pid, SIGKILL); /* our own child, not reaped yet: the pid is its */
	return 0;
}

/* Starts the process; a failure becomes the job's. */
static int job_spawn(struct job *job, struct err *e)
{
	struct jobs *j = job->jobs;
	cleanup_free char *text = json_dumps(job->request, JSON_COMPACT);
	cleanup_close int in = -EBADF, out = -EBADF;
	struct spawn_fd fds[WORKER_FD_FIRST + JOB_FDS_MAX];
	size_t n = 0;
	int pipefd[2], r;

	in = text ? fd_memfd("vps-job", text, strlen(text)) : -ENOMEM;
	if (in < 0)
		return err_code(e, in, "prepare a job");
	if (pipe2(pipefd, O_CLOEXEC) < 0)
		return err_sys(e, "make a pipe");
	job->out = pipefd[0];
	out = pipefd[1];
	fd_set_nonblock(job->out, true);
	fds[n++] = (struct spawn_fd){ in, STDIN_FILENO };
	fds[n++] = (struct spawn_fd){ STDERR_FILENO, STDOUT_FILENO };
	fds[n++] = (struct spawn_fd){ out, WORKER_FD_OUT };
	fds[n++] = (struct spawn_fd){ j->lock_fd, WORKER_FD_LOCK };
	for (size_t i = 0; i < job->nfds; i++)
		fds[n++] = (struct spawn_fd){ job->fds[i], WORKER_FD_FIRST + (int)i };
	r = sup_spawn(j->program, (const char *[]){ "vps-worker", NULL }, fds, n, &job->pid, e);
	if (r < 0)
		return r;
	j->running += !job->waits;
	r = sd_event_add_child(j->event, &job->child, job->pid, WEXITED, job_on_child, job);
	if (r >= 0)
		r = sd_event_add_io(j->event, &job->io, job->out, EPOLLIN, job_on_io, job);
	if (r < 0) {
		kill(job->pid, SIGKILL);
		return err_code(e, r, "watch a worker");
	}
	return 0;
}

static bool key_is_busy(const struct job *job)
{
	for (const struct job *o = job->jobs->all; o && o != job; o = o->next)
		if (job->key && o->key && STREQ(o->key, job->key))
			return true;
	return false;
}

/* Those that wait are no more than there may be calls: they can be counted. */
static bool has_place(const struct job *job)
{
	size_t same = 0;

	if (!job->waits)
		return job->jobs->running < JOBS_RUNNING_MAX;
	for (const struct job *o = job->jobs->all; o; o = o->next)
		same += o->waits && o->pid && o->uid == job->uid;
	return same < JOBS_RUNNING_MAX;
}

static int on_kick(sd_event_source *s, void *userdata)
{
	struct jobs *j = userdata;

	(void)s;
	for (struct job *job = j->all; job; job = job->next) {
		if (job->pid || job->failed || !has_place(job) || key_is_busy(job))
			continue;
		if (job_spawn(job, &job->error) == 0)
			continue;
		job->failed = true;
		job_finish(job); /* kicks again: the list has changed */
		return 0;
	}
	return 0;
}

int jobs_new(struct jobs **ret, sd_event *event, int lock_fd, struct err *e)
{
	struct jobs *j = calloc(1, sizeof(*j));
	int r;

	if (!j)
		return err_code(e, -ENOMEM, "prepare for jobs");
	j->event = sd_event_ref(event);
	j->lock_fd = lock_fd;
	j->end = &j->all;
	*ret = j;
	r = path_program("vps-worker", j->program, sizeof(j->program));
	if (r < 0)
		return err_code(e, r, "find vps-worker");
	r = sd_event_add_defer(event, &j->kick, on_kick, j);
	if (r >= 0)
		r = sd_event_source_set_enabled(j->kick, SD_EVENT_OFF);
	return r < 0 ? err_code(e, r, "prepare for jobs") : 0;
}

void jobs_free(struct jobs *j)
{
	if (!j)
		return;
	while (j->all) {
		if (j->all->pid)
			kill(j->all->pid, SIGKILL);
		job_free(j->all);
	}
	sd_event_source_disable_unref(j->kick);
	sd_event_unref(j->event);
	free(j);
}

int job_submit(struct jobs *j, const struct job_spec *spec, struct job **ret, struct err *e)
{
	struct job *job = calloc(1, sizeof(*job));

	if (!job || spec->nfds > JOB_FDS_MAX) {
		json_decref(spec->request);
		free(job);
		return err_code(e, -ENOMEM, "make a job");
	}
	*job = (struct job){ .jobs = j, .request = spec->request, .progress = spec->progress,
			     .prepared = spec->prepared, .waits = spec->waits, .uid = spec->uid,
			     .done = spec->done, .ctx = spec->ctx, .out = -EBADF };
	job->link = j->end;
	*j->end = job;
	j->end = &job->next;
	j->count++;
	job->key = spec->key ? strdup(spec->key) : NULL;
	for (; job->nfds < spec->nfds; job->nfds++) {
		job->fds[job->nfds] = fcntl(spec->fds[job->nfds], F_DUPFD_CLOEXEC, 3);
		if (job->fds[job->nfds] < 0)
			break;
	}
	if ((spec->key && !job->key) || job->nfds < spec->nfds) {
		job_free(job);
		return err_code(e, -ENOMEM, "make a job");
	}
	sd_event_source_set_enabled(j->kick, SD_EVENT_ONESHOT);
	if (ret)
		*ret = job;
	return 0;
}

void job_cancel(struct job *job)
{
	uint64_t after = job->pid ? KILL_AFTER_US : 0;

	if (job->cancelled)
		return;
	job->cancelled = true;
	if (job->pid) {
		kill(job->pid, SIGTERM);
	} else {
		job->failed = true;
		err_set(&job->error, ERR_CANCELLED, "cancelled");
	}
	sd_event_add_time_relative(job->jobs->event, &job->timer, CLOCK_MONOTONIC, after, 0,
				   job_on_timer, job);
}

int job_pidfd(const struct job *job)
{
	return job->pid ? pidfd_open_pid(job->pid) : -ESRCH;
}

size_t jobs_count(const struct jobs *j)
{
	return j->count;
}
