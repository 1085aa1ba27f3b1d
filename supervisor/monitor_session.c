/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "supervisor/monitor_internal.h"

#include "base/fd.h"
#include "base/log.h"
#include "base/proc.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <termios.h>

#define HISTORY_MAX ((off_t)64 * 1024) /* bytes shown to one who attaches */
#define GONE_TIMEOUT_US 10000000       /* clean stop of a sandbox whose client hung up */
#define PATIENCE_US 5000000            /* with slow clients, all of them together, when it is over */

struct mon_session *mon_session_new(struct mon *m, int sock)
{
	struct mon_session *s;
	size_t count = 0;

	for (s = m->sessions; s; s = s->next)
		count++;
	if (count >= MON_SESSIONS_MAX)
		return NULL;
	s = calloc(1, sizeof(*s));
	if (!s)
		return NULL;
	fd_set_nonblock(sock, true);
	s->sock = sock;
	s->command = (struct rt_command){ .pidfd = -EBADF, .sock = -EBADF, .master = -EBADF };
	s->next = m->sessions;
	m->sessions = s;
	return s;
}

/* The tail of one log file. */
static void send_tail(struct mon_session *s, int fd, off_t want)
{
	off_t size = lseek(fd, 0, SEEK_END);
	char data[SESSION_DATA_MAX];

	for (off_t at = size > want ? size - want : 0; at < size;) {
		ssize_t n = pread(fd, data, sizeof(data), at);

		if (n <= 0 || session_send(s->sock, SESSION_OUTPUT, 0, data, (size_t)n, -EBADF) < 0)
			return;
		at += n;
	}
}

void mon_session_history(struct mon *m, struct mon_session *s)
{
	off_t size = m->log.fd >= 0 ? lseek(m->log.fd, 0, SEEK_END) : 0;

	if (size < HISTORY_MAX && m->log.dirfd >= 0) {
		cleanup_close int old = openat(m->log.dirfd, "console.log.1",
					       O_RDONLY | O_CLOEXEC | O_NOFOLLOW);

		if (old >= 0)
			send_tail(s, old, HISTORY_MAX - size);
	}
	if (m->log.fd >= 0)
		send_tail(s, m->log.fd, HISTORY_MAX);
}

/* Signals that a client may pass on; the others are for the kernel to send. */
static bool may_forward(int sig)
{
	return sig > 0 && sig < NSIG && sig != SIGSTOP;
}

static void on_signal(struct mon *m, struct mon_session *s, int sig)
{
	if (!may_forward(sig))
		return;
	if (s->command.pidfd >= 0)
		pidfd_signal(s->command.pidfd, sig);
	else if (s->run && m->vps && sig == SIGKILL)
		mon_stop(m, 0, true, &(struct err){ 0 });
	else if (s->run && m->vps)
		pidfd_signal(rt_init_pidfd(m->vps), sig);
}

static void on_input(struct mon *m, struct mon_session *s, const char *data, size_t len)
{
	if (!s->console || !s->input)
		return;
	if (len > sizeof(m->input) - m->input_len)
		len = sizeof(m->input) - m->input_len; /* as a real terminal, it overruns */
	memcpy(m->input + m->input_len, data, len);
	m->input_len += len;
	mon_console_input(m);
}

void mon_session_gone(struct mon *m, struct mon_session *s)
{
	s->dead = true;
	if (s->command.pidfd >= 0)
		pidfd_signal(s->command.pidfd, SIGHUP);
	if (s->run && m->vps && m->state != MON_STOPPING)
		mon_stop(m, GONE_TIMEOUT_US, false, &(struct err){ 0 });
}

void mon_session_read(struct mon *m, struct mon_session *s)
{
	char data[SESSION_DATA_MAX];
	struct session_header h;
	ssize_t n;
	int fd;

	n = session_recv(s->sock, &h, data, sizeof(data), &fd);
	if (n == -EAGAIN)
		return;
	if (n < 0) {
		mon_session_gone(m, s);
		return;
	}
	fd_close(&fd);
	switch (h.type) {
	case SESSION_SIGNAL:
		on_signal(m, s, h.value);
		break;
	case SESSION_INPUT:
		on_input(m, s, data, (size_t)n);
		break;
	case SESSION_RESIZE:
		if (s->console && s->input && m->vps && rt_console_fd(m->vps) >= 0) {
			struct winsize ws = { .ws_row = (unsigned short)((uint32_t)h.value >> 16),
					      .ws_col = (unsigned short)(h.value & 0xffff) };

			ioctl(rt_console_fd(m->vps), TIOCSWINSZ, &ws);
		}
		break;
	default:
		mon_session_gone(m, s);
	}
}

/* What was killed here is saved, or runs elsewhere. */
static bool goes_on(const struct mon *m)
{
	return m->state == MON_SUSPENDED || m->state == MON_GIVEN_UP;
}

void mon_session_reap(const struct mon *m, struct mon_session *s)
{
	siginfo_t info;

	if (waitid(P_PIDFD, (id_t)s->command.pidfd, &info, WEXITED | WNOHANG) < 0 || info.si_pid == 0)
		return;
	fd_close(&s->command.pidfd);
	if (goes_on(m))
		mon_session_end(s, SESSION_ERROR, m->state == MON_GIVEN_UP);
	else
		mon_session_end(s, SESSION_EXIT,
				info.si_code == CLD_EXITED ? info.si_status : 128 + info.si_status);
}

void mon_session_end(struct mon_session *s, enum session_type type, int32_t value)
{
	if (s->ended || s->dead)
		return;
	s->ended = true;
	s->end_type = type;
	s->end_value = value;
	mon_session_flush(s);
}

void mon_session_flush(struct mon_session *s)
{
	struct err e = { 0 };
	bool told = s->end_type == SESSION_ERROR;

	if (!s->ended || s->dead)
		return;
	if (told) {
		err_set(&e, ERR_RUN, s->end_value ? "the VPS has moved to another host" : "the VPS was suspended");
		err_hint(&e, "what ran here goes on with it, without us");
	}
	if (session_send(s->sock, s->end_type, s->end_value, told ? &e : NULL, told ? sizeof(e) : 0,
			 -EBADF) != -EAGAIN)
		s->dead = true;
}

void mon_sessions_sweep(struct mon *m)
{
	struct mon_session **at = &m->sessions;

	while (*at) {
		struct mon_session *s = *at;

		if (!s->dead || s->command.pidfd >= 0) { /* a command that still runs is reaped first */
			if (s->dead)
				fd_close(&s->sock);
			at = &s->next;
			continue;
		}
		*at = s->next;
		fd_close(&s->sock);
		free(s);
	}
}

/* It may block until then. */
static void wait_for_room(struct mon_session *s, uint64_t until)
{
	uint64_t now = now_monotonic_us(), left = now < until ? until - now : 0;
	struct timeval patience = { .tv_sec = (time_t)(left / 1000000), .tv_usec = (suseconds_t)(left % 1000000) };

	if (left && setsockopt(s->sock, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience)) == 0)
		fd_set_nonblock(s->sock, false);
}

void mon_sessions_close(struct mon *m, int32_t status)
{
	uint64_t until = now_monotonic_us() + PATIENCE_US;

	for (struct mon_session *s = m->sessions; s; s = s->next) {
		if (s->sock < 0 || s->dead)
			continue;
		wait_for_room(s, until);
		if (m->held_len && s->run)
			session_send(s->sock, SESSION_OUTPUT, 0, m->held, m->held_len, -EBADF);
		if (s->run)
			mon_session_end(s, SESSION_EXIT, status);
		else if (s->command.pid && goes_on(m))
			mon_session_end(s, SESSION_ERROR, m->state == MON_GIVEN_UP);
		else if (s->command.pid)
			mon_session_end(s, SESSION_EXIT, 128 + SIGKILL);
		else
			mon_session_end(s, SESSION_CLOSED, 0);
		mon_session_flush(s);
	}
}
