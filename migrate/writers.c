/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "migrate/internal.h"

#include "base/array.h"
#include "base/fd.h"
#include "base/macro.h"
#include "base/path.h"
#include "base/proc.h"
#include "checkpoint/freeze.h"
#include "checkpoint/handles.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/kcmp.h>
#include <sys/stat.h>
#include <sys/syscall.h>

/*
 * Who could write to files of a VPS, and may have written, or write after they were read, without a sign. A file is known by
 * its handle, whose number is the upper layer's whatever overlay shows, and which is the same by every mount and in every
 * chroot; where the kernel does not tell (before 6.5), by its path, if that leads to it from the root.
 */

#define MAPS_MAX (64u << 20)

struct numbers {
	uint64_t *ino;
	size_t count, room;
};

struct found {
	struct numbers mapped, open;
	int upper;
	bool all;
};

static int add(struct numbers *n, uint64_t ino)
{
	if (array_grow(&n->ino, n->count, &n->room, 64) < 0)
		return -ENOMEM;
	n->ino[n->count++] = ino;
	return 0;
}

static int add_by_path(struct found *f, const char *path)
{
	cleanup_close int fd = -EBADF;
	struct stat st;

	if (!path || !path[1])
		return 0;
	fd = path_open_no_links(f->upper, path + 1, O_PATH, 0, true);
	return fd >= 0 && fstat(fd, &st) == 0 ? add(&f->mapped, st.st_ino) : 0;
}

/* The mode of the link is that of the open file: what is mapped for reading may be made writable, and may have been. */
static bool is_for_writing(int dir, const char *name)
{
	struct stat st;

	return fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) == 0 && (st.st_mode & 0200);
}

/* "START-END rwxs OFFSET DEV INODE   /path" */
static int take_mapping(struct found *f, int maps, const char *line)
{
	unsigned long from, to;
	char perms[5] = "", name[64];
	uint64_t ino;
	int r;

	if (sscanf(line, "%lx-%lx %4s", &from, &to, perms) != 3 || perms[3] != 's')
		return 0;
	snprintf(name, sizeof(name), "%lx-%lx", from, to);
	if (!is_for_writing(maps, name))
		return 0;
	r = ckpt_handle_upper(maps, name, &ino);
	if (r == -EOPNOTSUPP) {
		f->all = false;
		return add_by_path(f, strchr(line, '/'));
	}
	/* What is none of a file's, as memory of System V, has no handle. */
	return r > 0 ? add(&f->mapped, ino) : 0;
}

static int open_dir(const char *path)
{
	int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	return fd < 0 ? -errno : fd;
}

static int read_maps(pid_t tid, char **ret)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/maps", (int)tid);
	return fd_read_file_at(AT_FDCWD, path, MAPS_MAX, ret, NULL);
}

static int take_mappings(struct found *f, pid_t pid)
{
	cleanup_free char *text = NULL;
	cleanup_close int maps = -EBADF;
	char path[64], *save = NULL;
	pid_t tid = pid;
	int r = read_maps(pid, &text);

	/* A first thread that has ended has no memory, the others have. */
	if (r == 0 && !text[0] && (tid = proc_live_tid(pid)) != pid) {
		free(TAKE_PTR(text));
		r = read_maps(tid, &text);
	}
	if (r == 0) {
		snprintf(path, sizeof(path), "/proc/%d/map_files", (int)tid);
		r = maps = open_dir(path);
	}
	if (r < 0)
		return r;
	r = 0;
	for (char *l = strtok_r(text, "\n", &save); l && r == 0; l = strtok_r(NULL, "\n", &save))
		r = take_mapping(f, maps, l);
	return r;
}

/* Open files that lie in a unix socket, sent and not yet taken, are nobody's: who knows what was written to them. */
static bool holds_files(pid_t pid, const char *fd)
{
	cleanup_free char *text = NULL;
	const char *line;
	char path[96];
	int n = 0;

	snprintf(path, sizeof(path), "/proc/%d/fdinfo/%s", (int)pid, fd);
	if (fd_read_file_at(AT_FDCWD, path, 65536, &text, NULL) < 0)
		return true;
	line = strstr(text, "scm_fds:");
	return line && sscanf(line, "scm_fds: %d", &n) == 1 && n != 0;
}

static int take_fd(struct found *f, pid_t pid, int dir, const char *name)
{
	struct statx st;
	uint64_t ino;
	int r;

	/* A file system that a process of the VPS serves is not asked: it would not answer now. */
	if (!is_for_writing(dir, name) || statx(dir, name, AT_STATX_DONT_SYNC, STATX_TYPE, &st) < 0)
		return 0;
	if (S_ISSOCK(st.stx_mode) && holds_files(pid, name))
		f->all = false;
	if (!S_ISREG(st.stx_mode))
		return 0;
	r = ckpt_handle_upper(dir, name, &ino);
	if (r < 0)
		f->all = false;
	return r > 0 ? add(&f->open, ino) : 0;
}

static int take_fds(struct found *f, pid_t pid)
{
	cleanup_closedir DIR *dir = NULL;
	struct dirent *d;
	char path[64];
	int fd, r = 0;

	snprintf(path, sizeof(path), "/proc/%d/fd", (int)pid);
	fd = open_dir(path);
	dir = fd < 0 ? NULL : fdopendir(fd);
	if (!dir) {
		fd_close(&fd);
		return fd < 0 ? fd : -ENOMEM;
	}
	while (r == 0 && (errno = 0, d = readdir(dir)))
		if (d->d_name[0] != '.')
			r = take_fd(f, pid, dirfd(dir), d->d_name);
	return r < 0 ? r : -errno;
}

/* A thread may have open files of its own. */
static int take_threads(struct found *f, pid_t pid)
{
	cleanup_closedir DIR *dir = NULL;
	struct dirent *d;
	char path[64];
	int r = take_fds(f, pid);

	snprintf(path, sizeof(path), "/proc/%d/task", (int)pid);
	dir = opendir(path);
	if (r < 0 || !dir)
		return r < 0 ? r : -errno;
	while (r == 0 && (errno = 0, d = readdir(dir))) {
		pid_t tid = (pid_t)atoi(d->d_name);

		if (tid > 0 && tid != pid && syscall(SYS_kcmp, pid, tid, KCMP_FILES, 0, 0) != 0)
			r = take_fds(f, tid);
	}
	return r < 0 ? r : -errno;
}

/* One that ends has closed its files, or will have by the time that it is known to be gone. */
static int take_process(struct found *f, pid_t pid)
{
	bool all = f->all;
	int r = take_mappings(f, pid);

	if (r == 0 && all)
		r = take_threads(f, pid);
	return r == -ESRCH || r == -ENOENT ? 0 : r;
}

static int by_number(const void *a, const void *b)
{
	const uint64_t *x = a, *y = b;

	return *x < *y ? -1 : *x > *y;
}

static void sort(struct numbers *n)
{
	if (n->count)
		qsort(n->ino, n->count, sizeof(*n->ino), by_number);
}

int mig_find_writers(const struct mig_source *v, int upper, bool all, struct storage_writers *ret, struct err *e)
{
	struct found f = { .upper = upper, .all = all };
	cleanup_free pid_t *pids = NULL;
	size_t n = 0;
	int r = ckpt_list(&v->cgroup, &pids, &n, e);

	if (r < 0)
		return r;
	for (size_t i = 0; r == 0 && i < n; i++)
		r = take_process(&f, pids[i]);
	sort(&f.mapped);
	sort(&f.open);
	*ret = (struct storage_writers){ f.mapped.ino, f.mapped.count, f.open.ino, f.open.count, f.all };
	return r < 0 ? err_code(e, r, "look for files that are being written to") : 0;
}

void mig_writers_done(struct storage_writers *w)
{
	free(w->mapped);
	free(w->open);
}
