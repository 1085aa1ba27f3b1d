/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "checkpoint/ipc_users.h"

#include "base/macro.h"
#include "checkpoint/as.h"
#include "checkpoint/image.pb-c.h"
#include "checkpoint/internal.h"
#include "checkpoint/lend.h"
#include "checkpoint/pidspaces.h"
#include "checkpoint/restore_internal.h"

#include <errno.h>
#include <limits.h>
#include <sys/ipc.h>
#include <sys/msg.h>
#include <sys/sem.h>
#include <sys/shm.h>
#include <sys/syscall.h>

enum { MAKER, LAST };        /* of memory */
enum { SENDER, RECEIVER };   /* of a queue */

struct sending {
	const Ckpt__IpcObject *o;
	const Ckpt__IpcMessage *m; /* NULL: an empty one */
};

union semun {
	int val;
	struct semid_ds *ds;
	unsigned short *array;
};

/* The kernel's number of place `i`, as this pid namespace has it: 0 is nobody, or who is outside. */
static uint32_t look(const Ckpt__IpcObject *o, size_t i)
{
	struct shmid_ds shm;
	struct msqid_ds msg;
	int pid;

	if (o->kind == CKPT_IPC_SHM)
		pid = shmctl(o->id, IPC_STAT, &shm) < 0 ? 0 : i == MAKER ? shm.shm_cpid : shm.shm_lpid;
	else if (o->kind == CKPT_IPC_MSG)
		pid = msgctl(o->id, IPC_STAT, &msg) < 0 ? 0 : i == SENDER ? msg.msg_lspid : msg.msg_lrpid;
	else
		pid = semctl(o->id, (int)i, GETPID);
	return pid > 0 ? (uint32_t)pid : 0;
}

int ckpt_ipc_users(struct ckpt_dump *d, size_t first, struct err *e)
{
	for (size_t k = first; k < d->tree.ipc_count; k++) {
		Ckpt__IpcObject *o = d->tree.ipc[k];
		size_t n = o->kind == CKPT_IPC_SEM ? o->size : CKPT_IPC_USERS;

		if (o->kind == CKPT_IPC_SHM) /* was asked before we attached it */
			continue;
		o->pids = ckpt_alloc(&d->tree.arena, n * sizeof(*o->pids));
		if (!o->pids)
			return err_code(e, -ENOMEM, "collect System V objects");
		while (o->n_pids < n) {
			o->pids[o->n_pids] = look(o, o->n_pids);
			o->n_pids++;
		}
	}
	return 0;
}

int ckpt_ipc_users_number(struct ckpt_dump *d, size_t first)
{
	int ended = 0;

	for (size_t k = first; k < d->tree.ipc_count; k++)
		for (size_t i = 0; i < d->tree.ipc[k]->n_pids; i++) {
			uint32_t *pid = &d->tree.ipc[k]->pids[i];
			struct ckpt_status s;

			if (!*pid)
				continue;
			*pid = ckpt_status_read((pid_t)*pid, &s) == 0 ? ckpt_pid_number(&s, "NSpid", d->level) : 0;
			ended += !*pid;
		}
	return ended;
}

/* Who attached memory last was asked before we did. */
int ckpt_ipc_users_inside(struct ckpt_dump *d, size_t first, struct err *e)
{
	(void)e;
	for (size_t k = first; k < d->tree.ipc_count; k++) {
		Ckpt__IpcObject *o = d->tree.ipc[k];

		for (size_t i = 0; i < o->n_pids; i++)
			if (!o->pids[i] && !(o->kind == CKPT_IPC_SHM && i == LAST))
				o->pids[i] = look(o, i);
	}
	return 0;
}

int ckpt_ipc_as(uint32_t pid, int (*fn)(void *arg, struct err *e), void *arg, struct err *e)
{
	Ckpt__Credentials root = CKPT__CREDENTIALS__INIT;

	root.pid = pid;
	return pid && !ckpt_lend_is_taken((pid_t)pid) ? ckpt_as(&root, -1, fn, arg, e) : fn(arg, e);
}

static bool is_alive(const struct ckpt_tree *t, uint32_t pid)
{
	for (size_t i = 0; i < t->task_count; i++)
		if (t->tasks[i].process->pid == pid)
			return true;
	return false;
}

struct change {
	const Ckpt__IpcObject *o;
	uint32_t pid;
};

static int set_values(void *arg, struct err *e)
{
	const struct change *c = arg;

	for (size_t i = 0; i < c->o->n_pids; i++)
		if (c->o->pids[i] == c->pid &&
		    semctl(c->o->id, (int)i, SETVAL, (union semun){ .val = (int)c->o->values[i] }) < 0)
			return err_sys(e, "set semaphores %d", c->o->id);
	return 0;
}

/* Those that live do it themselves, with what is to be undone (undo.c). */
static int change_by_ended(const struct ckpt_tree *t, const Ckpt__IpcObject *o, struct err *e)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < o->n_pids; i++) {
		struct change c = { o, o->pids[i] };
		bool first = true;

		for (size_t k = 0; k < i; k++)
			first = first && o->pids[k] != c.pid;
		if (c.pid && first && !is_alive(t, c.pid))
			r = ckpt_ipc_as(c.pid, set_values, &c, e);
	}
	return r;
}

static int send_message(void *arg, struct err *e)
{
	const struct sending *s = arg;
	cleanup_free struct msgbuf *b = malloc(sizeof(*b) + (s->m ? s->m->data.len : 0));

	if (!b)
		return err_code(e, -ENOMEM, "fill message queue %d", s->o->id);
	b->mtype = s->m ? (long)s->m->type : 1;
	if (s->m)
		memcpy(b->mtext, s->m->data.data, s->m->data.len);
	return msgsnd(s->o->id, b, s->m ? s->m->data.len : 0, IPC_NOWAIT) < 0 ?
		       err_sys(e, "fill message queue %d", s->o->id) : 0;
}

static int receive(void *arg, struct err *e)
{
	const Ckpt__IpcObject *o = arg;
	struct msgbuf b;

	return msgrcv(o->id, &b, 0, 0, IPC_NOWAIT) < 0 ? err_sys(e, "empty message queue %d", o->id) : 0;
}

/* Who received last, by an empty message, and who sent last, by that or the last one of all. */
static int pass_message(const Ckpt__IpcObject *o, struct err *e)
{
	struct sending none = { o, NULL };
	uint32_t sender = o->n_pids ? o->pids[SENDER] : 0, receiver = o->n_pids ? o->pids[RECEIVER] : 0;
	int r = 0;

	if (receiver) {
		r = ckpt_ipc_as(o->n_messages ? 0 : sender, send_message, &none, e);
		if (r == 0)
			r = ckpt_ipc_as(receiver, receive, (void *)(uintptr_t)o, e);
	}
	for (size_t i = 0; r == 0 && i < o->n_messages; i++) {
		struct sending s = { o, o->messages[i] };

		r = ckpt_ipc_as(i + 1 == o->n_messages ? sender : 0, send_message, &s, e);
	}
	return r;
}

int ckpt_ipc_users_make(const struct ckpt_tree *t, const Ckpt__IpcObject *o, struct err *e)
{
	switch (o->kind) {
	case CKPT_IPC_SEM: return change_by_ended(t, o, e);
	case CKPT_IPC_MSG: return pass_message(o, e);
	default:           return 0;
	}
}

/* The process of that number, if it is in the object's namespace. */
static struct restoring *find(struct restore *r, const Ckpt__IpcObject *o, size_t i)
{
	for (size_t k = 0; i < o->n_pids && o->pids[i] && k < r->tree.task_count; k++) {
		const Ckpt__Thread *t = r->procs[k].task->threads[0];

		if (t->pid == o->pids[i] && t->n_spaces == CKPT_SPACE_COUNT && t->spaces[CKPT_SPACE_IPC] == o->space)
			return &r->procs[k];
	}
	return NULL;
}

static int run(struct restoring *p, struct list *l, struct err *e)
{
	return list_run(l, &p->batch, &p->threads[0], e);
}

static int attach(struct restore *r, struct restoring *p, const Ckpt__IpcObject *o, struct list *l, struct err *e)
{
	int n;

	list_init(l, r);
	list_call(l, "attach shared memory", SYS_shmat, (uint64_t)o->id, 0, SHM_RDONLY, 0, 0, 0);
	n = run(p, l, e);
	if (n < 0)
		return n;
	list_init(l, r);
	list_call(l, "give up shared memory", SYS_shmdt, (uint64_t)l->calls[0].ret, 0, 0, 0, 0, 0);
	return run(p, l, e);
}

/* Of which there is no message. */
static long free_type(const Ckpt__IpcObject *o)
{
	long type = LONG_MAX;

	for (size_t i = 0; i < o->n_messages; i++)
		if (o->messages[i]->type == type) {
			type--;
			i = (size_t)-1;
		}
	return type;
}

/* By an empty message, which a queue takes that holds as many bytes as it may. */
static int pass_between(struct restore *r, struct restoring *from, struct restoring *to, const Ckpt__IpcObject *o,
			struct list *l, struct err *e)
{
	long type = free_type(o);
	int n;

	list_init(l, r);
	list_call(l, NULL, SYS_msgsnd, (uint64_t)o->id, list_put(l, &type, sizeof(type)), 0, IPC_NOWAIT, 0, 0);
	n = run(from, l, e);
	if (n < 0)
		return n;
	list_init(l, r);
	list_call(l, NULL, SYS_msgrcv, (uint64_t)o->id, list_put(l, &type, sizeof(type)), 0, (uint64_t)type, IPC_NOWAIT, 0);
	return run(to, l, e);
}

int restore_ipc_users(struct restore *r, struct list *l, struct err *e)
{
	int n = 0;

	for (size_t i = 0; n == 0 && i < r->tree.ipc_count; i++) {
		const Ckpt__IpcObject *o = r->tree.ipc[i];
		struct restoring *first = find(r, o, 0), *second = find(r, o, 1);

		if (o->kind == CKPT_IPC_SHM && second)
			n = attach(r, second, o, l, e);
		/* After a pre-copy only: else it was done when it was filled. */
		else if (o->kind == CKPT_IPC_MSG && first && second && r->early)
			n = pass_between(r, first, second, o, l, e);
	}
	return n;
}
