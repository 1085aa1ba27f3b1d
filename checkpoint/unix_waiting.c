/* SPDX-License-Identifier: GPL-2.0-or-later */

/*
 * Unix connections that wait to be accepted. The other end of one is no file yet: who connected and what has been said can
 * only be read from the kernel's memory (skbs.h), as to accept one would take it out of its listener's queue for good.
 */
#include "base/fd.h"
#include "base/macro.h"
#include "checkpoint/image.pb-c.h"
#include "checkpoint/internal.h"
#include "checkpoint/skbs.h"
#include "checkpoint/tcp.h"
#include "checkpoint/unix.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/un.h>

#define LEVELS 32u /* of pid namespaces, and the first */
#define GROUPS_MAX 65536u

struct waiting {
	const struct ckpt_sock *k;
	struct ckpt_kernel *kernel;
	uint64_t end; /* the struct sock that accept(2) will give */
	uint64_t space, level; /* of the VPS's process 1: its struct pid_namespace */
	/* What was said by one process, so far. */
	uint8_t *data;
	size_t len;
	uint64_t pid, uid, gid;
};

static int number_at(const struct waiting *w, uint64_t pid, uint64_t level, uint64_t *ret_space, uint64_t *ret, struct err *e)
{
	uint64_t numbers = 0;
	uint32_t size = 0;
	int r = ckpt_kernel_place(w->kernel, pid, "pid", "numbers", &numbers, e);

	if (r == 0)
		r = ckpt_kernel_size(w->kernel, "upid", &size, e);
	if (r == 0)
		r = ckpt_kernel_member(w->kernel, numbers + level * size, "upid", "ns", 8, ret_space, e);
	return r == 0 ? ckpt_kernel_member(w->kernel, numbers + level * size, "upid", "nr", 4, ret, e) : r;
}

/* As the VPS numbers who has this struct pid; 0: it does not. */
static int number_of(const struct waiting *w, uint64_t pid, uint64_t *ret, struct err *e)
{
	uint64_t level = 0, space = 0;
	int r = pid ? ckpt_kernel_member(w->kernel, pid, "pid", "level", 4, &level, e) : 0;

	*ret = 0;
	if (r < 0 || !pid || level < w->level)
		return r;
	r = number_at(w, pid, w->level, &space, ret, e);
	if (space != w->space)
		*ret = 0;
	return r;
}

static int find_space(struct waiting *w, struct err *e)
{
	uint64_t task = 0, pid = 0, ignored;
	cleanup_close int fd = -EBADF;
	char path[32];
	int r;

	snprintf(path, sizeof(path), "/proc/%d", (int)w->k->d->init);
	fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return err_sys(e, "open %s", path);
	r = ckpt_kernel_task(w->kernel, fd, &task, e);
	if (r == 0)
		r = ckpt_kernel_member(w->kernel, task, "task_struct", "thread_pid", 8, &pid, e);
	if (r == 0)
		r = ckpt_kernel_member(w->kernel, pid, "pid", "level", 4, &w->level, e);
	if (r == 0 && w->level > LEVELS)
		return err_set(e, ERR_UNSUPPORTED, "the kernel's pid namespaces are not as they are known");
	return r == 0 ? number_at(w, pid, w->level, &w->space, &ignored, e) : r;
}

static int collect_groups(const struct waiting *w, uint64_t cred, Ckpt__Credentials *c, struct err *e)
{
	cleanup_free uint32_t *ids = NULL;
	uint64_t info = 0, count = 0, at = 0;
	int r = ckpt_kernel_member(w->kernel, cred, "cred", "group_info", 8, &info, e);

	if (r == 0)
		r = ckpt_kernel_member(w->kernel, info, "group_info", "ngroups", 4, &count, e);
	if (r == 0)
		r = ckpt_kernel_place(w->kernel, info, "group_info", "gid", &at, e);
	if (r < 0 || !count)
		return r;
	if (count > GROUPS_MAX)
		return err_code(e, -E2BIG, "read the groups of who connected to a unix socket");
	ids = calloc(count, sizeof(*ids));
	c->groups = ckpt_alloc(ckpt_dump_arena(w->k->d), count * sizeof(*c->groups));
	if (!ids || !c->groups)
		return err_code(e, -ENOMEM, "collect unix sockets");
	r = ckpt_kernel_bytes(w->kernel, at, ids, count * sizeof(*ids), e);
	for (size_t i = 0; r == 0 && i < count; i++)
		c->groups[c->n_groups++] = ckpt_dump_id(w->k->d, ids[i]);
	return r;
}

/* What SO_PEERCRED will say of it. */
static int collect_connector(const struct waiting *w, struct err *e)
{
	Ckpt__UnixSocket *u = w->k->s->local;
	uint64_t pid = 0, cred = 0, uid = 0, gid = 0, number = 0;
	int r = ckpt_kernel_member(w->kernel, w->end, "sock", "sk_peer_pid", 8, &pid, e);

	if (r == 0)
		r = ckpt_kernel_member(w->kernel, w->end, "sock", "sk_peer_cred", 8, &cred, e);
	if (r == 0)
		r = ckpt_kernel_member(w->kernel, cred, "cred", "euid", 4, &uid, e);
	if (r == 0)
		r = ckpt_kernel_member(w->kernel, cred, "cred", "egid", 4, &gid, e);
	if (r == 0)
		r = number_of(w, pid, &number, e);
	if (r < 0)
		return r;
	u->connector = ckpt_unix_credentials(w->k->d, &(struct ucred){ (pid_t)number, (uid_t)uid, (gid_t)gid });
	if (!u->connector)
		return err_code(e, -ENOMEM, "collect unix sockets");
	return collect_groups(w, cred, u->connector, e);
}

static int keep_said(struct waiting *w, struct err *e)
{
	Ckpt__SocketData *q = ckpt_sock_queue(w->k, 1, w->data, w->len);
	uint64_t number = 0;
	int r = q ? number_of(w, w->pid, &number, e) : err_code(e, -ENOMEM, "collect unix sockets");

	if (r < 0 || !number)
		return r;
	q->sender = ckpt_unix_credentials(w->k->d, &(struct ucred){ (pid_t)number, (uid_t)w->uid, (gid_t)w->gid });
	return q->sender ? 0 : err_code(e, -ENOMEM, "collect unix sockets");
}

/* Of a stream, what one process has said is one piece, as it is for who reads it. */
static int hear(const struct ckpt_skb *b, void *arg, struct err *e)
{
	struct waiting *w = arg;
	uint64_t cb = 0, pid = 0, uid = 0, gid = 0, files = 0;
	bool joins;
	void *more;
	int r = ckpt_kernel_place(w->kernel, b->at, "sk_buff", "cb", &cb, e);

	if (r == 0)
		r = ckpt_kernel_member(w->kernel, cb, "unix_skb_parms", "pid", 8, &pid, e);
	if (r == 0)
		r = ckpt_kernel_member(w->kernel, cb, "unix_skb_parms", "uid", 4, &uid, e);
	if (r == 0)
		r = ckpt_kernel_member(w->kernel, cb, "unix_skb_parms", "gid", 4, &gid, e);
	if (r == 0)
		r = ckpt_kernel_member(w->kernel, cb, "unix_skb_parms", "fp", 8, &files, e);
	if (r == 0 && files)
		return ckpt_sock_busy(w->k, "with open files for who has not accepted it yet", e);
	joins = w->k->s->type == SOCK_STREAM && pid == w->pid && uid == w->uid && gid == w->gid &&
		w->len + b->len <= CKPT_SOCKET_PIECE;
	if (r == 0 && w->data && !joins) {
		r = keep_said(w, e);
		w->len = 0;
	}
	if (r < 0)
		return r;
	more = realloc(w->data, w->len + b->len + 1);
	if (!more)
		return err_code(e, -ENOMEM, "collect unix sockets");
	w->data = more;
	memcpy(w->data + w->len, b->data, b->len);
	w->len += b->len;
	w->pid = pid;
	w->uid = uid;
	w->gid = gid;
	return 0;
}

static int collect_said(struct waiting *w, struct err *e)
{
	uint64_t queue = 0, urgent = 0;
	int r = ckpt_kernel_place(w->kernel, w->end, "sock", "sk_receive_queue", &queue, e);

	if (r == 0 && ckpt_kernel_has(w->kernel, "unix_sock", "oob_skb"))
		r = ckpt_kernel_member(w->kernel, w->end, "unix_sock", "oob_skb", 8, &urgent, e);
	if (r == 0 && urgent)
		return ckpt_sock_busy(w->k, "with urgent data for who has not accepted it yet", e);
	if (r == 0)
		r = ckpt_skbs_each(w->kernel, queue, false, hear, w, e);
	if (r == 0 && w->data)
		r = keep_said(w, e);
	free(TAKE_PTR(w->data));
	return r;
}

static int open_kernel(struct waiting *w)
{
	struct err ignored;
	int r = w->k->d->kernel ? 0 : ckpt_kernel_open(&w->k->d->kernel, &ignored);

	w->kernel = w->k->d->kernel;
	return r;
}

/* An end that was closed is in no state of a connection any more. */
bool ckpt_unix_is_waiting(const struct ckpt_sock *k, bool shut)
{
	struct waiting w = { .k = k };
	uint64_t own = 0, state = 0;
	struct err ignored;

	if (!shut)
		return true;
	return open_kernel(&w) == 0 && ckpt_skbs_sock(w.kernel, k->fd, &own, &ignored) == 0 &&
	       ckpt_kernel_member(w.kernel, own, "unix_sock", "peer", 8, &w.end, &ignored) == 0 && w.end &&
	       ckpt_kernel_member(w.kernel, w.end, "sock", "__sk_common.skc_state", 1, &state, &ignored) == 0 &&
	       state == TCP_ESTABLISHED;
}

int ckpt_unix_waiting_collect(const struct ckpt_sock *k, bool said, struct err *e)
{
	struct waiting w = { .k = k };
	uint64_t own = 0;
	int r;

	if (open_kernel(&w) < 0)
		return said ? ckpt_sock_busy(k, "with data for who has not accepted it yet", e) : 0;
	r = ckpt_skbs_sock(w.kernel, k->fd, &own, e);
	if (r == 0)
		r = ckpt_kernel_member(w.kernel, own, "unix_sock", "peer", 8, &w.end, e);
	if (r == 0 && !w.end)
		return ckpt_sock_busy(k, "whose other end has just gone", e);
	if (r == 0)
		r = find_space(&w, e);
	if (r == 0)
		r = collect_connector(&w, e);
	return r == 0 && said ? collect_said(&w, e) : r;
}

/* Who has connected and is gone: a file of nobody's, which ends when all is restored, as it has ended. */
struct leaving {
	const struct ckpt_sock *k; /* the listener */
	const struct ckpt_unix_diag *g;
	struct ckpt_kernel *kernel;
	uint32_t turn;
};

static int read_name(const struct leaving *l, uint64_t client, ProtobufCBinaryData *ret, struct err *e)
{
	uint64_t addr = 0, len = 0, at = 0;
	struct sockaddr_un sa = { 0 };
	int r = ckpt_kernel_member(l->kernel, client, "unix_sock", "addr", 8, &addr, e);

	if (r < 0 || !addr)
		return r;
	r = ckpt_kernel_member(l->kernel, addr, "unix_address", "len", 4, &len, e);
	if (r == 0)
		r = ckpt_kernel_place(l->kernel, addr, "unix_address", "name", &at, e);
	if (r < 0)
		return r;
	/* The kernel counts a NUL behind a path that fills its field. */
	len = len < sizeof(sa) ? len : sizeof(sa);
	r = ckpt_kernel_bytes(l->kernel, at, &sa, len, e);
	/* It may be another's by now, and is one for all. */
	if (r == 0 && len > sizeof(sa_family_t) && !sa.sun_path[0])
		return ckpt_sock_busy(l->k, "with a connection from an abstract name that was closed before it accepted it", e);
	ret->data = ckpt_memdup(ckpt_dump_arena(l->k->d), &sa, len);
	ret->len = len;
	return r == 0 && !ret->data ? err_code(e, -ENOMEM, "collect unix sockets") : r;
}

static Ckpt__File *new_client(const struct leaving *l, uint64_t end)
{
	struct ckpt_arena *a = ckpt_dump_arena(l->k->d);
	Ckpt__File *f = ckpt_alloc(a, sizeof(*f));
	Ckpt__Socket *s = ckpt_alloc(a, sizeof(*s));
	Ckpt__UnixSocket *u = ckpt_alloc(a, sizeof(*u));

	if (!f || !s || !u)
		return NULL;
	ckpt__file__init(f);
	ckpt__socket__init(s);
	ckpt__unix_socket__init(u);
	f->kind = CKPT_FILE_UNIX;
	f->flags = O_RDWR;
	f->path = l->k->file->path;
	f->space = l->k->file->space;
	f->value2 = end;
	f->socket = s;
	s->family = AF_UNIX;
	s->type = l->k->s->type;
	s->state = TCP_CLOSE;
	s->mode = 0777;
	s->peer = l->k->s->name;
	s->local = u;
	u->link = CKPT_UNIX_WAITING;
	u->peer = l->k->id;
	u->turn = l->turn;
	return f;
}

static int keep_client(const struct ckpt_skb *b, void *arg, struct err *e)
{
	struct leaving *l = arg;
	uint64_t end = 0, client = 0;
	Ckpt__File *f;
	int r = ckpt_kernel_member(l->kernel, b->at, "sk_buff", "sk", 8, &end, e);

	if (r == 0)
		r = ckpt_kernel_member(l->kernel, end, "unix_sock", "peer", 8, &client, e);
	if (r < 0 || l->turn == l->g->pending_count || l->g->pending[l->turn++])
		return r;
	f = new_client(l, end);
	if (!f)
		return err_code(e, -ENOMEM, "collect unix sockets");
	r = client ? read_name(l, client, &f->socket->name, e) : 0;
	f->socket->local->bound = f->socket->name.len > sizeof(sa_family_t) ? CKPT_UNIX_GONE : CKPT_UNIX_UNBOUND;
	return r == 0 && ckpt_file_push(l->k->d, f) < 0 ? err_code(e, -ENOMEM, "collect unix sockets") : r;
}

int ckpt_unix_leaving_collect(const struct ckpt_sock *k, const struct ckpt_unix_diag *g, struct err *e)
{
	struct waiting w = { .k = k };
	struct leaving l = { .k = k, .g = g };
	uint64_t own = 0, queue = 0;
	int r;

	if (open_kernel(&w) < 0)
		return ckpt_sock_busy(k, "with connections that were closed before it accepted them", e);
	l.kernel = w.kernel;
	r = ckpt_skbs_sock(w.kernel, k->fd, &own, e);
	if (r == 0)
		r = ckpt_kernel_place(w.kernel, own, "sock", "sk_receive_queue", &queue, e);
	return r == 0 ? ckpt_skbs_each(w.kernel, queue, true, keep_client, &l, e) : r;
}

int ckpt_unix_leaving_queue(struct ckpt_dump *d, uint32_t id, struct err *e)
{
	Ckpt__File *f = d->tree.files[id - 1];
	const struct ckpt_seen *listener = d->files.by_file[f->socket->local->peer - 1];
	const struct ckpt_sock k = { .d = d, .fd = -EBADF, .id = id, .file = f, .s = f->socket, .pid = listener->pid,
				     .number = listener->fd };
	struct waiting w = { .k = &k, .kernel = d->kernel, .end = f->value2 };
	int r = find_space(&w, e);

	f->value2 = 0;
	if (r == 0)
		r = collect_connector(&w, e);
	return r == 0 ? collect_said(&w, e) : r;
}
