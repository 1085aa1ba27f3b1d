/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "checkpoint/guard.h"

#include "base/macro.h"
#include "base/proc.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define STACK 16384

/* Shared by both processes. */
struct ckpt_guard {
	volatile int fd, reuse; /* fd -1: none is in repair mode */
	int engine; /* a pidfd of it */
	const int *groups;
	volatile size_t group_count;
	pid_t pid;
	_Alignas(16) uint8_t stack[STACK];
};

static int leave(int fd, int reuse)
{
	int off = TCP_REPAIR_OFF_NO_WP;

	if (setsockopt(fd, SOL_TCP, TCP_REPAIR, &off, sizeof(off)) < 0)
		return -errno;
	/* It is off by now (tcp_setsockopt() in the kernel). */
	return reuse && setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &reuse, sizeof(reuse)) < 0 ? -errno : 0;
}

static void freeze(const struct ckpt_guard *g)
{
	for (size_t i = 0; i < g->group_count; i++)
		syscall(SYS_pwrite64, g->groups[i], "1", 1, 0);
}

/* Another thread group of the same memory: nothing of the C library but plain system calls. */
static int guard(void *arg)
{
	struct ckpt_guard *g = arg;
	struct pollfd p = { g->engine, POLLIN, 0 };

	while (poll(&p, 1, -1) < 0)
		;
	freeze(g);
	if (g->fd >= 0)
		leave(g->fd, g->reuse);
	syscall(SYS_exit_group, 0);
	return 0;
}

struct ckpt_guard *ckpt_guard_new(struct err *e)
{
	struct ckpt_guard *g =
		mmap(NULL, sizeof(*g), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (g == MAP_FAILED) {
		err_sys(e, "make a guard");
		return NULL;
	}
	g->fd = -1;
	g->engine = pidfd_open_pid(getpid());
	g->pid = g->engine < 0 ?
			 -1 :
			 clone(guard, g->stack + STACK, CLONE_VM | CLONE_FILES | SIGCHLD, g);
	if (g->pid < 0) {
		err_sys(e, "make a guard");
		ckpt_guard_free(g);
		return NULL;
	}
	return g;
}

void ckpt_guard_free(struct ckpt_guard *g)
{
	if (!g)
		return;
	if (g->pid > 0) {
		kill(g->pid, SIGKILL);
		waitpid(g->pid, NULL, 0);
	}
	if (g->engine >= 0)
		close(g->engine);
	munmap(g, sizeof(*g));
}

int ckpt_guard_repair(struct ckpt_guard *g, int fd, int reuse)
{
	int on = TCP_REPAIR_ON;

	g->reuse = reuse;
	g->fd = fd;
	return setsockopt(fd, SOL_TCP, TCP_REPAIR, &on, sizeof(on)) < 0 ? -errno : 0;
}

int ckpt_guard_settle(struct ckpt_guard *g)
{
	int r = leave(g->fd, g->reuse);

	g->fd = -1;
	return r;
}

void ckpt_guard_freeze(struct ckpt_guard *g, const int *fds, size_t count)
{
	g->groups = fds;
	g->group_count = count;
}

void ckpt_guard_freeze_now(struct ckpt_guard *g)
{
	freeze(g);
	g->group_count = 0;
}
