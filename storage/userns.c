/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "storage/root.h"

#include "base/fd.h"
#include "base/macro.h"

#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>

/* Shares the caller's memory (CLONE_VM), so it makes system calls and touches nothing else. The
 * pipe ends it when the caller dies, which a parent death signal set too late would not. */
static int hold(void *arg)
{
	static char nothing; /* no local: this frame is never left */
	const int *pipefd = arg;

	syscall(SYS_close, pipefd[1]);
	syscall(SYS_read, pipefd[0], &nothing, 1);
	syscall(SYS_exit, 0);
	return 0;
}

static int write_maps(pid_t pid, uint32_t base, uint32_t count, struct err *e)
{
	static const char *const maps[] = { "uid_map", "gid_map" };
	char path[64], map[64];

	snprintf(map, sizeof(map), "0 %u %u\n", base, count);
	for (size_t i = 0; i < ARRAY_SIZE(maps); i++) {
		int r;

		snprintf(path, sizeof(path), "/proc/%d/%s", (int)pid, maps[i]);
		r = fd_write_file_at(AT_FDCWD, path, map);
		if (r < 0)
			return err_code(e, r, "map ids %u to %u in a user namespace", base,
					base + (count - 1));
	}
	return 0;
}

static int open_userns(pid_t pid, uint32_t base, uint32_t count, struct err *e)
{
	char path[64];
	int r, fd;

	r = write_maps(pid, base, count, e);
	if (r < 0)
		return r;
	snprintf(path, sizeof(path), "/proc/%d/ns/user", (int)pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	return fd < 0 ? err_sys(e, "open %s", path) : fd;
}

int storage_userns(uint32_t id_base, uint32_t id_count, struct err *e)
{
	char stack[4096] __attribute__((aligned(16)));
	sigset_t all, old;
	int pipefd[2], errnum, r;
	pid_t pid;

	if (id_count == 0 || id_base > UINT32_MAX - id_count)
		return err_set(e, ERR_USAGE, "%u ids from %u: not a range", id_count, id_base);
	if (pipe2(pipefd, O_CLOEXEC) < 0)
		return err_sys(e, "make a pipe");
	/* Without an exit signal it is invisible to whoever reaps children on SIGCHLD; with all
	 * signals blocked no handler of ours runs on its stack. */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	pid = clone(hold, stack + sizeof(stack), CLONE_VM | CLONE_NEWUSER, pipefd);
	errnum = errno;
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	if (pid < 0)
		r = err_code(e, -errnum, "make a user namespace");
	else
		r = open_userns(pid, id_base, id_count, e);
	close(pipefd[1]);
	close(pipefd[0]);
	if (pid > 0)
		while (waitpid(pid, NULL, __WALL) < 0 && errno == EINTR)
			;
	return r;
}
