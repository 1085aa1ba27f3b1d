/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "checkpoint/enter.h"

#include "base/fd.h"
#include "base/macro.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/nsfs.h>
#include <sched.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#define STACK MIB(1)

struct entering {
	const int *spaces;
	size_t count;
	int (*run)(void *arg, struct err *e);
	void *arg;
	struct err *e;
	int result;
};

/* Past the C library, whose calls would make all threads of the caller change with it. A user
 * namespace may have no root (EINVAL), or none that may let go of groups (EPERM). */
static int become_root(struct err *e)
{
	if (syscall(SYS_setgroups, 0, NULL) < 0 && errno != EPERM)
		return err_sys(e, "let go of groups in a user namespace");
	if ((syscall(SYS_setresgid, 0, 0, 0) < 0 || syscall(SYS_setresuid, 0, 0, 0) < 0) &&
	    errno != EINVAL)
		return err_sys(e, "become root of a user namespace");
	return 0;
}

/* 1: in another pid namespace, where only a child is. */
static int enter_all(const struct entering *in)
{
	int beyond = 0;

	for (size_t i = 0; i < in->count; i++) {
		int type;

		if (in->spaces[i] < 0)
			continue;
		if (setns(in->spaces[i], 0) < 0)
			return err_sys(in->e, "enter a namespace");
		type = ioctl(in->spaces[i], NS_GET_NSTYPE);
		if (type == CLONE_NEWUSER && become_root(in->e) < 0)
			return -EPERM;
		beyond = beyond || type == CLONE_NEWPID;
	}
	return beyond;
}

static int spawn(int (*fn)(void *arg), struct entering *in)
{
	void *stack = mmap(NULL, STACK, PROT_READ | PROT_WRITE,
			   MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, -1, 0);
	pid_t pid;

	if (stack == MAP_FAILED)
		return err_sys(in->e, "make a stack");
	/* Its end sends no signal, and only we wait for it. */
	pid = clone(fn, (char *)stack + STACK, CLONE_VM | CLONE_VFORK | CLONE_FILES, in);
	if (pid < 0)
		in->result = err_sys(in->e, "make a process that enters namespaces");
	while (pid > 0 && waitpid(pid, NULL, __WALL) < 0 && errno == EINTR)
		;
	munmap(stack, STACK);
	return in->result;
}

static int grandchild(void *arg)
{
	struct entering *in = arg;

	in->result = in->run(in->arg, in->e);
	return 0;
}

static int child(void *arg)
{
	struct entering *in = arg;
	int beyond = enter_all(in);

	if (beyond <= 0)
		in->result = beyond == 0 ? in->run(in->arg, in->e) : beyond;
	else
		spawn(grandchild, in);
	return 0;
}

int ckpt_within(const int *spaces, size_t count, int (*run)(void *arg, struct err *e), void *arg,
		struct err *e)
{
	struct entering in = { spaces, count, run, arg, e, 1 };
	int dumpable = prctl(PR_GET_DUMPABLE), n = spawn(child, &in);

	/* Another identity has made the memory, which is ours as well, undumpable (prctl(2)). */
	if (dumpable == 1 && prctl(PR_SET_DUMPABLE, 1) < 0)
		return err_sys(e, "stay dumpable");
	return n == 1 ? err_set(e, ERR_FAIL, "a process in other namespaces was killed") : n;
}

int ckpt_outlive(int (*run)(void *arg, struct err *e), void *arg, struct err *e)
{
	return ckpt_within(NULL, 0, run, arg, e);
}

int ckpt_visit(enum ckpt_space_kind kind, int space, int (*run)(void *arg, struct err *e), void *arg, struct err *e)
{
	const struct ckpt_space_type *type = &ckpt_space_types[kind];
	cleanup_close int home = -EBADF;
	char path[64];
	int r;

	snprintf(path, sizeof(path), "/proc/thread-self/ns/%s", type->name);
	home = open(path, O_RDONLY | O_CLOEXEC);
	if (home < 0 || setns(space, type->flag) < 0)
		return err_sys(e, "enter a %s namespace", type->name);
	r = run(arg, e);
	if (setns(home, type->flag) < 0)
		abort(); /* it was our own: only the kernel being out of memory gets us here */
	return r;
}

int ckpt_space_open(int pid, const char *name, struct err *e)
{
	char path[64];
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/ns/%s", pid, name);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	return fd < 0 ? err_sys(e, "open %s", path) : fd;
}
