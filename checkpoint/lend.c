/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "checkpoint/lend.h"

#include "base/fd.h"
#include "base/macro.h"
#include "base/proc.h"
#include "checkpoint/image.pb-c.h"
#include "checkpoint/restore_births.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>

/* The numbers that a lender's calls get, in a table of open files that has none but 0 to 2 and those from
 * restore.base on. */
enum { HELPER = 3, FD, PLACE, PAIR };
#define OWN_NET FD /* for a pair, which needs no other */

bool ckpt_lend_is_taken(pid_t pid)
{
	return pid > 0 && pid != (pid_t)syscall(SYS_getpid) && (kill(pid, 0) == 0 || errno != ESRCH);
}

int ckpt_lend_ask(int sock, const Ckpt__Credentials *who, struct ckpt_lend *q, int ret_fds[2], struct err *e)
{
	struct err said;
	size_t n = 0;
	ssize_t len;

	if (who->n_groups > CKPT_LEND_GROUPS)
		return err_set(e, ERR_UNSUPPORTED, "process %u has more than %d groups", who->pid, CKPT_LEND_GROUPS);
	q->pid = who->pid;
	q->uid = who->uid;
	q->gid = who->gid;
	q->n_groups = (uint32_t)who->n_groups;
	if (who->n_groups)
		memcpy(q->groups, who->groups, who->n_groups * sizeof(*q->groups));
	/* The lender takes our fds; another user's id may have been ours meanwhile, which clears this. */
	prctl(PR_SET_DUMPABLE, 1);
	len = fd_send(sock, q, sizeof(*q), NULL, 0);
	if (len == sizeof(*q))
		len = fd_recv(sock, &said, sizeof(said), ret_fds, ret_fds ? 2 : 0, &n);
	if (len != sizeof(said))
		return err_set(e, ERR_FAIL, "the engine does not answer");
	if (said.code) {
		*e = said;
		return err_errno((enum err_status)e->code);
	}
	return n == (ret_fds ? 2 : 0) ? 0 : err_set(e, ERR_FAIL, "the engine does not answer");
}

/* The effective ids, and not those that files are opened with: as become() in as.c. */
void ckpt_lend_become(struct list *l, uint32_t uid, uint32_t gid, const uint32_t *groups, uint32_t n)
{
	uint64_t same = UINT32_MAX;

	/* Root first, when it is to be root again: only it may set the others. */
	if (uid == 0)
		list_call(l, "be root again", SYS_setresuid, same, 0, same, 0, 0, 0);
	list_call(l, "set its groups", SYS_setgroups, n, list_put(l, groups, n * sizeof(*groups)), 0, 0, 0, 0);
	list_call(l, "set its group id", SYS_setresgid, same, gid, same, 0, 0, 0);
	list_call(l, "set its user id", SYS_setresuid, same, uid, same, 0, 0, 0);
	list_call(l, NULL, SYS_setfsuid, 0, 0, 0, 0, 0, 0);
	list_call(l, NULL, SYS_setfsgid, 0, 0, 0, 0, 0, 0);
}

static void make_call(struct list *l, const struct ckpt_lend *q)
{
	static const int none[2] = { -1, -1 };
	struct sockaddr_un at = { .sun_family = AF_UNIX };

	if (q->op == CKPT_LEND_LISTEN)
		list_call(l, "listen at a unix socket again", SYS_listen, FD, q->value, 0, 0, 0, 0);
	else if (q->op == CKPT_LEND_PAIR)
		list_call(l, "make a pair of unix sockets", SYS_socketpair, AF_UNIX, q->value, 0,
			  list_put(l, none, sizeof(none)), 0, 0);
	else if (q->place < 0)
		list_call(l, "connect a unix socket again", SYS_connect, FD, list_put(l, q->addr, q->len), q->len, 0, 0,
			  0);
	else {
		/* By way of the open file: its path leads there in the helper's root alone. */
		snprintf(at.sun_path, sizeof(at.sun_path), "/proc/self/fd/%d", PLACE);
		list_call(l, "connect a unix socket again", SYS_connect, FD, list_put(l, &at, sizeof(at)), sizeof(at),
			  0, 0, 0);
	}
}

/* Who was born in a nested user namespace: as that has the ids, and back to those it was born with. Those that
 * have no number there stay. */
static void become_nested(struct list *l, const struct restore *r, const struct restoring *p, uint32_t uid, uint32_t gid)
{
	uint64_t same = UINT32_MAX;

	uid = ckpt_user_id(&r->tree, p->user, uid, false);
	gid = ckpt_user_id(&r->tree, p->user, gid, true);
	list_call(l, "set its group id", SYS_setresgid, same, gid, same, 0, 0, 0);
	list_call(l, "set its user id", SYS_setresuid, same, uid, same, 0, 0, 0);
}

static void call_as(struct list *l, const struct restore *r, const struct restoring *p, const struct ckpt_lend *q)
{
	if (!p->user) {
		ckpt_lend_become(l, q->uid, q->gid, q->groups, q->n_groups);
		make_call(l, q);
		ckpt_lend_become(l, 0, 0, NULL, 0);
		return;
	}
	become_nested(l, r, p, q->uid, q->gid);
	make_call(l, q);
	become_nested(l, r, p, p->as->outer_uids[1], p->as->outer_gids[1]);
}

/* In a nested pid namespace the helper is not seen: the nearest of those that it descends from who do, and whose
 * table of open files it shares. */
static struct restoring *seeing(struct restore *r, struct restoring *p)
{
	size_t who = (size_t)(p - r->procs);

	while (r->procs[who].space)
		who = r->plan.nodes[who].parent;
	return &r->procs[who];
}

/* Who is next to do something: the list that was begun goes on when it is the same. */
static int turn(const struct restore *r, struct restoring *from, const struct restoring *to, struct list *l, struct err *e)
{
	int n = from == to ? 0 : list_run(l, &from->batch, &from->threads[0], e);

	if (from != to)
		list_init(l, r);
	return n;
}

/* The list in `l` is p's afterwards. */
static int take(struct restore *r, struct restoring *p, pid_t helper, const struct ckpt_lend *q, struct list *l,
		struct err *e)
{
	static const char net[] = "/proc/self/ns/net";
	struct restoring *by = seeing(r, p);
	int n;

	list_init(l, r);
	list_call(l, NULL, SYS_close_range, HELPER, (uint64_t)r->base - 1, 0, 0, 0, 0);
	list_call(l, "open the helper", SYS_pidfd_open, (uint64_t)helper, 0, 0, 0, 0, 0);
	if (q->op != CKPT_LEND_PAIR)
		list_call(l, "take a socket", SYS_pidfd_getfd, HELPER, (uint64_t)q->fd, 0, 0, 0, 0);
	n = turn(r, by, p, l, e);
	if (q->op == CKPT_LEND_PAIR)
		list_call(l, "open its network", SYS_open, list_put(l, net, sizeof(net)), O_RDONLY | O_CLOEXEC, 0, 0, 0,
			  0);
	if (n == 0)
		n = turn(r, p, by, l, e);
	list_call(l, "take a place", SYS_pidfd_getfd, HELPER, (uint64_t)(q->place < 0 ? q->fd : q->place), 0, 0, 0, 0);
	return n == 0 ? turn(r, by, p, l, e) : n;
}

static int lend(struct restore *r, pid_t helper, struct restoring *p, const struct ckpt_lend *q, struct list *l,
		struct err *e)
{
	bool elsewhere = q->op == CKPT_LEND_PAIR && q->place >= 0;
	int n = take(r, p, helper, q, l, e);

	if (elsewhere)
		list_call(l, "enter a network", SYS_setns, PLACE, CLONE_NEWNET, 0, 0, 0, 0);
	call_as(l, r, p, q);
	/* Out of a nested user namespace it could not go back; it gets its own later. */
	if (elsewhere && !p->user)
		list_call(l, "leave a network", SYS_setns, OWN_NET, CLONE_NEWNET, 0, 0, 0, 0);
	/* A pair is taken before. */
	if (q->op != CKPT_LEND_PAIR)
		list_call(l, NULL, SYS_close_range, HELPER, (uint64_t)r->base - 1, 0, 0, 0, 0);
	return n == 0 ? list_run(l, &p->batch, &p->threads[0], e) : n;
}

static int check(const struct restore *r, const struct ckpt_lend *q, struct restoring **ret)
{
	if (q->op >= CKPT_LEND_OP_COUNT || q->n_groups > CKPT_LEND_GROUPS || q->len > CKPT_LEND_ADDR)
		return -EPROTO;
	for (size_t i = 0; i < r->tree.task_count; i++)
		if (r->tree.tasks[i].process->pid == q->pid && r->procs[i].threads && r->procs[i].threads[0].tid) {
			*ret = &r->procs[i];
			return 0;
		}
	return -ESRCH;
}

int restore_lend(struct restore *r, pid_t helper, int sock, struct list *l, struct err *e)
{
	cleanup_close int pidfd = -EBADF, first = -EBADF, second = -EBADF;
	struct restoring *p = NULL;
	struct ckpt_lend q;
	struct err said = { 0 };
	ssize_t len = fd_recv(sock, &q, sizeof(q), NULL, 0, &(size_t){ 0 });
	int n, fds[2];

	if (len == 0)
		return 1;
	n = len == sizeof(q) ? check(r, &q, &p) : -EPROTO;
	if (n < 0)
		return err_code(e, n, "have process %u use a socket", len == sizeof(q) ? q.pid : 0);
	n = lend(r, helper, p, &q, l, &said);
	if (n == 0 && q.op == CKPT_LEND_PAIR) {
		pidfd = pidfd_open_pid(p->batch.pid);
		first = (int)syscall(SYS_pidfd_getfd, pidfd, PAIR, 0);
		second = (int)syscall(SYS_pidfd_getfd, pidfd, PAIR + 1, 0);
		if (first < 0 || second < 0)
			n = err_sys(&said, "take a pair of unix sockets");
	}
	list_init(l, r);
	if (q.op == CKPT_LEND_PAIR)
		list_call(l, NULL, SYS_close_range, HELPER, (uint64_t)r->base - 1, 0, 0, 0, 0);
	if (n == 0)
		n = list_run(l, &p->batch, &p->threads[0], &said);
	fds[0] = first;
	fds[1] = second;
	len = fd_send(sock, &said, sizeof(said), fds, n == 0 && q.op == CKPT_LEND_PAIR ? 2 : 0);
	return len == sizeof(said) ? 0 : err_code(e, len < 0 ? (int)len : -EIO, "answer the helper");
}
