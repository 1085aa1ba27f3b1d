/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "checkpoint/lookout.h"

#include "base/fd.h"
#include "base/macro.h"
#include "checkpoint/beside.h"
#include "checkpoint/dump.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#define WORTH_IT 8         /* threads, which take longer to be looked at than a thread of ours to begin */
#define KEPT_MAX MIB(128) /* then the engine reads the rest: a few KiB are usual for a process, much may be a tenant's whim */

static const struct {
	const char *name;
	size_t max;
} files[CKPT_LOOK_COUNT] = {
	[CKPT_LOOK_STATUS] = { "status", sizeof(struct ckpt_status) - 1 },
	[CKPT_LOOK_AUXV] = { "auxv", 1024 },
	[CKPT_LOOK_MAPS] = { "maps", KIB(256) },
	[CKPT_LOOK_OOM_SCORE] = { "oom_score_adj", 64 },
	[CKPT_LOOK_CORE_FILTER] = { "coredump_filter", 64 },
	[CKPT_LOOK_AUTOGROUP] = { "autogroup", 128 },
	[CKPT_LOOK_LOGIN] = { "loginuid", 32 },
	[CKPT_LOOK_TIMERS] = { "timers", MIB(2) },
	[CKPT_LOOK_FDS] = { NULL, MIB(16) } /* a directory */,
	[CKPT_LOOK_CHILDREN] = { NULL, MIB(1) } /* of its thread */,
};

static const char *const places[CKPT_LOOK_PLACES] = {
	[CKPT_LOOK_CWD] = "cwd", [CKPT_LOOK_ROOT] = "root", [CKPT_LOOK_EXE] = "exe",
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
	struct ckpt_looked_place place[CKPT_LOOK_PLACES]; /* link NULL: likewise */
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

/* With a NUL behind it, as fd_read_file_at() has it. */
static int list_fds(int dirfd, char **ret, size_t *ret_len)
{
	cleanup_close int fd = openat(dirfd, "fd", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	cleanup_free char *text = NULL;
	_Alignas(8) char entries[4096];
	size_t len = 0, room = 0;
	long n;

	while ((n = fd < 0 ? -1 : syscall(SYS_getdents64, fd, entries, sizeof(entries))) > 0)
		for (const char *p = entries; p < entries + n; p += ((const struct dirent64 *)p)->d_reclen) {
			const char *name = ((const struct dirent64 *)p)->d_name;

			if (name[0] == '.')
				continue;
			if (len + 16 > room) {
				char *grown = room < files[CKPT_LOOK_FDS].max ? realloc(text, 2 * room + 128) : NULL;

				if (!grown)
					return -EFBIG;
				text = grown;
				room = 2 * room + 128;
			}
			len += (size_t)snprintf(text + len, room - len, "%.11s\n", name);
		}
	if (n < 0)
		return -errno;
	if (!text && !(text = calloc(1, 1)))
		return -ENOMEM;
	*ret = TAKE_PTR(text);
	*ret_len = len;
	return 0;
}

static int read_file(int dirfd, pid_t tid, enum ckpt_look what, char **ret, size_t *ret_len)
{
	char name[64];

	if (what == CKPT_LOOK_FDS)
		return list_fds(dirfd, ret, ret_len);
	if (what == CKPT_LOOK_CHILDREN)
		snprintf(name, sizeof(name), "task/%d/children", (int)tid);
	else
		snprintf(name, sizeof(name), "%s", files[what].name);
	return fd_read_file_at(dirfd, name, files[what].max, ret, ret_len);
}

static void read_place(int dirfd, const char *name, struct ckpt_looked_place *ret)
{
	char link[4096];
	struct statx sx;
	ssize_t n = readlinkat(dirfd, name, link, sizeof(link) - 1);

	if (n < 0 || statx(dirfd, name, 0, STATX_INO | STATX_MNT_ID, &sx) < 0)
		return;
	link[n] = '\0';
	*ret = (struct ckpt_looked_place){ strdup(link), makedev(sx.stx_dev_major, sx.stx_dev_minor), sx.stx_ino,
					   sx.stx_mnt_id };
}

/* How many bytes there are. */
static size_t read_files(int dirfd, struct looked *t)
{
	size_t kept = 0;

	for (enum ckpt_look i = 0; i < (t->first ? CKPT_LOOK_COUNT : CKPT_LOOK_STATUS + 1); i++) {
		if (read_file(dirfd, t->tid, i, &t->file[i].text, &t->file[i].len) < 0)
			t->file[i].text = NULL;
		kept += t->file[i].text ? t->file[i].len : 0;
	}
	for (size_t i = 0; t->first && i < CKPT_LOOK_PLACES; i++)
		read_place(dirfd, places[i], &t->place[i]);
	return kept;
}

static int open_directory(pid_t tid)
{
	char path[64];
	int fd;

	snprintf(path, sizeof(path), "/proc/%d", (int)tid);
	fd = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	return fd < 0 ? -errno : fd;
}

static size_t look(struct looked *t, enum part part)
{
	cleanup_close int dirfd = -EBADF;
	int expected = NOBODY;
	size_t kept = 0;

	if (!atomic_compare_exchange_strong(&t->by[part], &expected, LOOKOUT))
		return 0;
	dirfd = open_directory(t->tid);
	for (size_t i = 0; part == PART_SPACES && i < SPACES; i++)
		t->space[i] = read_space(dirfd, spaces[i]);
	if (part == PART_FILES)
		kept = read_files(dirfd, t);
	expected = LOOKOUT;
	atomic_compare_exchange_strong(&t->by[part], &expected, LOOKED_AT);
	return kept;
}

/* Namespaces are asked for first, of all: there the two meet in the middle. */
static void *run(void *arg)
{
	struct ckpt_lookout *l = arg;
	size_t kept = 0;

	/* A table of open files of its own, which nobody has to wait for. */
	(void)!close_range(3, UINT_MAX, CLOSE_RANGE_UNSHARE);
	for (size_t i = l->count; !l->stop && i-- > 0;)
		look(&l->threads[i], PART_SPACES);
	for (size_t i = 0; !l->stop && kept < KEPT_MAX && i < l->count; i++)
		kept += look(&l->threads[i], PART_FILES);
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

/* True when it has been looked at; else what the lookout may still find is not taken any more. */
static bool is_looked_at(struct looked *t, enum part part)
{
	int by = t ? atomic_load(&t->by[part]) : ENGINE;

	while (by == NOBODY || by == LOOKOUT)
		if (atomic_compare_exchange_weak(&t->by[part], &by, ENGINE))
			return false;
	return by == LOOKED_AT;
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
	size_t count = 0;

	for (size_t i = 0; i < d->frozen.count; i++)
		count += d->frozen.procs[i].count;
	if (count < WORTH_IT)
		return 0;
	d->lookout = calloc(1, sizeof(*d->lookout));
	if (!d->lookout || fill(d->lookout, &d->frozen, count) < 0)
		return err_code(e, -ENOMEM, "collect");
	/* Without a thread it does all itself. */
	d->lookout->running = ckpt_beside(&d->lookout->thread, run, d->lookout);
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
	for (size_t i = 0; i < l->count; i++) {
		for (size_t n = 0; n < CKPT_LOOK_COUNT; n++)
			free(l->threads[i].file[n].text);
		for (size_t n = 0; n < CKPT_LOOK_PLACES; n++)
			free(l->threads[i].place[n].link);
	}
	free(l->threads);
	free(l->by_tid);
	free(l);
}

int ckpt_look(struct ckpt_dump *d, pid_t tid, enum ckpt_look what, const char **ret, size_t *ret_len)
{
	struct looked *t = find(d->lookout, tid);
	cleanup_free char *own = NULL;
	cleanup_close int dirfd = -EBADF;
	size_t len;
	int r;

	if (is_looked_at(t, PART_FILES) && t->file[what].text) {
		*ret = t->file[what].text;
		*ret_len = t->file[what].len;
		return 0;
	}
	dirfd = open_directory(tid);
	r = dirfd < 0 ? dirfd : read_file(dirfd, tid, what, &own, &len);
	if (r < 0)
		return r;
	*ret = ckpt_memdup(&d->tree.arena, own, len + 1);
	*ret_len = len;
	return *ret ? 0 : -ENOMEM;
}

const struct ckpt_looked_place *ckpt_look_place(struct ckpt_dump *d, pid_t pid, enum ckpt_look_place which)
{
	struct looked *t = find(d->lookout, pid);

	return is_looked_at(t, PART_FILES) && t->place[which].link ? &t->place[which] : NULL;
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
