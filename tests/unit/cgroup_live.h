/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef TESTS_UNIT_CGROUP_LIVE_H
#define TESTS_UNIT_CGROUP_LIVE_H

/* What the tests that work on the host's own control groups share. Include it after tap.h. */

#include "cgroup/cgroup.h"
#include "cgroup/internal.h"

#include "base/fd.h"
#include "base/macro.h"

#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <linux/sched.h>

#define WAIT_US 30000000

static struct cgroup_host live_host;
static struct err live_err;

__attribute__((unused)) static bool live_check(int r, const char *what)
{
	if (!ok(r >= 0, "%s", what)) {
		char buf[1400];

		diag("%s", err_format(&live_err, buf, sizeof(buf)));
	}
	return r >= 0;
}

#define good(call, what) live_check((call), (what))

/* False, with the reason in live_err, when this host does not let the test make groups. */
__attribute__((unused)) static bool live_init(struct cgroup *c, const char *name)
{
	cleanup_close int proc = open("/proc", O_PATH | O_DIRECTORY | O_CLOEXEC);
	char path[PATH_MAX];

	if (cgroup_host_read(&live_host, proc, &live_err) < 0)
		return false;
	*c = (struct cgroup){ .host = &live_host };
	snprintf(c->parent, sizeof(c->parent), "vps-test-%d", (int)getpid());
	snprintf(c->name, sizeof(c->name), "%s", name);
	if (access(cgroup_base_path(&live_host, CGROUP_V2, path), W_OK) < 0) {
		err_sys(&live_err, "write %s", path);
		return false;
	}
	return true;
}

/* A child in the VPS's groups that runs fn and ends. */
__attribute__((unused)) static pid_t live_spawn(const struct cgroup *c, void (*fn)(void))
{
	cleanup_close int dir = cgroup_open(c, &live_err);
	struct clone_args args = {
		.flags = CLONE_INTO_CGROUP,
		.exit_signal = SIGCHLD,
		.cgroup = (uint64_t)(unsigned)dir,
	};
	struct cgroup_entry en;
	pid_t pid;

	if (dir < 0 || cgroup_entry_open(c, &en, &live_err) < 0)
		return -1;
	pid = (pid_t)syscall(SYS_clone3, &args, sizeof(args));
	if (pid == 0) {
		if (cgroup_entry_enter(&en, &live_err) < 0)
			_exit(99);
		fn();
		_exit(0);
	}
	cgroup_entry_close(&en);
	return pid;
}

/* True when no hierarchy has a group of this VPS, nor its parent. */
__attribute__((unused)) static bool live_is_clean(const struct cgroup *c)
{
	for (int h = CGROUP_V2; h < CGROUP_CONTROLLER_COUNT; h++) {
		char path[PATH_MAX];

		if (h != CGROUP_V2 && live_host.ctl[h].version != 1)
			continue;
		cgroup_path(c, h, path);
		*strrchr(path, '/') = '\0';
		if (access(path, F_OK) == 0) {
			diag("left behind: %s", path);
			return false;
		}
	}
	return true;
}

__attribute__((unused)) static char *live_read(const struct cgroup *c, int hierarchy,
					       const char *file)
{
	cleanup_close int dir = cgroup_open_dir(c, hierarchy);
	char *text = NULL;

	if (dir < 0 || fd_read_file_at(dir, file, 65536, &text, NULL) < 0)
		return NULL;
	return text;
}

#endif
