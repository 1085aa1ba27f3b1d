/* SPDX-License-Identifier: GPL-2.0-or-later */

/*
 * Unix sockets: pairs whose ends are both in the VPS, with what is queued in them; listening ones; those
 * that are neither. Who is at the other end is asked of sock_diag(7), by inode number.
 */
#include "base/macro.h"
#include "base/path.h"
#include "checkpoint/image.pb-c.h"
#include "checkpoint/kinds.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <linux/sock_diag.h>
#include <linux/unix_diag.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/un.h>

enum { M_TYPE, M_STATE, M_BACKLOG, M_SNDBUF, M_RCVBUF, M_PASSCRED, M_SHUTDOWN, M_MODE, M_UID, M_GID, M_COUNT };
#define QUEUE_MAX MIB(2)

struct diag {
	uint32_t peer, rqueue, wqueue, state, shutdown;
	bool has_peer;
};

static bool is(const struct ckpt_fd *f)
{
	int domain = 0;
	socklen_t len = sizeof(domain);

	return S_ISSOCK(f->st.st_mode) &&
	       getsockopt(f->own, SOL_SOCKET, SO_DOMAIN, &domain, &len) == 0 && domain == AF_UNIX;
}

static int ask_diag(int nl, ino_t ino, struct diag *ret)
{
	struct {
		struct nlmsghdr h;
		struct unix_diag_req r;
	} q = {
		.h = { .nlmsg_len = sizeof(q), .nlmsg_type = SOCK_DIAG_BY_FAMILY, .nlmsg_flags = NLM_F_REQUEST },
		.r = { .sdiag_family = AF_UNIX, .udiag_states = UINT32_MAX, .udiag_ino = (uint32_t)ino,
		       .udiag_show = UDIAG_SHOW_PEER | UDIAG_SHOW_RQLEN, .udiag_cookie = { UINT32_MAX, UINT32_MAX } },
	};
	_Alignas(8) uint8_t buf[8192];
	const struct nlmsghdr *h = (const void *)buf;
	const struct unix_diag_msg *m;
	ssize_t n;

	if (send(nl, &q, sizeof(q), 0) < 0)
		return -errno;
	n = recv(nl, buf, sizeof(buf), 0);
	if (n < (ssize_t)NLMSG_LENGTH(sizeof(*m)) || h->nlmsg_type != SOCK_DIAG_BY_FAMILY)
		return n < 0 ? -errno : -ENOENT;
	m = NLMSG_DATA(h);
	*ret = (struct diag){ .state = m->udiag_state };
	int left = (int)h->nlmsg_len - (int)NLMSG_LENGTH(sizeof(*m));
	for (const struct rtattr *a = (const void *)(m + 1); RTA_OK(a, left); a = RTA_NEXT(a, left)) {
		if (a->rta_type == UNIX_DIAG_PEER) {
			memcpy(&ret->peer, RTA_DATA(a), 4);
			ret->has_peer = true;
		} else if (a->rta_type == UNIX_DIAG_RQLEN) {
			memcpy(&ret->rqueue, RTA_DATA(a), 4);
			memcpy(&ret->wqueue, (const uint8_t *)RTA_DATA(a) + 4, 4);
		} else if (a->rta_type == UNIX_DIAG_SHUTDOWN) {
			ret->shutdown = *(const uint8_t *)RTA_DATA(a);
		}
	}
	return 0;
}

static uint64_t option(const struct ckpt_fd *f, int name)
{
	int v = 0;
	socklen_t len = sizeof(v);

	getsockopt(f->own, SOL_SOCKET, name, &v, &len);
	return (uint64_t)v;
}

static int refuse(struct err *e, const struct ckpt_fd *f, const char *why)
{
	return err_set(e, ERR_UNSUPPORTED, "fd %d of process %d is a unix socket %s, which cannot be saved yet",
		       f->fd, (int)f->pid, why);
}

/* Looked at, not taken. Descriptors that travel in it would come to us: they are let go. */
static int copy_queue(struct ckpt_arena *a, const struct ckpt_fd *f, Ckpt__File *out, struct err *e)
{
	_Alignas(8) uint8_t control[4096];
	struct iovec iov;
	struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = control,
			    .msg_controllen = sizeof(control) };
	int len = 0;
	bool rights = false;
	ssize_t n;

	if (ioctl(f->own, FIONREAD, &len) < 0)
		return err_sys(e, "look at a unix socket");
	if (len == 0)
		return 0;
	if ((size_t)len > QUEUE_MAX)
		return refuse(e, f, "with a very long queue");
	out->data.data = ckpt_alloc(a, (size_t)len);
	if (!out->data.data)
		return err_code(e, -ENOMEM, "collect a unix socket");
	iov = (struct iovec){ out->data.data, (size_t)len };
	n = recvmsg(f->own, &m, MSG_PEEK | MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
	for (struct cmsghdr *c = n < 0 ? NULL : CMSG_FIRSTHDR(&m); c; c = CMSG_NXTHDR(&m, c))
		if (c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS) {
			rights = true;
			for (size_t i = 0; i < (c->cmsg_len - CMSG_LEN(0)) / sizeof(int); i++)
				close(((int *)(void *)CMSG_DATA(c))[i]);
		}
	if (rights)
		return refuse(e, f, "with open files on their way in it");
	if (n != len)
		return refuse(e, f, "whose queue cannot be looked at as a whole");
	out->data.len = (size_t)len;
	return 0;
}

static int copy_name(struct ckpt_dump *d, const struct ckpt_fd *f, Ckpt__File *out, struct err *e)
{
	struct sockaddr_un sa;
	socklen_t len = sizeof(sa);
	struct stat st;

	if (getsockname(f->own, (struct sockaddr *)&sa, &len) < 0 || len < sizeof(sa.sun_family) ||
	    len > sizeof(sa))
		return err_sys(e, "read the name of a unix socket");
	out->name.len = len - sizeof(sa.sun_family);
	out->name.data = ckpt_memdup(ckpt_dump_arena(d), sa.sun_path, out->name.len);
	if (!out->name.data)
		return err_code(e, -ENOMEM, "collect a unix socket");
	if (out->name.len && sa.sun_path[0]) {
		char path[sizeof(sa.sun_path) + 1] = { 0 };
		cleanup_close int fd = -EBADF;

		memcpy(path, sa.sun_path, out->name.len);
		fd = path[0] == '/' ? path_open_in_root(ckpt_dump_root(d), path, O_PATH, 0) : -EBADF;
		if (fd < 0 || fstat(fd, &st) < 0 || !S_ISSOCK(st.st_mode))
			return refuse(e, f, "with a name that is not there any more or is relative");
		out->more[M_MODE] = st.st_mode & 07777;
	}
	return 0;
}

static int dump(struct ckpt_dump *d, const struct ckpt_fd *f, Ckpt__File *out, struct err *e)
{
	struct diag g;
	int nl = ckpt_dump_diag(d, e), r;
	bool stream;

	if (nl < 0)
		return nl;
	r = ask_diag(nl, f->st.st_ino, &g);
	if (r < 0)
		return err_code(e, r, "ask for the unix socket of process %d, fd %d", (int)f->pid, f->fd);
	out->more = ckpt_alloc(ckpt_dump_arena(d), M_COUNT * sizeof(uint64_t));
	if (!out->more)
		return err_code(e, -ENOMEM, "collect a unix socket");
	out->n_more = M_COUNT;
	out->value = f->st.st_ino;
	out->value2 = g.has_peer ? g.peer : 0;
	out->more[M_TYPE] = option(f, SO_TYPE);
	out->more[M_STATE] = g.state;
	out->more[M_BACKLOG] = g.state == TCP_LISTEN ? g.wqueue : 0;
	out->more[M_SNDBUF] = option(f, SO_SNDBUF);
	out->more[M_RCVBUF] = option(f, SO_RCVBUF);
	out->more[M_PASSCRED] = option(f, SO_PASSCRED);
	out->more[M_SHUTDOWN] = g.shutdown;
	stream = out->more[M_TYPE] == SOCK_STREAM;
	r = copy_name(d, f, out, e);
	if (r < 0)
		return r;
	if (g.state == TCP_LISTEN)
		return g.rqueue ? refuse(e, f, "with connections that were not accepted") : 0;
	if (g.has_peer && out->name.len)
		return refuse(e, f, "that was accepted or is named and connected");
	if (stream && g.state == TCP_ESTABLISHED)
		return copy_queue(ckpt_dump_arena(d), f, out, e);
	return g.rqueue ? refuse(e, f, "with messages in its queue") : 0;
}

int ckpt_unix_check(const struct ckpt_tree *t, struct err *e)
{
	for (size_t i = 0; i < t->file_count; i++) {
		const Ckpt__File *f = t->files[i];
		bool found = false;

		if (f->kind != CKPT_FILE_UNIX || !f->value2)
			continue;
		for (size_t k = 0; k < t->file_count; k++)
			found |= t->files[k]->kind == CKPT_FILE_UNIX && t->files[k]->value == f->value2 &&
				 t->files[k]->value2 == f->value;
		if (!found)
			return err_set(e, ERR_UNSUPPORTED, "the other end of the unix socket %s is outside the VPS, or "
				       "a third socket's, or not accepted yet", f->path);
	}
	return 0;
}

static void set_options(int fd, const Ckpt__File *f)
{
	int snd = (int)(f->more[M_SNDBUF] / 2), rcv = (int)(f->more[M_RCVBUF] / 2), on = 1;

	/* The kernel keeps twice what it is told (socket(7)). */
	setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &snd, sizeof(snd));
	setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &rcv, sizeof(rcv));
	if (f->more[M_PASSCRED])
		setsockopt(fd, SOL_SOCKET, SO_PASSCRED, &on, sizeof(on));
}

static int open_pair(struct ckpt_opening *o, const Ckpt__File *f, size_t me, struct err *e)
{
	const Ckpt__File *mate = NULL;
	size_t at = 0;
	int fds[2];

	for (size_t i = 0; i < o->tree->file_count; i++)
		if (o->tree->files[i]->kind == CKPT_FILE_UNIX && f->value2 &&
		    o->tree->files[i]->value == f->value2 && i != me) {
			mate = o->tree->files[i];
			at = i;
		}
	if (mate && mate->n_more != M_COUNT)
		return err_set(e, ERR_FAIL, "the image is damaged: a unix socket");
	if (socketpair(AF_UNIX, (int)f->more[M_TYPE] | SOCK_CLOEXEC, 0, fds) < 0)
		return err_sys(e, "make a pair of unix sockets");
	set_options(fds[0], f);
	set_options(fds[1], mate ? mate : f);
	if ((f->data.len && send(fds[1], f->data.data, f->data.len, MSG_DONTWAIT) != (ssize_t)f->data.len) ||
	    (mate && mate->data.len &&
	     send(fds[0], mate->data.data, mate->data.len, MSG_DONTWAIT) != (ssize_t)mate->data.len)) {
		err_sys(e, "fill a unix socket");
		close(fds[0]);
		close(fds[1]);
		return -EIO;
	}
	if (mate) {
		/* 2: it will send no more; the other end then has 1 by itself. */
		if (f->more[M_SHUTDOWN] & 2)
			shutdown(fds[0], SHUT_WR);
		if (mate->more[M_SHUTDOWN] & 2)
			shutdown(fds[1], SHUT_WR);
		o->mates[at] = fds[1];
	} else {
		close(fds[1]);
	}
	return fds[0];
}

static int bind_again(int fd, const Ckpt__File *f, struct err *e)
{
	struct sockaddr_un sa = { .sun_family = AF_UNIX };
	char path[sizeof(sa.sun_path) + 1] = { 0 };
	struct stat st = { 0 };

	if (f->name.len > sizeof(sa.sun_path))
		return err_set(e, ERR_FAIL, "the image is damaged: the name of a unix socket");
	memcpy(sa.sun_path, f->name.data, f->name.len);
	memcpy(path, f->name.data, f->name.len);
	/* Its directory entry of before is another socket's by now. */
	if (path[0] && lstat(path, &st) == 0 && (!S_ISSOCK(st.st_mode) || unlink(path) < 0))
		return err_set(e, ERR_FAIL, "%s is in the way", path);
	if (bind(fd, (struct sockaddr *)&sa, (socklen_t)(sizeof(sa.sun_family) + f->name.len)) < 0)
		return err_sys(e, "bind a unix socket to %s again", path);
	if (path[0] && (chmod(path, (mode_t)f->more[M_MODE] & 07777) < 0 ||
			(st.st_mode && chown(path, st.st_uid, st.st_gid) < 0)))
		return err_sys(e, "give %s its owner", path);
	return 0;
}

static int open_again(struct ckpt_opening *o, const Ckpt__File *f, struct err *e)
{
	size_t me = 0;
	int fd;

	if (f->n_more != M_COUNT)
		return err_set(e, ERR_FAIL, "the image is damaged: a unix socket");
	while (o->tree->files[me] != f)
		me++;
	if (o->mates[me] >= 0)
		return TAKE_FD(o->mates[me]);
	if (f->value2 || (f->more[M_STATE] == TCP_ESTABLISHED && f->more[M_TYPE] == SOCK_STREAM))
		return open_pair(o, f, me, e);
	fd = socket(AF_UNIX, (int)f->more[M_TYPE] | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return err_sys(e, "make a unix socket");
	set_options(fd, f);
	if ((f->name.len && bind_again(fd, f, e) < 0) ||
	    (f->more[M_STATE] == TCP_LISTEN && listen(fd, (int)f->more[M_BACKLOG]) < 0)) {
		close(fd);
		return -EIO;
	}
	return fd;
}

const struct ckpt_kind ckpt_kind_unix = { "unix", is, dump, open_again, true };
