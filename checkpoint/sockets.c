/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Sockets, saved. */
#include "checkpoint/sockets.h"

#include "base/fd.h"
#include "base/macro.h"
#include "base/proc.h"
#include "checkpoint/guard.h"
#include "checkpoint/image.pb-c.h"
#include "checkpoint/internal.h"
#include "checkpoint/peek.h"
#include "checkpoint/tcp.h"
#include "checkpoint/unix.h"
#include "netns/netns.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/netlink.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>

int ckpt_socket_family(const struct ckpt_fd *f)
{
	int domain = -1;
	socklen_t len = sizeof(domain);

	if (!S_ISSOCK(f->st.st_mode) || (f->flags & O_PATH) ||
	    getsockopt(f->own, SOL_SOCKET, SO_DOMAIN, &domain, &len) < 0)
		return -1;
	return domain;
}

uint32_t ckpt_socket_kind(const struct ckpt_fd *f)
{
	switch (ckpt_socket_family(f)) {
	case AF_UNIX: return CKPT_FILE_UNIX;
	case AF_INET:
	case AF_INET6: return CKPT_FILE_INET;
	case AF_NETLINK: return CKPT_FILE_NETLINK;
	case AF_PACKET: return CKPT_FILE_PACKET;
	default: return CKPT_FILE_FOREIGN;
	}
}

bool ckpt_socket_is_tcp(const Ckpt__Socket *s)
{
	return (s->family == AF_INET || s->family == AF_INET6) && s->type == SOCK_STREAM;
}

bool ckpt_socket_is_multipath(const Ckpt__Socket *s)
{
	return ckpt_socket_is_tcp(s) && s->protocol == IPPROTO_MPTCP;
}

static int number(int fd, int name)
{
	int v = 0;
	socklen_t len = sizeof(v);

	return getsockopt(fd, SOL_SOCKET, name, &v, &len) < 0 ? 0 : v;
}

int ckpt_socket_dump(struct ckpt_dump *d, const struct ckpt_fd *f, Ckpt__File *out, struct err *e)
{
	Ckpt__Socket *s = ckpt_alloc(ckpt_dump_arena(d), sizeof(*s));

	if (!s)
		return err_code(e, -ENOMEM, "collect sockets");
	ckpt__socket__init(s);
	s->family = (uint32_t)number(f->own, SO_DOMAIN);
	s->type = (uint32_t)number(f->own, SO_TYPE);
	s->protocol = (uint32_t)number(f->own, SO_PROTOCOL);
	s->uid = ckpt_dump_id(d, f->st.st_uid);
	s->gid = ckpt_dump_id(d, f->st.st_gid);
	s->mode = f->st.st_mode & 07777;
	out->value = f->st.st_ino;
	out->socket = s;
	return 0;
}

int ckpt_sock_refuse(const struct ckpt_sock *k, const char *why, struct err *e)
{
	return err_set(e, ERR_UNSUPPORTED,
		       "fd %d of process %d is a socket %s, which cannot be saved", k->number,
		       (int)k->pid, why);
}

int ckpt_sock_busy(const struct ckpt_sock *k, const char *why, struct err *e)
{
	err_set(e, ERR_UNSUPPORTED, "fd %d of process %d is a socket %s, which cannot be saved",
		k->number, (int)k->pid, why);
	return -EAGAIN;
}

/* The kernel counts a NUL behind a path that fills its field. */
static size_t length(const Ckpt__Socket *s, socklen_t len)
{
	return s->family == AF_UNIX && len > sizeof(struct sockaddr_un) ?
		       sizeof(struct sockaddr_un) :
		       len;
}

int ckpt_sock_names(const struct ckpt_sock *k, struct err *e)
{
	struct sockaddr_storage sa;
	socklen_t len = sizeof(sa);
	Ckpt__Socket *s = k->s;

	if (getsockname(k->fd, (struct sockaddr *)&sa, &len) < 0 || len > sizeof(sa))
		return err_sys(e, "read the name of a socket");
	s->name.data = ckpt_memdup(ckpt_dump_arena(k->d), &sa, len);
	s->name.len = length(s, len);
	/* SO_PEERNAME tells it also while TCP is not connected yet, and wants the right length. */
	if (!ckpt_socket_is_tcp(s))
		len = sizeof(sa);
	if (ckpt_socket_is_tcp(s) ?
		    s->state != TCP_CLOSE &&
			    getsockopt(k->fd, SOL_SOCKET, SO_PEERNAME, &sa, &len) == 0 :
		    getpeername(k->fd, (struct sockaddr *)&sa, &len) == 0 && len <= sizeof(sa)) {
		s->peer.data = ckpt_memdup(ckpt_dump_arena(k->d), &sa, len);
		s->peer.len = length(s, len);
	}
	return s->name.data && (!s->peer.len || s->peer.data) ?
		       0 :
		       err_code(e, -ENOMEM, "collect sockets");
}

Ckpt__SocketData *ckpt_sock_queue(const struct ckpt_sock *k, uint32_t queue, const void *data,
				  size_t len)
{
	struct ckpt_arena *a = ckpt_dump_arena(k->d);
	Ckpt__SocketData *q = ckpt_alloc(a, sizeof(*q));

	if (!q)
		return NULL;
	ckpt__socket_data__init(q);
	q->file = k->id;
	q->queue = queue;
	q->data.data = ckpt_memdup(a, data, len);
	q->data.len = len;
	if (!q->data.data || ckpt_push(a, &k->d->tree.queues, &k->d->tree.queue_count, q) < 0)
		return NULL;
	return q;
}

int ckpt_dump_netns(const struct ckpt_dump *d, struct err *e)
{
	cleanup_close int its = -EBADF, own = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
	char path[64];
	struct stat a, b;

	snprintf(path, sizeof(path), "/proc/%d/ns/net", (int)d->init);
	its = open(path, O_RDONLY | O_CLOEXEC);
	if (its < 0 || own < 0 || fstat(its, &a) < 0 || fstat(own, &b) < 0)
		return err_sys(e, "open %s", path);
	return a.st_ino == b.st_ino ? -EXDEV : TAKE_FD(its);
}

/* That of process 1, or another that the VPS made. */
static int open_space(const struct ckpt_dump *d, uint32_t space, struct err *e)
{
	int fd;

	if (!space)
		return ckpt_dump_netns(d, e);
	fd = fcntl(d->spaces.space[space - 1].fd, F_DUPFD_CLOEXEC, 3);
	return fd < 0 ? err_sys(e, "keep a network namespace") : fd;
}

/* Nothing arrives from here on, until the dump is done or its engine dies. */
static int lock(struct ckpt_dump *d, uint32_t space, struct err *e)
{
	cleanup_close int its = -EBADF;
	int fd;

	for (size_t i = 0; i < d->net_lock_count; i++)
		if (d->net_lock[i].space == space)
			return 0;
	if (d->net_lock_count == ARRAY_SIZE(d->net_lock))
		return err_set(e, ERR_UNSUPPORTED,
			       "the VPS has internet sockets in more than %zu network namespaces, "
			       "which cannot be saved",
			       ARRAY_SIZE(d->net_lock));
	its = open_space(d, space, e);
	if (its == -EXDEV)
		return err_set(e, ERR_UNSUPPORTED,
			       "the VPS has sockets in the host's own network (mode=host), "
			       "which cannot be saved");
	fd = its < 0 ? its : netns_lock(its, e);
	if (fd < 0)
		return fd;
	d->net_lock[d->net_lock_count].space = space;
	d->net_lock[d->net_lock_count++].fd = fd;
	return 0;
}

void ckpt_sockets_unlock(struct ckpt_dump *d)
{
	while (d->net_lock_count)
		close(d->net_lock[--d->net_lock_count].fd);
}

static int collect_one(const struct ckpt_sock *k, struct err *e)
{
	int r;

	if (k->s->family == AF_UNIX) {
		r = ckpt_unix_collect(k, e);
		return r == 0 ? ckpt_unix_queue(k, e) : r;
	}
	if (k->s->family == AF_NETLINK)
		return ckpt_netlink_collect(k, e);
	if (k->s->family == AF_PACKET)
		return ckpt_packet_collect(k, e);
	r = lock(k->d, k->file->space, e);
	if (r == 0)
		r = ckpt_zerocopy_check(k, e);
	if (r < 0)
		return r;
	r = ckpt_socket_is_tcp(k->s) ? ckpt_tcp_collect(k, e) : ckpt_inet_collect(k, e);
	return r == 0 ? ckpt_reuseport_collect(k, e) : r;
}

/* Mostly the one before was of the same task. */
static int pidfd_of(struct ckpt_dump *d, pid_t tid)
{
	if (d->socks_of != tid)
		fd_close(&d->socks_pidfd);
	if (d->socks_pidfd < 0)
		d->socks_pidfd = pidfd_open_task(tid);
	d->socks_of = tid;
	return d->socks_pidfd;
}

int ckpt_sock_reopen(struct ckpt_dump *d, uint32_t id, struct ckpt_sock *ret)
{
	const struct ckpt_seen *s = d->files.by_file[id - 1];
	int pidfd = pidfd_of(d, s->pid);

	*ret = (struct ckpt_sock){ .d = d,
				   .fd = -EBADF,
				   .id = id,
				   .file = d->tree.files[id - 1],
				   .pid = s->pid,
				   .number = s->fd };
	ret->s = ret->file->socket;
	ret->fd = pidfd < 0 ? -1 : (int)syscall(SYS_pidfd_getfd, pidfd, s->fd, 0);
	return ret->fd < 0 ? -errno : 0;
}

static int collect_all(struct ckpt_dump *d, struct ckpt_peers *peers, struct err *e)
{
	int r = 0;

	for (uint32_t id = 1; r == 0 && id <= d->tree.file_count; id++) {
		struct ckpt_sock k;

		if (!d->tree.files[id - 1]->socket)
			continue;
		/* A listener has told of it. */
		if (d->tree.files[id - 1]->socket->local) {
			r = ckpt_unix_leaving_queue(d, id, e);
			continue;
		}
		r = ckpt_sock_reopen(d, id, &k);
		if (r < 0)
			return err_code(e, r, "take fd %d of process %d", k.number, (int)k.pid);
		r = ckpt_note(d, collect_one(&k, e), k.pid, k.number, e);
		if (r == 0 && k.s->local)
			r = ckpt_peers_add(d, peers, id, TAKE_FD(k.fd), e);
		fd_close(&k.fd);
	}
	return r == 0 ? ckpt_peers_collect(d, peers, e) : r;
}

int ckpt_sockets_collect(struct ckpt_dump *d, struct err *e)
{
	struct ckpt_peers peers = { .count = 0 };
	int r = collect_all(d, &peers, e);

	ckpt_peers_done(&peers);
	ckpt_peeker_free(d->peeker);
	ckpt_guard_free(d->guard);
	ckpt_shuts_free(d->shuts);
	d->peeker = NULL;
	d->guard = NULL;
	d->shuts = NULL;
	if (r == 0)
		r = ckpt_unix_relate(d, e);
	ckpt_unix_tables_free(TAKE_PTR(d->unixes));
	return r;
}

/* A namespace whose sockets are gone would answer their peers with resets, as it would those that nobody has accepted. */
static int seal(struct ckpt_dump *d, bool on, struct err *e)
{
	struct err ignored;
	int r = 0;

	/* Of a nested one the peers may be reached past the VPS's own, by a macvlan or ipvlan of its link. */
	for (size_t i = 0; i < d->net_lock_count && (r == 0 || !on); i++) {
		cleanup_close int its = open_space(d, d->net_lock[i].space, r < 0 ? &ignored : e);
		int n = its < 0 ? its : on ? netns_silence(its, e) : netns_seal(its, false, r < 0 ? &ignored : e);

		if (its < 0 && !on)
			continue; /* it is gone */
		r = r < 0 ? r : n;
	}
	return r;
}

int ckpt_sockets_silence(struct ckpt_dump *d, bool silent, struct err *e)
{
	int r = seal(d, silent, e);

	for (uint32_t id = 1; r == 0 && id <= d->tree.file_count; id++) {
		const Ckpt__Socket *s = d->tree.files[id - 1]->socket;
		struct ckpt_sock k;

		if (!s || !ckpt_socket_is_tcp(s) || ckpt_socket_is_multipath(s) || s->state == TCP_LISTEN)
			continue;
		r = ckpt_sock_reopen(d, id, &k);
		if (r == 0)
			r = ckpt_tcp_silence(&k, silent);
		fd_close(&k.fd);
	}
	return r < 0 ? err_code(e, r, "hold the VPS's connections") : 0;
}
