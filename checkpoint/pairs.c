/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "checkpoint/pairs.h"

#include "base/macro.h"
#include "base/proc.h"
#include "checkpoint/image.pb-c.h"
#include "checkpoint/lend.h"
#include "checkpoint/restore_births.h"
#include "checkpoint/unix.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <sys/syscall.h>

/* The lowest that are free, in a table that has none but 0 to 2 and those from restore.base on. */
#define FIRST 3
#define SECOND 4
#define CALLS 5 /* of each pair */

/* Files i and its other end can be made here. */
static bool is_plain(const struct ckpt_tree *t, size_t i)
{
	const Ckpt__Socket *s = t->files[i]->socket;

	return s && s->family == AF_UNIX && s->local->link == CKPT_UNIX_PAIR && s->local->peer > i + 1 &&
	       s->name.len <= sizeof(sa_family_t) && s->peer.len <= sizeof(sa_family_t) && !t->files[i]->space &&
	       s->local->credentials && s->local->credentials->n_groups <= CKPT_LEND_GROUPS;
}

static struct restoring *maker_of(struct restore *r, const Ckpt__Credentials *who)
{
	for (size_t i = 0; i < r->tree.task_count; i++)
		if (r->tree.tasks[i].process->pid == who->pid)
			return r->procs[i].early ? &r->procs[i] : NULL;
	return NULL;
}

static bool same(const Ckpt__Credentials *a, const Ckpt__Credentials *b)
{
	return a->pid == b->pid && a->uid == b->uid && a->gid == b->gid && a->n_groups == b->n_groups &&
	       memcmp(a->groups, b->groups, a->n_groups * sizeof(*a->groups)) == 0;
}

static void make(const struct restore *r, size_t i, struct list *l)
{
	static const int none[2] = { -1, -1 };
	const Ckpt__Socket *s = r->tree.files[i]->socket;

	list_call(l, "make a pair of unix sockets", SYS_socketpair, AF_UNIX, s->type | SOCK_CLOEXEC, 0,
		  list_put(l, none, sizeof(none)), 0, 0);
	list_call(l, "place a unix socket", SYS_dup3, FIRST, (uint64_t)restore_fd_file(r, (uint32_t)i + 1), O_CLOEXEC, 0, 0,
		  0);
	list_call(l, "place a unix socket", SYS_dup3, SECOND, (uint64_t)restore_fd_file(r, s->local->peer), O_CLOEXEC, 0, 0,
		  0);
	list_call(l, NULL, SYS_close, FIRST, 0, 0, 0, 0, 0);
	list_call(l, NULL, SYS_close, SECOND, 0, 0, 0, 0, 0);
	r->paired[i] = true;
}

/* Those of the maker of file `from`, from that on. */
static int make_all(struct restore *r, struct restoring *p, size_t from, struct list *l, struct err *e)
{
	const Ckpt__Credentials *who = r->tree.files[from]->socket->local->credentials;
	int n = restore_raise_files(r, p, e);

	list_init(l, r);
	list_call(l, NULL, SYS_close_range, FIRST, (uint64_t)r->base - 1, 0, 0, 0, 0);
	ckpt_lend_become(l, who->uid, who->gid, who->groups, (uint32_t)who->n_groups);
	for (size_t i = from; n == 0 && i < r->tree.file_count; i++) {
		if (r->paired[i] || !is_plain(&r->tree, i) || !same(r->tree.files[i]->socket->local->credentials, who))
			continue;
		if (!list_fits(l, CALLS, 16))
			n = list_run(l, &p->batch, &p->threads[0], e);
		make(r, i, l);
	}
	if (n == 0)
		n = list_run(l, &p->batch, &p->threads[0], e);
	ckpt_lend_become(l, 0, 0, NULL, 0);
	return n == 0 ? list_run(l, &p->batch, &p->threads[0], e) : n;
}

int restore_pairs(struct restore *r, struct list *l, struct err *e)
{
	int n = 0;

	/* The helper sees nobody's table then, and processes have ids of their own. */
	if (restore_is_nested(r))
		return 0;
	r->paired = ckpt_alloc(&r->tree.arena, (r->tree.file_count + 1) * sizeof(*r->paired));
	if (!r->paired)
		return err_code(e, -ENOMEM, "restore");
	for (size_t i = 0; n == 0 && i < r->tree.file_count; i++) {
		struct restoring *p = r->paired[i] || !is_plain(&r->tree, i)
					      ? NULL : maker_of(r, r->tree.files[i]->socket->local->credentials);

		if (p)
			n = make_all(r, p, i, l, e);
	}
	return n;
}

int ckpt_pair_take(const struct ckpt_opening *o, size_t i, size_t k, int ret_fds[2], struct err *e)
{
	cleanup_close int first = (int)syscall(SYS_pidfd_open, 1, 0);
	int a = first < 0 ? -1 : (int)syscall(SYS_pidfd_getfd, first, o->base + (int)i, 0);
	int b = a < 0 ? -1 : (int)syscall(SYS_pidfd_getfd, first, o->base + (int)k, 0);

	if (b < 0) {
		err_sys(e, "take a pair of unix sockets");
		if (a >= 0)
			close(a);
		return -EBADF;
	}
	ret_fds[0] = a;
	ret_fds[1] = b;
	return 0;
}
