/* SPDX-License-Identifier: GPL-2.0-or-later */

/*
 * Unix sockets, made again. Connections come first, each through a listener of its own that has the name
 * only for it; then what has a name for itself. Names whose path is not the socket's any more are bound in
 * a directory that is the root meanwhile, and deleted there.
 */
#include "checkpoint/unix.h"

#include "base/fd.h"
#include "base/macro.h"
#include "base/path.h"
#include "checkpoint/as.h"
#include "checkpoint/lend.h"
#include "checkpoint/pairs.h"
#include "checkpoint/image.pb-c.h"
#include "checkpoint/sockopt.h"
#include "checkpoint/tcp.h"
#include "checkpoint/unix_restore.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

const char *unix_path(const ProtobufCBinaryData *name, char path[UNIX_PATH_ROOM])
{
	size_t len = name->len > sizeof(sa_family_t) ? name->len - sizeof(sa_family_t) : 0;

	path[0] = '\0';
	if (len && name->data[sizeof(sa_family_t)]) {
		memcpy(path, name->data + sizeof(sa_family_t), len);
		path[len] = '\0';
	}
	return path[0] ? path : NULL;
}

const char *unix_scratch(const struct ckpt_opening *o, size_t i, char dir[UNIX_PATH_ROOM])
{
	snprintf(dir, UNIX_PATH_ROOM, "%s/%zu", o->scratch, i);
	return dir;
}

/* A root in which the directory of a name is there. */
static int make_scratch(const struct ckpt_opening *o, size_t i, const char *path, struct err *e)
{
	char dir[UNIX_PATH_ROOM], full[2 * UNIX_PATH_ROOM], *slash;
	int r;

	snprintf(full, sizeof(full), "%s/%s", unix_scratch(o, i, dir), path);
	slash = strrchr(full, '/');
	*slash = '\0';
	r = path_mkdirs_at(AT_FDCWD, full, 0700);
	return r < 0 ? err_code(e, r, "make %s", full) : 0;
}

/* bind(2) in the scratch root of file i, or connect(2) to what is there. */
struct at_name {
	int fd;
	const ProtobufCBinaryData *name;
	int (*call)(int fd, const struct sockaddr *sa, socklen_t len);
};

static int call_at(void *arg, struct err *e)
{
	const struct at_name *a = arg;

	return a->call(a->fd, (const void *)a->name->data, (socklen_t)a->name->len) < 0 ?
		       err_sys(e, "use the name of a unix socket again") :
		       0;
}

static bool is_named(const ProtobufCBinaryData *name)
{
	return name->len > sizeof(sa_family_t);
}

int unix_bind_aside(const struct ckpt_opening *o, size_t i, int fd, const ProtobufCBinaryData *name,
		    struct err *e)
{
	char path[UNIX_PATH_ROOM], dir[UNIX_PATH_ROOM];
	struct at_name a = { fd, name, bind };
	int r;

	if (!is_named(name))
		return 0;
	if (!unix_path(name, path))
		return call_at(&a, e);
	r = make_scratch(o, i, path, e);
	if (r < 0)
		return r;
	snprintf(dir, sizeof(dir), "%s/%zu", o->scratch, i);
	return ckpt_as(NULL, dir, call_at, &a, e);
}

/* As `who`: by the process of that number when it is there already. */
static int call_as(const struct ckpt_opening *o, const Ckpt__Credentials *who, const char *root,
		   int (*fn)(void *arg, struct err *e), void *arg, struct ckpt_lend *q, int ret_fds[2], struct err *e)
{
	if (o->lender >= 0 && who && ckpt_lend_is_taken((pid_t)who->pid))
		return ckpt_lend_ask(o->lender, who, q, ret_fds, e);
	return ckpt_as(who, root, fn, arg, e);
}

int unix_connect(const struct ckpt_opening *o, const Ckpt__Credentials *who, size_t aside, int fd,
		 const ProtobufCBinaryData *name, struct err *e)
{
	char path[UNIX_PATH_ROOM], dir[UNIX_PATH_ROOM], full[2 * UNIX_PATH_ROOM];
	struct at_name a = { fd, name, connect };
	struct ckpt_lend q = { .op = CKPT_LEND_CONNECT, .fd = fd, .place = -1, .len = (uint32_t)name->len };
	bool has_path = unix_path(name, path), in_scratch = has_path && aside != UNIX_NOT_ASIDE;
	const char *root = in_scratch ? unix_scratch(o, aside, dir) : NULL;
	cleanup_close int place = -EBADF;

	if (name->len > sizeof(q.addr))
		return err_set(e, ERR_FAIL, "the image is damaged: the name of a unix socket");
	memcpy(q.addr, name->data, name->len);
	if (has_path && o->lender >= 0) {
		snprintf(full, sizeof(full), "%s%s%s", in_scratch ? root : "", in_scratch ? "/" : "", path);
		q.place = place = open(full, O_PATH | O_CLOEXEC);
		if (place < 0)
			return err_sys(e, "open %s", full);
	}
	return call_as(o, who, root, call_at, &a, &q, NULL, e);
}

struct listening {
	int fd, backlog;
};

static int call_listen(void *arg, struct err *e)
{
	const struct listening *l = arg;

	return listen(l->fd, l->backlog) < 0 ? err_sys(e, "listen at a unix socket again") : 0;
}

static int listen_as(const struct ckpt_opening *o, const Ckpt__Credentials *who, int fd, int backlog, struct err *e)
{
	struct listening l = { fd, backlog };
	struct ckpt_lend q = { .op = CKPT_LEND_LISTEN, .fd = fd, .place = -1, .value = (uint32_t)backlog };

	return call_as(o, who, NULL, call_listen, &l, &q, NULL, e);
}

struct pairing {
	int type, fds[2];
};

static int call_pair(void *arg, struct err *e)
{
	struct pairing *p = arg;

	return socketpair(AF_UNIX, p->type | SOCK_CLOEXEC, 0, p->fds) < 0 ?
		       err_sys(e, "make a pair of unix sockets") :
		       0;
}

/* One that was accepted, by its listener's name, and the one that connected to it. */
struct connection {
	const ProtobufCBinaryData *name, *client_name;
	const Ckpt__Credentials *accepted, *client; /* what either says of the other end */
	int type;
	size_t i; /* of a scratch root */
	bool bind_client;
};

static int connect_pair(const struct ckpt_opening *o, const struct connection *c, int ret[2],
			struct err *e)
{
	uint32_t space = o->tree->files[c->i]->space;
	cleanup_close int t = ckpt_opening_socket(o, space, AF_UNIX, c->type, 0, e);
	cleanup_close int client =
		t < 0 ? -EBADF : ckpt_opening_socket(o, space, AF_UNIX, c->type, 0, e);
	char path[UNIX_PATH_ROOM], full[2 * UNIX_PATH_ROOM], dir[UNIX_PATH_ROOM];
	int r = t < 0 ? t : client < 0 ? client : 0;

	if (r == 0)
		r = unix_bind_aside(o, c->i, t, c->name, e);
	if (r == 0)
		r = listen_as(o, c->client, t, 1, e);
	if (r == 0 && c->bind_client)
		r = unix_bind_aside(o, c->i, client, c->client_name, e);
	if (r == 0)
		r = unix_connect(o, c->accepted, c->i, client, c->name, e);
	if (r < 0)
		return r;
	ret[0] = accept4(t, NULL, NULL, SOCK_CLOEXEC);
	if (ret[0] < 0)
		return err_sys(e, "accept a unix socket again");
	if (unix_path(c->name, path)) {
		snprintf(full, sizeof(full), "%s/%s", unix_scratch(o, c->i, dir), path);
		unlink(full);
	}
	ret[1] = TAKE_FD(client);
	return 0;
}

/* A closed other end stays open until what it said is there again. */
static int keep_mate(struct ckpt_opening *o, size_t i, int fd, struct err *e)
{
	o->mates[i] = fcntl(fd, F_DUPFD_CLOEXEC, o->end);
	close(fd);
	return o->mates[i] < 0 ? err_sys(e, "keep a unix socket") : 0;
}

/* fds[0] is file i, fds[1] its other end, file k or nobody's. */
static int place_pair(struct ckpt_opening *o, size_t i, size_t k, int fds[2], struct err *e)
{
	int r = ckpt_socket_place(o, i, fds[0], e);

	close(fds[0]);
	if (k == UNIX_NOT_ASIDE)
		return r < 0 ? (close(fds[1]), r) : keep_mate(o, i, fds[1], e);
	if (r == 0)
		r = ckpt_socket_place(o, k, fds[1], e);
	close(fds[1]);
	return r;
}

/* Who of two is the accepted one: it has its listener's name and none of its own. */
static bool is_accepted(const Ckpt__Socket *s)
{
	return is_named(&s->name) && s->local->bound == CKPT_UNIX_UNBOUND;
}

static int make_connected(struct ckpt_opening *o, size_t i, struct err *e)
{
	const Ckpt__Socket *s = o->tree->files[i]->socket, *other = NULL;
	size_t k = s->local->link == CKPT_UNIX_PAIR ? s->local->peer - 1 : UNIX_NOT_ASIDE;
	uint32_t space = o->tree->files[i]->space;
	struct pairing p = { .type = (int)s->type };
	struct ckpt_lend q = { .op = CKPT_LEND_PAIR, .fd = o->lender, .place = -1 };
	cleanup_close int net = -EBADF;
	struct connection c = { .type = (int)s->type, .i = i };
	int fds[2], r;

	if (k != UNIX_NOT_ASIDE)
		other = o->tree->files[k]->socket;
	if (o->paired && o->paired[i]) {
		r = ckpt_pair_take(o, i, k, p.fds, e);
		return r < 0 ? r : place_pair(o, i, k, p.fds, e);
	}
	if (!is_named(&s->name) && !is_named(&s->peer)) {
		q.value = s->type;
		r = space ? ckpt_opening_enter(o, space, e) : 0;
		if (r == 0 && space && o->lender >= 0)
			q.place = net = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
		if (r == 0)
			r = call_as(o, s->local->credentials, NULL, call_pair, &p, &q, p.fds, e);
		if (r == 0 && space)
			r = ckpt_opening_enter(o, 0, e);
		return r < 0 ? r : place_pair(o, i, k, p.fds, e);
	}
	if (is_accepted(s) || !is_named(&s->peer) ||
	    (other && !is_accepted(other) && !is_named(&other->name))) {
		c.name = &s->name;
		c.client_name = &s->peer;
		c.accepted = s->local->credentials;
		c.client = other ? other->local->credentials : NULL;
		c.bind_client = !other || other->local->bound != CKPT_UNIX_LIVE;
		r = connect_pair(o, &c, fds, e);
	} else {
		c.name = &s->peer;
		c.client_name = &s->name;
		c.accepted = other ? other->local->credentials : NULL;
		c.client = s->local->credentials;
		c.bind_client = s->local->bound != CKPT_UNIX_LIVE;
		r = connect_pair(o, &c, fds, e);
		if (r == 0) {
			int accepted = fds[0];

			fds[0] = fds[1];
			fds[1] = accepted;
		}
	}
	return r < 0 ? r : place_pair(o, i, k, fds, e);
}

/* Under its name in a root beside the place where its file is to be, as that has another name. */
static int bind_moved(int fd, const Ckpt__Socket *s, struct err *e)
{
	const char *path = s->local->path;
	char name[UNIX_PATH_ROOM], root[4200], full[4200 + UNIX_PATH_ROOM];
	struct at_name a = { fd, &s->name, bind };
	int r;

	snprintf(root, sizeof(root), "%.*s/.vps-bind-XXXXXX", (int)(strrchr(path, '/') - path), path);
	if (!mkdtemp(root))
		return err_sys(e, "make a directory beside %s", path);
	snprintf(full, sizeof(full), "%s/%s", root, unix_path(&s->name, name) ? name : "");
	*strrchr(full, '/') = '\0';
	r = path_mkdirs_at(AT_FDCWD, full, 0700);
	r = r < 0 ? err_code(e, r, "make %s", full) : ckpt_as(NULL, root, call_at, &a, e);
	snprintf(full, sizeof(full), "%s/%s", root, name);
	if (r == 0 && rename(full, path) < 0)
		r = err_sys(e, "move a socket to %s", path);
	if (path_remove_tree_at(AT_FDCWD, root) < 0 && r == 0)
		r = err_sys(e, "remove %s", root);
	return r;
}

/* Where its path is, with what was there before: the entry is another socket's by now. */
static int bind_live(int fd, const Ckpt__Socket *s, struct err *e)
{
	char name[UNIX_PATH_ROOM];
	const char *path = s->local->path[0] ? s->local->path : name;
	struct at_name a = { fd, &s->name, bind };
	struct stat st = { 0 };
	int r;

	unix_path(&s->name, name);
	if (path[0] != '/' && chdir(s->local->dir) < 0)
		return err_sys(e, "go to %s", s->local->dir);
	if (lstat(path, &st) == 0 && (!S_ISSOCK(st.st_mode) || unlink(path) < 0))
		r = err_set(e, ERR_FAIL, "%s is in the way", path);
	else
		r = path == name ? call_at(&a, e) : bind_moved(fd, s, e);
	if (r == 0 && (lchown(path, s->local->uid, s->local->gid) < 0 ||
		       chmod(path, s->local->mode & 07777) < 0))
		r = err_sys(e, "give %s its owner", path);
	if (chdir("/") < 0 && r == 0)
		r = err_sys(e, "go to /");
	return r;
}

static int bind_in(const struct ckpt_opening *o, uint32_t space, int fd, const Ckpt__Socket *s, struct err *e)
{
	int r = space ? ckpt_opening_enter(o, space, e) : 0;

	if (r == 0)
		r = bind_live(fd, s, e);
	return r == 0 && space ? ckpt_opening_enter(o, 0, e) : r;
}

static int bind_again(struct ckpt_opening *o, size_t i, struct err *e)
{
	const Ckpt__Socket *s = o->tree->files[i]->socket;
	bool connected = s->type != SOCK_DGRAM &&
			 (s->local->link == CKPT_UNIX_PAIR || s->local->link == CKPT_UNIX_ALONE ||
			  s->local->link == CKPT_UNIX_RESET);

	if (s->local->bound == CKPT_UNIX_LIVE)
		return bind_in(o, s->local->space, o->fds[i], s, e);
	if (s->local->bound == CKPT_UNIX_UNBOUND || connected)
		return 0; /* with its connection */
	return unix_bind_aside(o, i, o->fds[i], &s->name, e);
}

static bool is_unix(const struct ckpt_opening *o, size_t i)
{
	return o->tree->files[i]->socket && o->tree->files[i]->socket->family == AF_UNIX;
}

/* With its other end at once, or alone for now. */
static int make(struct ckpt_opening *o, size_t i, struct err *e)
{
	const Ckpt__Socket *s = o->tree->files[i]->socket;
	enum ckpt_unix_link link = s->local->link;
	int fd, r;

	if (link == CKPT_UNIX_PAIR ||
	    ((link == CKPT_UNIX_ALONE || link == CKPT_UNIX_RESET) && s->type != SOCK_DGRAM) ||
	    (link == CKPT_UNIX_ALONE && !is_named(&s->peer)))
		return o->fds[i] >= 0 ? 0 : make_connected(o, i, e);
	fd = ckpt_opening_socket(o, o->tree->files[i]->space, AF_UNIX, (int)s->type, 0, e);
	if (fd < 0)
		return fd;
	r = ckpt_socket_place(o, i, fd, e);
	close(fd);
	return r;
}

static int listen_again(struct ckpt_opening *o, size_t i, struct err *e)
{
	const Ckpt__Socket *s = o->tree->files[i]->socket;

	return s->state == TCP_LISTEN ? listen_as(o, s->local->credentials, o->fds[i], (int)s->backlog, e) : 0;
}

static int wait_again(struct ckpt_opening *o, size_t i, struct err *e)
{
	const Ckpt__Socket *s = o->tree->files[i]->socket, *l;
	Ckpt__Credentials who = CKPT__CREDENTIALS__INIT;
	size_t k;

	if (s->local->link != CKPT_UNIX_WAITING)
		return 0;
	k = s->local->peer - 1;
	l = o->tree->files[k]->socket;
	/* Nobody can tell who connected; who owns it is the best guess. */
	who.uid = s->uid;
	who.gid = s->gid;
	return unix_connect(o, &who, l->local->bound == CKPT_UNIX_GONE ? k : UNIX_NOT_ASIDE,
			    o->fds[i], &s->peer, e);
}

static int set_options(struct ckpt_opening *o, size_t i, struct err *e)
{
	const Ckpt__Socket *s = o->tree->files[i]->socket;
	int r = ckpt_sockopts_set(o->fds[i], s, CKPT_SOCKOPT_EARLY, e);

	return r == 0 ? ckpt_sockopts_set(o->fds[i], s, CKPT_SOCKOPT_BOUND, e) : r;
}

int ckpt_unix_make(struct ckpt_opening *o, struct err *e)
{
	static int (*const passes[])(struct ckpt_opening * o, size_t i, struct err * e) = {
		make, bind_again, listen_again, wait_again, set_options,
	};
	int r = 0;

	for (size_t p = 0; p < ARRAY_SIZE(passes); p++)
		for (size_t i = 0; r == 0 && i < o->tree->file_count; i++)
			if (is_unix(o, i))
				r = passes[p](o, i, e);
	return r;
}
