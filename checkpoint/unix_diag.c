/* SPDX-License-Identifier: GPL-2.0-or-later */

/* What the kernel says of unix sockets (sock_diag(7)). To tell of one it looks through all of a network namespace: where
 * there are many it is asked once for all. */
#include "base/macro.h"
#include "checkpoint/internal.h"
#include "checkpoint/unix.h"

#include <errno.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <linux/sock_diag.h>
#include <linux/unix_diag.h>
#include <stdlib.h>
#include <sys/socket.h>

#define MANY 128           /* that were asked for one by one */
#define TABLE_MAX MIB(256) /* of what is said of all, some hundred bytes each; beyond that it is one by one */

struct told {
	uint32_t ino;
	size_t at; /* in `text` */
};

/* Of a network namespace. */
struct ckpt_unix_table {
	struct ckpt_unix_table *next;
	uint32_t space; /* as File.space */
	unsigned asked;
	uint8_t *text; /* messages, as they came */
	size_t len, room;
	struct told *told; /* in the order of inodes */
	size_t count;
};

void ckpt_unix_tables_free(struct ckpt_unix_table *t)
{
	while (t) {
		struct ckpt_unix_table *next = t->next;

		free(t->text);
		free(t->told);
		free(t);
		t = next;
	}
}

static int take_attribute(struct ckpt_arena *arena, const struct rtattr *a, struct ckpt_unix_diag *d)
{
	size_t len = RTA_PAYLOAD(a);
	const uint32_t *u = RTA_DATA(a);

	switch (a->rta_type) {
	case UNIX_DIAG_PEER:
		d->peer = u[0];
		d->has_peer = true;
		break;
	case UNIX_DIAG_RQLEN:
		d->rqueue = u[0];
		d->wqueue = u[1];
		break;
	case UNIX_DIAG_VFS:
		d->vfs_ino = u[0];
		d->has_vfs = true;
		break;
	case UNIX_DIAG_SHUTDOWN:
		d->shutdown = *(const uint8_t *)RTA_DATA(a);
		break;
	case UNIX_DIAG_ICONS:
		d->pending_count = (uint32_t)(len / sizeof(*u));
		d->pending = ckpt_memdup(arena, u, len);
		return d->pending ? 0 : -ENOMEM;
	}
	return 0;
}

static int decode(struct ckpt_arena *arena, const struct nlmsghdr *h, struct ckpt_unix_diag *ret)
{
	const struct unix_diag_msg *m = NLMSG_DATA(h);
	int left = (int)h->nlmsg_len - (int)NLMSG_LENGTH(sizeof(*m)), r = 0;

	if (h->nlmsg_type != SOCK_DIAG_BY_FAMILY || left < 0)
		return -ENOENT;
	*ret = (struct ckpt_unix_diag){ .ino = m->udiag_ino, .state = m->udiag_state };
	for (const struct rtattr *a = (const void *)(m + 1); r == 0 && RTA_OK(a, left); a = RTA_NEXT(a, left))
		r = take_attribute(arena, a, ret);
	return r;
}

static int ask(int diag, uint64_t ino, uint16_t flags)
{
	struct {
		struct nlmsghdr h;
		struct unix_diag_req r;
	} q = {
		.h = { .nlmsg_len = sizeof(q),
		       .nlmsg_type = SOCK_DIAG_BY_FAMILY,
		       .nlmsg_flags = NLM_F_REQUEST | flags },
		.r = { .sdiag_family = AF_UNIX,
		       .udiag_states = UINT32_MAX,
		       .udiag_ino = (uint32_t)ino,
		       .udiag_show = UDIAG_SHOW_PEER | UDIAG_SHOW_RQLEN | UDIAG_SHOW_VFS |
				     UDIAG_SHOW_ICONS,
		       .udiag_cookie = { UINT32_MAX, UINT32_MAX } },
	};

	return send(diag, &q, sizeof(q), 0) < 0 ? -errno : 0;
}

static int ask_one(struct ckpt_arena *arena, int diag, uint64_t ino, struct ckpt_unix_diag *ret)
{
	_Alignas(8) uint8_t buf[32768];
	int r = ask(diag, ino, 0);
	ssize_t n;

	if (r < 0)
		return r;
	n = recv(diag, buf, sizeof(buf), 0);
	if (n < (ssize_t)NLMSG_LENGTH(sizeof(struct unix_diag_msg)))
		return n < 0 ? -errno : -ENOENT;
	if (((const struct nlmsghdr *)(const void *)buf)->nlmsg_type == NLMSG_ERROR)
		return ((const struct nlmsgerr *)NLMSG_DATA(buf))->error ? ((const struct nlmsgerr *)NLMSG_DATA(buf))->error : -ENOENT;
	return decode(arena, (const void *)buf, ret);
}

static int keep(struct ckpt_unix_table *t, const struct nlmsghdr *h)
{
	size_t len = NLMSG_ALIGN(h->nlmsg_len);
	void *bigger;

	if (h->nlmsg_len < NLMSG_LENGTH(sizeof(struct unix_diag_msg)))
		return 0;
	if (len > TABLE_MAX - t->len)
		return -E2BIG;
	if (len > t->room - t->len) {
		t->room = 2 * t->room + KIB(64);
		bigger = realloc(t->text, t->room);
		if (!bigger)
			return -ENOMEM;
		t->text = bigger;
	}
	if ((t->count & (t->count - 1)) == 0) {
		bigger = reallocarray(t->told, t->count ? 2 * t->count : 1, sizeof(*t->told));
		if (!bigger)
			return -ENOMEM;
		t->told = bigger;
	}
	memcpy(t->text + t->len, h, h->nlmsg_len);
	t->told[t->count++] = (struct told){ ((const struct unix_diag_msg *)NLMSG_DATA(h))->udiag_ino, t->len };
	t->len += len;
	return 0;
}

static int by_inode(const void *one, const void *other)
{
	const struct told *a = one, *b = other;

	return a->ino < b->ino ? -1 : a->ino > b->ino;
}

/* Until the end, whatever happens: others ask by the same socket. */
static int ask_all(int diag, struct ckpt_unix_table *t)
{
	_Alignas(8) uint8_t buf[32768];
	int r = ask(diag, 0, NLM_F_DUMP), kept = 0;

	for (bool more = r == 0; more;) {
		ssize_t n = recv(diag, buf, sizeof(buf), 0);
		size_t left = n < 0 ? 0 : (size_t)n;

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? -errno : -EPROTO;
		for (const struct nlmsghdr *h = (const void *)buf; NLMSG_OK(h, left); h = NLMSG_NEXT(h, left)) {
			more &= h->nlmsg_type != NLMSG_DONE && h->nlmsg_type != NLMSG_ERROR;
			if (h->nlmsg_type == SOCK_DIAG_BY_FAMILY && kept == 0)
				kept = keep(t, h);
		}
	}
	if (t->count)
		qsort(t->told, t->count, sizeof(*t->told), by_inode);
	return r < 0 ? r : kept == -E2BIG ? 0 : kept;
}

static int table_of(struct ckpt_dump *d, uint32_t space, struct ckpt_unix_table **ret)
{
	struct ckpt_unix_table *t = d->unixes;

	while (t && t->space != space)
		t = t->next;
	if (!t) {
		t = calloc(1, sizeof(*t));
		if (!t)
			return -ENOMEM;
		t->space = space;
		t->next = d->unixes;
		d->unixes = t;
	}
	*ret = t;
	return 0;
}

int ckpt_unix_ask(struct ckpt_dump *d, uint32_t space, int diag, uint64_t ino, struct ckpt_unix_diag *ret)
{
	struct ckpt_unix_table *t;
	const struct told *found = NULL;
	int r = table_of(d, space, &t);

	if (r == 0 && t->asked++ == MANY)
		r = ask_all(diag, t);
	if (r < 0)
		return r;
	if (t->count)
		found = bsearch(&(struct told){ .ino = (uint32_t)ino }, t->told, t->count, sizeof(*found), by_inode);
	return found ? decode(ckpt_dump_arena(d), (const void *)(t->text + found->at), ret) :
		       ask_one(ckpt_dump_arena(d), diag, ino, ret);
}
