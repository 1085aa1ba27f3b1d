/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "checkpoint/lookout.h"

#include "base/fd.h"
#include "base/macro.h"
#include "checkpoint/dump.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <unistd.h>

#define WORTH_IT 8 /* threads, which take longer to be looked at than a thread of ours to begin */

static const struct {
	const char *name;
	size_t max;
} files[CKPT_LOOK_COUNT] = {
	[CKPT_LOOK_STATUS] = { "status", sizeof(struct ckpt_status) - 1 },
	[CKPT_LOOK_AUXV] = { "auxv", 1024 },
	[CKPT_LOOK_MAPS] = { "maps", MIB(64) },
	[CKPT_LOOK_OOM_SCORE] = { "oom_score_adj", 64 },
	[CKPT_LOOK_CORE_FILTER] = { "coredump_filter", 64 },
	[CKPT_LOOK_AUTOGROUP] = { "autogroup", 128 },
	[CKPT_LOOK_LOGIN] = { "loginuid", 32 },
	[CKPT_LOOK_TIMERS] = { "timers", MIB(2) },
};

static const char *const spaces[] = {
	"user", "mnt", "net", "uts", "ipc", "cgroup", "time", "pid", "time_for_children", "pid_for_children",
};
#define SPACES ARRAY_SIZE(spaces)

/* Who has begun with a part of what is told of a thread. */
enum { NOBODY, LOOKOUT, ENGINE, LOOKED_AT };
enum part { PART_SPACES, PART_FILES, PARTS };

struct looked {
	pid_t tid;
	bool first; /* of its process */
	atomic_int by[PARTS];
	ino_t space[SPACES]; /* 0: to be asked for again */
	struct {
		char *text; /* NULL: likewise */
		size_t len;
	} file[CKPT_LOOK_COUNT];
};

struct ckpt_lookout {
	struct looked *threads; /* in the order in which they are collected */
	struct looked **by_tid;
	size_t count;
	pthread_t thread;
	bool running;
	atomic_bool stop;
};

static ino_t read_space(int dirfd, const char *name)
{
	char path[64], link[64];
	ssize_t n;

	snprintf(path, sizeof(path), "ns/%s", name);
	n = readlinkat(dirfd, path, link, sizeof(link) - 1);
	if (n < 0)
		return 0;
	link[n] = '\0';
	return ckpt_space_number(link);
}

static void look(struct looked *t, enum part part)
{
	char path[64];
	cleanup_close int dirfd = -EBADF;
	int expected = NOBODY;

	if (!atomic_compare_exchange_strong(&t->by[part], &expected, LOOKOUT))
		return;
	snprintf(path, sizeof(path), "/proc/%d", (int)t->tid);
	dirfd = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	for (size_t i = 0; part == PART_SPACES && i < SPACES; i++)
		t->space[i] = read_space(dirfd, spaces[i]);
	for (size_t i = 0; part == PART_FILES && i < (t->first ? CKPT_LOOK_COUNT : 1); i++)
		if (fd_read_file_at(dirfd, files[i].name, files[i].max, &t->file[i].text, &t->file[i].len) < 0)
			t->file[i].text = NULL;
	atomic_store(&t->by[part], LOOKED_AT);
}

/* Namespaces are asked for first, of all: there the two meet in the middle. */
static void *run(void *arg)
{
	struct ckpt_lookout *l = arg;

	/* A table of open files of its own, which nobody has to wait for. */
	(void)!close_range(3, UINT_MAX, CLOSE_RANGE_UNSHARE);
	for (size_t i = l->count; !l->stop && i-- > 0;)
		look(&l->threads[i], PART_SPACES);
	for (size_t i = 0; !l->stop && i < l->count; i++)
		look(&l->threads[i], PART_FILES);
	return NULL;
}

static int by_tid(const void *a, const void *b)
{
	pid_t x = (*(struct looked *const *)a)->tid, y = (*(struct looked *const *)b)->tid;

	return (x > y) - (x < y);
}

static struct looked *find(const struct ckpt_lookout *l, pid_t tid)
{
	struct looked wanted = { .tid = tid }, *key = &wanted, **at;

	at = l ? bsearch(&key, l->by_tid, l->count, sizeof(struct looked *), by_tid) : NULL;
	return at ? *at : NULL;
}

/* True when it has been looked at; else nobody will any more. */
static bool is_looked_at(struct looked *t, enum part part)
{
	int by = NOBODY;

	return t && !atomic_compare_exchange_strong(&t->by[part], &by, ENGINE) && by == LOOKED_AT;
}

static int fill(struct ckpt_lookout *l, const struct ckpt_frozen *f, size_t count)
{
	l->threads = calloc(count, sizeof(*l->threads));
	l->by_tid = calloc(count, sizeof(struct looked *));
	if (!l->threads || !l->by_tid)
		return -ENOMEM;
	for (size_t i = 0; i < f->count; i++)
		for (size_t k = 0; k < f->procs[i].count; k++) {
			struct looked *t = &l->threads[l->count];

			t->tid = f->procs[i].tids[k];
			t->first = k == 0;
			l->by_tid[l->count++] = t;
		}
	qsort(l->by_tid, l->count, sizeof(struct looked *), by_tid);
	return 0;
}

int ckpt_lookout_start(struct ckpt_dump *d, struct err *e)
{
	sigset_t all, old;
	size_t count = 0;

	for (size_t i = 0; i < d->frozen.count; i++)
		count += d->frozen.procs[i].count;
	if (count < WORTH_IT)
		return 0;
	d->lookout = calloc(1, sizeof(*d->lookout));
	if (!d->lookout || fill(d->lookout, &d->frozen, count) < 0)
		return err_code(e, -ENOMEM, "collect");
	/* Signals are the main thread's. Without a thread it does all itself. */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	d->lookout->running = pthread_create(&d->lookout->thread, NULL, run, d->lookout) == 0;
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	return 0;
}

void ckpt_lookout_done(struct ckpt_dump *d)
{
	struct ckpt_lookout *l = TAKE_PTR(d->lookout);

	if (!l)
		return;
	l->stop = true;
	if (l->running)
		pthread_join(l->thread, NULL);
	for (size_t i = 0; i < l->count; i++)
		for (size_t n = 0; n < CKPT_LOOK_COUNT; n++)
			free(l->threads[i].file[n].text);
	free(l->threads);
	free(l->by_tid);
	free(l);
}

int ckpt_look(struct ckpt_dump *d, pid_t tid, enum ckpt_look what, const char **ret, size_t *ret_len)
{
	struct looked *t = find(d->lookout, tid);
	cleanup_free char *own = NULL;
	char path[64];
	size_t len;
	int r;

	if (is_looked_at(t, PART_FILES) && t->file[what].text) {
		*ret = t->file[what].text;
		*ret_len = t->file[what].len;
		return 0;
	}
	snprintf(path, sizeof(path), "/proc/%d/%s", (int)tid, files[what].name);
	r = fd_read_file_at(AT_FDCWD, path, files[what].max, &own, &len);
	if (r < 0)
		return r;
	*ret = ckpt_memdup(&d->tree.arena, own, len + 1);
	*ret_len = len;
	return *ret ? 0 : -ENOMEM;
}

int ckpt_look_space(struct ckpt_dump *d, pid_t tid, const char *name, ino_t *ret)
{
	struct looked *t = find(d->lookout, tid);
	char path[64], link[64] = "";
	bool looked_at = is_looked_at(t, PART_SPACES);

	for (size_t i = 0; looked_at && i < SPACES; i++)
		if (t->space[i] && STREQ(spaces[i], name)) {
			*ret = t->space[i];
			return 0;
		}
	snprintf(path, sizeof(path), "/proc/%d/ns/%s", (int)tid, name);
	*ret = 0;
	if (readlink(path, link, sizeof(link) - 1) < 0)
		return errno == ENOENT ? 0 : -errno;
	*ret = ckpt_space_number(link);
	return 0;
}
