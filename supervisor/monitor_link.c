/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "supervisor/monitor_link.h"

#include "base/fd.h"
#include "base/log.h"
#include "base/macro.h"
#include "base/path.h"
#include "base/proc.h"
#include "base/sock.h"
#include "supervisor/monitor.h"
#include "supervisor/program.h"

#include <signal.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/wait.h>

struct pending {
	struct pending *next;
	json_int_t id;
	link_reply done;
	void *ctx;
};

struct sup_link {
	struct sup_vps *vps;
	int fd;
	int pidfd; /* the monitor; -EBADF when it cannot be had */
	sd_event_source *io;
	struct pending *pending;
	json_int_t last_id;
};

static void answer(struct pending *p, const struct err *e, const char *note)
{
	p->done(p->ctx, e, note);
	free(p);
}

void link_free(struct sup_link *l)
{
	struct err e;

	if (!l)
		return;
	sd_event_source_disable_unref(l->io);
	fd_close(&l->fd);
	fd_close(&l->pidfd);
	while (l->pending) {
		struct pending *p = l->pending;

		l->pending = p->next;
		err_set(&e, ERR_STATE, "it has stopped");
		answer(p, &e, NULL);
	}
	free(l);
}

static void take_reply(struct sup_link *l, json_t *msg)
{
	json_int_t id = json_integer_value(json_object_get(msg, "reply"));
	json_int_t status = json_integer_value(json_object_get(msg, "status"));
	const char *error = json_string_value(json_object_get(msg, "error"));
	const char *hint = json_string_value(json_object_get(msg, "hint"));
	const char *note = json_string_value(json_object_get(msg, "note"));
	struct err e;

	for (struct pending **p = &l->pending; *p; p = &(*p)->next) {
		struct pending *found = *p;

		if (found->id != id)
			continue;
		*p = found->next;
		if (status)
			err_set(&e, status > 0 && status < 128 ? (enum err_status)status : ERR_FAIL,
				"%s", error ? error : "the monitor does not say why");
		if (status && hint && *hint)
			err_hint(&e, "%s", hint);
		answer(found, status ? &e : NULL, status || !note || !*note ? NULL : note);
		return;
	}
}

/* 1: a message was handled; 0: none is there; negative: the monitor is gone. */
static int take_one(struct sup_link *l)
{
	char text[MONITOR_PACKET_MAX];
	const char *event;
	json_t *msg;
	size_t nfds;
	int fd;
	ssize_t n = fd_recv(l->fd, text, sizeof(text), &fd, 0, &nfds);

	if (n == -EAGAIN)
		return 0;
	if (n == -EMSGSIZE)
		return 1;
	if (n <= 0)
		return -EPIPE;
	msg = json_loadb(text, (size_t)n, JSON_REJECT_DUPLICATES, NULL);
	event = json_string_value(json_object_get(msg, "event"));
	if (event)
		vps_on_event(l->vps, event, msg);
	else if (json_is_integer(json_object_get(msg, "reply")))
		take_reply(l, msg);
	else
		log_warn("%s: its monitor says what vpsd does not understand", l->vps->name);
	json_decref(msg);
	return 1;
}

static int on_io(sd_event_source *s, int fd, uint32_t revents, void *userdata)
{
	struct sup_vps *v = userdata;
	struct sup_link *l = v->link;
	int r = 1;

	(void)s;
	(void)fd;
	(void)revents;
	/* An event may end the link, and the VPS with it: one at a time, the loop comes back. */
	r = take_one(l);
	if (r < 0)
		vps_on_gone(v);
	return 0;
}

static int link_new(struct sup_vps *v, int fd, int pidfd)
{
	struct sup_link *l = calloc(1, sizeof(*l));
	int r;

	if (!l) {
		fd_close(&fd);
		fd_close(&pidfd);
		return -ENOMEM;
	}
	*l = (struct sup_link){ .vps = v, .fd = fd, .pidfd = pidfd };
	fd_set_nonblock(fd, true);
	r = sd_event_add_io(v->d->event, &l->io, fd, EPOLLIN, on_io, v);
	if (r < 0) {
		link_free(l);
		return r;
	}
	v->link = l;
	return 0;
}

/* Reaps it; that it is gone is told by the end of its connection. */
static int on_child(sd_event_source *s, const siginfo_t *si, void *userdata)
{
	(void)s;
	(void)userdata;
	log_debug("monitor %d ended", (int)si->si_pid);
	return 0;
}

int link_spawn(struct sup_vps *v, int spec_fd, int lock_fd, int image_fd, const struct vps_stdio *io,
	       struct err *e)
{
	const char *const argv[] = { "vps-monitor", v->name, NULL };
	cleanup_close int ours = -EBADF, theirs = -EBADF;
	char program[4096];
	pid_t pid;
	int pair[2], r;

	r = path_program("vps-monitor", program, sizeof(program));
	if (r < 0)
		return err_code(e, r, "find vps-monitor");
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
		return err_sys(e, "make a socket pair");
	ours = pair[0];
	theirs = pair[1];
	r = sup_spawn(program, argv,
		      (struct spawn_fd[]){
			      { theirs, MONITOR_FD_CONTROL },
			      { spec_fd, MONITOR_FD_SPEC },
			      { io ? io->session : -EBADF, MONITOR_FD_SESSION },
			      { io ? io->fd[0] : -EBADF, MONITOR_FD_STDIO },
			      { io ? io->fd[1] : -EBADF, MONITOR_FD_STDIO + 1 },
			      { io ? io->fd[2] : -EBADF, MONITOR_FD_STDIO + 2 },
			      { lock_fd, MONITOR_FD_LOCK },
			      { image_fd, MONITOR_FD_IMAGE },
		      },
		      8, &pid, e);
	if (r < 0)
		return r;
	r = sd_event_add_child(v->d->event, NULL, pid, WEXITED, on_child, NULL);
	if (r < 0)
		log_warn("watch monitor %d: %s", (int)pid, strerrordesc_np(-r));
	r = link_new(v, TAKE_FD(ours), pidfd_open_pid(pid));
	return r < 0 ? err_code(e, r, "watch the monitor") : 0;
}

int link_connect(struct sup_vps *v)
{
	cleanup_close int fd = -EBADF;
	char dir[512], path[600];
	pid_t pid;
	uid_t uid;
	gid_t gid;
	int r;

	snprintf(path, sizeof(path), "%s/monitor.sock", host_root_run(&v->d->root, v->name, dir));
	fd = sock_connect(path, SOCK_SEQPACKET);
	if (fd < 0)
		return fd;
	r = sock_peer(fd, &pid, &uid, &gid);
	if (r < 0)
		return r;
	if (uid != geteuid())
		return -EPERM;
	return link_new(v, TAKE_FD(fd), pidfd_open_pid(pid));
}

int link_request(struct sup_link *l, json_t *msg, const int *fds, size_t nfds, link_reply done,
		 void *ctx, struct err *e)
{
	cleanup_free char *text = NULL;
	struct pending *p;
	ssize_t n = -EPIPE;

	if (l) {
		json_object_set_new(msg, "id", json_integer(++l->last_id));
		text = json_dumps(msg, JSON_COMPACT);
		n = text ? fd_send(l->fd, text, strlen(text), fds, nfds) : -ENOMEM;
	}
	json_decref(msg);
	if (n == -EMSGSIZE || (text && strlen(text) > MONITOR_PACKET_MAX))
		return err_set(e, ERR_USAGE, "the command and its environment are too long (%d KiB)",
			       MONITOR_PACKET_MAX / 1024);
	if (n < 0)
		return err_code(e, (int)n, "tell the monitor");
	p = calloc(1, sizeof(*p));
	if (!p)
		return err_code(e, -ENOMEM, "tell the monitor");
	*p = (struct pending){ .next = l->pending, .id = l->last_id, .done = done, .ctx = ctx };
	l->pending = p;
	return 0;
}

void link_kill(struct sup_link *l)
{
	if (l && l->pidfd >= 0)
		pidfd_signal(l->pidfd, SIGKILL);
}
