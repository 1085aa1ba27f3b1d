/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "supervisor/monitor_link.h"

#include "base/fd.h"
#include "base/log.h"
#include "base/macro.h"
#include "base/proc.h"
#include "base/sock.h"
#include "supervisor/monitor.h"
#include "supervisor/spare.h"

#include <assert.h>
#include <poll.h>
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

struct begin_fd {
	const char *name;
	int fd; /* negative: not there */
};
#define BEGIN_FDS_MAX 8
#define DISMISS_MS 1000

struct sup_link {
	struct sup_vps *vps;
	int fd;
	int pidfd; /* the monitor; -EBADF when it cannot be had */
	sd_event_source *io;
	struct pending *pending;
	json_int_t last_id;
	json_t *takes; /* of its hello; NULL: it was started by us */
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
	json_decref(l->takes);
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

/* The packet that a monitor waits for, with the fds that are there. */
static int send_begin(struct sup_link *l, const char *name, const struct begin_fd *fds, size_t count)
{
	json_t *names = json_array(), *msg;
	cleanup_free char *text = NULL;
	int list[BEGIN_FDS_MAX];
	size_t n = 0;
	ssize_t r;

	for (size_t i = 0; i < count; i++) {
		if (fds[i].fd < 0)
			continue;
		list[n++] = fds[i].fd;
		json_array_append_new(names, json_string(fds[i].name));
	}
	msg = json_pack("{s:s, s:o}", "begin", name, "fds", names);
	text = json_dumps(msg, JSON_COMPACT);
	json_decref(msg);
	r = text ? fd_send(l->fd, text, strlen(text), list, n) : -ENOMEM;
	return r < 0 ? (int)r : 0;
}

int link_spawn(struct sup_vps *v, struct err *e)
{
	int fd, pidfd, r;

	r = spare_take(v->d, &fd, &pidfd, e);
	if (r < 0)
		return r;
	r = link_new(v, fd, pidfd);
	return r < 0 ? err_code(e, r, "watch the monitor") : 0;
}

/* A monitor that died meanwhile is found by the loop. */
static bool is_gone(ssize_t n)
{
	return n == -EPIPE || n == -ECONNRESET;
}

void link_prepare(struct sup_vps *v, int lock_fd)
{
	json_t *msg = json_pack("{s:s, s:s}", "prepare", v->name, "cgroup_parent", v->d->root.tag);
	cleanup_free char *text = json_dumps(msg, JSON_COMPACT);

	json_decref(msg);
	if (text)
		fd_send(v->link->fd, text, strlen(text), &lock_fd, 1);
}

int link_begin(struct sup_vps *v, int spec_fd, int image_fd, const struct vps_stdio *io, struct err *e)
{
	const struct begin_fd fds[] = {
		{ "spec", spec_fd },
		{ "image", image_fd },
		{ "session", io ? io->session : -EBADF },
		{ "stdin", io ? io->fd[0] : -EBADF },
		{ "stdout", io ? io->fd[1] : -EBADF },
		{ "stderr", io ? io->fd[2] : -EBADF },
	};
	int r;

	static_assert(ARRAY_SIZE(fds) <= BEGIN_FDS_MAX, "a packet has room for them");
	r = send_begin(v->link, v->name, fds, ARRAY_SIZE(fds));
	return r < 0 && !is_gone(r) ? err_code(e, r, "tell the monitor") : 0;
}

/* Its end is left to be reaped. */
static bool has_succeeded(int pidfd, int timeout_ms)
{
	struct pollfd end = { .fd = pidfd, .events = POLLIN };
	siginfo_t info;

	return poll(&end, 1, timeout_ms) == 1 &&
	       waitid(P_PIDFD, (id_t)pidfd, &info, WEXITED | WNOHANG | WNOWAIT) == 0 &&
	       info.si_code == CLD_EXITED && info.si_status == 0;
}

bool link_dismiss(struct sup_vps *v)
{
	struct sup_link *l = TAKE_PTR(v->link);
	bool done;

	l->io = sd_event_source_disable_unref(l->io);
	fd_close(&l->fd);
	done = has_succeeded(l->pidfd, DISMISS_MS);
	if (!done && l->pidfd >= 0)
		pidfd_signal(l->pidfd, SIGKILL);
	link_free(l);
	return done;
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

/* What is too long for a packet goes in a file, before the fds of the request. */
static ssize_t send_long(struct sup_link *l, const char *op, const char *text, size_t len, const int *fds, size_t nfds)
{
	cleanup_close int file = fd_memfd("request", text, len);
	int all[MONITOR_FDS_MAX] = { file };
	char packet[128];

	if (file < 0)
		return file;
	assert(nfds < ARRAY_SIZE(all));
	if (nfds)
		memcpy(all + 1, fds, nfds * sizeof(*fds));
	snprintf(packet, sizeof(packet), "{\"id\":%" JSON_INTEGER_FORMAT ",\"op\":\"%.32s\",\"long\":true}", l->last_id, op);
	return fd_send(l->fd, packet, strlen(packet), all, nfds + 1);
}

static int send_request(struct sup_link *l, json_t *msg, const int *fds, size_t nfds, struct err *e)
{
	cleanup_free char *text = NULL;
	ssize_t n = -ENOMEM;
	size_t len;

	json_object_set_new(msg, "id", json_integer(++l->last_id));
	text = json_dumps(msg, JSON_COMPACT);
	len = text ? strlen(text) : 0;
	if (len > MONITOR_LONG_MAX)
		return err_set(e, ERR_USAGE, "the command and its environment are too long (%d MiB)",
			       MONITOR_LONG_MAX >> 20);
	if (len > MONITOR_PACKET_MAX)
		n = send_long(l, json_string_value(json_object_get(msg, "op")), text, len, fds, nfds);
	else if (text)
		n = fd_send(l->fd, text, len, fds, nfds);
	return n < 0 ? err_code(e, (int)n, "tell the monitor") : 0;
}

int link_request(struct sup_link *l, json_t *msg, const int *fds, size_t nfds, link_reply done,
		 void *ctx, struct err *e)
{
	struct pending *p;
	int r = l ? send_request(l, msg, fds, nfds, e) : err_code(e, -EPIPE, "tell the monitor");

	json_decref(msg);
	if (r < 0)
		return r;
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

void link_heard(struct sup_link *l, json_t *hello)
{
	json_t *takes = json_object_get(hello, "takes");

	json_decref(l->takes);
	l->takes = takes ? json_incref(takes) : json_array();
}

bool link_takes(const struct sup_link *l, const char *setting)
{
	json_t *name;
	size_t i;

	if (!l->takes)
		return true;
	json_array_foreach(l->takes, i, name)
		if (json_is_string(name) && STREQ(json_string_value(name), setting))
			return true;
	return false;
}
