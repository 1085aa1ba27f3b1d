/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef TESTS_UNIT_CGROUP_FAKE_H
#define TESTS_UNIT_CGROUP_FAKE_H

/* Groups made of plain files, to see what is read and written of either version on any host.
 * Include it after tap.h. */

#include "cgroup/cgroup.h"

#include "base/fd.h"
#include "base/macro.h"
#include "base/path.h"

#include <fcntl.h>

/* A fake group: plain files that take what is written. */
struct fake {
	char dir[64];
	struct cgroup_host h;
	struct cgroup c;
};

static void fake_init(struct fake *f, int version, const char *const *files)
{
	char path[512];

	*f = (struct fake){ 0 };
	snprintf(f->dir, sizeof(f->dir), "/tmp/vps-cgroup-XXXXXX");
	ok(mkdtemp(f->dir) != NULL, "a directory");
	snprintf(f->h.v2, sizeof(f->h.v2), "%s", f->dir);
	for (int i = 0; i < CGROUP_CONTROLLER_COUNT; i++) {
		f->h.ctl[i].version = version;
		memcpy(f->h.ctl[i].path, f->dir, sizeof(f->dir));
	}
	f->c = (struct cgroup){ .host = &f->h, .parent = "p", .name = "n" };
	snprintf(path, sizeof(path), "%s/p/n", f->dir);
	path_mkdirs_at(AT_FDCWD, path, 0755);
	for (; *files; files += 2) {
		snprintf(path, sizeof(path), "%s/p/n/%s", f->dir, files[0]);
		fd_replace_file_at(AT_FDCWD, path, files[1], strlen(files[1]), 0644, false);
	}
}

static void fake_done(struct fake *f)
{
	cleanup_close int tmp = open("/tmp", O_PATH | O_DIRECTORY | O_CLOEXEC);

	ok(path_remove_tree_at(tmp, f->dir + strlen("/tmp/")) == 0, "fixture removed");
}

#define cleanup_fake __attribute__((cleanup(fake_done)))

#endif
