/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "supervisor/program.h"

#include "base/macro.h"

#include <fcntl.h>
#include <stdint.h>
#include <signal.h>
#include <spawn.h>
#include <stdbool.h>
#include <sys/resource.h>

#define SPAWN_FDS_MAX 16
#define NOFILE_USUAL 1024
#define ABOVE 64 /* no target lies above: a source there cannot be overwritten by an earlier dup2 */

static int prepare_attr(posix_spawnattr_t *attr)
{
	sigset_t none, all;
	int r;

	sigemptyset(&none);
	sigfillset(&all);
	r = posix_spawnattr_init(attr);
	if (r == 0)
		r = posix_spawnattr_setflags(attr, POSIX_SPAWN_SETSID | POSIX_SPAWN_SETSIGMASK |
						   POSIX_SPAWN_SETSIGDEF);
	if (r == 0)
		r = posix_spawnattr_setsigmask(attr, &none);
	if (r == 0)
		r = posix_spawnattr_setsigdefault(attr, &all);
	return r;
}

static int prepare_fds(posix_spawn_file_actions_t *fa, const struct spawn_fd *fds, const int *high,
		       size_t count)
{
	int r = posix_spawn_file_actions_init(fa);

	if (r == 0)
		r = posix_spawn_file_actions_addopen(fa, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
	for (size_t i = 0; r == 0 && i < count; i++)
		if (high[i] >= 0)
			r = posix_spawn_file_actions_adddup2(fa, high[i], fds[i].as);
	return r;
}

/* The daemon has raised its own soft limit of fds; programs that it runs, and tenants after them,
 * get the usual one. Fds that are open already may lie above it. */
static int spawn_limited(pid_t *ret, const char *program, const posix_spawn_file_actions_t *fa,
			 const posix_spawnattr_t *attr, const char *const *argv)
{
	struct rlimit ours, usual;
	bool lowered;
	int r;

	lowered = getrlimit(RLIMIT_NOFILE, &ours) == 0 && ours.rlim_cur > NOFILE_USUAL;
	if (lowered) {
		usual = (struct rlimit){ NOFILE_USUAL, ours.rlim_max };
		setrlimit(RLIMIT_NOFILE, &usual);
	}
	r = posix_spawn(ret, program, fa, attr, (char *const *)(uintptr_t)argv, environ);
	if (lowered)
		setrlimit(RLIMIT_NOFILE, &ours);
	return r;
}

int sup_spawn(const char *program, const char *const *argv, const struct spawn_fd *fds, size_t count,
	      pid_t *ret, struct err *e)
{
	posix_spawn_file_actions_t fa;
	posix_spawnattr_t attr;
	int high[SPAWN_FDS_MAX], r = 0;
	size_t n = 0;

	if (count > SPAWN_FDS_MAX)
		return err_code(e, -EMSGSIZE, "run %s", program);
	for (; n < count && r == 0; n++) {
		high[n] = fds[n].fd < 0 ? -EBADF : fcntl(fds[n].fd, F_DUPFD_CLOEXEC, ABOVE);
		if (high[n] < 0 && fds[n].fd >= 0)
			r = errno;
	}
	if (r == 0)
		r = prepare_attr(&attr);
	if (r == 0) {
		r = prepare_fds(&fa, fds, high, count);
		if (r == 0) {
			r = spawn_limited(ret, program, &fa, &attr, argv);
			posix_spawn_file_actions_destroy(&fa);
		}
		posix_spawnattr_destroy(&attr);
	}
	while (n > 0)
		fd_close(&high[--n]);
	return r ? err_code(e, -r, "run %s", program) : 0;
}
