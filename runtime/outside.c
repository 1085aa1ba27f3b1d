/* SPDX-License-Identifier: GPL-2.0-or-later */

/*
 * Processes of a VPS whose parent is outside of it: what rt_exec() had started, when it is restored. The
 * holder would have to wait for each, or the first process of the pid namespace could not end; here a process
 * of their own, one each, does that.
 */
#include "base/fd.h"
#include "base/proc.h"
#include "runtime/internal.h"
#include "runtime/seccomp.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/close_range.h>
#include <linux/keyctl.h>
#include <linux/sched.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#ifndef CLONE_NEWTIME
#define CLONE_NEWTIME 0x80
#endif

#define NAMESPACES \
	(CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWNET | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWCGROUP)
#define TIMEOUT_MS 10000

struct birth {
	const struct rt_vps *v;
	struct rt_birth born;
	int group;
	pid_t number;
	void (*stay)(void *arg);
	void *arg;
};

int rt_enter(int pidfd, struct err *e)
{
	/* One call enters them all or none; the user namespace first, which owns the others. */
	if (setns(pidfd, NAMESPACES | CLONE_NEWTIME) < 0 && setns(pidfd, NAMESPACES) < 0)
		return err_sys(e, "enter the VPS");
	if (setgroups(0, NULL) < 0 || setresgid(0, 0, 0) < 0 || setresuid(0, 0, 0) < 0)
		return err_sys(e, "become root of the VPS");
	/* A change of ids has set it to what fs.suid_dumpable says, which may be that the VPS's root can look into our
	 * memory (prctl(2)). */
	if (prctl(PR_SET_DUMPABLE, 0) < 0)
		return err_sys(e, "keep the VPS out of our memory");
	/* The holder's session keyring is the host's. */
	if (syscall(SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, NULL) < 0 && errno != ENOSYS)
		return err_sys(e, "take a session keyring of its own");
	return 0;
}

static int confine(const struct birth *b, struct err *e)
{
	const struct rt_stdio none = { { -EBADF, -EBADF, -EBADF } };
	int r = cgroup_entry_enter(&b->born.entry, e);

	if (r == 0)
		r = rt_rlimits_apply(&b->v->spec->rlimits, 0, e);
	if (r == 0)
		r = rt_enter(b->v->pidfd, e);
	if (r < 0)
		return r;
	r = rt_stdio_take(&none, e);
	if (r < 0)
		return r;
	rt_signals_reset();
	r = rt_caps_limit(e);
	return r == 0 ? rt_seccomp_apply(b->v->spec->features, e) : r;
}

static _Noreturn void inside(const struct birth *b)
{
	struct err e;

	if (confine(b, &e) < 0) {
		rt_msg_send(b->born.theirs, RT_MSG_ERROR, 0, &e, NULL, 0);
		_exit(1);
	}
	/* When the socket closes, too, that says that we are in our place. */
	close_range(3, ~0U, CLOSE_RANGE_CLOEXEC);
	b->stay(b->arg);
	_exit(1);
}

/* Outside, in no namespace of the VPS's: nothing but the parent of one process. */
static _Noreturn void parent(const struct birth *b)
{
	int32_t number = b->number;
	struct clone_args args = {
		.flags = CLONE_INTO_CGROUP,
		.cgroup = (uint64_t)b->group,
		.exit_signal = SIGCHLD,
		.set_tid = (uint64_t)(uintptr_t)&number,
		.set_tid_size = 1,
	};
	struct err e;
	long pid = -1;

	if (setns(b->v->pidfd, CLONE_NEWPID) < 0)
		err_sys(&e, "enter the VPS's pid namespace");
	else if ((pid = syscall(SYS_clone3, &args, sizeof(args))) < 0)
		err_sys(&e, "make process %d in the VPS", (int)number);
	if (pid == 0)
		inside(b);
	if (pid < 0)
		rt_msg_send(b->born.theirs, RT_MSG_ERROR, 0, &e, NULL, 0);
	else
		rt_msg_send(b->born.theirs, RT_MSG_READY, (uint32_t)pid, NULL, NULL, 0);
	prctl(PR_SET_NAME, "vps-outside");
	close_range(0, ~0U, 0);
	signal(SIGINT, SIG_IGN);
	signal(SIGHUP, SIG_IGN);
	while (pid > 0 && waitpid((pid_t)pid, NULL, 0) < 0 && errno == EINTR)
		continue;
	_exit(0);
}

/* Until the process is in its place: the socket closes then. */
static int hear(int sock, pid_t *ret, struct err *e)
{
	struct pollfd p = { .fd = sock, .events = POLLIN };
	struct rt_msg m;
	size_t nfds;
	int r;

	*ret = 0;
	for (;;) {
		do
			r = poll(&p, 1, TIMEOUT_MS);
		while (r < 0 && errno == EINTR);
		if (r == 0)
			return err_set(e, ERR_TIMEOUT, "a process does not enter the VPS");
		r = rt_msg_recv(sock, &m, NULL, 0, &nfds);
		if (r == -EPIPE)
			return *ret ? 0 : err_set(e, ERR_FAIL, "a process has not entered the VPS");
		if (r < 0)
			return err_code(e, r, "hear from a process that enters the VPS");
		if (m.type == RT_MSG_ERROR) {
			*e = m.err;
			return err_errno((enum err_status)e->code);
		}
		*ret = (pid_t)m.value;
	}
}

static int remember(struct rt_vps *v, pid_t pid)
{
	pid_t *p = reallocarray(v->parents, v->parent_count + 1, sizeof(*p));

	if (!p)
		return -ENOMEM;
	v->parents = p;
	p[v->parent_count++] = pid;
	return 0;
}

int rt_outside(struct rt_vps *v, pid_t number, void (*stay)(void *arg), void *arg, pid_t *ret,
	       struct err *e)
{
	struct birth b = { .v = v, .number = number, .stay = stay, .arg = arg };
	cleanup_close int group = rt_init_cgroup_open(v, e), sock = -EBADF;
	pid_t pid;
	int r;

	if (group < 0)
		return group;
	b.group = group;
	r = rt_birth_begin(v, &b.born, e);
	if (r < 0)
		return r;
	rt_leave_pidns(v);
	pid = fork();
	if (pid == 0)
		parent(&b);
	r = pid < 0 ? err_sys(e, "make a process") : 0;
	sock = rt_birth_end(&b.born);
	if (r == 0)
		r = hear(sock, ret, e);
	if (pid > 0 && remember(v, pid) < 0 && r == 0)
		r = err_code(e, -ENOMEM, "make a process");
	return r;
}

/* The file, the host's or any, is that of the pid namespace of whoever writes it (Linux 3.3). */
int rt_last_number(struct rt_vps *v, pid_t number, struct err *e)
{
	char text[16];
	int status, r = rt_join_pidns(v, v->pidfd, e);
	pid_t pid;

	if (r < 0)
		return r;
	snprintf(text, sizeof(text), "%d", (int)number);
	pid = fork();
	if (pid == 0)
		_exit(fd_write_file_at(AT_FDCWD, "/proc/sys/kernel/ns_last_pid", text) < 0);
	rt_leave_pidns(v);
	if (pid < 0)
		return err_sys(e, "make a process");
	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			return err_sys(e, "wait for a process");
	return status == 0 ? 0 : err_set(e, ERR_FAIL, "the number of the next process cannot be set");
}

int rt_keep(struct rt_vps *v, int fd, struct err *e)
{
	struct epoll_event ev = { .events = EPOLLIN, .data.u64 = v->kept_count };
	int *p = reallocarray(v->kept_fds, v->kept_count + 1, sizeof(*p));

	if (p)
		v->kept_fds = p;
	if (v->kept < 0)
		v->kept = epoll_create1(EPOLL_CLOEXEC);
	if (!p || v->kept < 0 || epoll_ctl(v->kept, EPOLL_CTL_ADD, fd, &ev) < 0) {
		close(fd);
		return err_code(e, p ? -errno : -ENOMEM, "keep a terminal");
	}
	p[v->kept_count++] = fd;
	return 0;
}

int rt_kept_fd(const struct rt_vps *v)
{
	return v->kept;
}

void rt_kept_read(struct rt_vps *v)
{
	struct epoll_event ev;
	char text[4096];

	/* One at a time, so that a flood keeps nobody from what else is to be done. */
	if (epoll_wait(v->kept, &ev, 1, 0) != 1 || ev.data.u64 >= v->kept_count)
		return;
	/* EIO: nobody in the VPS has it any more. */
	if (!(ev.events & EPOLLIN) || (read(v->kept_fds[ev.data.u64], text, sizeof(text)) < 0 && errno != EAGAIN))
		fd_close(&v->kept_fds[ev.data.u64]);
}

void rt_outside_done(struct rt_vps *v)
{
	for (size_t i = 0; i < v->parent_count; i++)
		while (waitpid(v->parents[i], NULL, 0) < 0 && errno == EINTR)
			continue;
	for (size_t i = 0; i < v->kept_count; i++)
		fd_close(&v->kept_fds[i]);
	fd_close(&v->kept);
	free(v->kept_fds);
	free(v->parents);
	v->kept_fds = NULL;
	v->kept_count = 0;
	v->parents = NULL;
	v->parent_count = 0;
}
