/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "checkpoint/freeze_internal.h"

#include "base/array.h"
#include "base/fd.h"
#include "base/macro.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>

#define DEPTH_MAX 64       /* of groups below the VPS's; each takes an fd */
#define PROCS_MAX 65536    /* and threads of one process; id_count of a VPS */

int freeze_list_add(struct freeze_list *l, pid_t id)
{
	if (l->count == PROCS_MAX)
		return -E2BIG;
	if (array_grow(&l->id, l->count, &l->room, 64) < 0)
		return -ENOMEM;
	l->id[l->count++] = id;
	return 0;
}

static int list_ids(struct freeze_list *l, int dirfd, const char *file)
{
	cleanup_free char *text = NULL;
	int r = fd_read_file_at(dirfd, file, 16 * PROCS_MAX, &text, NULL);

	/* EOPNOTSUPP: a threaded group; its processes are listed at the root of its domain. */
	if (r < 0 && r != -EOPNOTSUPP)
		return r;
	for (char *p = text, *end; p && *p; p = end + (*end == '\n')) {
		long pid = strtol(p, &end, 10);

		if (end == p)
			return -EPROTO;
		r = pid > 0 ? freeze_list_add(l, (pid_t)pid) : 0;
		if (r < 0)
			return r;
	}
	return 0;
}

int freeze_list_group(struct freeze_list *l, int dirfd, const char *file, int depth)
{
	cleanup_closedir DIR *d = NULL;
	const struct dirent *de;
	int fd, r = list_ids(l, dirfd, file);

	if (r < 0)
		return r;
	if (depth == DEPTH_MAX)
		return -ELOOP;
	fd = openat(dirfd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	d = fd < 0 ? NULL : fdopendir(fd);
	if (!d)
		return -errno;
	while ((de = readdir(d))) {
		cleanup_close int sub = -EBADF;

		if (de->d_type != DT_DIR || de->d_name[0] == '.')
			continue;
		sub = openat(dirfd, de->d_name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
		if (sub < 0 && errno == ENOENT)
			continue;
		r = sub < 0 ? -errno : l->iced ? ckpt_iced_look(l->iced, sub) : 0;
		if (r == 0)
			r = freeze_list_group(l, sub, file, depth + 1);
		if (r < 0)
			return r;
	}
	return 0;
}

int freeze_list_threads(struct freeze_list *l, pid_t pid)
{
	cleanup_closedir DIR *d = NULL;
	const struct dirent *de;
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/task", (int)pid);
	d = opendir(path);
	if (!d)
		return -errno;
	while ((de = readdir(d))) {
		int r = de->d_name[0] == '.' ? 0 : freeze_list_add(l, (pid_t)atol(de->d_name));

		if (r < 0)
			return r;
	}
	return 0;
}

int ckpt_list(const struct cgroup *c, pid_t **ret, size_t *count, struct err *e)
{
	cleanup_close int group = cgroup_open(c, e);
	struct freeze_list l = { 0 };
	int r;

	if (group < 0)
		return group;
	r = freeze_list_group(&l, group, "cgroup.procs", 0);
	if (r < 0) {
		free(l.id);
		return err_code(e, r, "list the processes of the VPS");
	}
	*ret = l.id;
	*count = l.count;
	return 0;
}
