/* SPDX-License-Identifier: GPL-2.0-or-later */

/*
 * Who is to be told of the next message in an empty queue (mq_notify(3)). A read of the queue says who
 * (mq_overview(7)), the kernel's memory which value comes along with the signal.
 */
#include "base/macro.h"
#include "checkpoint/image.pb-c.h"
#include "checkpoint/kernel.h"
#include "checkpoint/queues.h"
#include "checkpoint/restore_internal.h"

#include <errno.h>
#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

static int read_event(struct ckpt_dump *d, int fd, Ckpt__MqNotify *n, struct err *e)
{
	uint64_t file, inode, in_queue, how, signal;
	struct ckpt_kernel *k;
	int r = d->kernel ? 0 : ckpt_kernel_open(&d->kernel, e);

	k = d->kernel;
	if (r == 0)
		r = ckpt_kernel_open_file(k, fd, &file, e);
	if (r == 0)
		r = ckpt_kernel_member(k, file, "file", "f_inode", 8, &inode, e);
	if (r == 0)
		r = ckpt_kernel_place(k, 0, "mqueue_inode_info", "vfs_inode", &in_queue, e);
	if (r == 0)
		r = ckpt_kernel_member(k, inode - in_queue, "mqueue_inode_info", "notify.sigev_value", 8, &n->value, e);
	if (r == 0)
		r = ckpt_kernel_member(k, inode - in_queue, "mqueue_inode_info", "notify.sigev_notify", 4, &how, e);
	if (r == 0)
		r = ckpt_kernel_member(k, inode - in_queue, "mqueue_inode_info", "notify.sigev_signo", 4, &signal, e);
	if (r < 0)
		return r;
	/* Of one that is told nothing the rest is left from before. */
	n->how = (uint32_t)how;
	n->signal = how == SIGEV_SIGNAL ? (uint32_t)signal : 0;
	n->value = how == SIGEV_SIGNAL ? n->value : 0;
	return 0;
}

int ckpt_notify_collect(struct ckpt_dump *d, int fd, Ckpt__Mqueue *q, struct err *e)
{
	char text[256] = { 0 };
	const char *pid;
	int r;

	if (pread(fd, text, sizeof(text) - 1, 0) < 0)
		return err_sys(e, "look at the message queue %s", q->name);
	pid = strstr(text, "NOTIFY_PID:");
	if (!pid || !atoi(pid + 11))
		return 0;
	q->notify = ckpt_alloc(&d->tree.arena, sizeof(*q->notify));
	if (!q->notify)
		return err_code(e, -ENOMEM, "collect message queues");
	ckpt__mq_notify__init(q->notify);
	q->notify->pid = (uint32_t)atoi(pid + 11); /* the host's until all processes are known */
	r = read_event(d, fd, q->notify, e);
	/* The C library's threads hear of it by a netlink socket; what was received and sent again would be told of. */
	if (r == 0 && q->notify->how != SIGEV_SIGNAL && q->notify->how != SIGEV_NONE)
		return err_set(e, ERR_UNSUPPORTED,
			       "process %d is to be notified by a thread (mq_notify) of messages in %s, "
			       "which cannot be saved",
			       (int)q->notify->pid, q->name);
	if (r == 0 && q->count)
		return err_set(e, ERR_UNSUPPORTED,
			       "process %d is to be notified (mq_notify) of messages in %s beside those "
			       "that are there, which cannot be saved",
			       (int)q->notify->pid, q->name);
	return r;
}

/* Through which the process asked for it, or could have; -1: none. */
static int fd_of(const struct ckpt_tree *t, const struct ckpt_task *k, uint32_t queue)
{
	for (size_t i = 0; i < k->fds->n_fd; i++) {
		const Ckpt__File *f = t->files[k->fds->fd[i]->file - 1];

		if (f->kind == CKPT_FILE_MQUEUE && f->object == queue)
			return (int)k->fds->fd[i]->fd;
	}
	return -1;
}

int ckpt_notify_resolve(const struct ckpt_dump *d, uint32_t queue, struct err *e)
{
	Ckpt__MqNotify *n = d->tree.mqueues[queue - 1]->notify;

	for (size_t i = 0; n && i < d->tree.task_count; i++)
		if (d->tree.tasks[i].leader == (pid_t)n->pid && fd_of(&d->tree, &d->tree.tasks[i], queue) >= 0) {
			n->pid = d->tree.tasks[i].process->pid;
			return 0;
		}
	return !n ? 0 :
		    err_set(e, ERR_UNSUPPORTED,
			    "process %d is to be notified (mq_notify) of messages in %s, which it does "
			    "not have open, and cannot be saved",
			    (int)n->pid, d->tree.mqueues[queue - 1]->name);
}

bool ckpt_notify_is_good(const Ckpt__MqNotify *n)
{
	return !n || (n->signal <= 64 && (n->how == SIGEV_NONE || (n->how == SIGEV_SIGNAL && n->signal)));
}

int restore_notify(const struct restore *r, struct restoring *p, struct list *l, struct err *e)
{
	int n = 0;

	for (uint32_t id = 1; n == 0 && id <= r->tree.mqueue_count; id++) {
		const Ckpt__MqNotify *q = r->tree.mqueues[id - 1]->notify;
		struct sigevent ev = { .sigev_notify = SIGEV_NONE };
		int fd = q && q->pid == p->task->process->pid ? fd_of(&r->tree, p->task, id) : -1;

		if (fd < 0)
			continue;
		ev.sigev_notify = (int)q->how;
		ev.sigev_signo = (int)q->signal;
		ev.sigev_value.sival_ptr = (void *)(uintptr_t)q->value; /* NOLINT: the process's */
		n = list_fits(l, 1, sizeof(ev)) ? 0 : list_run(l, &p->batch, &p->threads[0], e);
		list_call(l, "be notified of messages", SYS_mq_notify, (uint64_t)fd, list_put(l, &ev, sizeof(ev)), 0, 0,
			  0, 0);
	}
	return n;
}
