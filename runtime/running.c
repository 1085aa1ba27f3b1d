/* SPDX-License-Identifier: GPL-2.0-or-later */

/* What is asked of a VPS that runs. */
#include "base/proc.h"
#include "runtime/internal.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>

#define FREEZE_TIMEOUT_US 10000000

int rt_root_changed(const struct rt_vps *v, struct err *e)
{
	cleanup_close int fd = -EBADF;
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/root", (int)proc_live_tid(v->pid));
	fd = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	return fd < 0 ? err_sys(e, "open the VPS's root") : storage_root_reread(fd, e);
}

int rt_reap(struct rt_vps *v, struct rt_exit *ret, struct err *e)
{
	siginfo_t info;

	while (waitid(P_PIDFD, (id_t)v->pidfd, &info, WEXITED) < 0)
		if (errno != EINTR)
			return err_sys(e, "wait for init");
	v->reaped = true;
	ret->value = info.si_status;
	if (info.si_code == CLD_EXITED)
		ret->how = RT_EXITED;
	else if (info.si_status == SIGHUP) /* reboot(2) in a pid namespace, since Linux 3.4 */
		ret->how = RT_REBOOT;
	else if (info.si_status == SIGINT)
		ret->how = RT_POWEROFF;
	else
		ret->how = RT_SIGNALED;
	return 0;
}

pid_t rt_init_pid(const struct rt_vps *v)
{
	return v->pid;
}

int rt_init_pidfd(const struct rt_vps *v)
{
	return v->pidfd;
}

int rt_console_fd(const struct rt_vps *v)
{
	return v->console;
}

int rt_notify_fd(const struct rt_vps *v)
{
	return v->notify;
}

const struct cgroup *rt_cgroup(const struct rt_vps *v)
{
	return &v->cgroup;
}

int rt_freeze(struct rt_vps *v, struct err *e)
{
	return cgroup_freeze(&v->cgroup, FREEZE_TIMEOUT_US, e);
}

int rt_thaw(struct rt_vps *v, struct err *e)
{
	return cgroup_thaw(&v->cgroup, e);
}

int rt_kill(struct rt_vps *v, struct err *e)
{
	int r = cgroup_kill(&v->cgroup, e);

	/* Which spares processes whose first thread has ended before the others (cgroup.h): the end of process 1 is theirs. */
	if (r == 0 && v->pidfd >= 0)
		pidfd_signal(v->pidfd, SIGKILL);
	return r;
}
