/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "checkpoint/as.h"

#include "base/fd.h"
#include "base/macro.h"
#include "checkpoint/image.pb-c.h"
#include "runtime/vps.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <linux/sched.h>
#include <sched.h>
#include <signal.h>
#include <sys/fsuid.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

struct task {
	const Ckpt__Credentials *who;
	int root;
	int (*fn)(void *arg, struct err *e);
	void *arg;
	struct err *e;
	volatile int result;
};

/* The effective ids are what is noted down; files are opened as before. Plain system calls: the C library's
 * would look for other threads, in memory that is not only this process's. */
static int become(const Ckpt__Credentials *c)
{
	const uint32_t same = UINT32_MAX;

	if (syscall(SYS_setgroups, c->n_groups, c->groups) < 0 ||
	    syscall(SYS_setresgid, same, c->gid, same) < 0 ||
	    syscall(SYS_setresuid, same, c->uid, same) < 0)
		return -errno;
	setfsuid(0);
	setfsgid(0);
	return 0;
}

int ckpt_make_as(uint32_t uid, uint32_t gid)
{
	struct __user_cap_header_struct own = { _LINUX_CAPABILITY_VERSION_3, 0 };
	struct __user_cap_data_struct caps[_LINUX_CAPABILITY_U32S_3];

	syscall(SYS_setfsuid, uid);
	syscall(SYS_setfsgid, gid);
	/* Not being root has taken those over files away. */
	if (syscall(SYS_capget, &own, caps) < 0)
		return -errno;
	for (size_t i = 0; i < ARRAY_SIZE(caps); i++)
		caps[i].effective = caps[i].permitted;
	return syscall(SYS_capset, &own, caps) < 0 ? -errno : 0;
}

static int enter(const struct task *t)
{
	return t->root >= 0 && (fchdir(t->root) < 0 || chroot(".") < 0) ? err_sys(t->e, "enter a root") : 0;
}

static _Noreturn void child(struct task *t)
{
	int r = enter(t);

	if (r == 0 && t->who) {
		r = become(t->who);
		if (r < 0)
			err_code(t->e, r, "be user %u, group %u", t->who->uid, t->who->gid);
	}
	t->result = r == 0 ? t->fn(t->arg, t->e) : r;
	syscall(SYS_exit, 0);
	__builtin_unreachable();
}

/* As vfork(2) does, but the C library has none with a number; by hand, because a function could not return
 * on a stack that the child goes on to use. */
static __attribute__((noinline)) long spawn(struct clone_args *args, struct task *t)
{
	long pid;

	__asm__ volatile("syscall"
			 : "=a"(pid)
			 : "0"(SYS_clone3), "D"(args), "S"(sizeof(*args))
			 : "rcx", "r11", "memory");
	if (pid == 0)
		child(t);
	return pid;
}

/* Our own number: there is no other that could have it. */
static int run_here(struct task *t)
{
	static const Ckpt__Credentials own = CKPT__CREDENTIALS__INIT;
	cleanup_close int root = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
	int r = root < 0 ? err_sys(t->e, "open /") : enter(t), back;

	if (r == 0)
		r = become(t->who) < 0 ? err_sys(t->e, "be user %u", t->who->uid) :
					 t->fn(t->arg, t->e);
	/* The user first: root may set the rest. */
	if (syscall(SYS_setresuid, UINT32_MAX, 0, UINT32_MAX) < 0)
		return err_sys(t->e, "be root again");
	back = become(&own);
	if (back < 0 || fchdir(root) < 0 || chroot(".") < 0)
		return err_sys(t->e, "be root again");
	return r;
}

int ckpt_as(const struct Ckpt__Credentials *c, int root, int (*fn)(void *arg, struct err *e), void *arg,
	    struct err *e)
{
	struct task t = { c, root, fn, arg, e, -EIO };
	int number = c ? (int)c->pid : 0;
	struct clone_args args = { .flags = CLONE_VM | CLONE_VFORK | CLONE_FILES,
				   .exit_signal = SIGCHLD };
	long pid;

	if (number > 0 && number == (int)syscall(SYS_getpid))
		return run_here(&t);
	if (number > 1) {
		rt_alone();
		args.set_tid = (uint64_t)(uintptr_t)&number;
		args.set_tid_size = 1;
	}
	if (!c && root < 0)
		return fn(arg, e);
	pid = spawn(&args, &t);
	if (pid < 0)
		return err_code(e, (int)pid, "make a process of number %d", number);
	while (waitpid((pid_t)pid, NULL, __WALL) < 0)
		if (errno != EINTR)
			return err_sys(e, "wait for a process");
	return t.result;
}
