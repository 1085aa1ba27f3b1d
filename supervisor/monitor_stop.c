/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "supervisor/monitor_internal.h"

#include "base/fd.h"
#include "base/proc.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/syscall.h>

#define SIGNAL_RETRY_US 20000
#define SIGNAL_BLIND_US 1000000

/* Busybox init waits so; while it does, what it blocks otherwise is not shown as blocked. */
static bool waits_for_signals(pid_t pid)
{
	cleanup_free char *text = NULL;
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/syscall", (int)pid);
	return fd_read_file_at(AT_FDCWD, path, 4096, &text, NULL) == 0 &&
	       atol(text) == SYS_rt_sigtimedwait;
}

/* Whether a process has a handler for a signal, blocks it (for signalfd(2)) or waits for some;
 * proc(5), status. */
static bool takes_signal(pid_t pid, int sig)
{
	cleanup_free char *text = NULL;
	uint64_t caught = 0, blocked = 0;
	char path[64];
	const char *at;

	if (waits_for_signals(pid))
		return true;
	snprintf(path, sizeof(path), "/proc/%d/status", (int)pid);
	if (fd_read_file_at(AT_FDCWD, path, 16384, &text, NULL) < 0)
		return true; /* gone: it does not matter */
	at = strstr(text, "\nSigCgt:");
	if (at)
		caught = strtoull(at + 8, NULL, 16);
	at = strstr(text, "\nSigBlk:");
	if (at)
		blocked = strtoull(at + 8, NULL, 16);
	return (caught | blocked) >> (sig - 1) & 1;
}

/* A PID 1 is spared all signals that it has no handler for (pid_namespaces(7)): one that comes
 * before init has installed its own would be lost, and the stop wait for its whole time. */
int mon_signal_init(struct mon *m, struct err *e)
{
	uint64_t now = now_monotonic_us();
	int r;

	m->signal_at_us = 0;
	if (!takes_signal(rt_init_pid(m->vps), m->spec.stop_signal)) {
		m->signal_at_us = now + SIGNAL_RETRY_US;
		if (now < m->stop_at_us + SIGNAL_BLIND_US)
			return 0;
		m->signal_at_us = now + SIGNAL_BLIND_US; /* it may take it in a way not seen */
	}
	r = pidfd_signal(rt_init_pidfd(m->vps), m->spec.stop_signal);
	return r < 0 && r != -ESRCH ? err_code(e, r, "stop %s", m->spec.name) : 0;
}

int mon_stop(struct mon *m, uint64_t timeout_us, bool force, struct err *e)
{
	int r = 0;

	if (m->state == MON_GIVEN_UP)
		return err_set(e, ERR_STATE, "stop %s: it has moved to another host, or may have",
			       m->spec.name);
	if (m->state == MON_RESTORING || m->state == MON_SAVING || m->state == MON_SUSPENDED)
		return err_set(e, ERR_STATE, "stop %s: it is being %s", m->spec.name,
			       m->state == MON_RESTORING ? "resumed" : "saved");
	if (!m->vps) { /* between a reboot and the next start */
		m->state = MON_STOPPING;
		return 0;
	}
	if (m->state == MON_PAUSED) {
		r = rt_thaw(m->vps, e);
		if (r < 0 && !force)
			return r;
	}
	if (m->state != MON_STOPPING) {
		m->stop_at_us = now_monotonic_us();
		m->state = MON_STOPPING;
		mon_tell_state(m);
	}
	if (force) {
		m->forced = true;
		return rt_kill(m->vps, e);
	}
	if (!m->kill_at_us || now_monotonic_us() + timeout_us < m->kill_at_us)
		m->kill_at_us = now_monotonic_us() + timeout_us;
	return mon_signal_init(m, e);
}
