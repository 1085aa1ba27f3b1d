/* SPDX-License-Identifier: GPL-2.0-or-later */

/* A copy of the caller that works inside a VPS, of which nothing runs meanwhile. */
#include "base/proc.h"
#include "runtime/internal.h"

#include <errno.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>

static int enter(const struct rt_vps *v, const struct cgroup_entry *entry, struct err *e)
{
	int r = cgroup_entry_enter(entry, e);

	if (r < 0)
		return r;
	umask(0022);
	return rt_enter(v->pidfd, e);
}

static _Noreturn void inside(const struct rt_vps *v, const struct cgroup_entry *entry, int sock,
			     const struct rt_helper *h)
{
	struct err e;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (enter(v, entry, &e) < 0 || h->run(h->arg, &e) < 0) {
		rt_msg_send(sock, RT_MSG_ERROR, 0, &e, NULL, 0);
		_exit(1);
	}
	/* Its open files are taken by process 1: entering cleared both (prctl(2)). */
	prctl(PR_SET_DUMPABLE, 1);
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	rt_msg_send(sock, RT_MSG_READY, 0, NULL, NULL, 0);
	for (;;)
		pause();
}

static int hear(int sock, struct err *e)
{
	struct rt_msg m;
	size_t nfds;
	int r = rt_msg_recv(sock, &m, NULL, 0, &nfds);

	if (r < 0)
		return err_code(e, r, "hear from the helper");
	if (m.type == RT_MSG_ERROR) {
		*e = m.err;
		return err_errno((enum err_status)e->code);
	}
	return 0;
}

/* Until it has said how its work went, or ended. */
static int serve(int sock, const struct rt_helper *h, struct err *e)
{
	struct pollfd p[2] = { { sock, POLLIN, 0 }, { h->sock, POLLIN, 0 } };
	int r = 0;

	while (r == 0) {
		if (poll(p, 2, -1) < 0) {
			if (errno != EINTR)
				return err_sys(e, "wait for the helper");
			continue;
		}
		if (p[0].revents)
			return hear(sock, e);
		r = h->serve(h->arg, e);
	}
	return r < 0 ? r : hear(sock, e);
}

int rt_helper(struct rt_vps *v, const struct rt_helper *h, pid_t *ret, struct err *e)
{
	/* The innermost namespace's first; the caller's own gives any. */
	struct clone_args args = {
		.flags = CLONE_INTO_CGROUP, .cgroup = (uint64_t)v->cgroup_fd, .exit_signal = SIGCHLD,
		.set_tid = (uint64_t)(uintptr_t)&h->number, .set_tid_size = 1,
	};
	cleanup_close int sock = -EBADF;
	struct rt_birth b;
	int r = rt_join_pidns(v, v->pidfd, e);
	pid_t pid;

	if (r == 0)
		r = rt_birth_begin(v, &b, e);
	if (r < 0) {
		rt_leave_pidns(v);
		return r;
	}
	pid = rt_birth_clone(&b, &args);
	if (pid == 0)
		inside(v, &b.entry, b.theirs, h);
	sock = rt_birth_end(&b);
	rt_leave_pidns(v);
	*ret = pid;
	if (pid < 0)
		return err_code(e, pid, "make a helper in the VPS");
	r = serve(sock, h, e);
	if (r < 0)
		rt_helper_end(pid);
	return r;
}

void rt_helper_end(pid_t pid)
{
	kill(pid, SIGKILL);
	while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
		continue;
}
