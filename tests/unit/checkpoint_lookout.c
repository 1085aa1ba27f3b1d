/* SPDX-License-Identifier: GPL-2.0-or-later */

/* What a thread reads ahead of processes that stand still is what they are, and what it has not read is read anew. */
#include "base/fd.h"
#include "base/macro.h"
#include "base/proc.h"
#include "checkpoint/lookout.h"
#include "tests/unit/tap.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define MANY 24
#define FEW 2
#define WAIT_US 20000000

static struct ckpt_dump *d;
static pid_t pids[MANY];

/* Each with a name and a directory of its own. */
static void begin(size_t count)
{
	char name[16];

	d = calloc(1, sizeof(*d));
	d->frozen.procs = calloc(count, sizeof(*d->frozen.procs));
	d->frozen.count = count;
	for (size_t i = 0; i < count; i++) {
		pids[i] = fork();
		if (pids[i] == 0) {
			prctl(PR_SET_PDEATHSIG, SIGKILL);
			snprintf(name, sizeof(name), "one%zu", i);
			prctl(PR_SET_NAME, name);
			if (chdir(i % 2 ? "/" : "/proc") < 0)
				_exit(1);
			raise(SIGSTOP);
			_exit(0);
		}
		waitpid(pids[i], NULL, WUNTRACED);
		d->frozen.procs[i] = (struct ckpt_process){ .pid = pids[i], .tids = &pids[i], .count = 1 };
	}
}

static void end(void)
{
	ckpt_lookout_done(d);
	for (size_t i = 0; i < d->frozen.count; i++) {
		kill(pids[i], SIGKILL);
		waitpid(pids[i], NULL, 0);
	}
	ckpt_arena_done(&d->tree.arena);
	free(d->frozen.procs);
	free(d);
}

static bool alone(void)
{
	struct stat st;

	return stat("/proc/self/task", &st) == 0 && st.st_nlink == 3;
}

/* The thread has read all. */
static bool all_read(void)
{
	uint64_t limit = now_monotonic_us() + WAIT_US;

	while (!alone() && now_monotonic_us() < limit)
		usleep(1000);
	return alone();
}

static bool is_said(size_t i, enum ckpt_look what, const char *name)
{
	cleanup_free char *now = NULL;
	const char *text;
	char path[64];
	size_t len, now_len;

	snprintf(path, sizeof(path), "/proc/%d/%s", (int)pids[i], name);
	return ckpt_look(d, pids[i], what, &text, &len) == 0 &&
	       fd_read_file_at(AT_FDCWD, path, 65536, &now, &now_len) == 0 && len == now_len &&
	       memcmp(text, now, len) == 0 && text[len] == '\0';
}

/* The rest of it may change, as the signals that wait for all of a user's processes. */
static bool is_named(size_t i)
{
	const char *text, *pid;
	char first[32];
	size_t len;

	snprintf(first, sizeof(first), "Name:\tone%zu\n", i);
	if (ckpt_look(d, pids[i], CKPT_LOOK_STATUS, &text, &len) < 0 || len != strlen(text))
		return false;
	pid = ckpt_status_line(text, "Pid");
	return strncmp(text, first, strlen(first)) == 0 && pid && atoi(pid) == pids[i];
}

static bool is_all_said(size_t i)
{
	char path[64];
	struct stat st;
	ino_t ino;

	snprintf(path, sizeof(path), "/proc/%d/ns/mnt", (int)pids[i]);
	return is_named(i) && is_said(i, CKPT_LOOK_MAPS, "maps") &&
	       is_said(i, CKPT_LOOK_AUXV, "auxv") && is_said(i, CKPT_LOOK_TIMERS, "timers") &&
	       ckpt_look_space(d, pids[i], "mnt", &ino) == 0 && stat(path, &st) == 0 && st.st_ino == ino;
}

static int set_score(size_t i, const char *score)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/oom_score_adj", (int)pids[i]);
	return fd_write_file_at(AT_FDCWD, path, score);
}

static int score_of(size_t i)
{
	const char *text;
	size_t len;

	return ckpt_look(d, pids[i], CKPT_LOOK_OOM_SCORE, &text, &len) == 0 ? atoi(text) : -2000;
}

/* The engine asks at once, for what has been read and for what has not. */
TEST(lookout_race)
{
	struct err e;

	begin(MANY);
	ok(ckpt_lookout_start(d, &e) == 0, "it begins");
	for (size_t i = 0; i < MANY; i++)
		ok(is_all_said(i), "process %zu is as it says", i);
	end();
}

TEST(lookout_reads_ahead)
{
	struct err e;

	begin(MANY);
	for (size_t i = 0; i < MANY; i++)
		set_score(i, "300");
	ok(ckpt_lookout_start(d, &e) == 0 && all_read(), "it has looked at all");
	for (size_t i = 0; i < MANY; i++) {
		const struct ckpt_looked_place *p = ckpt_look_place(d, pids[i], CKPT_LOOK_CWD);
		struct stat st;

		ok(p && STREQ(p->link, i % 2 ? "/" : "/proc") && stat(p->link, &st) == 0 && st.st_ino == p->ino &&
			   st.st_dev == p->dev, "directory of process %zu", i);
		ok(is_all_said(i), "process %zu is as it says", i);
		/* Nobody else changes it while it stands still: it is not asked for a second time. */
		ok(set_score(i, "500") == 0 && score_of(i) == 300, "process %zu is not asked again", i);
	}
	end();
}

/* What was asked for first is not read behind the engine's back: its lists change it. */
TEST(lookout_takes_nothing_begun)
{
	struct err e;
	size_t read = 0;

	begin(MANY);
	ok(ckpt_lookout_start(d, &e) == 0, "it begins");
	for (size_t i = MANY; i-- > 0;) {
		bool had = ckpt_look_place(d, pids[i], CKPT_LOOK_EXE) != NULL;

		read += had;
		ok(set_score(i, "700") == 0 && (had || score_of(i) == 700), "process %zu: %s", i,
		   had ? "looked at" : "begun with");
	}
	ok(all_read(), "it ends");
	for (size_t i = 0; i < MANY; i++)
		read -= ckpt_look_place(d, pids[i], CKPT_LOOK_EXE) != NULL;
	ok(read == 0, "nothing is looked at any more that was asked for");
	end();
}

TEST(lookout_of_few)
{
	struct err e;

	begin(FEW);
	ok(ckpt_lookout_start(d, &e) == 0 && !d->lookout, "two are not worth a thread");
	ok(is_all_said(0) && is_all_said(1), "they are as they say");
	ok(set_score(1, "200") == 0 && score_of(1) == 200, "it is read when it is asked for");
	ok(!ckpt_look_place(d, pids[0], CKPT_LOOK_CWD), "and no place is known");
	end();
}

TEST(lookout_of_what_has_ended)
{
	struct err e;
	const char *text;
	size_t len;

	begin(MANY);
	kill(pids[3], SIGKILL);
	waitpid(pids[3], NULL, 0);
	ok(ckpt_lookout_start(d, &e) == 0 && all_read(), "it has looked at all");
	ok(ckpt_look(d, pids[3], CKPT_LOOK_STATUS, &text, &len) == -ENOENT, "one has ended");
	ok(is_all_said(2) && is_all_said(4), "those beside it are as they say");
	end();
}
