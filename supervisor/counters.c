/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "supervisor/counters.h"

#include "base/fd.h"
#include "base/log.h"
#include "base/macro.h"

#include <errno.h>
#include <fcntl.h>

static int open_dir(const char *dir)
{
	int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);

	return fd < 0 ? -errno : fd;
}

void counters_load(const char *dir, struct cgroup_counters *b)
{
	cleanup_close int fd = open_dir(dir);
	cleanup_free char *text = NULL;
	int r;

	*b = (struct cgroup_counters){ 0 };
	if (fd < 0)
		return;
	r = fd_read_file_at(fd, "counters", CGROUP_COUNTERS_TEXT, &text, NULL);
	if (r == -ENOENT)
		return;
	if (r >= 0)
		r = cgroup_counters_parse(b, text);
	if (r < 0)
		log_warn("%s/counters: %s: counted from 0", dir, strerrordesc_np(-r));
}

int counters_save(const char *dir, const struct cgroup_counters *b)
{
	cleanup_close int fd = open_dir(dir);
	char text[CGROUP_COUNTERS_TEXT];
	size_t len = cgroup_counters_format(b, text);
	int r = fd;

	if (fd >= 0)
		r = fd_replace_file_at(fd, "counters", text, len, 0600, false);
	if (r < 0)
		log_warn("write %s/counters: %s", dir, strerrordesc_np(-r));
	return r < 0 ? r : 0;
}

void counters_take(const char *dir, const struct cgroup *c, struct cgroup_counters *b)
{
	struct err e;

	if (cgroup_counters_update(b, c, &e) == 0)
		counters_save(dir, b);
	else if (e.code != ERR_STATE)
		log_warn("%s/counters: %s", dir, e.msg);
}

void counters_begin(const char *dir, const struct cgroup *c, struct cgroup_counters *b)
{
	counters_load(dir, b);
	cgroup_counters_restart(b);
	counters_take(dir, c, b);
}
