/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "base/log.h"
#include "base/macro.h"
#include "base/sock.h"
#include "supervisor/protocol/foreign.h"
#include "supervisor/protocol/server_internal.h"

#include <sys/epoll.h>
#include <sys/socket.h>

int server_new(struct server **ret, sd_event *event, const struct idl *idl, const char *text,
	       const struct server_method *methods, size_t count, void *userdata, struct err *e)
{
	struct server *s = calloc(1, sizeof(*s));

	if (!s)
		return err_code(e, -ENOMEM, "make the server");
	*s = (struct server){ .event = sd_event_ref(event), .idl = idl, .text = text,
			      .methods = methods, .method_count = count, .userdata = userdata,
			      .listen_fd = -EBADF };
	*ret = s;
	return 0;
}

void server_free(struct server *s)
{
	if (!s)
		return;
	while (s->clients)
		conn_close(s->clients);
	while (s->calls) {
		struct server_call *c = s->calls;

		/* Its holder answers it some time, to nobody. */
		s->calls = c->next;
		c->server = NULL;
		c->next = NULL;
		c->link = &c->next;
	}
	sd_event_source_disable_unref(s->listen);
	fd_close(&s->listen_fd);
	sd_event_unref(s->event);
	free(s);
}

size_t server_clients(const struct server *s)
{
	return s->client_count;
}

/* Root's connections are counted apart: users cannot keep the administrator out. Those of users count, too, whose files are
 * still being closed: who has a range of ids is another user each time. */
static bool has_room(const struct server *s, uid_t uid)
{
	size_t users, closing = foreign_closing(uid, &users), same = uid ? closing : 0;

	for (const struct client_conn *c = s->clients; c; c = c->next) {
		same += c->uid == uid;
		users += c->uid != 0;
	}
	if (uid == 0)
		return same < SERVER_ROOT_MAX;
	return same < SERVER_UID_MAX && users < SERVER_CLIENTS_MAX;
}

int server_add(struct server *s, int fd)
{
	pid_t pid;
	uid_t uid = (uid_t)-1;
	gid_t gid;
	int r;

	r = sock_peer(fd, &pid, &uid, &gid);
	if (r == 0)
		r = fd_set_nonblock(fd, true);
	/* Else what is out of band, and the files that came with it, would be dropped unseen (tcp(7), of unix sockets too). */
	if (r == 0 && setsockopt(fd, SOL_SOCKET, SO_OOBINLINE, &(int){ 1 }, sizeof(int)) < 0)
		r = -errno;
	if (r == 0 && !has_room(s, uid)) {
		log_warn("uid %u holds too many connections: one refused", uid);
		r = -EUSERS;
	}
	if (r < 0) {
		foreign_hang_up(uid, fd);
		return r;
	}
	return conn_new(s, fd, pid, uid, gid);
}

static int on_accept(sd_event_source *source, int fd, uint32_t revents, void *userdata)
{
	struct server *s = userdata;
	int conn;

	(void)source;
	(void)revents;
	conn = accept4(fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	if (conn >= 0) {
		server_add(s, conn);
	} else if (errno == EMFILE || errno == ENFILE || errno == ENOMEM || errno == ENOBUFS) {
		/* It stays readable: without the oldest client gone the loop would spin. */
		struct client_conn *oldest = s->clients;

		log_warn("accept: %s", strerrordesc_np(errno));
		while (oldest && oldest->next)
			oldest = oldest->next;
		if (oldest)
			conn_close(oldest);
	}
	return 0;
}

int server_listen(struct server *s, int fd, struct err *e)
{
	int r;

	s->listen_fd = fd;
	r = fd_set_nonblock(fd, true);
	if (r >= 0)
		r = sd_event_add_io(s->event, &s->listen, fd, EPOLLIN, on_accept, s);
	return r < 0 ? err_code(e, r, "listen on the control socket") : 0;
}
