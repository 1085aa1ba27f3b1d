/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "supervisor/spare.h"

#include "base/fd.h"
#include "base/log.h"
#include "base/macro.h"
#include "base/path.h"
#include "base/proc.h"
#include "supervisor/monitor.h"
#include "supervisor/program.h"

#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>

#define LATER_US 10000 /* a client that has started a VPS has something to do with it now */
#define END_MS 1000

struct spare {
	int fd; /* -EBADF: there is none */
	int pidfd;
	struct stat program; /* what it was started from */
	sd_event_source *timer;
};

/*
 * Reaps it; that it is gone is told by the end of its connection. The loop lets go of the source: its pid is free for
 * another child, and the loop has one source a pid.
 */
static int on_child(sd_event_source *s, const siginfo_t *si, void *userdata)
{
	(void)userdata;
	log_debug("monitor %d ended", (int)si->si_pid);
	return sd_event_source_set_floating(s, false);
}

static int find_program(char program[4096], struct stat *st, struct err *e)
{
	int r = path_program("vps-monitor", program, 4096);

	if (r == 0 && stat(program, st) < 0)
		r = -errno;
	return r < 0 ? err_code(e, r, "find vps-monitor") : 0;
}

static int spawn(struct sup_daemon *d, const char *program, int *ret_fd, int *ret_pidfd,
		 struct err *e)
{
	const char *const argv[] = { "vps-monitor", MONITOR_ARG_SPARE, NULL };
	cleanup_close int ours = -EBADF, theirs = -EBADF;
	int pair[2], r;
	pid_t pid;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
		return err_sys(e, "make a socket pair");
	ours = pair[0];
	theirs = pair[1];
	r = sup_spawn(program, argv, &(struct spawn_fd){ theirs, MONITOR_FD_CONTROL }, 1, &pid, e);
	if (r < 0)
		return r;
	r = sd_event_add_child(d->event, NULL, pid, WEXITED, on_child, NULL);
	if (r < 0)
		log_warn("watch monitor %d: %s", (int)pid, strerrordesc_np(-r));
	*ret_fd = TAKE_FD(ours);
	*ret_pidfd = pidfd_open_pid(pid);
	return 0;
}

static void drop(struct spare *s)
{
	fd_close(&s->fd); /* it ends then */
	fd_close(&s->pidfd);
}

/* It lives, and is what would be started now: a newer program is to be used when it is there. */
static bool is_good(const struct spare *s, const struct stat *program)
{
	struct pollfd p = { .fd = s->fd, .events = POLLIN };

	return s->fd >= 0 && poll(&p, 1, 0) == 0 && s->program.st_ino == program->st_ino &&
	       s->program.st_dev == program->st_dev &&
	       s->program.st_mtim.tv_sec == program->st_mtim.tv_sec &&
	       s->program.st_mtim.tv_nsec == program->st_mtim.tv_nsec;
}

int spare_take(struct sup_daemon *d, int *ret_fd, int *ret_pidfd, struct err *e)
{
	struct spare *s = d->spare;
	char program[4096];
	struct stat st;
	int r = find_program(program, &st, e);

	if (r < 0)
		return r;
	if (!s || !is_good(s, &st)) {
		if (s)
			drop(s);
		return spawn(d, program, ret_fd, ret_pidfd, e);
	}
	*ret_fd = TAKE_FD(s->fd);
	*ret_pidfd = TAKE_FD(s->pidfd);
	return 0;
}

static int on_timer(sd_event_source *source, uint64_t usec, void *userdata)
{
	struct sup_daemon *d = userdata;
	struct spare *s = d->spare;
	char program[4096];
	struct err e;

	(void)source;
	(void)usec;
	s->timer = sd_event_source_disable_unref(s->timer);
	if (find_program(program, &s->program, &e) < 0 ||
	    spawn(d, program, &s->fd, &s->pidfd, &e) < 0)
		log_warn("%s", e.msg);
	return 0;
}

void spare_prepare(struct sup_daemon *d)
{
	struct spare *s = d->spare;

	if (!s) {
		s = calloc(1, sizeof(*s));
		if (!s)
			return;
		s->fd = s->pidfd = -EBADF;
		d->spare = s;
	}
	if (s->fd >= 0 || s->timer)
		return;
	sd_event_add_time_relative(d->event, &s->timer, CLOCK_MONOTONIC, LATER_US, 0, on_timer, d);
}

void spare_done(struct sup_daemon *d)
{
	struct spare *s = TAKE_PTR(d->spare);
	struct pollfd end;

	if (!s)
		return;
	sd_event_source_disable_unref(s->timer);
	fd_close(&s->fd);
	end = (struct pollfd){ .fd = s->pidfd, .events = POLLIN };
	if (s->pidfd >= 0)
		poll(&end, 1, END_MS); /* it writes to the same log */
	drop(s);
	free(s);
}
