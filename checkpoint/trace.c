/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "base/fd.h"
#include "base/macro.h"
#include "base/proc.h"
#include "checkpoint/trace.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/ptrace.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>

#define YIELDS 50
#define AWAY_US 20000 /* between two looks at most, where nobody stands still */

/* The request is an int in the kernel and an enum in libc: through a pointer of the right type for
 * those that libc's header does not know. */
static int trace(int request, pid_t tid, uintptr_t addr, uintptr_t data)
{
	if (ptrace((enum __ptrace_request)request, tid, (void *)addr, (void *)data) < 0)
		return -errno;
	return 0;
}

int ckpt_trace_seize(pid_t tid, unsigned options)
{
	return trace(PTRACE_SEIZE, tid, 0, options);
}

int ckpt_trace_interrupt(pid_t tid)
{
	return trace(PTRACE_INTERRUPT, tid, 0, 0);
}

int ckpt_trace_resume(int request, pid_t tid, int sig)
{
	return trace(request, tid, 0, (uintptr_t)sig);
}

int ckpt_trace_detach(pid_t tid)
{
	return trace(PTRACE_DETACH, tid, 0, 0);
}

int ckpt_trace_get_regs(pid_t tid, struct user_regs_struct *ret)
{
	return trace(PTRACE_GETREGS, tid, 0, (uintptr_t)ret);
}

int ckpt_trace_set_regs(pid_t tid, const struct user_regs_struct *regs)
{
	return trace(PTRACE_SETREGS, tid, 0, (uintptr_t)regs);
}

int ckpt_trace_get_mask(pid_t tid, uint64_t *ret)
{
	return trace(PTRACE_GETSIGMASK, tid, sizeof(*ret), (uintptr_t)ret);
}

int ckpt_trace_set_mask(pid_t tid, uint64_t mask)
{
	return trace(PTRACE_SETSIGMASK, tid, sizeof(mask), (uintptr_t)&mask);
}

/*
 * WNOWAIT: a wait that takes the report of a stop also takes the signal out of it, and the signal
 * is lost if the tracer dies before it says how to go on (wait_task_stopped() clears what
 * ptrace_stop() returns).
 */
static int wait_stop(pid_t tid, int flags, struct ckpt_stop *ret)
{
	siginfo_t si = { 0 };

	while (waitid(P_PID, (id_t)tid, &si, WSTOPPED | WEXITED | WNOWAIT | __WALL | flags) < 0)
		if (errno != EINTR)
			return -errno;
	if (!si.si_pid)
		return -EAGAIN;
	*ret = (struct ckpt_stop){ .status = si.si_status };
	if (si.si_code != CLD_TRAPPED && si.si_code != CLD_STOPPED) {
		ret->kind = CKPT_STOP_GONE;
		return 0;
	}
	ret->event = (int)((unsigned)si.si_status >> 8);
	ret->sig = si.si_status & 0xff;
	if (ret->event == PTRACE_EVENT_STOP)
		ret->kind = CKPT_STOP_EVENT;
	else if (ret->event)
		ret->kind = CKPT_STOP_OTHER;
	else if (ret->sig == (SIGTRAP | 0x80)) /* PTRACE_O_TRACESYSGOOD */
		ret->kind = CKPT_STOP_SYSCALL;
	else
		ret->kind = CKPT_STOP_SIGNAL;
	return 0;
}

int ckpt_trace_wait(pid_t tid, struct ckpt_stop *ret)
{
	return wait_stop(tid, 0, ret);
}

int ckpt_trace_look(pid_t tid, struct ckpt_stop *ret)
{
	return wait_stop(tid, WNOHANG, ret);
}

/* Who is told to stop does so in microseconds, as a rule when others have run. */
static int wait_until(pid_t tid, struct wait_limit *limit, struct ckpt_stop *ret)
{
	struct timespec ts = { 0, 20000 };
	int r;

	for (unsigned tries = 0; (r = ckpt_trace_look(tid, ret)) == -EAGAIN; tries++) {
		if (tries < YIELDS)
			sched_yield();
		else if (wait_limit_is_over(limit, AWAY_US))
			return -ETIMEDOUT;
		else
			nanosleep(&ts, NULL);
	}
	return r;
}

/* Without a limit: whenever that is. */
static int wait_event(pid_t tid, struct wait_limit *limit, struct ckpt_stop *ret)
{
	struct ckpt_stop s;

	for (;;) {
		int r = limit ? wait_until(tid, limit, &s) : ckpt_trace_wait(tid, &s);

		if (r < 0)
			return r;
		if (s.kind == CKPT_STOP_GONE)
			return -ESRCH;
		if (s.kind == CKPT_STOP_EVENT)
			break;
		r = ckpt_trace_resume(PTRACE_CONT, tid, s.kind == CKPT_STOP_SIGNAL ? s.sig : 0);
		if (r < 0 && r != -ESRCH)
			return r;
	}
	if (ret)
		*ret = s;
	return 0;
}

int ckpt_trace_wait_event(pid_t tid, struct ckpt_stop *ret)
{
	return wait_event(tid, NULL, ret);
}

int ckpt_trace_wait_event_until(pid_t tid, struct wait_limit *limit, struct ckpt_stop *ret)
{
	return wait_event(tid, limit, ret);
}

static bool is_own_child(pid_t tid)
{
	cleanup_free char *text = NULL;
	char path[64];
	const char *p;
	long tgid, ppid;

	snprintf(path, sizeof(path), "/proc/%d/status", (int)tid);
	if (fd_read_file_at(AT_FDCWD, path, 65536, &text, NULL) < 0)
		return false;
	p = strstr(text, "\nTgid:");
	tgid = p ? atol(p + 6) : 0;
	p = strstr(text, "\nPPid:");
	ppid = p ? atol(p + 6) : 0;
	return tgid == tid && ppid == getpid();
}

bool ckpt_trace_reap(pid_t tid)
{
	int status;
	pid_t r;

	if (is_own_child(tid))
		return true;
	do
		r = waitpid(tid, &status, __WALL | WNOHANG);
	while ((r < 0 && errno == EINTR) || (r > 0 && !WIFEXITED(status) && !WIFSIGNALED(status)));
	return r != 0;
}

void ckpt_trace_reap_all(pid_t *tids, size_t n)
{
	while (n > 0) {
		struct timespec ts = { 0, 100000 };
		size_t left = 0;

		for (size_t i = 0; i < n; i++)
			if (!ckpt_trace_reap(tids[i]))
				tids[left++] = tids[i];
		if (left == n)
			nanosleep(&ts, NULL);
		n = left;
	}
}
