/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "migrate/internal.h"

#include "base/macro.h"

#include <fcntl.h>

const char *const mig_sides[] = { "console.log.1", "console.log", "counters", "last", "command" };
const size_t mig_side_count = ARRAY_SIZE(mig_sides);

int mig_open_dir(int parent, const char *path, struct err *e)
{
	int fd = openat(parent, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);

	return fd < 0 ? err_sys(e, "open %s", path) : fd;
}

int mig_open_vps(const char *lib, struct err *e)
{
	char path[512];

	snprintf(path, sizeof(path), "%s/vps", lib);
	return mig_open_dir(AT_FDCWD, path, e);
}
