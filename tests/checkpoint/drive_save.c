/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Saved at once, or in rounds before, with a last word; and what its console says meanwhile. */
#include "tests/checkpoint/drive.h"

#include "base/fd.h"
#include "base/macro.h"
#include "base/proc.h"
#include "checkpoint/dump.h"
#include "checkpoint/precopy.h"
#include "tests/checkpoint/stuck.h"

#include <fcntl.h>
#include <poll.h>

#define LAST_WORD_MS 20000

/* Until the console says `word` on a line of its own. */
int drive_expect(const struct rt_vps *v, struct console *c, const char *word, struct err *e)
{
	uint64_t end = now_monotonic_us() + (uint64_t)drive_opt.patience_s * 1000000;
	const char *fault;
	char line[64];

	snprintf(line, sizeof(line), "%s\r\n", word);
	while (!strstr(c->text, line)) {
		struct pollfd p[2] = { { rt_console_fd(v), POLLIN, 0 }, { rt_init_pidfd(v), POLLIN, 0 } };
		ssize_t n;

		if (now_monotonic_us() > end || poll(p, 2, drive_opt.patience_s * 1000) <= 0) {
			stuck_tell(rt_init_pid(v));
			return err_set(e, ERR_TIMEOUT, "nothing was heard of \"%s\"", word);
		}
		n = p[0].revents ? read(p[0].fd, c->text + c->len, sizeof(c->text) - 1 - c->len) : 0;
		if (n > 0)
			c->len += (size_t)n;
		c->text[c->len] = '\0';
		/* What it said last may still be on its way through the terminal. */
		if (n <= 0 && p[1].revents && (p[0].revents || poll(p, 1, LAST_WORD_MS) <= 0))
			return err_set(e, ERR_FAIL, "it ended before it said \"%s\"", word);
		if (strstr(c->text, "failed:") && strstr(c->text, "bad\r\n"))
			return err_set(e, ERR_FAIL, "it has found a fault");
	}
	/* Of what was found before, too, it is to be said what. */
	fault = strstr(c->text, "failed:");
	if (fault)
		return err_set(e, ERR_FAIL, "before \"%s\" it said: %.*s", word, (int)strcspn(fault, "\r"), fault);
	c->len = 0;
	memset(c->text, 0, sizeof(c->text));
	return 0;
}

#define LATE_MOST 6       /* that programs are made for */
#define LATE_ROUNDS 10000
#define LATE_PAGES 1024   /* by which a round tells of its progress (busy.h) */

/* While it runs, in each of the last rounds (three at most): what it changes in the last of them nobody looks at before
 * the stop. */
static struct {
	const struct rt_vps *v;
	struct console *c;
	bool due;
	unsigned said;
} last_word;

void drive_hear(const struct rt_vps *v, struct console *c)
{
	last_word.v = v;
	last_word.c = c;
}

static int say_late(void *arg, uint64_t done, uint64_t total)
{
	struct err ignored;

	(void)arg;
	(void)done;
	(void)total;
	if (!last_word.due || last_word.said == (drive_opt.last_of_many ? 1 : LATE_MOST))
		return 0;
	last_word.said++;
	return write(rt_console_fd(last_word.v), "late\n", 5) != 5 ||
	       drive_expect(last_word.v, last_word.c, "changed", &ignored) < 0;
}

/* Who had too little to send to be told of in that round, as others had the processor, goes on and is stopped again. */
static int check_late(void *arg, struct err *e)
{
	(void)arg;
	if (drive_opt.late && !last_word.said)
		return err_code(e, -EAGAIN, "it was stopped before it could change anything");
	last_word.due = false;
	return 0;
}

static int save_in_rounds(const struct cgroup *c, pid_t init, int fd, const struct ckpt_dump_options *o,
			  struct ckpt_dump_result *res, struct err *e)
{
	struct ckpt_precopy_stats st;
	struct ckpt_precopy *p;
	struct ckpt_dump *d;
	bool in_last = drive_opt.late && !drive_opt.last_of_many;
	int r = ckpt_precopy_open(c, init, fd, o, &p, e);

	if (r < 0)
		return r;
	last_word.said = 0;
	/* Who is told "late" is so while the last round is sent: there must be one. */
	for (int i = 0; r == 0 && (i < drive_opt.rounds || (in_last && i < LATE_ROUNDS && st.dirty_pages < LATE_PAGES)); i++) {
		last_word.due = drive_opt.last_of_many && i == drive_opt.rounds - 1;
		r = ckpt_precopy_round(p, &st, e);
		if (r == 0 && i < drive_opt.rounds)
			printf("# round %u: %llu pages, %llu bytes, %llu us; %llu pages left\n", st.round,
			       (unsigned long long)st.pages, (unsigned long long)st.bytes,
			       (unsigned long long)st.duration_us, (unsigned long long)st.dirty_pages);
	}
	last_word.due = drive_opt.late;
	if (r == 0)
		r = ckpt_precopy_finish(p, &d, res, e);
	if (r == 0 && !o->leave_running)
		r = ckpt_dump_commit(d, e);
	else if (r == 0)
		ckpt_dump_abort(d);
	ckpt_precopy_close(p);
	return r;
}

int drive_save(const struct rt_spec *s, const struct rt_vps *v, int fd, struct ckpt_dump_result *res,
		struct err *e)
{
	cleanup_close int proc = open("/proc", O_PATH | O_DIRECTORY | O_CLOEXEC);
	struct ckpt_progress last = { say_late, NULL };
	struct ckpt_dump_options o = { .spec = s, .compression = drive_opt.compression, .leave_running = drive_opt.keep,
				       .progress = drive_opt.late ? &last : NULL, .stopped = check_late };
	struct cgroup_host host;
	struct cgroup c = { .host = &host };
	int r = cgroup_host_read(&host, proc, e);

	if (r < 0)
		return r;
	snprintf(c.parent, sizeof(c.parent), "%s", s->cgroup_parent);
	snprintf(c.name, sizeof(c.name), "%s", s->name);
	return drive_opt.rounds ? save_in_rounds(&c, rt_init_pid(v), fd, &o, res, e)
		       : ckpt_dump(&c, rt_init_pid(v), fd, &o, res, e);
}
