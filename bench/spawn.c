/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * usage: spawn FD COMMAND [ARGUMENT...]
 *
 * Runs a command and writes to FD, on CLOCK_REALTIME in nanoseconds, when it was spawned and when
 * it had ended: "SPAWNED ENDED STATUS". Done in C because an interpreter's fork costs more than
 * some of what is measured. posix_spawn(3) uses CLONE_VFORK, so that the cost is the same whatever
 * this process maps.
 */
#include <errno.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

extern char **environ;

static long long now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_REALTIME, &t);
	return t.tv_sec * 1000000000LL + t.tv_nsec;
}

int main(int argc, char **argv)
{
	long long spawned, ended;
	posix_spawn_file_actions_t actions;
	int fd, status, ret;
	pid_t pid;

	if (argc < 3 || (fd = atoi(argv[1])) < 3)
		return 125;
	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_addclose(&actions, fd);
	spawned = now();
	ret = posix_spawnp(&pid, argv[2], &actions, NULL, argv + 2, environ);
	if (ret != 0) {
		fprintf(stderr, "%s: %s\n", argv[2], strerror(ret));
		return 127;
	}
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	ended = now();
	dprintf(fd, "%lld %lld %d\n", spawned, ended,
		WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status));
	return 0;
}
