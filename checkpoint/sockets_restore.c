/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Sockets, made again. */
#include "checkpoint/sockets.h"

#include "base/fd.h"
#include "base/macro.h"
#include "base/path.h"
#include "checkpoint/alike.h"
#include "checkpoint/datagrams.h"
#include "checkpoint/image.pb-c.h"
#include "checkpoint/restore_internal.h"
#include "checkpoint/sockopt.h"
#include "checkpoint/tcp.h"
#include "checkpoint/unix.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/netlink.h>
#include <linux/un.h>
#include <netinet/in.h>
#include <netpacket/packet.h>
#include <sys/socket.h>
#include <sys/stat.h>

static int bad(const char *what, uint64_t id, struct err *e)
{
	return err_set(e, ERR_FAIL, "the image is damaged: %s of file %llu", what,
		       (unsigned long long)id);
}

static const struct {
	uint32_t kind, family;
	size_t addr_max;
} families[] = {
	{ CKPT_FILE_INET, AF_INET, sizeof(struct sockaddr_in) },
	{ CKPT_FILE_INET, AF_INET6, sizeof(struct sockaddr_in6) },
	{ CKPT_FILE_UNIX, AF_UNIX, sizeof(struct sockaddr_un) },
	{ CKPT_FILE_NETLINK, AF_NETLINK, sizeof(struct sockaddr_nl) },
	{ CKPT_FILE_PACKET, AF_PACKET, sizeof(struct sockaddr_ll) },
};

/* Addresses are of the socket's own family, whole ones. */
static bool is_address(const ProtobufCBinaryData *a, uint32_t family, size_t max)
{
	sa_family_t f;

	if (a->len == 0)
		return true;
	if (a->len < sizeof(f) || a->len > max)
		return false;
	memcpy(&f, a->data, sizeof(f));
	return f == family && (family == AF_UNIX || family == AF_PACKET || a->len == max);
}

static bool is_good_tcp(const Ckpt__Socket *s)
{
	const Ckpt__Tcp *t = s->tcp;

	if (!s->name.len || s->state < TCP_ESTABLISHED || s->state > TCP_CLOSING)
		return false;
	if (s->state == TCP_LISTEN || (s->state == TCP_CLOSE && !t))
		return true;
	if (!t || ckpt_socket_is_multipath(s) || s->state == TCP_SYN_RECV || s->state == TCP_TIME_WAIT)
		return false;
	if (s->state == TCP_CLOSE)
		return true;
	return s->peer.len && t->send_scale <= 14 && t->receive_scale <= 14 &&
	       (s->state == TCP_SYN_SENT || t->window.len == sizeof(struct tcp_repair_window));
}

static bool is_good(const struct ckpt_tree *t, const Ckpt__File *f)
{
	switch (f->socket->family) {
	case AF_UNIX:
		return ckpt_unix_is_good(t, f);
	case AF_NETLINK:
		return ckpt_netlink_is_good(f->socket);
	case AF_PACKET:
		return ckpt_packet_is_good(f->socket);
	default:
		return ckpt_socket_is_tcp(f->socket) ? is_good_tcp(f->socket) :
						       ckpt_inet_is_good(f->socket);
	}
}

static bool is_datagram(const Ckpt__Socket *s)
{
	return (s->family == AF_INET || s->family == AF_INET6) && !ckpt_socket_is_tcp(s);
}

static int check_socket(const struct ckpt_tree *t, const Ckpt__File *f, uint64_t id, struct err *e)
{
	const Ckpt__Socket *s = f->socket;

	for (size_t i = 0; i < ARRAY_SIZE(families); i++) {
		if (families[i].kind != f->kind || families[i].family != s->family)
			continue;
		if (!is_address(&s->name, s->family, families[i].addr_max) ||
		    !is_address(&s->peer, s->family, families[i].addr_max))
			return bad("an address", id, e);
		if (!ckpt_sockopts_are_good(s->option, s->n_option) || !ckpt_md5_is_good(s))
			return bad("an option", id, e);
		if (!ckpt_waiting_is_good(s))
			return bad("a connection that waits", id, e);
		return is_good(t, f) ? 0 : bad("a socket", id, e);
	}
	return bad("a socket", id, e);
}

static bool is_socket(uint32_t kind)
{
	for (size_t i = 0; i < ARRAY_SIZE(families); i++)
		if (families[i].kind == kind)
			return true;
	return false;
}

/* Of connections that wait, one after the other. */
static bool is_queue(const Ckpt__Socket *s, const Ckpt__SocketData *before, const Ckpt__SocketData *q)
{
	if (!s->n_waiting)
		return q->queue <= 1;
	return q->queue < s->n_waiting && (!before || before->file != q->file || before->queue <= q->queue);
}

int ckpt_sockets_check(struct ckpt_tree *t, struct err *e)
{
	uint32_t last = 0;

	for (size_t i = 0; i < t->file_count; i++) {
		const Ckpt__File *f = t->files[i];
		int r;

		if (!f->socket && !is_socket(f->kind))
			continue;
		r = f->socket ? check_socket(t, f, i + 1, e) : bad("a socket", i + 1, e);
		if (r < 0)
			return r;
	}
	for (size_t i = 0; i < t->queue_count; i++) {
		const Ckpt__SocketData *q = t->queues[i];

		if (q->n_rights > 253 || q->from.len > sizeof(struct sockaddr_un) ||
		    (q->sender && (q->sender->pid > 4194304 || q->sender->n_groups)))
			return bad("what is queued", q->file, e);
		if (q->file < last || q->file == 0 || q->file > t->file_count ||
		    !t->files[q->file - 1]->socket || !is_queue(t->files[q->file - 1]->socket, i ? t->queues[i - 1] : NULL, q))
			return bad("what is queued", q->file, e);
		if (is_datagram(t->files[q->file - 1]->socket) && !ckpt_datagram_is_good(t->files[q->file - 1]->socket, q))
			return bad("what is queued", q->file, e);
		/* What who waits has said, and only that, goes the other way. */
		if (t->files[q->file - 1]->socket->family == AF_UNIX &&
		    (t->files[q->file - 1]->socket->local->link == CKPT_UNIX_WAITING) != (q->queue == 1))
			return bad("what is queued", q->file, e);
		for (size_t k = 0; k < q->n_rights; k++)
			if (q->rights[k] == 0 || q->rights[k] > t->file_count)
				return bad("what is queued", q->file, e);
		last = q->file;
	}
	return ckpt_alike_check(t, e);
}

Ckpt__SocketData **ckpt_socket_queue(const struct ckpt_tree *t, uint32_t id, size_t *ret_count)
{
	size_t lo = 0, hi = t->queue_count, n = 0;

	while (lo < hi) {
		size_t mid = (lo + hi) / 2;

		if (t->queues[mid]->file < id)
			lo = mid + 1;
		else
			hi = mid;
	}
	while (lo + n < t->queue_count && t->queues[lo + n]->file == id)
		n++;
	*ret_count = n;
	return &t->queues[lo];
}

int ckpt_socket_place(struct ckpt_opening *o, size_t i, int fd, struct err *e)
{
	const Ckpt__Socket *s = o->tree->files[i]->socket;
	int at = dup3(fd, o->base + (int)i, O_CLOEXEC);

	if (at < 0)
		return err_sys(e, "place a socket");
	o->fds[i] = at;
	/* All begin with the same mode (sock_alloc() in the kernel). */
	if (fchown(at, s->uid, s->gid) < 0 || ((s->mode & 07777) != 0777 && fchmod(at, s->mode & 07777) < 0))
		return err_sys(e, "give a socket its owner");
	return 0;
}

static int make(int fd, const Ckpt__File *f, uint32_t id, struct err *e)
{
	switch (f->socket->family) {
	case AF_NETLINK:
		return ckpt_netlink_make(fd, f, e);
	case AF_PACKET:
		return ckpt_packet_make(fd, f, e);
	default:
		return ckpt_socket_is_tcp(f->socket) ? ckpt_tcp_make(fd, f, id, e) :
						       ckpt_inet_make(fd, f, e);
	}
}

static int make_one(struct ckpt_opening *o, size_t i, struct ckpt_alike_logs *logs, struct err *e)
{
	const Ckpt__File *f = o->tree->files[i];
	const Ckpt__Socket *s = f->socket;
	cleanup_close int fd =
		ckpt_opening_socket(o, f->space, (int)s->family, (int)s->type, (int)s->protocol, e);
	int r;

	/* Where there is no multipath TCP (any more), programs listen without it. */
	if (fd < 0 && ckpt_socket_is_multipath(s))
		fd = ckpt_opening_socket(o, f->space, (int)s->family, (int)s->type, IPPROTO_TCP, e);
	if (fd < 0)
		return fd;
	r = is_datagram(s) ? ckpt_datagrams_fill(o, i, fd, e) : 0;
	if (r == 0)
		r = ckpt_alike_set(logs, fd, f, CKPT_SOCKOPT_EARLY, e);
	if (r == 0)
		r = ckpt_md5_set(fd, s, e);
	if (r == 0)
		r = make(fd, f, (uint32_t)i + 1, e);
	if (r == 0)
		r = ckpt_alike_set(logs, fd, f, CKPT_SOCKOPT_BOUND, e);
	if (r == 0 && s->n_ring)
		r = ckpt_rings_make(o, fd, (uint32_t)i + 1, e);
	return r == 0 ? ckpt_socket_place(o, i, fd, e) : r;
}

int ckpt_socket_open(struct ckpt_opening *o, const Ckpt__File *f, struct err *e)
{
	(void)o;
	return err_set(e, ERR_FAIL, "the image is damaged: a socket, %s", f->path);
}

/* Who listens comes first, or is bound by multipath TCP: what it accepted has the same port, and is forced onto it.
 * Who hears of the kernel's doings comes last, and hears nothing of ours. */
static int pass_of(const Ckpt__Socket *s)
{
	return s->family == AF_NETLINK ? 2 : s->state != TCP_LISTEN && !ckpt_socket_is_multipath(s);
}

bool ckpt_sockets_fill_late(const struct ckpt_tree *t)
{
	for (size_t i = 0; i < t->queue_count; i++)
		for (size_t k = 0; k < t->queues[i]->n_rights; k++)
			if (ckpt_file_opens_late(t->files[t->queues[i]->rights[k] - 1]))
				return true;
	return false;
}

static int make_all(struct ckpt_opening *o, struct err *e)
{
	struct ckpt_alike_logs *logs = ckpt_alike_logs_new(o->tree);
	int r = logs ? 0 : err_code(e, -ENOMEM, "make sockets again");

	for (int pass = 0; pass < 3; pass++)
		for (size_t i = 0; r == 0 && i < o->tree->file_count; i++) {
			const Ckpt__Socket *s = o->tree->files[i]->socket;

			if (s && s->family != AF_UNIX && pass_of(s) == pass)
				r = make_one(o, i, logs, e);
		}
	ckpt_alike_logs_free(logs);
	return r;
}

int ckpt_sockets_make(struct ckpt_opening *o, struct err *e)
{
	int r = make_all(o, e);

	for (size_t i = 0; r == 0 && i < o->tree->file_count; i++)
		if (o->tree->files[i]->kind == CKPT_FILE_PACKET)
			r = ckpt_packet_bind(o->fds[i], o->tree->files[i]->socket, e);
	for (size_t i = 0; r == 0 && i < o->tree->file_count; i++) {
		const Ckpt__Socket *s = o->tree->files[i]->socket;

		if (s && (s->family == AF_INET || s->family == AF_INET6) && !ckpt_socket_is_tcp(s))
			r = ckpt_inet_settle(o->fds[i], s, e);
	}
	return r == 0 ? ckpt_unix_make(o, e) : r;
}

static int set_last(struct ckpt_opening *o, struct err *e)
{
	struct ckpt_alike_logs *logs = ckpt_alike_logs_new(o->tree);
	int r = logs ? 0 : err_code(e, -ENOMEM, "make sockets again");

	for (size_t i = 0; r == 0 && i < o->tree->file_count; i++)
		if (o->tree->files[i]->socket)
			r = ckpt_alike_set(logs, o->fds[i], o->tree->files[i], CKPT_SOCKOPT_LAST, e);
	ckpt_alike_logs_free(logs);
	return r;
}

int ckpt_sockets_fill(struct ckpt_opening *o, struct err *e)
{
	int r = ckpt_unix_fill(o, e);

	if (r == 0)
		r = ckpt_unix_link(o, e);
	if (r == 0)
		r = set_last(o, e);
	for (size_t i = 0; r == 0 && i < o->tree->file_count; i++)
		if (o->tree->files[i]->socket && is_datagram(o->tree->files[i]->socket))
			ckpt_corked_say(o->tree, i, o->fds[i]);
	return r;
}
