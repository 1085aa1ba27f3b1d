/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Process 1 of a pid namespace is long at its end: the kernel lets it wait there for all others, one of which we trace. */
#include "base/proc.h"
#include "checkpoint/internal.h"
#include "tests/unit/tap.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/ptrace.h>
#include <sys/wait.h>

static struct err err;

/* With a child, whose number goes down the pipe. */
static _Noreturn void first(int to)
{
	char number[16] = "";
	int fd;

	if (fork() == 0)
		for (;;)
			pause();
	fd = open("/proc/thread-self/children", O_RDONLY);
	if (read(fd, number, sizeof(number) - 1) > 0 && write(to, number, sizeof(number)) > 0)
		pause();
	_exit(0);
}

static pid_t start(pid_t *ret_child)
{
	char number[16] = "";
	int fds[2];
	pid_t pid;

	*ret_child = 0;
	if (pipe(fds) < 0)
		return -1;
	pid = fork();
	if (pid == 0) {
		pid = unshare(CLONE_NEWPID) < 0 ? -1 : fork();
		if (pid == 0)
			first(fds[1]);
		close(fds[1]);
		waitpid(pid, NULL, 0);
		_exit(0);
	}
	close(fds[1]);
	if (read(fds[0], number, sizeof(number)) > 0)
		*ret_child = (pid_t)atol(number);
	close(fds[0]);
	return pid;
}

static void *await(void *arg)
{
	static struct err e;

	return (void *)(intptr_t)ckpt_ending_await(*(pid_t *)arg, &e);
}

TEST(await)
{
	struct ckpt_frozen none = { 0 };
	pid_t child, parent, pid = start(&child);
	pthread_t t;
	void *r;

	if (!child) {
		waitpid(pid, NULL, 0);
		skip("no pid namespace can be made here");
	}
	eq_int(ckpt_ending_parent(&none, child, &parent, &err), 0, "a parent");
	eq_int(ckpt_ending_await(parent, &err), 0, "who lives is not waited for");
	ok(ptrace(PTRACE_SEIZE, child, NULL, NULL) == 0, "its child is traced");
	kill(parent, SIGKILL);
	while (!proc_is_zombie(child))
		sched_yield();
	eq_int(ckpt_ending_await(parent, &err), -EAGAIN, "its end takes as long as that of its child");
	ok(!proc_is_zombie(parent), "and has not come");
	pthread_create(&t, NULL, await, &parent);
	waitpid(child, NULL, __WALL);
	pthread_join(t, &r);
	eq_int((intptr_t)r, 0, "it is waited for");
	ok(strchr("ZX", proc_state(parent)) != NULL, "and has come");
	waitpid(pid, NULL, 0);
}
