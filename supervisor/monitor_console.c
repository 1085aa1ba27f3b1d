/* SPDX-License-Identifier: GPL-2.0-or-later */

/*
 * The console of a VPS: its output goes into the log and to the clients that watch, their input to
 * the tenant. The tenant may flood it, close it, hang it up (vhangup(2), as every getty does) or
 * never read it.
 */
#include "supervisor/monitor_internal.h"

#include "base/fd.h"
#include "base/log.h"
#include "base/proc.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/stat.h>

#define LOG_MAX ((uint64_t)256 * 1024) /* then it becomes console.log.1 */

/* A tenant that writes more than this is slowed down by its own terminal. */
#define OUTPUT_RATE ((uint64_t)8 * 1024 * 1024) /* bytes a second */
#define OUTPUT_BURST ((uint64_t)1024 * 1024)

int mon_log_open(struct mon *m, struct err *e)
{
	struct mon_log *log = &m->log;
	struct stat st;

	if (log->dirfd < 0)
		log->dirfd = open(m->spec.lib_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (log->dirfd < 0)
		return err_sys(e, "open %s", m->spec.lib_dir);
	log->fd = openat(log->dirfd, "console.log",
			 O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (log->fd < 0)
		return err_sys(e, "open %s/console.log", m->spec.lib_dir);
	log->size = fstat(log->fd, &st) == 0 ? (uint64_t)st.st_size : 0;
	return 0;
}

/* A full disk costs history, nothing else. */
static void log_write(struct mon *m, const char *data, size_t len)
{
	struct mon_log *log = &m->log;
	struct err e;

	if (log->size + len > LOG_MAX && log->fd >= 0) {
		fd_close(&log->fd);
		renameat(log->dirfd, "console.log", log->dirfd, "console.log.1");
		if (mon_log_open(m, &e) < 0)
			log_warn("%s: %s", m->spec.name, e.msg);
	}
	if (log->fd >= 0 && fd_write_full(log->fd, data, len) == 0)
		log->size += len;
}

static void send_output(struct mon *m, struct mon_session *s, const char *data, size_t len)
{
	int r;

	if (s->dropped) {
		r = session_send(s->sock, SESSION_DROPPED, (int32_t)s->dropped, NULL, 0, -EBADF);
		if (r == 0)
			s->dropped = 0;
	}
	r = s->dropped ? -EAGAIN : session_send(s->sock, SESSION_OUTPUT, 0, data, len, -EBADF);
	if (r == -EAGAIN && s->run) {
		memcpy(m->held, data, len);
		m->held_len = len;
	} else if (r == -EAGAIN) {
		s->dropped += len;
		if (s->dropped > INT32_MAX)
			s->dropped = INT32_MAX;
	} else if (r < 0) {
		mon_session_gone(m, s);
	}
}

static void refill(struct mon *m)
{
	uint64_t now = now_monotonic_us();

	m->out_budget += (now - m->out_refill_us) * OUTPUT_RATE / 1000000;
	if (m->out_budget > OUTPUT_BURST)
		m->out_budget = OUTPUT_BURST;
	m->out_refill_us = now;
}

bool mon_console_wanted(struct mon *m)
{
	refill(m);
	return m->held_len == 0 && m->out_budget >= SESSION_DATA_MAX;
}

/* One piece; returns false when there is no more to read now. */
static bool pass_output(struct mon *m)
{
	int master = rt_console_fd(m->vps);
	char data[SESSION_DATA_MAX];
	ssize_t n = read(master, data, sizeof(data));

	if (n < 0 && errno == EIO) {
		/* Nobody has the other end open, or it was hung up: with one opened anew the master is
		 * quiet again. Hanging up costs the tenant some of its output. */
		fd_close(&m->console_slave);
		m->console_slave = ioctl(master, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC);
		m->out_budget -= m->out_budget < SESSION_DATA_MAX ? m->out_budget
								 : SESSION_DATA_MAX;
		return false;
	}
	if (n <= 0)
		return false;
	m->out_budget -= (uint64_t)n < m->out_budget ? (uint64_t)n : m->out_budget;
	log_write(m, data, (size_t)n);
	for (struct mon_session *s = m->sessions; s; s = s->next)
		if (s->console && !s->dead && !s->ended)
			send_output(m, s, data, (size_t)n);
	return true;
}

void mon_console_output(struct mon *m)
{
	pass_output(m);
}

/* What the last processes wrote; they are gone, so it ends. */
void mon_console_drain(struct mon *m)
{
	if (!m->vps || rt_console_fd(m->vps) < 0)
		return;
	for (int i = 0; i < 64 && m->held_len == 0; i++)
		if (!pass_output(m))
			break;
}

/* What is typed while an image is written would be in neither of the two. */
bool mon_console_takes(const struct mon *m)
{
	return m->input_len && m->state != MON_SAVING && m->state != MON_SUSPENDED &&
	       m->state != MON_GIVEN_UP;
}

void mon_console_input(struct mon *m)
{
	ssize_t n;

	if (!m->vps || rt_console_fd(m->vps) < 0 || !mon_console_takes(m))
		return;
	n = write(rt_console_fd(m->vps), m->input, m->input_len);
	if (n < 0 && errno == EAGAIN)
		return;
	if (n < 0)
		n = (ssize_t)m->input_len; /* a hung-up terminal takes nothing */
	memmove(m->input, m->input + n, m->input_len - (size_t)n);
	m->input_len -= (size_t)n;
}
