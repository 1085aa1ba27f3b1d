/* SPDX-License-Identifier: GPL-2.0-or-later */

/*
 * Where a mount goes in the tenant's root. Its tree is the tenant's own work: no symbolic link in it is followed, and what
 * is missing is made step by step.
 */
#include "base/path.h"
#include "runtime/internal.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mount.h>
#include <sys/stat.h>

/* Makes the directories of a path below rootfd that are missing. Each is opened before the next is
 * made in it: mkdirat(2) of a whole path would follow links on the way. */
static int make_dirs(int rootfd, const char *path)
{
	cleanup_close int at = fcntl(rootfd, F_DUPFD_CLOEXEC, 0);
	cleanup_strv struct strv parts = { 0 };
	int r = strv_split(&parts, path, "/");

	for (size_t i = 0; r == 0 && i < parts.count; i++) {
		int next;

		if (mkdirat(at, parts.item[i], 0755) < 0 && errno != EEXIST && errno != EROFS)
			return -errno;
		next = path_open_no_links(at, parts.item[i], O_PATH | O_DIRECTORY, 0, false);
		if (next < 0)
			return next;
		close(at);
		at = next;
	}
	return r;
}

static int make_file(int rootfd, const char *path)
{
	const char *slash = strrchr(path, '/');
	char dir[4096];
	int r;

	if (slash) {
		snprintf(dir, sizeof(dir), "%.*s", (int)(slash - path), path);
		r = make_dirs(rootfd, dir);
		if (r < 0)
			return r;
	}
	r = path_open_no_links(rootfd, path, O_WRONLY | O_CREAT | O_EXCL, 0644, false);
	if (r >= 0)
		close(r);
	return r < 0 ? r : 0;
}

int rt_open_target(int rootfd, const char *path, bool dir, struct err *e)
{
	int flags = O_PATH | (dir ? O_DIRECTORY : 0);
	int fd = path_open_no_links(rootfd, path, flags, 0, false);

	if (fd == -ENOENT) {
		int r = dir ? make_dirs(rootfd, path) : make_file(rootfd, path);

		if (r < 0)
			return err_code(e, r, "make mount point /%s", path);
		fd = path_open_no_links(rootfd, path, flags, 0, false);
	}
	if (fd == -ELOOP || (dir && fd == -ENOTDIR)) {
		err_set(e, ERR_FAIL, "mount /%s: it is not a plain %s in the root file system",
			path, dir ? "directory" : "file");
		return err_hint(e, "a symbolic link there could lead out of place; remove it");
	}
	return fd < 0 ? err_code(e, fd, "open mount point /%s", path) : fd;
}

int rt_attach(int mount_fd, int rootfd, const char *path, bool dir, struct err *e)
{
	cleanup_close int target = rt_open_target(rootfd, path, dir, e);

	if (target < 0)
		return target;
	if (move_mount(mount_fd, "", target, "", MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH) <
	    0)
		return err_sys(e, "mount /%s", path);
	return 0;
}
