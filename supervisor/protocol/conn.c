/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "supervisor/protocol/server_internal.h"

#include "base/log.h"
#include "base/macro.h"
#include "supervisor/protocol/foreign.h"

#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/socket.h>

/*
 * One client. It is read only when nothing of it is under way: no call, no complete message in the
 * buffer, no answer that it has not read. One message is worked on in a turn of the event loop, so
 * that a client with many does not keep the others waiting.
 */

#define READ_SIZE (64u * 1024)

static void conn_free(struct client_conn *c)
{
	frames_done(&c->in);
	while (c->out) {
		struct packet *p = c->out;

		c->out = p->next;
		for (size_t i = 0; i < p->nfds; i++)
			close(p->fds[i]);
		free(p);
	}
	free(c);
}

void conn_enter(struct client_conn *c)
{
	c->busy++;
}

void conn_leave(struct client_conn *c)
{
	if (--c->busy == 0 && c->dead)
		conn_free(c);
}

void conn_close(struct client_conn *c)
{
	struct server_call *call = c->call;

	if (c->dead)
		return;
	c->dead = true;
	conn_enter(c);
	*c->link = c->next;
	if (c->next)
		c->next->link = c->link;
	c->server->client_count--;
	c->io = sd_event_source_disable_unref(c->io);
	c->more = sd_event_source_disable_unref(c->more);
	if (c->uid == 0)
		fd_close(&c->fd);
	else
		foreign_hang_up(c->uid, TAKE_FD(c->fd));
	if (call) {
		c->call = NULL;
		call_forget_client(call);
	}
	conn_leave(c);
}

static bool conn_is_idle(const struct client_conn *c)
{
	return !c->call && !c->out;
}

static bool conn_may_read(struct client_conn *c)
{
	return !c->eof && conn_is_idle(c) && !frames_ready(&c->in);
}

/* Says what to be woken for; closes what has come to its end. */
static void conn_update(struct client_conn *c)
{
	uint32_t want = 0;

	if (c->dead)
		return;
	if (c->eof && conn_is_idle(c) && !frames_ready(&c->in)) {
		conn_close(c);
		return;
	}
	if (c->out)
		want |= EPOLLOUT;
	/* Hanging up must be noticed while a call is under way, without reading past it. */
	if (!c->eof)
		want |= conn_may_read(c) ? EPOLLIN | EPOLLRDHUP : EPOLLRDHUP;
	if (sd_event_source_set_io_events(c->io, want) < 0)
		conn_close(c);
}

static int packet_send(struct client_conn *c, struct packet *p)
{
	while (p->sent < p->len) {
		ssize_t n = fd_send(c->fd, p->data + p->sent, p->len - p->sent, p->fds, p->nfds);

		if (n < 0)
			return (int)n;
		for (; p->nfds > 0; p->nfds--)
			close(p->fds[p->nfds - 1]);
		p->sent += (size_t)n;
	}
	return 0;
}

static void conn_flush(struct client_conn *c)
{
	while (c->out && !c->dead) {
		struct packet *p = c->out;
		int r = packet_send(c, p);

		if (r == -EAGAIN)
			return;
		if (r < 0) {
			conn_close(c);
			return;
		}
		c->out_len -= p->len;
		c->out = p->next;
		if (!c->out)
			c->out_end = &c->out;
		free(p);
	}
}

static struct packet *packet_new(json_t *message, const int *fds, size_t nfds)
{
	size_t len = json_dumpb(message, NULL, 0, JSON_COMPACT);
	struct packet *p;

	if (!len || len > SERVER_OUTPUT_MAX || nfds > FD_MSG_MAX)
		return NULL;
	p = malloc(sizeof(*p) + len + 1);
	if (!p)
		return NULL;
	*p = (struct packet){ .len = len + 1 };
	json_dumpb(message, p->data, len, JSON_COMPACT);
	p->data[len] = '\0';
	for (; p->nfds < nfds; p->nfds++) {
		p->fds[p->nfds] = fcntl(fds[p->nfds], F_DUPFD_CLOEXEC, 3);
		if (p->fds[p->nfds] < 0)
			break;
	}
	if (p->nfds == nfds)
		return p;
	while (p->nfds > 0)
		close(p->fds[--p->nfds]);
	free(p);
	return NULL;
}

void conn_send(struct client_conn *c, json_t *message, const int *fds, size_t nfds)
{
	struct packet *p = packet_new(message, fds, nfds);

	json_decref(message);
	conn_enter(c);
	if (!p || c->out_len + p->len > SERVER_OUTPUT_MAX) {
		log_warn("client %d (uid %u) does not read its answers: closed", (int)c->pid, c->uid);
		for (size_t i = 0; p && i < p->nfds; i++)
			close(p->fds[i]);
		free(p);
		conn_close(c);
	} else {
		*c->out_end = p;
		c->out_end = &p->next;
		c->out_len += p->len;
		conn_flush(c);
		conn_update(c);
	}
	conn_leave(c);
}

/* Works on one message if it may; has the loop come back when there is another. */
static void conn_work(struct client_conn *c)
{
	struct frame f;

	if (c->dead || !conn_is_idle(c) || !frames_next(&c->in, &f))
		return;
	if (!call_dispatch(c, &f)) {
		conn_close(c);
		return;
	}
	if (c->dead)
		return;
	frames_drop(&c->in, &f);
	if (frames_ready(&c->in) && sd_event_source_set_enabled(c->more, SD_EVENT_ONESHOT) < 0)
		conn_close(c);
}

void conn_answered(struct client_conn *c)
{
	c->call = NULL;
	if (c->dead)
		return;
	conn_enter(c);
	if (c->in.buf.len && sd_event_source_set_enabled(c->more, SD_EVENT_ONESHOT) < 0)
		conn_close(c);
	conn_update(c);
	conn_leave(c);
}

static int conn_on_more(sd_event_source *s, void *userdata)
{
	struct client_conn *c = userdata;

	(void)s;
	conn_enter(c);
	conn_work(c);
	conn_update(c);
	conn_leave(c);
	return 0;
}

/* Only root's may be such that it takes long to close them. */
static bool fds_are_good(const struct client_conn *c, const int *fds, size_t nfds)
{
	for (size_t i = 0; c->uid != 0 && i < nfds; i++)
		if (!foreign_is_good(fds[i]))
			return false;
	return true;
}

/* False: nothing more will come. */
static bool conn_read(struct client_conn *c)
{
	char data[READ_SIZE];
	int fds[FD_SENT_MAX];
	size_t nfds;
	ssize_t n = fd_recv(c->fd, data, sizeof(data), fds, ARRAY_SIZE(fds), &nfds);

	if (n == -EAGAIN)
		return true;
	if (n <= 0)
		return false;
	if (!fds_are_good(c, fds, nfds)) {
		log_warn("client %d (uid %u) sends files that are not for us: closed", (int)c->pid, c->uid);
		foreign_close(c->uid, fds, nfds);
		conn_close(c);
	} else if (frames_feed(&c->in, data, (size_t)n, fds, nfds) < 0) {
		log_warn("client %d (uid %u) sends too much: closed", (int)c->pid, c->uid);
		conn_close(c);
	}
	return true;
}

static int conn_on_io(sd_event_source *s, int fd, uint32_t revents, void *userdata)
{
	struct client_conn *c = userdata;

	(void)s;
	(void)fd;
	conn_enter(c);
	if (revents & EPOLLOUT) {
		conn_flush(c);
		conn_work(c);
	}
	if (!c->dead && (revents & EPOLLIN) && conn_may_read(c)) {
		c->eof = !conn_read(c);
		conn_work(c);
	} else if (!c->dead && (revents & EPOLLRDHUP) && !conn_is_idle(c)) {
		c->eof = true; /* what it sent after the call under way is not read any more */
	}
	if (!c->dead && c->eof && c->call)
		call_cancel(c->call);
	/* Both directions are closed: nobody is there to be answered. */
	if (!c->dead && (revents & (EPOLLHUP | EPOLLERR)) && !(revents & EPOLLIN))
		conn_close(c);
	conn_update(c);
	conn_leave(c);
	return 0;
}

int conn_new(struct server *s, int fd, pid_t pid, uid_t uid, gid_t gid)
{
	struct client_conn *c = calloc(1, sizeof(*c));
	int r;

	if (!c) {
		foreign_hang_up(uid, fd);
		return -ENOMEM;
	}
	*c = (struct client_conn){ .server = s, .fd = fd, .pid = pid, .uid = uid, .gid = gid };
	c->out_end = &c->out;
	c->next = s->clients;
	c->link = &s->clients;
	if (c->next)
		c->next->link = &c->next;
	s->clients = c;
	s->client_count++;
	r = sd_event_add_io(s->event, &c->io, fd, EPOLLIN | EPOLLRDHUP, conn_on_io, c);
	if (r >= 0)
		r = sd_event_add_defer(s->event, &c->more, conn_on_more, c);
	if (r >= 0)
		r = sd_event_source_set_enabled(c->more, SD_EVENT_OFF);
	if (r < 0)
		conn_close(c);
	return r < 0 ? r : 0;
}
