/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Unix sockets, saved: who is connected to whom, by inode number, and what is queued. */
#include "checkpoint/unix.h"

#include "base/fd.h"
#include "base/macro.h"
#include "base/path.h"
#include "checkpoint/image.pb-c.h"
#include "checkpoint/internal.h"
#include "checkpoint/peek.h"
#include "checkpoint/sockopt.h"
#include "checkpoint/tcp.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <linux/sock_diag.h>
#include <linux/unix_diag.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/un.h>

#ifndef SIOCUNIXFILE
#define SIOCUNIXFILE (SIOCPROTOPRIVATE + 0) /* linux/un.h */
#endif

static int peeker(struct ckpt_dump *d, struct err *e)
{
	if (!d->peeker)
		d->peeker = ckpt_peeker_new(d->init, e);
	return d->peeker ? 0 : -EIO;
}

Ckpt__Credentials *ckpt_unix_credentials(struct ckpt_dump *d, const struct ucred *u)
{
	Ckpt__Credentials *c = ckpt_alloc(ckpt_dump_arena(d), sizeof(*c));

	if (!c)
		return NULL;
	ckpt__credentials__init(c);
	c->pid = (uint32_t)u->pid;
	c->uid = ckpt_dump_id(d, u->uid);
	c->gid = ckpt_dump_id(d, u->gid);
	return c;
}

/* What the path of a socket leads to now; 0 when it is another thing. */
static ino_t find_path(const struct ckpt_sock *k, const struct sockaddr_un *sa, struct stat *st)
{
	Ckpt__UnixSocket *u = k->s->local;
	char cwd[4096] = "", path[4224], link[64];
	cleanup_close int fd = -EBADF;

	if (sa->sun_path[0] != '/') {
		snprintf(link, sizeof(link), "/proc/%d/cwd", (int)k->pid);
		if (readlink(link, cwd, sizeof(cwd) - 1) < 0)
			return 0;
	}
	snprintf(path, sizeof(path), "%s%s%.*s", cwd, cwd[0] ? "/" : "", (int)sizeof(sa->sun_path), sa->sun_path);
	/* Names are taken to be those of who has it. */
	u->space = ckpt_process_space(k->d, k->pid);
	fd = path_open_in_root(ckpt_space_root(k->d, u->space), path, O_PATH, 0);
	if (fd < 0 || fstat(fd, st) < 0 || !S_ISSOCK(st->st_mode))
		return 0;
	u->dir = ckpt_strdup(ckpt_dump_arena(k->d), cwd);
	return u->dir ? st->st_ino : 0;
}

/* The file that it is bound at, wherever that is by now; false: the kernel does not tell. ret: its path as /proc tells
 * it; "": it is among no mounts of the VPS. */
static bool find_file(const struct ckpt_sock *k, struct stat *st, char *ret, size_t size)
{
	cleanup_close int fd = ioctl(k->fd, SIOCUNIXFILE);
	struct err ignored;
	char proc[64];
	uint64_t mount;
	ssize_t n;

	if (fd < 0 || fstat(fd, st) < 0)
		return false;
	snprintf(proc, sizeof(proc), "/proc/self/fd/%d", fd);
	n = readlink(proc, ret, size - 1);
	ret[n < 0 ? 0 : n] = '\0';
	if (ckpt_mount_space(k->d, proc, ret, &mount, &k->s->local->space, &ignored) < 0)
		ret[0] = '\0';
	return true;
}

static bool is_file(const struct ckpt_sock *k, const char *path, const struct stat *own)
{
	cleanup_close int fd = path_open_in_root(ckpt_space_root(k->d, k->s->local->space), path, O_PATH | O_NOFOLLOW, 0);
	struct stat st;

	return fd >= 0 && fstat(fd, &st) == 0 && st.st_dev == own->st_dev && st.st_ino == own->st_ino;
}

/* Its file is at `path`: in the directory that a relative name began in, or under another name than it was bound by. */
static int keep_place(const struct ckpt_sock *k, const struct sockaddr_un *sa, char *path)
{
	Ckpt__UnixSocket *u = k->s->local;
	size_t len = strlen(path), tail = strnlen(sa->sun_path, sizeof(sa->sun_path));
	bool is_below = sa->sun_path[0] != '/' && len > tail + 1 && path[len - tail - 1] == '/' &&
			memcmp(path + len - tail, sa->sun_path, tail) == 0;

	if (is_below)
		path[len - tail - 1] = '\0';
	*(is_below ? &u->dir : &u->path) = ckpt_strdup(ckpt_dump_arena(k->d), path);
	return u->dir && u->path ? 0 : -ENOMEM;
}

/* Who is there, when it is this socket's or may be; *ret_sure: there is no doubt. */
static ino_t find_place(const struct ckpt_sock *k, const struct sockaddr_un *sa, struct stat *st, bool *ret_sure)
{
	char path[4096];
	struct stat own;
	ino_t at = find_path(k, sa, st);
	uint32_t space = k->s->local->space;
	bool is_its;

	*ret_sure = find_file(k, &own, path, sizeof(path));
	is_its = at == own.st_ino && st->st_dev == own.st_dev && (!path[0] || k->s->local->space == space);
	if (*ret_sure && !is_its) {
		*st = own;
		return path[0] && is_file(k, path, &own) && keep_place(k, sa, path) == 0 ? own.st_ino : 0;
	}
	k->s->local->space = space;
	return at;
}

static void collect_bound(const struct ckpt_sock *k, const struct ckpt_unix_diag *g)
{
	Ckpt__UnixSocket *u = k->s->local;
	struct sockaddr_un sa = { 0 };
	struct stat st;
	bool sure;
	ino_t at;

	memcpy(&sa, k->s->name.data, k->s->name.len);
	if (k->s->name.len <= sizeof(sa_family_t))
		return;
	u->bound = CKPT_UNIX_ABSTRACT;
	if (!sa.sun_path[0])
		return;
	at = find_place(k, &sa, &st, &sure);
	/* Overlays give inodes numbers of their own: then the last one that is bound there has it. */
	u->bound = at ? CKPT_UNIX_LIVE : CKPT_UNIX_GONE;
	u->at = at;
	k->file->value2 = at && (sure || (g->has_vfs && (uint32_t)at == g->vfs_ino));
	u->uid = at ? ckpt_dump_id(k->d, st.st_uid) : 0;
	u->gid = at ? ckpt_dump_id(k->d, st.st_gid) : 0;
	u->mode = at ? st.st_mode & 07777 : 0;
}

static bool has_error(int fd)
{
	struct pollfd p = { fd, 0, 0 };

	poll(&p, 1, 0);
	return p.revents & POLLERR;
}

/* With SO_OOBINLINE it is not received apart, and only told of. */
static bool has_urgent(int fd)
{
	struct pollfd p = { fd, POLLPRI, 0 };
	char c;

	poll(&p, 1, 0);
	return (p.revents & POLLPRI) || recv(fd, &c, 1, MSG_OOB | MSG_PEEK | MSG_DONTWAIT) > 0;
}

/* As far as it can be told without the others. */
static int collect_link(const struct ckpt_sock *k, const struct ckpt_unix_diag *g, struct err *e)
{
	Ckpt__UnixSocket *u = k->s->local;
	bool stream = k->s->type != SOCK_DGRAM;

	if (k->s->state == TCP_LISTEN) {
		if (g->rqueue != g->pending_count)
			return ckpt_sock_busy(k, "with many connections that were not accepted", e);
		for (uint32_t i = 0; i < g->rqueue; i++)
			if (!g->pending[i])
				return ckpt_unix_leaving_collect(k, g, e);
		return 0;
	}
	if (stream && has_urgent(k->fd))
		return ckpt_sock_refuse(k, "with urgent data in it", e);
	if (!g->has_peer)
		return 0;
	k->file->value2 |= g->peer << 1;
	if (g->peer) {
		u->link = CKPT_UNIX_PAIR;
		return 0;
	}
	/* Who has shut it down both ways may still wait to be accepted. */
	if (stream && ckpt_unix_is_waiting(k, g->shutdown == 3)) {
		u->link = CKPT_UNIX_WAITING;
		return ckpt_unix_waiting_collect(k, g->wqueue, e);
	}
	u->link = stream && has_error(k->fd) ? CKPT_UNIX_RESET : CKPT_UNIX_ALONE;
	return 0;
}

int ckpt_unix_collect(const struct ckpt_sock *k, struct err *e)
{
	int nl = ckpt_dump_diag(k->d, k->file->space, e);
	struct ckpt_unix_diag g;
	int r;

	if (nl < 0)
		return nl;
	r = ckpt_unix_ask(k->d, k->file->space, nl, k->file->value, &g);
	/* sock_diag(7) tells of a page of those that wait. */
	if (r == -EMSGSIZE)
		return ckpt_sock_busy(k, "with very many connections that were not accepted", e);
	if (r < 0)
		return err_code(e, r, "ask for the unix socket of process %d, fd %d", (int)k->pid,
				k->number);
	k->s->local = ckpt_alloc(ckpt_dump_arena(k->d), sizeof(*k->s->local));
	if (!k->s->local)
		return err_code(e, -ENOMEM, "collect unix sockets");
	ckpt__unix_socket__init(k->s->local);
	k->s->state = g.state;
	k->s->shutdown = g.shutdown;
	k->s->backlog = g.state == TCP_LISTEN ? g.wqueue : 0;
	r = ckpt_sock_names(k, e);
	if (r == 0)
		r = ckpt_sockopts_collect(ckpt_dump_arena(k->d), k->fd, k->s, e);
	if (r < 0)
		return r;
	collect_bound(k, &g);
	return collect_link(k, &g, e);
}

static int keep_message(struct ckpt_peeked *m, void *arg, struct err *e)
{
	const struct ckpt_sock *k = arg;
	Ckpt__SocketData *q = ckpt_sock_queue(k, 0, m->data, m->len);
	struct ckpt_arena *a = ckpt_dump_arena(k->d);
	int r;

	if (!q)
		return err_code(e, -ENOMEM, "collect unix sockets");
	if (m->from_len) {
		q->from.data = ckpt_memdup(a, &m->from, m->from_len);
		q->from.len = m->from_len;
	}
	if (m->has_sender && m->sender.pid)
		q->sender = ckpt_unix_credentials(k->d, &m->sender);
	q->rights = ckpt_alloc(a, (m->fd_count + 1) * sizeof(*q->rights));
	if (!q->rights || (m->from_len && !q->from.data))
		return err_code(e, -ENOMEM, "collect unix sockets");
	for (size_t i = 0; i < m->fd_count; i++) {
		r = ckpt_file_add(k->d, m->fds[i], &q->rights[q->n_rights++], e);
		m->fds[i] = -EBADF; /* the dump's */
		if (r < 0)
			return err_wrap(e, "under way in a unix socket");
	}
	return 0;
}

int ckpt_unix_queue(const struct ckpt_sock *k, struct err *e)
{
	struct pollfd p = { k->fd, POLLIN, 0 };
	int r;

	/* Most have nothing, and that is soon said. A stream that was never connected may be shut down all the same. */
	if (k->s->state == TCP_LISTEN || (k->s->type != SOCK_DGRAM && k->s->state == TCP_CLOSE) || poll(&p, 1, 0) == 0)
		return 0;
	r = peeker(k->d, e);
	return r == 0 ? ckpt_peek(k->d->peeker, k->fd, keep_message, (void *)(uintptr_t)k, e) : r;
}
