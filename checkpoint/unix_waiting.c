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
#include "checkpoint/unix.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/socket.h>

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

int ckpt_unix_waiting_collect(const struct ckpt_sock *k, bool said, struct err *e)
{
	struct waiting w = { .k = k };
	struct err ignored;
	uint64_t own = 0;
	int r;

	if (!k->d->kernel && ckpt_kernel_open(&k->d->kernel, &ignored) < 0)
		return said ? ckpt_sock_busy(k, "with data for who has not accepted it yet", e) : 0;
	w.kernel = k->d->kernel;
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
