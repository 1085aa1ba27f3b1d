/* SPDX-License-Identifier: GPL-2.0-or-later */

/*
 * vps-worker: one long job of vpsd, see jobs.h. It may die at any instant: what it leaves half done
 * is under a name that begins with a dot and is swept.
 */
#include "supervisor/worker.h"

#include "base/fd.h"
#include "base/log.h"
#include "base/macro.h"
#include "base/path.h"
#include "base/proc.h"
#include "supervisor/jobs.h"

#include <fcntl.h>
#include <locale.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/stat.h>

#define JOB_MAX (16u << 20)
#define PROGRESS_US 100000

static volatile sig_atomic_t cancelled;

bool worker_cancelled(void)
{
	return cancelled;
}

const char *job_text(json_t *job, const char *key)
{
	const char *s = json_string_value(json_object_get(job, key));

	return s ? s : "";
}

int worker_open_vps(json_t *job, struct err *e)
{
	char path[512];
	int fd;

	snprintf(path, sizeof(path), "%s/vps", job_text(job, "lib"));
	fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return fd < 0 ? err_sys(e, "open %s", path) : fd;
}

void worker_say(json_t *line)
{
	cleanup_free char *text = json_dumps(line, JSON_COMPACT);
	size_t len = text ? strlen(text) : 0;

	json_decref(line);
	if (!text)
		return;
	text[len] = '\n'; /* in the place of the NUL: one write a line */
	if (fd_write_full(WORKER_FD_OUT, text, len + 1) < 0)
		cancelled = 1; /* vpsd is gone */
}

int worker_progress(void *ctx, const char *stage, uint64_t done, uint64_t total)
{
	static uint64_t last;
	uint64_t now = now_monotonic_us();

	(void)ctx;
	if (now - last >= PROGRESS_US || (total && done == total)) {
		last = now;
		worker_say(json_pack("{s:{s:s, s:I, s:I}}", "progress", "stage", stage, "done",
			      (json_int_t)done, "total", (json_int_t)total));
	}
	return cancelled;
}

static void on_term(int sig)
{
	(void)sig;
	cancelled = 1;
}

/* vpsd's death is ours: the next one must find nobody at work. */
static void follow_parent(void)
{
	struct pollfd p = { .fd = WORKER_FD_OUT };

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	/* It may have died before: then nobody reads our pipe. */
	if (poll(&p, 1, 0) > 0 && (p.revents & POLLERR))
		_exit(1);
}

static json_t *read_job(struct err *e)
{
	cleanup_free char *text = malloc(JOB_MAX);
	ssize_t n = text ? fd_read_full(STDIN_FILENO, text, JOB_MAX) : -ENOMEM;
	json_error_t je;
	json_t *job;

	if (n < 0) {
		err_code(e, (int)n, "read the job");
		return NULL;
	}
	job = json_loadb(text, (size_t)n, JSON_REJECT_DUPLICATES, &je);
	if (!job)
		err_set(e, ERR_FAIL, "read the job: %s", je.text);
	return job;
}

static const struct worker_row *find_row(json_t *job)
{
	for (size_t i = 0; i < worker_row_count; i++)
		if (STREQ(worker_rows[i].name, job_text(job, "op")))
			return &worker_rows[i];
	return NULL;
}

/* The job is another program's: that goes on as this process, with the same fds. */
static int become_other(const char *name, struct err *e)
{
	char path[4096];
	int r = path_program(name, path, sizeof(path));

	if (r < 0)
		return err_code(e, r, "find %s", name);
	if (lseek(STDIN_FILENO, 0, SEEK_SET) < 0)
		return err_sys(e, "read the job again");
	execl(path, name, NULL);
	return err_sys(e, "run %s", path);
}

static int run(json_t *job, json_t **result, struct err *e)
{
	const struct worker_row *row = find_row(job);

	if (!row && worker_other)
		return become_other(worker_other, e);
	if (!row)
		return err_set(e, ERR_FAIL, "%s is no job", job_text(job, "op"));
	fd_cloexec_from(3);
	return row->run(job, result, e);
}

int main(void)
{
	struct sigaction sa = { .sa_handler = on_term };
	json_t *job, *result = NULL;
	struct err e = { 0 };
	int r = -EIO;

	log_init("vps-worker");
	signal(SIGPIPE, SIG_IGN);
	sigaction(SIGTERM, &sa, NULL);
	umask(022);
	/* Names in archives are UTF-8; the C library has this locale built in. */
	setlocale(LC_CTYPE, "C.UTF-8");
	if (fcntl(WORKER_FD_OUT, F_GETFD) < 0) {
		fprintf(stderr, "vps-worker is run by vpsd\n");
		return ERR_USAGE;
	}
	follow_parent();
	job = read_job(&e);
	if (job)
		r = run(job, &result, &e);
	if (r < 0 && !e.code) /* the reason was lost on the way, the number was not */
		err_code(&e, r, "%s", job_text(job, "op"));
	if (r < 0)
		worker_say(json_pack("{s:i, s:o, s:o}", "status", e.code, "error",
			      json_string(e.msg) ?: json_string("?"), "hint",
			      json_string(e.hint) ?: json_string("")));
	else
		worker_say(json_pack("{s:o}", "result", result ? result : json_object()));
	json_decref(job);
	return r < 0;
}
