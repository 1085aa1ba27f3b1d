/* SPDX-License-Identifier: GPL-2.0-or-later */

/*
 * Large files that lie in memory (tmpfs) are sent in rounds like memory that is shared; their names, owners and all that is
 * small come at the stop (tmpfs.c). Only of file systems that process 1 sees, as the other side has to find them before it
 * knows of mounts.
 *
 * So are memfds that somebody has open; those that are mapped are met when maps are read.
 *
 * A file that is met stays open, for reading. When it has lost its name, or nobody has it, it is closed, or who deletes what
 * it has written would have its memory taken all the same.
 */
#include "base/fd.h"
#include "base/macro.h"
#include "base/path.h"
#include "base/proc.h"
#include "checkpoint/hugetlb.h"
#include "checkpoint/precopy_internal.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#define LARGE KIB(64)     /* of data: less than this is not worth an open file */
#define FILES_MAX 256     /* the others are read at the stop */
#define SHARED_FILES_MAX 640 /* with all shared memory; the rest is for what is met at the stop */
#define MEMFDS_MAX 128    /* likewise; of those that nobody had mapped when they were met */
#define PLACE_MAX 200     /* bytes of a path */
#define DEPTH_MAX 32      /* each takes an fd */
#define LOOKS_MAX 100000  /* entries of directories, in a round */
#define PIECES_MAX 90000  /* numbers in a record: 1 MB at the most */

struct looking {
	struct ckpt_precopy *p;
	const struct ckpt_ahead_super *super;
	char *locks; /* of the host, read when a file is met; NULL */
	unsigned looks;
};

static size_t count(const struct ckpt_precopy *p)
{
	size_t n = 0;

	for (size_t i = 0; i < p->shared_count; i++)
		n += p->shared[i].place != NULL;
	return n;
}

/* To open a file is to break a lease on it (fcntl(2)). */
static bool is_leased(struct looking *l, const struct stat *st)
{
	char *line, *rest, name[64];

	if (!l->locks && fd_read_file_at(AT_FDCWD, "/proc/locks", MIB(16), &l->locks, NULL) < 0)
		return true;
	snprintf(name, sizeof(name), "%02x:%02x:%" PRIu64 " ", major(st->st_dev), minor(st->st_dev), (uint64_t)st->st_ino);
	for (line = l->locks; line; line = rest ? rest + 1 : NULL) {
		size_t len;

		rest = strchr(line, '\n');
		len = rest ? (size_t)(rest - line) : strlen(line);
		if (memmem(line, len, " LEASE ", 7) && memmem(line, len, name, strlen(name)))
			return true;
	}
	return false;
}

/* In too many pieces, or one too many: each keeps its number for good, of which a dump has so many. */
static bool is_left(const struct ckpt_precopy *p, const struct stat *st)
{
	for (size_t i = 0; i < p->shared_count; i++)
		if (p->shared[i].scattered_ino == st->st_ino && p->shared[i].scattered_dev == st->st_dev)
			return true;
	return p->shared_count >= SHARED_FILES_MAX;
}

/* A program is nobody's to write to while it runs. */
static bool is_program(const struct stat *st)
{
	return st->st_mode & 0111;
}

static int meet(struct looking *l, int dir, const char *name, const struct stat *st)
{
	struct ckpt_precopy *p = l->p;
	struct stat now;
	int fd, r;

	if (ckpt_shared_find(p, st, -1) || count(p) >= FILES_MAX || is_program(st) || is_left(p, st) || is_leased(l, st))
		return 0;
	fd = path_open_no_links(dir, name, O_RDONLY | O_NOATIME | O_NONBLOCK, 0, true);
	if (fd < 0)
		return 0; /* it has gone, or something was mounted there */
	if (fstat(fd, &now) < 0 || now.st_ino != st->st_ino || now.st_dev != st->st_dev || ckpt_shmem_is_sysv(fd)) {
		close(fd);
		return 0;
	}
	r = ckpt_shared_take(p, fd);
	if (r == 0)
		p->shared[p->shared_count - 1].place = l->super->at;
	return r;
}

static int look(struct looking *l, int dir_take, int depth)
{
	cleanup_closedir DIR *d = fdopendir(dir_take);
	const struct dirent *de;
	int r = 0;

	if (!d)
		close(dir_take);
	while (d && r == 0 && l->looks < LOOKS_MAX && (de = readdir(d))) {
		struct stat st;
		int sub;

		l->looks++;
		if (STREQ(de->d_name, ".") || STREQ(de->d_name, "..") ||
		    fstatat(dirfd(d), de->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0 || st.st_dev != l->super->dev)
			continue;
		if (S_ISREG(st.st_mode) && (uint64_t)st.st_blocks * 512 >= LARGE)
			r = meet(l, dirfd(d), de->d_name, &st);
		if (!S_ISDIR(st.st_mode) || depth >= DEPTH_MAX)
			continue;
		sub = path_open_no_links(dirfd(d), de->d_name, O_RDONLY | O_DIRECTORY | O_NOATIME, 0, true);
		if (sub >= 0)
			r = look(l, sub, depth + 1);
	}
	return r;
}

static int meet_memfd(struct ckpt_precopy *p, int dir, const char *name)
{
	char link[16] = { 0 };
	struct stat st, now;
	struct shared *known;
	int fd, r;

	if (readlinkat(dir, name, link, sizeof(link) - 1) < 0 || strncmp(link, "/memfd:", 7) != 0 ||
	    fstatat(dir, name, &st, 0) < 0 || (uint64_t)st.st_blocks * 512 < LARGE)
		return 0;
	known = ckpt_shared_find(p, &st, -1);
	if (known)
		known->seen_now = true;
	if (known || p->memfds == MEMFDS_MAX || p->shared_count >= SHARED_FILES_MAX)
		return 0;
	/* It may be another file by now, whatever its number leads to. */
	fd = openat(dir, name, O_RDONLY | O_NOATIME | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	if (fd >= 0 && (fstat(fd, &now) < 0 || now.st_ino != st.st_ino || now.st_dev != st.st_dev || !S_ISREG(now.st_mode) ||
			ckpt_huge_of(fd))) /* huge pages are counted when the tree is there */
		fd_close(&fd);
	if (fd < 0)
		return 0;
	r = ckpt_shared_take(p, fd);
	if (r == 0) {
		p->shared[p->shared_count - 1].by_fd = p->shared[p->shared_count - 1].seen_now = true;
		p->memfds++;
	}
	return r;
}

static int meet_open(struct ckpt_precopy *p, pid_t tid)
{
	cleanup_closedir DIR *d = NULL;
	const struct dirent *de;
	char path[64];
	int r = 0;

	snprintf(path, sizeof(path), "/proc/%d/fd", (int)tid);
	d = opendir(path);
	while (d && r == 0 && (de = readdir(d)))
		if (de->d_name[0] != '.')
			r = meet_memfd(p, dirfd(d), de->d_name);
	return r;
}

static int meet_memfds(struct ckpt_precopy *p)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < p->count; i++)
		if (p->procs[i]->there)
			r = meet_open(p, p->procs[i]->tid);
	for (size_t i = 0; r == 0 && i < p->shared_count; i++) {
		struct shared *s = &p->shared[i];

		if (s->by_fd && !s->seen_now) {
			s->by_fd = false;
			r = ckpt_shared_forget(s);
		}
		s->seen_now = false;
	}
	return r;
}

static int forget_deleted(struct ckpt_precopy *p)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < p->shared_count; i++) {
		struct shared *s = &p->shared[i];
		struct stat st;

		if (!s->place || fstat(s->fd, &st) < 0 || st.st_nlink)
			continue;
		ckpt_quiet_forget(p, s);
		r = ckpt_shared_forget(s);
		s->place = NULL;
	}
	return r;
}

static void open_mounts(struct ckpt_precopy *p)
{
	cleanup_close int proc = open("/proc", O_PATH | O_DIRECTORY | O_CLOEXEC);

	if (proc >= 0)
		ckpt_ahead_look_mounts(&p->mounts, proc, proc_live_tid(p->init));
}

int ckpt_files_meet(struct ckpt_precopy *p)
{
	struct looking l = { .p = p };
	int r = forget_deleted(p);

	if (r == 0)
		r = meet_memfds(p);

	if (!p->mounts.count)
		open_mounts(p);
	for (size_t i = 0; r == 0 && i < p->mounts.super_count; i++) {
		int fd;

		l.super = &p->mounts.super[i];
		fd = strlen(l.super->at) < PLACE_MAX
			     ? openat(l.super->fd, ".", O_RDONLY | O_DIRECTORY | O_NOATIME | O_CLOEXEC) : -1;
		if (fd >= 0)
			r = look(&l, fd, 0);
	}
	free(l.locks);
	return r;
}

bool ckpt_files_is_scattered(const struct ckpt_ranges *data)
{
	return data->count > PIECES_MAX / 2;
}
