/* SPDX-License-Identifier: GPL-2.0-or-later */

/*
 * The change of root. When the host's tree has been taken away, umount2(2) does not return before a grace period of
 * RCU has passed (namespace_unlock() of Linux 6.18), a tenth of a start in which nobody works: a process beside the
 * tenant's first takes it away and waits, while that one goes on as soon as no path leads there any more.
 */
#include "base/rawcall.h"
#include "base/step.h"
#include "runtime/internal.h"

#include <errno.h>
#include <linux/sched.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>

/* That of the tenant's next process, which gets it all the same: it is given back before, and a number that is asked
 * for does not move the counter. */
#define BESIDE_PID 2

static pid_t beside_pid = -1; /* as long as it is there */

#if defined(__x86_64__)
static struct {
	_Alignas(16) char stack[16384];
	int error; /* of what it did; as of umount2(2), negative */
	bool idle; /* it ends before it has done anything */
} beside;

/* Nothing of the C library, whose thread data are the other process's. */
__attribute__((noreturn, used, no_sanitize("address", "undefined"))) static void let_go(void)
{
	if (!beside.idle)
		__atomic_store_n(&beside.error, (int)SYS(umount2, ".", MNT_DETACH), __ATOMIC_RELEASE);
	for (;;)
		SYS(exit, 0);
}

/* By hand, because clone(3) cannot give it a number. Its own table of files: one that is shared grows by a grace period
 * each time (expand_fdtable()). */
static pid_t begin(void)
{
	pid_t number = BESIDE_PID;
	struct clone_args args = {
		.flags = CLONE_VM, .set_tid = (uint64_t)(uintptr_t)&number, .set_tid_size = 1,
		.stack = (uint64_t)(uintptr_t)beside.stack, .stack_size = sizeof(beside.stack),
	};
	struct err ignored;
	long pid;

	beside.idle = fault_point("pivot", "beside", &ignored) < 0;
	__asm__ volatile("syscall\n\t"
			 "test %%rax, %%rax\n\t"
			 "jnz 1f\n\t"
			 "xor %%ebp, %%ebp\n\t"
			 "call *%[fn]\n"
			 "1:"
			 : "=a"(pid)
			 : "0"(SYS_clone3), "D"(&args), "S"(sizeof(args)), [fn] "d"(let_go)
			 : "rcx", "r11", "memory", "cc");
	return pid < 0 ? -1 : (pid_t)pid;
}

static int error(void)
{
	return __atomic_load_n(&beside.error, __ATOMIC_ACQUIRE);
}
#else
static pid_t begin(void)
{
	return -1;
}

static int error(void)
{
	return 0;
}
#endif

/* ".." of the root leads to what is mounted over it (path_resolution(7)). */
static int is_gone(const struct rt_child *c, struct err *e)
{
	struct statx own, top;

	if (statx(c->root_fd, "", AT_EMPTY_PATH, STATX_MNT_ID, &own) < 0 ||
	    statx(AT_FDCWD, "/..", 0, STATX_MNT_ID, &top) < 0)
		return err_sys(e, "look whether the host's root is gone");
	return own.stx_mnt_id == top.stx_mnt_id;
}

/* It may be killed (by the kernel, for want of memory) before it has done it. */
static int await_gone(const struct rt_child *c, struct err *e)
{
	int r;

	/* Some microseconds; there is nothing that tells. */
	while ((r = is_gone(c, e)) == 0 && error() == 0) {
		if (beside_pid > 0 && waitpid(beside_pid, NULL, __WALL | WNOHANG) == beside_pid) {
			beside_pid = -1;
			r = is_gone(c, e);
			if (r == 0 && error() == 0 && umount2(".", MNT_DETACH) < 0)
				return err_sys(e, "let go of the host's root");
		}
		sched_yield();
	}
	return r;
}

int rt_pivot(struct rt_child *c, struct err *e)
{
	int r;

	if (fchdir(c->root_fd) < 0)
		return err_sys(e, "enter the root file system");
	/* pivot_root(2), "pivot_root(".", ".")": the old root ends up above the new one, from where
	 * it is taken away with everything that is mounted in it. */
	if (syscall(SYS_pivot_root, ".", ".") < 0)
		return err_sys(e, "change the root");
	beside_pid = begin();
	if (beside_pid < 0 && umount2(".", MNT_DETACH) < 0)
		return err_sys(e, "let go of the host's root");
	r = await_gone(c, e);
	if (r == 0)
		r = err_code(e, error(), "let go of the host's root");
	if (r < 0)
		return r;
	return chdir("/") < 0 ? err_sys(e, "enter /") : 0;
}

void rt_alone(void)
{
	if (beside_pid > 0)
		while (waitpid(beside_pid, NULL, __WALL) < 0 && errno == EINTR)
			continue;
	beside_pid = -1;
}
