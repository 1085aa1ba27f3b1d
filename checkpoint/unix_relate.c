/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Unix sockets, saved: how they belong together. File.value is the inode's number, value2 the other end's, doubled, and 1
 * when its path is known to be its own; both go in the end. A VPS may have tens of thousands, and stands still: they are
 * put in order, and looked up. */
#include "checkpoint/unix.h"

#include "base/macro.h"
#include "checkpoint/image.pb-c.h"
#include "checkpoint/internal.h"
#include "checkpoint/tcp.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/un.h>

#define RUNTIME_NOTIFY "/run/host/notify" /* the holder's, made anew at the same place */

struct relating {
	struct ckpt_dump *d;
	uint32_t *by_ino, *by_name; /* ids of all, in order; by_name by what they are bound at as well */
	size_t count;
};

static bool is_unix(const Ckpt__File *f)
{
	return f->socket && f->socket->family == AF_UNIX;
}

static Ckpt__File *file(const struct ckpt_dump *d, uint32_t id)
{
	return d->tree.files[id - 1];
}

static int compare(uint64_t a, uint64_t b)
{
	return a < b ? -1 : a > b;
}

static int compare_names(const ProtobufCBinaryData *a, const ProtobufCBinaryData *b)
{
	if (a->len != b->len)
		return compare(a->len, b->len);
	return a->len ? memcmp(a->data, b->data, a->len) : 0;
}

static int in_order_of_inodes(const void *one, const void *other, void *arg)
{
	const uint32_t *a = one, *b = other;

	return compare(file(arg, *a)->value, file(arg, *b)->value);
}

/* In a container the same name may be another's, bound at another file. */
static int in_order_of_names(const void *one, const void *other, void *arg)
{
	const uint32_t *a = one, *b = other;
	const Ckpt__Socket *x = file(arg, *a)->socket, *y = file(arg, *b)->socket;
	int n = compare_names(&x->name, &y->name);

	n = n ? n : compare(x->local->at, y->local->at);
	return n ? n : compare(*a, *b);
}

static int put_in_order(struct relating *q)
{
	const struct ckpt_tree *t = &q->d->tree;

	q->by_ino = calloc(t->file_count + 1, sizeof(*q->by_ino));
	q->by_name = calloc(t->file_count + 1, sizeof(*q->by_name));
	if (!q->by_ino || !q->by_name)
		return -ENOMEM;
	for (size_t i = 0; i < t->file_count; i++)
		if (is_unix(t->files[i]))
			q->by_ino[q->count++] = (uint32_t)i + 1;
	memcpy(q->by_name, q->by_ino, q->count * sizeof(*q->by_ino));
	qsort_r(q->by_ino, q->count, sizeof(*q->by_ino), in_order_of_inodes, q->d);
	qsort_r(q->by_name, q->count, sizeof(*q->by_name), in_order_of_names, q->d);
	return 0;
}

static uint32_t find_ino(const struct relating *q, uint64_t ino)
{
	size_t from = 0, to = q->count;

	while (from < to) {
		size_t mid = from + (to - from) / 2;

		if (file(q->d, q->by_ino[mid])->value < ino)
			from = mid + 1;
		else
			to = mid;
	}
	return from < q->count && file(q->d, q->by_ino[from])->value == ino ? q->by_ino[from] : 0;
}

/* Where those with that name begin. */
static size_t find_name(const struct relating *q, const ProtobufCBinaryData *name)
{
	size_t from = 0, to = q->count;

	while (from < to) {
		size_t mid = from + (to - from) / 2;

		if (compare_names(&file(q->d, q->by_name[mid])->socket->name, name) < 0)
			from = mid + 1;
		else
			to = mid;
	}
	return from;
}

static size_t end_of_name(const struct relating *q, size_t from)
{
	size_t end = from;

	while (end < q->count && compare_names(&file(q->d, q->by_name[end])->socket->name,
					       &file(q->d, q->by_name[from])->socket->name) == 0)
		end++;
	return end;
}

static bool may_have_path(const Ckpt__File *f)
{
	return f->socket->local->bound == CKPT_UNIX_LIVE && f->socket->state != TCP_ESTABLISHED;
}

/* Which of two the path is rather: whose own it is known to be, then the last one's. */
static bool is_rather(const Ckpt__File *a, const Ckpt__File *b)
{
	return (a->value2 & 1) != (b->value2 & 1) ? (a->value2 & 1) > (b->value2 & 1) : a->value > b->value;
}

/* Of those bound at one place: the others have lost it. */
static void relate_place(struct relating *q, size_t from, size_t end)
{
	const Ckpt__File *best = NULL;

	for (size_t i = from; i < end; i++) {
		const Ckpt__File *f = file(q->d, q->by_name[i]);

		if (may_have_path(f) && (!best || is_rather(f, best)))
			best = f;
	}
	for (size_t i = from; best && i < end; i++) {
		const Ckpt__File *f = file(q->d, q->by_name[i]);

		if (f->socket->local->bound == CKPT_UNIX_LIVE && is_rather(best, f))
			f->socket->local->bound = CKPT_UNIX_GONE;
	}
}

/* Of those with one name: connections have it from their listener. */
static void relate_name(struct relating *q, size_t from, size_t end)
{
	bool listener = false;

	for (size_t i = from, next; i < end; i = next) {
		uint64_t at = file(q->d, q->by_name[i])->socket->local->at;

		for (next = i; next < end && file(q->d, q->by_name[next])->socket->local->at == at; next++)
			listener |= file(q->d, q->by_name[next])->socket->state == TCP_LISTEN;
		relate_place(q, i, next);
	}
	for (size_t i = from; listener && i < end; i++) {
		Ckpt__Socket *s = file(q->d, q->by_name[i])->socket;

		if (s->type != SOCK_DGRAM && s->state == TCP_ESTABLISHED)
			s->local->bound = CKPT_UNIX_UNBOUND;
	}
}

static void relate_names(struct relating *q)
{
	for (size_t i = 0, end; i < q->count; i = end) {
		end = end_of_name(q, i);
		relate_name(q, i, end);
	}
}

static int refuse(const struct ckpt_dump *d, size_t i, const char *why, struct err *e)
{
	struct ckpt_sock k = { .pid = d->files.by_file[i]->pid, .number = d->files.by_file[i]->fd };

	return ckpt_sock_refuse(&k, why, e);
}

static bool is_runtimes(const Ckpt__Socket *s)
{
	const struct sockaddr_un *sa = (const void *)s->peer.data;
	size_t len = s->peer.len > sizeof(sa_family_t) ? s->peer.len - sizeof(sa_family_t) : 0;

	return len >= sizeof(RUNTIME_NOTIFY) - 1 && strncmp(sa->sun_path, RUNTIME_NOTIFY, len) == 0;
}

/* The first that listens by the name. */
static uint32_t find_listener(const struct relating *q, const ProtobufCBinaryData *name)
{
	uint32_t found = 0;

	for (size_t i = find_name(q, name); i < q->count; i++) {
		const Ckpt__Socket *s = file(q->d, q->by_name[i])->socket;

		if (compare_names(&s->name, name) != 0)
			break;
		if (s->state == TCP_LISTEN && (!found || q->by_name[i] < found))
			found = q->by_name[i];
	}
	return found;
}

static int relate_peer(const struct relating *q, size_t i, struct err *e)
{
	struct ckpt_dump *d = q->d;
	Ckpt__Socket *s = d->tree.files[i]->socket;
	Ckpt__UnixSocket *u = s->local;
	const Ckpt__File *peer;

	if (u->link == CKPT_UNIX_WAITING) {
		u->peer = u->peer ? u->peer : find_listener(q, &s->peer);
		return u->peer ? 0 : refuse(d, i, "that waits for a listener outside the VPS", e);
	}
	if (u->link != CKPT_UNIX_PAIR)
		return 0;
	u->peer = find_ino(q, d->tree.files[i]->value2 >> 1);
	if (!u->peer && s->type == SOCK_DGRAM && is_runtimes(s)) {
		u->link = CKPT_UNIX_OUTSIDE;
		return 0;
	}
	if (!u->peer)
		return refuse(d, i, "whose other end is outside the VPS", e);
	peer = d->tree.files[u->peer - 1];
	if (peer->value2 >> 1 != d->tree.files[i]->value)
		u->link = CKPT_UNIX_TO;
	if (u->link == CKPT_UNIX_TO &&
	    (s->type != SOCK_DGRAM || peer->socket->name.len <= sizeof(sa_family_t)))
		return refuse(d, i, "that sends to a pair's end", e);
	/* Two that were connected to each other by their names. */
	if (s->type == SOCK_DGRAM &&
	    (s->name.len > sizeof(sa_family_t) || peer->socket->name.len > sizeof(sa_family_t)))
		u->link = CKPT_UNIX_TO;
	return 0;
}

/* Every connection that waits is one of ours, or it would be lost. */
static int relate_listener(const struct relating *q, size_t i, struct err *e)
{
	struct ckpt_dump *d = q->d;
	int nl = ckpt_dump_diag(d, d->tree.files[i]->space, e);
	struct ckpt_unix_diag g;
	int r = nl < 0 ? nl : ckpt_unix_ask(d, d->tree.files[i]->space, nl, d->tree.files[i]->value, &g);

	for (uint32_t k = 0; r == 0 && k < g.pending_count; k++) {
		uint32_t client = g.pending[k] ? find_ino(q, g.pending[k]) : 0;

		/* Who is gone is there already (ckpt_unix_leaving_collect()). */
		if (!g.pending[k])
			continue;
		if (!client)
			return refuse(d, i, "with connections from outside that were not accepted",
				      e);
		file(d, client)->socket->local->turn = k + 1;
		file(d, client)->socket->local->peer = (uint32_t)i + 1;
	}
	return r < 0 ? err_code(e, r, "ask for a unix socket") : 0;
}

int ckpt_unix_relate(struct ckpt_dump *d, struct err *e)
{
	struct relating q = { .d = d };
	int r = put_in_order(&q);

	if (r < 0)
		err_code(e, r, "collect unix sockets");
	else
		relate_names(&q);
	for (size_t i = 0; r == 0 && i < d->tree.file_count; i++)
		if (is_unix(d->tree.files[i])) {
			r = relate_peer(&q, i, e);
			if (r == 0 && d->tree.files[i]->socket->state == TCP_LISTEN)
				r = relate_listener(&q, i, e);
		}
	for (size_t i = 0; r == 0 && i < d->tree.file_count; i++)
		if (is_unix(d->tree.files[i]) && d->tree.files[i]->socket->local->turn &&
		    d->tree.files[i]->socket->local->link != CKPT_UNIX_WAITING)
			r = refuse(d, i, "that was shut down and waits to be accepted", e);
	for (size_t i = 0; r == 0 && i < d->tree.file_count; i++)
		if (is_unix(d->tree.files[i]))
			d->tree.files[i]->value = d->tree.files[i]->value2 = d->tree.files[i]->socket->local->at = 0;
	free(q.by_ino);
	free(q.by_name);
	return r;
}
