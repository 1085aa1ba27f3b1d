/* SPDX-License-Identifier: GPL-2.0-or-later */

/*
 * Tables of open files while a tree is restored: nearly all processes share that of the first until all is
 * opened. Others are those who came from outside and those who share theirs in the end, with each other only.
 */
#include "base/macro.h"
#include "checkpoint/image.pb-c.h"
#include "checkpoint/restore_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>

#define PIDFD 3 /* free: nobody has fds of its own yet */
#define FETCHED 4
#define HANDED 3
#define AT_ONCE 32 /* that the sockets' buffers and a list have room for */

static int fetch(struct restoring *p, int number, struct list *l, struct err *e)
{
	int n = list_fits(l, 3, 0) ? 0 : list_run(l, &p->batch, &p->threads[0], e);

	/* Some are not there yet; that one is missing is seen where it is used. */
	list_call(l, NULL, SYS_pidfd_getfd, PIDFD, (uint64_t)number, 0, 0, 0, 0);
	list_call(l, NULL, SYS_dup3, FETCHED, (uint64_t)number, O_CLOEXEC, 0, 0, 0);
	list_call(l, NULL, SYS_close, FETCHED, 0, 0, 0, 0, 0);
	return n;
}

/* Numbers that the tenant uses may lie above the limit that a process was born with, and ours above those. Its own comes last. */
static int raise_limit(struct restoring *p, struct err *e)
{
	struct rlimit lim;
	int n = prlimit(p->batch.pid, RLIMIT_NOFILE, NULL, &lim);

	lim.rlim_cur = lim.rlim_max;
	if (n < 0 || prlimit(p->batch.pid, RLIMIT_NOFILE, &lim, NULL) < 0)
		return err_sys(e, "raise the limit of open files of process %d", (int)p->batch.pid);
	return 0;
}

int restore_fetch(struct restore *r, struct restoring *p, struct list *l, struct err *e)
{
	int n = raise_limit(p, e);

	if (n < 0)
		return n;
	list_init(l, r);
	list_call(l, NULL, SYS_close_range, PIDFD, (uint64_t)r->base - 1, 0, 0, 0, 0);
	list_call(l, "open process 1", SYS_pidfd_open, 1, 0, 0, 0, 0, 0);
	for (int fd = r->base; n == 0 && fd < restore_fd_end(r); fd++)
		n = fetch(p, fd, l, e);
	list_call(l, NULL, SYS_close, PIDFD, 0, 0, 0, 0, 0);
	return n == 0 ? list_run(l, &p->batch, &p->threads[0], e) : n;
}

/* A message of one byte and, when it is sent, an open file; with room for that. */
static uint64_t put_message(struct list *l, int fd)
{
	union {
		uint8_t buf[CMSG_SPACE(sizeof(int))];
		struct cmsghdr head;
	} c = { .head = { CMSG_LEN(sizeof(int)), SOL_SOCKET, SCM_RIGHTS } };
	struct iovec iov = { .iov_len = 1 };
	struct msghdr m = { .msg_iovlen = 1, .msg_controllen = sizeof(c) };

	memcpy(CMSG_DATA(&c.head), &fd, sizeof(fd));
	iov.iov_base = (void *)(uintptr_t)list_put(l, "", 1); /* NOLINT: the task's */
	m.msg_iov = (void *)(uintptr_t)list_put(l, &iov, sizeof(iov)); /* NOLINT */
	m.msg_control = (void *)(uintptr_t)list_put(l, &c, sizeof(c)); /* NOLINT */
	return list_put(l, &m, sizeof(m));
}

/* Wherever the other is: it need not see process 1, nor have any right over it. */
static int hand(struct restore *r, struct restoring *p, const int *numbers, size_t count, struct list *l, struct err *e)
{
	struct restoring *first = &r->procs[0];
	int n;

	list_init(l, r);
	for (size_t i = 0; i < count; i++)
		list_call(l, "hand an open file over", SYS_sendmsg, (uint64_t)restore_fd_pair(r, 0),
			  put_message(l, numbers[i]), 0, 0, 0, 0);
	n = list_run(l, &first->batch, &first->threads[0], e);
	list_init(l, r);
	for (size_t i = 0; i < count; i++) {
		list_call(l, "take an open file", SYS_recvmsg, (uint64_t)restore_fd_pair(r, 1), put_message(l, -1),
			  MSG_DONTWAIT, 0, 0, 0);
		list_call(l, "place an open file", SYS_dup3, HANDED, (uint64_t)numbers[i], O_CLOEXEC, 0, 0, 0);
		list_call(l, NULL, SYS_close, HANDED, 0, 0, 0, 0, 0);
	}
	return n == 0 ? list_run(l, &p->batch, &p->threads[0], e) : n;
}

static int hand_over(struct restore *r, struct restoring *p, struct list *l, struct err *e)
{
	int numbers[AT_ONCE], n = 0;
	size_t count = 0;

	for (uint32_t id = 1; n == 0 && id <= r->tree.file_count; id++) {
		if (ckpt_file_opens_late(r->tree.files[id - 1]))
			numbers[count++] = restore_fd_file(r, id);
		if (count == AT_ONCE || (count && id == r->tree.file_count)) {
			n = hand(r, p, numbers, count, l, e);
			count = 0;
		}
	}
	return n;
}

int restore_tables(struct restore *r, struct list *l, struct err *e)
{
	bool groups = r->procs[0].subject;
	int n = 0;

	for (size_t i = 1; n == 0 && i < r->tree.task_count; i++) {
		const Ckpt__Process *k = r->tree.tasks[i].process;

		n = raise_limit(&r->procs[i], e);
		if (n < 0)
			return n;
		groups = groups || k->files_group;
		if (k->files_group == k->pid || k->ppid == 0 || r->procs[i].subject)
			n = hand_over(r, &r->procs[i], l, e);
	}
	/* Before any of those who share one puts its fds there; threads would stay behind in it. */
	for (size_t i = 1; n == 0 && groups && i < r->tree.task_count; i++) {
		if (r->tree.tasks[i].process->files_group || r->procs[i].subject)
			continue;
		list_init(l, r);
		list_call(l, "have its own table of open files", SYS_unshare, CLONE_FILES, 0, 0, 0,
			  0, 0);
		n = list_run(l, &r->procs[i].batch, &r->procs[i].threads[0], e);
	}
	return n;
}
