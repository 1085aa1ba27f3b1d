/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef SUPERVISOR_JOBS_H
#define SUPERVISOR_JOBS_H

#include "base/err.h"

#include <jansson.h>
#include <stdbool.h>
#include <sys/types.h>
#include <systemd/sd-event.h>

/*
 * Work that takes long or waits for the disk, done by one vps-worker process a job, so that the
 * daemon's loop never blocks. A worker holds the lock of the state root (WORKER_FD_LOCK) for as long
 * as it lives and dies with the daemon (PR_SET_PDEATHSIG, prctl(2)): no worker of a dead daemon
 * works beside the next one.
 *
 * A worker reads its job, one JSON object {"op":…}, from standard input and writes lines of JSON to
 * WORKER_FD_OUT: {"progress":{"stage":…,"done":N,"total":N}} any number of times, {"prepared":{…}}
 * when it goes on only at a word that comes by one of the job's fds, then
 * {"result":{…}} or {"status":N,"error":…,"hint":…}. SIGTERM cancels: it undoes and ends.
 */
enum {
	WORKER_FD_OUT = 3,
	WORKER_FD_LOCK = 4,
	WORKER_FD_FIRST = 5, /* the fds that come with the job */
};

#define JOB_FDS_MAX 4
#define JOB_LINE_MAX (1u << 20)
#define JOBS_RUNNING_MAX 8 /* of those that wait for nobody, and of one user's others */

struct jobs;
struct job;

typedef void (*job_progress)(void *ctx, json_t *progress);
/* Once, when the job is over. `e` is NULL when it succeeded; `result` is borrowed. */
typedef void (*job_done)(void *ctx, json_t *result, const struct err *e);

struct job_spec {
	const char *key; /* jobs of one key run one after the other; NULL: no matter */
	json_t *request; /* taken over */
	const int *fds;  /* duplicated */
	size_t nfds;
	/* It reads from or writes to a client or another host, which may take as long as it likes: it stands in
	 * the way of its own user's alone. */
	bool waits;
	uid_t uid; /* whose it is, then */
	job_progress progress; /* may be NULL */
	job_progress prepared; /* may be NULL */
	job_done done;
	void *ctx;
};

/* `lock_fd` stays the caller's. */
int jobs_new(struct jobs **ret, sd_event *event, int lock_fd, struct err *e);
/* Kills what runs and forgets what waits, without calling anybody. */
void jobs_free(struct jobs *j);

/* Runs or queues it. `done` is always called, later, except when this fails. *ret may be NULL; it
 * is valid until `done`. */
int job_submit(struct jobs *j, const struct job_spec *spec, struct job **ret, struct err *e);

/* Ends it; `done` is called with ERR_CANCELLED unless it was over already. */
void job_cancel(struct job *job);

/* Its worker, to be owned by the caller (pidfd_open(2)); readable once that has ended. */
int job_pidfd(const struct job *job);

/* Jobs that run or wait. */
size_t jobs_count(const struct jobs *j);

/* One line of a worker's: what it holds, or -EBADMSG when it is no such line. */
enum job_line { JOB_LINE_PROGRESS, JOB_LINE_PREPARED, JOB_LINE_RESULT, JOB_LINE_ERROR };
int job_line_parse(const char *line, size_t len, json_t **ret, struct err *ret_error);

#endif
