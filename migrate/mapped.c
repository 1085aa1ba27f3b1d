/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "migrate/internal.h"

#include "base/fd.h"
#include "base/macro.h"
#include "base/path.h"
#include "checkpoint/freeze.h"

#include <fcntl.h>
#include <sys/stat.h>

#define MAPS_MAX (64u << 20)

struct found {
	uint64_t *ino;
	size_t count, room;
};

static int add(struct found *f, uint64_t ino)
{
	if (f->count == f->room) {
		size_t room = f->room ? f->room * 2 : 64;
		uint64_t *bigger = reallocarray(f->ino, room, sizeof(*bigger));

		if (!bigger)
			return -ENOMEM;
		f->ino = bigger;
		f->room = room;
	}
	f->ino[f->count++] = ino;
	return 0;
}

/* "START-END rwxs OFFSET DEV INODE   /path": the path is what the tenant sees, and so what lies below
 * the upper layer. The number may be the lower's, which overlay goes on showing after a copy-up. */
static int take_line(struct found *f, int upper, const char *line)
{
	const char *path = strchr(line, '/');
	cleanup_close int fd = -EBADF;
	char perms[5] = "";
	struct stat st;

	if (sscanf(line, "%*s %4s", perms) != 1 || perms[1] != 'w' || perms[3] != 's' || !path || !path[1])
		return 0;
	fd = path_open_no_links(upper, path + 1, O_PATH, 0, true);
	return fd >= 0 && fstat(fd, &st) == 0 ? add(f, st.st_ino) : 0;
}

static int take_process(struct found *f, int upper, pid_t pid)
{
	cleanup_free char *text = NULL;
	char path[64], *save = NULL;
	int r;

	snprintf(path, sizeof(path), "/proc/%d/maps", (int)pid);
	r = fd_read_file_at(AT_FDCWD, path, MAPS_MAX, &text, NULL);
	if (r < 0)
		return r == -ESRCH || r == -ENOENT ? 0 : r;
	r = 0;
	for (char *l = strtok_r(text, "\n", &save); l && r == 0; l = strtok_r(NULL, "\n", &save))
		r = take_line(f, upper, l);
	return r;
}

static int by_number(const void *a, const void *b)
{
	const uint64_t *x = a, *y = b;

	return *x < *y ? -1 : *x > *y;
}

int mig_mapped_files(const struct mig_source *v, int upper, uint64_t **ret, size_t *ret_count,
		     struct err *e)
{
	cleanup_free pid_t *pids = NULL;
	struct found f = { 0 };
	size_t n = 0;
	int r = ckpt_list(&v->cgroup, &pids, &n, e);

	if (r < 0)
		return r;
	for (size_t i = 0; r == 0 && i < n; i++)
		r = take_process(&f, upper, pids[i]);
	if (r < 0) {
		free(f.ino);
		return err_code(e, r, "look for mapped files");
	}
	if (f.count)
		qsort(f.ino, f.count, sizeof(*f.ino), by_number);
	*ret = f.ino;
	*ret_count = f.count;
	return 0;
}
