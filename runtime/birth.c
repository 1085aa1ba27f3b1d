/* SPDX-License-Identifier: GPL-2.0-or-later */

/* A child of the holder that is born in the VPS, up to the moment in which both run. */
#include "runtime/internal.h"

#include <errno.h>
#include <linux/sched.h>
#include <sys/socket.h>
#include <sys/syscall.h>

int rt_birth_begin(const struct rt_vps *v, struct rt_birth *b, struct err *e)
{
	int pair[2], r = cgroup_entry_open(&v->cgroup, &b->entry, e);

	if (r < 0)
		return r;
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0) {
		cgroup_entry_close(&b->entry);
		return err_sys(e, "make a socket pair");
	}
	b->ours = pair[0];
	b->theirs = pair[1];
	return 0;
}

pid_t rt_birth_clone(struct rt_birth *b, const struct clone_args *args)
{
	long pid = syscall(SYS_clone3, args, sizeof(*args));

	if (pid == 0)
		close(b->ours);
	return pid < 0 ? -errno : (pid_t)pid;
}

int rt_birth_end(struct rt_birth *b)
{
	cgroup_entry_close(&b->entry);
	close(b->theirs);
	return b->ours;
}
