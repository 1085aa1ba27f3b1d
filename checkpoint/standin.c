/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "checkpoint/standin.h"

#include "base/macro.h"
#include "runtime/vps.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/sched.h>
#include <signal.h>
#include <stdint.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static _Noreturn void stand(int in)
{
	static const struct rlimit none = { 0, 0 };
	int status;

	if (read(in, &status, sizeof(status)) != sizeof(status))
		_exit(0);
	setrlimit(RLIMIT_CORE, &none);
	if (WIFSIGNALED(status)) {
		signal(WTERMSIG(status), SIG_DFL);
		kill(getpid(), WTERMSIG(status));
	}
	_exit(WEXITSTATUS(status));
}

int standin_begin(struct standin_process *p, pid_t number, struct err *e)
{
	int32_t tid = number;
	struct clone_args args = {
		.exit_signal = SIGCHLD, .set_tid = (uint64_t)(uintptr_t)&tid, .set_tid_size = number ? 1 : 0,
	};
	int fds[2];

	rt_alone();
	if (pipe2(fds, O_CLOEXEC) < 0)
		return err_sys(e, "make a pipe");
	if (!number)
		args.set_tid = 0;
	p->pid = (pid_t)syscall(SYS_clone3, &args, sizeof(args));
	if (p->pid == 0) {
		close(fds[1]);
		stand(fds[0]);
	}
	close(fds[0]);
	p->go = fds[1];
	if (p->pid > 0)
		return 0;
	close(fds[1]);
	return err_sys(e, "make a process in the place of %d, which has ended", (int)number);
}

void standin_end(struct standin_process *p, int status)
{
	/* A process without a father's signals or handlers: whatever it is sent ends it. */
	if (write(p->go, &status, sizeof(status)) != sizeof(status))
		kill(p->pid, SIGKILL);
	close(p->go);
	while (waitpid(p->pid, NULL, 0) < 0 && errno == EINTR)
		;
}
